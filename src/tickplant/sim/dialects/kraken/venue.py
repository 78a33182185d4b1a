"""Kraken spot."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from tickplant.sim.conversation import Answer, Get, Refusal, Refused
from tickplant.sim.dialect import Dialect, Limits, Snapshot
from tickplant.sim.dialects.kraken import rest
from tickplant.sim.dialects.kraken.desk import MarketDesk
from tickplant.sim.dialects.kraken.printer import KrakenPrinter
from tickplant.sim.dialects.kraken.recorded import KrakenRecording
from tickplant.sim.dialects.kraken.session import Session
from tickplant.sim.faults import KINDS, FaultWords
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.player import Player
from tickplant.sim.sim_source import Asker, Source
from tickplant.sim.spec import SimSpec

PATH: Final = "/v2"
FIRST_CONNECTION: Final = 1 << 63  # the venue's ids of connections need all 64 bits

WORDS: Final = FaultWords(
    kinds=KINDS,
    garbage='{"channel":"trade","type":"update","data":<!DOCTYPE html><title>502 Bad Gateway</title>}',
    corrupt="checksum",
    refused=Refused(0, "Exceeded msg rate"),
    trading="online",
    halted="maintenance",
    delisted="delisted",
    endpoints=("Trades", "*"),
    book_of=lambda stream: f"{stream.partition('@')[0]}@book*" if "@" in stream else "*@book*",
    with_ids=lambda stream: f"{stream.partition('@')[0]}@trade" if "@" in stream else "*@trade",
)

# The venue's rate limit is dynamic; it has never refused this many messages a second. It does not ping.
_LIMITS: Final = Limits(None, 60.0, 50)


class Kraken(Dialect):
    """One path; subscriptions by channel and symbol; snapshots and checksums in the stream."""

    words = WORDS
    heartbeat_s = 1.0
    posts = True

    def __init__(self, spec: SimSpec) -> None:
        self.limits = _LIMITS.with_spec(spec)
        self._max_streams = spec.max_streams
        self._desk: MarketDesk | KrakenRecording
        self.source: Source
        if spec.recording is not None:
            self._desk = KrakenRecording(kept_trades=spec.history_trades)
            self.source = Player(spec, self._desk)
        else:
            market = LiveMarket(spec, lambda: KrakenPrinter(spec.symbols), trading=WORDS.trading)
            assert isinstance(market.printer, KrakenPrinter)
            self._desk = MarketDesk(market, market.printer)
            self.source = market

    def bind(self, stale: Callable[[str], Snapshot | None]) -> None:
        """Snapshots are frames, so the desk shows the old one."""
        self._desk.stale = stale

    def accept(
        self, target: str, headers: Mapping[str, str], refuse: Callable[[], Refused | None]
    ) -> Session | Refusal:
        """Accept the only path."""
        if urlsplit(target).path.rstrip("/") != PATH:
            return Refusal(404, "there is no WebSocket at this path")
        return Session(self._desk, FIRST_CONNECTION + time.time_ns(), self._max_streams, refuse)

    async def rest(self, request: Get, asker: Asker) -> Answer:
        """See `rest`."""
        return rest.answer(self._desk, request)

    def rest_refusal(self, status: int) -> bytes:
        """The venue's list of errors."""
        return b'{"error":["EAPI:Rate limit exceeded"]}' if status == 429 else b'{"error":["EService:Unavailable"]}'

    def snapshots(self) -> dict[str, Snapshot]:
        """The snapshot of each book."""
        return self._desk.snapshots()


def dialect(spec: SimSpec) -> Dialect:
    """The dialect of a spec. Raises FeedError if a recording cannot be played."""
    return Kraken(spec)
