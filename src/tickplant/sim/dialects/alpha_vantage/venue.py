"""Alpha Vantage: requests only."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import FeedError
from tickplant.sim import order_flow
from tickplant.sim.conversation import Answer, Get, Refusal, Refused, Session
from tickplant.sim.dialect import Dialect, Events, Limits, Printer, Snapshot
from tickplant.sim.dialects.alpha_vantage.rest import Rest
from tickplant.sim.faults import FaultWords
from tickplant.sim.frames import Batch
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.market import Market
from tickplant.sim.sim_source import Asker, Listed, Traded
from tickplant.sim.spec import SimSpec
from tickplant.sim.templates import decimals_of

WORDS: Final = FaultWords(
    kinds=("rest",),
    garbage="<!DOCTYPE html><title>502 Bad Gateway</title>",
    corrupt="",
    refused=Refused(0, ""),
    trading="trading",
    halted="halted",
    delisted="delisted",
    endpoints=("query", "*"),
    book_of=lambda stream: stream,
    with_ids=lambda stream: stream,
)
FREE_REQUESTS_PER_DAY: Final = 25


class SilentPrinter(Printer):
    """A market whose trades are kept, and which sends nothing."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.instruments = [_traded(symbol) for symbol in symbols]
        self.streams: list[str] = []
        self.intervals_ns = [1_000_000_000]
        self.id_step = 1
        self.decimals = decimals_of(self.instruments)

    def begin(self, market: Market) -> None:
        """Does nothing: no state."""

    def prepare(self) -> None:
        """Does nothing: nothing is printed."""

    def needs(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """All rows, so that there are trades for bars."""
        return np.ones(len(self.instruments) * (order_flow.DEPTH + 1), np.bool_)

    def render(
        self, events: Events, wanted: NDArray[np.bool_], variants: set[int]
    ) -> Iterator[tuple[int | None, Batch]]:
        """No frames."""
        return iter(())

    def changed(self, one: Listed) -> Batch | None:
        """None: the venue does not announce changes."""
        return None


def _traded(symbol: str) -> Traded:
    """A symbol's properties, derived from its name, always the same. Prices have four decimals."""
    price = 20 + zlib.crc32(symbol.encode()) % 480
    return Traded(symbol, symbol, "USD", price * 100, 100, 4, 1, 0, 100)


class AlphaVantage(Dialect):
    """One path, for requests."""

    words = WORDS
    heartbeat_s = None

    def __init__(self, spec: SimSpec) -> None:
        """Raises FeedError."""
        if spec.recording is not None:
            raise FeedError(f"simulated venue: {spec.venue} plays no recordings")
        self.limits = Limits(None, 60.0, 5).with_spec(spec)
        self.source = LiveMarket(spec, lambda: SilentPrinter(spec.symbols), trading=WORDS.trading)
        self._rest = Rest(self.source, per_day=spec.weight_per_minute or FREE_REQUESTS_PER_DAY)

    def bind(self, stale: Callable[[str], Snapshot | None]) -> None:
        """Does nothing: there are no snapshots."""

    def accept(
        self, target: str, headers: Mapping[str, str], refuse: Callable[[], Refused | None]
    ) -> Session | Refusal:
        """Refuse: there are no WebSockets."""
        return Refusal(404, "there is no WebSocket here")

    async def rest(self, request: Get, asker: Asker) -> Answer:
        """See `rest`."""
        return self._rest.answer(request)

    def rest_refusal(self, status: int) -> bytes:
        """The answer of a proxy in front of the service."""
        return b"<html><head><title>Service Unavailable</title></head></html>"

    def snapshots(self) -> dict[str, Snapshot]:
        """None: there are no books."""
        return {}


def dialect(spec: SimSpec) -> Dialect:
    """The dialect of a spec. Raises FeedError if a recording is to be played."""
    return AlphaVantage(spec)
