"""Coinbase Advanced Trade."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from tickplant.errors import FeedError
from tickplant.sim.conversation import Answer, Get, Refusal, Refused
from tickplant.sim.dialect import Dialect, Limits, Snapshot
from tickplant.sim.dialects.coinbase_advanced.advanced_desk import MarketDesk
from tickplant.sim.dialects.coinbase_advanced.advanced_printer import AdvancedPrinter
from tickplant.sim.dialects.coinbase_advanced.advanced_session import FAILURE, Session
from tickplant.sim.faults import KINDS, FaultWords
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.sim_source import Asker
from tickplant.sim.spec import SimSpec

WORDS: Final = FaultWords(
    # A connection counts its messages, but a wrong digit or an old book in one of them cannot be noticed.
    kinds=tuple(kind for kind in KINDS if kind not in ("corrupt", "stale-snapshot", "rest")),
    garbage='{"channel":"market_trades","sequence_num":<!DOCTYPE html><title>502 Bad Gateway</title>}',
    corrupt="price",
    refused=Refused(0, FAILURE),
    trading="online",
    halted="offline",
    delisted="delisted",
    endpoints=("*",),
    book_of=lambda stream: f"{stream.partition('@')[0]}@level2" if "@" in stream else "*@level2",
    with_ids=lambda stream: stream,
)

# The venue takes 8 messages a second from a client without a key. It does not ping.
_LIMITS: Final = Limits(None, 60.0, 8)


class Advanced(Dialect):
    """One path; subscriptions by channel; books in the stream; every message of a connection has a number."""

    words = WORDS
    heartbeat_s = 1.0

    def __init__(self, spec: SimSpec) -> None:
        if spec.recording is not None:
            raise FeedError("simulated venue: recordings of coinbase-advanced cannot be played")
        self.limits = _LIMITS.with_spec(spec)
        market = LiveMarket(spec, lambda: AdvancedPrinter(spec.symbols), trading=WORDS.trading)
        assert isinstance(market.printer, AdvancedPrinter)
        self._desk = MarketDesk(market, market.printer)
        self.source = market

    def bind(self, stale: Callable[[str], Snapshot | None]) -> None:
        """Ignored: snapshots are frames, which the connection vouches for."""

    def accept(
        self, target: str, headers: Mapping[str, str], refuse: Callable[[], Refused | None]
    ) -> Session | Refusal:
        """Accept the only path."""
        if urlsplit(target).path not in ("", "/"):
            return Refusal(404, "there is no WebSocket at this path")
        return Session(self._desk, refuse)

    async def rest(self, request: Get, asker: Asker) -> Answer:
        """Refuse: a feed needs no REST."""
        return Answer(404, self.rest_refusal(404))

    def rest_refusal(self, status: int) -> bytes:
        """A message object."""
        return b'{"error":"unknown","message":"HTTP status %d"}' % status

    def snapshots(self) -> dict[str, Snapshot]:
        """The snapshot of each book."""
        return self._desk.snapshots()


def dialect(spec: SimSpec) -> Dialect:
    """The dialect of a spec. Raises FeedError if it has a recording."""
    return Advanced(spec)
