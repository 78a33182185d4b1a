"""Kernels: the window of a book that a client sees, and the frames of trades and quotes. No I/O."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import kernel
from tickplant.sim import order_flow
from tickplant.sim.dialects.kraken.shapes import TICKER_BBO, TICKER_TRADES, TRADE

Integers = NDArray[np.int64]

# Columns of `stats`: of a pair's trades so far, in ticks and lots; then its best prices.
OPEN: Final = 0
LAST: Final = 1
LOW: Final = 2
HIGH: Final = 3
VOLUME: Final = 4
BID: Final = 5
BID_SIZE: Final = 6
ASK: Final = 7
ASK_SIZE: Final = 8
STATS: Final = 9

_TICKER: Final = order_flow.TICKER
_TRADE: Final = order_flow.TRADE


@kernel
def window_changes(old: Integers, new: Integers, depth: int, is_bid: bool, out: Integers, used: int) -> int:
    """Write the levels that turn a client's window `old` into `new`; returns the rows of `out` used.

    Both are (price, size) from the best level on, at most `depth` levels. A size of 0 deletes. A level pushed out of
    the window by better ones is not written: the client cuts its book to the depth.
    """
    i = 0
    j = 0
    while i < old.shape[0] or j < new.shape[0]:
        if j == new.shape[0]:
            if j == depth:
                break
            is_gone, is_new = True, False
        elif i == old.shape[0]:
            is_gone, is_new = False, True
        else:
            ahead = old[i, 0] - new[j, 0] if is_bid else new[j, 0] - old[i, 0]
            is_gone, is_new = ahead > 0, ahead < 0
        if is_gone:
            out[used, 0] = old[i, 0]
            out[used, 1] = 0
            used += 1
            i += 1
            continue
        if is_new or old[i, 1] != new[j, 1]:
            out[used, 0] = new[j, 0]
            out[used, 1] = new[j, 1]
            used += 1
        if not is_new:
            i += 1
        j += 1
    return used


@kernel
def put_ticker(
    out: NDArray[np.void], used: int, kind: int, symbol: int, time: int, stats: Integers, value: NDArray[np.float64]
) -> int:
    """Write one row with a pair's best prices and figures; returns the rows of `out` used."""
    row = out[used]
    row["kind"] = kind
    row["symbol"] = symbol
    row["time"] = time
    row["id"] = 0
    row["price"] = stats[symbol, BID]
    row["size"] = stats[symbol, BID_SIZE]
    row["ask"] = stats[symbol, ASK]
    row["ask_size"] = stats[symbol, ASK_SIZE]
    row["last_price"] = stats[symbol, LAST]
    row["volume"] = stats[symbol, VOLUME]
    row["low"] = stats[symbol, LOW]
    row["high"] = stats[symbol, HIGH]
    volume = stats[symbol, VOLUME]
    row["vwap"] = round(value[symbol] / volume) if volume else stats[symbol, LAST]
    change = stats[symbol, LAST] - stats[symbol, OPEN]
    row["change"] = change
    row["percent"] = round(1e4 * change / stats[symbol, OPEN])
    return used + 1


@kernel
def is_limit(time_ns: int) -> int:
    """Whether the taker's order at this time since the epoch was a limit order, not a market order."""
    return time_ns // 1000 & 1


@kernel
def put_trade(row: NDArray[np.void], origin_ns: int, out: NDArray[np.void], used: int, run: int) -> int:
    """Write one trade; returns the rows of `out` used. All trades of an order have the same kind of order."""
    made = out[used]
    made["kind"] = TRADE
    made["symbol"] = row["symbol"]
    made["time"] = row["time"]
    made["id"] = row["id"]
    made["price"] = row["price"]
    made["size"] = row["size"]
    made["maker"] = row["maker"]
    made["limit"] = is_limit(origin_ns + int(row["time"]))
    made["run"] = run
    return used + 1


@kernel
def frame_rows(
    rows: NDArray[np.void], origin_ns: int, stats: Integers, value: NDArray[np.float64], out: NDArray[np.void]
) -> int:
    """Turn a market's trades, aggregates and tickers into rows of FRAME, at most 2 each; returns those of `out` used.

    The trades of one order are one frame. Updates `stats` [symbols, STATS] and `value` [symbols], the sum of price
    times size of all trades.
    """
    used = 0
    i = 0
    while i < rows.shape[0]:
        symbol = rows[i]["symbol"]
        time = rows[i]["time"]
        first = used
        while (
            i < rows.shape[0] and rows[i]["kind"] != _TICKER and rows[i]["symbol"] == symbol and rows[i]["time"] == time
        ):
            if rows[i]["kind"] == _TRADE:
                price = rows[i]["price"]
                used = put_trade(rows[i], origin_ns, out, used, 1)
                stats[symbol, LAST] = price
                stats[symbol, LOW] = min(stats[symbol, LOW], price)
                stats[symbol, HIGH] = max(stats[symbol, HIGH], price)
                stats[symbol, VOLUME] += rows[i]["size"]
                value[symbol] += float(price) * float(rows[i]["size"])
            i += 1
        traded = used - first
        if traded:
            out[first]["run"] = traded
        if i < rows.shape[0] and rows[i]["kind"] == _TICKER and rows[i]["symbol"] == symbol and rows[i]["time"] == time:
            stats[symbol, BID] = rows[i]["price"]
            stats[symbol, BID_SIZE] = rows[i]["size"]
            stats[symbol, ASK] = rows[i]["ask"]
            stats[symbol, ASK_SIZE] = rows[i]["ask_size"]
            used = put_ticker(out, used, TICKER_BBO, symbol, time, stats, value)
            i += 1
        if traded:
            used = put_ticker(out, used, TICKER_TRADES, symbol, time, stats, value)
    return used
