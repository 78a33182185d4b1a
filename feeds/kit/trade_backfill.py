"""Trades missing from the stream, fetched over REST: which to ask for, and when to give up. Pure.

A hole is the range of ids in a GAP. Trades fetched for a hole become TRADE records with flag BACKFILL and the
venue's own ids. So the GAP's range minus the ids recorded is what is missing in the end. Holes never overlap, and each
id is asked for until it or a later one of its hole has come: no trade is recorded twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from tickplant.feeds.contract import Answer, Request
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import SECOND_NS, RequestBudget
from tickplant.records.channels import ON_CHANNEL

KEY: Final = "trades"
_KEY: Final = re.compile(rf"{KEY} (\S+) (\S+) (\d{{1,19}}) (\d{{1,19}})", re.ASCII)
MOST_TRADES: Final = 100_000
"""Only this many trades of a longer hole, the first ones, are fetched; with 25 per request that takes four minutes."""

MOST_HOLES: Final = 1000
MOST_ATTEMPTS: Final = 6
FIRST_DELAY_NS: Final = SECOND_NS


class TradeHistory(Protocol):
    """How to ask a venue for past trades."""

    page: int  # most trades that the venue gives in one answer

    def path(self, symbol: str, channel: str, first: int | None, count: int) -> str:
        """The path of a request for `count` trades starting at an id, or for the newest ones."""
        ...

    def share(self, channel: str) -> float:
        """The cost of such a request, in snapshots."""
        ...

    @property
    def headers(self) -> dict[str, str]:
        """The headers of such a request."""
        ...

    def read(self, body: bytes, symbol: str, channel: str) -> Sequence[VenueTrade]:
        """The trades of an answer, in any order. Raises RejectError."""
        ...


class IdRange(msgspec.Struct):
    """Missing ids of one stream of a symbol: first … last."""

    symbol: str
    channel: str  # trade or agg_trade
    first: int
    last: int
    attempts: int = 0  # consecutive attempts that brought nothing


class Fetched(msgspec.Struct):
    """The trades that an answer has brought."""

    hole: IdRange
    trades: list[VenueTrade] = []  # trades of the hole, ascending
    again: Request | None = None  # the next request
    missing: int = 0  # trades that the venue does not have, or that are given up
    rejected: RejectError | None = None  # the answer could not be read


class TradeBackfill:
    """The holes of a feed."""

    def __init__(self, history: TradeHistory, budget: RequestBudget) -> None:
        self._history = history
        self._budget = budget
        self._open: dict[str, IdRange] = {}  # by request key

    def fetch(self, hole: IdRange, now_ns: int) -> tuple[Request | None, int]:
        """The request for a new hole, and how many of its trades will not be fetched."""
        if len(self._open) >= MOST_HOLES:
            return None, hole.last - hole.first + 1
        last = min(hole.last, hole.first + MOST_TRADES - 1)
        missing, hole.last = hole.last - last, last
        return self._request(hole, now_ns), missing

    def expect(self, key: str) -> None:
        """Accept the next answer of this key, if it is one of a feed's keys, as if this object had asked."""
        match = _KEY.fullmatch(key)
        if match is not None and match[2] in ON_CHANNEL:
            self._open[key] = IdRange(match[1], match[2], int(match[3]), int(match[4]))

    def answered(self, answer: Answer, now_ns: int) -> Fetched | None:
        """Take in an answer or a failure; None if it belongs to no hole."""
        hole = self._open.pop(answer.request.key, None)
        if hole is None:
            return None
        fetched = Fetched(hole)
        if answer.status == 200:
            try:
                rows = self._history.read(answer.body, hole.symbol, hole.channel)
            except RejectError as rejected:
                fetched.rejected = rejected
            else:
                self._take(fetched, rows)
        if not fetched.trades:
            hole.attempts += 1
            if hole.attempts >= MOST_ATTEMPTS:
                fetched.missing += hole.last - hole.first + 1
                return fetched
        if hole.first <= hole.last:
            delay_ns = FIRST_DELAY_NS << hole.attempts - 1 if hole.attempts else 0
            fetched.again = self._request(hole, now_ns, delay_ns)
        return fetched

    def _take(self, fetched: Fetched, rows: Sequence[VenueTrade]) -> None:
        hole = fetched.hole
        for row in sorted(rows, key=lambda row: row.id):
            if hole.first <= row.id <= hole.last:
                fetched.missing += row.id - hole.first
                hole.first = row.id + 1
                fetched.trades.append(row)
        if fetched.trades:
            hole.attempts = 0
        if hole.first <= hole.last and any(row.id > hole.last for row in rows):
            # The answer reaches beyond the hole: the venue does not have the ids that it lacks.
            fetched.missing += hole.last - hole.first + 1
            hole.first = hole.last + 1

    def _request(self, hole: IdRange, now_ns: int, delay_ns: int = 0) -> Request:
        history = self._history
        key = f"{KEY} {hole.symbol} {hole.channel} {hole.first} {hole.last}"
        path = history.path(hole.symbol, hole.channel, hole.first, min(history.page, hole.last - hole.first + 1))
        self._open[key] = hole
        at_ns = max(now_ns + delay_ns, self._budget.next_ns(now_ns, history.share(hole.channel)))
        return Request(key, path, at_ns, history.headers)
