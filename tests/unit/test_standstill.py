"""A watcher leaves out what it stood still itself."""

from __future__ import annotations

import time

import pytest

from tickplant.runtime.standstill import Standstill


def test_what_lies_beyond_the_longest_wait_between_two_looks_was_a_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    standstill = Standstill(2.0)
    found = []
    for pause_s in (0.0, 1.0, 2.0, 2.5, 1.0, 62.0, 0.5):
        now_s[0] += pause_s
        found.append(standstill.look())
    assert found == [0.0, 0.0, 0.0, 0.5, 0.0, 60.0, 0.0]
