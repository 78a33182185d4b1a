"""What holds for every venue of the catalogue as real processes: a feed, its simulated venue, sockets between them.

k. While links break, messages are lost and checksums are wrong, the records in the ring fold to the venue's book, lack
   no trade beyond their GAPs, and the feed's accounts balance. `tickplant ingest` of its capture stores the same. The
   values of its credential are nowhere in what it has written.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feed_process import FeedProcess, feed_process
from plant_process import tickplant
from session_scripts import StreamRules
from sim_process import SimProcess, sim_process
from venue_life import Books, credential
from venue_sample import VenueSample
from venue_samples import WITH_LINKS

from tickplant.instruments import FEED_SYMBOL, Instrument
from tickplant.records.channels import STREAM_OF_KIND
from tickplant.records.layouts import TICK, Flag, GapCause, Kind, Schema, StatusCode
from tickplant.runtime.job_specs import Live
from tickplant.runtime.recorded_lines import Recording
from tickplant.store.reader import Store
from tickplant.store.selection import Selection

pytestmark = pytest.mark.usefixtures("unmeasured")

VENUE = pytest.mark.parametrize("sample", WITH_LINKS.values(), ids=WITH_LINKS)
NATURES = {(sample.has_book, sample.corrupts, sample.in_line): sample.venue for sample in WITH_LINKS.values()}
ONE_OF_EACH_NATURE = pytest.mark.parametrize(
    "sample",
    [
        pytest.param(sample, id=name, marks=() if name in NATURES.values() else pytest.mark.long)
        for name, sample in WITH_LINKS.items()
    ],
)
"""The others are run by `make long`."""
FIELDS = [name for name in TICK.names or () if name not in ("seq", "instrument")]
OF_A_PROCESS = {
    StatusCode.ACCOUNT_FRAMES,
    StatusCode.ACCOUNT_TICKS,
    StatusCode.CIRCUIT_OPEN,
    StatusCode.CIRCUIT_CLOSED,
}
"""What a feed's process records of itself, not its adapter."""


def trouble(sample: VenueSample, sim: SimProcess, feed: FeedProcess, books: Books, seconds: float) -> None:
    """Faults, each followed by the GAP that it must leave and by books that are live again."""
    end_s = time.monotonic() + seconds
    deeds: list[dict[str, Any]] = [
        {"fault": "disconnect"},
        {"fault": "drop", "stream": sample.lossy, "count": 100},
        {"fault": "disconnect", "close_frame": False},
        {"fault": "duplicate", "stream": "*", "count": 10},
    ]
    if sample.corrupts:
        deeds.insert(1, {"fault": "corrupt", "stream": sample.stream_of("*", "book")})
    number, due = 0, set[GapCause]()
    while number < len(deeds) or time.monotonic() < end_s:
        fault = dict(deeds[number % len(deeds)])
        due |= left_by(sample, fault["fault"])
        if GapCause.SEQUENCE in due:  # else the hole would be that of the connection before
            feed.wait_for("trades on this connection", lambda: has_traded(feed, sample))
        sim.fault(fault.pop("fault"), **fault)
        number += 1
        feed.wait_for("what the fault took", lambda: not sim.ledger()["faults"][-1]["left"])
        wait_for_gaps(feed, due)
        feed.wait_for("live books", books.are_live)


def has_traded(feed: FeedProcess, sample: VenueSample) -> bool:
    """Whether each symbol has had a trade of its connection, and not only one that the venue sent as its last."""
    records = feed.records
    cuts = (records["kind"] == Kind.STATUS) & (records["price"] == StatusCode.DISCONNECTED)
    trades = (records["kind"] == Kind.TRADE) & ((records["flags"] & (Flag.BACKFILL | Flag.SNAPSHOT)) == 0)
    for symbol in sample.symbols if "trade" in sample.streams else ():
        own = np.isin(records["instrument"], [row.id for row in feed.instruments.find(sample.venue, symbol)])
        if records["seq"][own & trades].max(initial=0) <= records["seq"][own & cuts].max(initial=0):
            return False
    return True


def left_by(sample: VenueSample, fault: str) -> set[GapCause]:
    """The causes of the GAPs that a fault leaves at a venue of this kind."""
    if fault == "drop":
        return {GapCause.SEQUENCE} if sample.in_line and not sample.corrupts else set()
    return {"disconnect": {GapCause.DISCONNECT}, "corrupt": {GapCause.CHECKSUM}}.get(fault, set())


def wait_for_gaps(feed: FeedProcess, due: set[GapCause]) -> None:
    """Only the message behind a hole shows the hole: a link that breaks before that message leaves another cause."""

    def causes() -> set[int]:
        records = feed.records
        return set(records["price"][records["kind"] == Kind.GAP].tolist())

    feed.wait_for(f"GAPs of {due}", lambda: causes() >= due)


