"""Compaction: days become files by symbol, the journal goes, and every reader gets what it got before."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from made_days import MIDNIGHT_NS, everything, make_day_records, parts_of, register, write_journal

from tickplant.errors import DamageError, StoreError
from tickplant.records.layouts import Kind, Schema
from tickplant.store import daily_file_writer, span_writer
from tickplant.store.compaction import Compacted, Compaction, Policy, compaction_lock
from tickplant.store.daily_files import DAY_NS, daily_dir, spans
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.verify import verify
from tickplant.writer.journal import Files, Journal

HOUR_NS = 3600 * 10**9


@pytest.fixture(autouse=True)
def small_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_writer, "STRIPE_ROWS", 100)
    monkeypatch.setattr(daily_file_writer, "CHUNK_ROWS", 16)


def compact(data_dir: Path, now_ns: int | None = None, **policy: int) -> Compacted:
    now = time.time_ns() if now_ns is None else now_ns  # as journal files, written just now, know it
    return Compaction(data_dir, Policy(**policy), now_ns=lambda: now).run()  # type: ignore[arg-type]


def two_days(data_dir: Path, rows: int = 240) -> None:
    """Ticks every ten minutes, three of four on the first day, and bars."""
    register(data_dir)
    times = MIDNIGHT_NS - DAY_NS + np.arange(rows) * (4 * DAY_NS // (3 * rows))
    ticks = make_day_records(Schema.TICK, times)
    write_journal(data_dir, "feed", Schema.TICK, parts_of(ticks, range(0, rows, 20)))
    bars = make_day_records(Schema.BAR, times[::10])
    write_journal(data_dir, "engine", Schema.BAR, parts_of(bars, range(0, len(bars), 10)))


def folders(data_dir: Path, producer: str = "feed", schema: Schema = Schema.TICK) -> list[tuple[int, int, str]]:
    return [span[:3] for span in spans(daily_dir(data_dir, producer, schema))]


def test_coverage_is_the_same_of_daily_files(tmp_path: Path) -> None:
    two_days(tmp_path)
    before = Store(tmp_path).coverage()
    assert {row.state for row in before} == {"complete"}
    assert compact(tmp_path).spans == 4
    assert Store(tmp_path).coverage() == before


def test_days_become_files_by_symbol_and_the_journal_goes(tmp_path: Path) -> None:
    two_days(tmp_path)
    before = everything(tmp_path)
    done = compact(tmp_path)
    assert (done.spans, done.records, done.trouble, done.damage) == (4, 264, [], [])
    assert folders(tmp_path) == [(0, 179, "2023-12-08"), (180, 239, "2023-12-09")]
    names = {path.name for path in spans(daily_dir(tmp_path, "feed", Schema.TICK))[0].path.glob("*.tpd")}
    assert names == {"venue.AAA.tpd", "venue.B%2FB.tpd", "venue.%2A.tpd", "other.AAA.tpd"}
    assert done.journal_files > 8
    assert [path.stem for path in Store(tmp_path).files("feed", Schema.TICK)] == [f"{220:020d}"]
    assert everything(tmp_path) == before
    report = verify(tmp_path)
    assert report.ok, report.problems
    assert not report.problems
    assert (report.records, [journal.days for journal in report.journals]) == (264, [2, 2])
    assert compact(tmp_path) == Compacted()  # nothing is left to do


def test_a_day_that_is_not_over_stays_in_the_journal_unless_asked_for_and_is_joined_when_it_is(tmp_path: Path) -> None:
    two_days(tmp_path)
    before = everything(tmp_path)
    now_ns = MIDNIGHT_NS + 9 * HOUR_NS
    assert compact(tmp_path, now_ns).spans == 2
    assert folders(tmp_path) == [(0, 179, "2023-12-08")]
    assert everything(tmp_path) == before
    assert compact(tmp_path, now_ns, open_days=True).spans == 2
    assert folders(tmp_path) == [(0, 179, "2023-12-08"), (180, 239, "2023-12-09")]
    more = make_day_records(Schema.TICK, MIDNIGHT_NS + 10 * HOUR_NS + np.arange(300) * 10**9)[240:]
    write_journal(tmp_path, "feed", Schema.TICK, [more])
    before = everything(tmp_path)
    assert compact(tmp_path, now_ns, open_days=True).spans == 1
    assert folders(tmp_path)[1:] == [(180, 239, "2023-12-09"), (240, 299, "2023-12-09")]
    assert everything(tmp_path) == before
    assert compact(tmp_path).spans == 1
    assert folders(tmp_path)[1:] == [(180, 299, "2023-12-09")]
    assert everything(tmp_path) == before
    assert verify(tmp_path).ok


def test_what_is_late_stays_with_its_day_and_what_is_older_has_a_span_of_its_own(tmp_path: Path) -> None:
    register(tmp_path)
    seconds = [-10, -5, 3, -1, 4, 5, -40 * 60, 6]  # around midnight, in the order of recording
    older = [-3 * 86_400 + second for second in range(8)]
    times = MIDNIGHT_NS + np.array([*seconds, *older, 20, 21]) * 10**9
    ticks = make_day_records(Schema.TICK, times)
    write_journal(tmp_path, "feed", Schema.TICK, parts_of(ticks, [8, 16]))
    before = everything(tmp_path)
    compact(tmp_path)
    assert folders(tmp_path) == [
        (0, 1, "2023-12-08"),
        (2, 7, "2023-12-09"),
        (8, 15, "2023-12-06"),
        (16, 17, "2023-12-09"),
    ]
    assert everything(tmp_path) == before
    assert verify(tmp_path).ok


def test_a_query_of_a_symbol_reads_the_file_of_that_symbol_only(tmp_path: Path) -> None:
    two_days(tmp_path)
    expected = b"".join(part.tobytes() for part in Store(tmp_path).query("venue", "B/B"))
    compact(tmp_path)
    for span in spans(daily_dir(tmp_path, "feed", Schema.TICK)):
        for path in span.path.glob("*.tpd"):
            if path.name != "venue.B%2FB.tpd":
                path.unlink()
    assert b"".join(part.tobytes() for part in Store(tmp_path).query("venue", "B/B")) == expected
    with pytest.raises(DamageError, match="the file is missing"):
        list(Store(tmp_path).query("venue", "AAA"))


def test_the_newest_journal_file_is_compacted_only_where_nobody_writes_it_and_is_never_removed(tmp_path: Path) -> None:
    register(tmp_path)
    ticks = make_day_records(Schema.TICK, MIDNIGHT_NS + np.arange(100) * 10**9)
    journal = Journal(tmp_path, Schema.TICK, "feed")
    journal.append(ticks)
    journal.flush()
    assert compact(tmp_path) == Compacted()
    journal.close()
    assert compact(tmp_path).records == 100
    assert len(Store(tmp_path).files("feed", Schema.TICK)) == 1
    journal = Journal(tmp_path, Schema.TICK, "feed")
    assert journal.next_seq == 100
    journal.append(make_day_records(Schema.TICK, MIDNIGHT_NS + np.arange(120) * 10**9)[100:])
    journal.close()
    before = everything(tmp_path)
    assert compact(tmp_path).spans == 1
    assert folders(tmp_path) == [(0, 119, "2023-12-09")]  # joined
    assert everything(tmp_path) == before


def test_damage_stays_in_the_journal_and_is_named_as_before(tmp_path: Path) -> None:
    two_days(tmp_path)
    path = Store(tmp_path).files("feed", Schema.TICK)[3]
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)
    damage: list[object] = []
    read = list(Store(tmp_path, on_damage=damage.append).read("feed", Schema.TICK, Selection()))
    done = compact(tmp_path)
    assert len(done.damage) == 1
    assert path.exists()
    after: list[object] = []
    again = list(Store(tmp_path, on_damage=after.append).read("feed", Schema.TICK, Selection()))
    assert after == damage
    assert b"".join(part.tobytes() for part in again) == b"".join(part.tobytes() for part in read)
    assert [problem.kind for problem in verify(tmp_path).problems] == ["damage"]
    compact(tmp_path)
    assert path.exists()


def test_a_journal_file_is_kept_for_as_long_as_configured(tmp_path: Path) -> None:
    two_days(tmp_path)
    before = everything(tmp_path)
    now_ns = max(path.stat().st_mtime_ns for path in Store(tmp_path).files("feed", Schema.TICK)) + 10**9
    done = compact(tmp_path, now_ns, keep_journal_ns=HOUR_NS)
    assert (done.spans, done.journal_files) == (4, 0)
    assert everything(tmp_path) == before
    oldest = Store(tmp_path).files("feed", Schema.TICK)[0]
    os.utime(oldest, ns=(now_ns - 2 * HOUR_NS, now_ns - 2 * HOUR_NS))
    assert compact(tmp_path, now_ns, keep_journal_ns=HOUR_NS).journal_files == 1
    assert not oldest.exists()
    assert everything(tmp_path) == before


def test_doubles_are_kept_and_counted(tmp_path: Path) -> None:
    register(tmp_path)
    ticks = make_day_records(Schema.TICK, MIDNIGHT_NS + np.arange(120) * 10**9, instruments=1)
    ticks["kind"] = Kind.TRADE
    ticks["venue_seq"] = 1000 + np.arange(120)
    ticks["venue_seq"][100:110] = 1000 + np.arange(40, 50)  # a backfill that was stored twice
    write_journal(tmp_path, "feed", Schema.TICK, [ticks])
    before = everything(tmp_path)
    assert compact(tmp_path).doubles == 10
    assert everything(tmp_path) == before
    assert [journal.doubles for journal in verify(tmp_path).journals] == [10]


@pytest.mark.parametrize("name", ["manifest.json", "venue.AAA.tpd"])
def test_every_flipped_byte_of_a_span_is_named(tmp_path: Path, name: str) -> None:
    register(tmp_path)
    ticks = make_day_records(Schema.TICK, MIDNIGHT_NS + np.arange(60) * 10**9, instruments=2)
    write_journal(tmp_path, "feed", Schema.TICK, [ticks])
    compact(tmp_path)
    shutil.rmtree(tmp_path / "journal")
    (span,) = spans(daily_dir(tmp_path, "feed", Schema.TICK))
    for index in span.path.glob("*.tpx"):
        index.unlink()
    path = span.path / name
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 7):
        data[place] ^= 0xFF
        path.write_bytes(data)
        damage: list[object] = []
        found = list(Store(tmp_path, on_damage=damage.append).read("feed", Schema.TICK, Selection()))
        data[place] ^= 0xFF
        assert damage, place
        seqs = np.concatenate([part["seq"] for part in found]).astype(np.int64) if found else np.zeros(0, np.int64)
        assert (np.diff(seqs) > 0).all()
        assert b"".join(part.tobytes() for part in found) == ticks[seqs].tobytes(), place
        if name == "venue.AAA.tpd":
            assert set(np.flatnonzero(ticks["instrument"] == 2).tolist()) <= set(seqs.tolist())


@pytest.mark.parametrize("size", [0, 100, -40, -1])
def test_a_daily_file_that_was_cut_is_named_with_and_without_its_index(tmp_path: Path, size: int) -> None:
    two_days(tmp_path)
    compact(tmp_path)
    path = spans(daily_dir(tmp_path, "feed", Schema.TICK))[0].path / "venue.AAA.tpd"
    with path.open("r+b") as file:
        file.truncate(size if size >= 0 else path.stat().st_size + size)
    for _ in range(2):
        with pytest.raises(DamageError):
            list(Store(tmp_path).query("venue", "AAA"))
        report = verify(tmp_path)
        assert not report.ok
        assert {problem.kind for problem in report.problems} == {"damage"}
        path.with_suffix(".tpx").unlink(missing_ok=True)


def test_a_file_that_holds_other_records_than_its_manifest_says_is_found(tmp_path: Path) -> None:
    two_days(tmp_path)
    compact(tmp_path)
    first, second = (span.path / "venue.AAA.tpd" for span in spans(daily_dir(tmp_path, "feed", Schema.TICK)))
    data = first.read_bytes()
    second.write_bytes(data)
    second.with_suffix(".tpx").unlink()
    assert not verify(tmp_path).ok


def test_a_disk_without_room_is_said_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_days(tmp_path)
    before = everything(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    done = compact(tmp_path)
    assert done.spans == 0
    assert all("too little room" in text for text in done.trouble)
    assert everything(tmp_path) == before


class FullDisk(Files):
    """Refuses every write behind the first few bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, fd: int, data: memoryview) -> int:
        if self.room < len(data):
            raise OSError(28, "No space left on device")
        self.room -= len(data)
        return super().write(fd, data)


