"""Reports every STATUS and GAP record: one line in the log, one count in the counters.

It reads what the adapter hands out, so no venue can forget to report. All records of a flood are counted, but only the
first lines of each second are written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.kernels import direct
from tickplant.records.channels import streams_of
from tickplant.records.layouts import UNKNOWN, GapCause, Kind, StatusCode
from tickplant.records.notes import first_note, is_note

LINES_PER_S: Final = 50

_NORMAL: Final = (
    StatusCode.CONNECTED,
    StatusCode.HANDOVER,
    StatusCode.CIRCUIT_CLOSED,
    StatusCode.TRADING,
    StatusCode.LISTED,
    StatusCode.ADDED,
    StatusCode.REMOVED,
)


class Anomalies:
    """Counts since the start: `statuses` by code and `gap_causes` by cause, in lower case."""

    def __init__(self, symbol_of: Callable[[int], str]) -> None:
        self.statuses: Counter[str] = Counter()
        self.gap_causes: Counter[str] = Counter()
        self._symbol_of = symbol_of
        self._first_note = direct(first_note, np.empty(0, np.int64))
        self._lines = 0
        self._log: Any = structlog.get_logger()

    def note(self, records: NDArray[np.void]) -> None:
        """Examine records (n,), dtype TICK, contiguous."""
        if not len(records):
            return
        first = self._first_note(np.frombuffer(records, np.int64))
        if first >= 0:
            tail = records[first:]
            for record in tail[is_note(tail)]:
                self._tell(record)

    def on_second(self) -> None:
        """Begin a new second, and report lines left out in the last one."""
        if self._lines > LINES_PER_S:
            self._log.warning("too many notices: some are not written", unwritten=self._lines - LINES_PER_S)
        self._lines = 0

    def _tell(self, record: Any) -> None:
        is_gap = record["kind"] == Kind.GAP
        names, counts = (GapCause, self.gap_causes) if is_gap else (StatusCode, self.statuses)
        code = names(int(record["price"]))
        name = code.name.lower()
        counts[name] += 1
        self._lines += 1
        if self._lines > LINES_PER_S:
            return
        about: dict[str, object] = {"symbol": self._symbol_of(int(record["instrument"]))}
        if streams := streams_of(int(record["flags"])):
            about["streams"] = streams
        if is_gap:
            missing = int(record["size"])
            about["missing"] = "unknown" if missing == UNKNOWN else missing
            about |= {"after": int(record["order_id"]), "before": int(record["venue_seq"])}
            self._log.warning(f"gap: {name}", **about)
        else:
            (self._log.info if code in _NORMAL else self._log.warning)(f"status: {name}", **about)
