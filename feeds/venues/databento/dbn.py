"""The layout of DBN, versions 1 to 3: metadata, record heads, records. Numpy reads all of a kind at once.

A stream is metadata, then records. A record begins with its length in words of four bytes, its type, publisher,
instrument id and `ts_event`. Which version a record is of shows in its length. Times are ns since the epoch, prices
integers at scale 9.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.errors import FeedError
from tickplant.feeds.venues.databento import venue as facts

MAGIC: Final = b"DBN"
VERSIONS: Final = (1, 2, 3)
HEAD_BYTES: Final = 16
METADATA_BYTES: Final = 64 << 20
"""Longest metadata read: some hundred times those of all options of a day."""

NO_TIME: Final = 2**64 - 1
NO_VALUE: Final = 2**63 - 1
NO_SIZE: Final = 2**32 - 1

_FIXED: Final = struct.Struct("<16sHQQQ")
_FIXED_BYTES: Final = 100
_HEAD: Final = [("head", "<u8", 0), ("ts_event", "<u8", 8)]
_MARKET: Final = [
    *(("price", "<i8", 16), ("size", "<u4", 24), ("action", "u1", 28), ("side", "u1", 29), ("flags", "u1", 30)),
    *(("ts_recv", "<u8", 32), ("sequence", "<u4", 44)),
]
LEVEL: Final = np.dtype([("bid_px", "<i8"), ("ask_px", "<i8"), ("bid_sz", "<u4"), ("ask_sz", "<u4"), ("count", "<u8")])


class RecordType:
    """Types of records; of those with ts_recv, where it stands."""

    TRADE = 0x00
    MBP_1 = 0x01
    MBP_10 = 0x0A
    STATUS = 0x12
    DEFINITION = 0x13
    IMBALANCE = 0x14
    ERROR = 0x15
    MAPPING = 0x16
    SYSTEM = 0x17
    STATISTICS = 0x18
    BAR_1S = 0x20
    BAR_1M = 0x21
    BAR_1H = 0x22
    BAR_1D = 0x23
    BAR_EOD = 0x24
    MBO = 0xA0
    CMBP_1 = 0xB1
    CBBO_1S = 0xC0
    CBBO_1M = 0xC1
    TCBBO = 0xC2
    BBO_1S = 0xC3
    BBO_1M = 0xC4
    TBBO = 0xC5


R = RecordType

BAR_S: Final = {R.BAR_1S: 1, R.BAR_1M: 60, R.BAR_1H: 3600, R.BAR_1D: 86_400}
QUOTES: Final = (R.MBP_1, R.TBBO, R.CMBP_1, R.TCBBO, R.BBO_1S, R.BBO_1M, R.CBBO_1S, R.CBBO_1M)
SAMPLED: Final = (R.BBO_1S, R.BBO_1M, R.CBBO_1S, R.CBBO_1M)
"""Quotes at fixed intervals: their last trade has come before, perhaps several times."""

UNCOUNTED: Final = (R.CMBP_1, R.TCBBO, R.CBBO_1S, R.CBBO_1M)
"""Of several publishers: no sequence."""


def _dtype(size: int, fields: list[tuple[str, str, int]], levels: int = 0) -> np.dtype[np.void]:
    names, formats, offsets = (list(column) for column in zip(*_HEAD, *fields, strict=True))
    if levels:
        names, formats, offsets = [*names, "levels"], [*formats, (LEVEL, (levels,))], [*offsets, 48]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


def _definition(size: int, symbol_bytes: int, symbol: int, action: int) -> np.dtype[np.void]:
    numbers = [
        *(("ts_recv", "<u8", 16), ("increment", "<i8", 24), ("expiration", "<u8", 40)),
        *(("high_limit", "<i8", 56), ("low_limit", "<i8", 64)),
    ]
    return _dtype(size, [*numbers, ("raw_symbol", f"S{symbol_bytes}", symbol), ("action", "u1", action)])


def _statistics(size: int, quantity: str, sequence: int) -> np.dtype[np.void]:
    times = [("ts_recv", "<u8", 16), ("ts_ref", "<u8", 24), ("price", "<i8", 32), ("quantity", quantity, 40)]
    return _dtype(
        size, [*times, ("sequence", "<u4", sequence), ("type", "<u2", sequence + 8), ("action", "u1", sequence + 12)]
    )


_MBP_1: Final = _dtype(80, _MARKET, 1)
LAYOUTS: Final[dict[tuple[int, int], np.dtype[np.void]]] = {
    (R.MBO, 56): _dtype(
        56,
        [
            *(("order_id", "<u8", 16), ("price", "<i8", 24), ("size", "<u4", 32), ("flags", "u1", 36)),
            *(("channel", "u1", 37), ("action", "S1", 38), ("side", "S1", 39), ("ts_recv", "<u8", 40)),
            *(("ts_in_delta", "<i4", 48), ("sequence", "<u4", 52)),
        ],
    ),
    (R.TRADE, 48): _dtype(48, _MARKET),
    (R.MBP_10, 368): _dtype(368, _MARKET, 10),
    **{(kind, 80): _MBP_1 for kind in QUOTES},
    **{
        (kind, 56): _dtype(56, [(name, "<i8", 16 + 8 * place) for place, name in enumerate(("o", "h", "l", "c", "v"))])
        for kind in (*BAR_S, R.BAR_EOD)
    },
    (R.STATUS, 40): _dtype(
        40, [("ts_recv", "<u8", 16), ("action", "<u2", 24), ("word", "<u8", 24), ("trading", "u1", 30)]
    ),
    (R.DEFINITION, 360): _definition(360, 22, 200, 349),
    (R.DEFINITION, 400): _definition(400, 71, 200, 382),
    (R.DEFINITION, 520): _definition(520, 71, 238, 493),
    (R.STATISTICS, 64): _statistics(64, "<i4", 44),
    (R.STATISTICS, 80): _statistics(80, "<i8", 48),
    (R.IMBALANCE, 112): _dtype(112, [("ts_recv", "<u8", 16)]),
    (R.MAPPING, 80): _dtype(80, [("asked", "S22", 16), ("symbol", "S22", 38)]),
    (R.MAPPING, 176): _dtype(176, [("asked", "S71", 17), ("symbol", "S71", 89)]),
    (R.ERROR, 80): _dtype(80, [("text", "S64", 16)]),
    (R.ERROR, 320): _dtype(320, [("text", "S302", 16), ("code", "u1", 318)]),
    (R.SYSTEM, 80): _dtype(80, [("text", "S64", 16)]),
    (R.SYSTEM, 320): _dtype(320, [("text", "S303", 16), ("code", "u1", 319)]),
}
"""By type and length; the length is without the time of sending that a stream may append (`ts_out`)."""

TYPES: Final = frozenset(kind for kind, _ in LAYOUTS)


class Mappings(NamedTuple):
    """What instrument ids mean on which days: by id, shape (n,) each; dates as 20240131, the last one exclusive."""

    idents: NDArray[np.int64]
    first: NDArray[np.uint32]
    end: NDArray[np.uint32]
    symbols: NDArray[np.str_]

    def symbol(self, ident: int, date: int) -> str:
        """Symbol of an instrument id on a day; empty where there is none."""
        low, high = np.searchsorted(self.idents, (ident, ident + 1)).tolist()
        for place in range(low, high):
            if self.first[place] <= date < self.end[place]:
                return str(self.symbols[place])
        return ""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What stands at the beginning of a stream."""

    version: int
    dataset: str
    schema: str  # empty: several
    start_ns: int
    end_ns: int  # exclusive; NO_TIME: open
    symbol_in: int  # how symbols were asked for, and what they were turned into: 0 instrument id, 1 raw symbol, …
    symbol_out: int
    ts_out: bool
    mappings: Mappings


