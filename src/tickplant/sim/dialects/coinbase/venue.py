"""Coinbase Exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from tickplant.sim.conversation import Answer, Get, Refusal, Refused
from tickplant.sim.dialect import Dialect, Limits, Snapshot
from tickplant.sim.dialects.coinbase import exchange_rest
from tickplant.sim.dialects.coinbase.desk import MarketDesk
from tickplant.sim.dialects.coinbase.exchange_printer import ExchangePrinter
from tickplant.sim.dialects.coinbase.recorded import CoinbaseRecording
from tickplant.sim.dialects.coinbase.session import Session
from tickplant.sim.faults import KINDS, FaultWords
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.player import Player
from tickplant.sim.sim_source import Asker, Source
from tickplant.sim.spec import SimSpec

# Books have neither ids nor checksums: losses and errors on a living connection cannot be noticed.
UNNOTICED: Final = ("corrupt", "stall", "stale-snapshot")


def not_a_book(stream: str) -> str:
    """The trades of the product of a book's stream; other streams as they are."""
    return stream.replace("@level2", "@matches") if "@" in stream else "*@[!l]*"


WORDS: Final = FaultWords(
    kinds=tuple(kind for kind in KINDS if kind not in UNNOTICED),
    garbage='{"type":"match","trade_id":<!DOCTYPE html><title>502 Bad Gateway</title>}',
    corrupt="price",
    refused=Refused(0, "Failed to subscribe"),
    trading="online",
    halted="offline",
    delisted="delisted",
    endpoints=("trades", "book", "products", "*"),
    book_of=lambda stream: f"{stream.partition('@')[0]}@level2" if "@" in stream else "*@level2",
    with_ids=lambda stream: f"{stream.partition('@')[0]}@matches" if "@" in stream else "*@matches",
    loses=not_a_book,
)

# The venue takes 100 messages a second. It does not ping.
_LIMITS: Final = Limits(None, 60.0, 100)


class Coinbase(Dialect):
    """One path; subscriptions by channel and product; books in the stream."""

    words = WORDS
    heartbeat_s = None  # each product has its own

    def __init__(self, spec: SimSpec) -> None:
        self.limits = _LIMITS.with_spec(spec)
        self._max_streams = spec.max_streams
        self._desk: MarketDesk | CoinbaseRecording
        self.source: Source
        if spec.recording is not None:
            self._desk = CoinbaseRecording(kept_trades=spec.history_trades)
            self.source = Player(spec, self._desk)
        else:
            market = LiveMarket(spec, lambda: ExchangePrinter(spec.symbols), trading=WORDS.trading)
            assert isinstance(market.printer, ExchangePrinter)
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
        return Session(self._desk, self._max_streams, refuse)

    async def rest(self, request: Get, asker: Asker) -> Answer:
        """See `exchange_rest`."""
        return exchange_rest.answer(self._desk, request)

    def rest_refusal(self, status: int) -> bytes:
        """A message object."""
        return b'{"message":"Public rate limit exceeded"}' if status == 429 else b'{"message":"Internal server error"}'

    def snapshots(self) -> dict[str, Snapshot]:
        """The snapshot of each book."""
        return self._desk.snapshots()


def dialect(spec: SimSpec) -> Dialect:
    """The dialect of a spec. Raises FeedError if a recording cannot be played."""
    return Coinbase(spec)