@pytest.mark.parametrize("room", [0, 3000, 9000])
def test_a_disk_that_becomes_full_leaves_everything_as_it_was(tmp_path: Path, room: int) -> None:
    two_days(tmp_path)
    before = everything(tmp_path)
    done = Compaction(tmp_path, Policy(), files=FullDisk(room)).run()
    assert any("No space left on device" in text for text in done.trouble)
    assert not list(tmp_path.glob("daily/*/*/*.new"))
    assert everything(tmp_path) == before
    assert not compact(tmp_path).trouble
    assert everything(tmp_path) == before
    assert verify(tmp_path).ok


def test_one_compacts_at_a_time(tmp_path: Path) -> None:
    with (
        compaction_lock(tmp_path, Files()),
        pytest.raises(StoreError, match="another process compacts this store"),
        compaction_lock(tmp_path, Files()),
    ):
        pass


def test_a_reader_that_began_before_goes_on_while_files_are_moved(tmp_path: Path) -> None:
    two_days(tmp_path)
    expected = everything(tmp_path)["feed TICK read"]
    for taken in (0, 1, 7):
        store = tmp_path / str(taken)
        shutil.copytree(tmp_path / "journal", store / "journal")
        shutil.copy(tmp_path / "instruments.jsonl", store)
        reading = Store(store).read("feed", Schema.TICK, Selection())
        parts = [next(reading) for _ in range(taken)]
        backward = Store(store).newest_first("feed", Schema.TICK, Selection())
        stretches = [next(backward) for _ in range(taken)]
        compact(store)
        assert b"".join(part.tobytes() for part in [*parts, *reading]) == expected
        stretches += backward
        found = [Store(store).records(stretch) for stretch in reversed(stretches)]
        assert b"".join(part.tobytes() for part in found) == expected
