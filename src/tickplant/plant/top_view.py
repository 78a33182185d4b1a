"""The screen of `tickplant top`: a picture of a plant that fits a screen, and the effect of each key.

Contains no terminal and no plant: `press` takes a key, `lines` gives the picture.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Final, NamedTuple

from rich.text import Text

from tickplant.plant.figures import (
    STAGES,
    Rates,
    Table,
    duration_text,
    event_table,
    process_table,
    rate_text,
    ring_table,
    total_rate,
    why_unhealthy,
)
from tickplant.plant.text_grid import lines_of
from tickplant.printable import printable
from tickplant.runtime.control import Status

VIEWS: Final[dict[str, Callable[[Status, Rates], Table]]] = {
    "processes": process_table,
    "rings": ring_table,
    "gaps": lambda status, _: event_table(status),
}
KEYS: Final = {
    "1 2 3": "processes, rings, gaps and statuses that feeds have recorded",
    "< >": "the column by which rows are sorted; also the arrows ← and →",
    "r": "the other order",
    "/": "show only rows that contain what is typed; Enter ends it, Esc shows all",
    "j k": "scroll; also the arrows ↓ and ↑",
    "?": "this list",
    "q": "end; also Ctrl-C",
}
"""Listed by `--help` and the key `?`."""

LEFT: Final = b"\x1b[D"
RIGHT: Final = b"\x1b[C"
UP: Final = b"\x1b[A"
DOWN: Final = b"\x1b[B"
SEQUENCES: Final = frozenset((LEFT, RIGHT, UP, DOWN))
ESCAPE: Final = b"\x1b"
ENTER: Final = (b"\r", b"\n")
RUBOUT: Final = (b"\x7f", b"\x08")
LONGEST_FILTER: Final = 40
HEAD_LINES: Final = 6  # above the rows: four of the plant, one of the view, one of titles


class Hearing(NamedTuple):
    """How reliable the picture is."""

    state: str  # "live"; "stale": the plant does not answer; "gone": it has ended
    since_s: float  # since the last answer
    clock: str  # time of day of that answer, local


class TopView:
    """One screen."""

    def __init__(self) -> None:
        self.ended = False
        self._view = "processes"
        self._sorted: dict[str, int | None] = dict.fromkeys(VIEWS)
        self._turned: dict[str, bool] = dict.fromkeys(VIEWS, False)
        self._filter = ""
        self._typing = False
        self._helping = False
        self._scroll = 0
        self._columns = 1

    def press(self, key: bytes) -> None:
        """Handle a key; keys without a meaning are ignored."""
        if self._typing:
            self._type(key)
        elif self._helping:
            self._helping = False
        elif key in (b"q", b"Q"):
            self.ended = True
        elif key in (b"1", b"2", b"3"):
            self._view, self._scroll = list(VIEWS)[int(key) - 1], 0
        elif key in (b"<", LEFT, b">", RIGHT):
            at, step = self._sorted[self._view], 1 if key in (b">", RIGHT) else -1
            self._sorted[self._view] = (at + step if at is not None else min(step, 0)) % self._columns
        elif key == b"r":
            self._turned[self._view] = not self._turned[self._view]
        elif key == b"/":
            self._typing, self._filter = True, ""
        elif key == ESCAPE:
            self._filter, self._scroll = "", 0
        elif key in (b"j", DOWN, b"k", UP):
            self._scroll = max(0, self._scroll + (1 if key in (b"j", DOWN) else -1))
        elif key in (b"?", b"h"):
            self._helping = True

    def _type(self, key: bytes) -> None:
        self._scroll = 0
        if key in ENTER:
            self._typing = False
        elif key == ESCAPE:
            self._typing, self._filter = False, ""
        elif key in RUBOUT:
            self._filter = self._filter[:-1]
        elif len(key) == 1 and key.isascii() and key.decode().isprintable():
            self._filter = (self._filter + key.decode())[:LONGEST_FILTER]

    def lines(self, status: Status | None, rates: Rates, hearing: Hearing, width: int, height: int) -> list[Text]:
        """`height` lines of at most `width` letters. `status`: the last one received, or None."""
        if self._helping:
            shown = [Text(f"{keys:6} {what}") for keys, what in KEYS.items()]
            shown = [Text("Keys", style="bold"), Text(), *shown, Text(), Text("any key goes back", style="dim")]
        elif status is None:
            shown = [Text("tickplant", style="bold"), self._banner(None, hearing)]
        else:
            shown = self._page(status, rates, hearing, width, height - 1)
        shown = shown[: height - 1] + [Text()] * (height - 1 - len(shown))
        shown.append(self._foot())
        for line in shown:
            line.truncate(width)
        return shown

    # ------------------------------------------------------------------------------------------------ parts

    def _page(self, status: Status, rates: Rates, hearing: Hearing, width: int, height: int) -> list[Text]:
        table = VIEWS[self._view](status, rates)
        self._columns = len(table.columns)
        at, turned = self._sorted[self._view], self._turned[self._view]
        rows = [row for row in table.rows if self._filter.lower() in " ".join((*row.cells, row.note)).lower()]
        if at is not None:
            rows.sort(key=lambda row: row.keys[at], reverse=table.columns[at].right)  # the largest number first
        if turned:
            rows.reverse()
        heading, groups = lines_of(Table(table.columns, rows), width, marked=at)
        room = height - HEAD_LINES
        self._scroll = min(self._scroll, self._last_scroll(groups, room))
        body = [line for group in groups[self._scroll :] for line in group][: max(0, room)]
        sort = f"by {table.columns[at].title}" if at is not None else "as configured"
        words = [f"{self._view}, {sort}{', turned' if turned else ''}", f"{len(rows)} of {len(table.rows)}"]
        words += [f"with {self._filter!r}"] if self._filter else []
        title = Text("  ".join(words), style="dim")
        plant, below = self._plant(status, rates), [heading, *body]
        if hearing.state != "live":  # no colour may suggest that an old number is well
            plant, below = ([Text(line.plain, style="dim") for line in part] for part in (plant, below))
        return [*plant, self._banner(status, hearing), title, *below]

    @staticmethod
    def _last_scroll(groups: list[list[Text]], room: int) -> int:
        """The first row of the last page."""
        first, used = len(groups), 0
        while first and used + len(groups[first - 1]) <= room:
            first -= 1
            used += len(groups[first])
        return first

    @staticmethod
    def _plant(status: Status, rates: Rates) -> list[Text]:
        cpu = sum(process.cpu_percent for process in status.processes)
        memory = sum(process.rss_bytes for process in status.processes) >> 20
        words = [f"cpu {cpu:.1f} %", f"{memory:,} MiB"]
        for role, done in (("feed", "received"), ("writer", "stored")):
            if rate := rate_text(total_rate(status, rates, role)):
                words.append(f"{done} {rate}/s")
        try:
            disk = shutil.disk_usage(status.data_dir)
            words.append(f"disk {disk.free / 2**30:,.1f} of {disk.total / 2**30:,.1f} GiB free")
        except OSError:  # it is on another machine, or gone
            pass
        title = f"tickplant  up {duration_text(status.uptime_s)}  {printable(status.data_dir)}"
        found = [(stage, rates.latency_text(stage, 0.99)) for stage in STAGES]
        ages = "  ".join(f"{stage} {text}" for stage, text in found if text)
        return [Text(title, style="bold"), Text("  ".join(words)), Text(f"p99  {ages}" if ages else "")]

    @staticmethod
    def _banner(status: Status | None, hearing: Hearing) -> Text:
        silent = (
            f"for {duration_text(hearing.since_s)}; these numbers are of {hearing.clock}" if hearing.clock else "yet"
        )
        if hearing.state == "gone":
            return Text(f"THE PLANT HAS ENDED: no answer {silent}", style="bold white on red")
        if hearing.state == "stale":
            return Text(f"STALE: the plant does not answer, {silent}", style="bold white on red")
        if status is None:
            return Text("waiting for the plant's first answer", style="yellow")
        why = why_unhealthy(status)
        return Text(f"NOT WELL: {printable(why)}", style="bold red") if why else Text("healthy", style="green")

    def _foot(self) -> Text:
        if self._typing:
            return Text(f"/{self._filter}_  Enter: keep, Esc: all", style="reverse")
        return Text("1 processes  2 rings  3 gaps  < > sort  r turn  / filter  ? keys  q end", style="dim")
