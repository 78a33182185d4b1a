"""dxLink without a token, as on dxFeed's demo server, and behind tastytrade's token service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tickplant.errors import FeedError
from tickplant.sim.conversation import Answer, Get, Refusal, Refused, Text
from tickplant.sim.dialect import Dialect, Limits, Snapshot
from tickplant.sim.dialects.dxlink import session
from tickplant.sim.dialects.dxlink.printer import DxlinkPrinter
from tickplant.sim.dialects.dxlink.rest import WRONG, TokenDesk
from tickplant.sim.faults import KINDS, FaultWords
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.sim_source import Asker
from tickplant.sim.spec import SimSpec

TASTYTRADE: Final = "tastytrade"

WORDS: Final = FaultWords(
    # There are neither checksums nor books.
    kinds=tuple(kind for kind in KINDS if kind not in ("corrupt", "stale-snapshot")),
    garbage='{"type":"FEED_DATA","channel":1,"data":<!DOCTYPE html><title>502 Bad Gateway</title>}',
    corrupt="channel",
    refused=Refused(0, "the subscription is not permitted"),
    trading="ACTIVE",
    halted="HALTED",
    delisted="UNDEFINED",
    endpoints=("token", "api-quote-tokens", "*"),
    book_of=lambda stream: f"{stream.partition('@')[0]}@Quote" if "@" in stream else "*@Quote",
    with_ids=lambda stream: f"{stream.partition('@')[0]}@TimeAndSale" if "@" in stream else "*@TimeAndSale",
)

_LIMITS: Final = Limits(None, 60.0, 200)


class Dxlink(Dialect, session.Desk):
    """Every path is a WebSocket; only tastytrade requires the token."""

    words = WORDS
    heartbeat_s = 10.0
    posts = True

    def __init__(self, spec: SimSpec) -> None:
        if spec.recording is not None:
            raise FeedError(f"simulated venue: {spec.venue} plays no recordings")
        self.needs_token = spec.venue == TASTYTRADE
        self.limits = _LIMITS.with_spec(spec)
        self._max_streams = spec.max_streams
        self._tokens = TokenDesk()
        self._market = LiveMarket(spec, lambda: DxlinkPrinter(spec.symbols), trading=WORDS.trading)
        self.source = self._market

    def bind(self, stale: Callable[[str], Snapshot | None]) -> None:
        """Does nothing: there are no books."""

    def accept(
        self, target: str, headers: Mapping[str, str], refuse: Callable[[], Refused | None]
    ) -> session.Session | Refusal:
        """One session per connection."""
        return session.Session(self, self._max_streams, refuse)

    def takes(self, token: str) -> bool:
        """See session.Desk."""
        return token in self._tokens.tokens if self.needs_token else token != WRONG

    def newest(self, symbol: str) -> Text | None:
        """See session.Desk."""
        printer, index = self._market.printer, self._market.index.get(symbol)
        assert isinstance(printer, DxlinkPrinter)
        text = None if index is None else printer.newest_quote(index)
        return None if text is None else Text(text, f"{symbol}@Quote")

    async def rest(self, request: Get, asker: Asker) -> Answer:
        """See `rest`."""
        return self._tokens.answer(request)

    def rest_refusal(self, status: int) -> bytes:
        """The venue's form of an error."""
        return b'{"error":{"code":"internal_error","message":"%d"}}' % status

    def snapshots(self) -> dict[str, Snapshot]:
        """None: there are no books."""
        return {}


def dialect(spec: SimSpec) -> Dialect:
    """The dialect of a spec for one of the two venues. Raises FeedError for a recording."""
    return Dxlink(spec)
