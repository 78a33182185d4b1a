"""The table of faults in docs/operations.md, row by row: a real venue commits them, a real feed must react as written.

The rows are shared out among some pairs of venue and feed that run side by side: nearly all of the time is waiting.
"""

from __future__ import annotations

import json
import queue
import signal
import threading
import time
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_table import ROWS, Row
from feed_process import DEADLINE_S, FeedProcess, feed_process
from folded_book import FoldedBook
from sim_process import SimProcess, sim_process

from tickplant.records.layouts import Flag, GapCause, Kind, Side, StatusCode
from tickplant.runtime.job_specs import Live
from tickplant.sim.dialects.binance.venue import WORDS
from tickplant.sim.faults import INSTRUMENT_KINDS

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

SYMBOLS = ("BTCUSDT", "ETHUSDT")
MARKET = {
    "symbols": SYMBOLS,
    "messages_per_s": 400,
    "depth_levels": 50,
    "ping_interval_s": 0.3,
    "weight_per_minute": 10**6,
}
PATIENCE = {"stall_s": 8.0, "silent_s": 10.0, "reconnect_cap_s": 0.4, "instrument_poll_s": 1.0}
LANES = 6
SHOWN = ("STATUS halted", "STATUS delisted")  # the feed has noticed what lasts a while
STREAMS = {"trade": Flag.ON_TRADE, "quote": Flag.ON_QUOTE, "book": Flag.ON_BOOK}


class Lane:
    """A venue, a feed, and what has become of its records so far."""

    def __init__(self, sim: SimProcess, feed: FeedProcess) -> None:
        self.sim, self.feed = sim, feed
        self.read = 0
        self.books: dict[int, FoldedBook] = defaultdict(FoldedBook)
        self.trades: dict[int, set[int]] = defaultdict(set)

    def instrument(self, symbol: str) -> int:
        """The newest id of a symbol, whose scales may have changed."""
        found = self.feed.instruments.find("binance", symbol)
        return found[-1].id if found else 0

    def ids(self, symbol: str) -> set[int]:
        """The trades of a symbol under all its ids."""
        return set().union(*(self.trades[row.id] for row in self.feed.instruments.find("binance", symbol)))

    def follow(self) -> None:
        """Fold what is new."""
        records = self.feed.records[self.read :]
        self.read += len(records)
        for instrument in np.unique(records["instrument"]).tolist():
            own = records[records["instrument"] == instrument]
            self.books[instrument].apply_ticks(own)
            for ident in own["venue_seq"][own["kind"] == Kind.TRADE].tolist():
                assert ident not in self.trades[instrument], f"trade {ident} is stored twice"
                self.trades[instrument].add(ident)

    def is_well(self) -> bool:
        """One connection, live books, every trade since the first one stored."""
        self.follow()
        instruments = [self.instrument(symbol) for symbol in SYMBOLS]
        if not all(self.books[instrument].live and self.trades[instrument] for instrument in instruments):
            return False
        for ids in map(self.ids, SYMBOLS):
            if max(ids) - min(ids) + 1 != len(ids):
                return False
        return len(self.open_connections()) == 1

    def open_connections(self) -> list[dict[str, Any]]:
        return [one for one in self.sim.ledger()["connections"] if one["closed_ns"] is None]

    def has_the_venues_book(self, symbol: str) -> bool:
        """Ask the venue for its book, follow until past that, and compare all levels that have not changed since."""
        snapshot = self.sim.get(f"/api/v3/depth?symbol={symbol}&limit=5000").json()
        instrument = self.feed.instruments.find("binance", symbol)[-1]
        book = self.books[instrument.id]

        def passed() -> bool:
            self.follow()
            return not book.live or book.book_id >= snapshot["lastUpdateId"]

        self.feed.wait_for(f"the book of {symbol}", passed)
        since = {key for key, ident in book.changed.items() if ident > snapshot["lastUpdateId"]}
        venue = {
            (int(side), int(Decimal(price).scaleb(instrument.price_scale))): int(
                Decimal(size).scaleb(instrument.size_scale)
            )
            for side, name in ((Side.BID, "bids"), (Side.ASK, "asks"))
            for price, size in snapshot[name]
        }
        mine = {
            (side, price): size
            for side, levels in book.levels.items()
            for price, size in levels.items()
            if (side, price) not in since
        }
        return book.live and mine == {key: size for key, size in venue.items() if key not in since}

    def begin(self, fault: str) -> dict[str, Any] | None:
        """Commit a fault. One that is over after a while lasts until it is committed as what this returns.

        By the clock it may be over before the feed asks the venue, as processes stand still on a busy machine.
        """
        options = json.loads(fault)
        brief = options.pop("for_s", None) is not None
        self.sim.fault(**options)
        return {**options, "for_s": 0.01} if brief else None

    def run(self, row: Row) -> None:
        """Commit the faults of a row and wait until all has come that it says. Raises AssertionError."""
        feed = self.feed
        if not row.setting:
            feed.wait_for("a feed that is well", self.is_well)
        feed.wait_for("a heartbeat", lambda beats=feed.heartbeats: feed.heartbeats > beats)
        before, counters, logged = len(feed.records), dict(feed.counters), len(feed.log())
        if row.setting:
            before, counters, logged = 0, {}, 0
        ends = [self.begin(fault) for fault in row.faults if not row.setting]
        for text in row.stored:
            feed.wait_for(f"{text} in the records", lambda text=text: is_stored(feed.records[before:], text))
            if text in SHOWN:
                for fault in filter(None, ends):
                    self.sim.fault(**fault)
        for name in row.counters:
            feed.wait_for(
                f"{name} to be more than {counters.get(name, 0)}",
                lambda name=name: feed.counters[name] > counters.get(name, 0),
            )
        for event in row.log:
            feed.wait_for(f"{event!r} in the log", lambda event=event: said(feed, event, logged))
        if not row.setting:
            feed.wait_for("the feed to be well again", self.is_well)
        for symbol in SYMBOLS:
            feed.wait_for(f"the venue's book of {symbol}", lambda symbol=symbol: self.has_the_venues_book(symbol))
        records = feed.records
        assert records["seq"].tolist() == list(range(len(records)))


