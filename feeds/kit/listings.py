"""The instruments of a feed: registered when they occur, shown to the kernel, continued after a restart."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from tickplant.feeds.contract import FeedContext
from tickplant.feeds.kit import state_table as sc
from tickplant.feeds.kit.book_tracker import BookTracker
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.shape_reader import ShapeReader
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.symbols import SymbolTable
from tickplant.feeds.last_ids import LastIds
from tickplant.instruments import Instrument
from tickplant.records.layouts import GapCause

_SYMBOL: Final = re.compile(r"[^\s\x00-\x1f*]{1,64}\Z")

KEPT_RANGES: Final = 256
"""Ranges kept per instrument of trades that did not fit its scales: new scales may admit them."""


class Listing:
    """One instrument of this feed: its row in the state table and its book."""

    def __init__(self, instrument: Instrument, slot: int, book: BookTracker) -> None:
        self.instrument = instrument
        self.slot = slot
        self.book = book
        self.snapshots_asked = 0
        self.overflowed = False  # a value exceeded 63 bits at these scales
        self.unfit: deque[tuple[str, int, int]] = deque(maxlen=KEPT_RANGES)  # channel, first, last id of such trades


class Listings:
    """All instruments of a feed, by symbol."""

    def __init__(self, context: FeedContext, shapes: Shapes, new_book: Callable[[Instrument], BookTracker]) -> None:
        """Nothing is registered yet.

        Args:
            context: gives the symbols and resolves their instruments; without symbols every symbol is recorded.
            shapes: of the venue's messages.
            new_book: makes the tracker of an instrument's book.
        """
        self.by_symbol: dict[str, Listing] = {}
        self.by_slot: list[Listing] = []
        self.by_id: dict[int, Listing] = {}  # by id of the instrument
        self.labels: dict[str, str] = {}  # symbols by the name that the venue's data carry, where the two differ
        self.stated_scales: dict[str, tuple[int | None, int | None]] = {}  # (price, size) in the instrument data
        self.state = np.zeros((8, sc.STATE_COLUMNS), np.int64)
        self._table = SymbolTable()
        self.reader = ShapeReader(shapes, self._table, self.state)
        self.last: dict[str, LastIds] = {}  # last recorded ids of symbols that have not occurred yet
        self.before: Mapping[str, tuple[int, LastIds]] = {}  # see Continued
        self._symbols = None if context.symbols is None else frozenset(context.symbols)
        self._removed: dict[str, Listing | None] = {}  # symbols no longer recorded, at an operator's request
        self._resolve = context.resolve
        self._expect = context.expect
        self._new_book = new_book

    def add(self, symbol: str) -> Listing:
        """Register an instrument with the scales that the venue has stated."""
        instrument = self.resolve(symbol)
        listing = Listing(instrument, len(self.by_slot), self._new_book(instrument))
        if listing.slot == len(self.state):
            self.state = np.concatenate([self.state, np.zeros_like(self.state)])
            self.reader.use_state(self.state)
        self.show(listing)
        self.state[listing.slot, [sc.LAST_TRADE, sc.LAST_AGG, sc.LAST_QUOTE]] = sc.NONE
        self.by_symbol[symbol] = listing
        self.by_slot.append(listing)
        self._enter(listing)
        self._resume(listing)
        if symbol in self.before:
            self._go_on(listing, *self.before[symbol])
        return listing

    def add_all(self, symbols: Sequence[str]) -> None:
        """`add` each; new symbols are registered together."""
        self._expect([(symbol, *self.stated_scales.get(symbol, (None, None))) for symbol in symbols])
        for symbol in symbols:
            self.add(symbol)

    def resolve(self, symbol: str, *, exact: bool = False) -> Instrument:
        """The instrument of a symbol at the scales that the venue has stated; see Resolver."""
        scales = self.stated_scales.get(symbol, (None, None))
        return self._resolve(symbol, *scales, exact=True) if exact else self._resolve(symbol, *scales)

    def show(self, listing: Listing) -> None:
        """Show the instrument of a listing to the kernel."""
        instrument = listing.instrument
        self.by_id[instrument.id] = listing
        self.state[listing.slot, [sc.INSTRUMENT, sc.PRICE_SCALE, sc.SIZE_SCALE]] = (
            instrument.id,
            instrument.price_scale,
            instrument.size_scale,
        )

    def get(self, symbol: str) -> Listing | None:
        """The listing of a symbol, registered if new; None if the symbol is not recorded here. Raises RejectError."""
        if self.labels:
            symbol = self.labels.get(symbol, symbol)
        listing = self.by_symbol.get(symbol)
        if listing is None and (symbol not in self._removed if self._symbols is None else symbol in self._symbols):
            if not self.is_symbol(symbol):
                raise RejectError("value", f"{symbol[:100]!r} is not a symbol")
            listing = self.add(symbol)
        return listing

    @staticmethod
    def is_symbol(text: str) -> bool:
        """Whether a text can name an instrument."""
        return _SYMBOL.match(text) is not None

    def follow(self, symbol: str) -> Listing:
        """Record a symbol from now on. A symbol recorded before gets its former listing."""
        if self._symbols is not None:
            self._symbols |= {symbol}
        listing = self._removed.pop(symbol, None)
        if listing is None:
            return self.add(symbol)
        self.by_symbol[symbol] = listing
        self._enter(listing)
        return listing

    def unfollow(self, symbol: str) -> None:
        """Stop recording a symbol: its messages belong to no instrument from now on."""
        if self._symbols is not None:
            self._symbols -= {symbol}
        self._removed[symbol] = self.by_symbol.pop(symbol, None) or self._removed.get(symbol)
        for name in self._names(symbol):
            self._table.remove(name)

    def _enter(self, listing: Listing) -> None:
        for name in self._names(listing.instrument.symbol):
            self._table.add(name, listing.slot)

    def _names(self, symbol: str) -> list[str]:
        return [symbol, *(label for label, of in self.labels.items() if of == symbol)]

    def in_any_case(self, symbol: str) -> Listing | None:
        """Like `get`, for a venue that writes the symbol in lower case."""
        symbols = (each for each in self._symbols or self.by_symbol if each.lower() == symbol.lower())
        return self.get(next(symbols, symbol.upper()))

    # Continuing earlier records.

    def resume(self, last: Mapping[str, LastIds]) -> None:
        """Continue after an earlier process, which recorded up to these ids, by symbol."""
        self.last = dict(last)
        for listing in self.by_slot:
            self._resume(listing)

    def _resume(self, listing: Listing) -> None:
        ids, row = self.last.pop(listing.instrument.symbol, LastIds()), self.state[listing.slot]
        for column, last in ((sc.LAST_TRADE, ids.trade), (sc.LAST_AGG, ids.agg_trade), (sc.LAST_QUOTE, ids.quote)):
            if last is not None:
                row[column : column + 3] = (*last, GapCause.RESTART)
        if ids.book is not None:
            listing.book.resume(ids.book[0], GapCause.RESTART)

    def _go_on(self, listing: Listing, instrument: int, ids: LastIds) -> None:
        row = self.state[listing.slot]
        for column, last in ((sc.LAST_TRADE, ids.trade), (sc.LAST_AGG, ids.agg_trade), (sc.LAST_QUOTE, ids.quote)):
            if last is not None:
                row[column : column + 2] = last
        if ids.book is not None:
            # The levels of an instrument with other scales belong to another book.
            live = bool(ids.live) and instrument == listing.instrument.id
            listing.book.go_on(ids.book[0], live=live, after_snapshot=ids.snapshot)
            listing.snapshots_asked = 1
