"""One client of a stream: its bounded queue, how it joins a topic, and what happens if it is slow.

A client *joins* a topic by first catching up: with a snapshot, or with the records since its cursor. Meanwhile live
events of that topic wait, and no event carries a cursor, since a cursor covers all topics. A client whose queue is full
*loses* new events of all topics until it has caught up; then it gets a gap for each topic.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from tickplant.client.follower import SNAPSHOT_CHANNELS, Follower
from tickplant.client.topic_message import Message
from tickplant.gateway.event_text import Event, gap_event, records_event, sse_id
from tickplant.gateway.stream_cursor import Cursor, Position
from tickplant.records.layouts import Schema
from tickplant.runtime.standstill import excused
from tickplant.wire import TopicInfo, split_topic

if TYPE_CHECKING:  # which holds the members
    from tickplant.gateway.shared_stream import SharedStream

CATCH_UP_RECORDS: Final = 1 << 17
"""Per topic; a client that was away for longer begins anew."""

HEARTBEAT_S: Final = 15.0

WRITE_BYTES: Final = 1 << 16
"""Approximate size of one write: as much as a transport takes before it applies back-pressure."""


class _Join:
    """A topic that is being joined.

    Attributes:
        at: the next record for the client; earlier records were given, or reported as lost.
        begun: whether the live events from `at` on come next.
        held: live events that wait until then.
    """

    __slots__ = ("at", "begun", "held")

    def __init__(self, at: Position) -> None:
        self.at = at
        self.begun = False
        self.held: list[tuple[Event, Message | None]] = []

    @property
    def weight(self) -> int:
        """Bytes of the held events."""
        return sum(len(event.data) for event, _ in self.held)


class Member:
    """A client. The stream offers events; the client's connection takes them as bytes.

    Attributes:
        dropped: how many events the client lost because it was slow.
        closed: set when the stream has ended, so that the connection should end.
        stalled: whether the client was disconnected because it took nothing.
    """

    def __init__(
        self,
        stream: SharedStream,
        *,
        websocket: bool,
        queue_bytes: int,
        snapshot: bool = True,
        cursor: Cursor | None = None,
        stalled_s: float = 30.0,
        cut: Callable[[], object] = lambda: None,
    ) -> None:
        """`cut`: ends the connection of a client that takes nothing for `stalled_s`."""
        self.stream = stream
        self.stalled = False
        self._stalled_s = stalled_s
        self._cut = cut
        self._taken_s = float("inf")  # when the client was given what it has not taken yet; inf: it has taken all
        self._put_s = stream.hub.now_s()
        self.dropped = 0
        self.closed = False
        self._websocket = websocket
        self._limit = queue_bytes
        self._snapshot = snapshot
        self._queue: deque[tuple[bytes, int]] = deque()  # each with its bytes that count towards the limit
        self._queued = 0  # their sum, with held events; snapshots do not count, or large ones could never be sent
        self._ready = asyncio.Event()
        self._joins: dict[str, _Join] = {}
        self._lost: dict[str, Position] = {}  # by topic: the first lost record
        self._whole = False  # whether all topics that existed when the client came are joined or being joined
        for topic in list(stream.positions):
            self.join(topic, cursor=cursor)
        stream.members.add(self)
        self._whole = True
        self._settle()

    # ------------------------------------------------------------------------------------------------ events

    def offer(self, event: Event, cursor: str, message: Message | None) -> None:
        """Offer the next event of a topic; `message` is what the event was made from, if it can be cut."""
        if self._lost or self._queued > self._limit:
            self._lose(event)
            return
        if self._joins:
            join = self._joins.get(event.topic)
            if join is None:
                self._put(event, "")
            elif not join.begun:
                join.held.append((event, message))
                self._queued += len(event.data)
            else:
                self._begin(event, message, join.at)
            return
        self._put(event, cursor)

    def give_bare(self, event: Event) -> None:
        """Give an event outside a topic's order: a gap or a snapshot."""
        self._put(event, "")

    def end(self) -> None:
        """The stream has ended."""
        self.closed = True
        self._ready.set()

    def leave(self) -> None:
        """The client has gone."""
        self.stream.members.discard(self)
        self._joins.clear()
        self.end()

    async def take(self) -> list[bytes]:
        """What to send next; empty if the stream has ended. Call `sent` when that is done."""
        while True:
            if self._lost and self._queued <= self._limit // 2:
                self._mend()
            if self._queue or self.closed:
                break
            self._ready.clear()
            await self._ready.wait()
        taken: list[bytes] = []
        size = 0
        while self._queue and size < WRITE_BYTES:
            part, weight = self._queue.popleft()
            size += len(part)
            self._queued -= weight
            taken.append(part)
        self._taken_s = self.stream.hub.now_s()
        return taken

    def sent(self) -> None:
        """Note that the client has taken what it was given last."""
        self._taken_s = float("inf")

    def sweep(self, now_s: float, stood_s: float) -> None:
        """Once a second: disconnect a client that takes nothing, and send a heartbeat to one that hears nothing.

        Time during which the gateway itself stood still since the last call does not count against the client.
        """
        self._taken_s = excused(self._taken_s, stood_s, now_s)
        if now_s - self._taken_s > self._stalled_s:
            self._taken_s = float("inf")
            self.stalled = True
            self._cut()
        elif not self._queue and not self._websocket and now_s - self._put_s > HEARTBEAT_S:
            self._append(b": \n" + (sse_id(self.cursor) if self.cursor else b"") + b"\n", 0)

    @property
    def cursor(self) -> str:
        """The current cursor; empty while none may be given."""
        return self.stream.positions.text if self._whole and not (self._joins or self._lost) else ""

    def _put(self, event: Event, cursor: str) -> None:
        part = event.framed(cursor, websocket=self._websocket)
        self._append(part, 0 if event.type == "snapshot" else len(part))

    def _append(self, part: bytes, weight: int) -> None:
        self._queue.append((part, weight))
        self._queued += weight
        self._put_s = self.stream.hub.now_s()
        self._ready.set()

    # ------------------------------------------------------------------------------------------------ joining

    def join(self, topic: str, *, cursor: Cursor | None = None, fresh: bool = False) -> None:
        """Bring the client to the stream's position in a topic; `fresh`: the topic has just begun."""
        if topic in self._lost:
            return  # the topic is joined when the client has caught up
        former = self._joins.pop(topic, None)
        epoch, seq = here = self.stream.positions[topic]
        if former:
            self._queued -= former.weight
            if former.at < here and not former.begun:  # what was pending will not come
                lost = seq - former.at[1] if former.at[0] == epoch else None
                self.give_bare(gap_event(topic, *former.at, lost, "engine"))
        since = cursor.of(topic, epoch) if cursor else None
        if fresh or (since and since[1] == seq):
            return
        self._joins[topic] = join = _Join(here)
        if since and 0 < seq - since[1] <= CATCH_UP_RECORDS:
            join.at = since
            self._catch_up(topic, join, here)
            return
        if since and 0 < since[1] - seq <= CATCH_UP_RECORDS:  # a cursor of a stream that was not conflated
            self._go_on(topic, join, since)
            return
        if cursor:
            lost = None if since is None or since[1] > seq else seq - since[1]
            self.give_bare(gap_event(topic, epoch, since[1] if since else seq, lost, "engine"))
        self._ask_for_snapshot(topic, join, here)

    def _ask_for_snapshot(self, topic: str, join: _Join, here: Position) -> None:
        """Begin with the state of a topic if it has one, else from here on."""
        if not (self._snapshot and here[1] and split_topic(topic)[2] in SNAPSHOT_CHANNELS):
            self._go_on(topic, join, here)
            return

        def answered(event: Event | None) -> None:
            if self._joins.get(topic) is not join:
                return
            if event is None:  # the engine no longer knows the topic: its successor will begin it
                self._go_on(topic, join, (0, 0))
                return
            self.give_bare(event)
            self._go_on(topic, join, (event.epoch, event.end_seq))

        self.stream.hub.snapshot(self.stream.links[topic], topic, answered)

    def _catch_up(self, topic: str, join: _Join, until: Position) -> None:
        """Fetch the records that the client lacks, and give them before all live events."""
        link = self.stream.links[topic]
        follower = Follower(topic, snapshot=False, recover=True, since=join.at, across_lives=False)
        known = link.infos.get(topic)
        epoch, seq = until
        info = TopicInfo(
            topic,
            known.schema if known else int(Schema.TICK),
            known.instrument if known else 0,
            known.price_scale if known else 0,
            known.size_scale if known else 0,
            seq,
        )
        broken = False

        def give(_: Follower, messages: list[Message]) -> None:
            nonlocal broken
            if self._joins.get(topic) is not join:
                return
            for message in messages:
                if message.kind == "lost":
                    broken = True
                    self.give_bare(gap_event(topic, epoch, message.first_seq, message.lost, "engine"))
                else:
                    self.give_bare(records_event(_cut(message, message.first_seq, seq)))
            join.at = epoch, min(follower.expected, seq)
            if follower.waiting is not None:
                link.pass_on(follower, give)
            elif broken:
                self._ask_for_snapshot(topic, join, until)
            else:
                self._go_on(topic, join, until)

        # A follower requests what it lacks when it is told a second time that the topic is this far.
        follower.on_progress(epoch, info)
        give(follower, follower.on_progress(epoch, info))

    def _go_on(self, topic: str, join: _Join, start: Position) -> None:
        """The client has everything before `start`: give the held events from there on."""
        join.at, join.begun = start, True
        held, join.held = join.held, []
        for event, message in held:
            self._queued -= len(event.data)
            if self._joins.get(topic) is join:
                self._begin(event, message, start)
            else:
                self._put(event, "")
        # If the stream is already at `start`, the client needs no join any more.
        if self._joins.get(topic) is join and self.stream.positions[topic] >= start:
            del self._joins[topic]
        self._settle()

    def _begin(self, event: Event, message: Message | None, start: Position) -> None:
        """Give an event that may lie before `start`, in part or as a whole."""
        if (event.epoch, event.end_seq) <= start:
            return
        if (event.epoch, event.first_seq) < start and event.epoch == start[0] and message is not None:
            event = records_event(_cut(message, start[1], event.end_seq))
        del self._joins[event.topic]
        self._put(event, "")
        self._settle()

    def _settle(self) -> None:
        """Give the client a cursor again once all topics are joined."""
        cursor = self.cursor
        if cursor and not self._websocket:
            self._append(sse_id(cursor) + b"\n", 0)

    # ------------------------------------------------------------------------------------------------ losing

    def _lose(self, event: Event) -> None:
        self.dropped += 1
        self._ready.set()  # perhaps nothing is queued that would wake the client
        topic = event.topic
        if topic in self._lost:
            return
        join = self._joins.pop(topic, None)
        self._lost[topic] = join.at if join else (event.epoch, event.first_seq)
        if join:
            self._queued -= join.weight

    def _mend(self) -> None:
        """The client has caught up: report what is missing, and continue from now."""
        lost, self._lost = self._lost, {}
        self._whole = False  # no cursor before all gaps are reported
        for topic, since in lost.items():
            epoch, seq = here = self.stream.positions[topic]
            self._joins[topic] = join = _Join(here)
            if since[0] == epoch and since[1] >= seq:  # for example, a snapshot contained all that was lost
                self._go_on(topic, join, since)
                continue
            self.give_bare(gap_event(topic, *since, seq - since[1] if since[0] == epoch else None, "slow"))
            self._ask_for_snapshot(topic, join, here)
        self._whole = True
        self._settle()


def _cut(message: Message, first_seq: int, end_seq: int) -> Message:
    """The records of a message from one topic sequence to just before another."""
    start = max(0, first_seq - message.first_seq)
    records = message.records[start : max(start, end_seq - message.first_seq)]
    return msgspec.structs.replace(message, records=records, first_seq=message.first_seq + start)
