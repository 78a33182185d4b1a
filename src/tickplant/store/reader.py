"""Reading what was stored, while a writer appends or long after.

    store = Store(Path("data"))
    for ticks in store.query("binance", "BTCUSDT", kinds=["trade"], start_ns=…, end_ns=…):
        ...                                        # arrays of dtype TICK, chunk by chunk

Nothing here writes. Only committed chunks are seen. Ranges are half-open, `start <= time < end`. By the event clock a
record without a venue time (`ts_event` 0) is in no range that has a start or an end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tickplant.books.fold import Book
from tickplant.errors import DamageError, StoreError
from tickplant.instruments import Instrument, InstrumentTable
from tickplant.records.layouts import DTYPES, Kind, Schema
from tickplant.records.merge import merge_by_receive_time
from tickplant.runtime.config import Crossed
from tickplant.store import stored_books
from tickplant.store.readings import Readings
from tickplant.store.selection import Clock, Selection
from tickplant.store.stored_streams import StoredStreams
from tickplant.writer.format.chunk_layout import HEADER, ChunkHeader, read_header
from tickplant.writer.format.codec import ChunkDecoder
from tickplant.writer.index import Damage, FileIndex, WhileReading, journal_files, load_index, opened
from tickplant.writer.journal import journal_dir, journal_root

Records = NDArray[np.void]
OnDamage = Callable[[Damage], None]

INSTRUMENTS_FILE: Final = "instruments.jsonl"
SKIP_HINT: Final = "--skip-damage leaves it out and goes on"
"""What the errors of commands say of damage; in Python that is `on_damage`."""


Found_co = TypeVar("Found_co", covariant=True)


class Decode(Protocol[Found_co]):
    """A method of ChunkDecoder."""

    def __call__(self, buffer: bytes, /, *, path: Path, origin: int) -> tuple[Found_co, ChunkHeader, int]:
        """What a chunk holds, its header, the offset behind it."""


class ColumnBlock(NamedTuple):
    """Columns of consecutive selected records of one producer, in stored order.

    Attributes:
        schema: of the records.
        producer: who recorded them.
        rows: how many records; at least 1.
        columns: by name, arrays of shape (rows,) and the dtype of that field of `DTYPES[schema]`, read-only to callers.
    """

    schema: Schema
    producer: str
    rows: int
    columns: dict[str, NDArray[Any]]


class Store(Readings, StoredStreams):
    """One data directory. Cheap to make; not thread-safe, but any number of them may read at the same time.

    Damage is never passed over in silence: without `on_damage` the first one met raises DamageError; with it, each is
    reported there and reading goes on behind it.

    Reading may take long: a process that must report meanwhile does so in `while_reading`, which is called for each
    file and chunk, and may raise to end the reading.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        on_damage: OnDamage | None = None,
        while_reading: WhileReading = lambda: None,
    ) -> None:
        self.data_dir = Path(data_dir)
        self.on_damage = on_damage
        self._while_reading = while_reading
        self.damages = 0  # reported so far
        self._decoder = ChunkDecoder()
        self._indexes: dict[Path, tuple[tuple[int, int], FileIndex]] = {}

    # -----------------------------------------------------------------------------------------------------------
    # What there is

    @property
    def instruments(self) -> InstrumentTable:
        """The instrument table as it is now."""
        return InstrumentTable.load(self.data_dir / INSTRUMENTS_FILE)

    def find(self, venue: str, symbol: str) -> list[Instrument]:
        """Rows of a symbol, oldest first. Raises StoreError, naming what there is, where it is unknown."""
        table = self.instruments
        found = table.find(venue, symbol)
        if found:
            return found
        known = sorted({f"{row.venue} {row.symbol}" for row in table})
        hint = f"it has {', '.join(known[:20])}{', …' if len(known) > 20 else ''}" if known else "it is empty"
        raise StoreError(f"nothing is stored of {venue} {symbol}; {hint}", path=self.data_dir)

    def producers(self, schema: Schema = Schema.TICK) -> list[str]:
        """Names of the processes whose records of this schema are stored."""
        root = journal_root(self.data_dir)
        if not root.is_dir():
            return []
        name = schema.name.lower()
        try:
            return sorted(folder.name for folder in root.iterdir() if (folder / name).is_dir())
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", path=root) from error

    def next_seq(self, producer: str, schema: Schema) -> int:
        """The seq that continues what is stored of a producer: 0 where there is nothing."""
        for path in reversed(self.files(producer, schema)):
            index = self.index(path)
            if len(index.entries):
                return int(index.entries[-1]["header"]["last_seq"]) + 1
            return int(path.stem)
        return 0

    def files(self, producer: str, schema: Schema) -> list[Path]:
        """Journal files of a producer, in order."""
        return journal_files(journal_dir(self.data_dir, producer, schema))

    def index(self, path: Path) -> FileIndex:
        """The chunks of a journal file, remembered until it changes."""
        self._while_reading()
        try:
            state = path.stat()
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", path=path) from error
        key = (state.st_size, state.st_mtime_ns)
        known = self._indexes.get(path)
        if known is None or known[0] != key:
            known = self._indexes[path] = key, load_index(path, while_reading=self._while_reading)
        return known[1]

    # -----------------------------------------------------------------------------------------------------------
    # Records

    def query(
        self,
        venue: str,
        symbol: str,
        *,
        schema: Schema = Schema.TICK,
        kinds: Iterable[Kind | str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        clock: Clock = "recv",
    ) -> Iterator[Records]:
        """Records of one symbol, in stored order, chunk by chunk: arrays of `DTYPES[schema]`, none of them empty.

        All ids that the symbol has had are returned; `instruments` tells their scales. Where several processes recorded
        it, their records are merged by receive time. Raises StoreError for an unknown symbol, DamageError.
        """
        ids = [row.id for row in self.find(venue, symbol)]
        return self.scan(schema=schema, ids=ids, kinds=kinds, start_ns=start_ns, end_ns=end_ns, clock=clock)

    def scan(
        self,
        *,
        schema: Schema = Schema.TICK,
        ids: Iterable[int] | None = None,
        kinds: Iterable[Kind | str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        clock: Clock = "recv",
        producers: Iterable[str] | None = None,
    ) -> Iterator[Records]:
        """Records of any instruments, merged: by receive time between producers, in stored order within each.

        Receive times within a producer may step back a little (a snapshot waits for the diffs before it); its records
        are never reordered for that. Raises DamageError.
        """
        selection = self._selection(schema, ids, kinds, start_ns, end_ns, clock)
        names = self.producers(schema) if producers is None else list(producers)
        return merge_by_receive_time([self.read(name, schema, selection) for name in names])

    def read(
        self,
        producer: str,
        schema: Schema,
        selection: Selection,
        *,
        first_seq: int = 0,
        last_seq: int | None = None,
    ) -> Iterator[Records]:
        """Selected records of one producer from one seq to another, both included, in stored order, chunk by chunk.

        Raises DamageError.
        """
        decoder = ChunkDecoder()  # one of its own, since several of these run interleaved
        for fd, path, entry in self._wanted(producer, schema, selection, first_seq, last_seq):
            records = self._decode(fd, path, entry, schema, decoder.decode)
            if records is None:
                continue
            if entry["header"]["first_seq"] < first_seq:
                records = records[records["seq"] >= first_seq]
            if last_seq is not None and entry["header"]["last_seq"] > last_seq:
                records = records[records["seq"] <= last_seq]
            if len(selected := selection.records(records)):
                yield selected

    def blocks(
        self,
        producer: str,
        schema: Schema,
        selection: Selection,
        columns: Sequence[str] | None = None,
        *,
        first_seq: int = 0,
        last_seq: int | None = None,
    ) -> Iterator[ColumnBlock]:
        """The same records as `read`, as columns: only those named, and those that the selection looks at, are decoded.

        Raises DamageError; ValueError where the schema has no such column.
        """
        names = DTYPES[schema].names or () if columns is None else tuple(columns)
        decoder = ChunkDecoder()
        for fd, path, entry in self._wanted(producer, schema, selection, first_seq, last_seq):
            header = entry["header"]
            cut = header["first_seq"] < first_seq or (last_seq is not None and header["last_seq"] > last_seq)
            needed = dict.fromkeys((*names, *sorted(selection.columns), *(("seq",) if cut else ())))
            found = self._decode(fd, path, entry, schema, partial(decoder.columns, names=tuple(needed)))
            if found is None:
                continue
            wanted = selection.rows(found)
            if cut:
                seq = found["seq"]
                within = (seq >= first_seq) & (seq <= (header["last_seq"] if last_seq is None else last_seq))
                wanted = within if wanted is None else wanted & within
            block = {name: found[name] if wanted is None else found[name][wanted] for name in names}
            if count := int(header["rows"]) if wanted is None else int(np.count_nonzero(wanted)):
                yield ColumnBlock(schema, producer, count, block)

    def _wanted(
        self, producer: str, schema: Schema, selection: Selection, first_seq: int, last_seq: int | None
    ) -> Iterator[tuple[int, Path, np.void]]:
        """Open file, its path and index entry of each chunk that may hold such records; damage between is reported."""
        paths = self.files(producer, schema)
        for number, path in enumerate(paths):
            if number + 1 < len(paths) and int(paths[number + 1].stem) <= first_seq:
                continue
            if last_seq is not None and int(path.stem) > last_seq:
                break
            index = self.index(path)
            headers = index.entries["header"]
            within = headers["last_seq"] >= first_seq
            if last_seq is not None:
                within &= headers["first_seq"] <= last_seq
            damage = [
                part
                for part in index.damage
                if not (part.torn and path == paths[-1])
                and (part.last_seq is None or part.last_seq >= first_seq)
                and (last_seq is None or part.first_seq is None or part.first_seq <= last_seq)
                and selection.concerns(*self._around(paths, number, part))
            ]
            with opened(path) as fd:
                for entry in index.entries[selection.chunks(index.entries) & within]:
                    while damage and damage[0].offset < entry["offset"]:
                        self._report(damage.pop(0))
                    yield fd, path, entry
            for part in damage:
                self._report(part)

    def book(self, venue: str, symbol: str, at_ns: int, *, orders: bool = False, crossed: Crossed = "flag") -> Book:
        """The book after every record received up to and including `at_ns`.

        Found by going back to the newest snapshot before that time, or to a checkpoint since, and folding forward from
        there. Without any snapshot the book is empty and stale, and behind damage that was reported it is stale up to
        the next snapshot. Raises StoreError for an unknown symbol, DamageError.

        Args:
            venue: of the symbol.
            symbol: whose book.
            at_ns: nanoseconds since the Unix epoch.
            orders: with each order, where it is a book of orders.
            crossed: as in the configuration of its feed: `match` resolves a crossed book of orders.
        """
        return stored_books.book_at(self, self.find(venue, symbol), at_ns, orders=orders, crossed=crossed)

    def _around(self, paths: list[Path], number: int, damage: Damage) -> tuple[np.void | None, np.void | None]:
        """Headers of the chunks before and after a damaged stretch of a file, which may be in the files beside it."""
        headers = self.index(paths[number]).entries
        place = int(np.searchsorted(headers["offset"], damage.offset))
        before, after = headers[:place]["header"], headers[place:]["header"]
        if not len(before) and number > 0:
            before = self.index(paths[number - 1]).entries["header"]
        if not len(after) and number + 1 < len(paths):
            after = self.index(paths[number + 1]).entries["header"]
        return before[-1] if len(before) else None, after[0] if len(after) else None

    def entries(self, producer: str, schema: Schema) -> Iterator[tuple[Path, NDArray[np.void]]]:
        """Index entries of a producer, file by file, newest first."""
        for path in reversed(self.files(producer, schema)):
            yield path, self.index(path).entries

    def record(self, producer: str, schema: Schema, seq: int) -> np.void | None:
        """The record of this seq; None where it is not stored, or damaged and that was reported. Raises DamageError."""
        path = next((path for path in reversed(self.files(producer, schema)) if int(path.stem) <= seq), None)
        if path is None:
            return None
        headers = (entries := self.index(path).entries)["header"]
        for entry in entries[(headers["first_seq"] <= seq) & (seq <= headers["last_seq"])]:
            records = self.chunk(path, entry, schema)
            if len(places := np.flatnonzero(records["seq"] == seq)):
                found: np.void = records[places[0]]
                return found
        return None

    def chunk(self, path: Path, entry: np.void, schema: Schema) -> Records:
        """The records of one chunk; empty where it is damaged and that was reported."""
        with opened(path) as fd:
            records = self._decode(fd, path, entry, schema, self._decoder.decode)
        return np.zeros(0, DTYPES[schema]) if records is None else records

    def _decode(self, fd: int, path: Path, entry: np.void, schema: Schema, decode: Decode[Found_co]) -> Found_co | None:
        offset, header = int(entry["offset"]), entry["header"]
        self._while_reading()
        try:
            data = os.pread(fd, int(header["length_bytes"]), offset)
            if data[: HEADER.itemsize] != header.tobytes():
                why = "the index does not describe the chunk; remove the .tpx file, which is then made anew"
                raise DamageError(why, path=path, offset=offset)
            if read_header(data, path=path, origin=offset).schema != schema:
                raise DamageError(f"the chunk holds no {schema.name.lower()} records", path=path, offset=offset)
            return decode(data, path=path, origin=offset)[0]
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", path=path) from error
        except DamageError as error:
            reason = str(error).split(f"at byte {offset}: ", 1)[-1]
            self._report(
                Damage(
                    path=str(path),
                    offset=offset,
                    length_bytes=int(header["length_bytes"]),
                    reason=reason,
                    first_seq=int(header["first_seq"]),
                    last_seq=int(header["last_seq"]),
                )
            )
            return None

    def _report(self, damage: Damage) -> None:
        self.damages += 1
        if self.on_damage is None:
            seqs = ""
            if damage.first_seq is not None:
                seqs = f"; records {damage.first_seq} to {'the end' if damage.last_seq is None else damage.last_seq}"
                seqs += " are missing"
            raise DamageError(damage.reason + seqs, path=damage.path, offset=damage.offset)
        self.on_damage(damage)
