"""Arrays that kernels work in: how state grows, how output leaves its buffer. Imports numpy only."""

from __future__ import annotations

import mmap
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Records = NDArray[np.void]
T = TypeVar("T", bound=np.generic)

MOST_TAKEN_BYTES: Final = 1 << 30
"""The most memory allocated at once: that takes 0.1 s, or 1 to 2.5 s if the host has to find the memory."""


def joined(parts: list[Records], dtype: np.dtype[np.void]) -> Records:
    """A private copy of records. Copied as bytes: numpy copies field by field, 20 times slower."""
    if not parts:
        return np.zeros(0, dtype)
    if len(parts) == 1:
        return parts[0].view(np.uint8).copy().view(dtype)
    return np.concatenate([part.view(np.uint8) for part in parts]).view(dtype)


def selected(records: Records, mask: NDArray[np.bool_]) -> Records:
    """The records where `mask` is true: a private copy, copied as words (see `joined`), unless `mask` is all true."""
    if mask.all():
        return records
    rows = records.view(np.uint64).reshape(len(records), records.dtype.itemsize // 8)
    return rows[mask].reshape(-1).view(records.dtype)


def resident(rows: int, dtype: np.dtype[T]) -> NDArray[T]:
    """Zeros, shape (rows,), whose memory is already allocated; in a large array, that of the first MOST_TAKEN_BYTES.

    Otherwise the first write to each large page of 2 MiB waits while the operating system zeroes it: 0.2 ms, or 2 to
    5 ms in a virtual machine whose host has to find the memory first.
    """
    array = np.zeros(rows, dtype)
    array.view(np.uint8)[: MOST_TAKEN_BYTES : mmap.PAGESIZE] = 0
    return array


def grown(array: NDArray[T], rows: int) -> NDArray[T]:
    """A copy with `rows` rows; the added ones are zero."""
    larger = np.zeros((rows, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


def note(memory: NDArray[np.int64], place: int, *arrays: NDArray[Any]) -> None:
    """Note where arrays are, for `kernels.noted`: the address of each and its number of items, two words each.

    Args:
        memory: words whose address a kernel is given.
        place: index of the first word.
        arrays: contiguous arrays; the caller keeps them alive, and notes those that it replaces again.
    """
    for at, array in enumerate(arrays):
        memory[place + 2 * at : place + 2 * at + 2] = array.ctypes.data, array.size
