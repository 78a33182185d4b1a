"""Retention: what is old or too much goes, the oldest first; manifests and `verify` call it removed, not missing."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from made_days import MIDNIGHT_NS, everything, make_day_records, parts_of, register, write_journal
from numpy.typing import NDArray

from tickplant.records.layouts import Kind, Schema
from tickplant.runtime.config import RetentionConfig
from tickplant.store import daily_file_writer, span_writer
from tickplant.store.compaction import Compacted, Compaction, Policy
from tickplant.store.daily_files import DAY_NS, daily_dir, day_of, read_manifest, spans
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.verify import verify
from tickplant.writer.format.chunk_bounds import SLOTS
from tickplant.writer.index import index_path, load_index
from tickplant.writer.journal import Files

Records = NDArray[np.void]

DAYS = 4
TICKS = make_day_records(Schema.TICK, MIDNIGHT_NS + np.arange(DAYS * 40) * (DAY_NS // 40), instruments=4)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four days of ticks in daily files."""
    monkeypatch.setattr(span_writer, "STRIPE_ROWS", 15)
    monkeypatch.setattr(daily_file_writer, "CHUNK_ROWS", 4)
    register(tmp_path)
    write_journal(tmp_path, "feed", Schema.TICK, parts_of(TICKS, range(0, len(TICKS), 20)))
    assert not Compaction(tmp_path, Policy()).run().trouble
    return tmp_path


def retain(data_dir: Path, *rules: RetentionConfig, files: Files | None = None) -> Compacted:
    """A run with these rules, on the day behind the last one."""
    now_ns = MIDNIGHT_NS + DAYS * DAY_NS + 2 * 3600 * 10**9
    return Compaction(data_dir, Policy(retention=rules), files=files, now_ns=lambda: now_ns).run()


def stored(data_dir: Path) -> Records:
    return np.concatenate(list(Store(data_dir).read("feed", Schema.TICK, Selection())))


def removed(data_dir: Path, gone: NDArray[np.bool_]) -> None:
    """These ticks, and no others, are gone, and that is known."""
    assert stored(data_dir).tobytes() == TICKS[~gone].tobytes()
    report = verify(data_dir)
    assert report.ok, report.problems
    assert not report.problems
    assert sum(one.records for one in report.removed) == np.count_nonzero(gone)
    assert report.journals[0].removed == np.count_nonzero(gone)
    assert Store(data_dir).next_seq("feed", Schema.TICK) == len(TICKS)


def day_numbers(ticks: Records) -> NDArray[np.int64]:
    return (ticks["ts_recv"] - MIDNIGHT_NS) // DAY_NS


def test_what_is_older_goes_and_what_is_not_stays(data_dir: Path) -> None:
    done = retain(data_dir, RetentionConfig(keep_days=2))
    gone = day_numbers(TICKS) < 2
    assert done.removed == np.count_nonzero(gone)
    assert done.removed_bytes > 0
    removed(data_dir, gone)
    assert retain(data_dir, RetentionConfig(keep_days=2)) == Compacted()


def test_of_a_venue_or_a_symbol(data_dir: Path) -> None:
    retain(data_dir, RetentionConfig(venue="venue", symbols=("B/B",), keep_days=3))
    gone = (day_numbers(TICKS) < 1) & (TICKS["instrument"] == 2)
    removed(data_dir, gone)
    retain(data_dir, RetentionConfig(venue="other", keep_days=1))
    gone |= (day_numbers(TICKS) < 3) & (TICKS["instrument"] == 4)
    removed(data_dir, gone)


def test_of_a_channel(data_dir: Path) -> None:
    rule = RetentionConfig(channels=("book",), keep_days=1)
    done = retain(data_dir, rule)
    gone = (day_numbers(TICKS) < 3) & np.isin(TICKS["kind"], [Kind.LEVEL, Kind.CLEAR])
    assert done.removed == np.count_nonzero(gone) > 0
    removed(data_dir, gone)
    assert retain(data_dir, rule) == Compacted()
    retain(data_dir, RetentionConfig(channels=("trade",), keep_days=1))
    gone |= (day_numbers(TICKS) < 3) & (TICKS["kind"] == Kind.TRADE)
    removed(data_dir, gone)
    retain(data_dir, RetentionConfig(channels=("bbo", "bar"), keep_days=1))  # other schemas
    removed(data_dir, gone)


