"""The synthetic market as Kraken prints it. No I/O.

A client's book is the window of the best levels as of the last update. All clients of a depth have the same window,
whenever they came, since a snapshot shows it too. So updates with their checksums are printed once for all.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.books.checksums import ALGORITHMS, BookChecksum, Digits
from tickplant.books.depth_book import DepthBook
from tickplant.records.layouts import Side
from tickplant.sim import order_flow
from tickplant.sim.dialect import Events, Printer
from tickplant.sim.dialects.kraken.instruments import instrument_frame, traded
from tickplant.sim.dialects.kraken.requested_channels import RequestedChannels
from tickplant.sim.dialects.kraken.shapes import (
    BOOK,
    DEPTHS,
    FRAME,
    INSTRUMENT,
    KINDS,
    STYLE,
    TICKER_BBO,
    snapshot_shapes,
    stream_names,
    update_shapes,
)
from tickplant.sim.dialects.kraken.window_kernels import (
    HIGH,
    STATS,
    VOLUME,
    frame_rows,
    put_ticker,
    put_trade,
    window_changes,
)
from tickplant.sim.frames import Batch, batch_of
from tickplant.sim.market import Market
from tickplant.sim.sim_source import Listed
from tickplant.sim.templates import Renderer, decimals_of, templates

UPDATE_NS: Final = 10_000_000
"""Changes of a book within this time are one update."""

Window = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Bids and asks, each [levels, 2] of tick and lots, from the best level on."""


@functools.lru_cache(maxsize=1024)
def _checksum(price_digits: int, size_digits: int) -> BookChecksum:
    return BookChecksum(ALGORITHMS["kraken"], Digits(price_digits, size_digits, price_digits, size_digits))


