"""The lock of a data directory: one plant at a time writes there, and every command finds that plant through it.

The file `lock` holds one line of JSON, a `Holder`. A holder has two locks on it, which the kernel drops however it
ends: one that excludes others, and one that a reader can ask about without taking it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from tickplant.errors import StoreError

NAME: Final = "lock"
_BYTES: Final = 1 << 16  # far more than a line has
_FLOCK: Final = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid


class Holder(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who holds a data directory or, with `pid` 0, how the last one left it."""

    pid: int = 0
    run_dir: str = ""
    stop_s: float = 0.0  # how long it may take to end once it is asked to
    trouble: str = ""  # why its end was not in order


class DataLock:
    """A held lock."""

    def __init__(self, path: Path, fd: int, predecessor: int) -> None:
        self.predecessor = predecessor  # pid of one that died without letting go; 0: there is none
        self._path = path
        self._fd = fd

    def say(self, holder: Holder) -> None:
        """Put this in the file. A reader finds the old line or the new one. Raises StoreError."""
        line = msgspec.json.encode(holder) + b"\n"
        try:
            os.pwrite(self._fd, line, 0)
            os.ftruncate(self._fd, len(line))
        except OSError as error:
            raise StoreError(f"cannot be written: {error.strerror}", path=self._path) from None


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[DataLock]:
    """Hold the data directory, which is made where it is missing. Raises StoreError naming who holds it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        fd = os.open(data_dir / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StoreError(f"cannot be used as a data directory: {reason}", path=data_dir) from None
    try:
        before = _read(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
        except BlockingIOError:
            who = before.pid or "unknown"
            message = f"a plant already writes here, pid {who}; stop it (tickplant stop) or choose another directory"
            raise StoreError(message, path=data_dir) from None
        except OSError as error:
            raise StoreError(f"cannot be locked: {error.strerror}", path=data_dir / NAME) from None
        yield DataLock(data_dir / NAME, fd, before.pid)
    finally:
        os.close(fd)


def last_holder(data_dir: Path) -> tuple[Holder, bool]:
    """What the lock file says, and whether the one who wrote that still holds the directory."""
    try:
        fd = os.open(data_dir / NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (OSError, ValueError):
        return Holder(), False
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
        holds = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK
        return _read(fd), holds
    finally:
        os.close(fd)


def _read(fd: int) -> Holder:
    line = os.pread(fd, _BYTES, 0).partition(b"\n")[0].strip()
    if line.isdigit():
        return Holder(pid=int(line[:18]))  # of a version that wrote its pid alone
    try:
        return msgspec.json.decode(line, type=Holder)
    except msgspec.DecodeError:
        return Holder()
