"""Append-only text files of a store: one process appends lines durably, any number read them as they grow."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tickplant.errors import StoreError


class LineFile:
    """One such file; a missing file reads as an empty one.

    A last line without a newline was torn by a crash. Nothing has used it, and the next line overwrites it.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._whole_bytes = 0

    def read(self, take: Callable[[bytes], object]) -> None:
        """Pass each line appended since the last read to `take`. A line at which `take` raises is passed again later.

        Raises StoreError if the file cannot be read, or is longer than `max_bytes`.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._whole_bytes)
                text = file.read(self._max_bytes + 1 - self._whole_bytes)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", path=self.path) from error
        if self._whole_bytes + len(text) > self._max_bytes:
            raise StoreError(f"holds more than {self._max_bytes >> 20} MiB; restore the file", path=self.path)
        for line in text[: text.rfind(b"\n") + 1].splitlines(keepends=True):
            take(line)
            self._whole_bytes += len(line)

    def append(self, lines: bytes, what: str) -> None:
        """Write whole lines to disk, durably. Raises StoreError, which names `what` could not be added."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.ftruncate(fd, self._whole_bytes)
                os.pwrite(fd, lines, self._whole_bytes)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise StoreError(f"cannot add {what}: {error.strerror}", path=self.path) from error
        self._whole_bytes += len(lines)
