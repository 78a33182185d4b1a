"""What a person sees of a running plant: a small live table on a terminal, log lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tickplant.printable import printable
from tickplant.runtime.accounts import Account
from tickplant.runtime.control import ProcessStatus, Status, duty, trouble_sentence

_STYLES = {
    "running": "green",
    "done": "green",
    "starting": "yellow",
    "stopping": "yellow",
    "backoff": "red",
    "fatal": "bold red",
}


class Plant(Protocol):
    """What can be watched."""

    running: bool

    def status(self) -> Status:
        """How it is."""
        ...


class View:
    """Log lines: one sentence per event, one line when the plant is ready, and progress while it starts."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._ready = False
        self._pages: set[str] = set()  # gateways that answer, as far as this was said
        self._complete = False  # all of them do
        self._starting_s = time.monotonic()
        self._named = ""

    def report(self, level: str, sentence: str) -> None:
        """An event, as it happens."""
        # A plant goes on where nobody reads its console any more.
        with contextlib.suppress(OSError, ValueError):
            print(f"{time.strftime('%H:%M:%S')} {level}: {printable(sentence)}", file=sys.stderr, flush=True)  # noqa: T201  # this is the console

    def show(self, plant: Plant) -> None:
        """Called about once a second."""
        if self._ready and self._complete:
            return
        status = plant.status()
        if plant.running and not self._ready:
            self._ready = True
            self.report("info", f"the plant is up: {len(status.processes)} processes, data in {status.data_dir}")
            for address in status.publish:
                self.report("info", f"attach with: tickplant tail --address {address}")
        if self._ready:
            for address in pages(status):
                if address not in self._pages:
                    self._pages.add(address)
                    self.report("info", f"open in a browser: {address}")
            self._complete = len(self._pages) == len(status.gateways)
            return
        waiting = [process.name for process in status.processes if process.state == "starting"]
        if waiting and waiting[0] != self._named and time.monotonic() - self._starting_s > 1:
            self._named = waiting[0]
            self.report("info", f"starting {self._named}")


def pages(status: Status) -> list[str]:
    """Addresses of the gateways that answer."""
    gateways = [process for process in status.processes if process.role == "gateway"]
    return [address for process, address in zip(gateways, status.gateways, strict=False) if process.state == "running"]


class LiveView(View):
    """A table that is redrawn in place."""

    def __init__(self, title: str, console: Console, live: Live) -> None:
        super().__init__(title)
        self._console = console
        self._live = live
        self._before: dict[str, tuple[float, int]] = {}

    def report(self, level: str, sentence: str) -> None:
        """An event: a line above the table."""
        style = {"error": "red", "warning": "yellow"}.get(level, "dim")
        with contextlib.suppress(OSError):  # as above
            self._console.print(Text(f"{time.strftime('%H:%M:%S')} {printable(sentence)}", style=style), soft_wrap=True)

    def show(self, plant: Plant) -> None:
        """Redraw."""
        status = plant.status()
        hint = Text("Ctrl-C stores what is in flight and ends the plant.", style="dim")
        if plant.running and status.publish:
            hint = Text.assemble(
                ("attach  ", "dim"), "tickplant tail binance", ("   or from Python  ", "dim"),
                f'tickplant.subscribe("binance", address="{status.publish[0]}")', "\n",
                *(part for page in pages(status) for part in (("in a browser  ", "dim"), page, "\n")), hint,
            )  # fmt: skip
        elif not plant.running:
            hint = Text("starting; the first start compiles its kernels, which takes up to a minute", style="yellow")
        with contextlib.suppress(OSError):
            self._live.update(Group(_table(status, self._rates(status)), hint), refresh=True)

    def _rates(self, status: Status) -> dict[str, float]:
        rates = {}
        now_s = time.monotonic()
        for process in status.processes:
            total = records_of(process)
            before_s, before = self._before.get(process.name, (now_s, total))
            rates[process.name] = (total - before) / (now_s - before_s) if now_s > before_s else 0.0
            self._before[process.name] = (now_s, total)
        return rates


def records_of(process: ProcessStatus) -> int:
    """The one number that says how much a process has done: ticks made, records consumed or stored."""
    for key in ("ticks", "records", "frames"):
        value = process.counters.get(key)
        if isinstance(value, int):
            return value
    return 0


