"""Sections of a chunk of version 2: columns that share a zstd frame. Does no I/O.

`chunk_layout.py` describes the format of a section; `columns.py` has the columns and what predicts their rows;
`transform.py` the steps; `codec.py` puts sections into chunks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from tickplant.records.layouts import Schema
from tickplant.records.schemas import FACTS
from tickplant.writer.format import describing, restoring, transform
from tickplant.writer.format.chunk_layout import MAX_COLUMNS
from tickplant.writer.format.columns import (
    APART,
    BASE,
    COLUMN_IDS,
    GROUP,
    GROUPED,
    HAS_BASE,
    HAS_DIVISOR,
    PREDICTOR_BITS,
    ROW,
    SIGNED,
    STREAM,
    Contexts,
    to_words,
)
from tickplant.writer.format.section_frames import FrameMaker

RAW: Final = 0
"""`type` of a section with uncompressed planes."""
ZSTD: Final = 1
"""`type` of a section whose planes are a zstd frame."""

SMALL_ROWS: Final = 8192
"""Chunks of fewer rows are one section: code tables for each column would cost more than they save."""

BASE_FROM: Final = {
    "high": "open",
    "low": "open",
    "close": "open",
    "buy_volume": "volume",
    "ask_price": "bid_price",
    "ask_size": "bid_size",
}
"""The column whose base is the origin of a column's base, if both are in the same section."""

# Columns that share a section of a large chunk. Those of one event have the same pattern in the grouped order, which
# zstd finds; ids and flags cost little to read together with the keys.
_TOGETHER: Final[dict[Schema, frozenset[str]]] = {
    schema: frozenset((*(name for name, _ in facts.keys), *facts.beside_keys)) for schema, facts in FACTS.items()
}

# Predictors and orders to try for a column; the smallest frame is stored. Measured on the recordings: sizes of levels
# do best unpredicted, since a deletion is a 0; for sizes of quotes, and for order ids, it depends on the venue.
_AS_IT_IS: Final = ((BASE, False),)
_AMOUNT: Final = ((BASE, True), (GROUP, True))
_OTHERWISE: Final = ((GROUP, True),)
_CANDIDATES: Final[dict[str, tuple[tuple[int, bool], ...]]] = {
    "instrument": _AS_IT_IS,
    "kind": _AS_IT_IS,
    "side": _AS_IT_IS,
    "interval_s": _AS_IT_IS,
    "series": _AS_IT_IS,
    "flags": ((BASE, True),),
    "trades": ((BASE, True),),
    "volume": ((BASE, True),),
    "buy_volume": ((BASE, True),),
    "sell_volume": ((BASE, True),),
    "size": _AMOUNT,
    "bid_size": _AMOUNT,
    "ask_size": _AMOUNT,
    "order_id": ((GROUP, True), (ROW, False)),
    "ts_recv": ((ROW, True),),
    "ts_event": ((STREAM, True), (ROW, True)),
    "venue_seq": ((STREAM, True),),
    "seq": ((ROW, False),),
}

_ALSO: Final[dict[str, tuple[tuple[int, bool], ...]]] = {"price": ((STREAM, True),)}
"""Also tried where size matters more than time: with it, USD-M prices take 2% less, spot prices 4% more."""

_APART_COLUMNS: Final = frozenset({"price", "size", "venue_seq", "order_id"})
"""Columns where a STATUS or GAP holds a code or a count: a single one would spoil divisor and width of all prices."""

_NO_ROWS: Final = np.empty(0, np.int32)
_NO_ENDS: Final = np.empty(0, np.int64)
_MASK: Final = 2**64 - 1
_TIMES: Final = ("ts_", "book_ts_")


class Described(NamedTuple):
    """The description of a column in a section: id, bits of its transform, bytes per row, base, divisor, rows apart.

    And the offset of its planes among those of the section.
    """

    number: int
    bits: int
    width: int
    base: int
    divisor: int
    apart: int
    start: int = 0


class _Candidate(NamedTuple):
    """One way to store a column: its description, its planes, and their frame, if it was made."""

    column: Described
    planes: bytes
    frame: bytes = b""