def is_stored(records: Any, text: str) -> bool:
    """Whether there is a record that the table calls so."""
    kind, _, about = text.partition(" ")
    mine = records[records["kind"] == Kind[kind]]
    if about == "backfill":
        return bool((mine["flags"] & Flag.BACKFILL).any())
    if about:
        code, _, stream = about.partition(" ")
        codes = GapCause if kind == "GAP" else StatusCode
        mine = mine[mine["price"] == codes[code.upper()]]
        if stream:
            mine = mine[mine["flags"] & STREAMS[stream] != 0]
    return len(mine) > 0


def said(feed: FeedProcess, event: str, start: int) -> bool:
    return any(line["event"] == event for line in feed.log()[start:])


def run_lane(folder: Path, rows: queue.SimpleQueue[Row], outcomes: dict[Row, BaseException | None]) -> None:
    """Take rows until there are none; a row about a setting, or one after a failure, gets a pair of its own."""
    row = take(rows)
    while row is not None:
        own = folder / str(rows.qsize())
        own.mkdir(parents=True)
        mine = row
        try:
            with sim_process(**MARKET) as sim:
                source = Live(ws_url=sim.ws_url, rest_url=sim.rest_url)
                with feed_process(own, source, symbols=SYMBOLS, **PATIENCE | row.setting) as feed:
                    lane = Lane(sim, feed)
                    while row is not None and row.setting == mine.setting:
                        mine = row
                        lane.run(mine)
                        outcomes[mine] = None
                        row = take(rows)
        except BaseException as error:  # told by the test of this row
            outcomes[mine] = error
            row = take(rows) if row is mine else row


def take(rows: queue.SimpleQueue[Row]) -> Row | None:
    """The next row; None where there is none left."""
    try:
        return rows.get_nowait()
    except queue.Empty:
        return None


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[Row, BaseException | None]:
    """What became of each row; all are run when the first one is asked for."""
    rows: queue.SimpleQueue[Row] = queue.SimpleQueue()
    for row in sorted(ROWS, key=lambda row: (not row.setting, -len(row.faults))):  # the long ones first
        rows.put(row)
    found: dict[Row, BaseException | None] = {}
    folder = tmp_path_factory.mktemp("faults")
    threads = [threading.Thread(target=run_lane, args=(folder / str(lane), rows, found)) for lane in range(LANES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("row", ROWS, ids=[" ".join(row.faults).replace('"', "") for row in ROWS])
def test_a_fault_of_the_venue_shows_as_the_table_says(row: Row, outcomes: dict[Row, BaseException | None]) -> None:
    error = outcomes[row]
    if error is not None:
        raise error


def test_the_table_holds_every_fault_that_the_venue_knows() -> None:
    committed = {json.loads(fault)["fault"] for row in ROWS if not row.setting for fault in row.faults}
    assert committed == {*WORDS.kinds, *INSTRUMENT_KINDS}


def wait_for_trades(sim: SimProcess) -> None:
    """Wait until the venue has traded each symbol again."""

    def newest(symbol: str) -> int:
        return int(sim.get(f"/api/v3/historicalTrades?symbol={symbol}&limit=1").json()[0]["id"])

    before = {symbol: newest(symbol) for symbol in SYMBOLS}
    deadline_s = time.monotonic() + DEADLINE_S
    while any(newest(symbol) <= ident + 1 for symbol, ident in before.items()):
        assert time.monotonic() < deadline_s, "the venue trades no more"
        time.sleep(0.05)


def test_a_killed_feed_tells_what_it_missed_and_its_successor_fetches_the_trades(tmp_path: Path) -> None:
    with sim_process(**MARKET) as sim:
        source = Live(ws_url=sim.ws_url, rest_url=sim.rest_url)
        with feed_process(tmp_path, source, symbols=SYMBOLS, **PATIENCE) as feed:
            lane = Lane(sim, feed)
            feed.wait_for("a feed that is well", lane.is_well)
            feed.stop(signal.SIGKILL)
            before = len(feed.records)
            wait_for_trades(sim)  # a successor is so quick that there may be none else
            feed.start()
            for text in ("STATUS disconnected", "GAP restart trade", "GAP restart quote", "GAP restart book"):
                feed.wait_for(text, lambda text=text: is_stored(feed.records[before:], text))
            feed.wait_for("a feed that is well again", lane.is_well)
            for symbol in SYMBOLS:
                feed.wait_for(f"the venue's book of {symbol}", lambda symbol=symbol: lane.has_the_venues_book(symbol))
            assert is_stored(feed.records[before:], "TRADE backfill")
