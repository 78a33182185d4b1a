"""Single keys of a terminal: which one it is, how it gives them, and where one key ends."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import tty
from collections.abc import Container, Iterator
from typing import Final

READ_BYTES: Final = 64
LONGEST: Final = 3
"""Bytes of a key that is more than a letter: an arrow."""


def terminal() -> int | None:
    """The descriptor of stdin, where that is a terminal whose foreground this process has."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        fd = sys.stdin.fileno()
        if os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp():
            return fd
    return None


@contextlib.contextmanager
def single_keys(fd: int) -> Iterator[None]:
    """Have the terminal give single keys without echo while the block lasts. Ctrl-C and Ctrl-Z work."""
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd, termios.TCSADRAIN)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal has gone
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


def first_key(typed: bytes, known: Container[bytes]) -> tuple[bytes, bytes]:
    """The first key of what was typed, and the rest; of several bytes only where it is `known`."""
    for length in range(LONGEST, 0, -1):
        if typed[:length] in known:
            return typed[:length], typed[length:]
    return typed[:1], typed[1:]
