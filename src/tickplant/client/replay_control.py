"""The controls of a `tickplant replay`, for programs and for the keys of a terminal.

    with ReplayControl("ipc:///run/…/control") as replay:   # the address that the command prints
        replay.pause()
        replay.seek(1723161253_000_000_000)
        replay.step(10)
        replay.resume(speed=4)

Each call sends one message (`runtime.control.Playback`, MessagePack, over a DEALER socket) and returns when the plant
has passed it on.
"""

from __future__ import annotations

from types import TracebackType
from typing import Literal, NamedTuple, Self

from tickplant.errors import ControlError
from tickplant.runtime.control import GetStatus, Playback, Status
from tickplant.runtime.control_client import ControlClient


class Position(NamedTuple):
    """Where a replay is."""

    time_ns: int  # of the last record that was played, by the clock of the replay; 0 before the first one
    records: int  # played so far
    speed: float | Literal["max"]
    paused: bool
    loop: bool


class ReplayControl:
    """A connection to the plant of a replay. Not thread-safe. Its methods raise ControlError if nothing answers."""

    def __init__(self, address: str) -> None:
        self._client = ControlClient(address, "replay-control")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._client.close()

    def send(self, message: Playback) -> None:
        """Send any playback command."""
        self._client.request(message)

    def pause(self) -> None:
        """Pause: the next record waits for `resume` or `step`."""
        self.send(Playback(paused=True))

    def resume(self, *, speed: float | Literal["max"] | None = None) -> None:
        """Continue to play; the next record is due now."""
        self.send(Playback(paused=False, speed=speed))

    def step(self, events: int = 1) -> None:
        """Pause, and play this many events: an event is a trade, or all changes of a book that came together."""
        self.send(Playback(step=events))

    def seek(self, time_ns: int) -> None:
        """Continue at this time, with the books as they stood then."""
        self.send(Playback(seek_ns=time_ns))

    def skip(self, seconds: float) -> None:
        """Skip this far ahead or, if negative, back."""
        self.send(Playback(skip_ns=round(seconds * 1e9)))

    def set_speed(self, speed: float | Literal["max"]) -> None:
        """Set the speed as a multiple of real time, from 0.001 to a million, or max."""
        self.send(Playback(speed=speed))

    def set_loop(self, loop: bool) -> None:
        """Set whether the replay starts again at its end."""
        self.send(Playback(loop=loop))

    def position(self) -> Position:
        """Where the replay was at its last report, at most a second ago."""
        status = self._client.request(GetStatus())
        counters = (
            [process.counters for process in status.processes if process.role == "replay"]
            if isinstance(status, Status)
            else []
        )
        if not counters:
            raise ControlError("this plant is not a replay")
        found = counters[0]
        speed = found.get("speed", 1.0)
        return Position(
            time_ns=_whole(found.get("ts")),
            records=_whole(found.get("records")),
            speed="max" if speed == "max" else float(speed) if isinstance(speed, int | float) else 1.0,
            paused=bool(found.get("paused")),
            loop=bool(found.get("loop")),
        )


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
