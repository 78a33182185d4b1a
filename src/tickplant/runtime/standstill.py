"""Measures how long this process stood still, for processes that judge others by their silence.

A machine that is suspended, moved to another host or short of memory stops the watcher too. Messages of the watched
processes wait unread meanwhile, and those may have stood still as well, so their silence proves nothing.
"""

from __future__ import annotations

import time


class Standstill:
    """The time between two looks beyond what a running process needs, in seconds of the monotonic clock.

    Args:
        longest_s: the longest time between two looks of a running process.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._looked_s = time.monotonic()

    def look(self) -> float:
        """How long the process has stood still since the last look; 0 if it has not."""
        now_s = time.monotonic()
        stood_s = now_s - self._looked_s - self._longest_s
        self._looked_s = now_s
        return max(0.0, stood_s)


def excused(since_s: float, stood_s: float, now_s: float) -> float:
    """The start of a silence as it is judged: later by the time that the watcher stood still, but no later than now.

    A standstill does not excuse a silence that began after it. If nobody is silent, `since_s` and the result are inf.
    """
    return max(since_s, min(since_s + stood_s, now_s))
