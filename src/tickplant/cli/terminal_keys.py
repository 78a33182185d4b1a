"""Single keys from a terminal: finding the terminal, its mode, and the bytes of one key."""

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
"""Bytes of a key that sends more than one byte: an arrow."""


def terminal() -> int | None:
    """The descriptor of stdin, if it is a terminal with this process in its foreground."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        fd = sys.stdin.fileno()
        if os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp():
            return fd
    return None


@contextlib.contextmanager
def single_keys(fd: int) -> Iterator[None]:
    """Let the terminal send single keys without echo during the block. Ctrl-C and Ctrl-Z work."""
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd, termios.TCSADRAIN)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


def first_key(typed: bytes, known: Container[bytes]) -> tuple[bytes, bytes]:
    """The first key of the typed bytes, and the rest; a key has several bytes only if it is `known`."""
    for length in range(LONGEST, 0, -1):
        if typed[:length] in known:
            return typed[:length], typed[length:]
    return typed[:1], typed[1:]
