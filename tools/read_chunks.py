"""Reads chunk files of tickplant with only numpy and zstandard: a second, independent account of the format.

Copy this file to wherever the data must still be readable in ten years. `docs/file-format.md` describes the format.

    python read_chunks.py FILE.chunks…          prints each record as a line of JSON
    for chunk in read_chunks("FILE.chunks"):    chunk.schema, chunk.columns["price"], …

Damage raises ValueError with its place; nothing is skipped. A file that is still being written ends in a torn chunk;
the chunks before it have been yielded by then. Prices and sizes are integers, to be divided by 10**scale of their
instrument, which `instruments.jsonl` next to the data states.
"""

from __future__ import annotations

import json
import mmap
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

MAGIC, MARK, VERSION = b"\xf7TPC", b"TPCOMMIT", 2
HEADER_BYTES, COLUMN_BYTES, TRAILER_BYTES = 104, 8, 12
MAX_ROWS, MAX_COLUMNS, MAX_CHUNK_BYTES = 1 << 20, 255, 1 << 28
STATUS, GAP = 10, 11

SCHEMAS = {
    1: "tick: instrument kind side ts_event ts_recv price size venue_seq order_id flags seq",
    2: "bbo: instrument ts_event ts_recv bid_price bid_size ask_price ask_size source_seq flags seq",
    3: "bar: instrument interval_s ts_event ts_recv ts_open open high low close volume buy_volume source_seq trades "
    "flags seq",
    4: "checkpoint: instrument kind side ts_event ts_recv price size venue_seq source_seq book_ts_event book_ts_recv "
    "book_seq flags seq",
    5: "value: instrument series ts_event ts_recv value_1 value_2 value_3 value_4 source_seq flags seq",
    6: "state: instrument series ts_event ts_recv value_1 value_2 value_3 value_4 source_seq flags seq",
    7: "trade_bar: instrument series ts_event ts_recv ts_open open high low close volume buy_volume sell_volume vwap "
    "first_id last_id source_seq trades number flags seq",
}
"""By number: the name of the schema, and its columns; the first column has id 1, the next 2."""

KEYS = {
    "tick": (("instrument", 32), ("kind", 8), ("side", 8)),
    "bbo": (("instrument", 32),),
    "bar": (("instrument", 32), ("interval_s", 32)),
    "checkpoint": (("instrument", 32), ("kind", 8), ("side", 8)),
    "value": (("instrument", 32), ("series", 16)),
    "state": (("instrument", 32), ("series", 16)),
    "trade_bar": (("instrument", 32), ("series", 16)),
}
"""Columns whose equal values form a group, with their bits in a key of 64."""

STREAM_SHIFT = {"tick": 8, "bbo": 0, "bar": 0, "checkpoint": 8, "value": 0, "state": 0, "trade_bar": 0}
"""Number of bits of a group's key that its stream omits."""

BASE_FROM = {
    "high": "open",
    "low": "open",
    "close": "open",
    "buy_volume": "volume",
    "ask_price": "bid_price",
    "ask_size": "bid_size",
}
"""Version 2: columns whose base is stored as the difference from another column's base."""

MASK = 2**64 - 1

Column = NDArray[Any]
Words = NDArray[np.uint64]


class Chunk(NamedTuple):
    """Records of one schema. All columns have the same length."""

    schema: str
    epoch: int
    columns: dict[str, Column]


def read_chunks(path: str | Path) -> Iterator[Chunk]:
    """Every chunk of a file, in order. Raises ValueError for damage and for a later version, and OSError."""
    with Path(path).open("rb") as file:
        if file.seek(0, 2) == 0:
            return
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    view = memoryview(data)
    offset = 0
    while offset < len(view):
        try:
            chunk, length = decode_chunk(view[offset : offset + MAX_CHUNK_BYTES])
        except ValueError as error:
            raise ValueError(f"{path} at byte {offset}: {error}") from None
        yield chunk
        offset += length


