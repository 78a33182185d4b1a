"""Records of a ring that reveal whether they are intact, and the death of its consumers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import TICK
from tickplant.shm.ring import Consumer

CAPACITY = 16
"""Capacity of the fixture `ring`, in records."""


def ticks(first: int, count: int) -> NDArray[np.void]:
    """Records with these seqs, whose other columns follow from them."""
    records = np.zeros(count, TICK)
    records["seq"] = np.arange(first, first + count)
    records["price"] = records["seq"] * 3
    records["flags"] = records["seq"] % 1000
    return records


def seqs(records: NDArray[np.void]) -> list[int]:
    """The seqs of records; asserts that these are as `ticks` made them."""
    assert (records["price"] == records["seq"] * 3).all()
    assert (records["flags"] == records["seq"] % 1000).all()
    return [int(seq) for seq in records["seq"]]


def die(consumer: Consumer) -> None:
    """Do what the kernel does to a killed consumer: free its lock, and change nothing else."""
    assert consumer._lock is not None
    consumer._lock.close()
    consumer._lock = None
    consumer._doorbell.close()
