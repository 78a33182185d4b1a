"""Facts of Databento, as data.

A symbol here is `DATASET/SYMBOL`, such as GLBX.MDP3/ESH4. If a dataset has several publishers, each has instruments of
its own, `DATASET/SYMBOL#PUBLISHER`, such as DBEQ.BASIC/AAPL#39. An instrument id without a symbol is `id:NUMBER`.
"""

from __future__ import annotations

import re
from typing import Final

VENUE: Final = "databento"

PRICE_SCALE: Final = 9
SIZE_SCALE: Final = 0

SOLE_PUBLISHER: Final = {
    "GLBX.MDP3": 1,
    "XNAS.ITCH": 2,
    "XBOS.ITCH": 3,
    "XPSX.ITCH": 4,
    "BATS.PITCH": 5,
    "BATY.PITCH": 6,
    "EDGA.PITCH": 7,
    "EDGX.PITCH": 8,
    "XNYS.PILLAR": 9,
    "XCIS.PILLAR": 10,
    "XASE.PILLAR": 11,
    "XCHI.PILLAR": 12,
    "XCIS.BBO": 13,
    "XCIS.TRADES": 14,
    "MEMX.MEMOIR": 15,
    "EPRL.DOM": 16,
    "IEXG.TOPS": 38,
    "ARCX.PILLAR": 43,
    "XNYS.BBO": 44,
}
"""Datasets whose symbols omit the publisher. Never add one: the names of its instruments would change."""

SCHEMAS: Final = (
    *("mbo", "mbp-1", "mbp-10", "tbbo", "trades", "ohlcv-1s", "ohlcv-1m", "ohlcv-1h", "ohlcv-1d", "definition"),
    *("statistics", "status", "imbalance", "ohlcv-eod", "cmbp-1", "cbbo-1s", "cbbo-1m", "tcbbo", "bbo-1s", "bbo-1m"),
)
"""By number, as in the metadata."""

MIXED_SCHEMAS: Final = 0xFFFF

SCHEMA_OF_CHANNEL: Final = {
    "orders": "mbo",
    "quote": "mbp-1",
    "book": "mbp-10",
    "trade": "trades",
    "venue_bar": "ohlcv-1m",
    "statistic": "statistics",
}
"""Schema that a live feed subscribes to for a channel. The first three bring trades as well."""

WITH_TRADES: Final = ("mbo", "mbp-1", "mbp-10", "trades")
"""If there are several of these, the first one brings the trades."""

HEARTBEAT_S: Final = 10
SYMBOLS_PER_REQUEST: Final = 500
SNAPSHOT_SCHEMA: Final = "mbo"

_PARENT: Final = re.compile(r"[^.]+\.(FUT|OPT|SPOT)\Z")
_CONTINUOUS: Final = re.compile(r"[^.]+\.[cnv]\.\d+\Z")


def symbol_type(symbol: str) -> str:
    """The gateway's name for the kind of a symbol."""
    if _PARENT.match(symbol):
        return "parent"
    return "continuous" if _CONTINUOUS.match(symbol) else "raw_symbol"


def instrument_symbol(dataset: str, symbol: str, publisher: int) -> str:
    """Symbol of an instrument in the plant."""
    own = SOLE_PUBLISHER.get(dataset) == publisher
    return f"{dataset}/{symbol}" if own else f"{dataset}/{symbol}#{publisher}"
