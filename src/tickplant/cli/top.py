"""`tickplant top`: the plant in a terminal, drawn by `plant/top_view.py`, until a key or a signal ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import zmq
from rich.console import Console, Group
from rich.live import Live

from tickplant.cli.options import Number, config_option, data_dir_of, data_option
from tickplant.cli.plant import run_dir_of
from tickplant.cli.terminal_keys import READ_BYTES, first_key, single_keys, terminal
from tickplant.errors import ControlError
from tickplant.plant.figures import Rates
from tickplant.plant.lock_file import last_holder
from tickplant.plant.top_view import KEYS, SEQUENCES, Hearing, TopView
from tickplant.runtime import config as cfg
from tickplant.runtime.control import GetStatus, Status
from tickplant.runtime.control_client import ControlClient

STALE_S: Final = 3.0
"""How long after a request an answer is overdue; the plant answers between two turns of its loop."""
ASK_AGAIN_S: Final = 5.0
REDRAW_MS: Final = 500  # redraw at least this often, since the terminal's size may change


class PlantLooks:
    """The last status of a data directory's plant, requested repeatedly, without ever waiting for it."""

    def __init__(self, data_dir: Path, every_s: float) -> None:
        """Raise ControlError if no plant is up."""
        self.status: Status | None = None
        self.rates = Rates()
        self.gone = False
        self._data_dir = data_dir
        self._every_s = every_s
        self._heard_s = self._asked_s = float("-inf")
        self._answered = True
        self._clock = ""
        self._began_s = time.monotonic()
        self._pid = last_holder(data_dir)[0].pid
        self._client: ControlClient | None = ControlClient(cfg.control_address(run_dir_of(data_dir)), "top")

    @property
    def socket(self) -> zmq.Socket[bytes] | None:
        """What to poll; None while there is no plant."""
        return self._client.socket if self._client else None

    @property
    def hearing(self) -> Hearing:
        """How far `status` can be trusted."""
        now_s = time.monotonic()
        since_s = now_s - max(self._heard_s, self._began_s)
        stale = not self._answered and now_s - max(self._heard_s, self._began_s) > self._every_s + STALE_S
        return Hearing("gone" if self.gone else "stale" if stale else "live", since_s, self._clock)

    def turn(self) -> None:
        """Take what has arrived, and ask again when it is time; finds a plant that has come back."""
        now_s = time.monotonic()
        self._find()
        if self._client is None:
            return
        for message in self._client.receive():
            if isinstance(message, Status):
                self.status, self._heard_s, self._answered = message, now_s, True
                self._clock = time.strftime("%H:%M:%S")
                self.rates.see(message, now_s)
        if now_s - self._asked_s >= (self._every_s if self._answered else ASK_AGAIN_S):
            self._asked_s, self._answered = now_s, False
            self._client.send(GetStatus())

    def close(self) -> None:
        """Disconnect from the plant."""
        if self._client:
            self._client.socket.set(zmq.LINGER, 0)
            self._client.close()
            self._client = None

    def _find(self) -> None:
        """Check whether the plant is still the same, and connect to a new one."""
        holder, holds = last_holder(self._data_dir)
        self.gone = not holds
        if holds and self._client and holder.pid == self._pid:
            return
        self.close()
        if holds:
            with contextlib.suppress(ControlError):  # the plant is just starting
                address = cfg.control_address(run_dir_of(self._data_dir))
                self._client, self._pid = ControlClient(address, "top"), holder.pid
                self.rates, self._answered, self._asked_s = Rates(), True, float("-inf")


def _keys_in_words() -> str:
    return "\n".join(f"  {keys:6} {what}" for keys, what in KEYS.items())


@click.command(epilog="\b\nKeys:\n" + _keys_in_words())
@config_option
@data_option
@click.option(
    "--every", type=Number(0.1, 60), default=1.0, metavar="SECONDS", show_default=True, help="Refresh interval."
)
def top(file: Path | None, data_dir: Path | None, every: float) -> None:
    """Watch the running plant in the terminal: processes, rings and gaps.

    The figures are those of `tickplant status`. If the plant ends or stops answering, the display says so with the time
    of the last figures, and reconnects once the plant is back.
    """
    fd = terminal()
    console = Console()
    if fd is None or not console.is_terminal:
        raise click.UsageError("top needs a terminal; `tickplant status --json` prints the same figures once")
    looks = PlantLooks(data_dir_of(data_dir, file), every)
    view = TopView()
    with contextlib.closing(looks), _signals() as caught:
        while not (view.ended or caught):
            with single_keys(fd), Live(console=console, screen=True, auto_refresh=False) as live:
                _watch(fd, console, live, looks, view, caught)
            if signal.SIGTSTP in caught:
                caught.remove(signal.SIGTSTP)
                os.kill(os.getpid(), signal.SIGSTOP)  # until the shell resumes it
    if caught:  # end by the signal, now that the terminal is restored
        signal.signal(caught[0], signal.SIG_DFL)
        os.kill(os.getpid(), caught[0])


def _watch(fd: int, console: Console, live: Live, looks: PlantLooks, view: TopView, caught: list[int]) -> None:
    """Draw and take keys until the view has ended or a signal has arrived."""
    typed = b""
    while not (view.ended or caught):
        looks.turn()
        width, height = console.size
        lines = view.lines(looks.status, looks.rates, looks.hearing, width, height)
        live.update(Group(*lines), refresh=True)
        poller = zmq.Poller()
        poller.register(fd, zmq.POLLIN)
        if looks.socket:
            poller.register(looks.socket, zmq.POLLIN)
        if fd in dict(poller.poll(REDRAW_MS)):
            try:
                data = os.read(fd, READ_BYTES)
            except OSError:
                data = b""
            if not data:  # the terminal is gone
                view.ended = True
            typed += data
        while typed:
            key, typed = first_key(typed, SEQUENCES)
            view.press(key)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects signals, to be obeyed once the terminal is restored."""
    caught: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: caught.append(number))
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
    }
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
