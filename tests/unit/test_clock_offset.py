"""The estimate of a clock's offset: the least of each ten seconds, and of those the median."""

from __future__ import annotations

import pytest

from tickplant.feeds.clock_offset import SLOT_NS, SLOTS, ClockOffset
from tickplant.records.ages import NO_AGE

MS = 10**6


def test_nothing_is_said_before_a_record_has_told() -> None:
    offset = ClockOffset()
    offset.see(NO_AGE, 5)
    assert offset.estimate_s is None


def test_slow_records_and_slots_with_odd_times_do_not_move_it() -> None:
    offset = ClockOffset()
    for slot in range(SLOTS):
        for age_ms in (250, 900, 40, 300):
            offset.see(age_ms * MS, slot * SLOT_NS + age_ms)
    for slot in range(SLOTS // 2 - 1):
        offset.see(-3600 * 1000 * MS, (SLOTS + slot) * SLOT_NS)  # an hour ahead, for less than half the time
    assert offset.estimate_s == pytest.approx(0.04)


def test_a_clock_that_was_set_is_followed_within_the_window() -> None:
    offset = ClockOffset()
    for slot in range(3 * SLOTS):
        offset.see((20 if slot < SLOTS else -500) * MS, slot * SLOT_NS)
    assert offset.estimate_s == pytest.approx(-0.5)
