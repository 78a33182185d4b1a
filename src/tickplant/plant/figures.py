"""A status as tables of figures, which `status`, `up` and `top` show in their own ways. Knows no terminal.

A rate is the mean of the last RATE_S, as processes report only every `heartbeat_s`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from tickplant.derive.calendars import SOON_DAYS
from tickplant.printable import printable
from tickplant.runtime.control import ProcessStatus, RingStatus, Status, duty

RATE_S: Final = 5.0
COMPACT_FROM: Final = 10_000_000
SLOW_SHARE: Final = 10
"""A feed gets a note if its reference decoder reads more than one in this many frames."""

STYLES: Final = {
    "running": "green",
    "done": "green",
    "starting": "yellow",
    "stopping": "yellow",
    "backoff": "red",
    "fatal": "bold red",
}
"""Style of a process by its state."""


class Column(NamedTuple):
    """A column's title, and the alignment of its cells."""

    title: str
    right: bool = True
    least: int = 0  # letters that it may be cut to in too wide a table; 0: never cut


class Row(NamedTuple):
    """A line of a table."""

    cells: tuple[str, ...]
    keys: tuple[float | str, ...]  # to sort by, one per cell
    note: str = ""  # what is remarkable about the row
    styles: tuple[str, ...] = ()  # of the cells; none: the default


class Table(NamedTuple):
    """Rows under columns."""

    columns: tuple[Column, ...]
    rows: list[Row]


STAGES: Final = {"venue": "age_received", "plant": "age_published", "durable": "age_durable"}
"""Stages that a record passes, and the counter of the time that each took: `records/ages.py`."""


class Rates:
    """Records per second of processes, by name, and of rings, by `PRODUCER.SCHEMA`; latencies by stage."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[str, int], dict[str, Counter[str]]]] = deque()

    def see(self, status: Status, now_s: float) -> None:
        """Take in a status that came at `now_s` on a monotonic clock."""
        totals = {process.name: records_of(process) for process in status.processes}
        totals |= {ring_name(ring): ring.head for ring in status.rings}
        self._seen.append((now_s, totals, {stage: _ages(status, counter) for stage, counter in STAGES.items()}))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - RATE_S:
            self._seen.popleft()

    def __getitem__(self, name: str) -> float | None:
        """Records per second; None if not known yet, or if a process restarted meanwhile."""
        if len(self._seen) < 2:
            return None
        (first_s, first, _), (last_s, last, _) = self._seen[0], self._seen[-1]
        grown = last.get(name, -1) - first.get(name, 0)
        return grown / (last_s - first_s) if name in first and grown >= 0 and last_s > first_s else None

    def latency_text(self, stage: str, share: float) -> str:
        """A bound that this share of the last records has kept to, such as `≤ 30 ms`; empty if unknown."""
        if len(self._seen) < 2:
            return ""
        counts = self._seen[-1][2][stage]
        grown = {bound: count - self._seen[0][2][stage][bound] for bound, count in counts.items()}
        total, so_far = sum(grown.values()), 0
        for bound, count in grown.items() if total and min(grown.values()) >= 0 else ():
            so_far += count
            if so_far >= share * total:
                last_s = float(bound)
                if last_s == float("inf"):
                    return "> 10 s"
                return f"≤ {last_s:g} s" if last_s >= 1 else f"≤ {1000 * last_s:g} ms"
        return ""


def _ages(status: Status, counter: str) -> Counter[str]:
    """Counts by class, over all processes."""
    total: Counter[str] = Counter()
    for process in status.processes:
        if isinstance(counts := process.counters.get(counter), dict):
            for bound, count in counts.items():
                total[bound] += count
    return total


def records_of(process: ProcessStatus) -> int:
    """The one number for a process's work: ticks made, records consumed or stored."""
    for key in ("ticks", "records", "frames"):
        value = process.counters.get(key)
        if isinstance(value, int):
            return value
    return 0


def ring_name(ring: RingStatus) -> str:
    """The ring's name in all displays."""
    return f"{ring.producer}.{ring.schema}"


