"""What holds for every venue of the catalogue that changes its instruments, whether it pushes them or is asked.

j. Finer scales end the old id with DISCONNECTED and INSTRUMENT_CHANGED, and the new one goes on with its streams and a
   book of its own. A halt is HALTED, then TRADING; the silence between is no failure. What is listed no longer is
   DISCONNECTED and DELISTED and left alone; listed again it is LISTED, and its streams go on behind GAPs.
"""

from __future__ import annotations

import numpy as np
import pytest
from session_scripts import StreamRules, levels_of
from venue_sample import VenueSample
from venue_samples import WITH_LIVES
from venue_session import VenueSession

from tickplant.feeds.contract import Closed
from tickplant.records.channels import ALL_STREAMS
from tickplant.records.layouts import Flag, Kind, StatusCode

VENUE = pytest.mark.parametrize("sample", WITH_LIVES.values(), ids=WITH_LIVES)
ALL = ALL_STREAMS | Flag.LAST
BY_LEVEL = ALL & ~Flag.ON_ORDERS  # a lost book is one by level here: nothing is said of orders


def session_of(sample: VenueSample) -> VenueSession:
    return VenueSession(sample, instrument_poll_s=1.0, silent_s=3.0)


def is_live(session: VenueSession) -> bool:
    return all(session.feed.table.ids(symbol) and session.feed.book(symbol).live for symbol in session.sample.symbols)


def said(session: VenueSession, symbol: str) -> list[tuple[StatusCode, int, int, int]]:
    """The STATUS records of a symbol: code, flags, instrument, the other id."""
    records = session.feed.of(symbol)
    rows = records[records["kind"] == Kind.STATUS][["price", "flags", "instrument", "order_id"]].tolist()
    return [(StatusCode(code), *rest) for code, *rest in rows if code != StatusCode.RESYNC]


def codes(session: VenueSession, symbol: str) -> list[StatusCode]:
    return [code for code, *_ in said(session, symbol)]


def trade_again(session: VenueSession, symbol: str) -> None:
    assert session.venue is not None
    session.source.set_life(symbol, status=session.venue.dialect.words.trading, trades=True)


def lost_links(session: VenueSession) -> int:
    return sum(isinstance(what, Closed) for _, what in session.happened)


@VENUE
def test_finer_scales_are_another_id_that_goes_on(sample: VenueSample) -> None:
    symbol, other = sample.symbols
    with session_of(sample) as session:
        session.run_until(lambda: is_live(session))
        session.fault("refine", symbol=symbol, digits=2)
        session.run_until(lambda: len(session.feed.table.ids(symbol)) == 2)
        session.run_until(lambda: is_live(session))
        session.end_market()
        session.run_until(lambda: session.is_silent)
        session.run(0.1)
    old, new = (row for row in session.feed.table.rows if row.symbol == symbol)
    assert (new.price_scale, new.size_scale) == (old.price_scale + 2, old.size_scale)
    assert said(session, symbol) == [
        (StatusCode.DISCONNECTED, BY_LEVEL, old.id, 0),
        (StatusCode.INSTRUMENT_CHANGED, ALL, old.id, new.id),
        (StatusCode.INSTRUMENT_CHANGED, ALL, new.id, old.id),
    ]
    assert codes(session, other) == []
    records = session.feed.of(symbol)
    assert not np.diff(records["instrument"].astype(np.int64)).min() < 0, "the old id goes on"
    StreamRules(in_line=sample.in_line).check(records)
    assert not session.feed.books[old.id].live
    with session:
        assert levels_of(session.feed.book(symbol), new) == session.book(symbol)


@VENUE
def test_a_halt_is_told_and_its_silence_is_no_failure(sample: VenueSample) -> None:
    symbol, other = sample.symbols
    with session_of(sample) as session:
        session.run_until(lambda: is_live(session))
        session.fault("halt", symbol=symbol)
        session.run(10.0, step_ms=50)
        assert codes(session, symbol) == [StatusCode.HALTED]
        assert session.feed.book(symbol).live
        trade_again(session, symbol)
        session.run(3.0, step_ms=50)
        assert codes(session, symbol) == [StatusCode.HALTED, StatusCode.TRADING]
        assert {flags for _, flags, *_ in said(session, symbol)} == {ALL}
        assert codes(session, other) == []
        assert not lost_links(session)
        StreamRules(in_line=sample.in_line).check(session.feed.of(symbol))


@VENUE
def test_what_is_delisted_is_left_alone_and_goes_on_when_it_is_listed_again(sample: VenueSample) -> None:
    symbol, other = sample.symbols
    with session_of(sample) as session:
        session.run_until(lambda: is_live(session))
        session.fault("delist", symbol=symbol)
        session.run_until(lambda: StatusCode.DELISTED in codes(session, symbol))
        session.run(0.5)
        before = len(session.feed.of(symbol))
        session.disconnect()
        session.run(8.0, step_ms=50)
        assert codes(session, symbol) == [StatusCode.DISCONNECTED, StatusCode.DELISTED]
        assert len(session.feed.of(symbol)) == before, "what is not listed is not recorded"
        assert not session.feed.book(symbol).live
        assert session.feed.book(other).live
        assert lost_links(session) == len(session.links)
        trade_again(session, symbol)
        session.run_until(lambda: is_live(session))
        session.run(1.0)
        assert codes(session, symbol) == [StatusCode.DISCONNECTED, StatusCode.DELISTED, StatusCode.LISTED]
        rules = StreamRules(in_line=sample.in_line).check(session.feed.of(symbol))
        assert not rules.cut, "each stream goes on"
        assert codes(session, other) == [StatusCode.DISCONNECTED]
