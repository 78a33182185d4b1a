"""What is read as columns is what is read as records: for any selection, columns and range of seqs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import START_NS, make_ticks

from tickplant.records.layouts import TICK, Kind, Schema
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
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


def test_a_column_that_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(ValueError, match="TICK has no column colour"):
        next(store.blocks("feed", Schema.TICK, Selection(), ["colour"]))
