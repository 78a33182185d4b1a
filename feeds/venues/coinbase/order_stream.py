"""The orders of a feed, one by one: counted by their sequence, on top of all orders from REST."""

from __future__ import annotations

from typing import Final

from tickplant.feeds.contract import Answer
from tickplant.feeds.kit import state_table
from tickplant.feeds.kit.book_sync import BookSync
from tickplant.feeds.kit.diff_books import DiffBooks
from tickplant.feeds.kit.in_band_books import InBandBook
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.numbers import rfc3339_ns
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.stream_links import StreamLinks
from tickplant.feeds.venues.coinbase import messages
from tickplant.feeds.venues.coinbase.order_rows import OrderRows, book_of_orders
from tickplant.records.batch import KIND_SHIFT, PACKED, Rows
from tickplant.records.layouts import Kind

DISCOVERED: Final = 16
"""Instruments assumed to share the room for held changes, if their number is unknown."""

LEAST_HELD: Final = 4096
"""Minimum of changes held back per book, however many books share the room."""

Message = messages.Order | messages.Match


class OrderStream:
    """The orders of all products."""

    def __init__(self, *, wanted: bool, live: bool, held_records: int, symbols: int) -> None:
        """No orders so far; call `attach` first.

        Args:
            wanted: the feed takes the channel `orders`.
            live: whether the feed is live; a recording may turn out to contain orders.
            held_records: changes held back for the answers with all orders, over all books.
            symbols: number of books that share that; 0 if unknown.
        """
        self.wanted = wanted
        self._live = live
        self._held_limit = max(held_records // (symbols or DISCOVERED), LEAST_HELD)
        self._rows = OrderRows()

    def attach(self, market: Market, links: StreamLinks) -> None:
        """Record to this market."""
        self._market = market
        self._books = DiffBooks(market, links, lambda _: None)

    def new_book(self) -> BookSync | InBandBook:
        """The tracker of an instrument's book: of its orders, or of its price levels."""
        return BookSync(chained=False, held_limit=self._held_limit) if self.wanted else InBandBook()

    def is_followed(self) -> bool:
        """Whether orders are recorded. A recording is one of orders if orders come before any book of price levels."""
        known = self._market.listings.by_slot
        if not self.wanted and not self._live and not any(listing.book.live for listing in known):
            self.wanted, self._market.book_channel = True, "orders"
            for listing in known:
                listing.book = self.new_book()
        return self.wanted

    def record(self, listing: Listing, message: Message, time_ns: int, ts_recv: int) -> None:
        """Record one message of a product whose orders are followed. Raises RejectError."""
        rows = self._rows.of(listing.instrument, message, time_ns, ts_recv)
        self._follow(listing, message.sequence, rows, time_ns, ts_recv)

    def give(self, number: int, listing: Listing, rows: Rows, values: list[int], ts_recv: int) -> None:
        """Record what a shape has read about one order."""
        order, sequence, time_ns = values
        rows = self._rows.given(number, listing.instrument.symbol, rows, order, sequence)
        self._follow(listing, sequence, rows, time_ns, ts_recv)

    def _follow(self, listing: Listing, at: int, rows: Rows, time_ns: int, ts_recv: int) -> None:
        none = state_table.NONE
        kind = None if len(rows) > 1 else int(rows[0, PACKED]) >> KIND_SHIFT & 0xFF if len(rows) else Kind.LEVEL
        self._books.on_diff(listing, at, at, none, rows, time_ns, ts_recv, kind=kind)

    def reject(self, rejected: RejectError, listing: Listing, message: Message, ts_recv: int) -> None:
        """Account for a message of a product that cannot be recorded."""
        at = message.sequence
        self._market.rejects.add(rejected, listing, self._market.book_channel, ts_recv, at, first=at)

    def on_answer(self, listing: Listing, answer: Answer, now_ns: int) -> bool:
        """Record all orders of a product; False if they are not needed. Raises RejectError."""
        if not self.is_followed():
            return False
        try:
            book = messages.decode_answer(answer.body, messages.ORDERS)
            time_ns = rfc3339_ns(book.time) if book.time else 0
            rows = book_of_orders(listing.instrument, book, time_ns, now_ns)
        except RejectError as rejected:
            self._books.on_rejected_snapshot(listing, rejected, now_ns)
            raise
        return self._books.on_snapshot(listing, book.sequence, rows)

    def retry(self, listing: Listing, now_ns: int) -> None:
        """Ask again for an answer that has not come."""
        if self.wanted:
            self._books.retry_snapshot(listing, now_ns)
