"""Reads DBN versions 1 to 3: metadata, then records as in `records/dbn_layouts.py`. Numpy reads many at once."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.errors import FeedError
from tickplant.feeds.venues.databento import venue as facts
from tickplant.records.dbn_layouts import LAYOUTS, TYPES

MAGIC: Final = b"DBN"
VERSIONS: Final = (1, 2, 3)
HEAD_BYTES: Final = 16
METADATA_BYTES: Final = 64 << 20
"""Longest metadata accepted: some hundred times that of all options of a day."""

_FIXED: Final = struct.Struct("<16sHQQQ")
_FIXED_BYTES: Final = 100


class Mappings(NamedTuple):
    """Symbols of instrument ids by day: by id, shape (n,) each; dates such as 20240131, the end exclusive."""

    idents: NDArray[np.int64]
    first: NDArray[np.uint32]
    end: NDArray[np.uint32]
    symbols: NDArray[np.str_]

    def symbol(self, ident: int, date: int) -> str:
        """Symbol of an instrument id on a day; empty if it has none."""
        low, high = np.searchsorted(self.idents, (ident, ident + 1)).tolist()
        for place in range(low, high):
            if self.first[place] <= date < self.end[place]:
                return str(self.symbols[place])
        return ""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The beginning of a stream."""

    version: int
    dataset: str
    schema: str  # empty: several schemas
    start_ns: int
    end_ns: int  # exclusive; NO_TIME: open
    symbol_in: int  # how symbols were requested and resolved: 0 instrument id, 1 raw symbol, …
    symbol_out: int
    ts_out: bool
    mappings: Mappings


class DamageError(FeedError):
    """A stream of DBN is invalid from some place on."""


def metadata_bytes(head: bytes) -> int:
    """Length of the metadata that begins with these eight bytes. Raises FeedError for an unknown version."""
    version = head[3]
    if version not in VERSIONS:
        raise FeedError(
            f"DBN version {version}: versions 1 to 3 can be read; convert the file with Databento's dbn, or update "
            "tickplant"
        )
    length = 8 + int.from_bytes(head[4:8], "little")
    if not 8 + _FIXED_BYTES <= length <= METADATA_BYTES:
        raise DamageError(f"the DBN metadata are damaged: they claim to be {length:,} bytes long")
    return length


def parse_metadata(data: bytes) -> Metadata:
    """Parse whole metadata. Raises FeedError if they are damaged, or of an unknown schema."""
    version = data[3]
    dataset, schema, start_ns, end_ns, _ = _FIXED.unpack_from(data, 8)
    at = 50 + 8 * (version == 1)
    symbol_in, symbol_out, ts_out = data[at : at + 3]
    if schema != facts.MIXED_SCHEMAS and schema >= len(facts.SCHEMAS):
        raise FeedError(f"DBN schema {schema} is not known: {', '.join(facts.SCHEMAS)} are; update tickplant")
    width = 22 if version == 1 else int.from_bytes(data[53:55], "little")
    cursor = _Cursor(data, 8 + _FIXED_BYTES, width)
    try:
        cursor.skip(cursor.count())
        for _ in range(3):  # symbols; those found for part of the time; those not found
            cursor.skip(cursor.count() * width)
        mappings = _mappings(cursor, is_found=symbol_out == 0)
    except (struct.error, ValueError) as error:
        raise DamageError(f"the DBN metadata are damaged: {error}") from None
    return Metadata(
        version=version,
        dataset=dataset.rstrip(b"\0").decode(errors="replace"),
        schema="" if schema == facts.MIXED_SCHEMAS else facts.SCHEMAS[schema],
        start_ns=start_ns,
        end_ns=end_ns,
        symbol_in=symbol_in,
        symbol_out=symbol_out,
        ts_out=bool(ts_out),
        mappings=mappings,
    )


class _Cursor:
    """Reads the variable part of the metadata. Raises struct.error or ValueError beyond its end."""

    def __init__(self, data: bytes, at: int, width: int) -> None:
        self._data, self._at, self._width = data, at, width

    def count(self) -> int:
        (number,) = struct.unpack_from("<I", self._data, self._at)
        self._at += 4
        return int(number)

    def skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise ValueError("they end in the middle")

    def texts(self, count: int) -> NDArray[np.bytes_]:
        start = self._at
        self.skip(count * self._width)
        return np.frombuffer(self._data, f"S{self._width}", count, start)

    def intervals(self) -> NDArray[np.void]:
        layout = np.dtype([("first", "<u4"), ("end", "<u4"), ("found", f"S{self._width}")])
        count, start = self.count(), self._at
        self.skip(count * layout.itemsize)
        return np.frombuffer(self._data, layout, count, start)


def _mappings(cursor: _Cursor, *, is_found: bool) -> Mappings:
    """`is_found`: symbols resolved to instrument ids; else instrument ids resolved to symbols."""
    asked, blocks = [], []
    for _ in range(cursor.count()):
        asked.append(cursor.texts(1))
        blocks.append(cursor.intervals())
    if not blocks:
        return NO_MAPPINGS
    rows = np.concatenate(blocks)
    names = np.repeat(np.concatenate(asked), [len(block) for block in blocks])
    idents, symbols = (rows["found"], names) if is_found else (names, rows["found"])
    numbers = np.char.isdigit(idents) & (np.char.str_len(idents) < 11) & (symbols != b"")
    order = np.argsort(idents[numbers].astype(np.int64), kind="stable")
    chosen = rows[numbers][order]
    text = np.char.decode(symbols[numbers][order], errors="replace")
    return Mappings(idents[numbers][order].astype(np.int64), chosen["first"], chosen["end"], text)


NO_MAPPINGS: Final = Mappings(
    np.zeros(0, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.uint32), np.zeros(0, np.str_)
)


class Run(NamedTuple):
    """Consecutive records of one type and length."""

    kind: int
    start: int  # first byte, in the data searched
    size: int  # bytes of each
    records: int


def runs(data: bytes, start: int = 0) -> Iterator[Run]:
    """The whole records in these bytes, in order. Raises DamageError at an invalid record."""
    at, end = start, len(data)
    while end - at >= 2 and end - at >= (size := 4 * data[at]):
        if size < HEAD_BYTES:
            raise DamageError(f"byte {at - start:,} is not the beginning of a record: it would have {size} bytes")
        count, window, most = 1, 64, (end - at) // size
        while count < most:
            room = min(window, most - count)
            heads: NDArray[np.uint16] = np.ndarray((room + 1,), "<u2", data, at + (count - 1) * size, (size,))
            same = heads == heads[0]
            if not same.all():
                count += int(same.argmin()) - 1
                break
            count, window = count + room, window * 8
        yield Run(data[at + 1], at, size, count)
        at += count * size


def rows_of_run(data: bytes, run: Run, *, ts_out: bool) -> NDArray[np.void] | None:
    """The records of a run, shape (records,), with the fields of `LAYOUTS`; None for an unknown type.

    Raises DamageError if a record of this type cannot have this length.
    """
    layout = LAYOUTS.get((run.kind, run.size - 8 * ts_out))
    if layout is None and run.kind in TYPES:
        raise DamageError(f"a record of type {run.kind:#04x} cannot be {run.size} bytes long")
    return None if layout is None else np.ndarray((run.records,), layout, data, run.start, (run.size,))
