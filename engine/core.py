"""What an engine does with ticks, without rings, timers or processes.

Each feed has books and bars of its own, so what is derived from it depends on its ticks alone. A batch is published
as it is, then what follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.books.market_books import MarketBooks
from tickplant.books.order_books import MAX_ORDERS
from tickplant.derive.bars import Bars
from tickplant.engine import publisher
from tickplant.engine.checkpoints import Schedule, checkpoint
from tickplant.engine.publisher import Begin, Publisher
from tickplant.engine.retention import Origin
from tickplant.instruments import InstrumentTable
from tickplant.records import fanout
from tickplant.records.arrays import grown
from tickplant.records.channels import COMMON_STREAMS, OTHER_CHANNELS, TICK_CHANNELS
from tickplant.records.layouts import TICK, Flag, GapCause, Kind, Side, StatusCode
from tickplant.records.notes import make_gaps

Records = NDArray[np.void]
Sink = Callable[[Records], tuple[Records, int]]
"""Takes derived records, stamps their `seq` and stores them; gives those that are new, and how many of these, the first
ones, are stored: where there was no room, the others never will be."""

CheckpointSink = Callable[[Iterable[Records]], None]
"""Takes the checkpoints of a feed's books at one tick, one array each, and stores them."""


class FeedBooks(NamedTuple):
    """What is kept of a feed."""

    max_levels: int
    bar_s: tuple[int, ...]
    checkpoint_s: int = 0  # books are stored this often, with 0 never
    max_orders: int = MAX_ORDERS
    matching: bool = False  # crossed books of orders are resolved
    seeks: bool = False  # a replay, whose time may jump


class Feed:
    """The state derived from one ring of ticks."""

    def __init__(self, name: str, config: FeedBooks) -> None:
        self.origin = Origin(name)  # of what is published now: another one after each hole
        self.config = config
        self.schedule = Schedule(config.checkpoint_s)
        self.books = MarketBooks(config.max_levels, config.max_orders, matching=config.matching)
        self.bars = Bars(config.bar_s)
        self.seen = np.zeros(64, np.bool_)  # by instrument id
        self.ticks = 0
        self.lost = 0

    def reserve(self, instrument_id: int) -> None:
        """Have room for every id up to this one."""
        if instrument_id >= len(self.seen):
            self.seen = grown(self.seen, 2 * instrument_id)
        self.books.reserve(instrument_id)
        self.bars.reserve(instrument_id)


