"""Notes of what an export has written, one per day, so that an export continues where it was stopped.

FOLDER/_tickplant/NAME.json
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from tickplant.errors import StoreError
from tickplant.records.layouts import Schema
from tickplant.store.daily_files import DAY_NS
from tickplant.store.reader import Store
from tickplant.store.row_files import whole_file
from tickplant.store.segments import Range
from tickplant.store.selection import Selection

NOTES: Final = "_tickplant"


class Note(msgspec.Struct, frozen=True):
    """What a day was written from; while this stays the same, the day is not written again."""

    records: int  # in the chunks that may hold records of the day
    last_seq: int
    ids: list[int] | None


def days_of(store: Store, producer: str, schema: Schema, start_ns: int | None, end_ns: int | None) -> list[int]:
    """Days since the epoch for which records of a producer may be stored, within a range of receive times."""
    days: set[int] = set()
    for entries in store.chunks(Range(producer, schema, Selection())):
        headers = entries["header"]
        for low, high in np.unique(np.stack([headers["ts_recv_min"], headers["ts_recv_max"]]) // DAY_NS, axis=1).T:
            days.update(range(int(low), int(high) + 1))
    first = -(2**63) if start_ns is None else start_ns // DAY_NS
    last = 2**63 if end_ns is None else (end_ns - 1) // DAY_NS
    return sorted(day for day in days if first <= day <= last)


def note_of(store: Store, producer: str, schema: Schema, selection: Selection) -> Note:
    """The note of one producer's records of a day. Raises StoreError."""
    records, last = 0, -1
    for entries in store.chunks(Range(producer, schema, selection)):
        headers = entries["header"]
        records += int(headers["rows"].sum())
        last = max(last, int(headers["last_seq"].max()) if len(headers) else -1)
    return Note(records, last, None if selection.ids is None else sorted(selection.ids))


def read_note(path: Path) -> list[Note]:
    """The notes of what a day was written from; empty if it was not written."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Note | list[Note])
    except (OSError, msgspec.MsgspecError):
        return []
    return [found] if isinstance(found, Note) else found


def write_note(path: Path, notes: Sequence[Note]) -> None:
    """Write the notes of a day, once its files are there. Raises StoreError."""
    make_folder(path.parent)
    with whole_file(path) as file:
        file.write(msgspec.json.encode(notes))


def make_folder(path: Path) -> None:
    """Create a folder. Raises StoreError, which names the folder."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot be made: {error.strerror}", path=path) from error
