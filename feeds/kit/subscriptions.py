"""Which streams each link carries, what the venue has acknowledged, and what stays silent. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol

from tickplant.feeds.contract import LinkSpec, Open, Resubscribe, Send
from tickplant.feeds.kit.link_groups import SECOND_NS, Link, LinkGroups, Pending, Stream
from tickplant.instruments import FEED_SYMBOL
from tickplant.records.channels import ON_CHANNEL

__all__ = ["BUSY", "Link", "Stream", "SubscribeCodec", "Subscriptions"]

ANSWER_NS: Final = 10 * SECOND_NS
LONGEST_PAUSE_NS: Final = 60 * SECOND_NS
BUSY: Final = frozenset({"quote", "book"})
"""Channels that a listed symbol keeps busy at most venues. Trades of an illiquid symbol may rightly be far apart."""

MAX_PATIENCE: Final = 64

Due = Callable[[Link, Sequence[Stream]], Sequence[Stream]]


class SubscribeCodec(Protocol):
    """How a venue words subscriptions."""

    streams_per_request: int
    busy: Collection[str]  # channels that a listed symbol keeps busy: silence alone is a failure

    def name(self, stream: Stream) -> str:
        """The venue's name of a stream, for logs."""
        ...

    def group(self, stream: Stream) -> str:
        """The group of a stream. A request contains streams of one group only."""
        ...

    def request(self, streams: Sequence[Stream], request: int, *, subscribe: bool) -> bytes:
        """The message that begins or ends subscriptions of one group; its answers name the request."""
        ...


