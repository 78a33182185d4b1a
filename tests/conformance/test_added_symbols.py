"""What holds for every venue of the catalogue whose feed is given symbols, or loses some, while it runs.

p. An added symbol is ADDED, then all its streams come, over links that have room for them, also after these break. A
   removed one is DISCONNECTED and REMOVED, and nothing is recorded of it from then on; the others do not notice. Added
   again, its streams go on behind GAPs. A capture leads to the same records.
q. A symbol that the venue does not list, or whose subscription it refuses, is named, and nothing is left of it.
r. A feed that grows by one symbol after the other puts no more on a link than one that begins with all.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from checked_adapter import Checked
from session_records import captured, gaps, is_followed, readable, replayed, status
from session_scripts import StreamRules, levels_of
from venue_sample import VenueSample
from venue_samples import SAMPLES
from venue_session import BEGIN_NS, VenueSession

from tickplant.feeds.contract import Followed, Open, Opened, Send, Symbols
from tickplant.instruments import FEED_SYMBOL
from tickplant.records.layouts import Flag, GapCause, Kind, StatusCode
from tickplant.venues import VENUES

GROWING = [sample for sample in SAMPLES.values() if not VENUES[sample.venue].fixed_symbols]


def of_those(samples: Iterable[VenueSample]) -> pytest.MarkDecorator:
    chosen = [*samples]
    return pytest.mark.parametrize("sample", chosen, ids=[sample.venue for sample in chosen])


def has_limits(sample: VenueSample) -> bool:
    """Whether a link of the venue carries so many symbols or streams, and further ones need another link."""
    return any(Checked(sample).adapter.subscriptions._limits)  # type: ignore[attr-defined]


def session_of(sample: VenueSample, **options: object) -> VenueSession:
    return VenueSession(sample, symbols=sample.symbols[:1], **options)


def is_live(session: VenueSession, *symbols: str) -> bool:
    return all(is_followed(session.feed, symbol) for symbol in symbols)


def codes(session: VenueSession, symbol: str) -> list[StatusCode]:
    records = session.feed.of(symbol)
    told = records[records["kind"] == Kind.STATUS]["price"].tolist()
    return [StatusCode(code) for code in told if code != StatusCode.RESYNC]


def begun(session: VenueSession, symbol: str) -> set[Flag]:
    """The streams that have brought something; what has come follows the rules."""
    return StreamRules(in_line=session.sample.in_line).check(session.feed.of(symbol)).begun


def check_capture(session: VenueSession, folder: Path) -> None:
    if not session.sample.has_links:
        return  # its requests hold a credential, so no capture has them
    assert readable(replayed(session.sample, captured(session, folder))) == readable(session.feed)


@of_those(GROWING)
def test_a_symbol_comes_and_goes_and_comes_again(sample: VenueSample, tmp_path: Path) -> None:
    first, second = sample.symbols
    with session_of(sample) as session:
        session.run_until(lambda: is_live(session, first))
        assert not len(session.feed.of(second))
        session.event(Symbols(added=(second,)))
        session.run_until(lambda: is_live(session, second) and begun(session, second) == sample.streams)
        session.run(0.3)
        assert session.followed == [Followed(second)]
        assert session.feed.of(second)[0][["kind", "price"]].tolist() == (Kind.STATUS, StatusCode.ADDED)
        assert codes(session, second) == [StatusCode.ADDED]

        session.event(Symbols(removed=(second,)))
        gone = session.feed.of(second)
        assert gone[-2:]["price"].tolist() == [StatusCode.DISCONNECTED, StatusCode.REMOVED]
        assert not sample.all_streams & ~int(gone[-2]["flags"])
        assert not (sample.has_book and session.feed.book(second).live)
        session.run(1.0)
        assert len(session.feed.of(second)) == len(gone)
        assert session.followed[1:] == [Followed(second, added=False)]
        session.disconnect()
        session.run(1.0)
        assert len(session.feed.of(second)) == len(gone)

        session.event(Symbols(added=(second,)))
        session.run_until(lambda: is_live(session, second))
        session.run(0.5)
        again = session.feed.of(second)[len(gone) :]
        assert again[0][["kind", "price"]].tolist() == (Kind.STATUS, StatusCode.ADDED)
        for on in sample.untold - {Flag.ON_TRADE}:
            assert set(gaps(again, on)["price"].tolist()) == {GapCause.DISCONNECT}
        assert set(gaps(again, Flag.ON_TRADE)["price"].tolist()) <= {GapCause.DISCONNECT}  # none where the past came
        session.disconnect()
        session.run_until(lambda: is_live(session, first, second))
        assert codes(session, first) == [StatusCode.DISCONNECTED] * (2 * sample.has_links)
        session.end_market()
        session.run_until(lambda: session.is_silent)
        session.run(0.1)
        for symbol in (first, second):
            StreamRules(in_line=sample.in_line).check(session.feed.of(symbol))
            instrument = session.feed.table.known(symbol)
            assert instrument is not None
            if sample.has_book:
                assert levels_of(session.feed.book(symbol), instrument) == session.book(symbol)
        session.end()
    check_capture(session, tmp_path / "capture")


@of_those(GROWING)
def test_a_symbol_that_is_added_before_anything_has_come_waits_for_the_instrument_data(
    sample: VenueSample, tmp_path: Path
) -> None:
    first, second = sample.symbols
    with session_of(sample) as session:
        session.event(Symbols(added=(second,)))
        assert session.followed == [] or not sample.has_life
        session.run_until(lambda: is_live(session, first, second))
        assert session.followed == [Followed(second)]
        session.end()
    check_capture(session, tmp_path / "capture")


@of_those(sample for sample in GROWING if sample.has_life)
def test_a_symbol_that_the_venue_does_not_list_is_named(sample: VenueSample, tmp_path: Path) -> None:
    first, unknown = sample.symbols[0], f"Q{sample.symbols[0]}"
    assert not VENUES[sample.venue].why_not(unknown)
    with session_of(sample) as session:
        session.run_until(lambda: is_live(session, first))
        session.event(Symbols(added=(unknown,)))
        session.run_until(lambda: bool(session.followed))
        assert session.followed[0].symbol == unknown
        assert f"unknown symbol {unknown}; did you mean {first}?" in session.followed[0].problem
        session.disconnect()
        session.run_until(lambda: is_live(session, first))
        assert session.feed.table.known(unknown) is None
        session.end()
    check_capture(session, tmp_path / "capture")


@of_those(sample for sample in GROWING if sample.acknowledges and sample.has_links)
def test_a_symbol_that_the_venue_refuses_is_named_and_let_go_of(sample: VenueSample, tmp_path: Path) -> None:
    first, second = sample.symbols
    with session_of(sample) as session:
        session.run_until(lambda: is_live(session, first))
        session.run(0.5)
        session.fault("refuse-subscription", count=1)
        session.event(Symbols(added=(second,)))
        session.run_until(lambda: bool(session.followed))
        (outcome, *removed) = session.followed
        assert outcome.symbol == second and "the venue refuses it: " in outcome.problem
        assert removed == [Followed(second, added=False)]
        told = [code for code in codes(session, second) if code != StatusCode.SUBSCRIPTION_REFUSED]
        # Where a subscription is refused that is to tell whether there is such a symbol, nothing has been recorded.
        recorded = [StatusCode.ADDED, StatusCode.DISCONNECTED, StatusCode.REMOVED]
        assert told == ([] if sample.by_name else recorded)
        before = len(session.feed.of(second))
        session.run(5.0)
        assert len(session.feed.of(second)) == before
        assert is_live(session, first)
        session.end()
    check_capture(session, tmp_path / "capture")


def made_up(sample: VenueSample, count: int) -> list[str]:
    """Symbols of the form that the venue's have."""
    stem, number = sample.symbols[0], itertools.count(1000)
    names = (re.sub("[A-Za-z]{2}", f"Z{next(number)}", stem, count=1) for _ in range(count))
    return [name for name in names if not VENUES[sample.venue].why_not(name)]


