"""What is read as columns is what is read as records: for any selection, columns and range of seqs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import START_NS, make_ticks

from tickplant.errors import DamageError
from tickplant.records.layouts import TICK, Kind, Schema
from tickplant.store.reader import Store
from tickplant.store.segments import Range
from tickplant.store.selection import Selection
from tickplant.store.whole_reading import read_whole
from tickplant.writer.index import Damage
from tickplant.writer.journal import Journal

ROWS = 1500
SECONDS = 3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Several files of several chunks."""
    folder: Path = tmp_path_factory.mktemp("columns")
    ticks = make_ticks(ROWS)
    journal = Journal(folder, Schema.TICK, "feed", rotate_bytes=5000)
    for start in range(0, ROWS, 130):
        journal.append(ticks[start : start + 130])
        journal.flush()
    journal.close()
    return Store(folder)


some_seq = st.one_of(st.none(), st.integers(0, ROWS + 10))
some_time = st.one_of(st.none(), st.integers(START_NS - 10**9, START_NS + SECONDS * 10**9))
selections = st.builds(
    Selection,
    ids=st.one_of(st.none(), st.frozensets(st.integers(1, 5), max_size=3)),
    kinds=st.one_of(st.none(), st.frozensets(st.sampled_from([*map(int, Kind)]), max_size=4)),
    start_ns=some_time,
    end_ns=some_time,
    clock=st.sampled_from(["recv", "event"]),
)
names = st.one_of(st.none(), st.lists(st.sampled_from(TICK.names or ()), unique=True))


@given(selections, names, some_seq, some_seq)
def test_blocks_hold_the_columns_of_the_records(
    store: Store, selection: Selection, columns: list[str] | None, first: int | None, last: int | None
) -> None:
    span: dict[str, Any] = {"first_seq": first or 0, "last_seq": last}
    blocks = list(store.blocks("feed", Schema.TICK, selection, columns, **span))
    records = np.concatenate(
        [np.zeros(0, TICK), *store.read("feed", Schema.TICK, selection, **span)],
    )
    assert sum(block.rows for block in blocks) == len(records)
    for block in blocks:
        assert {*block.columns} == {*(TICK.names or () if columns is None else columns)}
    for name in TICK.names or () if columns is None else columns:
        found = np.concatenate([np.zeros(0, TICK[name]), *(block.columns[name] for block in blocks)])
        assert found.dtype == TICK[name]
        assert found.tobytes() == np.ascontiguousarray(records[name]).tobytes()


@given(selections, names, some_seq, some_seq, st.booleans(), st.sampled_from([1, ROWS // 7]))
def test_all_at_once_is_all_of_the_blocks(
    store: Store,
    selection: Selection,
    columns: list[str] | None,
    first: int | None,
    last: int | None,
    threads: bool,
    part_rows: int,
) -> None:
    asked = Range("feed", Schema.TICK, selection, first or 0, last)
    names = TICK.names or () if columns is None else columns
    checked = [np.zeros(0, TICK["instrument"])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tickplant.store.whole_reading.PARTS_A_WORKER", 1 if threads else ROWS)
        patch.setattr("tickplant.store.whole_reading.PART_ROWS", part_rows)
        patch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
        whole = read_whole(store, [asked], names, lambda part: checked.append(part["instrument"].copy()))
    every = {*names, "instrument"}
    blocks = list(store.blocks("feed", Schema.TICK, selection, [*every], first_seq=first or 0, last_seq=last))
    if whole is None:  # no chunk may have any
        assert not blocks
        return
    assert [*whole] == [*names]
    for name in names:
        expected = np.concatenate([np.zeros(0, TICK[name]), *(block.columns[name] for block in blocks)])
        assert whole[name].dtype == TICK[name]
        assert whole[name].tobytes() == expected.tobytes()
    # Threads check the chunks in any order.
    ids = [np.zeros(0, TICK["instrument"]), *(block.columns["instrument"] for block in blocks)]
    assert np.array_equal(np.sort(np.concatenate(checked)), np.sort(np.concatenate(ids)))


@pytest.mark.parametrize("threads", [False, True])
def test_damage_is_reported_once_and_the_rest_is_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: bool
) -> None:
    monkeypatch.setattr("tickplant.store.whole_reading.PARTS_A_WORKER", 1 if threads else ROWS)
    monkeypatch.setattr("tickplant.store.whole_reading.PART_ROWS", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    damaged = tmp_path / "data"
    shutil.copytree(store.data_dir, damaged)
    path = store.files("feed", Schema.TICK)[1]
    broken = damaged / path.relative_to(store.data_dir)
    data = bytearray(broken.read_bytes())
    data[len(data) // 3] ^= 0xFF
    broken.write_bytes(data)
    asked = Range("feed", Schema.TICK, Selection())
    with pytest.raises(DamageError, match=broken.name):
        read_whole(Store(damaged), [asked], ["seq"])
    told: list[Damage] = []
    whole = read_whole(Store(damaged, on_damage=told.append), [asked], ["seq"])
    assert whole is not None
    expected: list[Damage] = []
    blocks = list(Store(damaged, on_damage=expected.append).blocks("feed", Schema.TICK, Selection(), ["seq"]))
    assert told == expected
    assert len(told) == 1
    assert np.array_equal(whole["seq"], np.concatenate([block.columns["seq"] for block in blocks]))
    assert 0 < len(whole["seq"]) < ROWS


def test_a_column_that_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(ValueError, match="TICK has no column colour"):
        next(store.blocks("feed", Schema.TICK, Selection(), ["colour"]))
