"""What tests of several modules have in hand: rings, and an engine's sockets with a subscriber."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import remains
from publisher_pair import Pair
from small_ring import CAPACITY

from tickplant.records.layouts import Schema
from tickplant.shm.ring import Ring


@pytest.fixture
def ring_name() -> Iterator[str]:
    name = remains.ring_name()
    yield name
    Ring.unlink_name(name)


@pytest.fixture
def ring(ring_name: str, tmp_path: Path) -> Iterator[Ring]:
    ring = Ring.create(ring_name, Schema.TICK, CAPACITY, start=100, epoch=7, doorbell_dir=tmp_path)
    yield ring
    ring.unlink()
    ring.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    made.close()