@of_those(sample for sample in GROWING if sample.has_links)
def test_a_feed_that_grows_fills_links_as_one_that_begins_with_all(sample: VenueSample) -> None:
    symbols = made_up(sample, 1100)
    assert len(symbols) == 1100

    def most(feed: Checked) -> tuple[int, int]:
        links = feed.adapter.subscriptions.links.values()  # type: ignore[attr-defined]
        return max(len(link.streams) for link in links), len(links)

    whole = Checked(sample, symbols=tuple(symbols))
    grown = Checked(sample, symbols=tuple(symbols[:1]))
    opened: list[str] = []
    for symbol in symbols[1:]:
        effects = grown.adapter.subscriptions.add(symbol, BEGIN_NS)  # type: ignore[attr-defined]
        opened += [effect.link.name for effect in effects if isinstance(effect, Open)]
        assert not [effect for effect in effects if isinstance(effect, Send)], "nothing is open yet"
    assert most(grown)[0] <= most(whole)[0]
    assert most(grown)[1] <= most(whole)[1] + 2
    assert len(set(opened)) == len(opened)
    streams = [
        stream
        for link in grown.adapter.subscriptions.links.values()  # type: ignore[attr-defined]
        for stream in link.streams
        if stream.symbol != FEED_SYMBOL
    ]
    assert len(set(streams)) == len(streams)
    planned = [
        stream
        for link in whole.adapter.subscriptions.links.values()  # type: ignore[attr-defined]
        for stream in link.streams
        if stream.symbol != FEED_SYMBOL
    ]
    assert set(streams) == set(planned)


@of_those(filter(has_limits, GROWING))
def test_a_new_link_carries_what_was_added(sample: VenueSample) -> None:
    """As where the others are full: with room for one symbol a link."""
    first, second = sample.symbols
    with session_of(sample) as session:
        session.feed.adapter.subscriptions._limits = 0, 1  # type: ignore[attr-defined]
        session.run_until(lambda: is_live(session, first))
        links = len(session.links)
        session.event(Symbols(added=(second,)))
        session.run_until(lambda: is_live(session, first, second))
        assert len(session.links) == 2 * links
        assert session.followed[-1].problem == ""
        opened = [what.link for _, what in session.happened if isinstance(what, Opened)]
        assert len(set(opened)) == 2 * links
        assert not len(status(session.feed.records, StatusCode.DISCONNECTED))
        assert codes(session, first) == []
