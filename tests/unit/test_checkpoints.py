"""Checkpoints of books: when they are due, what is in them, and that a book from one is the book from its snapshot."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_past import derive, fill, past_ticks
from remains import ring_name

from tickplant.books.fold import Book
from tickplant.books.level_books import Books
from tickplant.derive.book_checkpoints import checkpoint
from tickplant.engine.moments import MomentOutput, Schedule
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import CHECKPOINT, TICK, Flag, Kind, Schema, Side
from tickplant.shm.ring import Mode, Ring
from tickplant.store import stored_checkpoints
from tickplant.store.reader import Store

SECOND = 10**9
HOUR_NS = 3600 * SECOND
START_NS = 472_000 * HOUR_NS - 600 * SECOND  # so that an hour ends in between
SYMBOLS = ("AAA", "BBB", "CCC")


def received(*times_s: float) -> np.ndarray:
    ticks = np.zeros(len(times_s), TICK)
    ticks["ts_recv"] = [int(time * SECOND) for time in times_s]
    return ticks


# ---------------------------------------------------------------------------------------------------------------
# When they are due


def due(schedule: Schedule, ticks: np.ndarray) -> list[int]:
    places, start, latest_ns = [], 0, int(ticks["ts_recv"].max())
    while (place := schedule.due(ticks[start:], latest_ns)) < len(ticks) - start:
        start += place
        places.append(start)
    return places


def test_books_are_due_before_the_first_tick_of_each_later_period() -> None:
    ticks = received(7, 9.9, 10, 10.1, 9.5, 10.2, 19, 45, 40, 50)
    assert due(Schedule(10), ticks) == [2, 7, 9], "not at the first one, not for a step back, once for a pause"


@pytest.mark.parametrize("size", [1, 3, 100])
def test_when_books_are_due_does_not_depend_on_batches(size: int) -> None:
    ticks = received(*np.cumsum(np.random.default_rng(3).random(500)))
    schedule = Schedule(7)
    found = [start + at for start in range(0, 500, size) for at in due(schedule, ticks[start : start + size])]
    assert found == due(Schedule(7), ticks)
    assert len(found) > 20


def test_each_full_hour_has_a_checkpoint_right_after_it() -> None:
    ticks = received(3590, 3599.9, 3600.05, 3601)
    assert due(Schedule(1800), ticks) == [2]


def test_ticks_that_pass_are_taken_into_account() -> None:
    schedule = Schedule(10)
    schedule.skip(received(5, 31, 29))
    assert due(schedule, received(32, 39, 40.5)) == [2]


def test_a_period_of_zero_means_never() -> None:
    schedule = Schedule(0)
    schedule.skip(received(5))
    assert due(schedule, received(1, 1e6)) == []


# ---------------------------------------------------------------------------------------------------------------
# What is in them


def book(*rows: tuple[Kind, Side, int, int, int]) -> np.ndarray:
    ticks = np.zeros(len(rows), TICK)
    for seq, (kind, side, price, size, flags) in enumerate(rows):
        ticks[seq] = (50 + seq, 100 + seq, price, size, 7 + seq, 0, 1, kind, side, flags, seq)
    return ticks


SNAPSHOT = book(
    (Kind.CLEAR, Side.NONE, 0, 0, 0),
    (Kind.LEVEL, Side.BID, 10, 1, 0),
    (Kind.LEVEL, Side.BID, 9, 2, 0),
    (Kind.LEVEL, Side.ASK, 11, 3, Flag.LAST),
)
TICK_AFTER = book((Kind.TRADE, Side.BUY, 1, 1, Flag.LAST))[0]


def test_a_checkpoint_holds_the_levels_and_the_last_tick_that_the_book_took_in() -> None:
    books = Books()
    books.apply(SNAPSHOT)
    made = checkpoint(books.snapshot(1), TICK_AFTER)
    names = ["kind", "side", "price", "size"]
    assert made[names].tolist() == [(Kind.CLEAR, 0, 0, 0), *SNAPSHOT[names][1:].tolist()]
    assert made["flags"].tolist() == [Flag.SNAPSHOT] * 3 + [Flag.SNAPSHOT | Flag.LAST]
    assert set(made[["ts_event", "ts_recv", "source_seq"]].tolist()) == {(50, 100, 0)}, "of the tick after"
    assert set(made[["book_ts_event", "book_ts_recv", "book_seq", "venue_seq"]].tolist()) == {(53, 103, 3, 10)}


def test_an_empty_book_in_sync_has_one_as_well() -> None:
    books = Books()
    books.apply(book((Kind.CLEAR, Side.NONE, 0, 0, Flag.LAST)))
    made = checkpoint(books.snapshot(1), TICK_AFTER)
    assert made[["kind", "flags"]].tolist() == [(Kind.CLEAR, Flag.SNAPSHOT | Flag.LAST)]


def test_books_that_are_stale_or_incomplete_have_none() -> None:
    books = Books(max_levels=2)
    assert books.whole() == []
    books.apply(SNAPSHOT[:-1])
    assert books.whole() == [], "its snapshot is not complete"
    books.apply(SNAPSHOT)
    assert books.whole() == [1]
    books.apply(book((Kind.LEVEL, Side.ASK, 12, 1, 0)))
    assert books.whole() == [], "in the middle of an event"
    books.apply(book((Kind.LEVEL, Side.BID, 8, 1, Flag.LAST)))
    assert books.whole() == [], "its third bid was given up, so it is not what the ticks say"
    books.apply(book((Kind.LEVEL, Side.BID, 9, 0, Flag.LAST)))
    assert books.whole() == [], "nor later"
    books.apply(SNAPSHOT)
    assert books.whole() == [1]
    books.apply(book((Kind.GAP, Side.NONE, 1, 1, Flag.ON_BOOK | Flag.LAST)))
    assert books.whole() == []


# ---------------------------------------------------------------------------------------------------------------
# How they get into their ring


class Desk:
    """A small ring of checkpoints with a writer."""

    def __init__(self, folder: Path, **options: bool) -> None:
        name = ring_name()
        self.ring = Ring.create(name, Schema.CHECKPOINT, 16, epoch=1, doorbell_dir=folder)
        self.writer = self.ring.consumer("writer", Mode.GATING)
        self.output = MomentOutput(self.ring, lossless=False, while_waiting=self.write, **options)
        self.stored = np.zeros(0, CHECKPOINT)

    def write(self) -> None:
        records = self.writer.read(1000)
        self.writer.commit(self.writer.position)
        self.stored = np.concatenate([self.stored, records])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.output.close()
    made.writer.close()
    made.ring.unlink()
    made.ring.close()


def some(count: int, price: int) -> np.ndarray:
    records = np.zeros(count, CHECKPOINT)
    records["price"] = price
    return records


def test_what_the_ring_has_no_room_for_waits_and_is_numbered_without_a_hole(desk: Desk) -> None:
    desk.output.store(iter([some(10, 1), some(10, 2), some(40, 3)]))
    assert desk.output.waiting
    while desk.output.waiting:
        desk.write()
        desk.output.flush()
    desk.write()
    assert desk.stored["price"].tolist() == [1] * 10 + [2] * 10 + [3] * 40
    assert desk.stored["seq"].tolist() == list(range(60))
    assert (desk.output.stored, desk.output.dropped) == (3, 0)


def test_a_live_engine_drops_what_still_waits_but_never_a_part_of_a_checkpoint(desk: Desk) -> None:
    desk.output.store(iter([some(10, 1), some(10, 2), some(10, 3)]))
    desk.output.store(iter([some(10, 4)]))
    assert desk.output.dropped == 1, "the third: of the second, a part is in the ring"
    while desk.output.waiting:
        desk.write()
        desk.output.flush()
    desk.write()
    assert desk.stored["price"].tolist() == [1] * 10 + [2] * 10 + [4] * 10
    desk.output.store(iter([some(16, 5), some(3, 6)]))
    desk.output.store(iter([]))
    assert (desk.output.dropped, len(desk.output.waiting)) == (2, 0), "of this one nothing was in the ring"


def test_an_engine_whose_source_can_wait_drops_nothing(tmp_path: Path, desk: Desk) -> None:
    desk.output.close()
    output = MomentOutput(desk.ring, lossless=True, while_waiting=desk.write)
    for price in range(20):
        output.store(iter([some(30, price)]))
    output.close()
    desk.write()
    assert desk.stored["price"].tolist() == [price for price in range(20) for _ in range(30)]
    assert output.dropped == 0


# ---------------------------------------------------------------------------------------------------------------
# Books from them


class Past:
    """A store with checkpoints, and the same without."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plain = folder / "plain"
        table = InstrumentTable.load(self.plain / "instruments.jsonl")
        self.ids = [table.register("venue", symbol, 2, 8).id for symbol in SYMBOLS]
        self.ticks = past_ticks(self.ids, 12_000, seed=5, start_ns=START_NS, step_ns=SECOND // 10)
        self.derived = derive(table, folder, self.ticks)
        fill(self.plain, Schema.TICK, "feed", self.ticks)
        self.short = folder / "short"
        shutil.copytree(self.plain, self.short)
        fill(self.short, Schema.CHECKPOINT, "engine", self.derived[Schema.CHECKPOINT])

    def times(self) -> list[int]:
        """Some at random, and around each checkpoint."""
        random = np.random.default_rng(9)
        ticks = self.ticks["ts_recv"]
        heads = self.derived[Schema.CHECKPOINT]["ts_recv"]
        near = [int(time) + delta for time in random.choice(np.unique(heads), 12) for delta in (-1, 0, 1)]
        return near + random.integers(ticks.min(), ticks.max(), 40).tolist()


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return Past(tmp_path_factory.mktemp("past"))


def said(book: Book) -> tuple[object, ...]:
    return (book.instrument.id, book.bids.tolist(), book.asks.tolist(), book.ts_event, book.ts_recv, book.stale)


def test_a_book_from_a_checkpoint_is_the_book_from_its_snapshot_at_any_time(past: Past) -> None:
    plain, short = Store(past.plain), Store(past.short)
    for symbol in SYMBOLS:
        for at_ns in past.times():
            assert said(short.book("venue", symbol, at_ns)) == said(plain.book("venue", symbol, at_ns)), at_ns


def newest(past: Past, folder: Path, at_ns: int) -> stored_checkpoints.Checkpoint | None:
    first = past.ticks[past.ticks["kind"] == Kind.CLEAR][0]
    return stored_checkpoints.newest(
        Store(folder), "feed", int(first["instrument"]), after_seq=int(first["seq"]), after_ns=0, at_ns=at_ns
    )


def test_the_fold_of_a_book_begins_at_its_newest_checkpoint(past: Past) -> None:
    at_ns = int(past.ticks["ts_recv"][-1])
    found = newest(past, past.short, at_ns)
    assert found is not None
    heads = past.derived[Schema.CHECKPOINT]
    heads = heads[(heads["kind"] == Kind.CLEAR) & (heads["instrument"] == found.ticks[0]["instrument"])]
    assert len(heads) > 5
    assert found.source_seq == heads[-1]["source_seq"]
    assert newest(past, past.plain, at_ns) is None


def test_the_newest_checkpoint_by_a_time_names_a_tick_received_by_then(past: Past) -> None:
    for at_ns in past.times():
        found = newest(past, past.short, at_ns)
        if found is not None:
            assert past.ticks["ts_recv"][found.source_seq] <= at_ns
            assert (past.ticks["ts_recv"][: found.source_seq] <= at_ns).all()


def test_checkpoints_of_ticks_that_are_stored_otherwise_are_passed_over(past: Past, tmp_path: Path) -> None:
    """After a power cut, or of another feed, other ticks have those seqs."""
    other = tmp_path / "other"
    shutil.copytree(past.plain, other)
    moved = past.derived[Schema.CHECKPOINT].copy()
    moved["source_seq"] += 1
    fill(other, Schema.CHECKPOINT, "engine", moved)
    at_ns = int(past.ticks["ts_recv"][-1])
    assert newest(past, other, at_ns) is None
    assert said(Store(other).book("venue", "AAA", at_ns)) == said(Store(past.plain).book("venue", "AAA", at_ns))


def test_a_checkpoint_whose_end_is_missing_is_passed_over_for_the_one_before(past: Past, tmp_path: Path) -> None:
    made = past.derived[Schema.CHECKPOINT]
    id_ = int(past.ticks[past.ticks["kind"] == Kind.CLEAR][0]["instrument"])
    heads = np.flatnonzero((made["kind"] == Kind.CLEAR) & (made["instrument"] == id_))
    cut = heads[-1] + 3
    torn = tmp_path / "torn"
    shutil.copytree(past.plain, torn)
    again = made[heads[-3] :].copy()  # the next engine begins another one behind it
    fill(torn, Schema.CHECKPOINT, "engine", made[:cut])
    at_ns = int(past.ticks["ts_recv"][-1])
    found = newest(past, torn, at_ns)
    assert found is not None
    assert found.source_seq == made[heads[-2]]["source_seq"]
    again = np.concatenate([made[:cut], made[: heads[1]]])
    again["seq"] = np.arange(len(again))
    behind = tmp_path / "behind"
    shutil.copytree(past.plain, behind)
    fill(behind, Schema.CHECKPOINT, "engine", again)
    found = newest(past, behind, at_ns)
    assert found is not None
    assert (found.ticks["kind"] == Kind.CLEAR).sum() == 1


def test_a_damaged_checkpoint_does_not_keep_a_book_from_being_read(past: Past, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(past.short, folder)
    for path in (folder / "journal" / "engine" / "checkpoint").glob("*.tpj"):
        data = bytearray(path.read_bytes())
        data[200::97] = bytes(len(data[200::97]))
        path.write_bytes(data)
    at_ns = int(past.ticks["ts_recv"][-1])
    assert said(Store(folder).book("venue", "BBB", at_ns)) == said(Store(past.plain).book("venue", "BBB", at_ns))
