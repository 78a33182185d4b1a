"""What an export has written, so that it goes on where it was stopped: a note for each day, of what that was made from.

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
    """What a day was written from; the day is not written again while this is the same."""

    records: int  # in the chunks that may hold some of the day
    last_seq: int
    ids: list[int] | None


def days_of(store: Store, producer: str, schema: Schema, start_ns: int | None, end_ns: int | None) -> list[int]:
    """Days since the epoch of which records of a producer may be stored, within a range of receive times."""
    days: set[int] = set()
    for entries in store.chunks(Range(producer, schema, Selection())):
        headers = entries["header"]
        for low, high in np.unique(np.stack([headers["ts_recv_min"], headers["ts_recv_max"]]) // DAY_NS, axis=1).T:
            days.update(range(int(low), int(high) + 1))
    first = -(2**63) if start_ns is None else start_ns // DAY_NS
    last = 2**63 if end_ns is None else (end_ns - 1) // DAY_NS
    return sorted(day for day in days if first <= day <= last)


def note_of(store: Store, producer: str, schema: Schema, selection: Selection) -> Note:
    """What one producer has of a day. Raises StoreError."""
    records, last = 0, -1
    for entries in store.chunks(Range(producer, schema, selection)):
        headers = entries["header"]
        records += int(headers["rows"].sum())
        last = max(last, int(headers["last_seq"].max()) if len(headers) else -1)
    return Note(records, last, None if selection.ids is None else sorted(selection.ids))


def read_note(path: Path) -> list[Note]:
    """What a day was written from; nothing where it was not."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Note | list[Note])
    except (OSError, msgspec.MsgspecError):
        return []
    return [found] if isinstance(found, Note) else found


def write_note(path: Path, notes: Sequence[Note]) -> None:
    """Keep what a day was written from, once its files are there. Raises StoreError."""
    make_folder(path.parent)
    with whole_file(path) as file:
        file.write(msgspec.json.encode(notes))


def make_folder(path: Path) -> None:
    """Raises StoreError, which names the folder, where it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot be made: {error.strerror}", path=path) from error
