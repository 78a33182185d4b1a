"""Decodes the chunks of files, and keeps a few files open meanwhile."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import DamageError, StoreError
from tickplant.records.layouts import DTYPES, Schema
from tickplant.records.merge import join_records
from tickplant.store.segments import Chunk, Stretch
from tickplant.store.selection import Selection
from tickplant.writer.format.chunk_layout import HEADER, ChunkHeader
from tickplant.writer.format.codec import ChunkDecoder
from tickplant.writer.index import Damage, WhileReading, open_file

Records = NDArray[np.void]

OPEN_FILES: Final = 64
"""A limit, since a span may have more files than a process may open."""


class _Own(threading.local):
    """A decoder for each thread, which keeps its working memory."""

    def __init__(self) -> None:
        self.decoder = ChunkDecoder()


_OWN: Final = _Own()


def own_decoder() -> ChunkDecoder:
    """The decoder of this thread: making one costs as much as decoding a small chunk."""
    return _OWN.decoder


Found_co = TypeVar("Found_co", covariant=True)


class Decode(Protocol[Found_co]):
    """A method of ChunkDecoder."""

    def __call__(self, buffer: bytes, /, *, path: Path, origin: int) -> tuple[Found_co, ChunkHeader, int]:
        """What a chunk holds, its header, and the offset after it."""


class ColumnBlock(NamedTuple):
    """Columns of consecutive selected records of one producer, in stored order.

    Attributes:
        schema: schema of the records.
        producer: the producer that recorded them.
        rows: number of records, at least 1.
        columns: by name, arrays of shape (rows,) and the dtype of the field in `DTYPES[schema]`, read-only to callers.
    """

    schema: Schema
    producer: str
    rows: int
    columns: dict[str, NDArray[Any]]


class ChunkFiles:
    """The files that one reading keeps open. A context manager."""

    def __init__(self, while_reading: WhileReading) -> None:
        self._while_reading = while_reading
        self._fds: dict[Path, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def decode(self, chunk: Chunk, schema: Schema, decode: Decode[Found_co]) -> Found_co | Damage:
        """What a chunk holds, or the Damage that prevents decoding. Raises StoreError if the file cannot be read."""
        path, entry = chunk
        offset, header = int(entry["offset"]), entry["header"]
        self._while_reading()
        try:
            data = os.pread(self._fd(path), int(header["length_bytes"]), offset)
            if data[: HEADER.itemsize] != header.tobytes():
                why = "the index does not describe the chunk; remove the .tpx file, which is then rebuilt"
                raise DamageError(why, path=path, offset=offset)
            if int(header["schema"]) != int(schema):  # comparing numpy with an enum costs three attribute look-ups
                raise DamageError(f"the chunk holds no {schema.name.lower()} records", path=path, offset=offset)
            return decode(data, path=path, origin=offset)[0]
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", path=path) from error
        except DamageError as error:
            reason = str(error).split(f"at byte {offset}: ", 1)[-1]
            seqs = int(header["first_seq"]), int(header["last_seq"])
            return Damage(str(path), offset, int(header["length_bytes"]), reason, *seqs)

    def _fd(self, path: Path) -> int:
        fd = self._fds.get(path)
        if fd is None:
            if len(self._fds) >= OPEN_FILES:
                self._close()
            fd = self._fds[path] = open_file(path)
        return fd

    def _close(self) -> None:
        while self._fds:
            os.close(self._fds.popitem()[1])


def in_order(parts: list[Records], schema: Schema) -> Records:
    """The records of several chunks, ordered by seq."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return np.zeros(0, DTYPES[schema])
    joined = join_records(parts)
    return joined[order_of(joined["seq"])]


def order_of(seq: NDArray[np.uint64]) -> NDArray[np.intp]:
    """The indices that sort these seqs, shape (n,), ascending and stable."""
    if not len(seq):
        return np.zeros(0, np.intp)
    low = seq.min()
    width = int(seq.max() - low) + 1
    if width <= 16 * len(seq):
        # Mostly dense, as in a stripe: ten times faster than sorting.
        places = np.full(width, -1, np.intp)
        places[seq - low] = np.arange(len(seq))
        order: NDArray[np.intp] = places[places >= 0]
        if len(order) == len(seq):
            return order
    return np.argsort(seq, kind="stable")


def within(records: Records, stretch: Stretch) -> Records:
    """The records that belong to the stretch."""
    if not stretch.cut:
        return records
    seq = records["seq"]
    return records[(seq >= stretch.first_seq) & (seq <= stretch.last_seq)]


def selected_rows(
    columns: dict[str, NDArray[Any]], stretch: Stretch, selection: Selection
) -> dict[str, NDArray[Any]] | None:
    """The wanted rows of a chunk's columns; None if no row is wanted."""
    wanted = selection.rows(columns)
    if stretch.cut:
        seq = columns["seq"]
        inside = (seq >= stretch.first_seq) & (seq <= stretch.last_seq)
        wanted = inside if wanted is None else wanted & inside
    if wanted is None:
        return columns
    places = np.flatnonzero(wanted)  # once, since numpy would count a mask again for each column
    if not len(places):
        return None
    start, end = int(places[0]), int(places[-1]) + 1
    if end - start == len(places):  # contiguous, as for most ranges of times
        return {name: column[start:end].copy() for name, column in columns.items()}
    return {name: column[places] for name, column in columns.items()}


def record_of(
    decoder: ChunkDecoder, seq: int, buffer: bytes, /, *, path: Path, origin: int
) -> tuple[Records, ChunkHeader, int]:
    """The record of this seq in a chunk, or no record. The whole chunk is decoded only if it holds the record."""
    columns, header, end = decoder.columns(buffer, names=("seq",), path=path, origin=origin)
    places = np.flatnonzero(columns["seq"] == np.uint64(seq))
    if not len(places):
        return np.zeros(0, DTYPES[Schema(header.schema)]), header, end
    return decoder.decode(buffer, path=path, origin=origin)[0][places[:1]], header, end
