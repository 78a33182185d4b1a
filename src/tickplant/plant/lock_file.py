"""The lock of a data directory: one plant at a time writes there, and every command finds that plant through the lock.

The file `lock` holds one line of JSON, a `Holder`. A holder has two locks on the file, which the kernel drops however
the holder ends: one excludes others, the other can be queried by readers without taking it.
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
    """The holder of a data directory or, with `pid` 0, the state in which the last holder left it."""

    pid: int = 0
    run_dir: str = ""
    stop_s: float = 0.0  # how long it may take to end after a request
    trouble: str = ""  # why its end was not in order


class DataLock:
    """A held lock."""

    def __init__(self, path: Path, fd: int, predecessor: int) -> None:
        self.predecessor = predecessor  # pid of a holder that died without release; 0: none
        self._path = path
        self._fd = fd

    def say(self, holder: Holder) -> None:
        """Write this to the file. A reader finds the old line or the new one. Raises StoreError."""
        line = msgspec.json.encode(holder) + b"\n"
        try:
            os.pwrite(self._fd, line, 0)
            os.ftruncate(self._fd, len(line))
        except OSError as error:
            raise StoreError(f"cannot be written: {error.strerror}", path=self._path) from None


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[DataLock]:
    """Hold the data directory, created if missing. Raises StoreError, which names the present holder."""
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
    """The content of the lock file, and whether its writer still holds the directory."""
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
        return Holder(pid=int(line[:18]))  # by a version that wrote only its pid
    try:
        return msgspec.json.decode(line, type=Holder)
    except msgspec.DecodeError:
        return Holder()
