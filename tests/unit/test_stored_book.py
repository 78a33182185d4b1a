"""The book at a time, from what is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from filled_store import fill
from numpy.typing import NDArray

from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import TICK, Flag, GapCause, Kind, Side, StatusCode
from tickplant.records.merge import join_records
from tickplant.store.reader import Store


def row(kind: Kind, seq: int, **fields: int) -> Records:
    record = np.zeros(1, TICK)
    record["kind"], record["seq"], record["instrument"] = kind, seq, 1
    record["ts_recv"], record["ts_event"] = 1000 + seq, 500 + seq
    for name, value in fields.items():
        record[name] = value
    return record


Records = NDArray[np.void]


def level(seq: int, side: Side, price: int, size: int, flags: int = Flag.LAST, **fields: int) -> Records:
    return row(Kind.LEVEL, seq, side=side, price=price, size=size, flags=flags, **fields)


def book_store(tmp_path: Path, *rows: Records) -> Store:
    instruments = InstrumentTable.load(tmp_path / "instruments.jsonl")
    instruments.register("venue", "AAA", 2, 3)
    instruments.register("venue", "BBB", 2, 3)
    fill(tmp_path, join_records(rows), flush=2)
    return Store(tmp_path)


SNAPSHOT = (
    level(0, Side.BID, 1, 1),  # before the snapshot: of no use
    row(Kind.CLEAR, 1, flags=Flag.SNAPSHOT),
    level(2, Side.BID, 100, 5, Flag.SNAPSHOT),
    level(3, Side.BID, 99, 6, Flag.SNAPSHOT),
    level(4, Side.ASK, 102, 7, Flag.SNAPSHOT | Flag.LAST),
)


def test_a_book_is_the_fold_of_the_records_up_to_a_time(tmp_path: Path) -> None:
    store = book_store(
        tmp_path,
        *SNAPSHOT,
        level(5, Side.BID, 100, 0),
        level(6, Side.ASK, 101, 1, Flag.PARTIAL),  # not of this book
        level(7, Side.ASK, 101, 3),
        level(8, Side.ASK, 55, 1, instrument=2),
        level(9, Side.ASK, 101, 4),
    )
    book = store.book("venue", "AAA", 1007)
    assert (book.bids.tolist(), book.asks.tolist()) == ([[99, 6]], [[101, 3], [102, 7]])
    assert (book.ts_event, book.ts_recv, book.stale) == (507, 1007, False)
    assert store.book("venue", "AAA", 1008).ts_recv == 1007
    assert store.book("venue", "AAA", 2000).asks.tolist() == [[101, 4], [102, 7]]
    assert book.instrument.price_scale == 2


def test_a_book_before_its_snapshot_is_empty_and_stale(tmp_path: Path) -> None:
    book = book_store(tmp_path, *SNAPSHOT).book("venue", "AAA", 1000)
    assert (len(book.bids), len(book.asks), book.ts_recv, book.stale) == (0, 0, 0, True)


def test_a_book_in_the_middle_of_its_snapshot_is_stale(tmp_path: Path) -> None:
    store = book_store(tmp_path, *SNAPSHOT)
    assert [store.book("venue", "AAA", at).stale for at in (1001, 1003, 1004)] == [True, True, False]


@pytest.mark.parametrize(
    "cause",
    [
        row(Kind.GAP, 5, price=GapCause.SEQUENCE, flags=Flag.ON_BOOK),
        row(Kind.STATUS, 5, price=StatusCode.DISCONNECTED, flags=Flag.ON_BOOK),
    ],
    ids=["gap", "disconnected"],
)
def test_a_gap_makes_the_book_stale_until_the_next_snapshot(tmp_path: Path, cause: Records) -> None:
    store = book_store(
        tmp_path,
        *SNAPSHOT,
        cause,
        level(6, Side.BID, 98, 9),
        row(Kind.CLEAR, 7, flags=Flag.SNAPSHOT),
        level(8, Side.BID, 97, 2, Flag.SNAPSHOT | Flag.LAST),
    )
    stale = store.book("venue", "AAA", 1006)
    assert (stale.stale, stale.bids.tolist(), stale.ts_recv) == (True, [[100, 5], [99, 6]], 1004)
    fresh = store.book("venue", "AAA", 1008)
    assert (fresh.stale, fresh.bids.tolist(), fresh.asks.tolist()) == (False, [[97, 2]], [])


def test_gaps_in_other_streams_and_other_statuses_leave_the_book_alone(tmp_path: Path) -> None:
    store = book_store(
        tmp_path,
        *SNAPSHOT,
        row(Kind.GAP, 5, price=GapCause.SEQUENCE, flags=Flag.ON_TRADE),
        row(Kind.STATUS, 6, price=StatusCode.CONNECTED, flags=Flag.ON_BOOK),
        row(Kind.STATUS, 7, price=StatusCode.DISCONNECTED, flags=Flag.ON_TRADE),
        row(Kind.STATUS, 8, price=StatusCode.DISCONNECTED, flags=Flag.ON_BOOK, instrument=2),
        row(Kind.GAP, 9, price=GapCause.SEQUENCE, flags=Flag.ON_BOOK, instrument=2),
    )
    assert not store.book("venue", "AAA", 2000).stale


def test_a_book_of_changed_scales_is_that_of_the_newest_snapshot(tmp_path: Path) -> None:
    store = book_store(tmp_path, *SNAPSHOT)
    again = InstrumentTable.load(tmp_path / "instruments.jsonl").register("venue", "AAA", 4, 3)
    later = [row(Kind.CLEAR, 5, instrument=again.id), level(6, Side.BID, 10_000, 5, instrument=again.id)]
    fill(tmp_path, join_records(later))
    assert store.book("venue", "AAA", 1004).instrument.price_scale == 2
    assert store.book("venue", "AAA", 2000).instrument.price_scale == 4
    assert store.book("venue", "AAA", 2000).bids.tolist() == [[10_000, 5]]
