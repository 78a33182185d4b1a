"""OKX, spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from tickplant.errors import FeedError
from tickplant.sim.conversation import Answer, Get, Refusal, Refused
from tickplant.sim.dialect import Dialect, Limits, Snapshot
from tickplant.sim.dialects.okx.okx_desk import MarketDesk
from tickplant.sim.dialects.okx.okx_printer import OkxPrinter
from tickplant.sim.dialects.okx.okx_session import Session
from tickplant.sim.faults import KINDS, FaultWords
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.sim_source import Asker
from tickplant.sim.spec import SimSpec

WORDS: Final = FaultWords(
    # Without checksums, a wrong digit in a book cannot be noticed.
    kinds=tuple(kind for kind in KINDS if kind != "corrupt"),
    garbage='{"arg":{"channel":"trades"},"data":<!DOCTYPE html><title>502 Bad Gateway</title>}',
    corrupt="prevSeqId",
    refused=Refused(60014, "Requests too frequent"),
    trading="live",
    halted="suspend",
    delisted="expired",
    endpoints=("instruments", "*"),
    book_of=lambda stream: f"{stream.partition('@')[0]}@books" if "@" in stream else "*@books",
    with_ids=lambda stream: f"{stream.partition('@')[0]}@books" if "@" in stream else "*@books",
)

# The venue takes 3 requests a second. It does not ping.
_LIMITS: Final = Limits(None, 60.0, 3)
_WS: Final = "/ws/v5/public"
_INSTRUMENTS: Final = "/api/v5/public/instruments"


class Okx(Dialect):
    """One path; subscriptions by channel and pair; books in the stream, chained."""

    words = WORDS
    heartbeat_s = None

    def __init__(self, spec: SimSpec) -> None:
        if spec.recording is not None:
            raise FeedError("simulated venue: recordings of okx cannot be played")
        self.limits = _LIMITS.with_spec(spec)
        market = LiveMarket(spec, lambda: OkxPrinter(spec.symbols), trading=WORDS.trading)
        assert isinstance(market.printer, OkxPrinter)
        self._desk = MarketDesk(market, market.printer)
        self.source = market

    def bind(self, stale: Callable[[str], Snapshot | None]) -> None:
        """Snapshots are frames."""
        self._desk.stale = stale

    def accept(
        self, target: str, headers: Mapping[str, str], refuse: Callable[[], Refused | None]
    ) -> Session | Refusal:
        """Accept the only path."""
        if urlsplit(target).path.rstrip("/") != _WS:
            return Refusal(404, "there is no WebSocket at this path")
        return Session(self._desk, refuse)

    async def rest(self, request: Get, asker: Asker) -> Answer:
        """Serve the instrument data."""
        if urlsplit(request.target).path != _INSTRUMENTS:
            return Answer(404, self.rest_refusal(404))
        return Answer(200, self._desk.instruments())

    def rest_refusal(self, status: int) -> bytes:
        """A code and its message."""
        return (
            b'{"code":"50011","data":[],"msg":"Too Many Requests"}' if status == 429 else b'{"code":"50001","data":[]}'
        )

    def snapshots(self) -> dict[str, Snapshot]:
        """The snapshot of each book."""
        return self._desk.snapshots()


def dialect(spec: SimSpec) -> Dialect:
    """The dialect of a spec. Raises FeedError if it has a recording."""
    return Okx(spec)
