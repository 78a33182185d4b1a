"""The console of a running plant: a small live table on a terminal, log lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Final, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tickplant.plant.figures import Rates, duration_text, process_table, ring_name
from tickplant.plant.text_grid import lines_of
from tickplant.printable import printable
from tickplant.runtime.accounts import Account
from tickplant.runtime.control import Status, trouble_sentence

UNCUT: Final = 1 << 16
"""A width at which no line is truncated."""


class Plant(Protocol):
    """A plant as a view sees it."""

    running: bool

    @property
    def stopping(self) -> bool:
        """Whether it drains, or has ended."""
        ...

    def status(self) -> Status:
        """The plant's present status."""
        ...


class View:
    """Log lines: one sentence per event, one line when the plant is ready, and progress while it starts."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._ready = False
        self._pages: set[str] = set()  # gateways that answer, as far as reported
        self._complete = False  # all gateways answer
        self._starting_s = time.monotonic()
        self._named = ""

    def report(self, level: str, sentence: str) -> None:
        """Print an event as it happens."""
        # A plant continues even if nobody reads its console any more.
        with contextlib.suppress(OSError, ValueError):
            print(f"{time.strftime('%H:%M:%S')} {level}: {printable(sentence)}", file=sys.stderr, flush=True)  # noqa: T201  # this is the console

    def show(self, plant: Plant) -> None:
        """Report progress; called about once a second."""
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
        self._rates = Rates()

    def report(self, level: str, sentence: str) -> None:
        """Print an event above the table."""
        style = {"error": "red", "warning": "yellow"}.get(level, "dim")
        with contextlib.suppress(OSError):  # as above
            self._console.print(Text(f"{time.strftime('%H:%M:%S')} {printable(sentence)}", style=style), soft_wrap=True)

    def show(self, plant: Plant) -> None:
        """Redraw the table."""
        status = plant.status()
        hint = Text("Ctrl-C stores the data in flight and ends the plant.", style="dim")
        if plant.stopping:
            hint = Text("stopping: storing the data in flight", style="yellow")
        elif plant.running and status.publish:
            hint = Text.assemble(
                ("attach  ", "dim"), f"tickplant tail --address {status.publish[0]}", "\n",
                ("from Python  ", "dim"), f'tickplant.subscribe(address="{status.publish[0]}")', "\n",
                *(part for page in pages(status) for part in (("in a browser  ", "dim"), page, "\n")), hint,
            )  # fmt: skip
        elif not plant.running:
            hint = Text("starting; the first start compiles kernels, which takes up to a minute", style="yellow")
        with contextlib.suppress(OSError):
            self._rates.see(status, time.monotonic())
            lines = _process_lines(status, self._console.width, self._rates)
            self._live.update(Group(*lines, hint), refresh=True)


def _process_lines(status: Status, width: int, rates: Rates | None = None) -> list[Text]:
    title = Text(f"tickplant  up {duration_text(status.uptime_s)}  {printable(status.data_dir)}", style="italic")
    title.truncate(width, overflow="ellipsis")
    heading, rows = lines_of(process_table(status, rates), width)
    return [title, heading, *(line for row in rows for line in row)]


def print_status(status: Status) -> None:
    """Print a status for `tickplant status`. A terminal gets lines of its width; elsewhere no line is broken."""
    console = Console()
    unbroken = not console.is_terminal
    for line in _process_lines(status, UNCUT if unbroken else console.width):
        console.print(line, soft_wrap=True)
    for page in pages(status):
        console.print(Text(f"in a browser: {printable(page)}", style="dim"), soft_wrap=True)
    for process in status.processes:
        if trouble := process.counters.get("trouble"):
            why = trouble_sentence(process.name, process.role, str(trouble))
            console.print(Text(printable(why), style="red"), soft_wrap=unbroken)
        if left_out := process.counters.get("left_out"):
            why = f"{process.name} leaves out {left_out}"
            console.print(Text(printable(why), style="red"), soft_wrap=unbroken)
    for ring in status.rings:
        readers = ", ".join(
            f"{label} {lag:,} behind" + (f", lost {ring.lost[label]:,}" if ring.lost.get(label) else "")
            for label, lag in ring.lag.items()
        )
        text = f"ring {ring_name(ring)}: {ring.head:,} records; {readers or 'no reader'}"
        console.print(Text(text, style="dim"), soft_wrap=unbroken)
    for feed, one in status.symbols.items():
        changes = [
            f"{verb} {', '.join(each)}" for verb, each in (("added", one.added), ("removed", one.removed)) if each
        ]
        if changes:
            text = printable(f"{feed}: {len(one.symbols)} symbols; {'; '.join(changes)}")
            console.print(Text(text, style="dim"), soft_wrap=unbroken)
    for producer in dict.fromkeys(account.producer for account in status.accounts):
        console.print(_balance(producer, status.accounts, "; " if unbroken else "\n  "), soft_wrap=unbroken)


def _balance(producer: str, accounts: list[Account], between: str) -> Text:
    """Whether a producer's accounts add up."""
    own = [account for account in accounts if account.producer == producer and (account.count or account.off)]
    parts = [Text(str(account), style="bold red" if account.off else "dim") for account in own]
    first = between if "\n" in between else " "
    return Text.assemble(f"{producer}:", *([first, Text(between).join(parts)] if parts else [" nothing yet"]))


@contextlib.contextmanager
def watch(title: str, *, plain: bool) -> Iterator[View]:
    """The view that suits the output."""
    console = Console(stderr=True)
    if plain or not console.is_terminal:
        yield View(title)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield LiveView(title, console, live)


class Progress:
    """One line on stderr with a command's progress; silent for the first two seconds and without a terminal."""

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
        """Print a warning. An error ends the command, which then prints it itself."""
        if level == "warning":
            self._console.print(Text(f"warning: {printable(sentence)}", style="yellow"), soft_wrap=True)

    def show(self, done: object) -> None:
        """Show the progress so far: a number, or words."""
        if self._console.is_terminal and time.monotonic() - self._started_s > 2:
            self._shown = True
            what = printable(self.what)
            shown = f"\r{what}: {done:,} {self.unit}" if isinstance(done, int) else f"\r{what}: {done}\x1b[K"
            self._console.print(shown, end="", markup=False, soft_wrap=True)
