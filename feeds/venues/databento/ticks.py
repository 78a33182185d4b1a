"""Converts records of DBN to TICK records, a whole run at once. Only numpy.

Each function takes rows with the fields of `dbn_layouts.LAYOUTS`, shape (n,), and their instruments and receive times,
each either one for all or shape (n,). It returns TICK records in the order of the rows. Values that are undefined in
DBN become 0, prices NO_PRICE.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.records import dbn_layouts
from tickplant.records.dbn_layouts import ACTIONS, F_SNAPSHOT, ORDER_FLAGS, PLAIN_FLAGS, SIDES
from tickplant.records.layouts import NO_PRICE, TICK, Flag, Kind, Side, StatusCode
from tickplant.records.statistics import StatisticCode
from tickplant.records.venue_bars import BarField

Rows = NDArray[np.void]
Ticks = NDArray[np.void]
Column = NDArray[np.int64] | int


class Stamp(NamedTuple):
    """What accompanies the rows."""

    instruments: Column
    times: Column  # of receipt, ns


TRADE: Final = ord("T")


def _flag_table(flags: Mapping[int, int]) -> NDArray[np.int64]:
    return np.array([sum(ours for bit, ours in flags.items() if value & bit) for value in range(256)], np.int64)


def _order_tables() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Upper half of a TICK's packed word, by action | side << 8 and by flags | action << 8; 0 for an unknown action."""
    kinds, flags = np.zeros(1 << 16, np.int64), np.zeros(1 << 16, np.int64)
    plain, of_orders = _flag_table(PLAIN_FLAGS), _flag_table(ORDER_FLAGS)
    for action, kind in ACTIONS.items():
        for side, ours in SIDES.items():
            kinds[ord(action) | ord(side) << 8] = kind << 32 | ours << 40
        own = Flag.ON_ORDERS if kind is Kind.CLEAR else 0
        table = plain if kind is Kind.TRADE else of_orders
        flags[(ord(action) << 8) : (ord(action) << 8) + 256] = (table | own) << 48
    return kinds, flags


_KINDS, _FLAGS = _order_tables()
_SIDE_OF: Final = np.zeros(256, np.uint8)
for _letter, _side in SIDES.items():
    _SIDE_OF[ord(_letter)] = _side


