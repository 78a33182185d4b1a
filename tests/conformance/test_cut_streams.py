"""What holds for every venue of the catalogue whose connections are cut, one or both of two, at any moment.

l. A trade stream that is cut at random instants ends with ids in line, or with a GAP that names each hole; where ids
   have holes by right, with a GAP for each interruption.
m. With two connections that carry the same streams, one is cut again and again: no trade is missing or doubled, no
   book is lost, nothing is DISCONNECTED. What a capture of that says is the same. Only the loss of both is a loss.
n. A venue where nothing tells what one connection repeats of the other says so, before a feed begins.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from session_records import captured, gaps, is_live, readable, replayed, status
from session_scripts import StreamRules, levels_of
from venue_sample import VenueSample
from venue_samples import SAMPLES, WITH_LINKS
from venue_session import RECONNECT_NS, VenueSession

from tickplant.feeds.contract import Followed, Symbols
from tickplant.records.layouts import Flag, GapCause, StatusCode
from tickplant.venues import VENUES

CUTS = pytest.mark.parametrize("cuts", [4, pytest.param(50, marks=pytest.mark.long)])


def with_trades() -> list[Any]:
    samples = [sample for sample in WITH_LINKS.values() if "trade" in sample.channels]
    marks = {True: (), False: pytest.mark.long}
    return [pytest.param(sample, id=sample.venue, marks=marks[sample.in_line]) for sample in samples]


def doubled() -> list[VenueSample]:
    return [sample for sample in SAMPLES.values() if VENUES[sample.venue].numbered and not VENUES[sample.venue].single]


def with_quotes() -> list[VenueSample]:
    return [sample for sample in doubled() if "quote" in VENUES[sample.venue].numbered]


def names(samples: list[VenueSample]) -> list[str]:
    return [sample.venue for sample in samples]


def cut_one(session: VenueSession, link: str) -> None:
    """The sockets of one link break, and come again."""
    for socket in [socket for socket in session.sockets if socket.link == link]:
        session._lose(socket, "cut")
        session._opening.append((session.now_ns + RECONNECT_NS, link))


# l.


@CUTS
@pytest.mark.parametrize("sample", with_trades())
def test_a_trade_stream_cut_at_random_instants_has_ids_in_line_or_gaps(sample: VenueSample, cuts: int) -> None:
    chance = random.Random(11)
    with VenueSession(sample, seed=11) as session:
        session.run_until(lambda: is_live(session))
        for _ in range(cuts):
            session.run(chance.choice([0.08, 0.15, 0.4]) + chance.random() / 20)
            session.disconnect()
        session.run(2.0)
        session.end()
    for symbol in sample.symbols:
        mine = session.feed.of(symbol)
        rules = StreamRules(in_line=sample.in_line).check(mine)
        assert rules.disconnected == cuts
        if not sample.in_line:
            assert len(gaps(mine, Flag.ON_TRADE)) == cuts
            continue
        ids = np.array(sorted(ident for aggregate, ident in rules.trades if not aggregate))
        holes = {(int(before), int(after)) for before, after in itertools.pairwise(ids) if after != before + 1}
        told = {(int(gap["order_id"]), int(gap["venue_seq"])) for gap in gaps(mine, Flag.ON_TRADE)}
        # Where some of a hole was fetched later, what is left of it lies within its GAP.
        assert all(any(last <= before and after <= following for last, following in told) for before, after in holes)
        assert len(ids) > 10 * cuts / len(sample.symbols)


# m.


def doubled_session(sample: VenueSample) -> VenueSession:
    channels = [channel for channel in ("trade", "quote", "book") if channel in VENUES[sample.venue].numbered]
    return VenueSession(sample, seed=5, connections=2, channels=tuple(channels))


def books_are_live(session: VenueSession) -> bool:
    if not all(session.feed.table.ids(symbol) for symbol in session.sample.symbols):
        return False
    return "book" not in session.feed.channels or is_live(session)


@CUTS
@pytest.mark.parametrize("sample", doubled(), ids=names(doubled()))
def test_one_of_two_connections_may_die_without_a_gap(sample: VenueSample, cuts: int, tmp_path: Path) -> None:
    chance = random.Random(5)
    with doubled_session(sample) as session:
        session.run_until(lambda: books_are_live(session))
        session.run(1.0)
        assert len(session.links) == 2 * len({link.partition("~")[0] for link in session.links})
        before = len(session.feed.records)
        for number in range(cuts):
            cut_one(session, [*session.links][number % len(session.links)])
            session.run(RECONNECT_NS / 1e9 + 0.1 + chance.random() / 3)
        records = session.feed.records[before:]
        assert len(status(records, StatusCode.HANDOVER)) == cuts
        assert not len(status(records, StatusCode.DISCONNECTED))
        assert not len(gaps(records, Flag.ON_TRADE | Flag.ON_BOOK))
        assert session.feed.adapter.counters.duplicates > len(records) / 3
        session.end_market()
        session.run_until(lambda: session.is_silent)
        session.run(0.1)
        for symbol in sample.symbols:
            rules = StreamRules().check(session.feed.of(symbol))
            ids = sorted(ident for _, ident in rules.trades)
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            if "book" in session.feed.channels:
                instrument = session.feed.table.known(symbol)
                assert instrument is not None
                assert levels_of(session.feed.book(symbol), instrument) == session.book(symbol)
        session.end()
    again = replayed(sample, captured(session, tmp_path / "capture"))
    found, expected = readable(again), readable(session.feed)
    for symbol in sample.symbols:  # which channels a link has carried, the capture of a feed with fewer does not say
        assert found[symbol] == expected[symbol]


@pytest.mark.parametrize("sample", with_quotes(), ids=names(with_quotes()))
def test_a_stalled_connection_that_breaks_may_have_lost_quotes_of_before_the_other_one(sample: VenueSample) -> None:
    with doubled_session(sample) as session:
        session.run_until(lambda: books_are_live(session))
        session.run(1.0)
        first, second = session.sockets
        session.fault("stall", connection=first.number)
        cut_one(session, second.link)
        session.run(4.0, step_ms=50)
        before = len(session.feed.records)
        cut_one(session, first.link)
        session.run(0.3)
        records = session.feed.records[before:]
        assert len(status(records, StatusCode.HANDOVER)) == 1
        assert set(gaps(records, Flag.ON_QUOTE)["price"].tolist()) == {GapCause.SEQUENCE}


@pytest.mark.parametrize("sample", doubled(), ids=names(doubled()))
def test_the_loss_of_both_connections_is_a_loss(sample: VenueSample) -> None:
    with doubled_session(sample) as session:
        session.run_until(lambda: books_are_live(session))
        session.run(1.0)
        before = len(session.feed.records)
        session.disconnect()
        records = session.feed.records[before:]
        lost = status(records, StatusCode.DISCONNECTED)
        assert len(np.unique(lost["instrument"])) == len(sample.symbols)
        assert len(status(records, StatusCode.HANDOVER)) == len(session.links) / 2
        session.run(3.0)
        assert books_are_live(session)
        for symbol in sample.symbols:
            StreamRules().check(session.feed.of(symbol))


@pytest.mark.parametrize("sample", doubled(), ids=names(doubled()))
def test_a_connection_that_falls_silent_is_replaced_by_the_measure_of_the_other(sample: VenueSample) -> None:
    channels = tuple(channel for channel in ("trade", "quote", "book") if channel in VENUES[sample.venue].numbered)
    with VenueSession(sample, seed=5, connections=2, channels=channels, silent_s=4.0) as session:
        session.run_until(lambda: books_are_live(session))
        session.run(9.0)
        stalled, other = session.sockets
        session.fault("stall", connection=stalled.number)
        session.run(12.0)
        assert stalled not in session.sockets and other in session.sockets
        assert len(session.sockets) == 2
        assert not len(status(session.feed.records, StatusCode.SUBSCRIPTION_SILENT))
        assert not len(gaps(session.feed.records, Flag.ON_TRADE | Flag.ON_BOOK))
        if "book" in channels:
            session.fault("stall")
            session.run(12.0)
            assert len(status(session.feed.records, StatusCode.SUBSCRIPTION_SILENT))
            assert books_are_live(session)


@pytest.mark.parametrize("sample", doubled(), ids=names(doubled()))
def test_an_added_symbol_comes_over_both_connections(sample: VenueSample) -> None:
    first, second = sample.symbols
    channels = tuple(channel for channel in ("trade", "quote", "book") if channel in VENUES[sample.venue].numbered)
    with VenueSession(sample, seed=5, connections=2, channels=channels, symbols=(first,)) as session:
        session.run(1.0)
        session.event(Symbols(added=(second,)))
        session.run(1.0)
        assert session.followed == [Followed(second)]
        for link in session.links:
            cut_one(session, link)
            session.run(1.0)
        mine = session.feed.of(second)
        assert not len(gaps(mine, Flag.ON_TRADE | Flag.ON_BOOK))
        assert StreamRules().check(mine).begun >= {Flag.ON_TRADE}


# n.


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_two_connections_are_refused_where_nothing_tells_repeats(sample: VenueSample) -> None:
    venue = VENUES[sample.venue]
    assert {*venue.numbered} & {*sample.channels} <= sample.counted, "its ids do not tell"
    for channel in venue.channels:
        assert bool(venue.why_single([channel])) == (bool(venue.single) or channel not in venue.numbered)
