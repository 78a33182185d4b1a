"""Verify finds what is damaged, missing or doubtful, and lists the gaps."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from made_records import START_NS, make_records, make_ticks

from tickplant.errors import StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import TICK, UNKNOWN, Flag, GapCause, Kind, Schema
from tickplant.store.reader import Store
from tickplant.store.verify import Report, verify
from tickplant.writer.format.chunk_layout import producer_id
from tickplant.writer.format.codec import encode_chunk
from tickplant.writer.index import ENTRY, index_path, load_index, sealed
from tickplant.writer.journal import Journal

TICKS = make_ticks(900)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A store of three instruments, ticks in three files, and some bars."""
    instruments = InstrumentTable.load(tmp_path / "instruments.jsonl")
    for symbol in ("AAA", "BBB", "CCC"):
        instruments.register("venue", symbol, 8, 8)
    journal = Journal(tmp_path, Schema.TICK, "feed", rotate_bytes=3000)
    for start in range(0, 900, 150):
        journal.append(TICKS[start : start + 150])
        journal.flush()
    journal.close()
    bars = Journal(tmp_path, Schema.BAR, "engine")
    records = make_records(Schema.BAR, 60)
    bars.append(records)
    bars.close()
    return tmp_path


def ticks_file(data_dir: Path, number: int) -> Path:
    return Store(data_dir).files("feed", Schema.TICK)[number]


def problems(report: Report) -> list[tuple[str, int | None, int | None]]:
    return [(problem.kind, problem.first_seq, problem.last_seq) for problem in report.problems]


