"""Tests whether a quiet trade stream is rightly quiet: asks the venue over REST for its newest trade. Pure.

Quotes and books of a listed symbol never rest for long; its trades may. So silence alone proves nothing. A trade that
the venue has and the stream has not delivered does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tickplant.feeds.contract import Answer, Request
from tickplant.feeds.kit.request_budget import SECOND_NS, RequestBudget
from tickplant.feeds.kit.subscriptions import Stream
from tickplant.feeds.kit.trade_backfill import TradeHistory

KEY: Final = "newest"
SYMBOL_REFUSED: Final = (400, 404)
"""HTTP status of an answer about a symbol that the venue does not have."""

GRACE_NS: Final = SECOND_NS
"""How much later a trade may arrive over the stream than over REST."""


class LivenessProbe:
    """Remembers the venue's answer for each quiet stream."""

    def __init__(self, history: TradeHistory, budget: RequestBudget) -> None:
        self._history = history
        self._budget = budget
        self._asked: dict[str, Stream] = {}  # by request key
        self._newest: dict[Stream, int] = {}  # id that the venue named last
        self._suspects: dict[Stream, tuple[int, int]] = {}  # id that should arrive, and its deadline

    def ask(self, stream: Stream, now_ns: int) -> Request:
        """The request for the newest trade of a stream."""
        key = f"{KEY} {stream.symbol} {stream.channel}"
        self._asked[key] = stream
        path = self._history.path(stream.symbol, stream.channel, None, 1)
        return Request(key, path, self._budget.next_ns(now_ns, self._history.share(stream.channel)))

    def answered(self, answer: Answer, now_ns: int, last_of: Callable[[Stream], int | None]) -> None:
        """Take in an answer. A failed one leaves the question open until it is asked again.

        `last_of` gives the newest id that a stream has brought. Raises RejectError if the answer cannot be read.
        """
        stream = self._asked.pop(answer.request.key, None)
        if stream is None or answer.status != 200:
            return
        rows = self._history.read(answer.body, stream.symbol, stream.channel)
        newest = max((row.id for row in rows), default=-1)
        known = [ident for ident in (last_of(stream), self._newest.get(stream)) if ident is not None]
        # Before the first trade of the stream, the venue's newest trade may be old: only a newer one proves a loss.
        if known and newest > max(known):
            self._suspects[stream] = newest, now_ns + GRACE_NS
        self._newest[stream] = newest

    def is_doubtful(self, answer: Answer) -> bool:
        """Whether an answer suggests that the venue no longer has the symbol: a refusal, or no trades at all."""
        is_mine = answer.request.key.startswith(KEY)
        return is_mine and (answer.status in (400, 404) or (answer.status == 200 and answer.body.strip() == b"[]"))

    def silent(self, now_ns: int, last_of: Callable[[Stream], int | None]) -> list[Stream]:
        """Streams that have not brought a trade which the venue has."""
        due = {stream: newest for stream, (newest, until_ns) in self._suspects.items() if until_ns <= now_ns}
        for stream in due:
            del self._suspects[stream]
        return [stream for stream, newest in due.items() if (last_of(stream) or -1) < newest]
