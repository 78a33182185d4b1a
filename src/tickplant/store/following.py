"""Stored history joined with the live stream: `Store.follow`.

The seqs of a topic's producers prove that nothing is missing. A topic mostly has one producer, but two feeds may record
a symbol. First, history is read up to the end of the store. The first live message of a topic and producer is not
passed on: once the store holds its last record, the topic is read from the store up to there. From there on, live
messages follow each other by topic sequence. Whenever they do not, since an engine was overrun, killed or replaced, the
topic is joined again in the same way. A live message without a producer was made for subscribers only, and is left out.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from tickplant.client.subscription import Subscription
from tickplant.client.topic_message import Message
from tickplant.errors import SubscribeError
from tickplant.records.layouts import Schema
from tickplant.records.merge import merge_by_receive_time
from tickplant.records.schemas import PUBLISHED
from tickplant.store.selection import Selection
from tickplant.store.topic_split import TopicSplitter

if TYPE_CHECKING:  # the reader offers this as a method
    from tickplant.store.reader import Store

_LOOK_S: Final = 0.1
"""How often to look at the store while a topic waits for it."""


class _Stream:
    """The records of one topic and producer: how far they have been passed on."""

    def __init__(self, through: int) -> None:
        self.joined = False
        self.through = through  # all records up to this seq have been passed on
        self.held: deque[Message] = deque()
        self.since_s = 0.0  # when the first held message came


class Following:
    """See `Store.follow`: iterate over `messages`."""

    def __init__(self, store: Store, topics: Sequence[str], live: Subscription, *, timeout_s: float) -> None:
        self._store = store
        self._live = live
        self._timeout_s = timeout_s
        self._hint = f"is {store.data_dir} the store of that plant"
        self._splitter = TopicSplitter(store, topics, "stored")
        self._streams: dict[str, dict[str, _Stream]] = {}  # by topic and producer
        self._begin: dict[tuple[Schema, str], int] = {}  # by producer: the last seq that was stored at the start

    def messages(self, start_ns: int | None) -> Iterator[Message]:
        """History from a time on, then the live stream; never ends."""
        with self._live:
            yield from self._history(start_ns)
            looked_s = 0.0
            while True:
                message = self._live.receive(_LOOK_S)
                if message is not None:
                    yield from self._take(message)
                if (now_s := time.monotonic()) - looked_s >= _LOOK_S:
                    looked_s = now_s
                    for streams in self._streams.values():
                        for stream in streams.values():
                            yield from self._join(stream)

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
        """Take a live message, or a note that records were lost."""
        streams = self._streams.setdefault(message.topic, {})
        if message.kind == "lost" or not message.producer:
            for stream in streams.values():
                stream.joined = False
            return
        begin = self._begin.get((message.schema, message.producer), -1)
        stream = streams.setdefault(message.producer, _Stream(begin))
        seqs = message.records["seq"].astype(np.int64)
        if not stream.joined or stream.held:
            self._hold(stream, message)
        elif int(seqs[0]) > stream.through and (np.diff(seqs) > 0).all():
            stream.through = int(seqs[-1])
            yield message
        else:
            # Old records were recovered by the engine, and have been passed on; but the stream is not continuous here.
            stream.joined = False
            if int(seqs[-1]) > stream.through or (np.diff(seqs) <= 0).any():
                self._hold(stream, message)

    @staticmethod
    def _hold(stream: _Stream, message: Message) -> None:
        stream.since_s = stream.since_s if stream.held else time.monotonic()
        stream.held.append(message)

    def _join(self, stream: _Stream) -> Iterator[Message]:
        """Pass on the held messages once the store has caught up with them."""
        while stream.held:
            first = stream.held[0]
            seq, producer = int(first.records[-1]["seq"]), first.producer
            if self._store.next_seq(producer, first.schema) <= seq:
                if time.monotonic() - stream.since_s > self._timeout_s:
                    what = f"seq {seq} of {producer} came live and is not stored after {self._timeout_s:g} s"
                    raise SubscribeError(f"{first.topic}: {what}; {self._hint}, and does its writer run?")
                return
            stored = self._store.record(producer, first.schema, seq)
            if stored is not None and stored != first.records[-1]:
                what = f"seq {seq} of {producer} is stored, and another record"
                raise SubscribeError(f"{first.topic}: {what}; {self._hint}?")
            stream.held.popleft()
            yield from self._fill(stream, first, seq)
            stream.joined = True
            waiting, stream.held = stream.held, deque()
            for message in waiting:
                yield from self._take(message)

    def _fill(self, stream: _Stream, like: Message, last: int) -> Iterator[Message]:
        """The stored records of a topic and producer, up to a seq, that have not been passed on yet."""
        if last > stream.through:
            selection = Selection(ids=frozenset(row.id for row in self._store.find(like.venue, like.symbol)))
            for records in self._store.read(
                like.producer, like.schema, selection, first_seq=stream.through + 1, last_seq=last
            ):
                yield from (found for found in self._splitter.split(like.schema, records) if found.topic == like.topic)
            stream.through = last