def test_what_is_left_of_a_file_has_an_index_that_knows_its_values_and_none_is_left_behind(data_dir: Path) -> None:
    retain(data_dir, RetentionConfig(channels=("book",), keep_days=1))
    retain(data_dir, RetentionConfig(venue="venue", symbols=("AAA",), channels=("trade",), keep_days=2))
    for span in spans(daily_dir(data_dir, "feed", Schema.TICK)):
        files = [file for file in read_manifest(span).files if file.bytes]
        assert {path.name for path in span.path.glob("*.tpx")} == {index_path(Path(file.name)).name for file in files}
        for file in files:
            index = load_index(span.path / file.name, within=span[:2])
            assert index.indexed == len(index.entries)
            assert (index.entries["slots"] == SLOTS).all()
            assert (file.ts_recv_min, file.ts_recv_max) == (
                index.entries["header"]["ts_recv_min"].min(),
                index.entries["header"]["ts_recv_max"].max(),
            )


def test_a_rewritten_file_that_does_not_read_back_is_not_used(data_dir: Path) -> None:
    class Faulty(Files):
        """A disk that stores a byte wrong, in a file that a removal writes."""

        def __init__(self) -> None:
            self.rewritten: set[int] = set()

        def open(self, path: Path, flags: int) -> int:
            fd = super().open(path, flags)
            self.rewritten.discard(fd)
            if "~r" in path.name and path.suffix == ".tpd":
                self.rewritten.add(fd)
            return fd

        def write(self, fd: int, data: memoryview) -> int:
            if fd in self.rewritten:
                data = memoryview(data[:-20].tobytes() + bytes([data[-20] ^ 1]) + data[-19:].tobytes())
            return super().write(fd, data)

    done = retain(data_dir, RetentionConfig(channels=("book",), keep_days=1), files=Faulty())
    assert len(done.trouble) == 1
    assert "does not read back as it was" in done.trouble[0]
    removed(data_dir, np.zeros(len(TICKS), np.bool_))


def test_coverage_calls_days_removed_and_neither_missing_nor_gaps(data_dir: Path) -> None:
    retain(data_dir, RetentionConfig(venue="venue", symbols=("AAA",), channels=("trade",), keep_days=3))
    retain(data_dir, RetentionConfig(venue="venue", symbols=("B/B",), keep_days=2))
    rows = {(row.symbol, row.day): row for row in Store(data_dir).coverage("venue")}
    days = [day_of(MIDNIGHT_NS + day * DAY_NS) for day in range(DAYS)]
    of_b = TICKS[TICKS["instrument"] == 2]
    counts = np.bincount(day_numbers(of_b)).tolist()
    found = [rows["B/B", day] for day in days]
    assert [row.state for row in found] == ["removed", "removed", "complete", "complete"]
    assert [(row.records, row.removed) for row in found] == [
        (0, counts[0]),
        (0, counts[1]),
        (counts[2], 0),
        (counts[3], 0),
    ]
    trades = TICKS[(TICKS["instrument"] == 1) & (TICKS["kind"] == Kind.TRADE) & (day_numbers(TICKS) == 0)]
    first = rows["AAA", days[0]]
    assert (first.state, first.removed) == ("complete", len(trades))
    assert [row.gaps for row in rows.values()] == [[]] * len(rows)
    later = Store(data_dir).coverage("venue", "B/B", start_ns=MIDNIGHT_NS + DAY_NS)
    assert [row.state for row in later] == ["removed", "complete", "complete"]


