"""A store in files of only a few chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Schema
from tickplant.writer.journal import Journal

Records = NDArray[np.void]


def fill(
    data_dir: Path, records: Records, producer: str = "feed", schema: Schema = Schema.TICK, flush: int = 150
) -> None:
    """Write a journal of these records, in files of only a few chunks."""
    with_room = Journal(data_dir, schema, producer, rotate_bytes=5000)
    for start in range(0, len(records), flush):
        with_room.append(records[start : start + flush])
        with_room.flush()
    with_room.close()


def table(data_dir: Path) -> InstrumentTable:
    """Three instruments of a venue, as `make_ticks` numbers them."""
    instruments = InstrumentTable.load(data_dir / "instruments.jsonl")
    for symbol in ("AAA", "BBB", "CCC"):
        instruments.register("venue", symbol, 8, 8)
    return instruments
