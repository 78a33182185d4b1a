"""The orders of Coinbase Exchange, one by one, as records.

An order is on the book from `open` on. Earlier messages (`received`) change nothing, nor do orders that never get
there, such as one that is filled at once. A trade takes its size from the maker's order, so a filled order is gone
before `done` says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tickplant.feeds.kit.level_rows import packed_word
from tickplant.feeds.kit.numbers import price, size
from tickplant.feeds.kit.order_ids import order_word
from tickplant.feeds.venues.coinbase import messages
from tickplant.feeds.venues.coinbase.shapes import CANCELED, RECEIVED
from tickplant.instruments import Instrument
from tickplant.records.batch import FLAGS_SHIFT, PACKED, WORDS, Rows
from tickplant.records.layouts import Flag, Kind, Side

SIDES = {"buy": Side.BID, "sell": Side.ASK}
_NONE: Rows = np.zeros((0, WORDS), np.int64)


class OrderRows:
    """Makes the records of each message; remembers which received orders are not on the book yet."""

    def __init__(self) -> None:
        self._received: dict[str, set[int]] = {}  # by product
        self._last: dict[str, int] = {}  # newest sequence by product

    def _go_on(self, product: str, sequence: int) -> set[int] | None:
        """The orders not yet on the book before a message; None if the message is a repeat."""
        last = self._last.get(product, -1)
        if sequence <= last:
            return None
        self._last[product] = sequence
        received = self._received.setdefault(product, set())
        if sequence > last + 1:
            received.clear()  # a missed message may have put them on the book
        return received

    def given(self, number: int, product: str, rows: Rows, order: int, sequence: int) -> Rows:
        """The row that a shape has read; empty if it changes no book."""
        received = self._go_on(product, sequence)
        if received is None:
            return _NONE
        if number == RECEIVED:
            received.add(order)
            return _NONE
        never_open = order in received
        received.discard(order)
        return _NONE if never_open and number == CANCELED else rows

    def of(self, instrument: Instrument, message: messages.Order | messages.Match, ts_event: int, ts_recv: int) -> Rows:
        """ORDER records of one message, the last with LAST; empty if it changes no book. Raises RejectError."""
        product = message.product_id
        received = self._go_on(product, message.sequence)
        if received is None:
            return _NONE
        word = order_word(message.maker_order_id if isinstance(message, messages.Match) else message.order_id)

        def row(kind: Kind, price_text: str | None, size_text: str, flags: int = Flag.LAST) -> list[int]:
            return [
                ts_event,
                ts_recv,
                0 if price_text is None else price(price_text, instrument.price_scale),
                size(size_text, instrument.size_scale),
                message.sequence,
                word,
                packed_word(instrument, kind, SIDES[message.side], flags),
                0,
            ]

        rows: list[list[int]] = []
        match message:
            case messages.Match():
                fill = row(Kind.ORDER_FILL, message.price, message.size, 0)
                rows = [fill, row(Kind.ORDER_CANCEL, message.price, message.size)]
            case messages.Received():
                received.add(word)
            case messages.Open():
                received.discard(word)
                rows = [row(Kind.ORDER_ADD, message.price, message.remaining_size)]
            case messages.Done():
                never_open = word in received or message.price is None
                received.discard(word)
                if not never_open and message.reason != "filled":
                    rows = [row(Kind.ORDER_CANCEL, message.price, "0")]
            case messages.Altered(new_size=str(new_size)) if word not in received:
                new_price = message.new_price or message.price
                if new_price is not None:
                    rows = [row(Kind.ORDER_MODIFY, new_price, new_size)]
            case _:
                pass
        return np.array(rows, np.int64) if rows else _NONE


def book_of_orders(instrument: Instrument, book: messages.OrderBook, ts_event: int, ts_recv: int) -> Rows:
    """CLEAR, then an ORDER_ADD for each order, as one event. Raises RejectError."""

    def words() -> Iterator[list[int]]:
        flags, scales = Flag.SNAPSHOT, (instrument.price_scale, instrument.size_scale)
        yield [ts_event, ts_recv, 0, 0, book.sequence, 0, packed_word(instrument, Kind.CLEAR, flags=flags | ORDERS), 0]
        for side, orders in ((Side.BID, book.bids), (Side.ASK, book.asks)):
            packed = packed_word(instrument, Kind.ORDER_ADD, side, flags)
            for price_text, size_text, order in orders:
                mantissas = price(price_text, scales[0]), size(size_text, scales[1])
                yield [ts_event, ts_recv, *mantissas, book.sequence, order_word(order), packed, 0]

    rows = np.array([*words()], np.int64)
    rows[-1, PACKED] |= Flag.LAST << FLAGS_SHIFT
    return rows


ORDERS = Flag.ON_ORDERS
