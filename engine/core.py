"""What an engine does with ticks, without rings, timers or processes.

Each feed has books and streams of derived records of its own (`derive.registry`), so what is derived from it depends on
its ticks alone. A batch is published as it is, then what follows from it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.derive.derivation import KeptStream, Settings
from tickplant.derive.registry import channels_of
from tickplant.engine import batch_kernels, publisher
from tickplant.engine.batch_kernels import NOTHING_DONE, STARTED
from tickplant.engine.derived_feed import Feed
from tickplant.engine.message_memory import Begin
from tickplant.engine.moments import NEVER
from tickplant.engine.publisher import Publisher
from tickplant.engine.retention import Origin
from tickplant.instruments import Instrument, InstrumentTable
from tickplant.records import ages, fanout
from tickplant.records.ages import Ages
from tickplant.records.channels import COMMON_STREAMS, OTHER_CHANNELS, TICK_CHANNELS
from tickplant.records.layouts import TICK, Flag, GapCause, Kind, Schema, Side, StatusCode
from tickplant.records.notes import make_gaps
from tickplant.records.schemas import FACTS
from tickplant.store.stored_states import StateSet

Records = NDArray[np.void]

AGES_EVERY_NS: Final = 10**7
"""Between two looks at how old records are when they are published."""


class Sink(Protocol):
    """Where derived records of one schema are stored."""

    @property
    def position(self) -> int:
        """`seq` of the next record."""

    def store(self, records: Records) -> tuple[Records, int]:
        """Stamp `seq` and store; gives those that are new, and how many of these, the first ones, are stored.

        Where there was no room, the others never will be.
        """


class MomentSink(Protocol):
    """Where records of the state at times are stored, which are not published."""

    def store(self, parts: Iterable[Records]) -> None:
        """Store parts, each whole or not at all."""


class Engine:
    """Feeds, and the publisher that they share.

    Args:
        table: the instruments; read again when an unknown id occurs.
        publisher: where everything goes.
        sinks: by schema, what stores derived records before they are published.
        moments: by schema, what stores the state at times; none: it is not stored.
    """

    def __init__(
        self,
        table: InstrumentTable,
        publisher: Publisher,
        sinks: Mapping[Schema, Sink],
        moments: Mapping[Schema, MomentSink] | None = None,
    ) -> None:
        self.feeds: list[Feed] = []
        self._sketches: list[Feed] = []  # to take the place of one of them
        self.foreign = 0  # records of instruments that the table does not have
        self.ages = Ages(AGES_EVERY_NS)  # of ticks when they have been published
        self.derived = dict.fromkeys(sinks, 0)  # by schema, how many were made
        self._table = table
        self._known = 0  # instruments that every feed has room for
        self._highest = 0  # instrument id of the ticks that were admitted last
        self._latest_ns = 0  # time of receipt, likewise
        self._survey = fanout.prepared_survey()
        self._take_all = batch_kernels.prepared()
        self._publisher = publisher
        self._sinks = sinks
        self._moments = moments or {}
        self._warned: set[tuple[str, int, Kind]] = set()
        self._log = structlog.get_logger()

    def add_feed(self, name: str, settings: Settings) -> Feed:
        """A ring of ticks to follow."""
        feed = self._new(name, settings)
        self.feeds.append(feed)
        return feed

    def _new(self, name: str, settings: Settings) -> Feed:
        feed = Feed(name, settings, self._table.by_id, self._line)
        feed.reserve(self._known)
        return feed

    def _line(self, instrument_id: int) -> int:
        """The first id of the symbol that this id is of."""
        row = self._table.by_id(instrument_id)
        return self._table.find(row.venue, row.symbol)[0].id

    def sketch(self, feed: Feed) -> Feed:
        """A feed like this one that knows nothing yet, and that nobody sees until it takes its place."""
        sketch = self._new(feed.origin.feed, feed.settings)
        self._sketches.append(sketch)
        return sketch

    def discard(self, sketch: Feed) -> None:
        """Forget a sketch."""
        self._sketches.remove(sketch)

    def load(self, sketch: Feed, checkpoints: Records) -> list[tuple[Schema, Records]]:
        """Have the books of stored checkpoints, given as TICK records. Returns what is derived from them."""
        return sketch.of_books(self._admitted(sketch, checkpoints))

    def restore(self, sketch: Feed, states: StateSet) -> None:
        """Have the states of a stored set."""
        sketch.begun = True
        for stream in sketch.streams.values():
            if isinstance(stream, KeptStream):
                stream.restore(states.records, states.source_seq)

    def fold(self, sketch: Feed, ticks: Records) -> Iterator[tuple[Schema, Records]]:
        """What a feed's ticks lead to, schema by schema, without telling anybody. Take all of it, in turn.

        Moments that fall into these ticks are left out: they would be a short cut to what has just been folded.
        """
        ticks = self._admitted(sketch, ticks)
        sketch.schedule.skip(ticks)
        yield from sketch.apply(ticks)
        self._warn(sketch)

    def replace(
        self,
        feed: Feed,
        sketch: Feed,
        last: Iterable[tuple[Schema, Records]],
        *,
        next_tick: int,
    ) -> None:
        """Let a sketch take its feed's place, and tell subscribers what its books are now.

        Args:
            feed: that is replaced.
            sketch: what the feed is now.
            last: the last record of each series of which that one is what holds.
            next_tick: seq with which the feed goes on.
        """
        self.discard(sketch)
        sketch.ticks, sketch.lost = feed.ticks, feed.lost
        self.feeds[self.feeds.index(feed)] = sketch
        for instrument in np.flatnonzero(sketch.seen).tolist():
            if sketch.books.has_orders(instrument):
                self._publisher.close_book(instrument)
            if not sketch.books.is_stale(instrument):
                begin = Begin(sketch.origin.feed, next_tick)
                self._publisher.publish_ticks(sketch.books.own_snapshot(instrument), begin=begin)
        for schema, records in last:
            begin = Begin(self._publisher.engine, self._sinks[schema].position)
            self._publisher.publish_derived(schema, records, begin=begin)

    def announce(self, instruments: Iterable[int]) -> None:
        """Have topics for these books before they have records, so that one can ask for them: they are stale."""
        self._learn()
        for instrument in sorted(instruments):
            self._publisher.open_book(instrument)

    def take(self, feed: Feed, ticks: Records) -> None:
        """Publish the next ticks of a feed, and what they change."""
        now_ns = time.time_ns()
        outcome = self._take_all(ticks, feed.address, feed.origin.number, now_ns)
        if outcome != NOTHING_DONE:
            feed.ticks += len(ticks)
            self.ages.since_receipt(ticks, now_ns)
            if outcome == STARTED:
                if reason := feed.sent_or_why:
                    self._publisher.go_on_with_ticks(ticks, feed.origin, reason, now_ns)
                self._hand_on_all(feed, feed.go_on(ticks))
                if not feed.is_noted:
                    self._note(feed)
            return
        ticks = self._admitted(feed, ticks)
        if feed.settings.seeks:
            done = 0
            for place in _first_sought(ticks).tolist():
                self._take_on(feed, ticks[done:place])
                feed.begin_anew()
                done = place
            ticks = ticks[done:]
        self._take_on(feed, ticks)
        if len(ticks):
            self._note(feed)

    def _note(self, feed: Feed) -> None:
        feed.note(self._known, self._publisher, feed.schedule.due_ns if self._moments else NEVER)

    def _take_on(self, feed: Feed, ticks: Records) -> None:
        if not feed.begun and len(ticks):
            feed.begun = True
            self._store_moments(feed, ticks[0], only_first=True)
        while self._moments and (due := feed.schedule.due(ticks, self._latest_ns)) < len(ticks):
            self._take(feed, ticks[:due])
            # What came of the ticks before is stored already: whoever finds the state needs nothing older.
            self._store_moments(feed, ticks[due])
            ticks = ticks[due:]
        self._take(feed, ticks)

    def _store_moments(self, feed: Feed, tick: np.void, *, only_first: bool = False) -> None:
        positions = {schema: sink.position for schema, sink in self._sinks.items()}
        for schema, moment in feed.moments.items():
            if schema in self._moments and (moment.at_begin or not only_first):
                self._moments[schema].store(moment.at(tick, positions))

    def _take(self, feed: Feed, ticks: Records) -> None:
        if not len(ticks):
            return
        feed.ticks += len(ticks)
        self._publisher.publish_ticks(ticks, feed.origin, highest=self._highest)
        self.ages.since_receipt(ticks, time.time_ns())
        self._hand_on_all(feed, feed.apply(ticks))

    def _hand_on_all(self, feed: Feed, made: Iterator[tuple[Schema, Records]]) -> None:
        """Store and publish what follows from a batch, in turn."""
        for schema, records in made:
            new, stored = self._sinks[schema].store(records)
            self.derived[schema] += len(new)
            self._publisher.publish_derived(schema, new[:stored], feed.origin)
            if stored < len(new):
                self._publisher.publish_derived(schema, new[stored:])
        self._warn(feed)

    def overrun(self, feed: Feed, count: int, position: int, ts_recv: int) -> None:
        """`count` ticks before `position` were overwritten before they were read.

        Nobody knows whose they were: every instrument of the feed gets a GAP on its topics, and its book is stale. The
        store is not concerned: the writer reads the ring for itself, and derived records are recovered later.
        """
        feed.lost += count
        feed.origin = Origin(feed.origin.feed)
        gaps = self._gaps(feed, position, ts_recv)
        self._publisher.publish_ticks(gaps)
        for schema, records in feed.of_books(gaps):
            self._publisher.publish_derived(schema, records)

    def mistrust(self, sketch: Feed, position: int, ts_recv: int) -> None:
        """Ticks before `position` are missing for good: every book is stale."""
        sketch.of_books(self._gaps(sketch, position, ts_recv))

    def _gaps(self, feed: Feed, position: int, ts_recv: int) -> Records:
        instruments = np.flatnonzero(feed.seen)
        flags = np.full(len(instruments), COMMON_STREAMS, np.uint16)
        others = OTHER_CHANNELS.intersection(TICK_CHANNELS)
        for row, instrument in enumerate(instruments.tolist()):
            flags[row] |= Flag.ON_ORDERS if feed.books.has_orders(instrument) else 0
            has_other = any(self._publisher.has_channel(instrument, channel) for channel in others)
            flags[row] |= Flag.ON_OTHER if has_other else 0
        return make_gaps(instruments, GapCause.OVERRUN, ts_recv=ts_recv, flags=flags, seq=position)

    def book(self, instrument_id: int) -> Records:
        """Snapshot of the levels of a book: of the feed that has it in sync, else of any that has it."""
        return self._having(instrument_id).books.snapshot(instrument_id)

    def orders(self, instrument_id: int) -> Records:
        """Likewise of a book of orders."""
        return self._having(instrument_id).books.of_orders.order_snapshot(instrument_id)

    def _having(self, instrument_id: int) -> Feed:
        having = [feed for feed in self.feeds if instrument_id < len(feed.seen) and feed.seen[instrument_id]]
        having.sort(key=lambda feed: feed.books.is_stale(instrument_id))
        return (having or self.feeds)[0]

    def _warn(self, feed: Feed) -> None:
        """Say once that operations on unknown orders occur, of each cause and instrument."""
        for unknown in feed.books.news():
            if (key := (feed.origin.feed, *unknown)) not in self._warned:
                self._warned.add(key)
                row = self._table.by_id(unknown.instrument)
                what = f"{row.venue} {row.symbol}"
                kind = unknown.kind.name.lower()
                self._log.warning("an unknown order is named; more are counted", instrument=what, kind=kind)

    def counters(self) -> dict[str, int]:
        """What was counted, over all feeds."""
        counted: set[str] = set()  # by streams: what the engine counts itself is more than one feed's
        total = {
            "records": sum(feed.ticks for feed in self.feeds),
            "lost": sum(feed.lost for feed in self.feeds),
            "foreign": self.foreign,
            **{FACTS[schema].table: count for schema, count in self.derived.items()},
            "books_live": sum(feed.books.live for feed in self.feeds),
            "books_stale": sum(feed.books.stale for feed in self.feeds),
            "books_bytes": sum(feed.books.memory_bytes for feed in self.feeds),
        }
        for feed in self.feeds:
            for stream in feed.streams.values():
                for name, value in stream.counters.items():
                    if name not in total or name in counted:
                        counted.add(name)
                        total[name] = total.get(name, 0) + value
        return total

    def _admitted(self, feed: Feed, ticks: Records) -> Records:
        """The ticks that can be dealt with; there is room for their instruments afterwards."""
        if not len(ticks):
            return ticks
        lowest, self._highest, self._latest_ns = self._survey(ticks, feed.seen)
        if self._highest > self._known or lowest == 0:
            ticks = self._only_known(ticks)
            if len(ticks):
                _, self._highest, self._latest_ns = self._survey(ticks, feed.seen)
        return ticks

    def _only_known(self, ticks: Records) -> Records:
        """The ticks whose instrument is in the table: a feed registers before it publishes, so normally all."""
        self._learn()
        known = (ticks["instrument"] <= self._known) & (ticks["instrument"] > 0)
        self.foreign += len(ticks) - int(np.count_nonzero(known))
        return ticks[known]

    def _learn(self) -> None:
        """Read new instruments, and have room for them."""
        self._table.reload()
        self._known = len(self._table)
        for feed in (*self.feeds, *self._sketches):
            feed.reserve(self._known)


def _first_sought(ticks: Records) -> NDArray[np.intp]:
    """Where the time jumps: the first of each run of SOUGHT."""
    sought = (ticks["kind"] == Kind.STATUS) & (ticks["price"] == StatusCode.SOUGHT)
    return np.flatnonzero(sought & ~np.concatenate([[False], sought[:-1]]))


def warm_up(settings: Settings) -> None:
    """Compile, or load, every kernel of the engine for this process: seconds at first, milliseconds later."""
    ticks = np.zeros(5, TICK)
    ticks["kind"] = Kind.CLEAR, Kind.LEVEL, Kind.TRADE, Kind.CLEAR, Kind.ORDER_ADD
    ticks["side"] = Side.BID
    ticks["size"] = 1
    ticks["flags"] = Flag.LAST
    ticks["flags"][3] |= Flag.ON_ORDERS
    ticks["ts_event"] = 1
    row = Instrument(1, "venue", "SYMBOL", 0, 0)
    feed = Feed("", settings, lambda _: row, lambda _: 1)
    for _ in feed.apply(ticks):
        pass
    feed.books.of_orders.order_snapshot(0)
    publisher.warm_up(channels_of(settings))
    batch_kernels.warm_up()
    ages.prepare_kernels()
