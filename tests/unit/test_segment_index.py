"""What a reader remembers of segments: each range has its records, and a file that changes is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_records import make_ticks

from tickplant.errors import DamageError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Schema
from tickplant.records.merge import join_records
from tickplant.store.compaction import Compaction, Policy
from tickplant.store.reader import INSTRUMENTS_FILE, Store
from tickplant.writer.journal import Journal

ROWS = 3000
FILES = 6
TICKS = make_ticks(ROWS)


def record(folder: Path, *, daily: bool = False) -> Path:
    """Ticks in six journal files of five chunks, or in daily files of three symbols."""
    table = InstrumentTable.load(folder / INSTRUMENTS_FILE)
    for symbol in ("AAA", "BBB", "CCC"):
        table.register("venue", symbol, 8, 8)
    journal = Journal(folder, Schema.TICK, "feed", chunk_records=100, rotate_bytes=1)
    for part in np.array_split(TICKS, FILES):
        journal.append(part)
        journal.flush()
    journal.close()
    assert len(list((folder / "journal").rglob("*.tpj"))) >= FILES
    if daily:
        assert not Compaction(folder, Policy(open_days=True)).run().trouble
        for path in (folder / "journal").rglob("*.tp?"):
            path.unlink()
    return folder


def times_of(store: Store, start_ns: int | None, end_ns: int | None, ids: tuple[int, ...] | None = None) -> list[int]:
    parts = list(store.scan(ids=ids, start_ns=start_ns, end_ns=end_ns))
    return join_records(parts)["seq"].tolist() if parts else []


@pytest.mark.parametrize("daily", [False, True])
def test_each_range_has_its_records_however_often_and_in_whatever_order_ranges_are_asked_for(
    tmp_path: Path, daily: bool
) -> None:
    store = Store(record(tmp_path, daily=daily))
    times, random = TICKS["ts_recv"], np.random.default_rng(3)
    bounds: list[tuple[int | None, int | None]] = [(None, None), (None, int(times[40])), (int(times[-40]), None)]
    bounds += [(int(times[0]) - 9, int(times[0])), (int(times[-1]) + 1, int(times[-1]) + 9)]
    ends = [int(part["ts_recv"][-1]) for part in np.array_split(TICKS, FILES)]
    bounds += [(end, end + 1) for end in ends] + [(end - 9, end) for end in ends]
    bounds += [tuple(np.sort(random.choice(times, 2, replace=False)).tolist()) for _ in range(40)]
    for ids in ((2,), (1, 3), None, (2,)):
        for start_ns, end_ns in bounds:
            wanted = np.ones(ROWS, np.bool_) if ids is None else np.isin(TICKS["instrument"], ids)
            wanted &= (times >= (start_ns or 0)) & (times < (end_ns or 2**62))
            assert times_of(store, start_ns, end_ns, ids) == TICKS["seq"][wanted].tolist()


def test_what_is_appended_behind_is_found(tmp_path: Path) -> None:
    store = Store(record(tmp_path))
    last_ns = int(TICKS["ts_recv"][-1])
    assert len(times_of(store, last_ns, None)) == 1
    later = make_ticks(50, first_seq=ROWS, start_ns=last_ns + 1)
    journal = Journal(tmp_path, Schema.TICK, "feed")
    for tick in range(50):
        journal.append(later[tick : tick + 1])
        journal.flush()
        assert times_of(store, last_ns + 1, None) == later["seq"][: tick + 1].tolist()
    journal.close()


def test_a_daily_file_that_is_damaged_or_lost_after_it_was_read_is_noticed(tmp_path: Path) -> None:
    store = Store(record(tmp_path, daily=True))
    assert len(times_of(store, None, None)) == ROWS
    path = sorted((tmp_path / "daily").rglob("*.tpd"))[1]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamageError, match=path.name):
        times_of(store, None, None)
    path.unlink()
    with pytest.raises(DamageError, match="the file is missing"):
        times_of(store, None, None)
    path.write_bytes(data)
    assert len(times_of(store, None, None)) == ROWS
