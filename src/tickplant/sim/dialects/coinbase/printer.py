"""The synthetic market as a Coinbase prints it: what the exchange and Advanced Trade share. No I/O.

Changes of a book within 50 ms are one message. A client's book continues from the snapshot as of the last such message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.depth_book import DepthBook
from tickplant.records.layouts import Side
from tickplant.sim import order_flow
from tickplant.sim.dialect import Events, Printer
from tickplant.sim.dialects.coinbase.instruments import traded
from tickplant.sim.frames import Batch, batch_of
from tickplant.sim.market import Market
from tickplant.sim.sim_source import Listed, Traded
from tickplant.sim.templates import (
    ASKS,
    BIDS,
    CHANGES,
    NUMBER,
    PRICE,
    SIZE,
    STAMP,
    Renderer,
    Shape,
    Style,
    decimals_of,
    templates,
)

UPDATE_NS: Final = 50_000_000
WHOLE: Final = 1 << 20
"""More levels than a book has."""

# Kinds of streams of a product: those of the market, then those of a dialect.
TRADE: Final = 0
TICKER: Final = 1
BOOK: Final = 2

FRAME: Final = np.dtype(
    [
        *((name, "i8") for name in order_flow.MESSAGE.names or ()),
        ("run", "i8"),  # trade: number of rows that form one frame
        ("changes", "i8"),  # a name for all levels of the row
    ]
)
"""A frame, or one trade of it, before it becomes text."""


Levels = NDArray[np.int64]
"""[levels, 2] of tick and lots."""


def style(level: tuple[str, str, str], ask: tuple[str, str, str] | None = None) -> Style:
    """The form of numbers; `level` is the text around those of a level."""
    modes = dict.fromkeys(("price", "ask"), PRICE) | dict.fromkeys(("size", "ask_size"), SIZE)
    modes |= dict.fromkeys(("id", "first"), NUMBER)
    return Style(FRAME, modes | {"time": STAMP, "bids": BIDS, "asks": ASKS, "changes": CHANGES}, level, ask)


class CoinbasePrinter(Printer):
    """Trades, tickers and changes of books; a dialect adds its own streams."""

    unit_ns = 1  # of times that are printed as integers
    trade_kind = order_flow.TRADE  # which rows of the market are trades here; AGGREGATE if fills are merged

    def __init__(
        self,
        symbols: tuple[str, ...],
        names: Sequence[str],
        updates: tuple[Style, Sequence[str]],
        snapshots: tuple[Style, Sequence[str]],
        changed: Callable[[Listed], bytes],
        status: str,
    ) -> None:
        """Print the market of these symbols.

        Args:
            symbols: products.
            names: of the streams of a product, after `PRODUCT@`.
            updates: the form of the messages of these streams.
            snapshots: the form of the first messages for a new subscriber.
            changed: the frame that announces a change of an instrument.
            status: name of its stream.
        """
        self.instruments = [traded(symbol) for symbol in symbols]
        self.kinds = len(names)
        self.streams = [*(f"{symbol}@{name}" for symbol in symbols for name in names), status]
        self.intervals_ns = [UPDATE_NS]
        self.id_step = 1
        self.decimals = decimals_of(self.instruments)
        self._updates = self._renderer(*updates)
        self._snapshots = self._renderer(*snapshots)
        self._changed = changed
        self._books = [DepthBook() for _ in symbols]
        self._tickers = np.zeros(len(symbols), FRAME)

    def _renderer(self, how: Style, texts: Sequence[str]) -> Renderer:
        def shapes(one: Traded) -> list[Shape]:
            del one
            return [Shape(text) for text in texts]

        return Renderer(templates(how, shapes, self.instruments), self.decimals)

    def begin(self, market: Market) -> None:
        """Note books and best prices."""
        for symbol, book in enumerate(self._books):
            bids, asks = (np.array(market.book(symbol, side, WHOLE), np.int64) for side in (0, 1))
            book.snapshot(sided(bids, asks))
            row = self._tickers[symbol]
            row["kind"], row["symbol"], row["id"] = TICKER, symbol, market.update_id(symbol)
            row["price"], row["size"] = bids[0]
            row["ask"], row["ask_size"] = asks[0]

    def prepare(self) -> None:
        """Print the snapshots of a product."""
        self.ticker_snapshot(0, 0)
        self.book_snapshot(0, self.book_now(0), 0, 1)

    def needs(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """All updates of books, since the books are kept with or without listeners."""
        return np.ones(len(self.instruments) * (order_flow.DEPTH + 1), np.bool_)

    def render(
        self, events: Events, wanted: NDArray[np.bool_], variants: set[int]
    ) -> Iterator[tuple[int | None, Batch]]:
        """One batch for all variants."""
        del variants
        for row in events.rows[events.rows["kind"] == order_flow.DEPTH]:
            symbol, first, bids, asks = (int(row[name]) for name in ("symbol", "levels", "bids", "asks"))
            changes = events.levels[first : first + bids], events.levels[first + bids : first + bids + asks]
            self._books[symbol].update(sided(*changes))
        rows = np.zeros(events.rows.shape[0], FRAME)
        for name in order_flow.MESSAGE.names or ():
            rows[name] = events.rows[name]
        kind_of = {self.trade_kind: TRADE, order_flow.TICKER: TICKER, order_flow.DEPTH: BOOK}
        rows = rows[np.isin(rows["kind"], [*kind_of])]
        kinds = rows["kind"].copy()
        for theirs, ours in kind_of.items():
            rows["kind"][kinds == theirs] = ours
        rows["run"] = 1
        tickers = rows[rows["kind"] == TICKER]
        self._tickers[tickers["symbol"]] = tickers  # of several the last one stays
        self._tickers["time"][tickers["symbol"]] += events.origin_ns
        rows = self.arrange(rows, events)
        rows = rows[wanted[rows["symbol"] * self.kinds + rows["kind"]]]
        if rows.shape[0]:
            levels, origin_ns = self.levels(events), events.origin_ns
            yield None, self._updates.batch(rows, levels, sent_ns=0, origin_ns=origin_ns, unit_ns=self.unit_ns)

    def levels(self, events: Events) -> Levels:
        """The book levels of the rows that `arrange` has returned."""
        return events.levels

    def arrange(self, rows: NDArray[np.void], events: Events) -> NDArray[np.void]:
        """The rows in sending order, including those of a dialect's own streams."""
        del events
        return rows

    def changed(self, one: Listed) -> Batch:
        """A frame of the channel with the instrument data."""
        return batch_of([self._changed(one)], [len(self.streams) - 1], [0])

    # Snapshots for a new subscriber, at a time since the epoch.

    def book_now(self, symbol: int) -> DepthBook:
        """A copy of the book as of its last update."""
        return self._books[symbol].copy()

    def book_snapshot(self, symbol: int, book: DepthBook | None, now_ns: int, depth: int = WHOLE) -> bytes:
        """A whole book: `book`, or else the one that the next update continues."""
        sides = (book or self._books[symbol]).top(depth)
        row = np.zeros(1, FRAME)
        row["kind"], row["symbol"], row["time"] = BOOK, symbol, now_ns
        row["bids"], row["asks"] = map(len, sides)
        return self.printed(row, np.concatenate(sides))

    def ticker_snapshot(self, symbol: int, now_ns: int) -> bytes:
        """Best prices as last sent."""
        row = self._tickers[symbol : symbol + 1].copy()
        row["time"] = now_ns
        return self.printed(row, np.zeros((1, 2), np.int64))

    def trade_snapshot(self, trades: NDArray[np.void]) -> bytes:
        """Past trades of a product in the order of the frame: rows of order_flow.MESSAGE, times since the epoch."""
        rows = np.zeros(trades.shape[0], FRAME)
        for name in order_flow.MESSAGE.names or ():
            rows[name] = trades[name]
        rows["kind"], rows["run"] = TRADE, 1
        rows["run"][0] = trades.shape[0]
        return self.printed(rows, np.zeros((1, 2), np.int64))

    def printed(self, rows: NDArray[np.void], levels: Levels) -> bytes:
        """The text of a snapshot."""
        return self._snapshots.batch(rows, levels, sent_ns=0, origin_ns=0, unit_ns=self.unit_ns).payload(0)


def sided(bids: Levels, asks: Levels) -> NDArray[np.int64]:
    """Levels of (price, size) in a DepthBook's form."""
    sides = [np.full((len(side), 1), which) for side, which in ((bids, Side.BID), (asks, Side.ASK))]
    levels = np.vstack([bids.reshape(-1, 2), asks.reshape(-1, 2)])
    return np.hstack([np.vstack(sides), levels]).astype(np.int64, order="C")
