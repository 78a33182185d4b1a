"""A store as a Parquet data set, from which it can be restored without loss.

    FOLDER/schema=tick/venue=binance/symbol=BTCUSDT/day=2024-08-08/PRODUCER.parquet
    FOLDER/_tickplant/PRODUCER.tick.2024-08-08.json              what that day was written from

Days are UTC days, by receive time. A file holds every field of its records: times in UTC, kind and side as words,
prices and sizes as the stored integers, next to `price_scale` and `size_scale`. A price that does not exist, or a venue
time that was not given, is null. The file's metadata, `tickplant`, names producer, schema and instruments.

A file appears under its name whole or not at all, and a day's note once all its files are there. So the run after a
killed one continues after the last day with a note, and a day that has gained records is written again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.instruments import Instrument
from tickplant.records.arrow_columns import KIND_WORDS, SCALES, VENUE_TIMES, ArrowColumns
from tickplant.records.layouts import DTYPES, NO_PRICE, Schema
from tickplant.records.merge import Columns, join_columns
from tickplant.records.schemas import FACTS, PRICES, TIMES
from tickplant.store.daily_files import DAY_NS
from tickplant.store.export_notes import NOTES, days_of, make_folder, note_of, read_note, write_note
from tickplant.store.reader import Store
from tickplant.store.row_files import whole_file
from tickplant.store.rows import BATCH_ROWS
from tickplant.store.selection import Selection

KEY: Final = b"tickplant"
HELD_ROWS: Final = 1 << 22
"""The most rows of a day, over all symbols, that wait for their row groups to fill: bounds an export's memory."""


class Origin(msgspec.Struct, frozen=True):
    """The metadata of a file."""

    producer: str
    schema: str
    instruments: list[Instrument]
    whole: bool  # the set holds the producer's records of that day for all instruments
    series: list[str] = []  # names of the numbers in the column `series`, number 1 first


def fields_of(schema: Schema) -> tuple[str, ...]:
    """Columns of a file."""
    names = [name for name in DTYPES[schema].names or () if name != "reserved"]
    return (*names, *SCALES)


