"""Pipes that nobody reads."""

from __future__ import annotations

import os


def fill(end: int) -> int:
    """Write until the pipe takes no more; returns how many bytes it took."""
    os.set_blocking(end, False)
    size = 0
    try:
        while True:
            size += os.write(end, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(end, True)
    return size
