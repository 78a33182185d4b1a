"""What an engine does with ticks, without rings, timers or processes.

Each feed has its own books and streams of derived records (`derive.registry`), so what is derived from a feed depends
only on its ticks. A batch is published as it is, followed by the records derived from it.
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
"""How often the age of records is measured when they are published."""


class Sink(Protocol):
    """Where derived records of one schema are stored."""

    @property
    def position(self) -> int:
        """`seq` of the next record."""

    def store(self, records: Records) -> tuple[Records, int]:
        """Stamp `seq` and store; returns the new records, and how many of them, from the first on, were stored.

        The others found no room, and will never be stored.
        """


class MomentSink(Protocol):
    """Where scheduled records of the state are stored; these are not published."""

    def store(self, parts: Iterable[Records]) -> None:
        """Store parts, each whole or not at all."""


class Engine:
    """Feeds, and the publisher that they share.

    Args:
        table: the instruments; read again when an unknown id occurs.
        publisher: publishes ticks and derived records.
        sinks: by schema, what stores derived records before they are published.
        moments: by schema, what stores scheduled records of the state; without them none are stored.
    """

    def __init__(
        self,
        table: InstrumentTable,
        publisher: Publisher,
        sinks: Mapping[Schema, Sink],
        moments: Mapping[Schema, MomentSink] | None = None,
    ) -> None:
        self.feeds: list[Feed] = []
        self._sketches: list[Feed] = []  # each will replace one of the feeds
        self.foreign = 0  # records of instruments that are not in the table
        self.ages = Ages(AGES_EVERY_NS)  # of ticks when they have been published
        self.derived = dict.fromkeys(sinks, 0)  # by schema, how many were made
        self._table = table
        self._known = 0  # every feed has room for instrument ids up to this one
        self._highest = 0  # highest instrument id of the ticks admitted last
        self._latest_ns = 0  # their latest time of receipt
        self._survey = fanout.prepared_survey()
        self._take_all = batch_kernels.prepared()
        self._publisher = publisher
        self._sinks = sinks
        self._moments = moments or {}
        self._warned: set[tuple[str, int, Kind]] = set()
        self._log = structlog.get_logger()

    def add_feed(self, name: str, settings: Settings) -> Feed:
        """Add a ring of ticks to follow."""
        feed = self._new(name, settings)
        self.feeds.append(feed)
        return feed

    def _new(self, name: str, settings: Settings) -> Feed:
        feed = Feed(name, settings, self._table.by_id, self._line)
        feed.reserve(self._known)
        return feed

    def _line(self, instrument_id: int) -> int:
        """The first id of the symbol that this id belongs to."""
        row = self._table.by_id(instrument_id)
        return self._table.find(row.venue, row.symbol)[0].id

    def sketch(self, feed: Feed) -> Feed:
        """An empty feed with the same settings, invisible to subscribers until it replaces this one."""
        sketch = self._new(feed.origin.feed, feed.settings)
        self._sketches.append(sketch)
        return sketch

    def discard(self, sketch: Feed) -> None:
        """Forget a sketch."""
        self._sketches.remove(sketch)

    def load(self, sketch: Feed, checkpoints: Records) -> list[tuple[Schema, Records]]:
        """Load the books of stored checkpoints, given as TICK records. Returns what is derived from them."""
        return sketch.of_books(self._admitted(sketch, checkpoints))

    def restore(self, sketch: Feed, states: StateSet) -> None:
        """Restore the states of a stored set."""
        sketch.begun = True
        for stream in sketch.streams.values():
            if isinstance(stream, KeptStream):
                stream.restore(states.records, states.source_seq)

    def fold(self, sketch: Feed, ticks: Records) -> Iterator[tuple[Schema, Records]]:
        """The records derived from a feed's ticks, schema by schema, without publishing. Consume the iterator in full.

        No state is stored during these ticks: it would only be a shortcut to what has just been folded.
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
        """Replace a feed by its sketch, and publish to subscribers what its books are now.

        Args:
            feed: the feed to replace.
            sketch: its replacement.
            last: for the series whose last record is the current state, that record.
            next_tick: seq of the feed's next tick.
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
        """Open topics for these books, which are stale, before they have records, so that clients can ask for them."""
        self._learn()
        for instrument in sorted(instruments):
            self._publisher.open_book(instrument)

    def take(self, feed: Feed, ticks: Records) -> None:
        """Publish the next ticks of a feed, and what is derived from them."""
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
            # Records derived from earlier ticks are stored already: whoever reads this state needs nothing older.
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
        """Store and publish the records derived from a batch, schema by schema."""
        for schema, records in made:
            new, stored = self._sinks[schema].store(records)
            self.derived[schema] += len(new)
            self._publisher.publish_derived(schema, new[:stored], feed.origin)
            if stored < len(new):
                self._publisher.publish_derived(schema, new[stored:])
        self._warn(feed)

    def overrun(self, feed: Feed, count: int, position: int, ts_recv: int) -> None:
        """`count` ticks before `position` were overwritten before they were read.

        Their instruments are unknown: every instrument of the feed gets a GAP on its topics, and its book is stale. The
        store is unaffected: the writer reads the ring independently, and derived records are recovered later.
        """
        feed.lost += count
        feed.origin = Origin(feed.origin.feed)
        gaps = self._gaps(feed, position, ts_recv)
        self._publisher.publish_ticks(gaps)
        for schema, records in feed.of_books(gaps):
            self._publisher.publish_derived(schema, records)

    def mistrust(self, sketch: Feed, position: int, ts_recv: int) -> None:
        """Mark every book as stale: ticks before `position` are lost for good."""
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
        """Snapshot of a book's levels, from the feed whose book is in sync, else from any feed that has the book."""
        return self._having(instrument_id).books.snapshot(instrument_id)

    def orders(self, instrument_id: int) -> Records:
        """Snapshot of a book of orders; see `book`."""
        return self._having(instrument_id).books.of_orders.order_snapshot(instrument_id)

    def _having(self, instrument_id: int) -> Feed:
        having = [feed for feed in self.feeds if instrument_id < len(feed.seen) and feed.seen[instrument_id]]
        having.sort(key=lambda feed: feed.books.is_stale(instrument_id))
        return (having or self.feeds)[0]

    def _warn(self, feed: Feed) -> None:
        """Log operations on unknown orders, once for each cause and instrument."""
        for unknown in feed.books.news():
            if (key := (feed.origin.feed, *unknown)) not in self._warned:
                self._warned.add(key)
                row = self._table.by_id(unknown.instrument)
                what = f"{row.venue} {row.symbol}"
                kind = unknown.kind.name.lower()
                self._log.warning("an unknown order is named; more are counted", instrument=what, kind=kind)

    def counters(self) -> dict[str, int]:
        """Counters by name, summed over all feeds."""
        counted: set[str] = set()  # by streams; the engine's own counters already cover all feeds
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
        """The ticks that can be processed; makes room for their instruments."""
        if not len(ticks):
            return ticks
        lowest, self._highest, self._latest_ns = self._survey(ticks, feed.seen)
        if self._highest > self._known or lowest == 0:
            ticks = self._only_known(ticks)
            if len(ticks):
                _, self._highest, self._latest_ns = self._survey(ticks, feed.seen)
        return ticks

    def _only_known(self, ticks: Records) -> Records:
        """The ticks whose instrument is in the table. A feed registers before it publishes, so normally all of them."""
        self._learn()
        known = (ticks["instrument"] <= self._known) & (ticks["instrument"] > 0)
        self.foreign += len(ticks) - int(np.count_nonzero(known))
        return ticks[known]

    def _learn(self) -> None:
        """Read new instruments, and make room for them."""
        self._table.reload()
        self._known = len(self._table)
        for feed in (*self.feeds, *self._sketches):
            feed.reserve(self._known)


def _first_sought(ticks: Records) -> NDArray[np.intp]:
    """Where time jumps: the first of each run of SOUGHT ticks."""
    sought = (ticks["kind"] == Kind.STATUS) & (ticks["price"] == StatusCode.SOUGHT)
    return np.flatnonzero(sought & ~np.concatenate([[False], sought[:-1]]))


def warm_up(settings: Settings) -> None:
    """Compile or load every kernel of the engine for this process: seconds the first time, milliseconds later."""
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
