"""Reads a store, while a writer appends or long after.

    store = Store(Path("data"))
    for ticks in store.query("binance", "BTCUSDT", kinds=["trade"], start_ns=…, end_ns=…):
        ...                                        # arrays of dtype TICK, chunk by chunk

Nothing here writes. Only committed chunks are visible. Ranges are half-open, `start <= time < end`. By the event clock,
a record without a venue time (`ts_event` 0) is in no range that has a start or an end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from tickplant.books.fold import Book
from tickplant.derive.series import SeriesTable
from tickplant.errors import DamageError, StoreError
from tickplant.instruments import Instrument, InstrumentTable
from tickplant.records.layouts import Kind, Schema
from tickplant.runtime.config import Crossed
from tickplant.store import stored_books
from tickplant.store.chunk_files import (
    ChunkFiles,
    ColumnBlock,
    Decode,
    in_order,
    order_of,
    own_decoder,
    record_of,
    selected_rows,
    within,
)
from tickplant.store.folder_memory import FolderMemory
from tickplant.store.mapped_days import Scan
from tickplant.store.readings import Readings
from tickplant.store.recent_chunks import RecentColumns
from tickplant.store.segment_index import SegmentIndex, State, is_gone, state_if_there
from tickplant.store.segments import Chunk, Contents, Range, Segment, Stretch, chosen, stretches
from tickplant.store.selection import Clock, Selection
from tickplant.store.stored_streams import StoredStreams
from tickplant.writer.format.codec import ChunkDecoder
from tickplant.writer.format.columns import COLUMN_IDS
from tickplant.writer.index import Damage, WhileReading, journal_files
from tickplant.writer.journal import journal_dir

Records = NDArray[np.void]
OnDamage = Callable[[Damage], None]
Found = TypeVar("Found")

INSTRUMENTS_FILE: Final = "instruments.jsonl"
SKIP_HINT: Final = "--skip-damage leaves it out and goes on"
"""The hint about damage in the errors of commands; in Python, use `on_damage`."""

TRIES: Final = 3
"""How often to look for the records of a missing file where a compaction may have put them."""


class Store(Readings, StoredStreams):
    """One data directory. Cheap to make. Not thread-safe, but any number of stores may read at the same time.

    Damage is never skipped silently. Without `on_damage`, the first damaged part raises DamageError; with it, each is
    reported there, and reading continues after it.

    Reading may take long. `while_reading` is called for each file and chunk: a process may report in it, or raise to
    end the reading.
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
        self.while_reading = while_reading
        self.damages = 0  # reported so far
        self.indexes = SegmentIndex(while_reading)
        self.recent = RecentColumns()
        self._folders = FolderMemory(self.data_dir, self.indexes.forget_ranges)
        self._table_path = self.data_dir / INSTRUMENTS_FILE
        self._table: tuple[State | None, InstrumentTable] | None = None

    def another(self) -> Store:
        """A store of the same directory, for another thread."""
        return Store(self.data_dir, on_damage=self.on_damage, while_reading=self.while_reading)

    # -----------------------------------------------------------------------------------------------------------
    # Contents

    @property
    def instruments(self) -> InstrumentTable:
        """The current instrument table."""
        key = state_if_there(self._table_path)
        if self._table is None or self._table[0] != key:
            self._table = key, InstrumentTable.load(self._table_path)
        return self._table[1]

    @cached_property
    def series(self) -> SeriesTable:
        """The names of the series of values, by number; new ones are read on demand."""
        return SeriesTable(self.data_dir)

    def find(self, venue: str, symbol: str) -> list[Instrument]:
        """Rows of a symbol, oldest first. For an unknown one, raises StoreError, which lists the known ones."""
        table = self.instruments
        if found := table.find(venue, symbol):
            return found
        known = sorted({f"{row.venue} {row.symbol}" for row in table})
        hint = f"it has {', '.join(known[:20])}{', …' if len(known) > 20 else ''}" if known else "it is empty"
        raise StoreError(f"the store has no records of {venue} {symbol}; {hint}", path=self.data_dir)

    def producers(self, schema: Schema = Schema.TICK) -> list[str]:
        """Names of the producers with stored records of this schema."""
        return self._folders.producers(schema)

    def next_seq(self, producer: str, schema: Schema) -> int:
        """The seq that follows a producer's stored records; 0 if there are none."""
        while segments := self.segments(producer, schema):
            last = segments[-1]
            if last.span is not None:
                return last.span.last_seq + 1
            try:
                entries = self.indexes.of(last.path).entries
            except StoreError as error:
                if is_gone(error) and self.segments(producer, schema) != segments:
                    continue
                raise
            return max(last.first_seq, int(entries[-1]["header"]["last_seq"]) + 1 if len(entries) else 0)
        return 0

    def files(self, producer: str, schema: Schema) -> list[Path]:
        """Journal files of a producer, in order."""
        return journal_files(journal_dir(self.data_dir, producer, schema))

    def segments(self, producer: str, schema: Schema) -> list[Segment]:
        """Where a producer's records are, in order: in journal files, and in spans of daily files."""
        return self._folders.segments(producer, schema)

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
        """Records of one symbol, in stored order, chunk by chunk: non-empty arrays of `DTYPES[schema]`.

        The records of all ids that the symbol has had are returned; `instruments` has their scales. Several producers
        are merged by receive time. Raises StoreError for an unknown symbol, DamageError.
        """
        ids = [row.id for row in self.find(venue, symbol)]
        return iter(self.scan(schema=schema, ids=ids, kinds=kinds, start_ns=start_ns, end_ns=end_ns, clock=clock))

    def scan(
        self,
        venue: str | None = None,
        symbol: str | None = None,
        *,
        schema: Schema = Schema.TICK,
        ids: Iterable[int] | None = None,
        kinds: Iterable[Kind | str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        clock: Clock = "recv",
        producers: Iterable[str] | None = None,
    ) -> Scan:
        """Records of any instruments, merged: by receive time between producers, in stored order within each.

        Receive times within a producer may step back a little (a snapshot waits for the diffs before it); that never
        reorders its records. Iterate over the scan (raises DamageError), or get whole days as memory-mapped columns
        from `Scan.days`. Raises StoreError for an unknown venue or symbol.
        """
        if venue is not None or symbol is not None:
            ids = [row.id for row in self.select(venue, symbol)]
        selection = self._selection(schema, ids, kinds, start_ns, end_ns, clock)
        return Scan(self, schema, selection, self.producers(schema) if producers is None else list(producers))

    def read(
        self,
        producer: str,
        schema: Schema,
        selection: Selection,
        *,
        first_seq: int = 0,
        last_seq: int | None = None,
        decode: Decode[Records] | None = None,
    ) -> Iterator[Records]:
        """Selected records of one producer from one seq to another, inclusive, in stored order, chunk by chunk.

        `decode` replaces `ChunkDecoder.decode`. Raises DamageError.
        """
        asked = Range(producer, schema, selection, first_seq, last_seq)
        for stretch, parts, wounds in self.decoded(asked, decode or ChunkDecoder().decode):
            chosen = (selection.records(within(part, stretch)) for part in parts)
            found = in_order([records for records in chosen if len(records)], schema)
            done = 0
            for wound in [*wounds, None]:
                end = len(found) if wound is None else int(np.searchsorted(found["seq"], wound.first_seq or 0))
                if end > done:
                    yield found[done:end]
                    done = end
                if wound is not None:
                    self.report(wound)

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
        """The same records as `read`, as columns: decodes only those named, and those that the selection looks at.

        Raises DamageError; ValueError if the schema has no such column.
        """
        names = tuple(COLUMN_IDS[schema] if columns is None else columns)
        asked = Range(producer, schema, selection, first_seq, last_seq)
        known = dict.fromkeys((*names, *sorted(selection.columns))) or {"seq": None}  # at least one, to count rows
        decode = ChunkDecoder().columns
        for stretch, parts, wounds in self.decoded(
            asked, partial(decode, names=tuple(known)), partial(decode, names=tuple(known | {"seq": None}))
        ):
            found = [block for part in parts if (block := selected_rows(part, stretch, selection))]
            whole = found[0] if found else {}
            if len(found) > 1:
                whole = {name: np.concatenate([part[name] for part in found]) for name in whole}
                order = order_of(whole["seq"])
                whole = {name: column[order] for name, column in whole.items()}
            done, rows = 0, len(next(iter(whole.values()))) if whole else 0
            for wound in [*wounds, None]:
                end = rows if wound is None or not rows else int(np.searchsorted(whole["seq"], wound.first_seq or 0))
                if end > done:
                    yield ColumnBlock(schema, producer, end - done, {name: whole[name][done:end] for name in names})
                    done = end
                if wound is not None:
                    self.report(wound)

    def decoded(
        self, asked: Range, decode: Decode[Found], with_seq: Decode[Found] | None = None
    ) -> Iterator[tuple[Stretch, list[Found], list[Damage]]]:
        """Stretches, with what their chunks hold and the damage in them, sorted by its first seq.

        `with_seq` decodes chunks whose rows must be told apart by seq. If a compaction moves records meanwhile, they
        are read from their new place.
        """
        segments, tries = self.segments(asked.producer, asked.schema), 0
        with ChunkFiles(self.while_reading) as files:
            while True:
                try:
                    for stretch in self.stretches(asked, segments):
                        apart = stretch.damage or len(stretch.chunks) > 1 or stretch.cut
                        how = with_seq if with_seq and apart else decode
                        found = [files.decode(chunk, asked.schema, how) for chunk in stretch.chunks]
                        asked = asked._replace(first_seq=max(asked.first_seq, stretch.last_seq + 1))
                        tries = 0
                        wounds = [*stretch.damage, *(part for part in found if isinstance(part, Damage))]
                        wounds.sort(key=lambda part: part.first_seq or 0)
                        yield stretch, [part for part in found if not isinstance(part, Damage)], wounds
                except StoreError as error:
                    tries += 1
                    if not is_gone(error) or tries > TRIES:
                        raise
                    segments = self.segments(asked.producer, asked.schema)
                else:
                    return

    def stretches(self, asked: Range, segments: list[Segment] | None = None) -> Iterator[Stretch]:
        """Where the records asked for may be, in order, by the indexes alone. Raises StoreError."""
        for segment, contents in self._contents(segments or self.segments(asked.producer, asked.schema), asked):
            yield from stretches(contents, segment, asked)

    def chunks(self, asked: Range) -> Iterator[NDArray[np.void]]:
        """Index entries of the chunks that may hold the records, one array per segment. Raises StoreError."""
        for segment, contents in self._contents(self.segments(asked.producer, asked.schema), asked):
            yield contents.entries[chosen(contents, segment, asked)]

    def _contents(self, segments: list[Segment], asked: Range) -> Iterator[tuple[Segment, Contents]]:
        for place in self.indexes.near(segments, asked.wanted):
            segment = segments[place]
            if segment.last_seq is not None and segment.last_seq < asked.first_seq:
                continue
            if asked.last_seq is not None and segment.first_seq > asked.last_seq:
                break
            yield segment, self.indexes.contents(segments, place, asked.wanted.ids)

    def newest_first(
        self,
        producer: str,
        schema: Schema,
        selection: Selection,
        *,
        since_ns: int | None = None,
        last_seq: int | None = None,
    ) -> Iterator[Stretch]:
        """Stretches that may hold selected records, newest first; damage found by an index is skipped.

        With `since_ns`, ends at the first file or day that was received entirely before. Raises StoreError.
        """
        segments, tries = self.segments(producer, schema), 0
        asked = Range(producer, schema, selection, last_seq=last_seq)
        while True:
            try:
                for place in reversed(range(len(segments))):
                    contents = self.indexes.contents(segments, place, selection.ids)
                    times = contents.entries["header"]["ts_recv_max"]
                    if since_ns is not None and len(times) and int(times.max()) < since_ns:
                        return
                    for stretch in reversed(stretches(contents, segments[place], asked)):
                        if stretch.chunks:
                            asked = asked._replace(last_seq=stretch.first_seq - 1)
                            yield stretch
            except StoreError as error:
                tries += 1
                if not is_gone(error) or tries > TRIES:
                    raise
                segments = self.segments(producer, schema)
            else:
                return

    def first(self, producer: str, schema: Schema, selection: Selection) -> Stretch | None:
        """The oldest stretch that may hold selected records. Raises StoreError."""
        found = self.stretches(Range(producer, schema, selection))
        return next((stretch for stretch in found if stretch.chunks), None)

    def records(self, stretch: Stretch) -> Records:
        """The records of a stretch, of all instruments, by seq; damage is reported. Raises DamageError."""
        asked = Range(stretch.producer, stretch.schema, Selection(), stretch.first_seq, stretch.last_seq)
        try:
            found = list(self._chunks(stretch, stretch.chunks))
        except StoreError as error:
            if not is_gone(error):
                raise
            found = list(self.read(*asked[:3], first_seq=asked.first_seq, last_seq=asked.last_seq))
        return in_order(found, stretch.schema)

    def book(self, venue: str, symbol: str, at_ns: int, *, orders: bool = False, crossed: Crossed = "flag") -> Book:
        """The book after all records received up to and including `at_ns`.

        It is rebuilt from the newest snapshot before that time, or from a later checkpoint. Without any snapshot, the
        book is empty and stale; after damage that was reported, it is stale until the next snapshot. Raises StoreError
        for an unknown symbol, DamageError.

        Args:
            venue: the symbol's venue.
            symbol: the symbol.
            at_ns: nanoseconds since the Unix epoch.
            orders: include each order, if it is a book of orders.
            crossed: as in the configuration of its feed: `match` resolves a crossed book of orders.
        """
        return stored_books.book_at(self, self.find(venue, symbol), at_ns, orders=orders, crossed=crossed)

    def record(self, producer: str, schema: Schema, seq: int) -> np.void | None:
        """The record of this seq; None if it is not stored, or if its damage was reported. Raises DamageError."""
        asked = Range(producer, schema, Selection(), seq, seq)
        for _, parts, wounds in self.decoded(asked, partial(record_of, ChunkDecoder(), seq)):
            for records in parts:
                if len(records):
                    found: np.void = records[0]
                    return found
            for wound in wounds:
                self.report(wound)
        return None

    def _chunks(self, stretch: Stretch, chunks: Iterable[Chunk]) -> Iterator[Records]:
        """The records of these chunks that belong to their stretch; damage is reported."""
        with ChunkFiles(self.while_reading) as files:
            for chunk in chunks:
                found = files.decode(chunk, stretch.schema, own_decoder().decode)
                if isinstance(found, Damage):
                    self.report(found)
                else:
                    yield within(found, stretch)

    def report(self, damage: Damage) -> None:
        """Count damage, and pass it to `on_damage`. Without that, raises DamageError."""
        self.damages += 1
        if self.on_damage is not None:
            return self.on_damage(damage)
        until = "the end" if damage.last_seq is None else damage.last_seq
        lost = "" if damage.first_seq is None else f"; records {damage.first_seq} to {until} are missing"
        raise DamageError(damage.reason + lost, path=damage.path, offset=damage.offset)
