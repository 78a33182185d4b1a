"""Stores whose journals span days, and everything that can be read from one, to compare before with after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from made_records import make_records, make_ticks
from numpy.typing import NDArray

from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import DTYPES, Schema
from tickplant.records.merge import join_records
from tickplant.store.daily_files import DAY_NS
from tickplant.store.reader import Store
from tickplant.store.selection import Clock, Selection
from tickplant.writer.format.columns import COLUMN_IDS
from tickplant.writer.journal import Files, Journal

Records = NDArray[np.void]

MIDNIGHT_NS = 19_700 * DAY_NS
SYMBOLS = (("venue", "AAA"), ("venue", "B/B"), ("venue", "*"), ("other", "AAA"))
"""Ids 1 to 4; id 5 is AAA of the first venue again, with other scales."""


def register(data_dir: Path) -> None:
    table = InstrumentTable.load(data_dir / "instruments.jsonl")
    for venue, symbol in SYMBOLS:
        table.register(venue, symbol, 8, 8)
    table.register(*SYMBOLS[0], 9, 8)


def make_day_records(schema: Schema, times: Sequence[int] | NDArray[np.int64], *, instruments: int = 5) -> Records:
    """Records that were received at these times."""
    records = make_ticks(len(times)) if schema is Schema.TICK else make_records(schema, len(times))
    records["ts_recv"] = times
    records["ts_event"] = np.where(records["ts_event"] == 0, 0, records["ts_recv"] - 5)
    records["instrument"] = 1 + (records["seq"] * 7 // 5) % instruments
    return records


def write_journal(
    data_dir: Path,
    producer: str,
    schema: Schema,
    parts: Sequence[Records],
    *,
    rotate_bytes: int = 256 << 20,
    files: Files | None = None,
) -> None:
    """Write a journal with a flush for each part. Parts may leave out seqs; every third part begins a new epoch."""
    for epoch in range(0, len(parts), 3):
        journal = Journal(data_dir, schema, producer, epoch=7 + epoch, rotate_bytes=rotate_bytes, files=files)
        for part in parts[epoch : epoch + 3]:
            if int(part["seq"][0]) > journal.next_seq:
                journal.skip_to(int(part["seq"][0]))
            journal.append(part)
            journal.flush()
        journal.close()


def everything(data_dir: Path) -> dict[str, bytes | int]:
    """All records of a store by every way of reading."""
    store = Store(data_dir)
    found: dict[str, bytes | int] = {}
    for schema in Schema:
        for producer in store.producers(schema):
            key = f"{producer} {schema.name}"
            blocks = list(store.read(producer, schema, Selection()))
            records = join_records(blocks) if blocks else np.zeros(0, DTYPES[schema])
            found[f"{key} read"] = records.tobytes()
            found[f"{key} next"] = store.next_seq(producer, schema)
            columns = list(store.blocks(producer, schema, Selection()))
            for name in COLUMN_IDS[schema]:
                found[f"{key} {name}"] = b"".join(block.columns[name].tobytes() for block in columns)
            backward = [store.records(stretch)[::-1] for stretch in store.newest_first(producer, schema, Selection())]
            found[f"{key} backward"] = join_records(backward)[::-1].tobytes() if backward else b""
        for venue, symbol in SYMBOLS:
            rows = list(store.query(venue, symbol, schema=schema))
            found[f"{venue} {symbol} {schema.name}"] = b"".join(part.tobytes() for part in rows)
    start, end = MIDNIGHT_NS - 3, MIDNIGHT_NS + 3600 * 10**9
    clocks: tuple[Clock, ...] = ("recv", "event")
    for clock in clocks:
        rows = list(store.scan(kinds=["trade", "clear"], clock=clock, start_ns=start, end_ns=end))
        found[f"around midnight by {clock}"] = b"".join(part.tobytes() for part in rows)
    return found


def parts_of(records: Records, cuts: Sequence[int]) -> list[Records]:
    """The records, cut at these indices."""
    return [part for part in np.split(records, sorted(cuts)) if len(part)]