def test_a_whole_store_is_counted_to_the_record(data_dir: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = verify(data_dir, progress=lambda done, total: seen.append((done, total)))
    assert report.ok
    assert report.problems == []
    assert report.records == 960
    ticks, bars = report.journals
    assert (ticks.producer, ticks.schema, ticks.files, ticks.chunks, ticks.records) == ("feed", "tick", 3, 6, 900)
    assert (ticks.first_seq, ticks.next_seq) == (0, 900)
    assert (ticks.ts_recv_min, ticks.ts_recv_max) == (TICKS["ts_recv"].min(), TICKS["ts_recv"].max())
    names = {Kind(kind).name.lower(): int((TICKS["kind"] == kind).sum()) for kind in np.unique(TICKS["kind"])}
    assert ticks.kinds == names
    assert (bars.schema, bars.records, bars.kinds) == ("bar", 60, {})
    assert seen[-1] == (report.bytes, report.bytes)
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_an_index_that_says_other_values_is_named(data_dir: Path) -> None:
    index = index_path(ticks_file(data_dir, 1))
    entries = np.fromfile(index, ENTRY)
    entries["bounds"][1, 0, 0] += 1
    index.write_bytes(sealed(entries).tobytes())
    report = verify(data_dir)
    assert problems(report) == [("header", 450, 599)]
    assert report.problems[0].path == str(index)
    index.unlink()
    assert verify(data_dir).ok


def test_a_missing_store_is_an_error_and_not_a_clean_bill(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such data directory"):
        verify(tmp_path / "nowhere")


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("place", [2, 50, 300])
def test_damage_is_listed_with_what_is_missing(data_dir: Path, indexed: bool, place: int) -> None:
    path = ticks_file(data_dir, 1)
    entry = load_index(path).entries[1]
    data = bytearray(path.read_bytes())
    data[int(entry["offset"]) + place] ^= 1
    path.write_bytes(data)
    if not indexed:
        index_path(path).unlink()
    report = verify(data_dir)
    assert not report.ok
    assert problems(report) == [("damage", 450, 599)]
    assert (report.problems[0].path, report.problems[0].offset) == (str(path), entry["offset"])
    assert report.journals[0].records == 750


def test_a_missing_file_is_a_hole(data_dir: Path) -> None:
    ticks_file(data_dir, 1).unlink()
    report = verify(data_dir)
    assert not report.ok
    assert problems(report) == [("hole", 300, 599)]
    assert report.problems[0].text == "300 records are missing"


def test_removed_old_files_are_mentioned_and_no_damage(data_dir: Path) -> None:
    ticks_file(data_dir, 0).unlink()
    report = verify(data_dir)
    assert report.ok
    assert problems(report) == [("start", None, None)]


def test_a_torn_tail_of_the_last_file_is_no_damage_but_of_an_earlier_one_is(data_dir: Path) -> None:
    last = ticks_file(data_dir, 2)
    whole = last.read_bytes()
    last.write_bytes(whole + whole[:200])
    assert problems(verify(data_dir)) == [("torn", None, None)]
    assert verify(data_dir).ok
    last.write_bytes(whole)
    first = ticks_file(data_dir, 0)
    first.write_bytes(first.read_bytes() + whole[:200])
    assert problems(verify(data_dir)) == [("damage", None, None)]  # nothing is missing
    assert not verify(data_dir).ok


def test_what_a_recovery_moved_aside_is_listed(data_dir: Path) -> None:
    last = ticks_file(data_dir, 2)
    last.write_bytes(last.read_bytes() + b"torn")
    Journal(data_dir, Schema.TICK, "feed").close()
    report = verify(data_dir)
    assert report.ok
    assert [problem.text for problem in report.problems] == [
        "a recovery moved 4 bytes here that were not a valid chunk"
    ]


def test_a_chunk_stored_twice_is_found(data_dir: Path) -> None:
    last = ticks_file(data_dir, 2)
    whole = last.read_bytes()
    second = int(load_index(last).entries[1]["offset"])
    last.write_bytes(whole + whole[second:])
    report = verify(data_dir)
    assert not report.ok
    (problem,) = report.problems
    assert (problem.kind, problem.path) == ("damage", str(last))
    assert "the chunk of seq 750 to 899 stands at a wrong place, or twice" in problem.text


@pytest.mark.parametrize("lie", ["producer", "seq", "schema"])
def test_a_chunk_of_another_journal_is_found(data_dir: Path, lie: str) -> None:
    ticks = make_ticks(10, first_seq=900)
    owner = producer_id("other" if lie == "producer" else "feed")
    if lie == "seq":
        ticks["seq"][5] = 5000
    if lie == "schema":
        chunk = encode_chunk(make_records(Schema.BBO, 10, first_seq=900), Schema.BBO, 0, producer=owner)
    else:
        chunk = encode_chunk(ticks, Schema.TICK, 0, producer=owner)
    last = ticks_file(data_dir, 2)
    last.write_bytes(last.read_bytes() + chunk)
    report = verify(data_dir)
    assert not report.ok
    assert problems(report) == [("damage" if lie == "schema" else "header", 900, 909)]


def test_impossible_receive_times_and_unknown_instruments_are_found(data_dir: Path) -> None:
    journal = Journal(data_dir, Schema.TICK, "feed")
    for field, value in (("ts_recv", 0), ("ts_recv", START_NS - 2 * 86_400 * 10**9), ("instrument", 77)):
        ticks = make_ticks(10, first_seq=journal.next_seq)
        ticks[field] = value
        journal.append(ticks)
        journal.flush()
    journal.close()
    report = verify(data_dir)
    assert not report.ok
    assert [problem.kind for problem in report.problems] == ["time", "clock", "instrument"]


@pytest.mark.parametrize("rotate_bytes", [1 << 20, 3000])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_clock_that_is_set_back_is_told_once_each_time_and_is_no_damage(
    tmp_path: Path, rotate_bytes: int, steps: int
) -> None:
    InstrumentTable.load(tmp_path / "instruments.jsonl").register("venue", "AAA", 8, 8)
    journal = Journal(tmp_path, Schema.TICK, "feed", rotate_bytes=rotate_bytes, chunk_records=100)
    for _ in range(12):
        ticks = make_ticks(250, first_seq=journal.next_seq, instruments=1)
        ticks["ts_recv"] = START_NS + np.arange(journal.next_seq, journal.next_seq + 250) * 10**6
        for step in range(steps):
            after = ticks["seq"] >= 700 + 1000 * step  # in the middle of a chunk
            ticks["ts_recv"][after] -= 3 * 86_400 * 10**9
        journal.append(ticks)
        journal.flush()
    journal.close()
    report = verify(tmp_path)
    assert report.ok
    assert [(problem.kind, problem.first_seq) for problem in report.problems] == [
        ("clock", 700 + 1000 * step) for step in range(steps)
    ]
    assert all("set back by 3.0 days" in problem.text for problem in report.problems)


def test_a_clock_that_runs_wild_within_a_chunk_is_told_once_for_it(data_dir: Path) -> None:
    journal = Journal(data_dir, Schema.TICK, "feed")
    ticks = make_ticks(40, first_seq=journal.next_seq)
    ticks["ts_recv"][1::2] -= 2 * 86_400 * 10**9
    journal.append(ticks)
    journal.close()
    report = verify(data_dir)
    assert report.ok
    (problem,) = report.problems
    assert problem.kind == "clock"
    assert "19 times more" in problem.text


def test_gaps_are_listed_by_symbol_day_cause_and_stream(data_dir: Path) -> None:
    day_ns = 86_400 * 10**9
    rows = [
        (1, START_NS, GapCause.SEQUENCE, 5, Flag.ON_TRADE),
        (1, START_NS + 1, GapCause.SEQUENCE, 7, Flag.ON_TRADE),
        (1, START_NS + 2, GapCause.SEQUENCE, UNKNOWN, Flag.ON_TRADE | Flag.ON_BOOK),
        (2, START_NS + day_ns, GapCause.DISCONNECT, UNKNOWN, Flag.ON_BOOK),
    ]
    gaps = np.zeros(len(rows), TICK)
    for place, (instrument, ts_recv, cause, size, flags) in enumerate(rows):
        gaps[place]["instrument"], gaps[place]["ts_recv"], gaps[place]["price"] = instrument, ts_recv, cause
        gaps[place]["size"], gaps[place]["flags"] = size, flags
    gaps["kind"], gaps["seq"] = Kind.GAP, np.arange(900, 900 + len(rows))
    journal = Journal(data_dir, Schema.TICK, "feed")
    journal.append(gaps)
    journal.close()
    report = verify(data_dir)
    assert report.ok
    listed = [(gap.symbol, gap.day, gap.cause, gap.stream, gap.gaps, gap.missing, gap.unknown) for gap in report.gaps]
    assert listed == [
        ("AAA", "2023-11-14", "sequence", "trade", 2, 12, 0),
        ("AAA", "2023-11-14", "sequence", "trade+book", 1, 0, 1),
        ("BBB", "2023-11-15", "disconnect", "book", 1, 0, 1),
    ]
