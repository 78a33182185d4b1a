"""A store of two symbols for tests of the command line, one of whose names no terminal should print as it is."""

from __future__ import annotations

from pathlib import Path

import msgspec
from made_records import make_ticks

from tickplant.instruments import Instrument
from tickplant.records.layouts import Flag, Kind, Schema, Side
from tickplant.writer.journal import Journal

HOSTILE_SYMBOL = "A\x1b[31m\x9b\u202eB"


def make_cli_store(folder: Path) -> Path:
    """Fill a new folder; returns it. Both books begin again in the last third of the ticks."""
    # No feed registers a name such as the second one today, but an older store may hold one.
    rows = [Instrument(number, "venue", symbol, 8, 8) for number, symbol in enumerate(("AAA", HOSTILE_SYMBOL), 1)]
    folder.mkdir()
    (folder / "instruments.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    journal = Journal(folder, Schema.TICK, "feed")
    ticks = make_ticks(900, instruments=2)
    ticks["kind"][ticks["kind"] == Kind.CLEAR] = Kind.LEVEL
    for clear in (0, 600):
        ticks["kind"][clear : clear + 2], ticks["instrument"][clear : clear + 2] = Kind.CLEAR, [1, 2]
        ticks["side"][clear : clear + 2], ticks["flags"][clear : clear + 2] = Side.NONE, Flag.LAST | Flag.SNAPSHOT
    for start in range(0, 900, 100):
        journal.append(ticks[start : start + 100])
        journal.flush()
    journal.close()
    return folder
