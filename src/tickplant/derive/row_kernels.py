"""The kernels that make indicators' columns from records. The plain reference, with all rules, is `row_columns`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.indicator import COLUMNS, Floats
from tickplant.kernels import kernel
from tickplant.records.layouts import NO_PRICE, Side

Records = NDArray[np.void]
Integers = NDArray[np.int64]

_BUY: Final = int(Side.BUY)
_SELL: Final = int(Side.SELL)
_PRICE, _SIZE, _SIGN, _TIME = (COLUMNS["trade"].index(name) for name in ("price", "size", "sign", "time_ns"))
_BID, _ASK, _BID_SIZE, _ASK_SIZE = (COLUMNS["bbo"].index(name) for name in ("bid", "ask", "bid_size", "ask_size"))
_OPEN, _HIGH, _LOW, _CLOSE = (COLUMNS["bar"].index(name) for name in ("open", "high", "low", "close"))
_VOLUME, _BOUGHT, _TRADES = (COLUMNS["bar"].index(name) for name in ("volume", "buy_volume", "trades"))


@kernel
def _exact(number: int, unit: float) -> float:
    return np.nan if number == NO_PRICE else number / unit


@kernel
def of_trades(ticks: Records, rows: Integers, column: int, units: Floats, out: Floats) -> None:
    """A column of trades.

    Args:
        ticks: TICK records.
        rows: indices of trades among them.
        column: index in `COLUMNS["trade"]`.
        units: divisors of prices and sizes by instrument id, shape (ids, 2).
        out: to fill, as long as `rows`.
    """
    for i in range(len(rows)):
        tick = ticks[rows[i]]
        if column == _PRICE:
            out[i] = _exact(tick["price"], units[tick["instrument"], 0])
        elif column == _SIZE:
            out[i] = _exact(tick["size"], units[tick["instrument"], 1])
        elif column == _SIGN:
            out[i] = 1.0 if tick["side"] == _BUY else -1.0 if tick["side"] == _SELL else 0.0
        elif column == _TIME:
            out[i] = float(tick["ts_event"] if tick["ts_event"] > 0 else tick["ts_recv"])


@kernel
def of_bests(bests: Records, rows: Integers, column: int, units: Floats, out: Floats) -> None:
    """As `of_trades`, for best bids and offers; `column` is an index in `COLUMNS["bbo"]`."""
    for i in range(len(rows)):
        best = bests[rows[i]]
        if column == _BID:
            out[i] = _exact(best["bid_price"], units[best["instrument"], 0])
        elif column == _ASK:
            out[i] = _exact(best["ask_price"], units[best["instrument"], 0])
        elif column == _BID_SIZE:
            out[i] = _exact(best["bid_size"], units[best["instrument"], 1])
        elif column == _ASK_SIZE:
            out[i] = _exact(best["ask_size"], units[best["instrument"], 1])


@kernel
def of_bars(bars: Records, rows: Integers, column: int, units: Floats, out: Floats) -> None:
    """As `of_trades`, for BAR or TRADE_BAR records; `column` is an index in `COLUMNS["bar"]`."""
    for i in range(len(rows)):
        bar = bars[rows[i]]
        instrument = bar["instrument"]
        if column == _OPEN:
            out[i] = _exact(bar["open"], units[instrument, 0])
        elif column == _HIGH:
            out[i] = _exact(bar["high"], units[instrument, 0])
        elif column == _LOW:
            out[i] = _exact(bar["low"], units[instrument, 0])
        elif column == _CLOSE:
            out[i] = _exact(bar["close"], units[instrument, 0])
        elif column == _VOLUME:
            out[i] = _exact(bar["volume"], units[instrument, 1])
        elif column == _BOUGHT:
            out[i] = _exact(bar["buy_volume"], units[instrument, 1])
        elif column == _TRADES:
            out[i] = float(bar["trades"])
