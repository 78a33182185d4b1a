"""Every fault of the table in docs/operations.md at every venue of the catalogue, as real processes.

Each row's faults are committed at a venue's simulated self, with its own names for streams and symbols. Afterwards the
feed has its connections again and data of each stream, its books are the venue's, its trades lack nothing beyond what
its GAPs say, and its accounts balance. `pytest -s` prints what each fault has left in the records.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from fault_table import ROWS, Row
from feed_process import FeedProcess, feed_process
from session_scripts import StreamRules
from sim_process import SimProcess, sim_process
from venue_life import Books, credential
from venue_sample import VenueSample
from venue_samples import WITH_LINKS

from tickplant.records.channels import STREAM_OF_KIND, streams_of
from tickplant.records.layouts import Flag, GapCause, Kind, StatusCode
from tickplant.runtime.job_specs import Live
from tickplant.sim.dialect_table import dialect_of
from tickplant.sim.faults import INSTRUMENT_KINDS, FaultWords
from tickplant.sim.spec import SimSpec

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600), pytest.mark.usefixtures("unmeasured")]

MARKET: dict[str, Any] = {
    "messages_per_s": 300.0,
    "depth_levels": 50,
    "ping_interval_s": 0.3,
    "weight_per_minute": 10**6,
}
PATIENCE = {"stall_s": 1.5, "silent_s": 3.0, "reconnect_cap_s": 0.4, "instrument_poll_s": 2.0}
HEALED_S = 240.0
"""At Binance snapshots wait for a budget, which the snapshots of all faults before have used up."""
LANES = 6
TABLE_SYMBOLS = ("BTCUSDT", "ETHUSDT")
TABLE_CHANNELS = {"trade": "trade", "bookTicker": "quote", "depth*": "book"}
OF_REST = "rest"


class Pair(NamedTuple):
    """A row of the table at a venue."""

    venue: str
    number: int  # of the row

    def __str__(self) -> str:
        return f"{self.venue} {' '.join(ROWS[self.number].faults)}".replace('"', "")


class Outcome(NamedTuple):
    """What has become of it."""

    left: list[str]  # in the records
    counters: list[str]  # that have risen
    healed_s: float
    error: BaseException | None = None


def translated(row: Row, sample: VenueSample, words: FaultWords) -> list[dict[str, Any]] | None:
    """The faults of a row in the words of a venue; None where they cannot befall it, or nobody could notice them."""
    faults = []
    for text in row.faults:
        fault = json.loads(text)
        if fault["fault"] not in (*words.kinds, *INSTRUMENT_KINDS):
            return None
        if fault["fault"] == "stall" and fault.get("pings", True) and not sample.watched:
            return None
        if "symbol" in fault:
            fault["symbol"] = sample.symbols[TABLE_SYMBOLS.index(fault["symbol"])]
        if "endpoint" in fault and not sample.venue.startswith("binance"):
            del fault["endpoint"]
        if "stream" in fault:
            symbol, _, name = fault["stream"].partition("@")
            channel = TABLE_CHANNELS[name]
            if channel not in sample.streams_named:
                return None
            symbols = [each for each in TABLE_SYMBOLS if each.lower() == symbol]
            own = sample.symbols[TABLE_SYMBOLS.index(symbols[0])] if symbols else "*"
            fault["stream"] = sample.stream_of(own, channel)
            if fault["fault"] == "silent" and channel not in sample.watched:
                return None
            if fault["fault"] in ("drop", "reorder", "truncate") and words.loses(fault["stream"]) != fault["stream"]:
                return None
        faults.append(fault)
    return faults


def words_of(sample: VenueSample) -> FaultWords:
    return dialect_of(SimSpec(venue=sample.venue, symbols=sample.symbols)).words


FAULTS = {
    Pair(sample.venue, number): faults
    for sample in WITH_LINKS.values()
    for words in [words_of(sample)]
    for number, row in enumerate(ROWS)
    if not row.setting and (faults := translated(row, sample, words)) is not None
} | {Pair(venue, number): [] for venue in WITH_LINKS for number, row in enumerate(ROWS) if row.setting}


def lasts(fault: dict[str, Any]) -> bool:
    """Whether a fault is on as long as the connection that it has befallen."""
    return fault["fault"] == "silent" or (fault["fault"] == "stall" and fault["for_s"] is None)


class Lane:
    """A venue, a feed, and what has become of its records so far."""

    def __init__(self, sample: VenueSample, sim: SimProcess, feed: FeedProcess) -> None:
        self.sample, self.sim, self.feed = sample, sim, feed
        self.books = Books(feed, sample)
        self.rules = {symbol: StreamRules(in_line=sample.in_line) for symbol in sample.symbols}
        self.links = 0  # connections of a feed that is well
        self.newest: dict[tuple[str, Flag], int] = {}  # by symbol and stream: when the newest data came
        self._read = 0

    def begin(self) -> None:
        self.feed.wait_for("data of each stream", lambda: self.has_data_since(0))
        self.feed.wait_for("live books", self.books.are_live)
        self.links = len(self.open_connections())

    def open_connections(self) -> list[dict[str, Any]]:
        return [one for one in self.sim.ledger()["connections"] if one["closed_ns"] is None]

    def follow(self) -> None:
        """Judge what is new."""
        records = self.feed.records[self._read :]
        self._read += len(records)
        for symbol, rules in self.rules.items():
            ids = [row.id for row in self.feed.instruments.find(self.sample.venue, symbol)]
            mine = records[np.isin(records["instrument"], ids)]
            rules.check(mine)
            for kind in np.unique(mine["kind"]).tolist():
                if (stream := STREAM_OF_KIND.get(kind)) is not None:
                    self.newest[symbol, stream] = int(mine["ts_recv"][mine["kind"] == kind].max())

    def has_data_since(self, time_ns: int) -> bool:
        """Whether each stream of each symbol has brought something since."""
        self.follow()
        due = [(symbol, stream) for symbol in self.sample.symbols for stream in self.sample.streams]
        return all(self.newest.get(each, 0) > time_ns for each in due)

    def wait_for_data(self) -> None:
        """Each stream goes on."""
        now_ns = time.time_ns()
        self.feed.wait_for("data of each stream", lambda: self.has_data_since(now_ns))

    def is_well(self, first_fault: int) -> bool:
        """Whether the faults from that number on are over, and everything comes again."""
        ledger = self.sim.ledger()
        armed = ledger["faults"][first_fault - 1 :]
        lasting = [each["number"] for each in armed if lasts(each["fault"])]
        ill = {hit["connection"] for hit in ledger["hits"] if hit["fault"] in lasting}
        if any(each["connection"] in ill for each in self.open_connections()):
            return False  # what such a fault has befallen ends with the connection only
        over_ns = 0
        for each in armed:
            fault = each["fault"]
            if each["left"] and fault["fault"] == OF_REST:
                with contextlib.suppress(httpx.HTTPError):
                    self.sim.get("/" + fault["endpoint"].replace("*", "nothing"))  # uses up what no feed asks for
            if each["left"]:
                return False
            lasts_s = fault.get("for_s") or fault.get("after_s") or 0
            over_ns = max(over_ns, (each["last_ns"] or each["armed_ns"]) + int(lasts_s * 1e9))
        return self.has_data_since(over_ns) and self.books.are_live() and len(self.open_connections()) == self.links

    def expect_the_venues_books(self) -> None:
        """Halt the symbols, compare, let them trade again."""
        sample = self.sample
        if not sample.has_book:
            return
        assert sample.fetch_book is not None and sample.levels is not None
        for symbol in sample.symbols:
            self.sim.fault("halt", symbol=symbol)
        for symbol in sample.symbols:

            def is_the_venues(symbol: str = symbol) -> bool:
                return self.books.of(symbol) == sample.levels(sample.fetch_book(self.sim, symbol))

            self.feed.wait_for(f"the venue's book of {symbol}", is_the_venues)
        for symbol in sample.symbols:
            self.sim.fault("halt", symbol=symbol, for_s=0.01)
        if self.links:  # what the comparison has opened is closed again
            self.feed.wait_for("the feed's own connections", lambda: len(self.open_connections()) == self.links)

    def run(self, faults: list[dict[str, Any]]) -> Outcome:
        """Commit faults, see that the feed heals. Raises AssertionError."""
        feed = self.feed
        self.wait_for_data()
        feed.wait_for("a heartbeat", lambda beats=feed.heartbeats: feed.heartbeats > beats)
        before, counters, began_s = len(feed.records), dict(feed.counters), time.monotonic()
        numbers = [self.sim.fault(**fault) for fault in faults]
        feed.wait_for("the feed to be well again", lambda: self.is_well(numbers[0]), timeout_s=HEALED_S)
        healed_s = time.monotonic() - began_s
        done = len(feed.records)
        self.expect_the_venues_books()
        feed.wait_for("a heartbeat", lambda beats=feed.heartbeats: feed.heartbeats > beats)
        for each in self.sim.ledger()["faults"][numbers[0] - 1 : numbers[-1]]:
            assert each["hits"] or each["fault"]["fault"] == OF_REST, f"has hit nothing: {each}"
        self.expect_balance()
        risen = [name for name in COUNTERS if feed.counters.get(name, 0) > counters.get(name, 0)]
        return Outcome(left_in(feed.records[before:done]), risen, healed_s)

    def run_setting(self) -> Outcome:
        """Of a feed with a setting of its own: its connections are replaced twice, with overlap or without."""
        began_s = time.monotonic()
        self.feed.wait_for("connections", self.open_connections)
        first = len(self.sim.ledger()["connections"])
        self.feed.wait_for("two replacements", lambda: len(self.sim.ledger()["connections"]) >= 3 * first)
        self.wait_for_data()
        self.feed.wait_for("live books", self.books.are_live)
        risen = [name for name in COUNTERS if self.feed.counters.get(name)]
        return Outcome(left_in(self.feed.records), risen, time.monotonic() - began_s)

    def expect_balance(self) -> None:
        self.follow()
        assert [account for account in self.feed.accounts if account.off] == []
        assert not self.feed.counters["adapter_failures"]


COUNTERS = (
    *("gaps", "duplicates", "resyncs", "rejected", "refused", "backfilled", "unfilled", "handovers"),
    *("connections_lost", "connections_refused", "circuits_opened", "rest_failed", "rest_slow", "checksums_failed"),
)


def left_in(records: Any) -> list[str]:
    """GAPs, statuses, snapshots and late trades among records, in words."""
    found: dict[str, int] = {}

    def add(text: str, times: int = 1) -> None:
        found[text] = found.get(text, 0) + times

    for kind, code, flags in records[np.isin(records["kind"], (Kind.GAP, Kind.STATUS))][
        ["kind", "price", "flags"]
    ].tolist():
        if kind == Kind.GAP:
            add(" ".join(["GAP", GapCause(code).name.lower(), *streams_of(flags)]))
        elif code not in (StatusCode.ACCOUNT_FRAMES, StatusCode.ACCOUNT_TICKS):
            add(f"STATUS {StatusCode(code).name.lower()}")
    if late := int(((records["kind"] == Kind.TRADE) & (records["flags"] & Flag.BACKFILL != 0)).sum()):
        add("TRADE backfill", late)
    if clears := int(((records["kind"] == Kind.CLEAR) & (records["flags"] & Flag.PARTIAL == 0)).sum()):
        add("CLEAR", clears)
    return [f"{times} {text}" for text, times in sorted(found.items())]


def run_lane(folder: Path, pairs: queue.SimpleQueue[list[Pair]], outcomes: dict[Pair, Outcome]) -> None:
    """Take venues until there are none; a row about a setting, or one after a failure, gets a feed of its own."""
    while True:
        try:
            left = pairs.get_nowait()
        except queue.Empty:
            return
        while left:
            run_pairs(folder, left, outcomes)


def run_pairs(folder: Path, left: list[Pair], outcomes: dict[Pair, Outcome]) -> None:
    """Run pairs of one venue, and take them from the list, until one fails."""
    sample = WITH_LINKS[left[0].venue]
    setting = ROWS[left[0].number].setting
    own = folder / f"{sample.venue}-{len(left)}"
    own.mkdir(parents=True)
    config = {"venue": sample.venue, "symbols": sample.symbols, "channels": sample.channels}
    config |= {"credentials": "venue"} if sample.secrets else {}
    began_s = time.monotonic()
    try:
        with sim_process(venue=sample.venue, symbols=[*sample.symbols, sample.further], **MARKET) as sim:
            source = Live(ws_url=sim.ws_url + sample.ws_path, rest_url=sim.rest_url)
            with feed_process(own, source, environment=credential(sample, own), **config | PATIENCE | setting) as feed:
                lane = Lane(sample, sim, feed)
                if not setting:
                    lane.begin()
                while left and ROWS[left[0].number].setting == setting:
                    began_s = time.monotonic()
                    outcome = lane.run_setting() if setting else lane.run(FAULTS[left[0]])
                    if setting:
                        lane.expect_the_venues_books()
                    outcomes[left.pop(0)] = outcome
                assert feed.stop() == 0
                lane.expect_balance()
    except BaseException as error:  # told by the test of this pair
        if left:
            outcomes[left.pop(0)] = Outcome([], [], time.monotonic() - began_s, error)
        else:
            raise


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[Pair, Outcome]:
    """What became of each pair; all are run when the first one is asked for."""
    pairs: queue.SimpleQueue[list[Pair]] = queue.SimpleQueue()
    for venue in WITH_LINKS:
        pairs.put(
            sorted((pair for pair in FAULTS if pair.venue == venue), key=lambda pair: not ROWS[pair.number].setting)
        )
    found: dict[Pair, Outcome] = {}
    folder = tmp_path_factory.mktemp("faults")
    threads = [threading.Thread(target=run_lane, args=(folder, pairs, found)) for _ in range(LANES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("pair", FAULTS, ids=str)
def test_a_feed_heals_from_every_fault_of_its_venue(pair: Pair, outcomes: dict[Pair, Outcome]) -> None:
    outcome = outcomes[pair]
    if outcome.error is not None:
        raise outcome.error
    print(
        f"\n{pair} | {outcome.healed_s:.1f} s | {', '.join(outcome.left) or 'nothing'} | {', '.join(outcome.counters)}"
    )
