"""Warns when the calendars of an engine's series run out: some end with the last year that an exchange announced."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog

from tickplant.derive.calendars import SOON_DAYS, days_left, end_sentence
from tickplant.derive.derivation import Sessions
from tickplant.runtime.control import Counters


class CalendarWatch:
    """Logs once that a calendar ends soon, and once that it has ended. The engine continues either way.

    Args:
        sessions: sessions by name of the calendar.
        now_ns: returns the current time.
    """

    def __init__(self, sessions: Mapping[str, Sessions], now_ns: Callable[[], int] = time.time_ns) -> None:
        self._sessions = sessions
        self._now_ns = now_ns
        self._log = structlog.get_logger()
        self._said: set[tuple[str, bool]] = set()  # name, and whether the calendar had ended

    def counters(self) -> Counters:
        """For each calendar, whole days until its last session closes, negative after that; empty without calendars."""
        if not self._sessions:
            return {}
        now_ns = self._now_ns()
        left = {name: days_left(sessions, now_ns) for name, sessions in self._sessions.items()}
        for name, days in left.items():
            if days < SOON_DAYS and (name, days < 0) not in self._said:
                self._said.add((name, days < 0))
                self._log.warning("a calendar of sessions ends", calendar=name, what=end_sentence(name, days))
        return {"calendar_days": left}
