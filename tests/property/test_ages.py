"""The ages of records: the kernel counts what plain Python counts, record by record."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tickplant.records.ages import BEYOND, BOUNDS_S, NO_AGE, Ages, count_ages
from tickplant.records.layouts import TICK, Flag, Kind

pytestmark = pytest.mark.kernels

NOW_NS = 1_700_000_000 * 10**9
AGES_NS = st.one_of(
    st.integers(-(10**9), 20 * 10**9),
    st.sampled_from([round(bound * 1e9) + more for bound in BOUNDS_S for more in (-1, 0, 1)]),
)
RECORDS = st.lists(
    st.tuples(
        AGES_NS,
        AGES_NS,
        st.sampled_from(list(Kind)),
        st.sampled_from([Flag(0), Flag.LAST, Flag.BACKFILL, Flag.SNAPSHOT, Flag.ON_TRADE | Flag.LAST]),
        st.booleans(),
    ),
    max_size=40,
)


def ticks_of(drawn: list[tuple[int, int, Kind, Flag, bool]]) -> NDArray[np.void]:
    ticks = np.zeros(len(drawn), TICK)
    for tick, (on_the_way, since, kind, flags, timed) in zip(ticks, drawn, strict=True):
        tick["ts_recv"] = NOW_NS - since
        tick["ts_event"] = NOW_NS - since - on_the_way if timed else 0
        tick["kind"], tick["flags"] = kind, flags
    return ticks


def plain_ages(ticks: NDArray[np.void], now_ns: int) -> list[int]:
    """Of the records that tell, in order."""
    ages = []
    for tick in ticks:
        event, received, flags = int(tick["ts_event"]), int(tick["ts_recv"]), int(tick["flags"])
        if tick["kind"] in (Kind.STATUS, Kind.GAP) or flags & (Flag.BACKFILL | Flag.SNAPSHOT):
            continue
        if now_ns:
            ages.append(now_ns - received)
        elif event:
            ages.append(received - event)
    return ages


@given(RECORDS, st.sampled_from([0, NOW_NS]))
def test_every_age_is_in_its_class(drawn: list[tuple[int, int, Kind, Flag, bool]], now_ns: int) -> None:
    ticks = ticks_of(drawn)
    counts = np.zeros(len(BOUNDS_S) + 2)
    least = count_ages(np.frombuffer(ticks, np.int64), now_ns, counts)
    ages = plain_ages(ticks, now_ns)
    assert least == min(ages, default=NO_AGE)
    assert counts[-1] == sum(ages)
    bounds = [round(bound * 1e9) for bound in BOUNDS_S]
    below = [sum(age <= bound for age in ages) for bound in bounds]
    assert np.cumsum(counts[:-1]).tolist() == [*below, len(ages)]


def test_a_histogram_counts_once_in_so_much_time() -> None:
    ages = Ages(every_ns=10**6)
    ticks = ticks_of([(5 * 10**6, 0, Kind.TRADE, Flag.LAST, True)] * 3)
    assert ages.at_receipt(ticks, NOW_NS) == 5 * 10**6
    assert ages.at_receipt(ticks, NOW_NS + 10**6 - 1) == NO_AGE
    assert ages.at_receipt(ticks[:0], NOW_NS + 10**9) == NO_AGE
    assert ages.at_receipt(ticks, NOW_NS + 10**6) == 5 * 10**6
    assert ages.report() == dict.fromkeys([*map(repr, BOUNDS_S), BEYOND], 0) | {"0.01": 6}
    assert ages.sum_s == pytest.approx(0.03)
