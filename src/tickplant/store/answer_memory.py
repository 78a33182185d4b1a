"""Memory of large answers: lent to whoever asked, taken back once nobody refers to it, and lent again.

The kernel zeroes each page of new memory, 10 to 20 ms for 100 MB: a fifth of what reading that costs. Pages that were
given back stay with the process as long as nothing else needs them (`MADV_FREE`): the kernel takes them without asking
when memory becomes short, and a next answer finds the others without a page fault.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import weakref
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LARGE_PAGE: Final = 1 << 21  # bytes
KEPT_BYTES: Final = 128 << 20


class _Region:
    """Memory that begins at a large page, so that the kernel can give whole large pages: a hundredth of the faults."""

    def __init__(self, size: int) -> None:
        self.size = -(-size // LARGE_PAGE) * LARGE_PAGE
        self._map = mmap.mmap(-1, self.size + LARGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._begin = -ctypes.addressof(ctypes.c_char.from_buffer(self._map)) % LARGE_PAGE
        with contextlib.suppress(OSError):  # of a kernel without large pages
            self._map.madvise(mmap.MADV_HUGEPAGE)

    def lease(self) -> Any:
        """A buffer of all of it: once nobody refers to that any more, the memory is free again."""
        return (ctypes.c_char * self.size).from_buffer(self._map, self._begin)

    def forget(self) -> None:
        """What it holds is not needed. Raises OSError where the kernel cannot take it when it wants to."""
        self._map.madvise(mmap.MADV_FREE)


class AnswerMemory:
    """Lends memory for arrays. Thread-safe: a list's own methods are all that threads share."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        """Memory that nobody has is kept up to so many bytes."""
        self._most_bytes = most_bytes
        self._free: list[_Region] = []  # what came back last is last

    @property
    def kept_bytes(self) -> int:
        """How much memory that nobody has is kept."""
        return sum(region.size for region in self._free.copy())

    def array(self, rows: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Shape (rows,), holding anything. Its memory comes back when nothing refers to the array or a part of it."""
        size = rows * dtype.itemsize
        if size < LARGE_PAGE // 2:
            return np.empty(rows, dtype)
        region = self._take(size) or _Region(size)
        lease = region.lease()
        weakref.finalize(lease, self._give_back, region).atexit = False
        return np.frombuffer(lease, dtype, rows)

    def _take(self, size: int) -> _Region | None:
        """Memory that fits, of which no more than half would be left over."""
        for region in reversed(self._free.copy()):
            if size <= region.size <= max(2 * size, LARGE_PAGE):
                with contextlib.suppress(ValueError):  # another thread has taken it
                    self._free.remove(region)
                    return region
        return None

    def _give_back(self, region: _Region) -> None:
        with contextlib.suppress(OSError):
            region.forget()
            self._free.append(region)
        while self.kept_bytes > self._most_bytes:
            with contextlib.suppress(IndexError):  # another thread was sooner
                self._free.pop(0)


ANSWERS: Final = AnswerMemory()
"""Of this process."""