def check_secrets(sample: VenueSample, feed: FeedProcess) -> None:
    """What a feed has written holds none of them."""
    capture = Recording(feed.data_dir / "capture" / feed.name)
    written = [feed.errors.read_bytes(), *(b"\n".join(block) for block in capture.blocks())]
    written += [path.read_bytes() for path in feed.data_dir.rglob("*") if path.is_file()]
    assert len(b"".join(written)) > 10_000
    for value in sample.secrets.values():
        assert not any(value.encode() in text for text in written)


def run(sample: VenueSample, folder: Path, seconds: float) -> FeedProcess:
    """A feed and its venue in trouble, then the books compared; returns the feed, stopped and closed."""
    market: dict[str, Any] = {"venue": sample.venue, "symbols": [*sample.symbols, sample.further]}
    market |= {"messages_per_s": 300.0, "depth_levels": 50}
    with sim_process(**market) as sim:
        source = Live(ws_url=sim.ws_url + sample.ws_path, rest_url=sim.rest_url)
        config = {"venue": sample.venue, "symbols": sample.symbols, "capture": True, "channels": sample.channels}
        config |= {"reconnect_cap_s": 0.3} | ({"credentials": "venue"} if sample.secrets else {})
        with feed_process(folder, source, environment=credential(sample, folder), **config) as feed:
            books = Books(feed, sample)
            feed.wait_for("live books", books.are_live)
            trouble(sample, sim, feed, books, seconds)
            feed.wait_for("data of each stream", lambda: all(begun(feed, sample, each) for each in sample.symbols))
            for symbol in sample.symbols if sample.has_book else ():
                sim.fault("halt", symbol=symbol)  # so that its book comes to rest
            for symbol in sample.symbols if sample.has_book else ():

                def is_the_venues(symbol: str = symbol) -> bool:
                    return books.of(symbol) == sample.levels(sample.fetch_book(sim, symbol))

                feed.wait_for(f"the venue's book of {symbol}", is_the_venues)
            assert feed.stop() == 0
            return feed


def begun(feed: FeedProcess, sample: VenueSample, symbol: str) -> bool:
    """Whether a symbol has had data of each stream."""
    ids = [row.id for row in feed.instruments.find(sample.venue, symbol)]
    kinds = np.unique(feed.records["kind"][np.isin(feed.records["instrument"], ids)]).tolist()
    return {STREAM_OF_KIND[kind] for kind in kinds if kind in STREAM_OF_KIND} >= sample.streams


def check(sample: VenueSample, feed: FeedProcess) -> None:
    assert [account for account in feed.accounts if account.off] == []
    assert len(feed.accounts) == 3
    assert not feed.counters["adapter_failures"]
    records = feed.records
    assert records["seq"].tolist() == list(range(len(records)))
    for symbol in sample.symbols:
        ids = [row.id for row in feed.instruments.find(sample.venue, symbol)]
        rules = StreamRules(in_line=sample.in_line).check(records[np.isin(records["instrument"], ids)])
        assert rules.begun == sample.streams
        assert rules.disconnected >= 3  # and when the feed ended


def readable(records: np.ndarray, instruments: dict[int, Instrument]) -> dict[str, list[tuple[Any, ...]]]:
    """What an adapter has recorded, by symbol, with the scales in place of the instrument."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    own = (records["kind"] == Kind.STATUS) & np.isin(records["price"], [*OF_A_PROCESS])
    for ident, *fields in records[~own][["instrument", *FIELDS]].tolist():
        row = instruments[ident]
        found.setdefault(row.symbol, []).append((row.price_scale, row.size_scale, *fields))
    return found


def check_ingest(sample: VenueSample, feed: FeedProcess, folder: Path) -> None:
    capture = feed.data_dir / "capture" / feed.name
    done = tickplant("ingest", capture, "--venue", sample.venue, "--data", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["added"] > 0
    store = Store(folder)
    (producer,) = store.producers(Schema.TICK)
    stored = np.concatenate([*store.read(producer, Schema.TICK, Selection())])
    found = readable(stored, {row.id: row for row in store.instruments})
    expected = readable(feed.records, {row.id: row for row in feed.instruments})
    assert found.keys() == expected.keys() == {FEED_SYMBOL, *sample.symbols}
    for symbol in found:
        assert found[symbol] == expected[symbol], symbol


@ONE_OF_EACH_NATURE
def test_a_feed_in_trouble_ends_with_the_venues_book(sample: VenueSample, tmp_path: Path) -> None:
    feed = run(sample, tmp_path, 0.0)
    check(sample, feed)
    check_secrets(sample, feed)


@pytest.mark.long
@VENUE
def test_a_capture_of_a_feed_in_trouble_is_ingested_as_it_was(sample: VenueSample, tmp_path: Path) -> None:
    feed = run(sample, tmp_path, 20.0)
    check(sample, feed)
    check_ingest(sample, feed, tmp_path / "ingested")
