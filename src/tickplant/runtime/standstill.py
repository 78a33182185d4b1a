"""How long this process stood still: whoever judges others by their silence leaves that time out.

A machine that is suspended, moved to another host or short of memory stops the watcher too. What the watched have said
meanwhile waits unread, and they may have stood still as well, so their silence proves nothing.
"""

from __future__ import annotations

import time


class Standstill:
    """The time between two looks beyond what a process that runs takes for it, in seconds of the monotonic clock.

    Args:
        longest_s: the longest time between two looks of a process that runs.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._looked_s = time.monotonic()

    def look(self) -> float:
        """How long the process has stood still since the last look; 0 where it has not."""
        now_s = time.monotonic()
        stood_s = now_s - self._looked_s - self._longest_s
        self._looked_s = now_s
        return max(0.0, stood_s)


def excused(since_s: float, stood_s: float, now_s: float) -> float:
    """Since when somebody is judged to be silent: later by what the watcher stood still, but no later than now.

    A silence that began behind the standstill is not excused for it. Where nobody is silent, both are inf.
    """
    return max(since_s, min(since_s + stood_s, now_s))
