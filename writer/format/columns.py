"""One column of a chunk: which ids columns have, how one becomes a section of bytes and comes back. Does no I/O.

`chunk_layout.py` describes the format of a section, `codec.py` puts sections into chunks, `transform.py` has the steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from tickplant.records.layouts import Kind, Schema
from tickplant.writer.format import transform

COLUMN_IDS: Final[dict[Schema, dict[str, int]]] = {
    Schema.TICK: {
        "instrument": 1,
        "kind": 2,
        "side": 3,
        "ts_event": 4,
        "ts_recv": 5,
        "price": 6,
        "size": 7,
        "venue_seq": 8,
        "order_id": 9,
        "flags": 10,
        "seq": 11,
    },
    Schema.BBO: {
        "instrument": 1,
        "ts_event": 2,
        "ts_recv": 3,
        "bid_price": 4,
        "bid_size": 5,
        "ask_price": 6,
        "ask_size": 7,
        "source_seq": 8,
        "flags": 9,
        "seq": 10,
    },
    Schema.BAR: {
        "instrument": 1,
        "interval_s": 2,
        "ts_event": 3,
        "ts_recv": 4,
        "ts_open": 5,
        "open": 6,
        "high": 7,
        "low": 8,
        "close": 9,
        "volume": 10,
        "buy_volume": 11,
        "source_seq": 12,
        "trades": 13,
        "flags": 14,
        "seq": 15,
    },
    Schema.CHECKPOINT: {
        "instrument": 1,
        "kind": 2,
        "side": 3,
        "ts_event": 4,
        "ts_recv": 5,
        "price": 6,
        "size": 7,
        "venue_seq": 8,
        "source_seq": 9,
        "book_ts_event": 10,
        "book_ts_recv": 11,
        "book_seq": 12,
        "flags": 13,
        "seq": 14,
    },
}
"""Stored for ever: never change or reuse a number. Key columns come first, so that they are decoded first."""

KEYS: Final[dict[Schema, tuple[tuple[str, int], ...]]] = {
    Schema.TICK: (("instrument", 32), ("kind", 8), ("side", 8)),
    Schema.BBO: (("instrument", 32),),
    Schema.BAR: (("instrument", 32), ("interval_s", 32)),
    Schema.CHECKPOINT: (("instrument", 32), ("kind", 8), ("side", 8)),
}
"""Key columns of a group and their width in bits: one 64-bit key, the first column in its highest bits."""

STREAM_SHIFT: Final = {Schema.TICK: 8, Schema.BBO: 0, Schema.BAR: 0, Schema.CHECKPOINT: 8}
"""Lowest bits of a group's key that its stream leaves out: bid and ask of one instrument are one stream."""

# The predictors of `transform.py`, CONTEXT being one of two.
BASE: Final = transform.BASE
ROW: Final = transform.ROW
STREAM: Final = transform.CONTEXT  # the row before in the same stream
GROUP: Final = transform.CONTEXT + 1  # the row before in the same group

# Bits of a column's `transform`.
PREDICTOR_BITS: Final = 0b11
GROUPED: Final = 1 << 2  # rows are sorted by group
SIGNED: Final = 1 << 3  # zigzag
HAS_BASE: Final = 1 << 4
HAS_DIVISOR: Final = 1 << 5
APART: Final = 1 << 6  # what is no market data is stored behind the planes, as it is
KNOWN_BITS: Final = 0x7F

# Predictor and order to try for a column; the smallest result is stored. Measured on the recordings: sizes of levels do
# better as they are, since a deletion is a 0; for sizes of quotes and for order ids it depends on the venue.
_AS_IT_IS: Final = ((BASE, False),)
_AMOUNT: Final = ((BASE, True), (GROUP, True))
_OTHERWISE: Final = ((GROUP, True),)
_CANDIDATES: Final[dict[str, tuple[tuple[int, bool], ...]]] = {
    "instrument": _AS_IT_IS,
    "kind": _AS_IT_IS,
    "side": _AS_IT_IS,
    "interval_s": _AS_IT_IS,
    "flags": ((BASE, True),),
    "trades": ((BASE, True),),
    "volume": ((BASE, True),),
    "buy_volume": ((BASE, True),),
    "size": _AMOUNT,
    "bid_size": _AMOUNT,
    "ask_size": _AMOUNT,
    "order_id": ((GROUP, True), (ROW, False)),
    "ts_recv": ((ROW, True), (STREAM, True)),
    "ts_event": ((STREAM, True),),
    "venue_seq": ((STREAM, True),),
    "seq": ((ROW, False),),
}

_APART_COLUMNS: Final = frozenset({"price", "size", "venue_seq", "order_id"})
"""Where a STATUS or GAP holds a code or a count, of which a single one would spoil divisor and width of all prices."""

