"""What holds for every venue of the catalogue in talk with its simulated self, whatever goes wrong meanwhile.

b. Accounts: after each event frames = parsed + ignored + rejected, the ticks counted are those handed out, `kinds` sums
   to them (`checked_adapter.Checked` asserts that in all tests of this folder).
d. Frames of one read or one at a time, by shapes or by the reference decoder: the same records.
e. What Capture writes of a session, ingested, leads to the same records of each symbol, of `*` too. docs/design.md §5
   lists what a capture does not hold.
f. A Closed link makes each of its instruments DISCONNECTED, with the ON_ flags of the channels it carried. The next
   data of each stream comes after a GAP, unless ids prove that nothing is missing. A book is not live until its next
   snapshot.
g. Two sockets under one name that deliver the same frames record each once, where the venue's ids tell; then HANDOVER.
   Where they do not, no link allows two sockets.
h. The fold of the records is the venue's book, after drops, repeats, reconnects, wrong checksums; and wherever the fold
   is live, it agrees with the venue's checksum.
i. An adapter that is given the last ids of the records so far says exactly what it has missed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checked_adapter import Checked
from session_records import captured, gaps, is_followed, is_live, readable, replayed, status
from session_scripts import STREAMS, StreamRules, levels_of, trouble
from venue_desk import words
from venue_sample import VenueSample
from venue_samples import SAMPLES, WITH_BOOKS, WITH_LINKS
from venue_session import MS, Happened, VenueSession

from tickplant.books.fold import wrong_checksums
from tickplant.feeds.contract import Frames, Resync, Send
from tickplant.feeds.last_ids import Continuity, by_symbol
from tickplant.instruments import FEED_SYMBOL
from tickplant.records.layouts import Flag, GapCause, Kind, Side, StatusCode
from tickplant.venues import VENUES

VENUE = pytest.mark.parametrize("sample", WITH_LINKS.values(), ids=WITH_LINKS)
BOOKS = pytest.mark.parametrize("sample", WITH_BOOKS.values(), ids=WITH_BOOKS)
SEEDS = pytest.mark.parametrize(
    "seed", [4, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2, 3, 5, 6, 7, 8))]
)
OF_IDS = (Flag.ON_TRADE, Flag.ON_QUOTE, Flag.ON_BOOK)
"""Streams that go on after a restart with what was recorded last; of the others nothing is known then."""


def test_every_venue_of_the_catalogue_has_its_sample() -> None:
    assert SAMPLES.keys() == VENUES.keys()


@functools.cache
def troubled(venue: str, seed: int) -> VenueSession:
    """A session in which much has gone wrong, ended."""
    with VenueSession(SAMPLES[venue], seed=seed) as session:
        trouble(session, seed)
        session.end()
    return session


# d.


def again(session: VenueSession, replayed: Callable[[Checked, Happened], None], **options: Any) -> Checked:
    """The events of a session once more, for another adapter."""
    feed = Checked(session.sample, **options)
    feed.start(session.happened[0].now_ns)
    for each in session.happened:
        replayed(feed, each)
    return feed


def whole(feed: Checked, each: Happened) -> None:
    if not isinstance(each.what, Send):
        feed.on(each.what, each.now_ns)


def one_by_one(feed: Checked, each: Happened) -> None:
    if isinstance(each.what, Frames):
        for frame in each.what.frames:
            feed.on(Frames(each.what.link, [frame]), each.now_ns)
    else:
        whole(feed, each)


@VENUE
@SEEDS
def test_reads_and_decoders_make_no_difference(sample: VenueSample, seed: int) -> None:
    session = troubled(sample.venue, seed)
    expected = words(session.feed.records)
    assert len(expected) > 1000
    assert words(again(session, one_by_one).records) == expected
    reference = again(session, whole, use_shapes=False)
    assert words(reference.records) == expected
    fast, slow = session.feed.adapter.counters, reference.adapter.counters
    for name in ("frames", "parsed", "ignored", "rejected", "ticks", "kinds", "duplicates", "gaps", "refused"):
        assert getattr(fast, name) == getattr(slow, name), name
    bars = fast.kinds.get("venue_bar", 0) / 4  # each of them at least four records: they have no shape
    assert fast.fallbacks < fast.frames / 10 + bars


# e.


@VENUE
@SEEDS
def test_a_capture_leads_to_the_records_of_the_session(sample: VenueSample, seed: int, tmp_path: Path) -> None:
    session = troubled(sample.venue, seed)
    feed = replayed(sample, captured(session, tmp_path / "capture"))
    assert readable(feed) == readable(session.feed)


# f.


@VENUE
@SEEDS
def test_streams_go_on_behind_gaps(sample: VenueSample, seed: int) -> None:
    session = troubled(sample.venue, seed)
    for symbol in sample.symbols:
        rules = StreamRules(in_line=sample.in_line).check(session.feed.of(symbol))
        assert rules.disconnected >= 2
        assert rules.begun == sample.streams


@VENUE
def test_a_lost_link_interrupts_all_that_it_carried(sample: VenueSample) -> None:
    with VenueSession(sample) as session:
        session.run_until(lambda: is_live(session))
        session.run(2.5)  # so that all streams have begun
        before = len(session.feed.records)
        session.disconnect()
        told = session.feed.records[before:]
        for symbol in sample.symbols:
            mine = told[np.isin(told["instrument"], session.feed.table.ids(symbol))]
            flags = status(mine, StatusCode.DISCONNECTED)["flags"]
            assert np.bitwise_or.reduce(flags) == sample.all_streams | Flag.LAST
            assert not is_followed(session.feed, symbol)
        session.run(1.5)
        after = session.feed.records[before + len(told) :]
        (connected,) = status(after, StatusCode.CONNECTED) if len(session.links) == 1 else (None,)
        assert connected is None or connected["flags"] == sample.all_streams | Flag.LAST
        for symbol in sample.symbols:
            mine = session.feed.of(symbol)
            assert is_followed(session.feed, symbol)
            for on in sample.untold:
                assert set(gaps(mine, on)["price"].tolist()) == {GapCause.DISCONNECT}, STREAMS[on]


@pytest.mark.parametrize("sample", WITH_LINKS.values(), ids=WITH_LINKS)
def test_a_resync_is_for_books_that_there_are(sample: VenueSample) -> None:
    channels = tuple(channel for channel in sample.channels if channel != "book")
    with VenueSession(sample, messages_per_s=50.0, channels=channels) as session:
        session.run(0.3)
        session.event(Resync(""))
        assert not len(status(session.feed.records, StatusCode.RESYNC))
        assert session.feed.adapter.counters.resyncs == 0


# g.


@VENUE
def test_two_sockets_of_one_link_record_everything_once(sample: VenueSample) -> None:
    with VenueSession(sample) as session:
        session.run_until(lambda: is_live(session))
        duplicates = session.feed.adapter.counters.duplicates
        before = len(session.feed.records)
        session.replace(overlap=True)
        session.run(2.0)
        records = session.feed.records[before:]
        if not all(spec.overlap for spec in session.links.values()):
            assert not sample.counted >= {"trade", "quote", "book"}, "its ids would tell"
            return
        assert session.feed.adapter.counters.duplicates > duplicates
        assert len(status(records, StatusCode.HANDOVER)) == len(session.links)
        assert not len(status(records, StatusCode.DISCONNECTED))
        assert not len(records[records["kind"] == Kind.GAP])
        for symbol in sample.symbols:
            mine = session.feed.of(symbol)
            StreamRules(in_line=sample.in_line).check(mine)
            quotes = mine[(mine["kind"] == Kind.QUOTE) & (mine["side"] == Side.BID)]
            assert len(np.unique(quotes["venue_seq"])) == len(quotes)
            assert session.feed.book(symbol).live


# h.


@BOOKS
@SEEDS
def test_the_fold_of_the_records_is_the_venues_book(sample: VenueSample, seed: int) -> None:
    with VenueSession(sample, seed=seed) as session:
        trouble(session, seed)
        session.run_until(lambda: is_live(session), seconds=120)
        session.end_market()
        session.run_until(lambda: session.is_silent)
        session.run_until(lambda: is_live(session), seconds=30)  # the last changes may have shown a hole
        session.run(0.1)
        counters = session.feed.adapter.counters
        assert counters.rejected and counters.resyncs
        assert bool(counters.checksums_failed) == sample.corrupts
        for symbol in sample.symbols:
            instrument = session.feed.table.known(symbol)
            assert instrument is not None
            book = session.feed.book(symbol)
            assert book.live
            assert levels_of(book, instrument) == session.book(symbol)


@BOOKS
@SEEDS
def test_the_fold_agrees_with_each_checksum_while_it_is_live(sample: VenueSample, seed: int) -> None:
    session = troubled(sample.venue, seed)
    for row in session.feed.table.rows:
        mine = session.feed.of(row.symbol)
        assert row.symbol == FEED_SYMBOL or (mine["kind"] == Kind.CHECKSUM).any() == sample.corrupts
        assert list(wrong_checksums([mine], row)) == []


# i.


@VENUE
@pytest.mark.parametrize("away_s", [pytest.param(0.05, marks=pytest.mark.long), 20.0])
def test_a_restarted_feed_says_what_it_has_missed(sample: VenueSample, away_s: float) -> None:
    with VenueSession(sample) as session:
        session.run(2.0)
        session.disconnect(again=False)
        records, table = session.feed.records, session.feed.table
        found = {
            symbol: StreamRules(in_line=sample.in_line).check(session.feed.of(symbol)) for symbol in sample.symbols
        }
        last = {symbol: rules.last[sample.aggregate] for symbol, rules in found.items()}
        continuity = Continuity()
        continuity.add(records)
        ids = by_symbol(continuity.last, table.rows)
        for _ in range(round(away_s / 0.05)):
            session.now_ns += 50 * MS
            session.source.step(session.now_ns - session.source._origin_ns)
    with VenueSession(sample, venue=session.venue, now_ns=session.now_ns, last=ids, table=table) as second:
        second.run(3.0)
        for symbol in sample.symbols:
            mine = second.feed.of(symbol)
            for on in sample.untold & set(OF_IDS):
                assert gaps(mine, on)["price"].tolist() == [GapCause.RESTART], STREAMS[on]
            trades = mine[(mine["kind"] == Kind.TRADE) & (mine["flags"] & Flag.BACKFILL == 0)]
            first = int(trades["venue_seq"][0])
            told = gaps(mine, Flag.ON_TRADE)
            fields = told[["price", "size", "order_id", "venue_seq"]].tolist()
            missing = first - last[symbol] - 1
            if sample.in_line:
                assert fields == ([(GapCause.RESTART, missing, last[symbol], first)] if missing else [])
            assert is_followed(second.feed, symbol)
            rules = StreamRules(in_line=sample.in_line)
            rules.last[sample.aggregate] = last[symbol]
            rules.check(mine)
