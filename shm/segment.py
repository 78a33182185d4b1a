"""A named piece of shared memory, and locks that show whether their owner lives.

A segment is a file in /dev/shm, mapped into every process that opens it: a `multiprocessing.shared_memory` block
without the resource tracker, which on Python 3.11 and 3.12 unlinks blocks that other processes still use. Linux only.

Locks are open-file-description locks on single bytes of that file (fcntl(2), F_OFD_SETLK). The kernel releases a lock
when the last descriptor of its open file is closed, even by a kill of the owner. So a free lock means a dead owner,
without guesses from pids or clocks. Descriptors are close-on-exec. A process that holds a lock must not fork without
exec, since the child would hold the lock as well.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import struct
import time
from pathlib import Path
from typing import Final

from tickplant.errors import RingError

SHM_DIR: Final = Path("/dev/shm")  # noqa: S108  # the place of POSIX shared memory, not a temporary folder
NAME_BYTES: Final = 200

_FLOCK: Final = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid


def segment_path(name: str) -> Path:
    """Path of a segment's file. Raises RingError for an invalid name."""
    if not name or "/" in name or "\0" in name or name.startswith(".") or len(name.encode()) > NAME_BYTES:
        raise RingError(f"a name has 1 to {NAME_BYTES} bytes, no slash, and no dot in front", segment=repr(name))
    return SHM_DIR / name


class Lock:
    """A handle for locks on bytes of a segment.

    Each handle has an open file description of its own, so handles exclude each other even within one process.
    """

    def __init__(self, fd: int) -> None:
        # Opening through /proc finds the same file even after it was unlinked and its name reused.
        self._fd = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)

    def acquire(self, byte: int, *, timeout_s: float = 0.0) -> bool:
        """Take the lock on `byte`; False if another handle still holds it after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            else:
                return True
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(0.001)

    def release(self, byte: int) -> None:
        """Release the lock on `byte`."""
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, byte, 1, 0))

    def close(self) -> None:
        """Release every lock of this handle. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Segment:
    """A mapped segment. `map` is its memory; views of it stay valid after `close`, for as long as they live."""

    def __init__(self, name: str, fd: int, size_bytes: int) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self.map = mmap.mmap(fd, size_bytes)
        self._fd = fd

    @classmethod
    def create(cls, name: str, size_bytes: int) -> Segment:
        """Create a segment of zeros, accessible to this user only, with all its memory reserved. Raises RingError."""
        path = segment_path(name)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            message = f"{path} already exists: stop the plant that uses it, or delete the file if none does"
            raise RingError(message, segment=name) from None
        except OSError as error:
            raise RingError(f"{path} cannot be created: {error.strerror}", segment=name) from None
        try:
            # Reserve the memory now, so that a full /dev/shm is an error here and not a SIGBUS at a later store.
            os.posix_fallocate(fd, 0, size_bytes)
            return cls(name, fd, size_bytes)
        except OSError as error:
            path.unlink(missing_ok=True)
            os.close(fd)
            if error.errno != errno.ENOSPC:
                raise RingError(f"{path} cannot be allocated: {error.strerror}", segment=name) from None
            status = os.statvfs(SHM_DIR)
            free_mib = status.f_bavail * status.f_frsize / 2**20
            message = (
                f"needs {size_bytes / 2**20:.1f} MiB of shared memory and {SHM_DIR} has {free_mib:.1f} MiB free; "
                f"lower ring_records, or make {SHM_DIR} larger (in a container: --shm-size)"
            )
            raise RingError(message, segment=name) from None

    @classmethod
    def attach(cls, name: str, minimum_bytes: int) -> Segment:
        """Open an existing segment. Raises RingError if it is missing or smaller than `minimum_bytes`."""
        path = segment_path(name)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise RingError(f"{path} does not exist: start the plant first", segment=name) from None
        except OSError as error:
            raise RingError(f"{path} cannot be opened: {error.strerror}", segment=name) from None
        size_bytes = os.fstat(fd).st_size
        if size_bytes < minimum_bytes:
            os.close(fd)
            message = f"is truncated: {path} has {size_bytes} bytes of at least {minimum_bytes}; delete it and restart"
            raise RingError(message, segment=name)
        return cls(name, fd, size_bytes)

    def lock(self) -> Lock:
        """A new handle for locks."""
        return Lock(self._fd)

    def is_locked(self, byte: int) -> bool:
        """Whether any handle holds the lock on `byte`."""
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        answer = fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, asked)
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def close(self) -> None:
        """Unmap the memory, now or when the last view of it dies. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with contextlib.suppress(BufferError):
                self.map.close()

    def unlink(self) -> None:
        """Remove the name; attached processes keep the memory."""
        segment_path(self.name).unlink(missing_ok=True)
