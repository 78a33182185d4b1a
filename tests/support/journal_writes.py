"""A journal of a feed whose records are known."""

from __future__ import annotations

from pathlib import Path

from made_records import make_ticks

from tickplant.records.layouts import Schema
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.writer.journal import Journal

TICKS = make_ticks(2000)


def stored(data_dir: Path, producer: str = "feed", schema: Schema = Schema.TICK) -> bytes:
    """All records that a reader sees, as bytes."""
    return b"".join(block.tobytes() for block in Store(data_dir).read(producer, schema, Selection()))


def write(data_dir: Path, *sizes: int, start: int = 0) -> None:
    """Append the next TICKS in flushes of these sizes."""
    journal = Journal(data_dir, Schema.TICK, "feed")
    for size in sizes:
        journal.append(TICKS[start : start + size])
        start += size
        assert journal.flush() == start
    journal.close()
