"""The look over a batch of ticks, for ids and times, equals its plain reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickplant.records import fanout
from tickplant.records.layouts import TICK

pytestmark = pytest.mark.kernels

SURVEY = fanout.prepared_survey()


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1) | st.integers(0, 9), st.integers(-(2**63), 2**63 - 1)), min_size=1),
    st.integers(0, 8),
    st.integers(1, 3),
)
def test_ids_are_marked_and_the_extremes_are_those_of_all_ticks(
    rows: list[tuple[int, int]], room: int, stride: int
) -> None:
    ticks = np.zeros(stride * len(rows), TICK)[::stride]
    ticks["instrument"], ticks["ts_recv"] = zip(*rows, strict=True)
    seen = np.zeros(room, np.bool_)
    ids, times = ticks["instrument"].tolist(), ticks["ts_recv"].tolist()
    assert tuple(map(int, SURVEY(ticks, seen))) == (min(ids), max(ids), max(times))
    assert set(np.flatnonzero(seen).tolist()) == {id_ for id_ in ids if id_ < room}
