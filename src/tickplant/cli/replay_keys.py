"""The keys of `tickplant replay` at a terminal: each becomes one message of `client.replay_control`."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from types import TracebackType
from typing import Final, Self

from tickplant.cli.terminal_keys import READ_BYTES, first_key, single_keys, terminal
from tickplant.client.replay_control import ReplayControl
from tickplant.errors import ControlError
from tickplant.runtime.control import Playback

SKIP_NS: Final = 10 * 10**9
_KEYS: Final = {
    b".": Playback(step=1),
    b"\x1b[C": Playback(skip_ns=SKIP_NS),
    b"\x1b[D": Playback(skip_ns=-SKIP_NS),
    b"\x1b[A": Playback(faster=2.0),
    b"\x1b[B": Playback(faster=0.5),
    b"+": Playback(faster=2.0),
    b"-": Playback(faster=0.5),
    b"1": Playback(speed=1.0),
    b"m": Playback(speed="max"),
}


class ReplayKeys:
    """While entered, keys typed at the terminal control a replay; if stdin is not a terminal, nothing happens.

    Meanwhile the terminal sends single keys without echo; afterwards it is restored. Ctrl-C and Ctrl-Z work.

    Args:
        address: address of the control socket of the replay's plant.
        beginning_ns: the time to which the key 0 seeks.
        paused: whether the replay begins paused.
        loop: whether the replay begins looping.
    """

    def __init__(self, address: str, *, beginning_ns: int, paused: bool, loop: bool) -> None:
        self._address = address
        self._beginning_ns = beginning_ns
        self._paused = paused
        self._loop = loop
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._resources = contextlib.ExitStack()
        fd = terminal()
        if fd is not None:
            self._resources.enter_context(single_keys(fd))
            ended, end = os.pipe()
            self._thread = threading.Thread(target=self._listen, args=(fd, ended), name="keys", daemon=True)
            self._resources.callback(os.close, ended)
            self._resources.callback(self._thread.join)
            self._resources.callback(os.close, end)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    # -- in the thread

    def _listen(self, fd: int, ended: int) -> None:
        with ReplayControl(self._address) as control:
            typed = b""
            while ended not in (ready := select.select([fd, ended], [], [])[0]):
                if fd not in ready or not (data := os.read(fd, READ_BYTES)):
                    return  # the terminal is gone
                typed += data
                while typed:
                    key, typed = first_key(typed, _KEYS)
                    # The plant is starting or ending: ignore the key.
                    with contextlib.suppress(ControlError):
                        self._press(control, key)

    def _press(self, control: ReplayControl, key: bytes) -> None:
        if key == b"q":
            os.kill(os.getpid(), signal.SIGINT)
        elif key == b" ":
            self._paused = not self._paused
            control.send(Playback(paused=self._paused))
        elif key == b"l":
            self._loop = not self._loop
            control.set_loop(self._loop)
        elif key == b"0":
            control.seek(self._beginning_ns)
        elif message := _KEYS.get(key):
            self._paused |= message.step > 0
            control.send(message)