_NO_ROWS: Final = np.empty(0, np.int32)
_NONE_APART: Final = np.empty(0, np.int64)
_MASK: Final = 2**64 - 1


class Section(NamedTuple):
    """An encoded column: its bytes, the bits of its `transform`, its bytes a row before zstd (0: no frame)."""

    data: bytes
    bits: int
    width: int


def type_code(dtype: np.dtype[np.void] | np.dtype[np.integer]) -> int:
    """`type` of a column: item size in bytes, with 0x80 set for signed integers."""
    return dtype.itemsize | (0x80 if dtype.kind == "i" else 0)


def to_words(column: NDArray[np.integer]) -> transform.Words:
    """A column as 64-bit words; signed numbers are sign-extended."""
    if column.dtype.kind == "i":
        return column.astype(np.int64, copy=False).view(np.uint64)
    return column.astype(np.uint64, copy=False)


class Scratch:
    """Arrays kept from chunk to chunk: fresh memory would cost more, page by page, than what is done in it."""

    def __init__(self) -> None:
        self._words = np.empty((0, 0), np.uint64)
        self._rows = np.empty((5, 0), np.int32)

    def words(self, count: int, rows: int) -> transform.Words:
        """Shape (count, rows), to be overwritten."""
        if self._words.shape[0] < count or self._words.shape[1] < rows:
            self._words = np.empty((count, rows), np.uint64)
        return self._words[:count, :rows]

    def rows(self, rows: int) -> transform.Rows:
        """Shape (5, rows), to be overwritten."""
        if self._rows.shape[1] < rows:
            self._rows = np.empty((5, rows), np.int32)
        return self._rows[:, :rows]


class Contexts:
    """Predecessors and order of the rows of one chunk, worked out when a column first asks for them."""

    def __init__(self, schema: Schema, columns: Mapping[str, transform.Words], rows: int, scratch: Scratch) -> None:
        self._schema = schema
        self._columns = columns
        self._rows = rows
        self._scratch = scratch
        self._known = False
        self._in_stream = self._in_group = self._order = _NO_ROWS
        self._apart: NDArray[np.int64] | None = None

    def _find(self) -> None:
        keys = np.zeros(self._rows, np.uint64)
        for name, bits in KEYS[self._schema]:
            keys <<= np.uint64(bits)
            keys |= self._columns[name]
        group, stream, in_group, in_stream, order = self._scratch.rows(self._rows)
        groups = _number(keys, group)
        transform.link_rows(group, groups, in_group)
        self._in_stream = self._in_group = in_group
        if STREAM_SHIFT[self._schema]:
            keys >>= np.uint64(STREAM_SHIFT[self._schema])
            transform.link_rows(stream, _number(keys, stream), in_stream)
            self._in_stream = in_stream
        if groups > 1:
            transform.order_by_group(group, groups, order)
            self._order = order
        self._known = True

    def previous(self, predictor: int) -> transform.Rows:
        """Row that predicts each row; empty for predictors that need none."""
        if predictor < STREAM:
            return _NO_ROWS
        if not self._known:
            self._find()
        return self._in_stream if predictor == STREAM else self._in_group

    def order(self, grouped: int) -> transform.Rows:
        """Row at each position of the grouped order; empty where that is the stored order."""
        if not grouped:
            return _NO_ROWS
        if not self._known:
            self._find()
        return self._order

    def apart(self) -> NDArray[np.int64]:
        """Rows of ticks that are no market data."""
        if self._apart is None:
            kinds = self._columns["kind"] if self._schema is Schema.TICK else np.empty(0, np.uint64)
            self._apart = np.flatnonzero((kinds == Kind.STATUS) | (kinds == Kind.GAP))
        return self._apart


def _without(values: transform.Words, apart: NDArray[np.int64]) -> transform.Words:
    """A copy in which the rows apart, which are not all, have the value of the nearest other row before, else after."""
    nearest = np.arange(len(values))
    nearest[apart] = -1
    first = int(np.argmax(nearest >= 0))
    return values[np.maximum(np.maximum.accumulate(nearest), first)]


def _number(keys: transform.Words, numbers: transform.Rows) -> int:
    """Number distinct keys by first appearance: into `numbers`; returns how many there are."""
    size = 256
    while size <= 16 * max(256, len(keys)):
        count = transform.number_keys(keys, np.full(size, -1, np.int32), np.empty(size, np.uint64), numbers)
        if count >= 0:
            return count
        size *= 8
    # Keys that collide in every table were made to: sorting does not care.
    _, firsts, inverse = np.unique(keys, return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), np.int32)
    ranks[np.argsort(firsts)] = np.arange(len(firsts), dtype=np.int32)
    numbers[:] = ranks[inverse.reshape(-1)]
    return len(firsts)