def test_a_hole_behind_days_that_are_removed_begins_with_them(tmp_path: Path) -> None:
    register(tmp_path)
    write_journal(tmp_path, "feed", Schema.TICK, [TICKS[:40], TICKS[50:]])
    assert not Compaction(tmp_path, Policy()).run().trouble
    retain(tmp_path, RetentionConfig(keep_days=3))
    rows = Store(tmp_path).coverage("venue", "AAA")
    assert [row.state for row in rows] == ["removed", "gaps", "complete", "complete"]
    assert [gap.missing for row in rows for gap in row.gaps][-1] == 10


def test_the_oldest_days_go_until_the_rest_fits(data_dir: Path) -> None:
    files = [file for span in spans(daily_dir(data_dir, "feed", Schema.TICK)) for file in read_manifest(span).files]
    size = sum(file.bytes for file in files)
    assert retain(data_dir, RetentionConfig(keep_gib=size / 2**30)).removed == 0
    done = retain(data_dir, RetentionConfig(keep_gib=(size - files[0].bytes + 1) / 2**30))
    assert (done.removed, done.removed_bytes) == (files[0].rows, files[0].bytes)


def test_what_is_not_exported_stays_where_that_is_asked_for(data_dir: Path) -> None:
    rule = RetentionConfig(keep_days=1, exported=True)
    assert retain(data_dir, rule) == Compacted()
    removal = Compaction(data_dir, Policy()).removal()
    assert removal.mark_exported("2023-12-09", "venue", ("AAA",)) == 1
    assert removal.mark_exported("2023-12-10", "venue", ("AAA",)) == 1
    retain(data_dir, rule)
    gone = (day_numbers(TICKS) < 2) & (TICKS["instrument"] == 1)
    removed(data_dir, gone)
    # Nothing of a symbol is removed behind a day that stays.
    assert removal.mark_exported("2023-12-12") == 14
    assert retain(data_dir, rule).removed > 0


def test_a_removal_that_was_killed_is_finished_by_the_next_run(data_dir: Path) -> None:
    class Dying(Files):
        left = 0

        def rename(self, source: Path, target: Path) -> None:
            self._step()
            super().rename(source, target)

        def remove(self, path: Path) -> None:
            self._step()
            super().remove(path)

        def _step(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

    rule = RetentionConfig(channels=("trade",), keep_days=1)
    gone = (day_numbers(TICKS) < 3) & (TICKS["kind"] == Kind.TRADE)
    for steps in (0, 4, 7, 10, 100):
        files = Dying()
        files.left = steps
        before = everything(data_dir)["feed TICK read"]
        try:
            retain(data_dir, rule, files=files)
        except KeyboardInterrupt:
            assert len(everything(data_dir)["feed TICK read"]) <= len(before)  # type: ignore[arg-type]
            assert verify(data_dir).ok
        else:
            break
    retain(data_dir, rule)
    removed(data_dir, gone)
    for span in spans(daily_dir(data_dir, "feed", Schema.TICK)):
        named = {file.name for file in read_manifest(span).files}
        assert {path.name for path in span.path.glob("*.tpd")} == named


def test_a_reader_that_began_before_a_removal_gets_what_is_left(data_dir: Path) -> None:
    reading = Store(data_dir).read("feed", Schema.TICK, Selection())
    first = next(reading)
    retain(data_dir, RetentionConfig(keep_days=1))
    rest = np.concatenate(list(reading))
    assert set(rest["seq"].tolist()) >= set(TICKS["seq"][day_numbers(TICKS) == 3].tolist())
    assert int(rest["seq"][0]) > int(first["seq"][-1])


def test_the_running_day_is_never_removed(data_dir: Path) -> None:
    rule = RetentionConfig(keep_gib=1e-9)
    now_ns = MIDNIGHT_NS + DAYS * DAY_NS - DAY_NS // 2
    Compaction(data_dir, Policy(retention=(rule,)), now_ns=lambda: now_ns).run()
    removed(data_dir, day_numbers(TICKS) < 3)
    assert time.time_ns() > now_ns
