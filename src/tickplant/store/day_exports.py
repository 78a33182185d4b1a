"""Exports a store to files in another format: one for each symbol, sort of data and UTC day by receive time.

    FOLDER/NAME                  the file, named by the form
    FOLDER/_tickplant/NAME.json  a note of what it was made from

A file appears under its name whole or not at all, and its note after it. So the run after a killed one continues after
the last note, and a day that has gained records is written again.
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
    """The records of one file to be written."""

    sort: str
    rows: list[Instrument]  # of one symbol, oldest first
    day: int  # since the epoch
    schema: Schema
    kinds: frozenset[Kind] | None

    @property
    def venue(self) -> str:
        """Venue of the symbol."""
        return self.rows[0].venue

    @property
    def symbol(self) -> str:
        """The symbol of all rows."""
        return self.rows[0].symbol

    @property
    def date(self) -> str:
        """The day as text: `2024-08-08`."""
        return str(np.datetime64(self.day, "D"))

    @property
    def selection(self) -> Selection:
        """The selection of its records."""
        ids = frozenset(row.id for row in self.rows)
        return Selection(ids=ids, kinds=self.kinds, start_ns=self.day * DAY_NS, end_ns=(self.day + 1) * DAY_NS)

    def records(self, store: Store) -> Iterator[tuple[Instrument, Records]]:
        """Records in stored order, several producers merged by receive time; each array is of one instrument."""
        by_id = {row.id: row for row in self.rows}
        asked = self.selection
        for records in store.query(
            self.venue, self.symbol, schema=self.schema, kinds=self.kinds, start_ns=asked.start_ns, end_ns=asked.end_ns
        ):
            ids = records["instrument"]
            for part in np.split(records, np.flatnonzero(np.diff(ids)) + 1) if len(self.rows) > 1 else [records]:
                yield by_id[int(part["instrument"][0])], part


class Form(Protocol):
    """A format of files.

    Attributes:
        sorts: the sorts of data by name, each with the schema and the kinds of its records.
        left_out: counts, by reason, of records that the format cannot express.
    """

    sorts: dict[str, tuple[Schema, frozenset[Kind] | None]]
    left_out: Counter[str]

    def name(self, content: Content) -> str:
        """Name of the file."""
        ...

    def open(self, file: IO[bytes], content: Content) -> contextlib.AbstractContextManager[IO[bytes]]:
        """A compressing writer to the file, with the beginning of the file already written."""
        ...

    def parts(self, store: Store, content: Content) -> Iterator[tuple[bytes | memoryview, int]]:
        """Bytes, each with the number of records that they hold; none if there should be no file. Raises StoreError."""
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
    """Export the days that are new or have changed; returns how many records were written.

    Args:
        store: the store to read.
        folder: created if missing.
        form: the format of the files.
        sorts: some of `Form.sorts`; all if none is named.
        venue: only symbols of this venue.
        symbol: only this symbol.
        start_ns: first receive time; whole days are written.
        end_ns: last receive time, exclusive.
        progress: called with the number of records written so far.

    Raises:
        StoreError: the folder cannot be written, or the format cannot hold a record.
        DamageError: the store is damaged.
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
    """Write one file, unless it would be empty. `records` counts those written before; returns the new count."""
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