def _table(status: Status, rates: dict[str, float] | None = None) -> Table:
    title = f"tickplant  {escape(printable(status.data_dir))}  up {_duration(status.uptime_s)}"
    table = Table(title=title, title_justify="left", box=None)
    for name in ("process", "role", "state", "pid", "cpu", "memory", "restarts", "records", "per second", "note"):
        table.add_column(name, justify="left" if name in ("process", "role", "state", "note") else "right")
    behind = {label: lag for ring in status.rings for label, lag in ring.lag.items() if lag > ring.capacity // 2}
    for process in status.processes:
        records = records_of(process)
        numbers = {key: process.counters.get(key) for key in ("rejected", "gaps", "lost")}
        notes = [f"{key} {number:,}" for key, number in numbers.items() if number and isinstance(number, int)]
        frames, fallbacks = (process.counters.get(key) for key in ("frames", "fallbacks"))
        if isinstance(frames, int) and isinstance(fallbacks, int) and fallbacks > max(frames // 10, 1000):
            notes.append(f"decoded slowly {fallbacks:,}")
        if process.counters.get("trouble"):
            notes.append(f"cannot {duty(process.role)}")
        if isinstance(left_out := process.counters.get("own_left_out"), dict) and left_out:
            notes.append(f"left out {', '.join(left_out)}")
        if process.name in behind:
            notes.append(f"behind by {behind[process.name]:,}")
        rate = f"{rates[process.name]:,.0f}" if rates and process.name in rates else ""
        table.add_row(
            process.name,
            process.role,
            Text(process.state, style=_STYLES.get(process.state, "")),
            str(process.pid or ""),
            f"{process.cpu_percent:.1f}%",
            f"{process.rss_bytes >> 20} MiB",
            str(process.restarts),
            f"{records:,}" if records else "",
            rate,
            ", ".join(notes),
        )
    return table


def print_status(status: Status) -> None:
    """The table once, for `tickplant status`."""
    console = Console()
    console.print(_table(status))
    for page in pages(status):
        console.print(Text(f"in a browser: {printable(page)}", style="dim"))
    for process in status.processes:
        if trouble := process.counters.get("trouble"):
            why = trouble_sentence(process.name, process.role, str(trouble))
            console.print(Text(printable(why), style="red"), soft_wrap=True)
        if left_out := process.counters.get("left_out"):
            console.print(Text(printable(f"{process.name} leaves out {left_out}"), style="red"), soft_wrap=True)
    for ring in status.rings:
        readers = ", ".join(
            f"{label} {lag:,} behind" + (f", lost {ring.lost[label]:,}" if ring.lost.get(label) else "")
            for label, lag in ring.lag.items()
        )
        console.print(
            Text(f"ring {ring.producer}.{ring.schema}: {ring.head:,} records; {readers or 'no reader'}", style="dim")
        )
    for feed, one in status.symbols.items():
        changes = [
            f"{verb} {', '.join(each)}" for verb, each in (("added", one.added), ("removed", one.removed)) if each
        ]
        if changes:
            console.print(Text(printable(f"{feed}: {len(one.symbols)} symbols; {'; '.join(changes)}"), style="dim"))
    for producer in dict.fromkeys(account.producer for account in status.accounts):
        console.print(_balance(producer, status.accounts), soft_wrap=True)


def _balance(producer: str, accounts: list[Account]) -> Text:
    """Whether what is counted of a producer adds up, on one line."""
    own = [account for account in accounts if account.producer == producer and (account.count or account.off)]
    parts = [Text(str(account), style="bold red" if account.off else "dim") for account in own]
    return Text.assemble(f"{producer}: ", Text("; ").join(parts) if parts else "nothing yet")


def _duration(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


@contextlib.contextmanager
def watch(title: str, *, plain: bool) -> Iterator[View]:
    """The view that suits where the output goes."""
    console = Console(stderr=True)
    if plain or not console.is_terminal:
        yield View(title)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield LiveView(title, console, live)


class Progress:
    """One line on stderr that says how far a command is; silent for the first two seconds and where nobody looks."""

    def __init__(self, what: str, unit: str) -> None:
        self.what = what
        self.unit = unit
        self._console = Console(stderr=True)
        self._started_s = time.monotonic()
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._console.print()

    def report(self, level: str, sentence: str) -> None:
        """An event; an error ends the command, which then says so itself."""
        if level == "warning":
            self._console.print(Text(f"warning: {printable(sentence)}", style="yellow"), soft_wrap=True)

    def show(self, done: object) -> None:
        """How much is done so far: a number, or words."""
        if self._console.is_terminal and time.monotonic() - self._started_s > 2:
            self._shown = True
            what = printable(self.what)
            shown = f"\r{what}: {done:,} {self.unit}" if isinstance(done, int) else f"\r{what}: {done}\x1b[K"
            self._console.print(shown, end="", markup=False, soft_wrap=True)
