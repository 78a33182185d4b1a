"""A store as files of a form that others read: one for each symbol, sort of data and day of UTC by receive time.

    FOLDER/NAME                  as the form names it
    FOLDER/_tickplant/NAME.json  what it was made from

A file appears under its name whole or not at all, and its note after it: a run that was killed goes on behind the last
note, and a day whose records have become more is written again.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.instruments import FEED_SYMBOL, Instrument
from tickplant.records.layouts import Kind, Schema
from tickplant.store.daily_files import DAY_NS
from tickplant.store.export_notes import NOTES, days_of, make_folder, note_of, read_note, write_note
from tickplant.store.reader import Store
from tickplant.store.row_files import whole_file
from tickplant.store.selection import Selection

Records = NDArray[np.void]


class Content(NamedTuple):
    """A file to be: of which records it is made."""

    sort: str
    rows: list[Instrument]  # of one symbol, oldest first
    day: int  # since the epoch
    schema: Schema
    kinds: frozenset[Kind] | None

    @property
    def venue(self) -> str:
        """Of the symbol."""
        return self.rows[0].venue

    @property
    def symbol(self) -> str:
        """Of all rows."""
        return self.rows[0].symbol

    @property
    def date(self) -> str:
        """2024-08-08."""
        return str(np.datetime64(self.day, "D"))

    @property
    def selection(self) -> Selection:
        """Its records."""
        ids = frozenset(row.id for row in self.rows)
        return Selection(ids=ids, kinds=self.kinds, start_ns=self.day * DAY_NS, end_ns=(self.day + 1) * DAY_NS)

    def records(self, store: Store) -> Iterator[tuple[Instrument, Records]]:
        """In stored order, those of several processes merged by receive time; each array of one of the instruments."""
        by_id = {row.id: row for row in self.rows}
        asked = self.selection
        for records in store.query(
            self.venue, self.symbol, schema=self.schema, kinds=self.kinds, start_ns=asked.start_ns, end_ns=asked.end_ns
        ):
            ids = records["instrument"]
            for part in np.split(records, np.flatnonzero(np.diff(ids)) + 1) if len(self.rows) > 1 else [records]:
                yield by_id[int(part["instrument"][0])], part


class Form(Protocol):
    """A form of files.

    Attributes:
        sorts: by name, the schema and the kinds of its records.
        left_out: counts by reason of what the form has no words for.
    """

    sorts: dict[str, tuple[Schema, frozenset[Kind] | None]]
    left_out: Counter[str]

    def name(self, content: Content) -> str:
        """Of the file."""
        ...

    def open(self, file: IO[bytes], content: Content) -> contextlib.AbstractContextManager[IO[bytes]]:
        """What compresses into a file, and begins it."""
        ...

    def parts(self, store: Store, content: Content) -> Iterator[tuple[bytes | memoryview, int]]:
        """Bytes, and how many records they are of; nothing where there is to be no file. Raises StoreError."""
        ...


def export_days(
    store: Store,
    folder: Path,
    form: Form,
    *,
    sorts: Sequence[str] = (),
    venue: str | None = None,
    symbol: str | None = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write what is stored, or what is new of it; returns how many records were written.

    Args:
        store: to read.
        folder: made where it is missing.
        form: of the files.
        sorts: of `Form.sorts`; all where none is named.
        venue: only of this one.
        symbol: only this one.
        start_ns: first receive time; whole days are written.
        end_ns: last receive time, exclusive.
        progress: called with the records written so far.

    Raises:
        StoreError: the folder cannot be written, or the form cannot hold a record.
        DamageError: of the store.
    """
    symbols: dict[tuple[str, str], list[Instrument]] = {}
    for row in store.select(venue, symbol):
        if row.symbol != FEED_SYMBOL:
            symbols.setdefault((row.venue, row.symbol), []).append(row)
    written = 0
    for sort in sorts or form.sorts:
        schema, kinds = form.sorts[sort]
        producers = store.producers(schema)
        days = {day for name in producers for day in days_of(store, name, schema, start_ns, end_ns)}
        for day in sorted(days):
            for rows in symbols.values():
                content = Content(sort, rows, day, schema, kinds)
                name = form.name(content)
                notes = [note_of(store, producer, schema, content.selection) for producer in producers]
                path = folder / NOTES / f"{name}.json"
                if not any(note.records for note in notes) or read_note(path) == notes:
                    continue
                written = _write(store, folder / name, form, content, written, progress)
                write_note(path, notes)
    return written


def _write(
    store: Store, path: Path, form: Form, content: Content, records: int, progress: Callable[[int], None]
) -> int:
    """Write one file, if there is anything for it, behind so many records; returns how many they are then."""
    with contextlib.ExitStack() as resources:
        file: IO[bytes] | None = None
        for text, count in form.parts(store, content):
            if file is None:
                make_folder(path.parent)
                file = resources.enter_context(form.open(resources.enter_context(whole_file(path)), content))
            try:
                file.write(text)
            except OSError as error:
                raise StoreError(f"cannot be written: {error.strerror or error}", path=path) from error
            records += count
            progress(records)
    return records