def time_of(column: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Times in ns; 0 if undefined, or beyond 63 bits."""
    signed: NDArray[np.int64] = column.view(np.int64) if column.flags.c_contiguous else column.astype(np.int64)
    return np.maximum(signed, 0)


def price_of(column: NDArray[np.int64]) -> NDArray[np.int64]:
    """Prices; NO_PRICE if undefined."""
    return np.where(column == dbn_layouts.NO_VALUE, NO_PRICE, column)


def size_of(column: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Sizes; 0 if undefined."""
    return np.where(column == dbn_layouts.NO_SIZE, 0, column.astype(np.int64))


def order_ticks(rows: Rows, stamp: Stamp) -> Ticks:
    """Ticks of `mbo` rows, one per row. Rows of an unknown action or side have kind 0."""
    words: NDArray[np.int64] = np.ndarray((len(rows), 7), "<i8", rows, 0, (rows.strides[0], 8))
    ticks: Ticks = np.empty(len(rows), TICK)
    out = ticks.view(np.int64).reshape(-1, 8)
    np.maximum(words[:, 1], 0, out=out[:, 0])
    out[:, 1] = stamp.times
    price, mixed = words[:, 3], words[:, 4]
    out[:, 2] = price
    if price.max() == dbn_layouts.NO_VALUE:  # the largest value
        out[price == dbn_layouts.NO_VALUE, 2] = NO_PRICE
    size = mixed & 0xFFFFFFFF
    if size.max() == dbn_layouts.NO_SIZE:
        size[size == dbn_layouts.NO_SIZE] = 0
    out[:, 3] = size
    out[:, 4] = (words[:, 6] >> 32) & 0xFFFFFFFF
    out[:, 5] = words[:, 2]
    kinds = _KINDS[(mixed >> 48) & 0xFFFF]
    flags = _FLAGS[((mixed >> 32) & 0xFF) | ((mixed >> 40) & 0xFF00)]
    out[:, 6] = (kinds | flags) | stamp.instruments
    out[:, 7] = 0
    return ticks


def trade_ticks(rows: Rows, stamp: Stamp) -> Ticks:
    """Ticks of rows with action T, one per row, each an event of its own."""
    ticks = _ticks(len(rows), stamp, Kind.TRADE, rows)
    ticks["price"], ticks["size"] = price_of(rows["price"]), size_of(rows["size"])
    ticks["side"] = _SIDE_OF[rows["side"]]
    ticks["flags"] = _snapshot(rows) | Flag.LAST
    return ticks


def quote_ticks(rows: Rows, stamp: Stamp, *, counted: bool) -> Ticks:
    """Best bid and offer of each row, two ticks per row. `counted`: the rows' sequence counts the venue's messages."""
    pairs: Ticks = np.empty((len(rows), 2), TICK)
    level = rows["levels"][:, 0]
    for column, side, name in ((0, Side.BID, "bid"), (1, Side.ASK, "ask")):
        ticks = _ticks(len(rows), stamp, Kind.QUOTE, rows, counted=counted)
        ticks["price"] = price_of(level[f"{name}_px"])
        ticks["size"] = np.where(ticks["price"] == NO_PRICE, 0, level[f"{name}_sz"])
        ticks["side"] = side
        ticks["flags"] = _snapshot(rows) | (Flag.LAST if column else 0)
        pairs[:, column] = ticks
    return pairs.reshape(-1)


def bar_ticks(rows: Rows, stamp: Stamp, seconds: int) -> Ticks:
    """Ticks of `ohlcv` rows, four per row."""
    fields: Ticks = np.empty((len(rows), 4), TICK)
    start = time_of(rows["ts_event"])
    for column, (field, name) in enumerate(
        ((BarField.OPEN, "o"), (BarField.HIGH, "h"), (BarField.LOW, "l"), (BarField.CLOSE, "c"))
    ):
        ticks = _ticks(len(rows), stamp, Kind.VENUE_BAR, rows, counted=False)
        ticks["ts_event"], ticks["venue_seq"] = start + seconds * 10**9, start
        ticks["price"], ticks["order_id"] = price_of(rows[name]), field
        closes = field is BarField.CLOSE
        ticks["size"] = rows["v"] if closes else 0
        ticks["flags"] = Flag.LAST if closes else 0
        fields[:, column] = ticks
    return fields.reshape(-1)


_STATISTICS: Final = {
    1: (StatisticCode.DAY_OPEN, "price"),
    3: (StatisticCode.SETTLEMENT_PRICE, "price"),
    4: (StatisticCode.DAY_LOW, "price"),
    5: (StatisticCode.DAY_HIGH, "price"),
    6: (StatisticCode.PREVIOUS_VOLUME, "quantity"),  # volume cleared in the previous session
    9: (StatisticCode.OPEN_INTEREST, "quantity"),
    11: (StatisticCode.DAY_CLOSE, "price"),
    14: (StatisticCode.VOLATILITY, "price"),
    15: (StatisticCode.DELTA, "price"),
    17: (StatisticCode.LIMIT_UP, "price"),
    18: (StatisticCode.LIMIT_DOWN, "price"),
}
_CODES: Final = np.zeros(1 << 16, np.uint64)
_QUANTITIES: Final = np.zeros(1 << 16, np.bool_)
for _type, (_code, _what) in _STATISTICS.items():
    _CODES[_type], _QUANTITIES[_type] = _code, _what == "quantity"
_NEW: Final = 1


def statistic_ticks(rows: Rows, stamp: Stamp) -> Ticks:
    """Ticks of `statistics` rows, one per row; kind 0 if the number has no code, is undefined or is withdrawn."""
    ticks = _ticks(len(rows), stamp, Kind.STATISTIC, rows)
    quantity = _QUANTITIES[rows["type"]]
    none = np.iinfo(rows["quantity"].dtype).max
    defined = np.where(quantity, rows["quantity"] != none, rows["price"] != dbn_layouts.NO_VALUE)
    ticks["price"] = np.where(quantity, 0, 9)
    ticks["size"] = np.where(quantity, rows["quantity"], rows["price"])
    ticks["venue_seq"] = time_of(rows["ts_ref"])
    ticks["order_id"] = _CODES[rows["type"]]
    ticks["flags"] = Flag.LAST
    ticks["kind"][(ticks["order_id"] == 0) | ~defined | (rows["action"] != _NEW)] = 0
    return ticks


_OF_DEFINITION: Final = {
    StatisticCode.LIMIT_UP: "high_limit",
    StatisticCode.LIMIT_DOWN: "low_limit",
    StatisticCode.TICK_SIZE: "increment",
    StatisticCode.EXPIRATION: "expiration",
}


def definition_ticks(rows: Rows, stamp: Stamp) -> Ticks:
    """Price limits, tick size and expiration of `definition` rows, four ticks per row; kind 0 if undefined."""
    found: Ticks = np.empty((len(rows), len(_OF_DEFINITION)), TICK)
    for column, (code, name) in enumerate(_OF_DEFINITION.items()):
        ticks = _ticks(len(rows), stamp, Kind.STATISTIC, rows, counted=False)
        is_time = rows[name].dtype.kind == "u"
        values = time_of(rows[name]) if is_time else rows[name]
        ticks["price"], ticks["size"], ticks["order_id"] = 9, values, code
        ticks["kind"][values == (0 if is_time else dbn_layouts.NO_VALUE)] = 0
        found[:, column] = ticks
    known = found["kind"] != 0
    last = len(_OF_DEFINITION) - 1 - known[:, ::-1].argmax(axis=1)
    found["flags"][np.arange(len(rows)), last] = Flag.LAST
    return found.reshape(-1)


_DELETED: Final = ord("D")


def delisted_ticks(rows: Rows, stamp: Stamp) -> Ticks:
    """DELISTED for each `definition` row that delists an instrument, one tick per row; kind 0 for the others."""
    ticks = _ticks(len(rows), stamp, Kind.STATUS, rows, counted=False)
    ticks["price"], ticks["flags"] = StatusCode.DELISTED, Flag.LAST
    ticks["kind"][rows["action"] != _DELETED] = 0
    return ticks


_HALTS: Final = np.zeros(1 << 16, np.int64)
_HALTS[[1, 2, 4, 5, 8, 9, 10, 11, 12, 13, 15]] = StatusCode.HALTED
_HALTS[[3, 7]] = StatusCode.TRADING
"""Status by action of `status`: 0 if it does not concern trading, such as a change of short sale rules."""


def status_ticks(rows: Rows, stamp: Stamp) -> Ticks:
    """Ticks of `status` rows, one per row: TRADING or HALTED; kind 0 if the row does not concern trading.

    `order_id` has the venue's own codes: action, reason and event, 16 bits each, is_trading and is_quoting, 8 each.
    """
    ticks = _ticks(len(rows), stamp, Kind.STATUS, rows, counted=False)
    said = np.where(rows["trading"] == ord("Y"), StatusCode.TRADING, 0)
    said = np.where(rows["trading"] == ord("N"), StatusCode.HALTED, said)
    ticks["price"] = np.where(said != 0, said, _HALTS[rows["action"]])
    ticks["order_id"], ticks["flags"] = rows["word"], Flag.LAST
    ticks["kind"][ticks["price"] == 0] = 0
    return ticks


def _ticks(count: int, stamp: Stamp, kind: Kind, rows: Rows, *, counted: bool = True) -> Ticks:
    ticks: Ticks = np.zeros(count, TICK)
    ticks["ts_event"], ticks["ts_recv"] = time_of(rows["ts_event"]), stamp.times
    ticks["instrument"], ticks["kind"] = stamp.instruments, kind
    if counted:
        ticks["venue_seq"] = rows["sequence"]
    return ticks


def _snapshot(rows: Rows) -> NDArray[np.uint16]:
    return (rows["flags"] & F_SNAPSHOT).astype(np.uint16) // F_SNAPSHOT * np.uint16(Flag.SNAPSHOT)
