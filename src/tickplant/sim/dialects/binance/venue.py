"""Binance: spot, USD-M futures as `binance-usdm`, COIN-M futures as `binance-coinm`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tickplant.sim.conversation import Answer, Get, Refusal, Refused
from tickplant.sim.dialect import Dialect, Snapshot
from tickplant.sim.dialects.binance.desk import Desk, MarketDesk
from tickplant.sim.dialects.binance.families import FAMILIES, Family
from tickplant.sim.dialects.binance.printer import BinancePrinter
from tickplant.sim.dialects.binance.recorded import BinanceRecording, RecordingDesk
from tickplant.sim.dialects.binance.rest import Rest
from tickplant.sim.dialects.binance.session import MICROSECOND_NS, MILLISECOND_NS, Session, parse_target
from tickplant.sim.faults import KINDS, FaultWords
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.player import Player
from tickplant.sim.prepared_market import PreparedMarket
from tickplant.sim.sim_source import Asker, Source
from tickplant.sim.spec import SimSpec

WORDS: Final = FaultWords(
    # A wrong digit cannot be noticed: there are no checksums.
    kinds=tuple(kind for kind in KINDS if kind != "corrupt"),
    garbage='{"stream":"btcusdt@trade","data":<!DOCTYPE html><title>502 Bad Gateway</title>}',
    corrupt="p",
    refused=Refused(2, "Invalid request: too many requests in flight"),
    trading="TRADING",
    halted="HALT",
    delisted="BREAK",
    endpoints=("depth", "historicalTrades", "*"),
    book_of=lambda stream: stream.partition("@")[0] + "@depth@100ms",
    # The id of a quote does not show whether an earlier one was lost or dropped as late: no feed could account for it.
    with_ids=lambda stream: stream.replace("@bookTicker", "@trade"),
)

_REFUSALS: Final = {
    418: b'{"code":-1003,"msg":"Way too much request weight used; IP banned until it has cooled down."}',
    429: b'{"code":-1003,"msg":"Too much request weight used; current limit is 6000 request weight per 1 MINUTE."}',
}
_FAILURE: Final = b'{"code":-1000,"msg":"An unknown error occurred while processing the request."}'


class Binance(Dialect):
    """Subscriptions by stream name; frames with or without the stream's name; books and trades by REST."""

    words = WORDS
    heartbeat_s = None

    def __init__(self, spec: SimSpec) -> None:
        self._venue = spec.venue
        family = FAMILIES[spec.venue]
        self.limits = family.limits.with_spec(spec)
        self._max_streams = spec.max_streams
        self._default_unit_ns = MICROSECOND_NS if spec.microseconds else MILLISECOND_NS
        self.source, self._desk = _sources(spec, family)
        self._rest = Rest(self._desk, family, weight_per_minute=spec.weight_per_minute or family.weight_per_minute)

    def bind(self, stale: Callable[[str], Snapshot | None]) -> None:
        """Depth answers are the snapshots."""
        self._rest.stale = stale

    def accept(
        self, target: str, headers: Mapping[str, str], refuse: Callable[[], Refused | None]
    ) -> Session | Refusal:
        """The path and the query determine form, streams and unit of time."""
        wanted = parse_target(target, self._venue)
        if wanted is None:
            return Refusal(404, "there is no WebSocket below this path")
        if len(wanted.streams) > self._max_streams:
            return Refusal(400, "too many streams")
        return Session(wanted, self._max_streams, refuse, self._default_unit_ns)

    async def rest(self, request: Get, asker: Asker) -> Answer:
        """See `rest`."""
        return await self._rest.answer(request, asker)

    def rest_refusal(self, status: int) -> bytes:
        """An error object."""
        return _REFUSALS.get(status, _FAILURE)

    def snapshots(self) -> dict[str, Snapshot]:
        """Bodies of depth answers."""
        return self._desk.snapshots()


def _sources(spec: SimSpec, family: Family) -> tuple[Source, Desk]:
    if spec.recording is not None:
        recorded = BinanceRecording(spec.venue, kept_trades=spec.history_trades)
        player = Player(spec, recorded)
        return player, RecordingDesk(player, recorded)
    kind = PreparedMarket if spec.prepared_messages else LiveMarket
    market = kind(spec, lambda: BinancePrinter(spec.venue, spec.symbols), trading=WORDS.trading)
    return market, MarketDesk(market, family)


def dialect(spec: SimSpec) -> Dialect:
    """The dialect of a spec for one of the three venues. Raises FeedError if a recording cannot be played."""
    return Binance(spec)
