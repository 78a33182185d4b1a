"""What a feed asks the venue about past trades: missed ones to record, and the newest one to judge a quiet stream."""

from __future__ import annotations

from collections.abc import Callable

from tickplant.feeds.contract import Answer, FeedCounters, Request
from tickplant.feeds.kit import liveness_probe, trade_backfill
from tickplant.feeds.kit.liveness_probe import LivenessProbe
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import RequestBudget
from tickplant.feeds.kit.trade_backfill import TradeBackfill, TradeHistory


class PastTrades:
    """Requests and answers of the backfill and the liveness probe, counted in the feed's counters."""

    def __init__(
        self,
        history: TradeHistory,
        budget: RequestBudget,
        market: Market,
        counters: FeedCounters,
        reject: Callable[[RejectError, bytes, int], None],
    ) -> None:
        self.probe = LivenessProbe(history, budget)
        self._backfill = TradeBackfill(history, budget)
        self._market = market
        self._counters = counters
        self._reject = reject

    def fetch_missed(self, *, asking: bool) -> list[Request]:
        """Requests for the holes that the market has seen; none unless `asking`: a recording cannot answer."""
        holes, self._market.holes = self._market.holes, []
        requests: list[Request] = []
        for hole, now_ns in holes if asking else ():
            request, missing = self._backfill.fetch(hole, now_ns)
            self._counters.unfilled += missing
            if request is not None:
                requests.append(request)
        return requests

    def knows(self, request: Request) -> bool:
        """Whether this object made the request."""
        return request.key.startswith((trade_backfill.KEY, liveness_probe.KEY))

    def on_recorded(self, answer: Answer, now_ns: int) -> None:
        """Take in an answer that another feed asked for."""
        if answer.request.key.startswith(trade_backfill.KEY):
            self._backfill.expect(answer.request.key)
        self.on_answer(answer, now_ns)

    def on_answer(self, answer: Answer, now_ns: int) -> list[Request]:
        """Take in an answer or a failure; returns the next requests."""
        if answer.request.key.startswith(liveness_probe.KEY):
            self._on_newest(answer, now_ns)
            return []
        return self._on_missed(answer, now_ns)

    def _on_newest(self, answer: Answer, now_ns: int) -> None:
        self._counters.frames += answer.status == 200
        try:
            self.probe.answered(answer, now_ns, self._market.last_trade)
            self._counters.ignored += answer.status == 200
        except RejectError as rejected:
            rejected.accounted = True  # the probe asks again
            self._reject(rejected, answer.body, now_ns)

    def _on_missed(self, answer: Answer, now_ns: int) -> list[Request]:
        fetched = self._backfill.answered(answer, now_ns)
        if fetched is None:
            self._counters.frames += answer.status == 200
            self._counters.ignored += answer.status == 200
            return []
        self._counters.unfilled += fetched.missing
        rejected = fetched.rejected
        for trade in fetched.trades:
            try:
                if self._market.listings.get(trade.symbol) is not None:
                    self._market.on_past_trade(trade, now_ns)
                    self._counters.backfilled += 1
            except RejectError as error:
                self._counters.unfilled += 1
                rejected = error
        if answer.status == 200:
            self._counters.frames += 1
            if rejected is not None:
                rejected.accounted = True  # the gap to be filled stands for it
                self._reject(rejected, answer.body, now_ns)
            elif fetched.trades:
                self._counters.parsed += 1
            else:
                self._counters.ignored += 1
        return [] if fetched.again is None else [fetched.again]
