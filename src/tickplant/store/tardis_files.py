"""CSV files in the format of Tardis.dev, gzipped: VENUE_SORT_DAY_SYMBOL.csv.gz.

    trades               exchange,symbol,timestamp,local_timestamp,id,side,price,amount
    incremental_book_L2  exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount
    quotes               exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount
    book_ticker          likewise

Times are truncated to whole µs; `timestamp` equals `local_timestamp` if the venue gave no time. `quotes` are the best
bids and offers of the engine's book, `book_ticker` those that the venue sent. If the book at the start of a day is
known, the day's changes begin with it, as a snapshot. Rows are in stored order: a snapshot that waited for older
changes follows them, with its own, older time. On days without single trades, aggregate trades are written instead.
"""

from __future__ import annotations

import contextlib
import gzip
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any, Final, cast
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tickplant.instruments import Instrument
from tickplant.records.layouts import NO_PRICE, Flag, Kind, Schema, TradeFlag
from tickplant.store.daily_files import DAY_NS
from tickplant.store.day_exports import Content, Records
from tickplant.store.reader import Store
from tickplant.store.row_files import csv_field, decimal_text, joined_lines
from tickplant.store.stored_books import fold_at
from tickplant.store.top_of_book import tops

_TRADE_SIDES: Final = np.array(["unknown", "buy", "sell"])
_BOOK_SIDES: Final = np.array(["", "bid", "ask"])
_FIRST: Final = "exchange,symbol,timestamp,local_timestamp"
_QUOTES: Final = f"{_FIRST},ask_amount,ask_price,bid_price,bid_amount\n"
HEADERS: Final = {
    "trades": f"{_FIRST},id,side,price,amount\n",
    "incremental_book_L2": f"{_FIRST},is_snapshot,side,price,amount\n",
    "quotes": _QUOTES,
    "book_ticker": _QUOTES,
}


class TardisFiles:
    """See `day_exports.Form`."""

    def __init__(self) -> None:
        self.sorts: dict[str, tuple[Schema, frozenset[Kind] | None]] = {
            "trades": (Schema.TICK, frozenset({Kind.TRADE})),
            "incremental_book_L2": (Schema.TICK, frozenset({Kind.LEVEL, Kind.CLEAR, Kind.CHECKSUM})),
            "quotes": (Schema.BBO, None),
            "book_ticker": (Schema.TICK, frozenset({Kind.QUOTE})),
        }
        self.left_out: Counter[str] = Counter()

    def name(self, content: Content) -> str:
        """See Form."""
        return "_".join((content.venue, content.sort, content.date, f"{quote(content.symbol, safe='')}.csv.gz"))

    @contextlib.contextmanager
    def open(self, file: IO[bytes], content: Content) -> Iterator[IO[bytes]]:
        """See Form."""
        with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
            packed.write(HEADERS[content.sort].encode())
            yield cast("IO[bytes]", packed)

    def parts(self, store: Store, content: Content) -> Iterator[tuple[bytes | memoryview, int]]:
        """See Form."""
        if content.sort == "trades":
            found = self._trades(store, content)
        elif content.sort == "incremental_book_L2":
            found = self._changes(store, content)
        elif content.sort == "quotes":
            found = self._best(store, content)
        else:
            found = ((row, self._top_columns(row, top)) for row, top in tops(content.records(store)))
        for _, columns in found:
            if len(columns[0]):
                yield (
                    joined_lines(_with_commas([csv_field(content.venue), csv_field(content.symbol), *columns])),
                    len(columns[0]),
                )

    def _trades(self, store: Store, content: Content) -> Iterator[tuple[Instrument, list[Any]]]:
        void = int(TradeFlag.CANCELLED | TradeFlag.CORRECTION)
        aggregates = all(bool((trades["flags"] & Flag.AGGREGATE).all()) for _, trades in content.records(store))
        for row, trades in content.records(store):
            is_void = trades["flags"] & void != 0
            self.left_out["corrections of trades"] += int(np.count_nonzero(is_void))
            kept = trades[~is_void & (aggregates | (trades["flags"] & Flag.AGGREGATE == 0))]
            ids = pa.array(kept["venue_seq"], mask=kept["venue_seq"] == 0).cast(pa.string()).fill_null("")
            side = pa.array(_TRADE_SIDES[np.minimum(kept["side"], 2)])
            yield row, [*_times(kept), ids, side, *_numbers(row, kept["price"], kept["size"])]

    def _changes(self, store: Store, content: Content) -> Iterator[tuple[Instrument, list[Any]]]:
        start_ns = content.day * DAY_NS
        fold, row = fold_at(store, content.rows, start_ns - 1)
        begins = fold.snapshot()
        begins = begins[begins["kind"] == Kind.LEVEL]
        marks = SnapshotMarks()
        if len(begins) and not fold.book(row).stale:
            begins["ts_recv"] = start_ns
            marks.known = True
            yield row, _change_columns(row, begins, np.ones(len(begins), np.bool_))
        for changed, records in content.records(store):
            yield changed, _change_columns(changed, *marks.of(records))

    def _best(self, store: Store, content: Content) -> Iterator[tuple[Instrument, list[Any]]]:
        for row, best in content.records(store):
            stale = best["flags"] & Flag.STALE != 0
            self.left_out["best bids and offers of stale books"] += int(np.count_nonzero(stale))
            yield row, self._top_columns(row, best[~stale])

    def _top_columns(self, row: Instrument, best: Records) -> list[Any]:
        ask_price, ask_amount = _numbers(row, best["ask_price"], best["ask_size"])
        return [*_times(best), ask_amount, ask_price, *_numbers(row, best["bid_price"], best["bid_size"])]


