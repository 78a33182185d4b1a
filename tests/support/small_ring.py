"""Records of a ring that tell whether they are whole, and the death of its consumers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import TICK
from tickplant.shm.ring import Consumer

CAPACITY = 16
"""Of the fixture `ring`."""


def ticks(first: int, count: int) -> NDArray[np.void]:
    """Records with these seqs, whose other columns follow from them."""
    records = np.zeros(count, TICK)
    records["seq"] = np.arange(first, first + count)
    records["price"] = records["seq"] * 3
    records["flags"] = records["seq"] % 1000
    return records


def seqs(records: NDArray[np.void]) -> list[int]:
    """The seqs of records that are as `ticks` made them."""
    assert (records["price"] == records["seq"] * 3).all()
    assert (records["flags"] == records["seq"] % 1000).all()
    return [int(seq) for seq in records["seq"]]


def die(consumer: Consumer) -> None:
    """What the kernel does to a killed consumer: its lock becomes free, and nothing else changes."""
    assert consumer._lock is not None
    consumer._lock.close()
    consumer._lock = None
    consumer._doorbell.close()