class Origins(NamedTuple):
    """The origins of bases that come from the chunk's header."""

    first_seq: int
    ts_recv: int

    def of(self, name: str, bases: Mapping[str, int]) -> int:
        """The number from which a column's base is stored as a difference; `bases`: those of the columns before it."""
        if name.startswith(_TIMES):
            return self.ts_recv
        return self.first_seq if name == "seq" else bases.get(BASE_FROM.get(name, ""), 0)


def shared_sections(schema: Schema, rows: int) -> list[list[str]]:
    """The columns of each section of a chunk with this many rows; the keys are in the first section."""
    names = list(COLUMN_IDS[schema])
    if rows < SMALL_ROWS:
        return [names]
    first = [name for name in names if name in _TOGETHER[schema]]
    return [first, *([name] for name in names if name not in first)]


# ---------------------------------------------------------------------------------------------------------------
# Encoding


def encode_section(
    schema: Schema,
    columns: Mapping[str, NDArray[np.integer]],
    contexts: Contexts,
    origins: Origins,
    frames: FrameMaker,
) -> tuple[int, int, bytes]:
    """`(type, columns, bytes)` of a section of these columns; a column that is 0 in every row is left out."""
    told, bases, stored = bytearray(), dict[str, int](), list[_Candidate]()
    for name, column in columns.items():
        candidate = _describe(schema, name, column, contexts, frames)
        described = candidate.column
        if described.bits or described.width:
            bases[name] = described.base
            told += _tell(described, origins.of(name, bases))
            stored.append(candidate)
    planes = b"".join([candidate.planes for candidate in stored])
    frame = stored[0].frame if len(stored) == 1 else b""
    if planes and not frame:
        rows = len(next(iter(columns.values())))
        # Columns that share a section have one-byte planes of similar patterns, and compress better together.
        by_plane = frames.thorough and rows >= SMALL_ROWS and len(stored) == 1
        frame = frames.frame_of_planes(planes, stored[0].column.width, rows) if by_plane else frames.frame(planes)
    packed = len(frame) < len(planes)
    return (ZSTD if packed else RAW), len(stored), bytes(told) + (frame if packed else planes)


def _tell(column: Described, origin: int) -> bytes:
    told = bytearray((column.number, column.bits, column.width))
    if column.bits & HAS_BASE:
        offset = (column.base - origin) & _MASK
        told += _varint(2 * offset if offset < 2**63 else 2 * (2**64 - offset) - 1)
    if column.bits & HAS_DIVISOR:
        told += _varint(column.divisor)
    if column.bits & APART:
        told += _varint(column.apart)
    return bytes(told)