class Subscriptions(LinkGroups):
    """All connections of a feed."""

    def __init__(
        self,
        links: Iterable[tuple[LinkSpec, Sequence[Stream]]],
        codec: SubscribeCodec,
        *,
        silent_s: float = 60.0,
        streams_per_link: int = 0,
        symbols_per_link: int = 0,
        request_bytes: int | None = None,
        secret: Collection[str] = (),
        halves: bool = False,
        each_link: Sequence[Stream] = (),
    ) -> None:
        """No subscriptions so far.

        Args:
            links: what each link carries at first.
            codec: how the venue words subscriptions.
            silent_s: a stream that may not rest has failed after this much silence.
            streams_per_link: limit for a link when symbols are added at run time; 0: any number.
            symbols_per_link: likewise.
            request_bytes: a longer request is split; None if the venue has no such limit.
            secret: names of the links whose requests hold a credential.
            halves: one refused stream may fail its whole request, so the halves are then requested separately.
            each_link: streams of no symbol that every added link carries, such as heartbeats.
        """
        super().__init__(links, silent_s, streams_per_link, symbols_per_link, each_link)
        self.quiet: list[Stream] = []  # streams that may rest and have rested for a while; the caller empties it
        self._codec = codec
        self._request_bytes = request_bytes
        for name in secret:
            self.links[name].secret = True
        self._halves = halves
        self._left: dict[str, list[tuple[Link, Stream]]] = {}  # unsubscribed streams, by symbol
        self._resting: set[str] = set()  # symbols that are not trading: their streams may be silent
        self._next_id = 1

    def add(self, symbol: str, now_ns: int, due: Due | None = None) -> list[Open | Send]:
        """Subscribe to a symbol that is new to the feed, on a new link if the others are full.

        `due` filters the streams that may be requested now over an open link; None: all may.
        """
        effects: list[Open | Send] = []
        for streams, links, are_new in self.place(symbol):
            effects += [Open(link.spec) for link in links if are_new]
            for link in links:
                if link.sockets:
                    effects += self.request(link, streams if due is None else due(link, streams), now_ns)
        return effects

    def remove(self, symbol: str, now_ns: int) -> list[Send]:
        """End the subscriptions of a symbol for good. Its link stays, even if empty, for another symbol."""
        sends = self.leave(symbol, now_ns)
        self._left.pop(symbol, None)
        for link in self.links.values():
            others = [([one for one in streams if one.symbol != symbol], at_ns) for streams, at_ns in link.refused]
            link.refused = [(streams, at_ns) for streams, at_ns in others if streams]
            for pending in link.pending.values():
                pending.streams = [stream for stream in pending.streams if stream.symbol != symbol]
        return sends

    def is_acknowledged(self, symbol: str) -> bool:
        """Whether every open link has its subscriptions to a symbol acknowledged."""
        return all(
            stream in link.watched
            for link in self.links.values()
            if link.sockets
            for stream in link.streams
            if stream.symbol == symbol
        )

    def subscribe(self, link: Link, now_ns: int, streams: Sequence[Stream] | None = None) -> list[Send]:
        """Requests for all or these streams of a link that has just opened; their answers are awaited."""
        link.pending.clear()
        link.refused.clear()
        link.watched.clear()
        return self.request(link, link.streams if streams is None else streams, now_ns)

    def renew(self, symbol: str, channel: str, now_ns: int) -> list[Send]:
        """End the subscription of one stream and begin it again, to get a new snapshot."""
        stream, sends = Stream(symbol, channel), []
        for link in self.links.values():
            if stream in link.streams and link.sockets:
                sends += self.request(link, [stream], now_ns, subscribe=False)
                sends += self.request(link, [stream], now_ns)
        return sends

    def leave(self, symbol: str, now_ns: int) -> list[Send]:
        """End the subscriptions of a symbol; its places stay reserved."""
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
                sends += self.request(link, mine, now_ns, subscribe=False)
        return sends

    def join(self, symbol: str, now_ns: int) -> list[Send]:
        """Subscribe again to a symbol that was left."""
        sends: list[Send] = []
        for link in self.links.values():
            mine = [stream for other, stream in self._left.get(symbol, ()) if other is link]
            link.streams = [*link.streams, *mine]
            if mine and link.sockets:
                sends += self.request(link, mine, now_ns)
        self._left.pop(symbol, None)
        return sends

    def rest(self, symbol: str, now_ns: int, *, resting: bool) -> None:
        """Note that a symbol stops or resumes trading: while it rests, silence is not a failure."""
        (self._resting.add if resting else self._resting.discard)(symbol)
        if not resting:
            for link in self.links.values():
                self._watch(link, [stream for stream in link.watched if stream.symbol == symbol], now_ns)

    def request(self, link: Link, streams: Iterable[Stream], now_ns: int, *, subscribe: bool = True) -> list[Send]:
        """The messages that begin or end subscriptions of a link."""
        groups: dict[str, list[Stream]] = {}
        for stream in streams:
            groups.setdefault(self._codec.group(stream), []).append(stream)
        most = self._codec.streams_per_request
        sends: list[Send] = []
        interval_ns = int(link.spec.send_interval_s * SECOND_NS)
        for group in groups.values():
            parts = deque(group[start : start + most] for start in range(0, len(group), most))
            while parts:
                part = parts.popleft()
                payload = self._codec.request(part, self._next_id, subscribe=subscribe)
                if self._request_bytes is not None and len(payload) > self._request_bytes and len(part) > 1:
                    parts.extendleft((part[len(part) // 2 :], part[: len(part) // 2]))
                    continue
                deadline_ns = now_ns + len(sends) * interval_ns + ANSWER_NS
                link.pending[self._next_id] = Pending(part if subscribe else [], deadline_ns)
                sends.append(Send(link.spec.name, payload, link.secret))
                self._next_id += 1
        return sends

    def acknowledge(self, request: int | str | None, now_ns: int, *, symbol: str = "") -> None:
        """Note that the venue has carried out a request, or the part of it that concerns a symbol."""
        for link in self.links.values():
            if not isinstance(request, int) or (pending := link.pending.get(request)) is None:
                continue
            done = [stream for stream in pending.streams if symbol in ("", stream.symbol)]
            pending.streams = [stream for stream in pending.streams if stream not in done]
            if not pending.streams:
                del link.pending[request]
            if done:
                link.refusals = 0
            self._watch(link, done, now_ns)

    def acknowledge_all(self, connection: str, subscribed: Callable[[Stream], bool], now_ns: int) -> None:
        """Note what the venue says a connection is subscribed to, without naming the request."""
        link = self.links.get(connection)
        if link is None:
            return
        for request in list(link.pending):
            pending = link.pending[request]
            done = [stream for stream in pending.streams if subscribed(stream)]
            pending.streams = [stream for stream in pending.streams if stream not in done]
            if not pending.streams:
                del link.pending[request]
            if done:
                link.refusals = 0
            self._watch(link, done, now_ns)

    def refuse(self, connection: str, request: int | str | None, now_ns: int, *, symbol: str = "") -> Sequence[Stream]:
        """Note that the venue has refused a request, or the part of it that concerns a symbol; returns the streams.

        If the venue does not name the request, the oldest one is meant. Refused streams are requested again after a
        pause that doubles.
        """
        link = self.links.get(connection)
        if link is None or not link.pending:
            return ()
        known = request if isinstance(request, int) and request in link.pending else next(iter(link.pending))
        pending = link.pending[known]
        streams = [stream for stream in pending.streams if symbol in ("", stream.symbol)]
        pending.streams = [stream for stream in pending.streams if stream not in streams]
        if not pending.streams:
            del link.pending[known]
        if streams:
            half = len(streams) // 2 if self._halves else 0
            again_ns = now_ns + min(SECOND_NS << link.refusals, LONGEST_PAUSE_NS)
            link.refused += [(part, again_ns) for part in (streams[:half], streams[half:]) if part]
            link.refusals = min(link.refusals + 1, 16)
        return streams

    def again(self, now_ns: int) -> list[Send]:
        """Requests for refused streams whose pause is over."""
        sends: list[Send] = []
        for link in self.links.values():
            due = [streams for streams, at_ns in link.refused if at_ns <= now_ns]
            link.refused = [(streams, at_ns) for streams, at_ns in link.refused if at_ns > now_ns]
            wanted = [[stream for stream in streams if stream.symbol not in self._left] for streams in due]
            for streams in wanted:
                sends += self.request(link, streams, now_ns)
        return sends

    def restart_watch(self, link: Link, now_ns: int) -> None:
        """Expect every acknowledged stream to deliver from now on: the link's other socket has closed."""
        self._watch(link, list(link.watched), now_ns)

    def overdue(self, now_ns: int, delivered: Callable[[Stream], bool]) -> list[tuple[Resubscribe, list[Stream]]]:
        """Connections to replace, and those of their streams that were acknowledged but are silent.

        `delivered` says whether a stream has brought anything since the last question about it, over any of the links
        that carry it. So these links are judged together, and replaced one after the other.
        """
        result: list[tuple[Resubscribe, list[Stream]]] = []
        for name, link in self.links.items():
            if link.sockets == 0 or link.replacing:
                continue
            unanswered = [request for request, pending in link.pending.items() if pending.deadline_ns <= now_ns]
            silent: list[Stream] = []
            twins = self.twins(link)
            for stream in [stream for stream, deadline_ns in link.watched.items() if deadline_ns <= now_ns]:
                patience = link.patience.get(stream, 1)
                for twin in twins:
                    if stream in twin.watched:
                        self._watch(twin, [stream], now_ns)
                if stream.symbol in self._resting:
                    self._watch(link, [stream], now_ns)
                    continue
                if delivered(stream):
                    link.patience[stream] = max(patience // 2, 1)
                    self._watch(link, [stream], now_ns)
                    continue
                link.patience[stream] = min(2 * patience, MAX_PATIENCE)
                if stream.channel in self._codec.busy:
                    del link.watched[stream]
                    silent.append(stream)
                else:
                    self._watch(link, [stream], now_ns)
                    self.quiet.append(stream)
            if unanswered:
                result.append((Resubscribe(name, f"no answer to subscription request {unanswered[0]}"), []))
            elif silent:
                result.append((self._replacement(link, silent), silent))
        for reconnect, _ in result:
            self.links[reconnect.link].replacing = True
        return result

    def replace(self, silent: Sequence[Stream]) -> list[Resubscribe]:
        """Replace the connections of streams that have failed, unless they are already being replaced."""
        result: list[Resubscribe] = []
        for link in self.links.values():
            mine = [stream for stream in link.streams if stream in silent]
            if mine and link.sockets and not link.replacing:
                link.replacing = True
                result.append(self._replacement(link, mine))
        return result

    def _watch(self, link: Link, streams: Iterable[Stream], now_ns: int) -> None:
        for stream in streams:
            if stream.symbol in self._left or stream.symbol == FEED_SYMBOL or stream.channel not in ON_CHANNEL:
                continue  # no single symbol or no market data: may rest
            link.watched[stream] = now_ns + self._silent_ns * link.patience.get(stream, 1)

    def _replacement(self, link: Link, silent: Sequence[Stream]) -> Resubscribe:
        reason = f"acknowledged but silent: {self.names(silent)}"
        return Resubscribe(link.spec.name, reason, overlap=True)

    def names(self, streams: Sequence[Stream]) -> str:
        """The first few of these streams, by the venue's names."""
        return ", ".join(self._codec.name(stream) for stream in streams[:5]) + (", …" if len(streams) > 5 else "")
