"""History and the live stream in one: `Store.follow`.

What is given of a topic is proved complete by the seqs of its producer. History is read up to where the store ends.
The first live message of a topic is not given: once the store holds its last record, the topic is read from the store
up to there, and from there on live messages follow on each other by topic sequence. Whenever they do not, because an
engine was overrun, killed or replaced, the topic is joined again in the same way. A live message whose last record the
store does not hold in any producer, though all are further, was made for subscribers alone, and is left out.

Two feeds of one topic are refused: each counts seqs of its own, and a live message does not say whose it is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from tickplant.client.follower import Message
from tickplant.client.subscription import Subscription
from tickplant.errors import SubscribeError
from tickplant.records.layouts import Schema
from tickplant.records.merge import merge_by_receive_time
from tickplant.records.schemas import PUBLISHED
from tickplant.store.selection import Selection
from tickplant.store.topic_split import TopicSplitter

if TYPE_CHECKING:  # the reader offers this as a method
    from tickplant.store.reader import Store

_LOOK_S: Final = 0.1
"""How often the store is looked at while a topic waits for it."""


class _Topic:
    """How far one topic has been given."""

    def __init__(self) -> None:
        self.joined = False
        self.through: dict[str, int] = {}  # by producer: the seq up to which all was given
        self.producer = ""  # of the live messages
        self.held: deque[Message] = deque()
        self.since_s = 0.0  # when the first held message came


class Following:
    """See `Store.follow`: iterate over `messages`."""

    def __init__(self, store: Store, topics: Sequence[str], live: Subscription, *, timeout_s: float) -> None:
        self._store = store
        self._live = live
        self._timeout_s = timeout_s
        self._splitter = TopicSplitter(store, topics, "stored")
        self._topics: dict[str, _Topic] = {}
        self._begin: dict[tuple[Schema, str], int] = {}  # by producer: the last seq of what was stored at first
        self._apart: dict[tuple[str, str], int] = {}  # by topic and feed: the seq up to which that feed had none of it

    def messages(self, start_ns: int | None) -> Iterator[Message]:
        """History from a time on, then what comes; ends never."""
        with self._live:
            yield from self._history(start_ns)
            looked_s = 0.0
            while True:
                message = self._live.receive(_LOOK_S)
                if message is not None:
                    yield from self._take(message)
                if (now_s := time.monotonic()) - looked_s >= _LOOK_S:
                    looked_s = now_s
                    for name, topic in self._topics.items():
                        if topic.held:
                            yield from self._join(name, topic)

    def _history(self, start_ns: int | None) -> Iterator[Message]:
        wanted = self._splitter.wanted()
        for schema in (Schema.TICK, *PUBLISHED):
            for name in self._store.producers(schema):
                self._begin[schema, name] = self._store.next_seq(name, schema) - 1
        for schema in wanted.schemas:
            blocks = merge_by_receive_time(
                [
                    self._store.read(name, schema, wanted.selection(schema, start_ns=start_ns), last_seq=last)
                    for (of, name), last in self._begin.items()
                    if of == schema and last >= 0
                ]
            )
            for records in blocks:
                yield from self._splitter.split(schema, records)

    def _take(self, message: Message) -> Iterator[Message]:
        """A live message, or word that some were lost."""
        topic = self._topics.setdefault(message.topic, _Topic())
        if message.kind == "lost":
            topic.joined = False
            return
        if not topic.joined or topic.held:
            topic.since_s = topic.since_s if topic.held else time.monotonic()
            topic.held.append(message)
            return
        through = topic.through[topic.producer]
        seqs = message.records["seq"]
        if int(seqs[0]) > through and (np.diff(seqs.astype(np.int64)) > 0).all():
            topic.through[topic.producer] = int(seqs[-1])
            yield message
        elif int(seqs[-1]) > through or (np.diff(seqs.astype(np.int64)) <= 0).any():
            topic.joined = False
            topic.since_s = time.monotonic()
            topic.held.append(message)
        # What is old was recovered by the engine and is given already; but the stream has a seam here.
        else:
            topic.joined = False

    def _join(self, name: str, topic: _Topic) -> Iterator[Message]:
        """Give what waits, where the store has come far enough."""
        while topic.held:
            first = topic.held[0]
            record = first.records[-1]
            seq = int(record["seq"])
            producers = self._store.producers(first.schema)
            ready = [producer for producer in producers if self._store.next_seq(producer, first.schema) > seq]
            owner = next(
                (producer for producer in ready if self._store.record(producer, first.schema, seq) == record), None
            )
            if owner is None:
                if len(ready) == len(producers) > 0:
                    topic.held.popleft()  # made for subscribers alone
                    continue
                if time.monotonic() - topic.since_s > self._timeout_s:
                    raise SubscribeError(
                        f"{name}: seq {seq} came live and is not stored after {self._timeout_s:g} s; "
                        f"is {self._store.data_dir} the store of that plant, and does its writer run?"
                    )
                return
            self._check_alone(name, first, owner)
            topic.held.popleft()
            yield from self._fill(name, topic, first, owner, seq)
            topic.producer, topic.joined = owner, True
            waiting, topic.held = topic.held, deque()
            for message in waiting:
                yield from self._take(message)

    def _check_alone(self, name: str, like: Message, owner: str) -> None:
        """Raises SubscribeError where a feed beside the owner has recorded a topic since this began.

        Two live feeds make a seam soon, as their seqs do not go on from each other; so a join is when to look.
        """
        if like.schema != Schema.TICK:
            return  # one engine counts what is derived, of however many feeds
        selection = Selection(ids=frozenset(row.id for row in self._store.find(like.venue, like.symbol)))
        for feed in self._store.producers(Schema.TICK):
            first = self._apart.get((name, feed), self._begin.get((Schema.TICK, feed), -1) + 1)
            until = self._store.next_seq(feed, Schema.TICK)
            if feed == owner or until <= first:
                continue
            if any(True for _ in self._store.read(feed, Schema.TICK, selection, first_seq=first, last_seq=until - 1)):
                raise SubscribeError(
                    f"{name}: feeds {owner} and {feed} both record {like.venue} {like.symbol}, and a live message does "
                    "not say whose it is: follow a symbol that one feed records, or read both from the store"
                )
            self._apart[name, feed] = until

    def _fill(self, name: str, topic: _Topic, like: Message, producer: str, last: int) -> Iterator[Message]:
        """What the store has of a topic up to a seq, and has not been given."""
        begin = self._begin.get((like.schema, producer), -1)
        through = topic.through.get(producer, begin)
        if last > through:
            ids = frozenset(row.id for row in self._store.find(like.venue, like.symbol))
            selection = Selection(ids=ids)
            for records in self._store.read(producer, like.schema, selection, first_seq=through + 1, last_seq=last):
                yield from (found for found in self._splitter.split(like.schema, records) if found.topic == name)
        topic.through[producer] = max(last, through)