class SnapshotMarks:
    """Which changes of a book are a snapshot: those of the first event with any changes after a CLEAR.

    A reader discards its book when a snapshot follows a change. So if one snapshot follows another, a change without
    effect is inserted between them: the removal of the first level of the new snapshot.
    """

    def __init__(self) -> None:
        self.known = False  # whether the last row belonged to a snapshot
        self._begins = False  # a CLEAR has come, and no level since
        self._inside = False

    def of(self, records: Records) -> tuple[Records, NDArray[np.bool_]]:
        """The levels, and whether each belongs to a snapshot.

        Args:
            records: LEVEL, CLEAR and CHECKSUM in stored order, one array after another.
        """
        own = records["flags"] & (Flag.PARTIAL | Flag.ON_ORDERS) == 0
        records = records[own]
        is_level, is_clear = records["kind"] == Kind.LEVEL, records["kind"] == Kind.CLEAR
        ends = records["flags"] & Flag.LAST != 0
        inside, first = np.zeros(len(records), np.bool_), np.zeros(len(records), np.bool_)
        clears = np.flatnonzero(is_clear).tolist()
        for start, stop in zip([0, *clears], [*clears, len(records)], strict=True):
            if start < stop and is_clear[start]:
                self._begins, self._inside = True, False
            levels = np.flatnonzero(is_level[start:stop]) + start
            if not len(levels) or not (self._begins or self._inside):
                continue
            if self._begins:
                first[levels[0]] = True
            last = np.flatnonzero(ends[levels[0] : stop])
            end = int(levels[0] + last[0]) + 1 if len(last) else stop
            inside[levels[0] : end] = True
            self._begins, self._inside = False, not len(last)
        inside, first, levels_only = inside[is_level], first[is_level], records[is_level]
        if not len(levels_only):
            return levels_only, inside
        before = np.concatenate([[self.known], inside[:-1]])
        self.known = bool(inside[-1])
        places = np.flatnonzero(first & before)
        removals = levels_only[places]
        removals["size"] = 0
        return np.insert(levels_only, places, removals), np.insert(inside, places, False)


def _change_columns(row: Instrument, levels: Records, snapshot: NDArray[np.bool_]) -> list[Any]:
    side = pa.array(_BOOK_SIDES[np.minimum(levels["side"], 2)])
    words = pa.array(np.where(snapshot, "true", "false"))
    return [*_times(levels), words, side, *_numbers(row, levels["price"], levels["size"])]


def _times(records: Records) -> list[pa.Array]:
    recv = records["ts_recv"]
    event = np.where(records["ts_event"] == 0, recv, records["ts_event"])
    return [pa.array(times // 1000).cast(pa.string()) for times in (event, recv)]


def _numbers(row: Instrument, prices: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[pa.Array]:
    """Prices and amounts as text, both empty if there is no price."""
    there = prices != NO_PRICE
    scales = (row.price_scale, row.size_scale)
    return [
        decimal_text(np.ascontiguousarray(values), np.full(len(values), scale, np.uint8), there).fill_null("")
        for values, scale in zip((prices, sizes), scales, strict=True)
    ]


def _with_commas(parts: list[Any]) -> list[Any]:
    commas: list[Any] = [part for each in parts for part in (each, ",")]
    return [*commas[:-1], "\n"]
