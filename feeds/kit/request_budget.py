"""When to ask a venue: all requests stay within its budget, snapshots of one symbol are spaced out. Pure."""

from __future__ import annotations

from typing import Final

SECOND_NS: Final = 1_000_000_000
FIRST_DELAY_NS: Final = SECOND_NS // 2
LONGEST_DELAY_NS: Final = 60 * SECOND_NS
CALM_NS: Final = 120 * SECOND_NS
"""A symbol that needed no snapshot for this long starts again at the shortest delay."""


class RequestBudget:
    """The venue's request limit: one snapshot per interval, after a burst; smaller requests count proportionally."""

    def __init__(self, interval_s: float, burst: int) -> None:
        self._interval_ns = int(interval_s * SECOND_NS)
        self._burst_ns = self._interval_ns * (burst - 1)
        self._spent_until_ns = 0

    def next_ns(self, now_ns: int, share: float = 1.0) -> int:
        """Count a request that weighs `share` of a snapshot; returns the earliest time for it.

        The budget is charged when a request is queued, even if it is sent later: a delayed request cannot block others.
        """
        at_ns = max(now_ns, self._spent_until_ns - self._burst_ns)
        self._spent_until_ns = max(self._spent_until_ns, now_ns) + int(self._interval_ns * share)
        return at_ns

    def pause(self, until_ns: int) -> None:
        """Allow no request before this time, as the venue has demanded."""
        self._spent_until_ns = max(self._spent_until_ns, until_ns + self._burst_ns)


class SnapshotThrottle:
    """Gives each snapshot request the earliest time at which it may be sent.

    A symbol's first request goes at once; each further one waits for a delay that doubles from 0.5 s to 60 s. A request
    that replaces a waiting one inherits its time. All symbols together, and all other requests to the venue, stay
    within the budget.
    """

    def __init__(self, budget: RequestBudget) -> None:
        self._budget = budget
        self._last: dict[str, tuple[int, int]] = {}  # symbol -> time of its last request, delay before the next

    def next_ns(self, symbol: str, now_ns: int) -> int:
        """Count a request for this symbol; returns the earliest time for it."""
        earliest_ns, delay_ns = now_ns, FIRST_DELAY_NS
        if symbol in self._last:
            last_ns, last_delay_ns = self._last[symbol]
            if last_ns > now_ns:
                return last_ns
            if now_ns - last_ns < CALM_NS:
                earliest_ns = max(now_ns, last_ns + last_delay_ns)
                delay_ns = min(2 * last_delay_ns, LONGEST_DELAY_NS)
        earliest_ns = max(earliest_ns, self._budget.next_ns(now_ns))
        self._last[symbol] = (earliest_ns, delay_ns)
        return earliest_ns