def notes_of(process: ProcessStatus, status: Status) -> list[str]:
    """What is remarkable about a process."""
    numbers = {key: process.counters.get(key) for key in ("rejected", "gaps", "lost")}
    notes = [f"{key} {number:,}" for key, number in numbers.items() if number and isinstance(number, int)]
    frames, fallbacks = (process.counters.get(key) for key in ("frames", "fallbacks"))
    if isinstance(frames, int) and isinstance(fallbacks, int) and fallbacks > max(frames // SLOW_SHARE, 1000):
        notes.append(f"decoded slowly {fallbacks:,}")
    if process.counters.get("trouble"):
        notes.append(f"cannot {duty(process.role)}")
    if isinstance(left_out := process.counters.get("own_left_out"), dict) and left_out:
        notes.append(f"left out {', '.join(left_out)}")
    if isinstance(calendars := process.counters.get("calendar_days"), dict):
        ending = {name: days for name, days in calendars.items() if days < SOON_DAYS}
        notes += [f"{name} ends in {days} days" if days >= 0 else f"{name} has ended" for name, days in ending.items()]
    lags = [(ring.lag.get(process.name, 0), ring.capacity) for ring in status.rings]
    return notes + [f"behind by {lag:,}" for lag, capacity in lags if lag > capacity // 2]


def process_table(status: Status, rates: Rates | None = None) -> Table:
    """One row per process; with `rates`, also its records per second."""
    columns = [
        *(Column("process", right=False, least=8), Column("role", right=False), Column("state", right=False)),
        *(Column(name) for name in ("pid", "cpu %", "MiB", "restarts", "records")),
        *([Column("per s")] if rates else []),
    ]
    rows = []
    for process in status.processes:
        records, rate = records_of(process), rates[process.name] if rates else None
        cells = [
            *(process.name, process.role, process.state, str(process.pid or ""), f"{process.cpu_percent:.1f}"),
            *(f"{process.rss_bytes >> 20:,}", f"{process.restarts:,}", number_text(records) if records else ""),
            *([rate_text(rate)] if rates else []),
        ]
        keys: list[float | str] = [
            *(process.name, process.role, process.state, process.pid, process.cpu_percent),
            *(process.rss_bytes, process.restarts, records, *([rate or 0.0] if rates else [])),
        ]
        styles = ("", "", STYLES.get(process.state, ""))
        note = ", ".join(notes_of(process, status))
        rows.append(Row(tuple(map(printable, cells)), tuple(keys), printable(note), styles))
    return Table(tuple(columns), rows)


def ring_table(status: Status, rates: Rates) -> Table:
    """One row per reader of a ring."""
    columns = (
        *(Column("ring", right=False, least=12), Column("per s"), Column("reader", right=False, least=8)),
        *(Column(name) for name in ("behind", "full %", "most", "lost")),
    )
    rows = []
    for ring in status.rings:
        rate = rates[ring_name(ring)]
        for reader, lag in ring.lag.items() or (("", 0),):
            share, most, lost = 100 * lag / ring.capacity, ring.most.get(reader, 0), ring.lost.get(reader, 0)
            numbers = (number_text(lag), f"{share:.1f}", number_text(most), number_text(lost))
            cells = (ring_name(ring), rate_text(rate), reader, *numbers)
            style = "red" if share > 80 or lost else "yellow" if share > 50 else ""
            keys = (ring_name(ring), rate or 0.0, reader, lag, share, most, lost)
            styles = ("", "", "", "", style, "", "red" if lost else "")
            rows.append(Row(tuple(map(printable, cells)), keys, styles=styles))
    return Table(columns, rows)


def event_table(status: Status) -> Table:
    """One row per cause of gaps and per status that a feed has recorded."""
    columns = (Column("feed", right=False, least=8), *(Column(name, right=False) for name in ("kind", "cause")))
    rows = []
    for process, kind, cause, count in _events(status):
        cells = (process, kind, cause.replace("_", " "), number_text(count))
        style = "yellow" if kind == "gap" else ""
        rows.append(Row(tuple(map(printable, cells)), (process, kind, cause, count), styles=("", style)))
    return Table((*columns, Column("records")), rows)


def _events(status: Status) -> Iterator[tuple[str, str, str, int]]:
    for process in status.processes:
        for counter, kind in (("gap_causes", "gap"), ("statuses", "status")):
            counts = process.counters.get(counter)
            if isinstance(counts, dict):
                for cause, count in counts.items():
                    yield process.name, kind, cause, count


def why_unhealthy(status: Status) -> str:
    """The first thing that is wrong; empty if all is well."""
    if status.healthy:
        return ""
    for process in status.processes:
        if trouble := process.counters.get("trouble"):
            return f"{process.name} cannot {duty(process.role)}: {trouble}"
    for process in status.processes:
        if process.state not in ("running", "done"):
            return f"{process.name} is in state {process.state}"
    off = next((account for account in status.accounts if account.off), None)
    return f"{off.producer}: {off}" if off else "not all of the plant is running"


def total_rate(status: Status, rates: Rates, role: str) -> float | None:
    """The rate of all processes of a role together."""
    found = [rate for one in status.processes if one.role == role and (rate := rates[one.name]) is not None]
    return sum(found) if found else None


def number_text(number: int) -> str:
    """At most nine letters: `9,999,999`, `12.3 M`, `4.57 G`."""
    if number < COMPACT_FROM:
        return f"{number:,}"
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6)):
        if number >= size:
            return f"{number / size:.{1 if number >= 10 * size else 2}f} {unit}"
    raise AssertionError(number)


def rate_text(rate: float | None) -> str:
    """The rate as text; empty if unknown."""
    return "" if rate is None else number_text(round(rate))


def duration_text(seconds: float) -> str:
    """A duration in its two largest units."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"
