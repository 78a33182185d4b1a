"""Reads all selected rows of a producer at once, directly into the caller's arrays, with one thread per core.

    stretches ──(worker 1)──> rows 0 …      ┐
              ──(worker 2)──> rows 65,536 … ┴─> one array a column

The index gives the number of rows in each chunk, so a chunk's place is known before it is decoded: blocks need no
joining, and no page of memory is touched twice. Gaps of rows that the selection leaves out are closed afterwards. The
threads end before the call does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.records.layouts import DTYPES
from tickplant.records.merge import Columns, join_columns
from tickplant.store.answer_memory import ANSWERS
from tickplant.store.chunk_files import ChunkFiles, own_decoder, selected_rows
from tickplant.store.segment_index import is_gone
from tickplant.store.segments import Chunk, Range, Stretch
from tickplant.store.selection import Selection
from tickplant.writer.index import Damage

if TYPE_CHECKING:
    from tickplant.store.reader import Store

_FEW: Final = 3
"""Up to this many stretches are decoded and joined instead: most of the memory would be for unwanted rows."""
PART_ROWS: Final = 1 << 15
PARTS_A_WORKER: Final = 4
"""The fewest parts that are worth a thread of their own: fewer are decoded before a thread has started."""


def read_whole(
    store: Store, asked: Sequence[Range], names: Sequence[str], check: Callable[[Columns], None] = lambda _: None
) -> Columns | None:
    """These columns of all rows asked for, by name: arrays of shape (rows,) and the dtype of their field.

    `check` gets the instruments of all rows, and their series if that is one of the columns, part by part and in any
    thread; it may raise. The result is None, and the caller must read block by block, if several producers have such
    rows, if rows of several chunks interleave, or if records have just been moved. Raises DamageError, StoreError.
    """
    try:
        found = [(each, stretches) for each in asked if (stretches := list(store.stretches(each)))]
        if len(found) != 1:
            return None
        ((its, stretches),) = found
        if any(len(stretch.chunks) > 1 for stretch in stretches):
            return None
        return _Reading(store, its, names, stretches, check).run()
    except StoreError as error:
        if is_gone(error):
            return None
        raise


class _Reading:
    def __init__(
        self,
        store: Store,
        asked: Range,
        names: Sequence[str],
        stretches: list[Stretch],
        check: Callable[[Columns], None],
    ) -> None:
        self._store = store
        self._check = check
        self._schema = asked.schema
        self._selection = asked.wanted
        self._stretches = stretches
        self._names = tuple(names)
        self._checked = ("instrument", *(name for name in names if name == "series"))
        self._dtype = DTYPES[asked.schema]
        self._ends: list[int] = []
        self._columns: Columns = {}
        if len(stretches) > _FEW:
            self._make_room()

    def _make_room(self) -> None:
        counts = [int(chunk.entry["header"]["rows"]) for stretch in self._stretches for chunk in stretch.chunks]
        ends = iter(np.cumsum(counts).tolist())
        # A stretch without a chunk is pure damage.
        self._ends = [next(ends) if stretch.chunks else 0 for stretch in self._stretches]
        self._columns = {name: ANSWERS.array(sum(counts), self._dtype[name]) for name in self._names}

    def run(self) -> Columns:
        if len(self._stretches) <= _FEW:
            with self._opened() as files:
                return self._joined(files)
        parts = self._parts()
        workers = min(len(os.sched_getaffinity(0)), len(parts) // PARTS_A_WORKER)
        if workers < 2:
            return self._collect(map(self._decode_part, parts))
        with ThreadPoolExecutor(workers, "tickplant-decode") as pool:
            try:
                return self._collect(pool.map(self._decode_part, parts))
            finally:
                pool.shutdown(cancel_futures=True)

    def _parts(self) -> list[slice]:
        """Groups of stretches, each for one thread. Small chunks are grouped: threads would wait for each other."""
        parts, begin = [], 0
        start = 0  # row
        for place, end in enumerate(self._ends):
            if end - start >= PART_ROWS:
                parts.append(slice(begin, place + 1))
                begin, start = place + 1, end
        return [*parts, slice(begin, len(self._ends))]

    def _joined(self, files: ChunkFiles) -> Columns:
        """The columns of a few chunks, of which mostly only a few rows are wanted."""
        parts: list[Columns] = []
        wounds: list[Damage] = []
        for stretch in self._stretches:
            wounds += stretch.damage
            for chunk in stretch.chunks:
                found = self._wanted_of(files, stretch, chunk)
                if isinstance(found, Damage):
                    wounds.append(found)
                elif found is not None:
                    self._check(found)
                    parts.append({name: found[name] for name in self._names})
        for wound in wounds:
            self._store.report(wound)
        return join_columns(parts or [{name: np.empty(0, self._dtype[name]) for name in self._names}])

    def _wanted_of(self, files: ChunkFiles, stretch: Stretch, chunk: Chunk) -> dict[str, NDArray[Any]] | Damage | None:
        """The wanted rows of a chunk, in arrays of their own; None if there are none.

        The decoded chunk is cached for a while: a short range is mostly followed by an adjacent one.
        """
        selection, recent = self._selection.left(chunk.entry["header"]), self._store.recent
        names = self._needed(stretch, selection)
        key = recent.key(chunk, names)
        known = recent.get(key)
        if known is not None:
            kept = selected_rows(known, stretch, selection)
            return {name: column.copy() for name, column in known.items()} if kept is known else kept
        found = files.decode(chunk, self._schema, partial(own_decoder().columns, names=names))
        if isinstance(found, Damage):
            return found
        kept = selected_rows(found, stretch, selection)
        if kept is not found:
            recent.keep(key, found)
        return kept

    def _needed(self, stretch: Stretch, selection: Selection) -> tuple[str, ...]:
        """The columns to decode: those asked for, those that tell which rows are wanted, and those to be checked."""
        also = (*sorted(selection.columns), *(("seq",) if stretch.cut else ()), "instrument")
        return tuple(dict.fromkeys((*self._names, *also)))

    def _opened(self) -> ChunkFiles:
        return ChunkFiles(lambda: None)  # `while_reading` is called in the caller's thread, not here

    def _decode_part(self, part: slice) -> list[int | Damage]:
        checked: list[Columns] = []
        with self._opened() as files:
            decode = partial(self._decode, files, checked)
            counts = [*map(decode, self._stretches[part], self._ends[part])]
        if checked:  # all at once: a check of a small chunk costs as much as one of a large chunk
            self._check(join_columns(checked))
        return counts

    def _decode(self, files: ChunkFiles, checked: list[Columns], stretch: Stretch, end: int) -> int | Damage:
        """Decode the chunk of a stretch into its place; returns how many rows are wanted, which are moved to the front.

        Their columns to be checked are appended to `checked`.
        """
        if not stretch.chunks:
            return 0
        (chunk,) = stretch.chunks
        header = chunk.entry["header"]
        start = end - int(header["rows"])
        selection = self._selection.left(header)
        names, into = self._needed(stretch, selection), partial(self._place, start)
        found = files.decode(chunk, self._schema, partial(own_decoder().columns, names=names, into=into))
        if isinstance(found, Damage):
            return found
        kept = selected_rows(found, stretch, selection)
        if kept is None:
            return 0
        checked.append({name: kept[name] for name in self._checked})
        if kept is found:
            return end - start
        count = len(next(iter(kept.values())))
        for name, column in self._columns.items():
            column[start : start + count] = kept[name]
        return count

    def _place(self, start: int, name: str, rows: int) -> NDArray[Any]:
        """Where to decode a column of a chunk whose first row is `start`; a new array for one that is not returned."""
        column = self._columns.get(name)
        return np.empty(rows, self._dtype[name]) if column is None else column[start : start + rows]

    def _collect(self, decoded: Iterator[list[int | Damage]]) -> Columns:
        """The columns once everything is decoded, with gaps of unwanted rows closed."""
        counts = chain.from_iterable(decoded)
        rows = 0
        wounds: list[Damage] = []
        for stretch, end, count in zip(self._stretches, self._ends, counts, strict=True):
            self._store.while_reading()
            found = [*stretch.damage, *([count] if isinstance(count, Damage) else ())]
            wounds += sorted(found, key=lambda part: part.first_seq or 0)
            if isinstance(count, Damage) or not count:
                continue
            start = end - int(stretch.chunks[0].entry["header"]["rows"])
            if start > rows:
                for column in self._columns.values():
                    column[rows : rows + count] = column[start : start + count]
            rows += count
        for wound in wounds:  # only now: a reading that starts again elsewhere would report them twice
            self._store.report(wound)
        whole = max((len(column) for column in self._columns.values()), default=0)
        # If less than half of the memory is used, copy the rows, to release the rest.
        keep: Callable[[NDArray[Any]], NDArray[Any]] = np.copy if 2 * rows < whole else np.asarray
        return {name: keep(column[:rows]) for name, column in self._columns.items()}
