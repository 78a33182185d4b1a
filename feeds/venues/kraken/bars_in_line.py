"""Kraken's bars, which do not say when they are complete.

A bar is complete when a later one of its symbol comes; it is then recorded once more, without PARTIAL. A subscription
begins with the bars of the last hours, all complete except the newest; bars that are already recorded are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.numbers import price
from tickplant.feeds.kit.other_streams import Ohlc
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.venues.kraken.messages import Bar


class BarsInLine:
    """The bars of all symbols of a feed."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._newest: dict[str, Bar] = {}  # by symbol, in its last state

    def record(self, listing: Listing, bars: Sequence[Bar], ts_recv: int, *, snapshot: bool) -> None:
        """Record the bars of a symbol in one frame, by rising time. Raises RejectError for the last bad one."""
        symbol, rejected = listing.instrument.symbol, None
        former = self._newest.get(symbol)
        line = [bar for bar in bars if former is None or bar.begin >= former.begin]
        if not line:
            return
        if former is not None and former.begin < line[0].begin and not snapshot:
            line.insert(0, former)
        for bar in line:
            try:
                self._put(listing, bar, ts_recv, closed=bar is not line[-1])
            except RejectError as error:
                self._market.rejects.add(error, listing, "venue_bar", ts_recv)
                rejected = error
        self._newest[symbol] = line[-1]
        if rejected is not None:
            raise rejected

    def _put(self, listing: Listing, bar: Bar, ts_recv: int, *, closed: bool) -> None:
        vwap = bar.vwap
        try:
            price(vwap, listing.instrument.price_scale)
        except RejectError:
            vwap = ""  # an average may have more decimals than prices have: the bar is kept without it
        numbers = bar.open, bar.high, bar.low, bar.close, bar.volume
        self._market.others.on_bar(listing, Ohlc(bar.begin, bar.end, *numbers, vwap, bar.trades, closed), ts_recv)