def export_set(
    store: Store,
    folder: Path,
    *,
    schema: Schema = Schema.TICK,
    ids: frozenset[int] | None = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Export the days that are new or have changed; returns how many records were written.

    Args:
        store: the store to read.
        folder: folder of the set, created if missing.
        schema: schema of the records.
        ids: ids of instruments; None takes all.
        start_ns: first receive time; whole days are written.
        end_ns: last receive time, exclusive.
        progress: called with the number of records written so far.

    Raises:
        StoreError: the folder cannot be written, or the set has no word for a record's kind or side.
        DamageError: the store is damaged.
    """
    written = 0
    fields = [name for name in fields_of(schema) if name not in SCALES]
    for producer in store.producers(schema):
        for day in days_of(store, producer, schema, start_ns, end_ns):
            selection = Selection(ids=ids, start_ns=day * DAY_NS, end_ns=(day + 1) * DAY_NS)
            note = note_of(store, producer, schema, selection)
            date = str(np.datetime64(day, "D"))
            path = folder / NOTES / f"{quote(producer, safe='')}.{schema.name.lower()}.{date}.json"
            if read_note(path) == [note]:
                continue
            before = written
            with _DayFiles(folder, store, producer, schema, date, whole=ids is None) as files:
                for block in store.blocks(producer, schema, selection, fields):
                    files.add(block.columns)
                    progress(before + files.rows)
                files.finish()
            written = before + files.rows
            write_note(path, [note])
    return written


class _DayFiles:
    """The files of one producer and day, one per symbol, which appear together at the end."""

    def __init__(self, folder: Path, store: Store, producer: str, schema: Schema, date: str, *, whole: bool) -> None:
        self.rows = 0
        self._folder = folder / f"schema={schema.name.lower()}"
        self._end = Path(f"day={date}", f"{quote(producer, safe='')}.parquet")
        self._names = fields_of(schema)
        self._instruments = list(store.instruments)
        self._arrow = ArrowColumns(self._instruments, schema, prices="integer")
        series = list(store.series.names) if FACTS[schema].named else []
        self._origin = Origin(producer, schema.name.lower(), [], whole, series)
        symbols = sorted({(row.venue, row.symbol) for row in self._instruments})
        self._symbols = symbols
        places = {symbol: place for place, symbol in enumerate(symbols)}
        self._place = np.zeros(len(self._instruments) + 1, np.int64)
        for row in self._instruments:
            self._place[row.id] = places[row.venue, row.symbol]
        self._held: dict[int, list[Columns]] = {}
        self._counts: dict[int, int] = {}
        self._writers: dict[int, Any] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _DayFiles:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def add(self, block: Columns) -> None:
        """Take records, whatever their instruments."""
        self._arrow.check(block)
        places = self._place[block["instrument"]]
        for place in np.unique(places).tolist():
            chosen = np.flatnonzero(places == place)
            self._held.setdefault(place, []).append({name: values[chosen] for name, values in block.items()})
            self._counts[place] = self._counts.get(place, 0) + len(chosen)
            if self._counts[place] >= BATCH_ROWS:
                self._write(place)
        while sum(self._counts.values()) > HELD_ROWS:
            self._write(max(self._counts, key=self._counts.__getitem__))
        self.rows += len(places)

    def finish(self) -> None:
        """Write the remaining rows, and let the files appear."""
        for place in list(self._held):
            self._write(place)
        self._stack.close()

    def _write(self, place: int) -> None:
        block = join_columns(self._held.pop(place))
        del self._counts[place]
        arrays = [set_array(self._arrow, name, block) for name in self._names]
        batch = pa.RecordBatch.from_arrays(arrays, names=list(self._names))
        if place not in self._writers:
            self._writers[place] = self._open(place, batch.schema)
        self._writers[place].write_batch(batch, row_group_size=BATCH_ROWS)

    def _open(self, place: int, schema: pa.Schema) -> Any:
        venue, symbol = self._symbols[place]
        rows = [row for row in self._instruments if (row.venue, row.symbol) == (venue, symbol)]
        path = self._folder / f"venue={quote(venue, safe='')}" / f"symbol={quote(symbol, safe='')}" / self._end
        make_folder(path.parent)
        origin = msgspec.json.encode(msgspec.structs.replace(self._origin, instruments=rows))
        file = self._stack.enter_context(whole_file(path))
        writer = pq.ParquetWriter(file, schema.with_metadata({KEY: origin}), compression="zstd")
        return self._stack.enter_context(writer)


def set_array(arrow: ArrowColumns, name: str, block: Columns) -> pa.Array:
    """A column of a file. Raises StoreError for a kind or side of a later version, for which there is no word here."""
    if name in PRICES:
        return pa.array(block[name], mask=block[name] == NO_PRICE)
    if name in TIMES or name in SCALES:
        return arrow.array(name, block)
    if name in ("kind", "side"):
        found = arrow.array(name, block)
        if found.null_count != (np.count_nonzero(block["side"] == 0) if name == "side" else 0):
            raise StoreError(f"a record has a {name} that this version does not know", path=name)
        return found
    return pa.array(block[name])


def read_fields(table: pa.Table, schema: Schema) -> dict[str, NDArray[Any]]:
    """The fields of records from the columns of a file: the inverse of `set_array`."""
    dtype = DTYPES[schema]
    found: dict[str, NDArray[Any]] = {}
    for name in dtype.names or ():
        if name == "reserved":
            found[name] = np.zeros(table.num_rows, dtype[name])
            continue
        column = table[name].combine_chunks()
        if name in ("kind", "side"):
            words = column.cast(pa.string()).dictionary_encode()
            numbers = [_NUMBERS[name].get(word, 0) for word in words.dictionary.to_pylist()]
            known = np.array([*numbers, 0], dtype[name])  # the last one stands for null
            found[name] = known[words.indices.fill_null(len(numbers)).to_numpy()]
        else:
            nothing = NO_PRICE if name in PRICES else 0
            plain = column.cast(pa.int64()) if name in TIMES else column
            found[name] = (
                plain.fill_null(nothing).to_numpy() if name in PRICES or name in VENUE_TIMES else plain.to_numpy()
            )
    return found


_NUMBERS: Final = {
    "kind": {word: number for number, word in enumerate(KIND_WORDS, 1)},
    "side": {"bid": 1, "ask": 2, "buy": 1, "sell": 2},
}


def files_of(folder: Path) -> Iterator[tuple[Path, Origin]]:
    """The files of a set with their metadata. Raises StoreError for a file that does not belong to a set."""
    for path in sorted(folder.glob("schema=*/venue=*/symbol=*/day=*/*.parquet")):
        try:
            metadata = pq.read_schema(path).metadata or {}
            yield path, msgspec.json.decode(metadata[KEY], type=Origin)
        except (OSError, pa.ArrowException, KeyError, msgspec.MsgspecError) as error:
            raise StoreError(f"does not belong to a set that tickplant exported: {error}", path=path) from error