def _varint(number: int) -> bytes:
    """LEB128: seven bits per byte, the lowest first; 0x80 is set if more follow."""
    made = bytearray()
    while number >= 0x80:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _describe(
    schema: Schema, name: str, column: NDArray[np.integer], contexts: Contexts, frames: FrameMaker
) -> _Candidate:
    """The smallest candidate for this column."""
    values, number = to_words(column), COLUMN_IDS[schema][name]
    if transform.is_progression(values):
        step = int(values[1] - values[0]) if len(values) > 1 else 0
        return _Candidate(_described(number, 0, 0, int(values[0]), step, 0), b"")
    apart = contexts.apart() if name in _APART_COLUMNS else ()
    kept = b""
    if 0 < len(apart) < len(values):
        kept = values[apart].tobytes()
        values = _without(values, contexts.apart())
        column = values.view(np.int64) if column.dtype.kind == "i" else values
    residuals = np.empty(len(values), np.uint64)
    found: list[_Candidate] = []
    ways = _CANDIDATES.get(name, _OTHERWISE)
    if frames.thorough:
        ways = (*ways, *_ALSO.get(name, ()))
    for predictor, grouped in ways:
        base = int(column.min() if predictor == BASE else column[0]) & _MASK
        bits = _residuals(values, predictor, grouped=grouped, base=base, contexts=contexts, residuals=residuals)
        divisor, largest, signed = transform.measure(residuals)
        width = transform.width_of(int(largest), int(divisor), signed=bool(signed))
        planes = np.empty(width * len(values), np.uint8)
        transform.pack(residuals, np.uint64(divisor), bool(signed), width, planes)
        bits |= (SIGNED if signed else 0) | (APART if kept else 0)
        step = int(divisor) if divisor != 1 else 0
        described = _described(number, bits, width, base, step, len(kept) // 8)
        found.append(_Candidate(described, planes.tobytes() + kept))
    if len(found) == 1 or found[0] == found[1]:
        return found[0]
    if len(values) > SMALL_ROWS or frames.thorough:  # the frame of the best one is made with the section
        sizes = [frames.likely_bytes(planes, described.width, len(values)) for described, planes, _ in found]
        return found[sizes.index(min(sizes))]
    made = [frames.frame(candidate.planes) for candidate in found]
    best = min(range(len(found)), key=lambda place: len(made[place]))
    return found[best]._replace(frame=made[best])


def _described(number: int, bits: int, width: int, base: int, divisor: int, apart: int) -> Described:
    bits |= (HAS_BASE if base else 0) | (HAS_DIVISOR if divisor else 0)
    return Described(number, bits, width, base, divisor, apart)


def _residuals(
    values: transform.Words, predictor: int, *, grouped: bool, base: int, contexts: Contexts, residuals: transform.Words
) -> int:
    """Steps 1 and 2, into `residuals`; returns the transform bits for them."""
    order, ends = contexts.sorted_by(STREAM if predictor == STREAM else GROUP) if grouped else (_NO_ROWS, None)
    if ends is None or not len(order):  # in a single group, the predecessor is the row before
        predictor = min(predictor, ROW)
        transform.make_residuals(values, predictor, np.uint64(base), _NO_ROWS, _NO_ROWS, residuals)
        return predictor
    if predictor < STREAM:
        transform.make_residuals(values, predictor, np.uint64(base), _NO_ROWS, order, residuals)
    else:
        transform.make_grouped_residuals(values, np.uint64(base), order, ends, residuals)
    return predictor | GROUPED


def _without(values: transform.Words, apart: NDArray[np.int64]) -> transform.Words:
    """A copy in which each row apart has the value of the nearest other row before it, or else after it.

    At least one row must not be apart.
    """
    nearest = np.arange(len(values))
    nearest[apart] = -1
    first = int(np.argmax(nearest >= 0))
    return values[np.maximum(np.maximum.accumulate(nearest), first)]


# ---------------------------------------------------------------------------------------------------------------
# Decoding


class SectionLayout:
    """What reading column descriptions needs to know about a schema, by column number."""

    def __init__(self, schema: Schema) -> None:
        ids = COLUMN_IDS[schema]
        self.known = np.zeros(256, np.bool_)
        self.known[[*ids.values()]] = True
        self.origins = np.full(256, describing.ZERO, np.int16)
        for name, number in ids.items():
            if name.startswith(_TIMES):
                self.origins[number] = describing.TS_RECV
            elif name == "seq":
                self.origins[number] = describing.FIRST_SEQ
            elif (other := BASE_FROM.get(name)) in ids:
                self.origins[number] = ids[other]


def read_section(
    data: memoryview, count: int, rows: int, layout: SectionLayout, origins: Origins
) -> tuple[transform.Words, memoryview]:
    """The descriptions of a section's `count` columns, shape (count, fields of `Described`), and its stored planes.

    Raises ValueError.
    """
    table = np.empty((count, len(Described._fields)), np.uint64)
    first_seq, ts_recv = np.uint64(origins.first_seq), np.int64(origins.ts_recv)
    end = describing.describe(np.frombuffer(data, np.uint8), rows, layout.origins, first_seq, ts_recv, table)
    if end < 0:
        raise ValueError(describing.REASONS[end])
    return table, data[end:]


def section_bytes(table: transform.Words, rows: int) -> int:
    """The size of the planes of a section's columns in bytes, before zstd."""
    if not len(table):
        return 0
    _, _, width, _, _, apart, start = table[-1].tolist()
    return int(start + width * rows + 8 * apart)


def planes_of(stored: memoryview, kind: int, size: int, decompressor: zstandard.ZstdDecompressor) -> transform.Bytes:
    """The `size` bytes of planes of a section of type `kind`. Raises ValueError, ZstdError before more is allocated."""
    if kind == RAW:
        planes = np.frombuffer(stored, np.uint8)
    elif kind == ZSTD:
        planes = decompress(stored, size, decompressor)
    else:
        raise ValueError(f"a section has type {kind}, which this program does not know")
    if len(planes) != size:
        raise ValueError(f"a section holds {len(planes)} bytes instead of {size}")
    return planes


def decompress(frame: memoryview, size: int, decompressor: zstandard.ZstdDecompressor) -> transform.Bytes:
    """The `size` bytes of a frame. Raises ValueError, ZstdError before more than that is allocated."""
    # zstd allocates what the frame itself declares, whatever limit it is given.
    declared = zstandard.frame_content_size(frame)
    if declared not in (-1, size):
        raise ValueError(f"a frame declares {declared} bytes instead of {size}")
    planes = np.frombuffer(decompressor.decompress(frame, max_output_size=size, allow_extra_data=False), np.uint8)
    if len(planes) != size:
        raise ValueError(f"a frame holds {len(planes)} bytes instead of {size}")
    return planes


class Sections:
    """Reads the sections of one chunk after another.

    Attributes:
        columns: a row for each column of the last chunk: the fields of `Described`, and the number of its section.
    """

    def __init__(self) -> None:
        self.columns = np.empty((MAX_COLUMNS, len(Described._fields) + 1), np.uint64)
        self._sections = np.empty((MAX_COLUMNS, 4), np.int64)

    def read(
        self, chunk: memoryview, count: int, rows: int, layout: SectionLayout, needed: NDArray[np.bool_], near: Origins
    ) -> list[list[int]]:
        """The rows of `columns` for a chunk: those `needed`, and others in the same sections. Raises ValueError."""
        data = np.frombuffer(chunk, np.uint8)
        data.flags.writeable = False  # for every chunk alike: the kernel is compiled for one type
        first_seq, ts_recv = np.uint64(near.first_seq), np.int64(near.ts_recv)
        found = describing.describe_sections(
            data, count, rows, layout.known, needed, layout.origins, first_seq, ts_recv, self.columns, self._sections
        )
        if found < 0:
            raise ValueError(describing.REASONS[int(found)])
        told: list[list[int]] = self.columns[:found].tolist()
        return told

    def planes(self, chunk: memoryview, place: int, decompressor: zstandard.ZstdDecompressor) -> transform.Bytes:
        """The planes of section number `place`. Raises ValueError, ZstdError."""
        begin, end, kind, size = self._sections[place].tolist()
        return planes_of(chunk[begin:end], kind, size, decompressor)


def restore_column(
    name: str, column: transform.Words, bits: int, planes: transform.Bytes, contexts: Contexts, values: NDArray[Any]
) -> None:
    """Decode a column of a section into `values`, which has the dtype of its field. Raises ValueError.

    Args:
        name: the column's name.
        column: the fields of `Described`.
        bits: the second of those fields.
        planes: the planes of the section.
        contexts: the contexts of the chunk.
        values: shape (rows,).
    """
    order, ends = _NO_ROWS, _NO_ENDS
    if bits & GROUPED:
        stream = bits & PREDICTOR_BITS == STREAM
        order, ends = contexts.sorted_by(STREAM if stream else GROUP)
    apart = contexts.apart() if bits & APART else _NO_ENDS
    words = values.view(np.uint64) if values.itemsize == 8 else values
    status = restoring.restore(planes, column, order, ends, apart, words)
    if status == restoring.NARROW:
        words = np.empty(len(values), np.uint64)
        status = restoring.restore(planes, column, order, ends, apart, words)
        values[:] = words
        if not status and int(words.max()) >> 8 * values.itemsize:
            status = restoring.LARGE
    if status:
        raise ValueError(f"column {name} {restoring.REASONS[status]}")
