"""Memory for large answers: lent to the caller, taken back once nothing refers to it, and lent again.

The kernel zeroes each page of new memory, which takes 10 to 20 ms for 100 MB: a fifth of the cost of reading as much.
Returned pages stay with the process while nothing else needs them (`MADV_FREE`). When memory runs short, the kernel
takes some of them silently; the next answer uses the others without page faults.
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
    """Memory aligned to large pages, so that the kernel can map whole large pages: a hundredth of the faults."""

    def __init__(self, size: int) -> None:
        self.size = -(-size // LARGE_PAGE) * LARGE_PAGE
        self._map = mmap.mmap(-1, self.size + LARGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._begin = -ctypes.addressof(ctypes.c_char.from_buffer(self._map)) % LARGE_PAGE
        with contextlib.suppress(OSError):  # a kernel without large pages
            self._map.madvise(mmap.MADV_HUGEPAGE)

    def lease(self) -> Any:
        """A buffer of the whole region: once nothing refers to the buffer, the region is free again."""
        return (ctypes.c_char * self.size).from_buffer(self._map, self._begin)

    def forget(self) -> None:
        """Let the kernel discard the contents. Raises OSError if the kernel does not support that."""
        self._map.madvise(mmap.MADV_FREE)


class AnswerMemory:
    """Lends memory for arrays. Thread-safe: threads share nothing but atomic methods of a list."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        """Keep at most `most_bytes` of unused memory."""
        self._most_bytes = most_bytes
        self._free: list[_Region] = []  # the most recently returned last

    @property
    def kept_bytes(self) -> int:
        """How much unused memory is kept."""
        return sum(region.size for region in self._free.copy())

    def array(self, rows: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Shape (rows,), uninitialised. Its memory returns once nothing refers to the array or a part of it."""
        size = rows * dtype.itemsize
        if size < LARGE_PAGE // 2:
            return np.empty(rows, dtype)
        region = self._take(size) or _Region(size)
        lease = region.lease()
        weakref.finalize(lease, self._give_back, region).atexit = False
        return np.frombuffer(lease, dtype, rows)

    def _take(self, size: int) -> _Region | None:
        """A free region that is large enough, with at most half of it left over."""
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
            with contextlib.suppress(IndexError):  # another thread was faster
                self._free.pop(0)


ANSWERS: Final = AnswerMemory()
"""The answer memory of this process."""
