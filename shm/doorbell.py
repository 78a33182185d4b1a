"""Doorbells: how a producer wakes a consumer that sleeps in poll.

A doorbell is a FIFO, so a consumer can poll it together with its sockets. A byte means "look at the ring". The number
of bytes means nothing, and a byte that comes too late costs one look. `protocol.bells` decides whether to ring.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final

from tickplant.errors import RingError

_DRAIN_BYTES: Final = 4096
_RING: Final = b"\1"


def doorbell_path(directory: Path, ring: str, slot: int) -> Path:
    """Path of the FIFO of a ring's consumer `slot`."""
    return directory / f"{ring}.{slot}.bell"


class Doorbell:
    """The consumer's end."""

    def __init__(self, directory: Path, ring: str, slot: int) -> None:
        path = doorbell_path(directory, ring, slot)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            if not stat.S_ISFIFO(path.stat().st_mode):
                raise RingError(f"its doorbell {path} is not a FIFO: delete it", segment=ring)
            # Read and write: with the consumer as a writer too, poll never reports a hang-up when a producer leaves.
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise RingError(f"its doorbell {path} cannot be opened: {error.strerror}", segment=ring) from None
        self.drain()

    def fileno(self) -> int:
        """Descriptor to poll for reading."""
        return self._fd

    def drain(self) -> None:
        """Discard all rings so far."""
        try:  # runs at each wake-up: `contextlib.suppress` would cost as much as the read
            while len(os.read(self._fd, _DRAIN_BYTES)) == _DRAIN_BYTES:
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Bells:
    """The producer's ends, each opened when first rung, since consumers come and go."""

    def __init__(self, directory: Path, ring: str) -> None:
        self._directory = directory
        self._ring = ring
        self._fds: dict[int, int] = {}

    def ring(self, mask: int) -> None:
        """Ring for every consumer whose bit is set. Never blocks, never fails; an absent consumer is skipped."""
        slot = 0
        while mask:
            if mask & 1:
                try:
                    os.write(self._fds[slot], _RING)
                except BlockingIOError:
                    pass  # full of rings
                except (KeyError, BrokenPipeError):
                    # The consumer at the old descriptor died; its successor may have opened the FIFO again.
                    self._close_one(slot)
                    self._open_and_ring(slot)
            mask >>= 1
            slot += 1

    def _open_and_ring(self, slot: int) -> None:
        """Ring a bell that is not open yet. The consumer may be absent, or may die meanwhile."""
        path = doorbell_path(self._directory, self._ring, slot)
        try:
            self._fds[slot] = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENXIO):
                message = f"its doorbell {path} cannot be rung: {error.strerror}"
                raise RingError(message, segment=self._ring) from None
            return
        try:
            os.write(self._fds[slot], _RING)
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._close_one(slot)

    def _close_one(self, slot: int) -> None:
        if (fd := self._fds.pop(slot, None)) is not None:
            os.close(fd)

    def close(self) -> None:
        """Idempotent."""
        while self._fds:
            os.close(self._fds.popitem()[1])


def remove_doorbells(directory: Path, ring: str, slots: int) -> None:
    """Delete the FIFOs of a ring."""
    for slot in range(slots):
        doorbell_path(directory, ring, slot).unlink(missing_ok=True)
