"""Verify holds stored books against their checksums, and names those that disagree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kraken_tools import KrakenDesk, book, checksum

from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Flag, GapCause, Kind, Schema
from tickplant.records.notes import make_gaps
from tickplant.store.verify import verify
from tickplant.writer.journal import Journal

SYMBOLS = ("BTC/USD", "ETH/USD")
BIDS = [(f"{100 - n}.5", "1.00000000") for n in range(10)]
ASKS = [(f"{200 + n}.5", "2.00000000") for n in range(10)]
UPDATES = 40


def recorded() -> tuple[KrakenDesk, np.ndarray]:
    """What a feed records of two books, each change with its checksum."""
    desk = KrakenDesk(None)
    parts = []
    for number in range(UPDATES):
        bids = [(BIDS[0][0], f"{number + 1}.00000000"), *BIDS[1:]]
        for symbol in SYMBOLS:
            new, asks, kind = (bids, ASKS, "snapshot") if number == 0 else (bids[:1], [], "update")
            text = book(new, asks, checksum(bids, ASKS), symbol=symbol, kind=kind)
            desk.frames("", [text.encode()], 1_788_264_000_000_000_000 + number)
            parts.append(desk.take_ticks())
    assert desk.adapter.counters.checksums_ok == 2 * UPDATES
    return desk, np.concatenate(parts)


def id_of(desk: KrakenDesk, symbol: str) -> int:
    (ident,) = [row.id for row in desk.instruments if row.symbol == symbol]
    return ident


def store(folder: Path, desk: KrakenDesk, ticks: np.ndarray, chunk: int) -> None:
    table = InstrumentTable.load(folder / "instruments.jsonl")
    for row in desk.instruments:
        assert table.register(row.venue, row.symbol, row.price_scale, row.size_scale).id == row.id
    ticks["seq"] = np.arange(len(ticks))
    journal = Journal(folder, Schema.TICK, "feed", rotate_bytes=2000)
    for start in range(0, len(ticks), chunk):
        journal.append(ticks[start : start + chunk])
        journal.flush()
    journal.close()


@pytest.mark.parametrize("chunk", [7, 1000])  # events are cut, or not
def test_books_that_agree_are_counted(tmp_path: Path, chunk: int) -> None:
    desk, ticks = recorded()
    store(tmp_path, desk, ticks, chunk)
    report = verify(tmp_path)
    assert report.problems == []
    assert [journal.checksums for journal in report.journals] == [2 * UPDATES]


def test_a_book_that_was_stored_wrongly_is_named_once_with_the_first_place(tmp_path: Path) -> None:
    desk, ticks = recorded()
    own = ticks["instrument"] == id_of(desk, "ETH/USD")
    place = int(np.flatnonzero((ticks["kind"] == Kind.LEVEL) & own)[22])  # behind the snapshot's twenty: third update
    ticks["price"][place] += 1
    store(tmp_path, desk, ticks, 7)
    report = verify(tmp_path)
    (problem,) = report.problems
    wrong = UPDATES - 3
    assert (problem.kind, problem.first_seq, problem.last_seq) == ("checksum", place + 1, len(ticks) - 1)
    assert problem.text == f"kraken ETH/USD: the book as stored disagrees with {wrong} of {UPDATES} checksums"
    assert Path(problem.path).is_file()
    assert not report.ok
    assert [journal.checksums for journal in report.journals] == [2 * UPDATES - wrong]


def test_a_stale_book_is_not_compared(tmp_path: Path) -> None:
    desk, ticks = recorded()
    ident = id_of(desk, "BTC/USD")
    gap = make_gaps(ident, GapCause.DISCONNECT, flags=Flag.ON_BOOK)
    gap["ts_recv"] = ticks["ts_recv"][0]
    place = int(np.flatnonzero(ticks["kind"] == Kind.CHECKSUM)[9]) + 1
    behind = ticks[place:]
    behind["size"] += (behind["kind"] == Kind.LEVEL) & (behind["instrument"] == ident)
    store(tmp_path, desk, np.concatenate([ticks[:place], gap, behind]), 1000)
    report = verify(tmp_path)
    assert [problem for problem in report.problems if problem.kind == "checksum"] == []
    assert report.journals[0].checksums == UPDATES + 5
