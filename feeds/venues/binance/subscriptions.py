"""Which streams go over which connection, what the venue has acknowledged, and what stays silent. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from tickplant.feeds.contract import WS, LinkSpec, Resubscribe, Send
from tickplant.feeds.venues.binance.venue import (
    MAX_AGE_S,
    SEND_INTERVAL_S,
    STREAM_OF,
    STREAMS_PER_CONNECTION,
    STREAMS_PER_REQUEST,
    Rules,
)
from tickplant.venues import VENUES

SECOND_NS: Final = 1_000_000_000
ANSWER_NS: Final = 10 * SECOND_NS
SEND_INTERVAL_NS: Final = int(SEND_INTERVAL_S * SECOND_NS)
LONGEST_PAUSE_NS: Final = 60 * SECOND_NS
BUSY: Final = frozenset({"quote", "book"})
"""Channels that a listed symbol keeps busy. Trades of an illiquid one may rightly be far apart."""

MAX_PATIENCE: Final = 64


class Stream(msgspec.Struct, frozen=True):
    """One channel of one symbol."""

    symbol: str
    channel: str

    @property
    def name(self) -> str:
        """As the venue calls it: symbols in lower case."""
        return f"{self.symbol.lower()}@{STREAM_OF[self.channel]}"


class Link:
    """One connection, its streams and their state. While it is replaced with overlap, two sockets bear its name."""

    def __init__(self, spec: LinkSpec, streams: Sequence[Stream], channels: Iterable[str] = ()) -> None:
        self.spec = spec
        self.streams = streams
        self.channels = frozenset(channels) | {stream.channel for stream in streams}
        self.sockets = 0
        self.replacing = False  # a Resubscribe has been asked for
        self.pending: dict[int, tuple[Sequence[Stream], int]] = {}  # request -> its streams, deadline of the answer
        self.refused: list[tuple[Sequence[Stream], int]] = []  # streams, and when to ask for them again
        self.refusals = 0  # in a row
        self.watched: dict[Stream, int] = {}  # acknowledged stream -> deadline of its next message
        self.patience: dict[Stream, int] = {}  # times the usual: grows while replacing the connection does not help


class Subscriptions:
    """All connections of a feed."""

    def __init__(
        self, rules: Rules, symbols: Sequence[str], channels: Iterable[str], *, ws_url: str = "", silent_s: float = 60.0
    ) -> None:
        base = ws_url or VENUES[rules.venue].endpoints[WS]
        by_url: dict[tuple[str, str], list[Stream]] = {}
        for channel in dict.fromkeys(channels):
            path = "" if ws_url else rules.paths[channel]
            url = f"{base.rstrip('/')}{path}/stream{rules.ws_query}"
            streams = by_url.setdefault((path.strip("/") or "stream", url), [])
            streams += [Stream(symbol, channel) for symbol in dict.fromkeys(symbols)]
        self.links: dict[str, Link] = {}
        self.quiet: list[Stream] = []  # trade streams that have brought nothing for a while; the caller empties it
        for (name, url), streams in by_url.items():
            for start in range(0, len(streams), STREAMS_PER_CONNECTION):
                full_name = name if start == 0 else f"{name}-{start // STREAMS_PER_CONNECTION + 1}"
                spec = LinkSpec(name=full_name, url=url, max_age_s=MAX_AGE_S, send_interval_s=SEND_INTERVAL_S)
                self.links[full_name] = Link(spec, streams[start : start + STREAMS_PER_CONNECTION])
        self._paths = rules.paths
        self._left: dict[str, list[tuple[Link, Stream]]] = {}  # streams that are not subscribed to, by symbol
        self._resting: set[str] = set()  # symbols that are not traded: their streams may be silent
        self._silent_ns = int(silent_s * SECOND_NS)
        self._next_id = 1

    def recorded(self, name: str) -> Link:
        """A link of the feed that made a recording: its streams are unknown, its channels follow from its name."""
        stem = name.partition("-")[0]
        channels = [channel for channel, path in self._paths.items() if stem in ("stream", path.strip("/"))]
        return self.links.setdefault(name, Link(LinkSpec(name=name, url=""), (), channels))

    def subscribe(self, link: Link, now_ns: int) -> list[Send]:
        """Requests for all streams of a connection that has just opened; their answers are awaited."""
        link.pending.clear()
        link.refused.clear()
        link.watched.clear()
        return [
            self._request(link, link.streams[start : start + STREAMS_PER_REQUEST], now_ns + number * SEND_INTERVAL_NS)
            for number, start in enumerate(range(0, len(link.streams), STREAMS_PER_REQUEST))
        ]

    def leave(self, symbol: str, now_ns: int) -> list[Send]:
        """End the subscriptions of a symbol; their places stay free for it."""
        sends: list[Send] = []
        for link in self.links.values():
            mine = [stream for stream in link.streams if stream.symbol == symbol]
            if not mine:
                continue
            link.streams = [stream for stream in link.streams if stream.symbol != symbol]
            for stream in mine:
                self._left.setdefault(symbol, []).append((link, stream))
                link.watched.pop(stream, None)
            if link.sockets:
                sends.append(self._request(link, mine, now_ns, method="UNSUBSCRIBE"))
        return sends

    def join(self, symbol: str, now_ns: int) -> list[Send]:
        """Subscribe to a symbol again that was left."""
        sends: list[Send] = []
        for link in self.links.values():
            mine = [stream for other, stream in self._left.get(symbol, ()) if other is link]
            link.streams = [*link.streams, *mine]
            if mine and link.sockets:
                sends.append(self._request(link, mine, now_ns))
        self._left.pop(symbol, None)
        return sends

    def rest(self, symbol: str, now_ns: int, *, resting: bool) -> None:
        """A symbol is not traded for now, or is again: its silence is no failure, or is one again."""
        (self._resting.add if resting else self._resting.discard)(symbol)
        if not resting:
            for link in self.links.values():
                self._watch(link, [stream for stream in link.watched if stream.symbol == symbol], now_ns)

    def _request(self, link: Link, streams: Sequence[Stream], sent_ns: int, *, method: str = "SUBSCRIBE") -> Send:
        link.pending[self._next_id] = (streams if method == "SUBSCRIBE" else (), sent_ns + ANSWER_NS)
        request = {"method": method, "params": [stream.name for stream in streams], "id": self._next_id}
        self._next_id += 1
        return Send(link.spec.name, msgspec.json.encode(request))

    def acknowledge(self, request: int | str | None, now_ns: int) -> None:
        """The venue has carried out a request."""
        for link in self.links.values():
            streams, _ = link.pending.pop(request, ((), 0)) if isinstance(request, int) else ((), 0)
            if streams:
                link.refusals = 0
            self._watch(link, streams, now_ns)

    def refuse(self, connection: str, request: int | str | None, now_ns: int) -> Sequence[Stream]:
        """The venue has refused a request, or the oldest one if it does not say which; returns its streams.

        They are asked for again after a pause that doubles.
        """
        link = self.links.get(connection)
        if link is None or not link.pending:
            return ()
        known = request if isinstance(request, int) and request in link.pending else next(iter(link.pending))
        streams, _ = link.pending.pop(known)
        if streams:
            link.refused.append((streams, now_ns + min(SECOND_NS << link.refusals, LONGEST_PAUSE_NS)))
            link.refusals = min(link.refusals + 1, 16)
        return streams

    def again(self, now_ns: int) -> list[Send]:
        """Requests for what was refused, when its pause is over."""
        sends: list[Send] = []
        for link in self.links.values():
            due = [streams for streams, at_ns in link.refused if at_ns <= now_ns]
            link.refused = [(streams, at_ns) for streams, at_ns in link.refused if at_ns > now_ns]
            wanted = [[stream for stream in streams if stream.symbol not in self._left] for streams in due]
            sends += [self._request(link, streams, now_ns) for streams in wanted if streams]
        return sends

    def restart_watch(self, link: Link, now_ns: int) -> None:
        """Expect every acknowledged stream to deliver from now on: the other socket of the link has closed."""
        self._watch(link, list(link.watched), now_ns)

    def overdue(self, now_ns: int, delivered: Callable[[Stream], bool]) -> list[tuple[Resubscribe, list[Stream]]]:
        """Connections to replace, and those of their streams that were acknowledged but are silent.

        `delivered` says whether a stream has brought anything since it was last asked about it.
        """
        result: list[tuple[Resubscribe, list[Stream]]] = []
        for name, link in self.links.items():
            if link.sockets == 0 or link.replacing:
                continue
            unanswered = [request for request, (_, deadline_ns) in link.pending.items() if deadline_ns <= now_ns]
            silent: list[Stream] = []
            for stream in [stream for stream, deadline_ns in link.watched.items() if deadline_ns <= now_ns]:
                patience = link.patience.get(stream, 1)
                if stream.symbol in self._resting:
                    self._watch(link, [stream], now_ns)
                    continue
                if delivered(stream):
                    link.patience[stream] = max(patience // 2, 1)
                    self._watch(link, [stream], now_ns)
                    continue
                link.patience[stream] = min(2 * patience, MAX_PATIENCE)
                if stream.channel in BUSY:
                    del link.watched[stream]
                    silent.append(stream)
                else:
                    self._watch(link, [stream], now_ns)
                    self.quiet.append(stream)
            if unanswered:
                result.append((Resubscribe(name, f"no answer to subscription request {unanswered[0]}"), []))
            elif silent:
                result.append((_replacement(link, silent), silent))
        for reconnect, _ in result:
            self.links[reconnect.link].replacing = True
        return result

    def replace(self, silent: Sequence[Stream]) -> list[Resubscribe]:
        """Replace the connections of streams that have failed, unless that is being done."""
        result: list[Resubscribe] = []
        for link in self.links.values():
            mine = [stream for stream in link.streams if stream in silent]
            if mine and link.sockets and not link.replacing:
                link.replacing = True
                result.append(_replacement(link, mine))
        return result

    def _watch(self, link: Link, streams: Iterable[Stream], now_ns: int) -> None:
        for stream in streams:
            if stream.symbol in self._left:
                continue
            link.watched[stream] = now_ns + self._silent_ns * link.patience.get(stream, 1)


def _replacement(link: Link, silent: Sequence[Stream]) -> Resubscribe:
    names = ", ".join(stream.name for stream in silent[:5]) + (", …" if len(silent) > 5 else "")
    return Resubscribe(link.spec.name, f"acknowledged but silent: {names}", overlap=True)
