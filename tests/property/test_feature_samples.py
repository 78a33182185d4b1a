"""Samples of features: the last value known at each row, whatever the cuts, and nothing from after it."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tickplant.derive.feature_stream import sample

EVENTS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.floats(-9, 9) | st.just(math.nan)), max_size=60)
"""Of a tick, what it has made: a row (0), or a value of the first, second or third member."""

Events = list[tuple[int, int, float]]


def plain_samples(events: Events) -> list[list[float]]:
    """At each row the last value of each member, those of the row's own tick among them."""
    found = []
    for tick in sorted(one[0] for one in events if one[1] == 0):
        known = [[value for seq, kind, value in events if kind == member and seq <= tick] for member in (1, 2, 3)]
        found.append([values[-1] if values else math.nan for values in known])
    return found


def sampled(events: Events, cuts: list[int]) -> np.ndarray:
    """In batches of ticks: up to each cut."""
    state, parts = np.zeros(6), []
    for start, end in zip([0, *cuts], [*cuts, 99], strict=True):
        batch = [one for one in events if start <= one[0] < end]
        seqs = [np.array([seq for seq, kind, _ in batch if kind == member], np.uint64) for member in range(4)]
        values = [np.array([value for _, kind, value in batch if kind == member]) for member in (1, 2, 3)]
        parts.append(sample(seqs[0], seqs[1:], values, state))
    return np.concatenate(parts, axis=1).T


@given(EVENTS, st.lists(st.integers(0, 41), max_size=5))
def test_samples_are_the_last_values_known_for_any_cuts(events: Events, cuts: list[int]) -> None:
    events = sorted(events, key=lambda one: one[0])
    expected = np.array(plain_samples(events)).reshape(-1, 3)
    np.testing.assert_array_equal(sampled(events, sorted(cuts)), expected)


@given(EVENTS, st.integers(0, 41))
def test_what_comes_later_changes_no_sample(events: Events, until: int) -> None:
    events = sorted(events, key=lambda one: one[0])
    before = [one for one in events if one[0] < until]
    part = sampled(before, [])
    assert sampled(events, [])[: len(part)].tobytes() == part.tobytes()
