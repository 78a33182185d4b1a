"""The live side of a gateway: the engines, and the clients' streams from them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tickplant.client.book_request import Book, book_of
from tickplant.client.topic_message import Message
from tickplant.errors import SubscribeError
from tickplant.gateway.engine_link import EngineLink
from tickplant.gateway.event_text import Event, records_event, snapshot_event
from tickplant.gateway.latencies import Deliveries
from tickplant.gateway.shared_stream import SharedStream
from tickplant.gateway.stream_cursor import Position
from tickplant.runtime.standstill import Standstill
from tickplant.wire import GetSnapshot, Refused, Reply, Snapshot, TopicInfo, make_topic

LIST_S: Final = 1.0
"""How old a list of topics may be for a new stream."""

SWEEP_S: Final = 1.0

OnSnapshot = Callable[[Event | None], None]
"""Takes the state of a topic; None if the engine has no such topic."""

_NOTHING: Final = Event("records", "", 0, 0, 0, b"")


class LiveHub:
    """All engines of a plant. Only for the event loop's thread."""

    def __init__(self, engines: list[tuple[str, str]]) -> None:
        """Connect to engines, given the addresses of their PUB and ROUTER sockets. Raises SubscribeError."""
        self.streams: dict[tuple[tuple[str, ...], int], SharedStream] = {}
        self.deliveries = Deliveries()
        self.now_s = asyncio.get_running_loop().time
        self._sweeping: asyncio.TimerHandle | None = None  # while there are streams
        self._standstill = Standstill(2 * SWEEP_S)
        self._grown: dict[str, tuple[int, float]] = {}  # by topic: its next sequence, and when that was first seen
        self._unsent: dict[str, list[OnSnapshot]] = {}  # by topic: who waits for a snapshot not yet requested
        self._listed_s = float("-inf")
        self._listing: asyncio.Task[None] | None = None
        self.links = [EngineLink(publish, requests, self) for publish, requests in engines]

    def close(self) -> None:
        """Disconnect from the engines."""
        self.end_streams()
        if self._sweeping:
            self._sweeping.cancel()
        for link in self.links:
            link.close()

    def end_streams(self) -> None:
        """End all streams and disconnect their clients."""
        for stream in list(self.streams.values()):
            for member in list(stream.members):
                member.end()
            stream.close()

    # ------------------------------------------------------------------------------------------------ questions

    async def topics(self) -> list[tuple[TopicInfo, int]]:
        """Topics of the engines that answer, each with its engine's epoch."""
        await self.look()
        return self.listed

    @property
    def listed(self) -> list[tuple[TopicInfo, int]]:
        """Topics and epochs as last listed."""
        return [(info, link.epoch) for link in self.links for info in link.infos.values()]

    def age_s(self, topic: str, now_s: float) -> float:
        """How long ago a topic was first seen at its current sequence."""
        return now_s - self._grown.get(topic, (0, now_s))[1]

    async def look(self) -> None:
        """Refresh the lists of topics if they are older than LIST_S."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._listed_s < LIST_S:
            return
        if self._listing is None or self._listing.done():
            self._listing = asyncio.create_task(self._list_all())
        await asyncio.shield(self._listing)

    async def _list_all(self) -> None:
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(*(link.list_topics() for link in self.links), return_exceptions=True)
        failed = [one for one in results if isinstance(one, BaseException)]
        now_s = loop.time()
        if len(failed) < len(results):
            self._listed_s = now_s
        for info in (info for link in self.links for info in link.infos.values()):
            if self._grown.get(info.topic, (-1, 0.0))[0] != info.next_seq:
                self._grown[info.topic] = info.next_seq, now_s
        for one in failed:
            if not isinstance(one, SubscribeError):
                raise one

    async def book(self, venue: str, symbol: str, *, orders: bool) -> tuple[Book, int, int]:
        """The current book, with its topic sequence and epoch. Raises SubscribeError, ValueError."""
        topic = make_topic(venue, symbol, "orders" if orders else "book")
        refused = ""
        for link in self.links:
            try:
                reply, frames = await link.ask(GetSnapshot(topic))
            except SubscribeError as error:
                refused = refused or str(error)
                continue
            if isinstance(reply, Snapshot):
                return book_of(reply, frames, orders=orders), reply.info.next_seq, reply.epoch
            refused = getattr(reply, "reason", refused)
        raise SubscribeError(refused or "the plant has no engine")

    # ------------------------------------------------------------------------------------------------ streams

    async def open(self, topics: tuple[str, ...], conflate_ms: int) -> SharedStream:
        """The stream of these topics; `release` it when a client leaves."""
        key = tuple(sorted(set(topics))), conflate_ms
        stream = self.streams.get(key)
        if stream is None:
            stream = self.streams[key] = SharedStream(self, key[0], conflate_ms)
            for link in self.links:
                link.want(stream.prefixes)
                for name, follower in list(link.followers.items()):
                    if follower is None and stream.wants(name):
                        del link.followers[name]
                    elif follower is not None and follower.position is not None and stream.wants(name):
                        stream.add_topic(link, name, follower.position)
            self._listed_s = float("-inf")
            if self._sweeping is None:
                self._standstill.look()  # there was no sweep for a while
                self._sweeping = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        stream.opening += 1
        try:
            await self.look()
        except BaseException:  # the client has left meanwhile, or no engine answers
            stream.opening -= 1
            self.release(stream)
            raise
        stream.opening -= 1
        return stream

    def release(self, stream: SharedStream) -> None:
        """A client has left a stream: a stream without members ends."""
        key = stream.topics, stream.conflate_ms
        if stream.members or stream.opening or self.streams.get(key) is not stream:
            return
        del self.streams[key]
        stream.close()
        for link in self.links:
            link.want_no_more(stream.prefixes)

    def _sweep(self) -> None:
        """Handle clients that take nothing, or that hear nothing."""
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep) if self.streams else None
        stood_s = self._standstill.look()
        for stream in list(self.streams.values()):
            for member in list(stream.members):
                member.sweep(self.now_s(), stood_s)

    def snapshot(self, link: EngineLink, topic: str, answered: OnSnapshot) -> None:
        """Request the state of a topic as of now or later: one request serves all who ask before it is sent."""
        waiting = self._unsent.get(topic)
        if waiting is not None:
            waiting.append(answered)
            return
        waiting = self._unsent[topic] = [answered]

        def sent() -> None:
            if self._unsent.get(topic) is waiting:
                del self._unsent[topic]

        def on_reply(reply: Reply | None, frames: list[bytes]) -> None:
            if isinstance(reply, Snapshot):
                event: Event | None = snapshot_event(reply, frames)
            elif isinstance(reply, Refused):
                event = None
            else:  # no answer, for example because the engine is being replaced
                link.snapshot(topic, on_reply, lambda: None)
                return
            for one in waiting:
                one(event)

        link.snapshot(topic, on_reply, sent)

    # ------------------------------------------------------------------------------------------------ what engines say

    def wanted(self, topic: str) -> bool:
        """Whether any stream wants this topic."""
        return any(stream.wants(topic) for stream in self.streams.values())

    def on_topic(self, link: EngineLink, topic: str, position: Position) -> None:
        """A topic is followed from this position on."""
        for stream in self.streams.values():
            if stream.wants(topic):
                stream.add_topic(link, topic, position)

    def on_message(self, link: EngineLink, message: Message) -> None:
        """Handle the next message of a topic: one event serves all streams."""
        self.deliveries.see(message)
        event = None
        for stream in list(self.streams.values()):
            if message.topic in stream.positions:
                if event is None and message.kind != "lost" and not stream.conflate_ms:
                    event = records_event(message)
                stream.on_message(link, message, event or _NOTHING)
