"""DBN files, version 3, zstd, as Databento's libraries read them: VENUE-DAY.SCHEMA.SYMBOL.dbn.zst.

    mbo        orders, with the trades between them, if the venue names each order
    trades     trades
    mbp-1      best bids and offers as the venue sent them
    ohlcv-…    bars that the engine made, of 1s, 1m, 1h and 1d

DBN has prices with nine decimals, and sizes that are 32-bit whole numbers. A value that does not fit exactly is refused
by name, never rounded. A symbol DATASET/NAME, as tickplant names those of Databento, goes back to its data set. The
instrument id is that of the store. A sequence that does not fit 32 bits becomes 0.
"""

from __future__ import annotations

import contextlib
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import IO, Final, cast
from urllib.parse import quote

import numpy as np
import zstandard
from numpy.typing import NDArray

from tickplant.errors import StoreError
from tickplant.instruments import Instrument
from tickplant.records.dbn_layouts import (
    ACTIONS,
    BAR_S,
    LAYOUTS,
    NO_SIZE,
    NO_VALUE,
    ORDER_FLAGS,
    PLAIN_FLAGS,
    SIDES,
    RecordType,
)
from tickplant.records.layouts import NO_PRICE, Flag, Kind, Schema, TradeFlag
from tickplant.store.daily_files import DAY_NS
from tickplant.store.day_exports import Content, Records
from tickplant.store.reader import Store
from tickplant.store.top_of_book import tops

PRICE_SCALE: Final = 9
SYMBOL_BYTES: Final = 71
_SCHEMAS: Final = {"mbo": 0, "mbp-1": 1, "trades": 4, "ohlcv-1s": 5, "ohlcv-1m": 6, "ohlcv-1h": 7, "ohlcv-1d": 8}
_BARS: Final = dict(zip(("ohlcv-1s", "ohlcv-1m", "ohlcv-1h", "ohlcv-1d"), BAR_S, strict=True))
_ORDERS: Final = frozenset(ACTIONS.values())
_LETTERS: Final = np.zeros(256, np.uint8)  # of actions, by kind
for _letter, _kind in reversed(ACTIONS.items()):  # reversed: the first of several letters for a kind wins
    _LETTERS[_kind] = ord(_letter)
_SIDES: Final = np.full(256, ord("N"), np.uint8)
for _letter, _side in SIDES.items():
    _SIDES[_side] = ord(_letter)


class DbnFiles:
    """See `day_exports.Form`."""

    def __init__(self) -> None:
        self.sorts: dict[str, tuple[Schema, frozenset[Kind] | None]] = {
            "mbo": (Schema.TICK, _ORDERS),
            "trades": (Schema.TICK, frozenset({Kind.TRADE})),
            "mbp-1": (Schema.TICK, frozenset({Kind.QUOTE})),
            **dict.fromkeys(_BARS, (Schema.BAR, None)),
        }
        self.left_out: Counter[str] = Counter()

    def name(self, content: Content) -> str:
        """See Form."""
        day = content.date.replace("-", "")
        return f"{content.venue}-{day}.{content.sort}.{quote(content.symbol, safe='')}.dbn.zst"

    @contextlib.contextmanager
    def open(self, file: IO[bytes], content: Content) -> Iterator[IO[bytes]]:
        """See Form."""
        with zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(file, closefd=False) as packed:
            packed.write(metadata(content))
            yield cast("IO[bytes]", packed)

    def parts(self, store: Store, content: Content) -> Iterator[tuple[bytes | memoryview, int]]:
        """See Form."""
        if content.sort == "mbo" and not self._has_orders(store, content):
            return
        found = content.records(store)
        for row, records in tops(found) if content.sort == "mbp-1" else found:
            rows = self._rows(content, row, records)
            if len(rows):
                yield rows.tobytes(), len(rows)

    def _has_orders(self, store: Store, content: Content) -> bool:
        """Whether a day has orders: if not, its trades belong in the schema `trades` alone."""
        return any((records["kind"] != Kind.TRADE).any() for _, records in content.records(store))

    def _rows(self, content: Content, row: Instrument, records: Records) -> Records:
        if content.sort == "mbo":
            of_levels = (records["kind"] == Kind.CLEAR) & (records["flags"] & Flag.ON_ORDERS == 0)
            return _orders(row, self._tape(records[~of_levels]))
        if content.sort == "trades":
            return _trades(row, self._tape(records))
        if content.sort == "mbp-1":
            return _tops(row, records)
        kind = _BARS[content.sort]
        return _bars(row, records[records["interval_s"] == BAR_S[kind]], kind)

    def _tape(self, records: Records) -> Records:
        """The records without aggregate trades and corrections, which are counted as left out."""
        is_trade = records["kind"] == Kind.TRADE
        void = int(TradeFlag.CANCELLED | TradeFlag.CORRECTION)
        for reason, flags in (("corrections of trades", void), ("aggregate trades", int(Flag.AGGREGATE))):
            wrong = is_trade & (records["flags"] & flags != 0)
            self.left_out[reason] += int(np.count_nonzero(wrong))
            records, is_trade = records[~wrong], is_trade[~wrong]
        return records


