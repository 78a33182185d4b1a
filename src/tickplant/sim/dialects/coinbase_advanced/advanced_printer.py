"""The synthetic market as Coinbase Advanced Trade prints it. No I/O.

Every frame contains `"sequence_num":0`; the session of a connection puts its own count there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.sim.dialect import Events
from tickplant.sim.dialects.coinbase.instruments import product
from tickplant.sim.dialects.coinbase.printer import TRADE, CoinbasePrinter, style
from tickplant.sim.sim_source import Listed

NAMES: Final = ("market_trades", "ticker", "level2")
STATUS: Final = "status"
COUNT: Final = b'"sequence_num":0'

_HEAD: Final = '"client_id":"","timestamp":"<time>","sequence_num":0,"events":[{"type":"update",'
_TRADES: Final = (
    f'{{"channel":"market_trades",{_HEAD}"trades":[<run*>{{"product_id":"<symbol>","trade_id":"<id>","price":"<price>",'
    '"size":"<size>","time":"<time>","side":"<maker?SELL|BUY>"}<*>]}]}'
)
_TICKER: Final = (
    f'{{"channel":"ticker",{_HEAD}"tickers":[{{"type":"ticker","product_id":"<symbol>","price":"<price>",'
    '"volume_24_h":"<size>","low_24_h":"<price>","high_24_h":"<ask>","low_52_w":"<price>","high_52_w":"<ask>",'
    '"price_percent_chg_24_h":"0.5","best_bid":"<price>","best_bid_quantity":"<size>","best_ask":"<ask>",'
    '"best_ask_quantity":"<ask_size>"}]}]}'
)
_BOOK: Final = f'{{"channel":"l2_data",{_HEAD}"product_id":"<symbol>","updates":[<changes>]}}]}}'
_SIDES: Final = [
    (
        f'{{"side":"{side}","event_time":"1970-01-01T00:00:00Z","price_level":"',
        '","new_quantity":"',
        '"}',
    )
    for side in ("bid", "offer")
]
_STYLE: Final = style(_SIDES[0], _SIDES[1])
_TEXTS: Final = (_TRADES, _TICKER, _BOOK)


def frame_of(channel: str, timestamp: str, *events: object) -> bytes:
    """A frame without a template."""
    told = {"channel": channel, "client_id": "", "timestamp": timestamp, "sequence_num": 0, "events": events}
    return msgspec.json.encode(told)


def status_frame(kind: str, listed: Iterable[Listed], timestamp: str) -> bytes:
    """A frame of the channel with the instrument data; `kind` is snapshot or update."""
    products = [product(one) | {"product_type": "SPOT"} for one in listed]
    return frame_of(STATUS, timestamp, {"type": kind, "products": products})


class AdvancedPrinter(CoinbasePrinter):
    """The trades of one order are one frame, newest first."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        snapshots = [text.replace('"type":"update"', '"type":"snapshot"') for text in _TEXTS]
        super().__init__(
            symbols,
            NAMES,
            (_STYLE, _TEXTS),
            (_STYLE, snapshots),
            lambda one: status_frame("update", [one], "2026-01-01T00:00:00Z"),
            STATUS,
        )

    def arrange(self, rows: NDArray[np.void], events: Events) -> NDArray[np.void]:
        """Consecutive trades of one symbol and time form a run, which is reversed."""
        del events
        trades = rows["kind"] == TRADE
        begins = np.ones(len(rows), np.bool_)
        same = (rows["symbol"][1:] == rows["symbol"][:-1]) & (rows["time"][1:] == rows["time"][:-1])
        begins[1:] = ~(trades[1:] & trades[:-1] & same)
        first = np.flatnonzero(begins)
        lengths = np.diff(np.append(first, len(rows)))
        places = np.repeat(2 * first + lengths - 1, lengths) - np.arange(len(rows))
        arranged: NDArray[np.void] = rows[places]
        arranged["run"][first] = lengths
        return arranged