def decode_chunk(data: memoryview) -> tuple[Chunk, int]:
    """The chunk at the beginning of `data`, and its length in bytes. Raises ValueError."""
    if len(data) < HEADER_BYTES + TRAILER_BYTES or data[4:8] != MAGIC:
        raise ValueError("no chunk begins here")
    length, version, schema, count, rows, epoch = (
        int.from_bytes(data[start:end], "little")
        for start, end in ((0, 4), (8, 10), (10, 12), (12, 14), (16, 20), (32, 40))
    )
    sections = HEADER_BYTES + count * COLUMN_BYTES
    if count > MAX_COLUMNS or not sections + TRAILER_BYTES <= length <= len(data):
        raise ValueError("the chunk is torn")
    head = zlib.crc32(data[HEADER_BYTES:sections], zlib.crc32(data[: HEADER_BYTES - 4]))
    if head.to_bytes(4, "little") != data[100:104]:
        raise ValueError("the header does not match its checksum")
    if version not in (1, VERSION) or schema not in SCHEMAS or not 1 <= rows <= MAX_ROWS:
        raise ValueError(f"format {version}, schema {schema}, {rows} rows: this reader knows formats 1 and {VERSION}")
    if data[length - TRAILER_BYTES : length] != length.to_bytes(4, "little") + MARK:
        raise ValueError("the chunk has no commit mark")
    if zlib.crc32(data[sections : length - TRAILER_BYTES]).to_bytes(4, "little") != data[96:100]:
        raise ValueError("the columns do not match their checksum")
    name, _, words = SCHEMAS[schema].partition(": ")
    names = dict(enumerate(words.split(), 1))
    columns: dict[str, Column] = {}
    contexts = _Contexts(name, columns, rows)
    first_seq, ts_recv = (int.from_bytes(data[at : at + 8], "little") for at in (40, 72))
    start = sections
    for place in range(HEADER_BYTES, sections, COLUMN_BYTES):
        number, code, bits, width = data[place : place + 4]
        end = start + int.from_bytes(data[place + 4 : place + 8], "little")
        if end > length - TRAILER_BYTES:
            raise ValueError("the columns do not fill the chunk")
        if version == 2 and number in names:
            _columns(bytes(data[start:end]), code, width, names, contexts, first_seq, ts_recv)
        elif number in names:  # a later program may store more
            values = _section(bytes(data[start:end]), bits, width, rows, contexts)
            kind = f"{'i' if code & 0x80 else 'u'}{code & 0x7F}"
            columns[names[number]] = values.view(np.int64).astype(kind).view(column_type(names[number]))
        start = end
    if version == 2:  # columns that are 0 in every row are not stored
        stored = dict(columns)
        columns = {each: stored.get(each, np.zeros(rows, column_type(each))) for each in names.values()}
    return Chunk(name, epoch, columns), length


def column_type(name: str) -> str:
    """The numpy type of a column of any schema."""
    narrow = dict.fromkeys(("instrument", "interval_s", "trades", "number"), "u4")
    narrow |= {"kind": "u1", "side": "u1", "flags": "u2", "series": "u2"}
    if name.startswith("value_") or name == "vwap":
        return "f8"  # its words are the bits of float64
    return narrow.get(name, "u8" if name.endswith(("seq", "_id")) else "i8")


