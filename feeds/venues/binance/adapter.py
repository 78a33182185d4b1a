"""The Binance adapter: the specifics of this venue's messages, in the hooks of kit.venue_adapter.

What is recorded where the venue leaves room:

* A diff without levels advances the book's id and leaves no record. Completeness of a book does not rest on the ids in
  the store (they are not consecutive), but on every hole being a GAP.
* Diffs held back for a snapshot keep their own ts_recv, so within one instrument ts_recv may step back there.
* A diff that arrives after a snapshot that contains it is dropped and counted as a duplicate.
* Partial books (depth5, 10, 20) become CLEAR and LEVELs with flag PARTIAL. Without the stream's name, that is on a raw
  connection, a futures partial book looks like a diff, and a spot one like a small snapshot (see unnamed.py); this
  adapter uses combined streams.
* Fills made off the book (futures, `X` other than MARKET) use up their ids, and are counted by origin.
* A rejected frame is a GAP (REJECTED) at once, on its stream if that is known, else on `*` (feeds/rejections.py).
* Changes of the venue's instruments while the feed runs are recorded and followed (kit/instrument_life.py).
* CONNECTED, DISCONNECTED and HANDOVER carry the ON_ flags of the channels concerned. DISCONNECTED is recorded for each
  instrument of the connection, since it makes books stale; records on `*` are informational.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from tickplant.feeds.contract import WS, Answer, FeedContext, Resubscribe
from tickplant.feeds.kit import shape_kernels, state_table
from tickplant.feeds.kit.book_sync import BookSync
from tickplant.feeds.kit.diff_books import DiffBooks
from tickplant.feeds.kit.emitter import count_name
from tickplant.feeds.kit.level_rows import book_rows, event_rows
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.numbers import epoch_ns
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import RequestBudget, SnapshotThrottle
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.subscriptions import Subscriptions
from tickplant.feeds.kit.venue_adapter import VenueAdapter
from tickplant.feeds.venues.binance import attribution, messages, other_events, shapes
from tickplant.feeds.venues.binance.other_messages import Kline, Liquidation, MarkPrice
from tickplant.feeds.venues.binance.rest_api import (
    DEPTH,
    TradeArchive,
    depth_request,
    instrument_source,
    symbol_infos,
    trade_event,
)
from tickplant.feeds.venues.binance.snapshot_rows import snapshot_rows
from tickplant.feeds.venues.binance.streams import StreamCodec, channels_of, links
from tickplant.feeds.venues.binance.unnamed import Unnamed, UnnamedSnapshots
from tickplant.feeds.venues.binance.venue import COINM, REQUEST_BYTES, SPOT, STREAMS_PER_CONNECTION, USDM, Rules
from tickplant.records.batch import Rows
from tickplant.records.layouts import Flag, StatusCode
from tickplant.venues import VENUES

SYMBOL_REFUSED: Final = (400, 404)
"""HTTP status of an answer about a symbol that the venue does not have."""

DISCOVERED: Final = 16
"""Instruments assumed to share the room for held diffs, if their number is unknown."""

LEAST_HELD: Final = 4096
"""Minimum of records held back per book, however many books share the room."""

_SHAPES: Final = {
    rules.venue: Shapes(those) for rules, those in ((SPOT, shapes.SPOT), (USDM, shapes.USDM), (COINM, shapes.COINM))
}


class BinanceAdapter(VenueAdapter):
    """One feed of spot, USD-M or COIN-M futures."""

    def __init__(
        self, rules: Rules, context: FeedContext, *, held_records: int = 1 << 20, use_shapes: bool = True
    ) -> None:
        """No events so far.

        Args:
            rules: which venue.
            context: configures the adapter. Its endpoint `ws` is a base address that carries all streams.
            held_records: levels held back for snapshots, over all books (64 bytes each); each book has its share.
            use_shapes: False decodes everything with the reference decoder.
        """
        symbols = context.symbols
        # A book that never gets its snapshot must not take the others' room.
        held_limit = max(held_records // (len(symbols) if symbols else DISCOVERED), LEAST_HELD)
        market = Market(
            context,
            _SHAPES[rules.venue],
            lambda _: BookSync(chained=rules.futures, held_limit=held_limit),
            attribution.owner,
        )
        plan = links(rules, symbols or (), context.channels, context.endpoints.get(WS, ""))
        budget = RequestBudget(rules.snapshot_interval_s, rules.snapshot_burst)
        super().__init__(
            rules.venue,
            context,
            market,
            Subscriptions(
                plan,
                StreamCodec(context.depth or VENUES[rules.venue].depths[0]),
                silent_s=context.silent_s,
                streams_per_link=STREAMS_PER_CONNECTION,
                request_bytes=REQUEST_BYTES,
            ),
            budget,
            carried_by=lambda name: channels_of(name, rules),
            instruments=instrument_source(rules, budget),
            history=TradeArchive(rules),
            use_shapes=use_shapes,
        )
        self._rules = rules
        self._throttle = SnapshotThrottle(budget)
        self._unnamed = UnnamedSnapshots(market.listings.by_symbol, self._on_owner, futures=rules.futures)
        self._books = DiffBooks(market, self.links, self._after_diff)

    # Frames.

    def read(self, frame: bytes, ts_recv: int) -> bool:
        """Record one frame with the reference decoder. Raises RejectError."""
        message = messages.decode(frame)
        match message:
            case messages.Trade() | messages.AggTrade():
                return self._on_trade(message, ts_recv)
            case messages.BookTicker():
                return self._on_quote(message, ts_recv)
            case messages.Diff():
                return self._on_diff(message, ts_recv)
            case messages.PartialDepth():
                return self._on_partial(message, ts_recv)
            case Kline() | MarkPrice() | Liquidation():
                return other_events.record(self.market, message, ts_recv)
            case messages.Snapshot():
                self._unnamed.add(Unnamed(message, frame, ts_recv))
                return True
            case messages.NamedSnapshot():
                listing = self.market.listings.in_any_case(message.symbol)
                return listing is not None and self._on_snapshot(listing, message.body, ts_recv)
            case messages.Answer():
                self.subscriptions.acknowledge(message.id, ts_recv)
                return False
            case messages.Refusal():
                raise self.refused(message.id, f"{message.code} {message.text}", ts_recv)
            case messages.Shutdown():
                self._on_shutdown(message, ts_recv)
                return True
            case messages.ExchangeInfo():
                self.life.take(symbol_infos(message, self._rules), ts_recv, whole=False)
                return False
            case messages.Ignored():
                count_name(self.counts.ignored_kinds, message.kind)
                return False

    def give(self, number: int, slot: int, rows: Rows, values: list[int], ts_recv: int) -> None:
        """Record or hold a depth diff."""
        del number
        first, last, previous, ts_event = values
        self._books.on_diff(self.market.listings.by_slot[slot], first, last, previous, rows, ts_event, ts_recv)

    def _on_trade(self, trade: messages.Trade | messages.AggTrade, ts_recv: int) -> bool:
        listing = self.market.listings.get(trade.symbol)
        if listing is None:
            return False
        on_book = not isinstance(trade, messages.Trade) or trade.origin == messages.MARKET
        try:
            event = trade_event(trade)
        except RejectError as rejected:
            channel = "trade" if isinstance(trade, messages.Trade) else "agg_trade"
            self.market.rejects.add(rejected, listing, channel, ts_recv, trade.id)
            raise
        new = self.market.on_trade(listing, event, ts_recv, on_book=on_book)
        if new and isinstance(trade, messages.Trade) and not on_book:
            count_name(self.counts.off_book, trade.origin)
        return True

    def _on_quote(self, quote: messages.BookTicker, ts_recv: int) -> bool:
        listing = self.market.listings.get(quote.symbol)
        if listing is None:
            return False
        try:
            ts_event = epoch_ns(quote.time)
        except RejectError as rejected:
            self.market.rejects.add(rejected, listing, "quote", ts_recv, quote.id)
            raise
        bid, ask = (quote.bid_price, quote.bid_size), (quote.ask_price, quote.ask_size)
        self.market.on_quote(listing, quote.id, bid, ask, ts_event, ts_recv)
        return True

    # Books.

    def _on_diff(self, diff: messages.Diff, ts_recv: int) -> bool:
        listing = self.market.listings.get(diff.symbol)
        if listing is None:
            return False
        try:
            ts_event = epoch_ns(diff.time)
            rows = event_rows(listing.instrument, diff.bids, diff.asks, ts_event, ts_recv, diff.last)
        except RejectError as rejected:
            self.market.rejects.add(rejected, listing, "book", ts_recv, diff.last, first=diff.first)
            raise
        previous = state_table.NONE if diff.previous is None else diff.previous
        self._books.on_diff(listing, diff.first, diff.last, previous, rows, ts_event, ts_recv)
        return True

    def _on_partial(self, book: messages.PartialDepth, ts_recv: int) -> bool:
        listing = self.market.listings.in_any_case(book.stream_symbol)
        if listing is None:
            return False
        flags = Flag.SNAPSHOT | Flag.PARTIAL
        try:
            ts_event = epoch_ns(book.time)
            rows = book_rows(listing.instrument, book.bids, book.asks, ts_event, ts_recv, book.id, flags)
        except RejectError as rejected:
            self.market.rejects.add(rejected, listing, "partial_book", ts_recv, book.id)
            raise
        self.market.others.on_partial_book(listing, rows, ts_recv)
        return True

    def fetch_book(self, symbol: str, now_ns: int) -> None:
        """Request the book over REST."""
        self.effects.append(depth_request(self._rules, symbol, self._throttle.next_ns(symbol, now_ns)))

    def answered(self, answer: Answer, now_ns: int) -> None:
        """Record a whole book."""
        known, symbol = self.market.listings, answer.request.key.removeprefix(DEPTH)
        try:
            listing = known.by_symbol.get(symbol) if self.live else known.get(symbol)
        except RejectError:
            return  # no feed can have asked for this symbol
        if listing is None or symbol == answer.request.key:
            return
        if answer.status != 200:
            self._books.retry_snapshot(listing, now_ns)
            if answer.status in SYMBOL_REFUSED:
                self.life.doubt(now_ns)
            return
        self.counts.frames += 1
        try:
            recorded = self._on_snapshot(listing, answer.body, now_ns)
            self.counts.parsed += recorded
            self.counts.ignored += not recorded
        except RejectError as rejected:
            self._books.on_rejected_snapshot(listing, rejected, now_ns)
            self.reject(rejected, answer.body, now_ns)

    def _on_snapshot(self, listing: Listing, body: bytes, ts_recv: int) -> bool:
        return self._books.on_snapshot(listing, *snapshot_rows(listing.instrument, body, ts_recv))

    def _after_diff(self, ts_recv: int) -> None:
        if self._unnamed.pending:
            self._unnamed.settle(ts_recv)

    def _on_owner(self, snapshot: Unnamed, book: Listing | None, rejected: RejectError | None) -> None:
        # The snapshot was held until now, and so counted as parsed.
        if rejected is not None:
            self.counts.parsed -= 1
            self.reject(rejected, snapshot.body, snapshot.ts_recv)
        elif book is not None:
            try:
                recorded = self._books.on_snapshot(book, snapshot.id, snapshot.rows(book.instrument))
            except RejectError as error:
                self.counts.parsed -= 1
                self.reject(error, snapshot.body, snapshot.ts_recv)
                return
            self.counts.parsed -= not recorded
            self.counts.ignored += not recorded

    def ended(self) -> None:
        """Reject the snapshots that still belong to no book: they never will."""
        self._unnamed.finish()

    def _on_shutdown(self, notice: messages.Shutdown, ts_recv: int) -> None:
        self.market.status(StatusCode.SHUTDOWN_NOTICE, ts_recv, ts_event=epoch_ns(notice.time))
        link = self.subscriptions.links.get(self.link)
        if link is not None and not link.replacing:
            link.replacing = True
            self.effects.append(Resubscribe(self.link, "the venue is shutting it down", overlap=True))


spot: Final = partial(BinanceAdapter, SPOT)
"""Makes the adapter of a spot feed."""

usdm: Final = partial(BinanceAdapter, USDM)
"""Makes the adapter of a USD-M futures feed."""

coinm: Final = partial(BinanceAdapter, COINM)
"""Makes the adapter of a COIN-M futures feed."""

warm_up: Final = shape_kernels.warm_up
