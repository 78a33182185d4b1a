"""A command of `tickplant` in a terminal of its own: its keys, its output, and the state in which it leaves it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

from plant_process import DEADLINE_S, wait_for

HOME = "\x1b[H"
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command in a terminal; `close` it."""

    def __init__(self, *words: str | Path, columns: int = 80, rows: int = 24) -> None:
        self.rows = rows
        self._end, fd = pty.openpty()
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tickplant", *map(str, words)],
            stdin=fd,
            stdout=fd,
            stderr=fd,
            env=environment | {"TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # only this makes it its own
        )
        os.close(fd)
        self.shown = ""

    def press(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def read(self) -> str:
        """All output so far."""
        with contextlib.suppress(OSError):  # Linux says so where the other end is closed
            while select.select([self._end], [], [], 0)[0]:
                self.shown += os.read(self._end, 4096).decode(errors="replace")
        return self.shown

    def screen(self) -> list[str]:
        """The last complete screen of a program that draws each one from the upper left corner."""
        for picture in reversed(self.read().split(HOME)[1:]):
            lines = SEQUENCE.sub("", picture).split("\r\n")
            if len(lines) >= self.rows and lines[self.rows - 1]:
                return [line.rstrip() for line in lines[: self.rows]]
        return []

    @property
    def gives_lines(self) -> bool:
        """Whether the terminal is in a shell's mode: line by line, with echo."""
        flags = termios.tcgetattr(self._end)[3]
        return bool(flags & termios.ICANON and flags & termios.ECHO)

    def end(self) -> int:
        """Wait until the command has ended, and read its last output. Returns its exit code."""
        wait_for("its end", lambda: (self.read(), self.process.poll() is not None)[1])
        self.read()
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE_S)
        os.close(self._end)
