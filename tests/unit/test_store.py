"""The store reader: ranges, kinds, clocks, several producers, several ids, and what it says of damage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filled_store import fill, table
from made_records import START_NS, make_records, make_ticks
from numpy.typing import NDArray

from tickplant.errors import DamageError, StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import TICK, Flag, Kind, Schema, Side
from tickplant.records.merge import join_records, merge_by_receive_time
from tickplant.store.chunk_files import ChunkFiles
from tickplant.store.reader import Store
from tickplant.store.segments import Chunk, Range
from tickplant.store.selection import Selection
from tickplant.writer.index import Damage, index_path, load_index
from tickplant.writer.journal import Journal

Records = NDArray[np.void]
TICKS = make_ticks(2000)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    table(tmp_path)
    fill(tmp_path, TICKS)
    return Store(tmp_path)


def joined(blocks: Iterable[Records]) -> bytes:
    return b"".join(block.tobytes() for block in blocks)


def test_a_query_returns_the_records_of_one_symbol_in_stored_order(store: Store) -> None:
    for number, symbol in enumerate(("AAA", "BBB", "CCC"), start=1):
        assert joined(store.query("venue", symbol)) == TICKS[TICKS["instrument"] == number].tobytes()


def test_blocks_are_bounded_by_a_chunk_and_never_empty(store: Store) -> None:
    sizes = [len(block) for block in store.query("venue", "BBB", kinds=["clear", "trade"])]
    assert sizes
    assert all(0 < size <= 150 for size in sizes)


@pytest.mark.parametrize("kinds", [["trade"], [Kind.QUOTE, "LEVEL"], [Kind.GAP]])
def test_kinds_are_selected_by_name_or_number(store: Store, kinds: list[Kind | str]) -> None:
    numbers = [Kind[kind.upper()] if isinstance(kind, str) else kind for kind in kinds]
    expected = TICKS[(TICKS["instrument"] == 2) & np.isin(TICKS["kind"], numbers)]
    assert joined(store.query("venue", "BBB", kinds=kinds)) == expected.tobytes()


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 1), (3, 700), (149, 151), (1999, 1999), (0, 1999)])
def test_ranges_by_receive_time_are_half_open(store: Store, first: int, last: int) -> None:
    start, end = int(TICKS["ts_recv"][first]), int(TICKS["ts_recv"][last])
    inside = TICKS[(TICKS["ts_recv"] >= start) & (TICKS["ts_recv"] < end)]
    assert joined(store.scan(start_ns=start, end_ns=end)) == inside.tobytes()
    assert joined(store.scan(start_ns=start)) == TICKS[TICKS["ts_recv"] >= start].tobytes()
    assert joined(store.scan(end_ns=end)) == TICKS[TICKS["ts_recv"] < end].tobytes()


@pytest.mark.parametrize(("first", "last"), [(0, 1000), (500, 501), (1998, 1998)])
def test_ranges_by_event_time_leave_out_records_that_have_none(store: Store, first: int, last: int) -> None:
    start, end = int(TICKS["ts_event"][first]), int(TICKS["ts_event"][last])
    events = TICKS["ts_event"]
    inside = TICKS[(events >= start) & (events < end) & (events != 0)]
    assert joined(store.scan(start_ns=start, end_ns=end, clock="event")) == inside.tobytes()
    assert joined(store.scan(end_ns=end, clock="event")) == TICKS[(events < end) & (events != 0)].tobytes()
    assert joined(store.scan(clock="event")) == TICKS.tobytes()


def test_chunks_outside_a_range_are_not_even_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    original = ChunkFiles.decode

    def counting(self: ChunkFiles, chunk: Chunk, *rest: Any) -> Records | Damage:
        decoded.append(int(chunk.entry["header"]["first_seq"]))
        return original(self, chunk, *rest)

    monkeypatch.setattr(ChunkFiles, "decode", counting)
    moment = int(TICKS["ts_recv"][700])
    assert len(list(store.scan(start_ns=moment, end_ns=moment + 1))) == 1
    assert decoded == [600]
    decoded.clear()
    assert not list(store.scan(ids=[40]))
    assert not list(store.scan(kinds=["status"]))
    assert decoded == []


def test_derived_records_are_read_by_their_schema(tmp_path: Path) -> None:
    table(tmp_path)
    bars = make_records(Schema.BAR, 500)
    fill(tmp_path, bars, "engine", Schema.BAR)
    store = Store(tmp_path)
    assert store.producers(Schema.BAR) == ["engine"]
    assert store.producers() == []
    blocks = list(store.query("venue", "CCC", schema=Schema.BAR))
    assert np.array_equal(join_records(blocks)["close"], bars[bars["instrument"] == 3]["close"])
    with pytest.raises(StoreError, match="schema bar have no kind"):
        store.query("venue", "CCC", schema=Schema.BAR, kinds=["trade"])


def test_unknown_names_say_what_there_is(store: Store, tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match="the store has no records of venue XXX; it has venue AAA, venue BBB, venue CCC"
    ):
        store.query("venue", "XXX")
    with pytest.raises(StoreError, match="the store has no records of venue AAA; it is empty"):
        Store(tmp_path / "nowhere").query("venue", "AAA")
    with pytest.raises(StoreError, match="'trades' is not a kind of record; choose from trade, level, clear"):
        store.query("venue", "AAA", kinds=["trades"])


def test_all_ids_of_a_symbol_are_returned(store: Store, tmp_path: Path) -> None:
    again = InstrumentTable.load(tmp_path / "instruments.jsonl").register("venue", "AAA", 2, 8)
    ticks = make_ticks(50, first_seq=2000, start_ns=START_NS + 10**13)
    ticks["instrument"] = again.id
    fill(tmp_path, ticks)
    assert joined(store.query("venue", "AAA")) == TICKS[TICKS["instrument"] == 1].tobytes() + ticks.tobytes()


def test_next_seq_continues_what_is_stored(store: Store, tmp_path: Path) -> None:
    assert store.next_seq("feed", Schema.TICK) == 2000
    assert store.next_seq("feed", Schema.BBO) == 0
    assert Store(tmp_path / "nowhere").next_seq("feed", Schema.TICK) == 0


def test_a_reader_sees_what_a_writer_appends_meanwhile(tmp_path: Path) -> None:
    table(tmp_path)
    store = Store(tmp_path)
    journal = Journal(tmp_path, Schema.TICK, "feed", rotate_bytes=2000)
    for start in range(0, 600, 60):
        journal.append(TICKS[start : start + 60])
        journal.flush()
        assert joined(store.scan()) == TICKS[: start + 60].tobytes()
        assert store.next_seq("feed", Schema.TICK) == start + 60
    journal.close()


def test_producers_are_merged_by_receive_time_and_never_reordered(tmp_path: Path) -> None:
    one, two = make_ticks(500), make_ticks(700, start_ns=START_NS + 10**8)
    one["ts_recv"][100] -= 5 * 10**8  # a step back in time
    one["order_id"], two["order_id"] = 1, 2
    fill(tmp_path, one, "one")
    fill(tmp_path, two, "two", flush=37)
    merged = join_records(list(Store(tmp_path).scan()))
    for number, records in ((1, one), (2, two)):
        assert merged[merged["order_id"] == number].tobytes() == records.tobytes()
    clock = np.maximum.accumulate(one["ts_recv"])
    keys = np.where(merged["order_id"] == 1, clock[np.cumsum(merged["order_id"] == 1) - 1], merged["ts_recv"])
    assert (np.diff(keys) >= 0).all()
    assert joined(Store(tmp_path).scan(producers=["two"])) == two.tobytes()


@pytest.mark.parametrize("cuts", [(1, 1, 1), (2, 3, 5), (100, 1, 7)])
def test_merging_does_not_depend_on_how_the_streams_are_cut(cuts: tuple[int, ...]) -> None:
    streams = []
    for number in range(3):
        records = np.zeros(60, TICK)
        records["ts_recv"] = np.arange(60) * (number + 1) // 4  # many equal times
        records["order_id"], records["seq"] = number, np.arange(60)
        streams.append(records)
    pieces = [
        iter([part for part in np.split(records, range(cut, 60, cut)) if len(part)])
        for records, cut in zip(streams, cuts, strict=True)
    ]
    merged = join_records(list(merge_by_receive_time(pieces)))
    everything = join_records(streams)
    expected = everything[np.lexsort((everything["seq"], everything["order_id"], everything["ts_recv"]))]
    assert merged.tobytes() == expected.tobytes()


def test_nothing_merged_is_nothing() -> None:
    assert list(merge_by_receive_time([])) == []
    assert list(merge_by_receive_time([iter([]), iter([])])) == []


# ---------------------------------------------------------------------------------------------------------------
# Damage


def harm(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)


def test_damage_is_named_and_reading_can_go_on_behind_it(store: Store, tmp_path: Path) -> None:
    path = store.files("feed", Schema.TICK)[1]
    entry = load_index(path).entries[1]
    first, last = int(entry["header"]["first_seq"]), int(entry["header"]["last_seq"])
    harm(path, int(entry["offset"]) + 300)
    with pytest.raises(DamageError, match=f"records {first} to {last} are missing") as raised:
        joined(store.scan())
    assert (raised.value.path, raised.value.offset) == (path, entry["offset"])
    found: list[Damage] = []
    lenient = Store(tmp_path, on_damage=found.append)
    good = TICKS[(TICKS["seq"] < first) | (TICKS["seq"] > last)]
    assert joined(lenient.scan()) == good.tobytes()
    assert [(damage.first_seq, damage.last_seq) for damage in found] == [(first, last)]


@pytest.mark.parametrize("indexed", [True, False])
def test_a_destroyed_header_is_damage_too(store: Store, tmp_path: Path, indexed: bool) -> None:
    path = store.files("feed", Schema.TICK)[1]
    entry = load_index(path).entries[1]
    first, last = int(entry["header"]["first_seq"]), int(entry["header"]["last_seq"])
    harm(path, int(entry["offset"]) + 2)
    if not indexed:
        index_path(path).unlink()
    found: list[Damage] = []
    good = TICKS[(TICKS["seq"] < first) | (TICKS["seq"] > last)]
    assert joined(Store(tmp_path, on_damage=found.append).scan()) == good.tobytes()
    assert [(damage.first_seq, damage.last_seq) for damage in found] == [(first, last)]
    with pytest.raises(DamageError):
        joined(Store(tmp_path).scan())


def test_damage_outside_the_range_does_not_stop_a_query(store: Store) -> None:
    path = store.files("feed", Schema.TICK)[1]
    entry = load_index(path).entries[0]
    harm(path, int(entry["offset"]) + 2)
    index_path(path).unlink()
    before, after = int(TICKS["ts_recv"][100]), int(TICKS["ts_recv"][int(entry["header"]["last_seq"]) + 200])
    assert joined(store.scan(end_ns=before)) == TICKS[TICKS["ts_recv"] < before].tobytes()
    assert joined(store.scan(start_ns=after)) == TICKS[TICKS["ts_recv"] >= after].tobytes()


def test_a_book_behind_damage_that_is_left_out_is_stale_up_to_the_next_snapshot(tmp_path: Path) -> None:
    """Levels are missing there: it may not be given for exact."""
    table(tmp_path)
    ticks = make_ticks(900)
    ticks["instrument"] = 1
    ticks["kind"], ticks["flags"], ticks["side"] = Kind.LEVEL, Flag.LAST, Side.BID
    for clear in (0, 600):
        ticks["kind"][clear] = Kind.CLEAR
    fill(tmp_path, ticks)
    store = Store(tmp_path)
    path = store.files("feed", Schema.TICK)[0]
    entry = load_index(path).entries[1]
    harm(path, int(entry["offset"]) + 300)
    first, last = int(entry["header"]["first_seq"]), int(entry["header"]["last_seq"])
    assert 0 < first < last < 600
    found: list[Damage] = []
    lenient = Store(tmp_path, on_damage=found.append)
    times = ticks["ts_recv"]
    assert not lenient.book("venue", "AAA", int(times[first - 1])).stale
    assert not found
    assert lenient.book("venue", "AAA", int(times[last])).stale
    assert lenient.book("venue", "AAA", int(times[599])).stale
    assert [(damage.first_seq, damage.last_seq) for damage in found[:1]] == [(first, last)]
    assert not lenient.book("venue", "AAA", int(times[700])).stale
    with pytest.raises(DamageError):
        store.book("venue", "AAA", int(times[last]))


# ---------------------------------------------------------------------------------------------------------------
# Who reads for long reports meanwhile


def test_reading_calls_back_for_each_file_and_chunk_and_may_be_ended_there(store: Store, tmp_path: Path) -> None:
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    files = store.files("feed", Schema.TICK)
    chunks = sum(len(load_index(path).entries) for path in files)
    assert len(files) > 3 < chunks
    list(Store(tmp_path, while_reading=count).scan())
    assert calls >= len(files) + chunks
    for path in files:
        index_path(path).unlink()
    everything = Range("feed", Schema.TICK, Selection())
    for what in (lambda it: it.next_seq("feed", Schema.TICK), lambda it: list(it.chunks(everything))):
        calls = 0
        what(Store(tmp_path, while_reading=count))
        assert calls >= len(load_index(files[-1]).entries)

    class EnoughError(Exception):
        pass

    def enough() -> None:
        if calls > 3:
            raise EnoughError
        count()

    calls = 0
    with pytest.raises(EnoughError):
        list(Store(tmp_path, while_reading=enough).scan())


def test_scanning_what_is_no_chunk_calls_back_as_well(tmp_path: Path) -> None:
    path = tmp_path / f"{0:020d}.tpj"
    path.write_bytes(bytes(5 << 20))
    calls: list[int] = []
    load_index(path, while_reading=lambda: calls.append(1))
    assert len(calls) >= 5