class Engine:
    """Feeds, and the publisher that they share.

    Args:
        table: the instruments; read again when an unknown id occurs.
        publisher: where everything goes.
        store_bbo: takes BBO records before they are published.
        store_bars: takes BAR records before they are published.
        store_checkpoints: takes CHECKPOINT records, which are not published.
    """

    def __init__(
        self,
        table: InstrumentTable,
        publisher: Publisher,
        store_bbo: Sink,
        store_bars: Sink,
        store_checkpoints: CheckpointSink | None = None,
    ) -> None:
        self.feeds: list[Feed] = []
        self._sketches: list[Feed] = []  # to take the place of one of them
        self.foreign = 0  # records of instruments that the table does not have
        self.bbo = 0
        self.bars = 0
        self._table = table
        self._known = 0  # instruments that every feed has room for
        self._highest = 0  # instrument id of the ticks that were admitted last
        self._publisher = publisher
        self._store_bbo = store_bbo
        self._store_bars = store_bars
        self._store_checkpoints = store_checkpoints
        self._warned: set[tuple[str, int, Kind]] = set()
        self._log = structlog.get_logger()

    def add_feed(self, name: str, config: FeedBooks) -> Feed:
        """A ring of ticks to follow."""
        feed = Feed(name, config)
        feed.reserve(self._known)
        self.feeds.append(feed)
        return feed

    def sketch(self, feed: Feed) -> Feed:
        """A feed like this one that knows nothing yet, and that nobody sees until it takes its place."""
        sketch = Feed(feed.origin.feed, feed.config)
        sketch.reserve(self._known)
        self._sketches.append(sketch)
        return sketch

    def discard(self, sketch: Feed) -> None:
        """Forget a sketch."""
        self._sketches.remove(sketch)

    def load(self, sketch: Feed, checkpoints: Records) -> Records:
        """Have the books of stored checkpoints, given as TICK records. Returns their best bids and offers."""
        return sketch.books.apply(self._admitted(sketch, checkpoints))

    def fold(self, sketch: Feed, ticks: Records) -> tuple[Records, Records]:
        """What a feed's ticks lead to, best bids and offers and bars, without telling anybody.

        Checkpoints that fall into these ticks are left out: they would be a short cut to what has just been folded.
        """
        ticks = self._admitted(sketch, ticks)
        sketch.schedule.skip(ticks)
        bbo = sketch.books.apply(ticks)
        self._warn(sketch)
        return bbo, sketch.bars.apply(ticks)

    def replace(self, feed: Feed, sketch: Feed, last_bbo: Iterable[Records], *, next_tick: int, next_bbo: int) -> None:
        """Let a sketch take its feed's place, and tell subscribers what its books are now.

        Args:
            feed: that is replaced.
            sketch: what the feed is now.
            last_bbo: the last best bid and offer of each instrument.
            next_tick: seq with which the feed goes on.
            next_bbo: seq of the next best bid or offer that is stored.
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
        for bbo in last_bbo:
            self._publisher.publish_bbo(bbo, begin=Begin(self._publisher.engine, next_bbo))

    def announce(self, instruments: Iterable[int]) -> None:
        """Have topics for these books before they have records, so that one can ask for them: they are stale."""
        self._learn()
        for instrument in sorted(instruments):
            self._publisher.open_book(instrument)

    def take(self, feed: Feed, ticks: Records) -> None:
        """Publish the next ticks of a feed, and what they change."""
        ticks = self._admitted(feed, ticks)
        if feed.config.seeks:
            done = 0
            for place in _first_sought(ticks).tolist():
                self._take(feed, ticks[done:place])
                feed.origin = Origin(feed.origin.feed)
                feed.bars.restart()
                done = place
            ticks = ticks[done:]
        while self._store_checkpoints and (due := feed.schedule.due(ticks)) < len(ticks):
            self._take(feed, ticks[:due])
            # What came of the ticks before is stored already: whoever finds the checkpoint needs nothing older.
            self._store_checkpoints(checkpoint(book, ticks[due]) for book in feed.books.whole())
            ticks = ticks[due:]
        self._take(feed, ticks)

    def _take(self, feed: Feed, ticks: Records) -> None:
        if not len(ticks):
            return
        feed.ticks += len(ticks)
        self._publisher.publish_ticks(ticks, feed.origin, highest=self._highest)
        bbo = feed.books.apply(ticks)
        if feed.books.unknown:
            self._warn(feed)
        if len(bbo):
            bbo, stored = self._store_bbo(bbo)
            self.bbo += len(bbo)
            self._publisher.publish_bbo(bbo[:stored], feed.origin)
            if stored < len(bbo):
                self._publisher.publish_bbo(bbo[stored:])
        bars = feed.bars.apply(ticks)
        if len(bars):
            bars, stored = self._store_bars(bars)
            self.bars += len(bars)
            self._publisher.publish_bars(bars[:stored], feed.origin)
            if stored < len(bars):
                self._publisher.publish_bars(bars[stored:])

    def overrun(self, feed: Feed, count: int, position: int, ts_recv: int) -> None:
        """`count` ticks before `position` were overwritten before they were read.

        Nobody knows whose they were: every instrument of the feed gets a GAP on its topics, and its book is stale. The
        store is not concerned: the writer reads the ring for itself, and derived records are recovered later.
        """
        feed.lost += count
        feed.origin = Origin(feed.origin.feed)
        gaps = self._gaps(feed, position, ts_recv)
        self._publisher.publish_ticks(gaps)
        self._publisher.publish_bbo(feed.books.apply(gaps))

    def mistrust(self, sketch: Feed, position: int, ts_recv: int) -> None:
        """Ticks before `position` are missing for good: every book is stale."""
        sketch.books.apply(self._gaps(sketch, position, ts_recv))

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
        for unknown in feed.books.unknown:
            if (key := (feed.origin.feed, *unknown)) not in self._warned:
                self._warned.add(key)
                row = self._table.by_id(unknown.instrument)
                what = f"{row.venue} {row.symbol}"
                kind = unknown.kind.name.lower()
                self._log.warning("an unknown order is named; more are counted", instrument=what, kind=kind)

    def counters(self) -> dict[str, int]:
        """What was counted, over all feeds."""
        total = {
            "records": sum(feed.ticks for feed in self.feeds),
            "lost": sum(feed.lost for feed in self.feeds),
            "foreign": self.foreign,
            "bbo": self.bbo,
            "bars": self.bars,
            "books_live": sum(feed.books.live for feed in self.feeds),
            "books_stale": sum(feed.books.stale for feed in self.feeds),
            "books_bytes": sum(feed.books.memory_bytes for feed in self.feeds),
        }
        for feed in self.feeds:
            for name, value in (feed.books.counters | feed.bars.counters).items():
                if name != "bars":
                    total[name] = total.get(name, 0) + value
        return total

    def _admitted(self, feed: Feed, ticks: Records) -> Records:
        """The ticks that can be dealt with; there is room for their instruments afterwards."""
        if not len(ticks):
            return ticks
        lowest, self._highest = fanout.survey(ticks["instrument"], feed.seen)
        if self._highest > self._known or lowest == 0:
            ticks = self._only_known(ticks)
            if len(ticks):
                _, self._highest = fanout.survey(ticks["instrument"], feed.seen)
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


def warm_up() -> None:
    """Compile, or load, every kernel of the engine for this process: seconds at first, milliseconds later."""
    ticks = np.zeros(5, TICK)
    ticks["kind"] = Kind.CLEAR, Kind.LEVEL, Kind.TRADE, Kind.CLEAR, Kind.ORDER_ADD
    ticks["side"] = Side.BID
    ticks["size"] = 1
    ticks["flags"] = Flag.LAST
    ticks["flags"][3] |= Flag.ON_ORDERS
    ticks["ts_event"] = 1
    books = MarketBooks()
    books.apply(ticks)
    books.of_orders.order_snapshot(0)
    Bars((1,)).apply(ticks)
    publisher.warm_up()
