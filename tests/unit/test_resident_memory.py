"""Memory that is written while messages flow is the process's before the first one."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
from publisher_pair import Pair, ticks

from tickplant.records.arrays import resident
from tickplant.records.layouts import TICK, Kind

BYTES = 2 << 20  # below what numpy asks the kernel for large pages for: 512 pages
FEW_FAULTS = 128


def faults() -> int:
    """Page faults of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def test_resident_memory_is_zeros_that_cost_no_page_faults_when_they_are_written() -> None:
    rows = resident(BYTES // TICK.itemsize, TICK)
    assert len(rows) * TICK.itemsize == BYTES
    assert not rows.view(np.uint8).any()
    before = faults()
    rows.view(np.uint8)[:] = 1
    assert faults() - before < FEW_FAULTS
    assert not len(resident(0, TICK))


def test_what_is_kept_of_messages_takes_no_fresh_memory_while_they_are_published(tmp_path: Path) -> None:
    pair = Pair(tmp_path, recovery_bytes=BYTES)
    try:
        batch = np.repeat(ticks((Kind.TRADE, 1)), 256)
        batch["seq"] = np.arange(256)
        pair.publisher.publish_ticks(batch)  # arrays of the batch's size, buffers of the socket
        before, bound = faults(), pair.publisher.kept_bytes + BYTES // 2
        while pair.publisher.kept_bytes < bound:
            batch["seq"] += np.uint64(256)
            pair.publisher.publish_ticks(batch)
            pair.received(1)
        assert faults() - before < FEW_FAULTS
    finally:
        pair.close()