def encode_column(
    name: str, column: NDArray[np.integer], contexts: Contexts, compressor: zstandard.ZstdCompressor
) -> Section:
    """The smallest section that the candidates for this column give."""
    values = to_words(column)
    if transform.is_progression(values):
        step = int(values[1] - values[0]) if len(values) > 1 else 0
        return _section(int(values[0]), step, b"", 0, 0)
    apart = contexts.apart() if name in _APART_COLUMNS else _NONE_APART
    kept = values[apart].view(np.uint8)
    if 0 < len(apart) < len(values):
        values = _without(values, apart)
        column = values.view(np.int64) if column.dtype.kind == "i" else values
    else:
        kept = kept[:0]
    residuals = np.empty(len(values), np.uint64)
    sections = []
    for predictor, grouped in _CANDIDATES.get(name, _OTHERWISE):
        order, previous = contexts.order(grouped), contexts.previous(predictor)
        base = int(column.min() if predictor == BASE else column[0]) & _MASK
        transform.make_residuals(values, min(predictor, STREAM), np.uint64(base), previous, order, residuals)
        divisor, largest, signed = transform.measure(residuals)
        width = transform.width_of(int(largest), int(divisor), signed=bool(signed))
        planes = np.empty(width * len(values) + len(kept), np.uint8)
        planes[width * len(values) :] = kept
        transform.pack(residuals, np.uint64(divisor), bool(signed), width, planes[: width * len(values)])
        bits = predictor | (GROUPED if len(order) else 0) | (SIGNED if signed else 0) | (APART if len(kept) else 0)
        step = int(divisor) if divisor != 1 else 0
        sections.append(_section(base, step, compressor.compress(planes.data), bits, width))
    return min(sections, key=lambda section: len(section.data))


def _section(base: int, divisor: int, frame: bytes, bits: int, width: int) -> Section:
    """Put a base and a divisor that are not 0 in front of the frame, and say so."""
    numbers = b"".join(number.to_bytes(8, "little") for number in (base, divisor) if number)
    bits |= (HAS_BASE if base else 0) | (HAS_DIVISOR if divisor else 0)
    return Section(numbers + frame, bits, width)


def decode_column(
    data: memoryview,
    bits: int,
    width: int,
    contexts: Contexts,
    decompressor: zstandard.ZstdDecompressor,
    residuals: transform.Words,
    values: transform.Words,
) -> None:
    """Decode a section into `values`; `residuals` is scratch of the same length. Raises ValueError, ZstdError."""
    rows = len(values)
    base = divisor = start = 0
    if len(data) < 8 * (bool(bits & HAS_BASE) + bool(bits & HAS_DIVISOR)):
        raise ValueError(f"a section of {len(data)} bytes is too short for its base and divisor")
    if bits & HAS_BASE:
        base, start = int.from_bytes(data[:8], "little"), 8
    if bits & HAS_DIVISOR:
        divisor, start = int.from_bytes(data[start : start + 8], "little"), start + 8
    if width == 0:
        if start != len(data):
            raise ValueError(f"{len(data) - start} bytes follow a base and a divisor that should stand alone")
        values[:] = base
        if divisor:
            values += np.arange(rows, dtype=np.uint64) * np.uint64(divisor)
        return
    apart = contexts.apart() if bits & APART else _NONE_APART
    planes = _decompress(data[start:], width * rows + 8 * len(apart), decompressor)
    planes, kept = planes[: width * rows], planes[width * rows :]
    predictor = bits & PREDICTOR_BITS
    order, previous = contexts.order(bits & GROUPED), contexts.previous(predictor)
    unpacked = residuals if len(order) else values
    transform.unpack(planes, np.uint64(divisor or 1), bool(bits & SIGNED), width, unpacked)
    transform.restore_values(unpacked, min(predictor, STREAM), np.uint64(base), previous, order, values)
    if len(apart):
        values[apart] = np.frombuffer(kept.tobytes(), np.uint64)


def _decompress(frame: memoryview, size: int, decompressor: zstandard.ZstdDecompressor) -> transform.Bytes:
    """The `size` bytes of a frame. Raises ValueError, ZstdError before more than that is allocated."""
    # zstd allocates what the frame itself declares, whatever limit it is given.
    declared = zstandard.frame_content_size(frame)
    if declared not in (-1, size):
        raise ValueError(f"a frame declares {declared} bytes instead of {size}")
    planes = np.frombuffer(decompressor.decompress(frame, max_output_size=size, allow_extra_data=False), np.uint8)
    if len(planes) != size:
        raise ValueError(f"a frame holds {len(planes)} bytes instead of {size}")
    return planes
