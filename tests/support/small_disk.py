"""Disks for tests: a small one, a full one, a read-only one. They need root; without it, a test is skipped."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

BLOCK_BYTES = 1 << 20


def mount(*words: str | Path) -> None:
    """Mount a file system. Skips the test if this machine does not permit that."""
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")


def unmount(folder: Path) -> None:
    # Lazily: whoever still has a file open keeps it.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[None]:
    """A new folder with room for `size_bytes`, for the duration of the block."""
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", folder)
    try:
        yield
    finally:
        unmount(folder)


def fill(folder: Path) -> Path:
    """Fill all remaining space; removing the returned file frees it."""
    ballast = folder / "ballast"
    for block in (BLOCK_BYTES, 4096, 1):
        with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\0" * block) == block:
                pass
    return ballast