class KrakenPrinter(Printer):
    """Trades of one order are one frame; quotes carry the day's figures; books are cut to the depths."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.instruments = [traded(symbol) for symbol in symbols]
        own = [*(name for symbol in symbols for name in stream_names(symbol)), INSTRUMENT]
        self.intervals_ns = [UPDATE_NS]
        self.id_step = 1
        self.decimals = decimals_of(self.instruments)
        self.requested = RequestedChannels(self.instruments, self.decimals, len(own))
        self.streams = own + self.requested.streams
        self._updates = Renderer(templates(STYLE, update_shapes, self.instruments), self.decimals)
        self._snapshots = Renderer(templates(STYLE, snapshot_shapes, self.instruments), self.decimals)
        self._books = [DepthBook() for _ in symbols]
        self._windows: dict[int, Window] = {}  # by stream, for those with subscribers
        self._stats = np.zeros((len(symbols), STATS), np.int64)
        self._value = np.zeros(len(symbols))
        self._rows = np.zeros(1 << 10, FRAME)
        self._changes = np.zeros((4 * DEPTHS[-1], 2), np.int64)

    def begin(self, market: Market) -> None:
        """Note books and best prices."""
        for symbol, book in enumerate(self._books):
            sides = [
                np.array(market.book(symbol, side, 1 << 20), np.int64) for side in (order_flow.BID, order_flow.ASK)
            ]
            book.snapshot(_levels(*sides))
            first = self.instruments[symbol].first_tick
            self._stats[symbol, : HIGH + 1] = first
            self._stats[symbol, VOLUME + 1 :] = book.best

    def needs(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """All updates of books, since the books are kept with or without listeners."""
        return np.ones(len(self.instruments) * (order_flow.DEPTH + 1), np.bool_)

    def render(
        self, events: Events, wanted: NDArray[np.bool_], variants: set[int]
    ) -> Iterator[tuple[int | None, Batch]]:
        """One batch for all variants."""
        self.requested.forget(wanted)
        self.requested.on_trades(events)
        pieces: list[NDArray[np.void]] = []
        levels: list[NDArray[np.int64]] = []
        done = 0
        for at in np.flatnonzero(events.rows["kind"] == order_flow.DEPTH).tolist():
            pieces.append(self._trades_and_quotes(events.rows[done:at], events.origin_ns))
            self._update_books(events.rows[at], events.levels, wanted, pieces, levels, events.origin_ns)
            done = at + 1
        pieces.append(self._trades_and_quotes(events.rows[done:], events.origin_ns))
        rows = np.concatenate(pieces)
        rows = rows[wanted[rows["symbol"] * KINDS + rows["kind"]]]
        if rows.shape[0]:
            changes = np.concatenate(levels) if levels else self._changes[:0]
            yield None, self._updates.batch(rows, changes, sent_ns=0, origin_ns=events.origin_ns, unit_ns=1)
        if (requested := self.requested.batch()) is not None:
            yield None, requested

    def changed(self, one: Listed) -> Batch:
        """An update of the instrument channel."""
        return batch_of([instrument_frame("update", [one])], [self.streams.index(INSTRUMENT)], [0])

    def _trades_and_quotes(self, rows: NDArray[np.void], origin_ns: int) -> NDArray[np.void]:
        if 2 * rows.shape[0] > self._rows.shape[0]:
            self._rows = np.zeros(4 * rows.shape[0], FRAME)
        return self._rows[: frame_rows(rows, origin_ns, self._stats, self._value, self._rows)].copy()

    def _update_books(
        self,
        row: NDArray[np.void],
        levels: NDArray[np.int64],
        wanted: NDArray[np.bool_],
        pieces: list[NDArray[np.void]],
        changed: list[NDArray[np.int64]],
        origin_ns: int,
    ) -> None:
        symbol, first, bids, asks = (int(row[name]) for name in ("symbol", "levels", "bids", "asks"))
        book = self._books[symbol]
        mine = levels[first : first + bids + asks]
        book.update(_levels(mine[:bids], mine[bids:]))
        sides = [order_flow.BID] * bids + [order_flow.ASK] * asks
        rows = ((side, *level) for side, level in zip(sides, mine.tolist(), strict=True))
        self.requested.on_levels(symbol, rows, origin_ns + int(row["time"]), wanted)
        for stream in range(symbol * KINDS + BOOK, (symbol + 1) * KINDS):
            if not wanted[stream]:
                self._windows.pop(stream, None)
                continue
            depth = DEPTHS[stream % KINDS - BOOK]
            window = book.top(depth)
            old = self._windows.get(stream, window)
            self._windows[stream] = window
            bids_end = window_changes(old[0], window[0], depth, True, self._changes, 0)
            end = window_changes(old[1], window[1], depth, False, self._changes, bids_end)
            if end:
                pieces.append(self._book_row(stream, window, int(row["time"])))
                pieces[-1]["levels"] = sum(map(len, changed))
                pieces[-1]["bids"], pieces[-1]["asks"] = bids_end, end - bids_end
                changed.append(self._changes[:end].copy())

    def _book_row(self, stream: int, window: Window, time_ns: int) -> NDArray[np.void]:
        symbol, kind = divmod(stream, KINDS)
        price_step, price_digits, size_step, size_digits = self.decimals[symbol].tolist()
        steps = np.array([price_step, size_step])
        bids, asks = (side[:10] * steps for side in window)
        row = np.zeros(1, FRAME)
        row["symbol"], row["kind"], row["time"] = symbol, kind, time_ns
        row["checksum"] = row["id"] = _checksum(price_digits, size_digits).of_levels(bids, asks)
        return row

    def prepare(self) -> None:
        """Print the snapshots of a pair."""
        self.ticker_snapshot(0, 0)
        self.trade_snapshot(np.zeros(2, order_flow.MESSAGE))
        self.book_snapshot(BOOK, self.book_now(0), 0)

    # Snapshots, at a time since the epoch.

    def book_now(self, symbol: int) -> DepthBook:
        """A copy of the book as of its last update."""
        return self._books[symbol].copy()

    def book_snapshot(self, stream: int, book: DepthBook | None, now_ns: int) -> tuple[bytes, int]:
        """A snapshot of a book stream, and its checksum: of `book`, else of the book that the next update continues."""
        symbol, kind = divmod(stream, KINDS)
        window = (book or self._books[symbol]).top(DEPTHS[kind - BOOK])
        if book is None:
            self._windows[stream] = window
        row = self._book_row(stream, window, now_ns)
        row["bids"], row["asks"] = map(len, window)
        return self._snapshot(row, np.concatenate(window)), int(row["checksum"][0])

    def ticker_snapshot(self, symbol: int, now_ns: int) -> bytes:
        """Best prices and the day's figures."""
        row = np.zeros(1, FRAME)
        put_ticker(row, 0, TICKER_BBO, symbol, now_ns, self._stats, self._value)
        return self._snapshot(row, self._changes)

    def trade_snapshot(self, trades: NDArray[np.void]) -> bytes:
        """Past trades of a pair, rows of order_flow.MESSAGE with times since the epoch."""
        rows = np.zeros(trades.shape[0], FRAME)
        for used, trade in enumerate(trades):
            put_trade(trade, 0, rows, used, trades.shape[0] if used == 0 else 1)
        return self._snapshot(rows, self._changes)

    def _snapshot(self, rows: NDArray[np.void], levels: NDArray[np.int64]) -> bytes:
        return self._snapshots.batch(rows, levels, sent_ns=0, origin_ns=0, unit_ns=1).payload(0)


def _levels(bids: NDArray[np.int64], asks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Levels of (price, size) in a DepthBook's form."""
    sides = [np.full((len(side), 1), which) for side, which in ((bids, Side.BID), (asks, Side.ASK))]
    return np.hstack([np.vstack(sides), np.vstack([bids, asks])]).astype(np.int64, order="C")
