"""A watcher leaves out what it stood still itself."""

from __future__ import annotations

import time

import pytest

from tickplant.runtime.standstill import Standstill, excused


def test_what_lies_beyond_the_longest_wait_between_two_looks_was_a_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    standstill = Standstill(2.0)
    found = []
    for pause_s in (0.0, 1.0, 2.0, 2.5, 1.0, 62.0, 0.5):
        now_s[0] += pause_s
        found.append(standstill.look())
    assert found == [0.0, 0.0, 0.0, 0.5, 0.0, 60.0, 0.0]


@pytest.mark.parametrize(
    ("since_s", "judged_s"),
    [
        (10.0, 70.0),  # silent before the standstill, and through it
        (99.0, 100.0),  # since it was over
        (100.0, 100.0),
        (float("inf"), float("inf")),  # nobody is silent
    ],
)
def test_only_a_silence_from_before_a_standstill_is_excused_for_it(since_s: float, judged_s: float) -> None:
    assert excused(since_s, 60.0, 100.0) == judged_s
