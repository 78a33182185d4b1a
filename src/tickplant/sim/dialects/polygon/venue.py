"""Polygon: one cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from tickplant.errors import FeedError
from tickplant.sim.conversation import Answer, Get, Refusal, Refused
from tickplant.sim.dialect import Dialect, Limits, Snapshot
from tickplant.sim.dialects.polygon.printer import PolygonPrinter
from tickplant.sim.dialects.polygon.prints import CLUSTERS
from tickplant.sim.dialects.polygon.session import Session
from tickplant.sim.faults import KINDS, FaultWords
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.sim_source import Asker
from tickplant.sim.spec import SimSpec

_IMPOSSIBLE: Final = ("corrupt", "stale-snapshot", "rest")  # no checksums, snapshots or requests
_LIMITS: Final = Limits(30.0, 60.0, 50)


def _words(trade: str, quote: str) -> FaultWords:
    return FaultWords(
        kinds=tuple(kind for kind in KINDS if kind not in _IMPOSSIBLE),
        garbage='[{"ev":"T","sym":<!DOCTYPE html><title>502 Bad Gateway</title>}]',
        corrupt="p",
        refused=Refused(0, "not authorized to subscribe to"),
        trading="trading",
        halted="halted",
        delisted="delisted",
        endpoints=("*",),
        book_of=lambda stream: f"{quote}.{stream.partition('.')[2]}" if "." in stream else "*",
        with_ids=lambda stream: f"{trade}.{stream.partition('.')[2]}" if "." in stream else "*",
    )


class Polygon(Dialect):
    """One path; a login; topics by kind and symbol."""

    heartbeat_s = None

    def __init__(self, spec: SimSpec) -> None:
        """Raises FeedError."""
        if spec.recording is not None:
            raise FeedError(f"simulated venue: {spec.venue} plays no recordings")
        self._cluster = cluster = CLUSTERS[spec.venue]
        self.words = _words(cluster.prefixes[0], cluster.prefixes[2])
        self.limits = _LIMITS.with_spec(spec)
        self._max_streams = spec.max_streams
        self._logins: dict[str, Session] = {}
        self.source = LiveMarket(spec, lambda: PolygonPrinter(cluster, spec.symbols), trading=self.words.trading)

    def bind(self, stale: Callable[[str], Snapshot | None]) -> None:
        """Does nothing: there are no snapshots."""

    def accept(
        self, target: str, headers: Mapping[str, str], refuse: Callable[[], Refused | None]
    ) -> Session | Refusal:
        """Accept the only path."""
        if urlsplit(target).path.rstrip("/") != self._cluster.path:
            return Refusal(404, "there is no WebSocket at this path")
        return Session(self._logins, self._offered, self._max_streams, refuse)

    def _offered(self, topic: str) -> list[str]:
        prefix, _, symbol = topic.partition(".")
        if not prefix or not symbol or prefix not in self._cluster.prefixes:
            return []
        if symbol == "*":
            return [f"{prefix}.{each}" for each in self.source.listed]
        return [topic]

    async def rest(self, request: Get, asker: Asker) -> Answer:
        """Refuse: past data are not simulated."""
        return Answer(404, b'{"status":"ERROR","error":"not simulated"}')

    def rest_refusal(self, status: int) -> bytes:
        """The venue's form of an error."""
        return b'{"status":"ERROR","error":"try again later"}'

    def snapshots(self) -> dict[str, Snapshot]:
        """None: there are no snapshots."""
        return {}


def dialect(spec: SimSpec) -> Dialect:
    """The dialect of a spec for one of the clusters. Raises FeedError if a recording is to be played."""
    return Polygon(spec)
