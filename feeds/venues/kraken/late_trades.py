"""Records trades in line. At Kraken, trades of one instant may have ids out of order, so missing ones may still come.

Trades that have not come after a while are requested over REST; from then on they do not count as late, so none is
recorded twice.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.request_budget import SECOND_NS
from tickplant.feeds.kit.state_table import LAST_TRADE, LAST_TRADE_NS
from tickplant.feeds.kit.trade_backfill import IdRange
from tickplant.feeds.venues.kraken.kraken_rest import PastTrades
from tickplant.feeds.venues.kraken.venue import LATE_S, LATE_TRADES

MOST_HOLES: Final = 1000
_LATE_NS: Final = int(LATE_S * SECOND_NS)


class _Hole:
    __slots__ = ("due_ns", "ids", "open")

    def __init__(self, ids: IdRange, due_ns: int) -> None:
        self.ids = ids
        self.due_ns = due_ns
        self.open = set(range(ids.first, ids.last + 1)[-LATE_TRADES:])  # ids that may still come


class TradeLine:
    """The trades of a feed, and its recent holes."""

    def __init__(self, market: Market, history: PastTrades) -> None:
        """`history` receives the times of trades before holes."""
        self._market = market
        self._history = history
        self._holes: deque[_Hole] = deque(maxlen=MOST_HOLES)

    def record(self, listing: Listing, trade: VenueTrade, ts_recv: int) -> bool:
        """Record a trade unless it is known; returns whether it fills a hole. Raises RejectError."""
        market = self._market
        if self._take(trade.symbol, trade.id):
            market.on_past_trade(trade, ts_recv)
            return True
        last, last_ns = market.listings.state[listing.slot, LAST_TRADE : LAST_TRADE_NS + 1].tolist()
        market.on_trade(listing, trade, ts_recv)
        if market.holes:
            self._history.note(trade.symbol, last, last_ns)
            self._holes += [_Hole(ids, now_ns + _LATE_NS) for ids, now_ns in market.holes]
            market.holes.clear()
        return False

    def _take(self, symbol: str, ident: int) -> bool:
        for hole in self._holes:
            if hole.ids.symbol == symbol and ident in hole.open:
                hole.open.remove(ident)
                return True
        return False

    def overdue(self, now_ns: int) -> list[tuple[IdRange, int]]:
        """The missing ids of holes whose waiting time is over."""
        missing: list[tuple[IdRange, int]] = []
        while self._holes and self._holes[0].due_ns <= now_ns:
            hole = self._holes.popleft()
            missing += [(part, now_ns) for part in _missing(hole)]
        return missing


def _missing(hole: _Hole) -> list[IdRange]:
    ids, parts = hole.ids, list[IdRange]()
    waited = max(ids.first, ids.last + 1 - LATE_TRADES)  # the first id that was waited for
    first, last = ids.first, waited - 1
    for ident in range(waited, ids.last + 1):
        if ident in hole.open:
            last = ident
            continue
        if first <= last:
            parts.append(IdRange(ids.symbol, ids.channel, first, last))
        first, last = ident + 1, ident
    if first <= last:
        parts.append(IdRange(ids.symbol, ids.channel, first, last))
    return parts
