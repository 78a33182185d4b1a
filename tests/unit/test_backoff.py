"""Backoff and circuit breaker, with a clock of our own."""

from __future__ import annotations

import random

from tickplant.feeds.backoff import Backoff, Breaker


def highest(low: float, high: float) -> float:
    del low
    return high


def test_pauses_double_up_to_the_cap() -> None:
    backoff = Backoff(base_s=0.5, cap_s=10.0, uniform=highest)
    assert [backoff.failed() for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_jitter_is_full_it_spreads_from_zero_to_the_ceiling() -> None:
    chance = random.Random(1)
    backoff = Backoff(base_s=1.0, cap_s=60.0, uniform=chance.uniform)
    for _ in range(10):
        backoff.failed()
    pauses = [backoff.failed() for _ in range(2000)]
    assert 0 <= min(pauses) < 3
    assert 57 < max(pauses) <= 60
    assert 28 < sum(pauses) / len(pauses) < 32


def test_a_thousand_failures_do_not_overflow() -> None:
    backoff = Backoff(cap_s=60.0, uniform=highest)
    assert [backoff.failed() for _ in range(5000)][-1] == 60.0


def test_what_the_venue_asks_for_comes_on_top() -> None:
    backoff = Backoff(base_s=0.5, uniform=highest)
    assert backoff.failed(at_least_s=30.0) == 30.5


def test_opening_alone_does_not_reset_the_count_but_data_for_a_while_does() -> None:
    backoff = Backoff(base_s=1.0, healthy_s=10.0, uniform=highest)
    assert [backoff.failed() for _ in range(3)] == [1.0, 2.0, 4.0]
    backoff.flowing(100.0)
    backoff.flowing(109.9)
    assert backoff.failed() == 8.0
    backoff.flowing(200.0)
    assert backoff.failures == 4
    backoff.flowing(210.0)
    assert backoff.failures == 0
    assert backoff.failed() == 1.0


def test_a_short_life_does_not_count_towards_the_next_one() -> None:
    backoff = Backoff(base_s=1.0, healthy_s=10.0, uniform=highest)
    backoff.flowing(0.0)
    backoff.failed()
    backoff.flowing(9.0)
    backoff.flowing(18.9)
    assert backoff.failures == 1


def opened_breaker() -> Breaker:
    breaker = Breaker(threshold=3, open_s=30.0, cap_s=100.0)
    assert [breaker.failed(0.0) for _ in range(3)] == [False, False, True]
    return breaker


def test_the_circuit_opens_at_the_threshold_and_then_nothing_may_try() -> None:
    breaker = opened_breaker()
    assert breaker.state == "open"
    assert breaker.wait_s(10.0) == 20.0


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker(threshold=3)
    assert not any(breaker.failed(0.0) for _ in range(2))
    assert breaker.succeeded() is False
    assert not any(breaker.failed(0.0) for _ in range(2))
    assert breaker.wait_s(0.0) == 0.0


def test_half_open_lets_a_single_attempt_decide() -> None:
    breaker = opened_breaker()
    assert breaker.wait_s(30.0) == 0.0
    assert breaker.state == "half open"
    assert breaker.wait_s(30.0) > 0  # the others wait for the outcome
    assert breaker.succeeded() is True
    assert breaker.state == "closed"
    assert breaker.wait_s(30.0) == 0.0


def test_failing_half_open_doubles_the_pause_up_to_the_cap() -> None:
    breaker = opened_breaker()
    now_s, pauses = 30.0, []
    for _ in range(3):
        assert breaker.wait_s(now_s) == 0.0
        assert breaker.failed(now_s) is False  # it was open already: told once
        pauses.append(breaker.wait_s(now_s))
        now_s += pauses[-1]
    assert pauses == [60.0, 100.0, 100.0]


def test_a_failure_that_began_before_the_circuit_opened_changes_nothing() -> None:
    breaker = opened_breaker()
    assert breaker.failed(5.0) is False
    assert breaker.wait_s(5.0) == 25.0


def test_an_abandoned_attempt_lets_the_next_one_try() -> None:
    breaker = opened_breaker()
    assert breaker.wait_s(30.0) == 0.0
    breaker.abandoned()
    assert breaker.wait_s(30.0) == 0.0


def test_a_hold_keeps_everybody_away_without_opening_the_circuit() -> None:
    breaker = Breaker()
    breaker.hold(100.0, 7.0)
    assert breaker.wait_s(103.0) == 4.0
    assert breaker.state == "closed"
    assert breaker.succeeded() is False
    assert breaker.wait_s(107.0) == 0.0