def metadata(content: Content) -> bytes:
    """The metadata at the beginning of a file."""
    dataset, _, name = content.symbol.rpartition("/")
    if content.venue != "databento" or not dataset or len(dataset.encode()) > 16:
        dataset, name = content.venue.upper()[:16], content.symbol
    symbol = name.encode().ljust(SYMBOL_BYTES, b"\0")
    if len(symbol) > SYMBOL_BYTES:
        raise StoreError(f"is longer than the {SYMBOL_BYTES} bytes that DBN has for a symbol", path=name)
    first, end = (int(str(np.datetime64(day, "D")).replace("-", "")) for day in (content.day, content.day + 1))
    fixed = struct.pack(
        "<16sHQQQBBBH53x",
        *(dataset.encode(), _SCHEMAS[content.sort], content.day * DAY_NS, (content.day + 1) * DAY_NS, 0),
        *(1, 0, 0, SYMBOL_BYTES),  # requested by raw symbol, resolved to instrument id, no time of sending
    )
    variable = struct.pack("<II", 0, 1) + symbol + struct.pack("<III", 0, 0, 1) + symbol
    variable += struct.pack("<I", len(content.rows))
    for row in content.rows:
        variable += struct.pack("<II", first, end) + str(row.id).encode().ljust(SYMBOL_BYTES, b"\0")
    length = -(-len(fixed + variable) // 8) * 8  # records begin at a multiple of eight
    return b"DBN\x03" + struct.pack("<I", length) + (fixed + variable).ljust(length, b"\0")


def _made(row: Instrument, records: Records, kind: int, size: int) -> Records:
    rows = np.zeros(len(records), LAYOUTS[kind, size])
    rows["head"] = size // 4 | kind << 8 | row.id << 32
    rows["ts_event"] = records["ts_event"]
    if "ts_recv" in (rows.dtype.names or ()):
        rows["ts_recv"] = records["ts_recv"]
    return rows


def _prices(row: Instrument, prices: NDArray[np.int64]) -> NDArray[np.int64]:
    there = prices != NO_PRICE
    found = _scaled(row, prices[there], row.price_scale, PRICE_SCALE, "a price", NO_VALUE - 1)
    result = np.full(len(prices), NO_VALUE, np.int64)
    result[there] = found
    return result


def _sizes(row: Instrument, sizes: NDArray[np.int64], most: int = NO_SIZE - 1) -> NDArray[np.int64]:
    if (sizes < 0).any():
        raise StoreError("has a negative size, which DBN cannot hold", path=f"{row.venue} {row.symbol}")
    return _scaled(row, sizes, row.size_scale, 0, "a size", most)


def _scaled(
    row: Instrument, values: NDArray[np.int64], scale: int, wanted: int, what: str, most: int
) -> NDArray[np.int64]:
    """Rescale values exactly. Raises StoreError."""
    if scale > wanted:
        found, rest = np.divmod(values, 10 ** (scale - wanted))
        if rest.any():
            limit = f"{wanted} decimals at the most" if wanted else "whole numbers"
            raise StoreError(f"has {what} that DBN cannot hold: {limit}", path=f"{row.venue} {row.symbol}")
        if (np.abs(found) <= most).all():
            return found
    elif (np.abs(values) <= most // 10 ** (wanted - scale)).all():
        return values * np.int64(10 ** (wanted - scale))
    raise StoreError(f"has {what} too large for DBN", path=f"{row.venue} {row.symbol}")


def _flags(records: Records, known: Mapping[int, int]) -> NDArray[np.uint8]:
    found = np.zeros(len(records), np.uint8)
    for bit, ours in known.items():
        found |= np.where(records["flags"] & np.uint16(ours), np.uint8(bit), np.uint8(0))
    return found


def _sequence(records: Records) -> NDArray[np.uint64]:
    numbers: NDArray[np.uint64] = records["venue_seq"]
    return np.where(numbers < 2**32, numbers, np.uint64(0))


def _orders(row: Instrument, records: Records) -> Records:
    rows = _made(row, records, RecordType.MBO, 56)
    is_clear = records["kind"] == Kind.CLEAR
    rows["order_id"], rows["sequence"] = records["order_id"], _sequence(records)
    rows["price"] = np.where(is_clear, NO_VALUE, _prices(row, np.where(is_clear, NO_PRICE, records["price"])))
    rows["size"] = _sizes(row, np.where(is_clear, 0, records["size"]))
    rows["action"], rows["side"] = _LETTERS[records["kind"]].view("S1"), _SIDES[records["side"]].view("S1")
    is_trade = records["kind"] == Kind.TRADE
    rows["flags"] = np.where(is_trade, _flags(records, PLAIN_FLAGS), _flags(records, ORDER_FLAGS))
    return rows


def _trades(row: Instrument, records: Records) -> Records:
    rows = _made(row, records, RecordType.TRADE, 48)
    rows["price"], rows["size"] = _prices(row, records["price"]), _sizes(row, records["size"])
    rows["action"], rows["side"] = ord("T"), _SIDES[records["side"]]
    rows["flags"], rows["sequence"] = _flags(records, PLAIN_FLAGS), _sequence(records)
    return rows


def _tops(row: Instrument, records: Records) -> Records:
    """MBP-1 records from BBO records: each modifies the top of the book, without a side, since the venue named none."""
    rows = _made(row, records, RecordType.MBP_1, 80)
    rows["price"], rows["action"], rows["side"] = NO_VALUE, ord("M"), ord("N")
    rows["flags"] = _flags(records, PLAIN_FLAGS)
    level = rows["levels"][:, 0]
    for side in ("bid", "ask"):
        level[f"{side}_px"] = _prices(row, records[f"{side}_price"])
        level[f"{side}_sz"] = _sizes(row, records[f"{side}_size"])
    return rows


def _bars(row: Instrument, records: Records, kind: int) -> Records:
    rows = _made(row, records, kind, 56)
    rows["ts_event"] = records["ts_open"]
    for theirs, ours in (("o", "open"), ("h", "high"), ("l", "low"), ("c", "close")):
        rows[theirs] = _prices(row, records[ours])
    rows["v"] = _sizes(row, records["volume"], most=2**63 - 1)
    return rows
