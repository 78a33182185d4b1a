"""Records for tests, made by pure arithmetic: the same on every machine for ever, since golden files hold them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import DTYPES, NO_PRICE, TICK, Flag, Kind, Schema, Side
from tickplant.records.schemas import REALS

Records = NDArray[np.void]

START_NS = 1_700_000_000 * 10**9


def _noise(count: int, salt: int) -> NDArray[np.uint64]:
    """64-bit words that look random: the splitmix64 generator of Steele, Lea and Flood (2014)."""
    with np.errstate(over="ignore"):
        word = (np.arange(count, dtype=np.uint64) + np.uint64(salt << 32)) * np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return word ^ (word >> np.uint64(31))


def _below(count: int, salt: int, limit: int) -> NDArray[np.int64]:
    return (_noise(count, salt) % np.uint64(limit)).astype(np.int64)


def make_ticks(count: int, *, first_seq: int = 0, instruments: int = 3, start_ns: int = START_NS) -> Records:
    """Ticks like those of a feed: trades, quotes in pairs, levels, and now and then a snapshot's CLEAR."""
    ticks = np.zeros(count, TICK)
    place = np.arange(count)
    kinds = np.array([Kind.TRADE, Kind.LEVEL, Kind.LEVEL, Kind.LEVEL, Kind.QUOTE, Kind.QUOTE], np.uint8)
    ticks["kind"] = kinds[place % 6]
    ticks["side"] = np.where(place % 6 == 4, Side.BID, np.where(place % 6 == 5, Side.ASK, 1 + _below(count, 1, 2)))
    ticks["instrument"] = 1 + place // 6 % instruments
    ticks["ts_recv"] = start_ns + np.cumsum(_below(count, 2, 3_000_000))
    ticks["ts_event"] = np.where(ticks["kind"] == Kind.QUOTE, 0, ticks["ts_recv"] // 10**6 * 10**6 - 5 * 10**6)
    ticks["price"] = (60_000_00 + np.cumsum(_below(count, 3, 201) - 100)) * 10**6
    ticks["size"] = _below(count, 4, 5_000) * (_below(count, 5, 4) > 0) * 1000
    ticks["venue_seq"] = (10**10 + np.cumsum(_below(count, 6, 40))).astype(np.uint64)
    ticks["flags"] = np.where(place % 6 != 4, Flag.LAST, 0)
    ticks["seq"] = np.arange(first_seq, first_seq + count, dtype=np.uint64)
    clears = place % 1000 == 7
    for name, value in (("kind", Kind.CLEAR), ("side", 0), ("price", 0), ("size", 0), ("flags", Flag.SNAPSHOT)):
        ticks[name][clears] = value
    return ticks


def make_records(schema: Schema, count: int, *, first_seq: int = 0) -> Records:
    """Records of any schema."""
    if schema == Schema.TICK:
        return make_ticks(count, first_seq=first_seq)
    records = np.zeros(count, DTYPES[schema])
    for salt, name in enumerate(records.dtype.names or ()):
        if name != "reserved":
            records[name] = _below(count, 20 + salt, 10**4) + (10**9 if name.startswith("ts_") else 0)
    records["instrument"] = 1 + np.arange(count) % 3
    records["seq"] = np.arange(first_seq, first_seq + count, dtype=np.uint64)
    if schema == Schema.BBO:
        records["bid_price"][::17] = NO_PRICE
    elif schema == Schema.CHECKPOINT:
        place = np.arange(count) % 20
        records["kind"] = np.where(place, Kind.LEVEL, Kind.CLEAR)
        records["side"] = np.where(place > 10, Side.ASK, Side.BID) * (place > 0)
        records["flags"] = Flag.SNAPSHOT | np.where(place == 19, Flag.LAST, 0)
    elif "series" in (records.dtype.names or ()):
        for name in REALS.intersection(records.dtype.names or ()):
            records[name] = np.where(np.arange(count) % 9 == 4, np.nan, 60_000 + records[name] / 7)
        records["series"] = 1 + np.arange(count) % 5
    else:
        records["interval_s"] = np.where(np.arange(count) % 60, 1, 60)
    return records
