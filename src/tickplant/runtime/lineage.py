"""What a process inherits from the supervisor that starts it, and what ties it to that. Imports only msgspec."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import signal
import sys
from typing import Final

import msgspec

PARENT_VARIABLE: Final = "TICKPLANT_PARENT"
"""Environment of a child: the pid of the supervisor that started it."""

PR_SET_PDEATHSIG: Final = 1
PR_SET_NAME: Final = 15
PR_SET_CHILD_SUBREAPER: Final = 36


def prctl(option: int, argument: int | bytes) -> None:
    """Set an attribute of this process, by the system call of that name. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, argument, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send this signal when the parent ends, however that happens (Linux PR_SET_PDEATHSIG).

    The parent may have died before this call, so it is compared with the expected one afterwards.
    """
    prctl(PR_SET_PDEATHSIG, number)
    if os.environ.get(PARENT_VARIABLE, str(os.getppid())) != str(os.getppid()):
        sys.exit("the supervisor is gone")


def spec_file(spec: msgspec.Struct) -> int:
    """A descriptor from which a child can read its spec as stdin: no command line and no disk holds the spec."""
    fd = os.memfd_create("spec", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(msgspec.json.encode(spec))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def open_standard_streams() -> None:
    """Ensure that descriptors 0, 1 and 2 and `sys.stderr` exist, however this process was started.

    A closed descriptor must not become that of the next file opened. It is opened so that using it is an error, which
    is what `cat` reports for a closed one; but output on standard error is simply discarded.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR if fd == 2 else os.O_WRONLY if fd == 0 else os.O_RDONLY)
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "wb", closefd=False), encoding="utf-8", write_through=True)


def read_spec() -> bytes:
    """All of stdin, which is empty from then on; nothing if stdin is a terminal or closed."""
    open_standard_streams()
    text = b""
    with contextlib.suppress(OSError):
        if not os.isatty(0):
            with open(0, "rb", closefd=False) as file:
                text = file.read()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    if nothing:
        os.close(nothing)
    return text
