"""How a subscriber follows one topic: joining, holes, restarts. No sockets, no clocks. The rules: docs/wire.md.

A `Follower` takes the messages of one topic as they arrive and the replies to its requests, and returns what the user
should see. It has at most one pending request, and holds live messages back meanwhile, so that its output is in order.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from tickplant.client.anchor import Anchor
from tickplant.client.topic_message import Message, MessageKind
from tickplant.records.layouts import DTYPES, UNKNOWN, Schema
from tickplant.wire import (
    GetHistory,
    GetRange,
    GetSnapshot,
    Gone,
    Header,
    History,
    Range,
    Refused,
    Reply,
    Snapshot,
    TopicInfo,
    split_topic,
    unpack_header,
)

SNAPSHOT_CHANNELS: Final = ("book", "orders", "bbo", "quote")
"""Channels whose last value is the current state. On other channels a record is an event, with no state to restore."""

BOOK_CHANNELS: Final = ("book", "orders")
"""Channels whose state is useless if one update is missing."""

BACKLOG_BYTES: Final = 64 << 20
"""Live messages held back for one topic. Beyond that the oldest are dropped, and requested later like missed ones."""

TRIES: Final = 3
"""How often a missed range is requested: a request may be lost if a process is killed."""

_SCHEMAS: Final = {int(schema): schema for schema in Schema}


class Follower:
    """One topic. Each method returns the messages that are ready for the user; check `take_request` afterwards.

    Args:
        topic: name of the topic.
        snapshot: begin with a snapshot on `SNAPSHOT_CHANNELS`; other topics begin as `on_progress` says.
        recover: request missed records; otherwise they are lost at once.
        from_start: the topic did not exist when the user subscribed, so all of it is wanted.
        since: epoch and topic sequence from which the user wants records.
        across_lives: request what lies between two lives of the engine from the store; otherwise it is lost.
    """

    def __init__(
        self,
        topic: str,
        *,
        snapshot: bool,
        recover: bool,
        from_start: bool = False,
        since: tuple[int, int] = (-1, 0),
        across_lives: bool = True,
    ) -> None:
        self.topic = topic
        self.venue, self.symbol, self.channel = split_topic(topic)
        self.epoch, self.expected = since  # epoch of the followed stream (-1: none yet), sequence of the next record
        self.waiting: GetSnapshot | GetRange | GetHistory | None = None
        self._snapshot = snapshot and self.channel in SNAPSHOT_CHANNELS
        self._recover = recover
        self._across_lives = recover and across_lives
        self._from_start = from_start
        self._unsent = False
        self._tries = 0
        self._paused = False  # the pending request is sent again once the engine has a record of the topic
        self._anchor = Anchor()
        self._entering = -1  # epoch to continue with once the records missed before it are here
        self._floor: tuple[int, int] | None = None  # epoch and next sequence when the user joined
        self._promised = 0  # the topic's next sequence, as last reported by the engine
        self._backlog: deque[tuple[Header, bytes]] = deque()
        self._backlog_bytes = 0
        self._like: TopicInfo | Header | None = None  # the latest known instrument, schema and scales

    @property
    def position(self) -> tuple[int, int] | None:
        """Epoch and topic sequence of the next record to give; None if nothing is known yet."""
        return (self.epoch, self.expected) if self.epoch >= 0 else self._floor

    def take_request(self) -> GetSnapshot | GetRange | GetHistory | None:
        """The request to send now, if any; pass its reply to `on_reply`, or call `on_timeout`."""
        if not self._unsent:
            return None
        self._unsent = False
        return self.waiting

    def on_message(self, header: Header, payload: bytes) -> list[Message]:
        """Handle a live message."""
        self._like = self._like or header
        if self.waiting is not None:
            self._backlog.append((header, payload))
            self._backlog_bytes += len(payload)
            while self._backlog_bytes > BACKLOG_BYTES:
                self._backlog_bytes -= len(self._backlog.popleft()[1])
            return []
        out: list[Message] = []
        self._take(header, payload, out)
        return out

    def on_progress(self, epoch: int, info: TopicInfo) -> list[Message]:
        """The engine reports how far the topic is: the user joins there. Records of the last report must be here."""
        out: list[Message] = []
        self._like = self._like or info
        promised, self._promised = self._promised, info.next_seq
        if self._paused and info.next_seq:
            self._paused, self._unsent = False, True
        if self.waiting is not None or epoch < self.epoch:
            return out
        self._stand_at_floor(epoch)
        if self.epoch < 0:
            if self._from_start:
                self._begin(epoch, 0, out)
            elif self._snapshot:
                self._ask_for_snapshot()
            elif self._floor is None:
                self._floor = epoch, info.next_seq
            elif self._floor[0] == epoch and promised > self._floor[1]:
                self.epoch, self.expected = self._floor
                self._miss(promised, out)
        elif epoch > self.epoch and self._bridges():
            if info.next_seq:
                self._ask_where_it_begins(epoch)
        elif epoch > self.epoch:
            self._begin(epoch, info.next_seq, out)
            self._miss(info.next_seq, out)
        elif promised > self.expected:
            self._miss(promised, out)
        return out

    def on_reply(self, reply: Reply, frames: list[bytes]) -> list[Message]:
        """Handle the reply to the pending request."""
        out: list[Message] = []
        if isinstance(self.waiting, GetSnapshot):
            self._on_snapshot(reply, frames, out)
        elif isinstance(self.waiting, GetRange):
            self._on_range(self.waiting, reply, frames, out)
        elif isinstance(self.waiting, GetHistory):
            self._on_history(self.waiting, reply, frames, out)
        self._work_off(out)
        return out

    def on_timeout(self) -> list[Message]:
        """The pending request was not answered: repeat it; after `TRIES` attempts, missed records are lost."""
        out: list[Message] = []
        self._tries += 1
        if isinstance(self.waiting, GetSnapshot) or (self.waiting and self._tries < TRIES):
            self._unsent = True
        elif self.waiting:
            self._give_up(self.waiting, out)
            self._work_off(out)
        return out

    # ------------------------------------------------------------------------------------------------ the stream

    def _take(self, header: Header, payload: bytes, out: list[Message]) -> None:
        """Take the next message in turn: give it, or find that something is missing before it."""
        if header.epoch < self.epoch:
            return  # from an earlier life of the engine
        self._stand_at_floor(header.epoch)
        if header.epoch > self.epoch and self._bridges():
            self._ask_where_it_begins(header.epoch)
        elif header.epoch > self.epoch:
            self._begin(header.epoch, header.first_seq, out)
        self._miss(header.first_seq, out)
        if self.waiting is None:
            self._give(header, payload, "live", out)
        else:
            self._backlog.appendleft((header, payload))
            self._backlog_bytes += len(payload)

    def _give(self, header: Header, payload: bytes, kind: MessageKind, out: list[Message]) -> None:
        """Give the new records of a message."""
        end = header.first_seq + header.records
        if end <= self.expected:
            return
        known = max(0, self.expected - header.first_seq)
        new = payload[known * header.record_bytes :]
        out.append(self._message(kind, header, new, header.first_seq + known, header.publish_ns))
        self.expected = end
        self._anchor.move(header, payload)

    def _bridges(self) -> bool:
        """Whether records missed between two lives of the engine can be requested."""
        return self._across_lives and self.epoch >= 0 and self._anchor.holds

    def _begin(self, epoch: int, first_seq: int, out: list[Message]) -> None:
        """Follow a new stream, whose first sequence seen is `first_seq`."""
        restarted = self.epoch >= 0
        if restarted:
            out.append(self._message("lost", None, b"", self.expected, lost=UNKNOWN))
        self._follow(epoch)
        self._anchor = Anchor()
        if self._from_start:
            self._from_start = False
        elif first_seq and self._snapshot:
            self._ask_for_snapshot()
        elif not restarted:
            joined = self._floor[1] if self._floor and self._floor[0] == epoch else first_seq
            self.expected = min(joined, first_seq)

    def _stand_at_floor(self, epoch: int) -> None:
        """If the user joined a life of the engine that ended before a record came, records may be missing."""
        if self.epoch < 0 and self._floor is not None and self._floor[0] < epoch:
            self.epoch, self.expected = self._floor

    def _follow(self, epoch: int) -> None:
        self.epoch = epoch
        self.expected = 0
        self._promised = 0

    def _enter(self, out: list[Message], *, complete: bool) -> None:
        """Continue with the next life of the engine, now that the store has answered about the time before it."""
        self.waiting = None
        if complete:
            self._follow(self._entering)
        else:
            first = next((header.first_seq for header, _ in self._backlog if header.epoch >= self._entering), 1)
            self._begin(self._entering, first, out)

    def _miss(self, until: int, out: list[Message]) -> None:
        """Records from `expected` to just before `until` are missing, unless the pending request brings them."""
        if until <= self.expected or self.waiting is not None:
            return
        if self._recover:
            self._ask(GetRange(self.topic, self.epoch, self.expected, until - 1))
        else:
            self._lose(until, out)

    def _lose(self, until: int, out: list[Message]) -> None:
        """Records up to `until` will not come. A book is useless without them, so it begins anew."""
        self.waiting = None
        if until > self.expected:
            out.append(self._message("lost", None, b"", self.expected, lost=until - self.expected))
            self.expected = until
            if self._snapshot and self.channel in BOOK_CHANNELS:
                self._ask_for_snapshot()

    def _work_off(self, out: list[Message]) -> None:
        """Give the messages that were held back, until something is missing again."""
        while self.waiting is None and self._backlog:
            header, payload = self._backlog.popleft()
            self._backlog_bytes -= len(payload)
            self._take(header, payload, out)

    # ------------------------------------------------------------------------------------------------ requests

    def _ask_for_snapshot(self) -> None:
        self._ask(GetSnapshot(self.topic))

    def _ask_where_it_begins(self, epoch: int) -> None:
        """Ask the engine about its previous life: the reply says where the new one begins; then the store is asked."""
        self._entering = epoch
        self._ask(GetRange(self.topic, self.epoch, self.expected, self.expected))

    def _ask(self, request: GetSnapshot | GetRange | GetHistory) -> None:
        self.waiting = request
        self._unsent = True
        self._tries = 0

    def _give_up(self, wanted: GetRange | GetHistory, out: list[Message]) -> None:
        if self._entering > self.epoch or isinstance(wanted, GetHistory):
            self._enter(out, complete=False)
        else:
            self._lose(wanted.last + 1, out)

    def _on_snapshot(self, reply: Reply, frames: list[bytes], out: list[Message]) -> None:
        self.waiting = None
        if not isinstance(reply, Snapshot):
            # A new engine that has had no record of this topic yet: what was held back is from the old one.
            self.epoch = -1
            self._from_start = True
            if self._backlog:
                header = self._backlog[0][0]
                held = sum(header.records for header, _ in self._backlog)
                out.append(self._message("lost", header, b"", header.first_seq, lost=held))
                self._backlog.clear()
                self._backlog_bytes = 0
            return
        if reply.epoch < self.epoch:
            self._ask_for_snapshot()
            return
        while self._backlog and self._backlog[0][0].epoch < reply.epoch:
            self._backlog_bytes -= len(self._backlog.popleft()[1])
        self.epoch = reply.epoch
        if self._backlog and self._backlog[0][0].first_seq == 0:
            self.expected = 0  # the stream is here from its very first record, so no snapshot is needed
            return
        self.expected = reply.info.next_seq
        self._anchor = Anchor()
        self._like = reply.info
        out.append(self._message("snapshot", reply.info, frames[0], self.expected, stale=reply.stale))

    def _on_range(self, wanted: GetRange, reply: Reply, frames: list[bytes], out: list[Message]) -> None:
        self.waiting = None
        early = self._bridges() and _is_early(reply, self.epoch)
        self._tries += early
        if isinstance(reply, Range):
            before = self.expected
            for i in range(0, len(frames), 2):
                header = unpack_header(frames[i])
                if header.first_seq <= self.expected:
                    self._give(header, frames[i + 1], "recovered", out)
            if before < self.expected <= wanted.last:
                self._ask(GetRange(self.topic, self.epoch, self.expected, wanted.last))
            elif self.expected <= wanted.last:
                self._lose(wanted.last + 1, out)
        elif isinstance(reply, Gone) and reply.epoch == self.epoch:
            self._lose(min(reply.oldest, wanted.last + 1), out)
            if self.waiting is None and self.expected <= wanted.last:
                self._ask(GetRange(self.topic, self.epoch, self.expected, wanted.last))
        elif early and self._tries < TRIES:
            self.waiting, self._paused = wanted, True
        elif isinstance(reply, Gone) and reply.epoch > self.epoch and self._bridges():
            self._bridge(reply, out)
        else:
            self._give_up(wanted, out)

    def _bridge(self, reply: Gone, out: list[Message]) -> None:
        """Another life of the engine began there: ask the store for the records in between."""
        self._entering = reply.epoch
        question = self._anchor.question(self.topic, reply)
        if question is None:
            self._enter(out, complete=False)
        else:
            self._ask(question)

    def _on_history(self, wanted: GetHistory, reply: Reply, frames: list[bytes], out: list[Message]) -> None:
        self.waiting = None
        messages = self._anchor.behind(wanted, frames)
        if messages is None or not isinstance(reply, History):
            self._enter(out, complete=False)
            return
        for header, payload in messages:
            out.append(self._message("recovered", header, payload, self.expected))
            self.expected += len(payload) // header.record_bytes
            self._anchor.move(header, payload)
        if reply.last_seq >= wanted.last_seq:
            self._enter(out, complete=True)
        elif wanted.first_seq <= reply.last_seq == reply.resume_seq - 1:
            self._ask(GetHistory(self.topic, wanted.producer, reply.resume_seq, wanted.last_seq))
        else:
            self._enter(out, complete=False)  # the records in between are not stored

    def _message(
        self,
        kind: MessageKind,
        like: TopicInfo | Header | None,
        payload: bytes,
        first_seq: int,
        publish_ns: int = 0,
        *,
        lost: int = 0,
        stale: bool = False,
    ) -> Message:
        producer = like.producer if isinstance(like, Header) else ""
        like = self._like = like or self._like
        if like is None:
            raise ValueError(f"{self.topic}: nothing is known of it yet")
        if (schema := _SCHEMAS.get(like.schema)) is None:
            raise ValueError(f"record schema {like.schema} of {self.topic} is unknown to this version of tickplant")
        return Message(
            kind=kind,
            topic=self.topic,
            venue=self.venue,
            symbol=self.symbol,
            channel=self.channel,
            schema=schema,
            records=np.frombuffer(payload, DTYPES[schema]),
            instrument=like.instrument,
            price_scale=like.price_scale,
            size_scale=like.size_scale,
            epoch=self.epoch,
            first_seq=first_seq,
            publish_ns=publish_ns,
            lost=lost,
            stale=stale,
            producer=producer,
        )


def _is_early(reply: Reply, epoch: int) -> bool:
    """Whether the engine has restarted and has no record of the topic yet."""
    return isinstance(reply, Refused) or (isinstance(reply, Gone) and reply.epoch > epoch and not reply.next_seq)
