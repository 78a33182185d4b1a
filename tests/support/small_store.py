"""A small store for tests of readers: ticks of three symbols by two feeds, and derived records, in chunks of 50."""

from __future__ import annotations

from pathlib import Path

from made_records import START_NS, make_records, make_ticks

from tickplant.derive.series import SeriesTable
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Schema
from tickplant.records.schemas import PUBLISHED
from tickplant.writer.journal import Journal

RECORDS = 1200
SERIES = ("rsi-14.1m", "ema-20.1s", "macd-12-26-9.1m", "microprice.bbo", "hawkes-0.1-0.5-1.trade")


def make_store(folder: Path) -> Path:
    """Fill the folder; returns it."""
    table = InstrumentTable.load(folder / "instruments.jsonl")
    for symbol in ("AAA", "BBB", "CCC"):
        table.register("venue", symbol, 8, 8)
    parts = [("feed", Schema.TICK, make_ticks(RECORDS)), ("other", Schema.TICK, make_ticks(300, start_ns=START_NS + 7))]
    SeriesTable(folder).numbers(SERIES, add=True)
    parts += [("engine", schema, make_records(schema, 100)) for schema in PUBLISHED]
    for producer, schema, records in parts:
        journal = Journal(folder, schema, producer)
        for start in range(0, len(records), 50):
            journal.append(records[start : start + 50])
            journal.flush()
        journal.close()
    return folder
