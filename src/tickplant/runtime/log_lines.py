"""Writes a child's log lines, without delaying the child's work.

A line that cannot be written is lost and counted: writing never raises, and never waits for a stuck reader. The reader
is the supervisor, which may have been killed or stopped while the child still has records to publish.
"""

from __future__ import annotations

import os
import select
from typing import Final

SLICE_BYTES: Final = 4096
"""What a pipe that polls as writable takes at once without waiting: PIPE_BUF, pipe(7)."""


class LogLines:
    """A text stream over a descriptor, for structlog.WriteLogger. `lost` counts the lines that nobody will read."""

    def __init__(self, fd: int) -> None:
        self.lost = 0
        self._fd = fd
        self._untold = 0
        self._torn = False  # the last line was written only in part
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def write(self, line: str) -> None:
        """Write a line with its newline, or lose it; the next line written is preceded by the number lost."""
        before = "\n" if self._torn else ""
        if self._untold:
            before += f'{{"event": "log lines lost", "lines": {self._untold}, "level": "warning"}}\n'
        data = (before + line).encode(errors="replace")
        written = self._write(data)
        if written == len(data):
            self._untold, self._torn = 0, False
        else:
            self.lost += 1
            self._untold += 1
            self._torn |= written > 0

    def flush(self) -> None:
        """Does nothing: nothing is held back."""

    def _write(self, data: bytes) -> int:
        written = 0
        try:
            while written < len(data) and self._poll.poll(0):
                written += os.write(self._fd, data[written : written + SLICE_BYTES])
        except OSError:  # the reader is gone, or its disk is full
            pass
        return written
