"""Trades that the venue's heartbeats name and the stream has not brought: requested, and recorded in line.

The trade channel is best-effort, and a heartbeat may overtake a trade. So a named trade has a second to arrive.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tickplant.feeds.contract import Answer, Request
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.request_budget import SECOND_NS, RequestBudget
from tickplant.feeds.kit.subscriptions import Stream
from tickplant.feeds.venues.coinbase.rest_api import NEWER, TradeArchive
from tickplant.records.layouts import Flag

GRACE_NS: Final = SECOND_NS
SILENT_ANSWERS: Final = 3
"""After this many consecutive answers with trades, and none over the stream in between, the stream is not just late."""


class NewestTrades:
    """The named trades of all products."""

    def __init__(self, market: Market, archive: TradeArchive, budget: RequestBudget) -> None:
        self._market = market
        self._archive = archive
        self._budget = budget
        self._named: dict[str, tuple[int, int]] = {}  # by symbol: id of a trade that has not come, and since when
        self._asked: dict[str, int] = {}  # by symbol: newest id requested; one request is enough
        self._answers: dict[str, tuple[int, int]] = {}  # by symbol: newest id of the last answer, length of the row

    def missing(self, symbol: str) -> range:
        """Ids up to the one that a heartbeat has named that have not come."""
        last = self._market.last_trade(Stream(symbol, "trade"))
        named = self._named.get(symbol)
        return range(0) if last is None or named is None else range(last + 1, named[0] + 1)

    def named(self, symbol: str, ident: int, now_ns: int) -> None:
        """Take in the newest trade id of a heartbeat."""
        last = self._market.last_trade(Stream(symbol, "trade"))
        if last is None or ident <= last:
            self._named.pop(symbol, None)
        elif symbol not in self._named or self._named[symbol][0] <= last:
            self._named[symbol] = ident, now_ns

    def on_second(self, now_ns: int) -> list[Request]:
        """Ask for trades that have not come."""
        requests: list[Request] = []
        for symbol, (ident, since_ns) in list(self._named.items()):
            missing = self.missing(symbol)
            if not missing or self._asked.get(symbol, -1) >= ident:
                del self._named[symbol]
            elif now_ns - since_ns >= GRACE_NS:
                del self._named[symbol]
                self._asked[symbol] = ident
                count = min(len(missing), self._archive.page)
                path = self._archive.path(symbol, "trade", ident + 1 - count, count)
                requests.append(Request(f"{NEWER}{symbol}", path, self._budget.next_ns(now_ns)))
        return requests

    def answered(self, listing: Listing, answer: Answer, now_ns: int) -> bool:
        """Record still missing trades with flag SNAPSHOT; returns whether there were any. Raises RejectError."""
        symbol = listing.instrument.symbol
        trades = self._archive.read(answer.body, symbol, "trade")
        last = self._market.last_trade(Stream(symbol, "trade"))
        newer = sorted((one for one in trades if last is None or one.id > last), key=lambda one: one.id)
        for trade in newer:
            self._market.on_trade(listing, msgspec.structs.replace(trade, flags=Flag.SNAPSHOT), now_ns)
        if newer:
            before, answers = self._answers.get(symbol, (None, 0))
            self._answers[symbol] = newer[-1].id, answers + 1 if last == before else 1
        return bool(newer)

    def take_silent(self) -> list[Stream]:
        """Streams that have brought nothing over several answers."""
        silent = [symbol for symbol, (_, answers) in self._answers.items() if answers >= SILENT_ANSWERS]
        for symbol in silent:
            del self._answers[symbol]
        return [Stream(symbol, "trade") for symbol in silent]
