"""Bars equal the plain reference on any stream of records, however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.books.plain_books import PlainBars
from tickplant.derive.bars import Bars
from tickplant.records.layouts import TICK, Flag, Kind

pytestmark = pytest.mark.kernels

S = 10**9
ROW = st.tuples(
    st.integers(1, 2),  # instrument
    st.sampled_from([Kind.TRADE, Kind.TRADE, Kind.TRADE, Kind.QUOTE, Kind.LEVEL, Kind.STATUS]),
    st.one_of(st.just(0), st.integers(1, 12 * S), st.sampled_from([S, S - 1, 2 * S, 5 * S])),  # ts_event
    st.integers(-5, 5),  # price
    st.one_of(st.integers(0, 9), st.just(2**62)),  # size
    st.integers(0, 2),  # side
    st.sampled_from([Flag.LAST, Flag.LAST, Flag.LAST, Flag.BACKFILL, Flag.LAST | Flag.AGGREGATE]),
)


@st.composite
def streams(draw: st.DrawFn) -> np.ndarray:
    rows = draw(st.lists(ROW, max_size=80))
    records = np.zeros(len(rows), TICK)
    for record, row in zip(records, rows, strict=True):
        for name, value in zip(("instrument", "kind", "ts_event", "price", "size", "side", "flags"), row, strict=True):
            record[name] = value
    if draw(st.booleans()):
        records["ts_event"].sort()
    records["seq"] = records["ts_recv"] = np.arange(len(records)) + 1000
    return records


@settings(max_examples=200)
@given(streams(), st.lists(st.integers(0, 80), max_size=5), st.sampled_from([(1,), (1, 60), (5, 1, 2)]))
def test_output_equals_the_reference_for_any_cuts(
    records: np.ndarray, cuts: list[int], intervals_s: tuple[int, ...]
) -> None:
    expected = PlainBars(intervals_s).apply(records)
    bars = Bars(intervals_s)
    parts = [bars.apply(part.copy()) for part in np.split(records, sorted(c for c in cuts if c <= len(records)))]
    assert b"".join(part.tobytes() for part in parts) == expected.tobytes()
    assert bars.counters["bars"] == len(expected)


@settings(max_examples=100)
@given(streams())
def test_bars_of_one_length_never_overlap_and_never_go_back(records: np.ndarray) -> None:
    out = Bars((1, 5)).apply(records)
    for instrument in (1, 2):
        for interval_s in (1, 5):
            own = out[(out["instrument"] == instrument) & (out["interval_s"] == interval_s)]
            assert (own["ts_open"] % (interval_s * S) == 0).all()
            assert (own["ts_event"] == own["ts_open"] + interval_s * S).all()
            assert (own["ts_open"][1:] >= own["ts_event"][:-1]).all()
            assert (own["low"] <= own["open"]).all()
            assert (own["high"] >= own["close"]).all()
