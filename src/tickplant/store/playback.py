"""Playback of a store in Python: an iterator over the messages that a live subscriber had.

    for message in Store("data").play("binance.BTCUSDT", speed=10, start_ns=…):
        ...                                     # a tickplant.Message, as from tickplant.subscribe

`pause`, `resume`, `step`, `seek` and `set_speed` may be called by other threads while one iterates.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from tickplant.client.topic_message import Message
from tickplant.instruments import FEED_SYMBOL
from tickplant.records.layouts import Schema
from tickplant.records.merge import merge_by_receive_time
from tickplant.records.schemas import PUBLISHED
from tickplant.store.pacing import Pacer, Speed
from tickplant.store.selection import Clock
from tickplant.store.stored_books import begins_at, fold_at
from tickplant.store.topic_split import TopicSplitter

if TYPE_CHECKING:  # the reader offers this as a method
    from tickplant.store.reader import Store

Records = NDArray[np.void]

_WAIT_S: Final = 0.5


class Playback:
    """See `Store.play`. Iteration is for one thread; it ends with the data unless `loop` is set."""

    def __init__(
        self,
        store: Store,
        topics: Sequence[str],
        *,
        speed: Speed,
        start_ns: int | None,
        end_ns: int | None,
        clock: Clock,
        snapshot: bool,
        loop: bool,
    ) -> None:
        self.loop = loop
        self.time_ns = start_ns or 0  # of the last record that was due, by `clock`
        self._store = store
        self._topics = topics
        self._speed = speed
        self._start_ns = start_ns
        self._end_ns = end_ns
        self._clock = clock
        self._snapshot = snapshot
        self._turn = threading.Condition()
        self._paused = False
        self._steps = 0
        self._pacer = Pacer(speed)
        self._sought: int | None = None
        self._messages = self._run()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        with self._turn:
            while self._paused and not self._steps:
                self._turn.wait()
            self._steps = max(0, self._steps - 1)
        return next(self._messages)

    def pause(self) -> None:
        """Pause: the next message waits for `resume` or `step`."""
        with self._turn:
            self._paused, self._steps = True, 0

    def resume(self) -> None:
        """Continue; the next record is due now."""
        with self._turn:
            self._paused = False
            self._pacer = Pacer(self._speed)
            self._turn.notify_all()

    def step(self, messages: int = 1) -> None:
        """While paused, let this many messages pass at once."""
        with self._turn:
            self._steps += messages
            self._turn.notify_all()

    def seek(self, time_ns: int) -> None:
        """Continue at this time, by the clock of the playback, with snapshots as if it had begun there."""
        with self._turn:
            self._sought = time_ns
            self._turn.notify_all()

    def set_speed(self, speed: Speed) -> None:
        """Set the speed from here on, as a multiple of real time or "max". Raises ValueError."""
        if speed != "max" and not 0 < speed < float("inf"):
            raise ValueError(f"speed {speed!r} is neither a factor above 0 nor max")
        with self._turn:
            self._speed, self._pacer = speed, Pacer(speed)
            self._turn.notify_all()

    def _run(self) -> Iterator[Message]:
        start_ns = self._start_ns
        while True:
            yield from self._from(start_ns)
            with self._turn:
                sought, self._sought = self._sought, None
                self._pacer = Pacer(self._speed)
            if sought is None and not self.loop:
                return
            start_ns = self._start_ns if sought is None else sought

    def _from(self, start_ns: int | None) -> Iterator[Message]:
        """All messages from a time on, until the end or a `seek`."""
        splitter = TopicSplitter(self._store, self._topics, "live")
        begins = None
        if start_ns is not None:
            begins = begins_at(self._store, splitter.wanted().selection(Schema.TICK).ids, start_ns, self._clock)
            if self._snapshot:
                yield from self._snapshots(splitter, start_ns, begins)
        for schema, records in self._blocks(splitter, start_ns, begins):
            times = np.maximum.accumulate(records[f"ts_{self._clock}"])
            done = 0
            while done < len(records):
                done, until = self._await(times, done)
                if self._interrupted():
                    return
                self.time_ns = int(times[until - 1])
                for message in splitter.split(schema, records[done:until]):
                    yield message
                    if self._interrupted():
                        return
                done = until

    def _interrupted(self) -> bool:
        """Whether a seek is pending."""
        return self._sought is not None

    def _await(self, times: NDArray[np.int64], done: int) -> tuple[int, int]:
        """Where the records that are due begin and end; waits until one is due."""
        if self._speed == "max":
            return done, len(times)
        with self._turn:
            while self._sought is None:
                # Stepping does not wait for the clock.
                due = done + 1 if self._paused else done + self._pacer.due(times[done:])
                if due > done:
                    return done, due
                self._turn.wait(min(_WAIT_S, self._pacer.wait_s(int(times[done]))))
        return done, done

    def _blocks(
        self, splitter: TopicSplitter, start_ns: int | None, begins: Mapping[str, int] | None
    ) -> Iterator[tuple[Schema, Records]]:
        """Ticks, and after each block of them the records derived by then, in an engine's order of publishing."""
        wanted, clock, store = splitter.wanted(), f"ts_{self._clock}", self._store

        def stream(schema: Schema) -> Iterator[Records]:
            bounds: dict[str, Any] = {"end_ns": self._end_ns, "clock": self._clock}
            if schema == Schema.TICK and begins is not None:
                ticks = wanted.selection(schema, **bounds)
                parts = [store.read(name, schema, ticks, first_seq=seq) for name, seq in begins.items()]
            else:
                selection = wanted.selection(schema, start_ns=start_ns, **bounds)
                parts = [store.read(name, schema, selection) for name in store.producers(schema)]
            return merge_by_receive_time(parts, clock)

        streams = {schema: stream(schema) for schema in wanted.schemas}
        derived = [_Held(schema, streams[schema], clock) for schema in PUBLISHED if schema in streams]
        for records in streams.get(Schema.TICK, iter(())):
            yield Schema.TICK, records
            until = int(records[clock].max())
            for held in derived:
                yield from ((held.schema, part) for part in held.until(until))
        for held in derived:
            yield from ((held.schema, part) for part in held.until(None))

    def _snapshots(self, splitter: TopicSplitter, at_ns: int, begins: Mapping[str, int]) -> Iterator[Message]:
        """The books as they stood before a time."""
        named: dict[tuple[str, str], list[int]] = {}
        for row in self._store.instruments:
            if row.symbol != FEED_SYMBOL and (splitter.wants(row.id, "book") or splitter.wants(row.id, "orders")):
                named.setdefault((row.venue, row.symbol), []).append(row.id)
        for venue, symbol in named:
            fold, instrument = fold_at(self._store, self._store.find(venue, symbol), at_ns, begins=begins)
            book = fold.book(instrument)
            channel = "orders" if fold.of_orders else "book"
            if book.ts_recv and splitter.wants(instrument.id, channel):
                yield splitter.message("snapshot", instrument.id, channel, fold.snapshot(), stale=book.stale)


class _Held:
    """Derived records that wait for their ticks."""

    def __init__(self, schema: Schema, blocks: Iterator[Records], clock: str) -> None:
        self.schema = schema
        self._blocks = blocks
        self._clock = clock
        self._block = next(blocks, None)

    def until(self, time_ns: int | None) -> Iterator[Records]:
        """The records up to a time; None: all."""
        while self._block is not None:
            times = np.maximum.accumulate(self._block[self._clock])
            place = len(times) if time_ns is None else int(np.searchsorted(times, time_ns, side="right"))
            if place:
                yield self._block[:place]
            if place < len(times):
                self._block = self._block[place:]
                return
            self._block = next(self._blocks, None)