class DamageError(FeedError):
    """A stream of DBN is not one, from some place on."""


def metadata_bytes(head: bytes) -> int:
    """Length of the metadata that begins with these eight bytes. Raises FeedError for versions that are not known."""
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
    """Read whole metadata. Raises FeedError where they are damaged, or of a schema that is not known."""
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
        for _ in range(3):  # symbols; those found for a part of the time; those not found
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
    """Goes through the variable part of the metadata. Raises struct.error, ValueError behind its end."""

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
    """`is_found`: instrument ids are what was found for the symbols; else the other way round."""
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
    """Records of one type and length that follow each other."""

    kind: int
    start: int  # first byte, in what they were found in
    size: int  # bytes of each
    records: int


def runs(data: bytes, start: int = 0) -> Iterator[Run]:
    """The whole records of these bytes, in order. Raises DamageError where something is no record."""
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
    """Its records, shape (records,), with the fields of `LAYOUTS`; None where their type is not known.

    Raises DamageError where a record of its type cannot have its length.
    """
    layout = LAYOUTS.get((run.kind, run.size - 8 * ts_out))
    if layout is None and run.kind in TYPES:
        raise DamageError(f"a record of type {run.kind:#04x} cannot be {run.size} bytes long")
    return None if layout is None else np.ndarray((run.records,), layout, data, run.start, (run.size,))