def _columns(
    data: bytes, kind: int, count: int, names: dict[int, str], contexts: _Contexts, first_seq: int, ts_recv: int
) -> None:
    """Version 2: add the columns of a section to those of `contexts`."""
    told, bases, at, size = [], {}, 0, 0
    for _ in range(count):
        number, bits, width = data[at : at + 3]
        at, parts = at + 3, [0, 0, 0]  # base, divisor, rows apart
        for place in range(3):
            if bits >> (4 + place) & 1:
                parts[place], at = _varint(data, at)
        name = names.get(number, "")
        if bits >> 4 & 1:
            near = first_seq if name == "seq" else bases.get(BASE_FROM.get(name, ""), 0)
            near = ts_recv if name.startswith(("ts_", "book_ts_")) else near
            parts[0] = near + (parts[0] >> 1 ^ -(parts[0] & 1)) & MASK
        bases[name] = parts[0]
        told.append((name, bits, width, parts))
        size += width * contexts.rows + 8 * parts[2]
    planes = data[at:]
    if kind == 1:
        planes = zstandard.ZstdDecompressor().decompress(planes, max_output_size=size)
    if kind > 1 or len(planes) != size:
        raise ValueError(f"a section of type {kind} holds {len(planes)} bytes instead of {size}")
    start = 0
    for name, bits, width, (base, divisor, apart) in told:
        end = start + width * contexts.rows + 8 * apart
        if name:  # a later program may store more
            values = _values(planes[start:end], bits, width, base, divisor, contexts, version=2)
            kind = column_type(name)
            contexts.columns[name] = values.view(kind) if kind == "f8" else values.view(np.int64).astype(kind)
        start = end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits per byte, lowest first, and its end."""
    number = shift = 0
    while data[at] & 0x80:
        number, shift, at = number | (data[at] & 0x7F) << shift, shift + 7, at + 1
    return number | data[at] << shift, at + 1


class _Contexts:
    """Which rows predict each other. The key columns come first in a chunk, and use no contexts."""

    def __init__(self, schema: str, columns: dict[str, Column], rows: int) -> None:
        self.schema, self.columns, self.rows = schema, columns, rows

    def numbers(self, shift: int) -> NDArray[np.intp]:
        """The group of each row, numbered by first appearance; with the shift, its stream."""
        keys = np.zeros(self.rows, np.uint64)
        for name, bits in KEYS[self.schema]:
            keys <<= np.uint64(bits)
            if name in self.columns:
                keys |= self.columns[name].astype(np.uint64)
        _, first, inverse = np.unique(keys >> np.uint64(shift), return_index=True, return_inverse=True)
        numbers: NDArray[np.intp] = np.argsort(np.argsort(first))[inverse.reshape(-1)]
        return numbers

    def apart(self) -> NDArray[np.intp]:
        """Rows that are not market data: STATUS and GAP."""
        return np.flatnonzero(np.isin(self.columns.get("kind", np.empty(0)), (STATUS, GAP)))


def _section(data: bytes, bits: int, width: int, rows: int, contexts: _Contexts) -> Words:
    """Version 1: the one column of a section."""
    has_base, has_divisor = bits >> 4 & 1, bits >> 5 & 1
    numbers = [int.from_bytes(data[at : at + 8], "little") for at in range(0, 8 * (has_base + has_divisor), 8)]
    base, divisor = numbers[0] if has_base else 0, numbers[-1] if has_divisor else 0
    planes = b""
    if width:
        size = width * rows + 8 * (len(contexts.apart()) if bits >> 6 & 1 else 0)
        planes = zstandard.ZstdDecompressor().decompress(data[8 * len(numbers) :], max_output_size=size)
        if len(planes) != size:
            raise ValueError(f"a column holds {len(planes)} bytes instead of {size}")
    return _values(planes, bits, width, base, divisor, contexts, version=1)


def _values(data: bytes, bits: int, width: int, base: int, divisor: int, contexts: _Contexts, *, version: int) -> Words:
    """The words of a column from its planes."""
    rows, predictor, grouped, signed = contexts.rows, bits & 3, bits >> 2 & 1, bits >> 3 & 1
    with np.errstate(over="ignore"):
        if width == 0:
            return np.uint64(base) + np.arange(rows, dtype=np.uint64) * np.uint64(divisor)
        planes = np.frombuffer(data, np.uint8)
        residuals = np.zeros(rows, np.uint64)
        for byte in range(width):
            residuals |= planes[byte * rows : (byte + 1) * rows].astype(np.uint64) << np.uint64(8 * byte)
        if signed:  # 0, 1, 2, 3, 4 … are 0, -1, 1, -2, 2 …
            odd = residuals & np.uint64(1)
            magnitude = (residuals >> np.uint64(1)) + odd
            residuals = np.where(odd == 1, ~magnitude + np.uint64(1), magnitude)
        residuals *= np.uint64(divisor or 1)
        if grouped:  # in version 2, rows predicted from their stream are sorted by stream
            by_stream = version == 2 and predictor == 2
            stored = residuals.copy()
            shift = STREAM_SHIFT[contexts.schema] if by_stream else 0
            residuals[np.argsort(contexts.numbers(shift), kind="stable")] = stored
        values = _predict(residuals, predictor, np.uint64(base), contexts)
        if bits >> 6 & 1:
            values[contexts.apart()] = planes[width * rows :].view(np.uint64)
    return values


def _predict(residuals: Words, predictor: int, base: np.uint64, contexts: _Contexts) -> Words:
    if predictor == 0:  # from the base
        return residuals + base
    if predictor == 1:  # from the row before
        return np.cumsum(residuals, dtype=np.uint64) + base
    # From the previous row in the stream or group. The first row there is predicted from the row before it, whose group
    # has appeared earlier.
    numbers = contexts.numbers(STREAM_SHIFT[contexts.schema] if predictor == 2 else 0)
    order = np.argsort(numbers, kind="stable")
    values = np.empty_like(residuals)
    for rows in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
        start = values[rows[0] - 1] if rows[0] else base
        values[rows] = np.cumsum(residuals[rows], dtype=np.uint64) + start
    return values


def main() -> int:
    """Exit status 0, or 1 if a file could not be read."""
    try:
        for path in sys.argv[1:]:
            for chunk in read_chunks(path):
                names = list(chunk.columns)
                for row in zip(*(column.tolist() for column in chunk.columns.values()), strict=True):
                    print(json.dumps({"schema": chunk.schema} | dict(zip(names, row, strict=True))))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
