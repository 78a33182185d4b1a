"""Polygon: events."""

from __future__ import annotations

from functools import partial

import pytest
from polygon_desk import TIME, Desk, compact, quote, trade
from venue_desk import SECOND, VenueDesk

from tickplant.feeds.venues.polygon import adapter, messages
from tickplant.feeds.venues.polygon import venue as facts
from tickplant.records.layouts import NO_PRICE, Flag, GapCause, Kind, Side, TradeFlag
from tickplant.records.statistics import StatisticCode
from tickplant.records.venue_bars import BarField
from tickplant.venues import VENUES

# Events.


@pytest.mark.parametrize("use_shapes", [True, False])
def test_a_trade_keeps_its_sequence_and_conditions(use_shapes: bool) -> None:
    desk = Desk(use_shapes=use_shapes)
    for number, (conditions, packed) in enumerate(
        [
            ([0, 12], 0x0C00),
            ([37], 37),
            ([], 0),
            ([14, 41, 300], 0xFF290E),
            (list(range(100, 110)), 0x6B6A696867666564),
            ([0, 0, 0, 0, 0, 0, 0, 200], (200 << 56) - (1 << 64)),
        ]
    ):
        (record,) = desk.feed(compact(trade(c=conditions, q=number + 1)))
        assert record.order_id == packed % (1 << 64)
        assert (record.kind, record.venue_seq, record.side) == (Kind.TRADE, number + 1, Side.NONE)
        assert (record.price, record.size, record.ts_event) == (1_500_000, 10_000_000, TIME * 1_000_000)
        assert record.flags == Flag.LAST
    assert desk.adapter.counters.fallbacks == (2 if use_shapes else 0)  # the first one, and ten conditions


@pytest.mark.parametrize("use_shapes", [True, False])
def test_conditions_that_make_no_price_are_irregular_for_stocks_alone(use_shapes: bool) -> None:
    desk = Desk(use_shapes=use_shapes)
    for number, condition in enumerate(sorted(facts.IRREGULAR), 1):
        (record,) = desk.feed(compact(trade(c=[14, condition], q=number)))
        assert record.flags == Flag.LAST | TradeFlag.IRREGULAR
    crypto = VenueDesk("polygon-crypto", partial(adapter.crypto, use_shapes=use_shapes), None)
    event = {"ev": "XT", "pair": "BTC-USD", "p": 1.5, "t": TIME, "s": 1, "c": [2], "i": 3, "x": 1, "r": TIME}
    (record,) = crypto.feed(compact(event))
    assert (record.flags, record.order_id) == (Flag.LAST, 2)


@pytest.mark.parametrize("use_shapes", [True, False])
def test_a_late_trade_is_recorded_and_a_repeat_is_not(use_shapes: bool) -> None:
    desk = Desk(use_shapes=use_shapes)
    sequences = [7, 9, 8, 9, 7, 12]
    records = desk.feed(*[compact(trade(q=sequence)) for sequence in sequences])
    assert [each.venue_seq for each in records] == [7, 9, 8, 12]
    assert desk.adapter.counters.duplicates == 2
    assert desk.adapter.counters.gaps == 0


@pytest.mark.parametrize("use_shapes", [True, False])
def test_ids_that_are_text_become_numbers_that_differ(use_shapes: bool) -> None:
    desk = VenueDesk("polygon-crypto", partial(adapter.crypto, use_shapes=use_shapes), None)
    base = {"ev": "XT", "pair": "BTC-USD", "p": 1.5, "t": TIME, "s": 1, "c": [0]}
    names = ["a9", "b9", "14272084", 14272085, "0012", "12", "9" * 30, ""]
    records = desk.feed(*[compact(base | {"i": name, "x": 1, "r": TIME}) for name in names])
    idents = [each.venue_seq for each in records]
    assert idents[2:4] == [14272084, 14272085]
    assert len(set(idents)) == len(names)
    assert idents[-1] == 0
    assert all(ident < 2**63 for ident in idents)


@pytest.mark.parametrize("use_shapes", [True, False])
def test_an_absent_side_of_a_quote_has_no_price(use_shapes: bool) -> None:
    desk = Desk(use_shapes=use_shapes)
    desk.feed(compact(quote()))
    for event in (quote(bp=0, bs=0), quote(bp=0.0, bs=3)):
        bid, ask = desk.feed(compact(event))
        assert (bid.price, bid.size, ask.price, ask.venue_seq) == (NO_PRICE, 0, 1_750_000, 5)
    event = quote()
    del event["bp"], event["bs"]
    bid, _ = desk.feed(compact(event))
    assert bid.price == NO_PRICE


def test_events_of_one_frame_are_recorded_in_order_and_one_that_is_rejected_costs_no_other() -> None:
    desk = Desk("MSFT", "AAPL")
    records = desk.feed(
        [
            trade(q=1),
            trade(q=2, p=None),
            {"ev": "T", "sym": 5},
            quote(bs="x"),
            quote(sym="AAPL"),
            {"ev": "NEW"},
            trade(sym="AAPL", q=3),
            7,
        ]
    )
    told = [(each.kind, each.symbol, each.venue_seq) for each in records if each.kind in (Kind.TRADE, Kind.QUOTE)]
    assert told == [
        (Kind.TRADE, "MSFT", 1),
        (Kind.QUOTE, "AAPL", 5),
        (Kind.QUOTE, "AAPL", 5),
        (Kind.TRADE, "AAPL", 3),
    ]
    gaps = [(each.symbol, each.flags & ~Flag.LAST) for each in records if each.kind == Kind.GAP]
    assert gaps == [("MSFT", Flag.ON_TRADE), ("*", 0), ("MSFT", Flag.ON_QUOTE), ("*", 0)]
    counters = desk.adapter.counters
    assert (counters.frames, counters.rejected) == (1, 1)
    assert counters.ignored_kinds == {"NEW": 1}


def test_numbers_with_exponents_are_exact() -> None:
    desk = VenueDesk("polygon-crypto", adapter.crypto, None, scale=8)
    event = '[{"ev":"XT","pair":"SHIB-USD","p":1.234e-05,"t":1788267601300,"s":1e6,"c":[0],"i":7,"x":23,"r":1}]'
    (record,) = desk.feed(event)
    assert (record.price, record.size) == (1234, 10**14)
    (gap,) = desk.feed(event.replace("1.234e-05", "1.2345e-05").replace('"i":7', '"i":8'))
    assert (gap.kind, gap.price) == (Kind.GAP, GapCause.REJECTED)
    assert desk.rejects[0].cause == "scale"


def test_bars_of_a_second_and_of_a_minute_are_bars_of_the_venue() -> None:
    desk = Desk()
    bar = {"sym": "MSFT", "v": 12345, "av": 1, "op": 1, "vw": 1.4, "o": 1.5, "c": 1.25, "h": 2, "l": 1, "a": 1, "z": 3}
    records = desk.feed(
        [
            bar | {"ev": "A", "s": TIME, "e": TIME + 1000},
            bar | {"ev": "AM", "s": TIME, "e": TIME + 60_000},
        ]
    )
    assert [each.kind for each in records] == [Kind.VENUE_BAR] * 10
    closes = [each for each in records if each.order_id & 0xFF == BarField.CLOSE]
    assert [each.ts_event - each.venue_seq for each in closes] == [SECOND, 60 * SECOND]
    assert (closes[0].price, closes[0].size) == (1_250_000, 12_345_000_000)


def test_a_band_is_two_statistics_at_microseconds() -> None:
    desk = Desk()
    event = {"ev": "LULD", "T": "MSFT", "h": 430.96, "l": 398.11, "i": [21], "z": 3, "t": TIME * 1000 + 7, "q": 1}
    up, down = desk.feed([event])
    assert (up.kind, up.order_id, up.size, up.price) == (Kind.STATISTIC, StatisticCode.LIMIT_UP, 43096, 2)
    assert (down.order_id, down.size, down.flags) == (StatisticCode.LIMIT_DOWN, 39811, Flag.LAST)
    assert up.ts_event == (TIME * 1000 + 7) * 1000


def test_an_empty_frame_says_nothing_by_shape_as_by_reference() -> None:
    for use_shapes in (True, False):
        desk = Desk(use_shapes=use_shapes)
        assert desk.feed("[]") == []
        assert (desk.adapter.counters.parsed, desk.adapter.counters.rejected) == (1, 0)


def test_every_shape_takes_its_documented_example() -> None:
    options = {"ev": "T", "sym": "O:A261218C00700000", "x": 65, "p": 1.54, "s": 1, "c": [233], "t": TIME, "q": 65}
    of_options = {"ev": "Q", "sym": "O:A261218C00700000", "bx": 302, "ax": 302, "bp": 9.71, "ap": 9.81, "bs": 17}
    pairs = {
        "ev": "XQ",
        "pair": "BTC-USD",
        "bp": 1.5,
        "bs": 0.48,
        "ap": 1.75,
        "as": 0.601,
        "t": TIME,
        "x": 1,
        "r": TIME,
    }
    bare = trade()
    del bare["c"]
    plain = quote()
    del plain["i"]
    for venue, events in (
        (
            "polygon",
            {"trade": trade(), "trade without conditions": bare, "quote": quote(), "quote without indicators": plain},
        ),
        ("polygon-options", {"trade": options, "quote": of_options | {"as": 24, "t": TIME, "q": 84}}),
        (
            "polygon-crypto",
            {
                "trade": {"ev": "XT", "pair": "BTC-USD", "p": 1.5, "t": TIME, "s": 1, "c": [2], "i": 1, "x": 3, "r": 1},
                "quote": pairs,
            },
        ),
    ):
        for name, event in events.items():
            desk = VenueDesk(venue, VENUES[venue].make_adapter, None)
            desk.feed(compact(event))  # registers the symbol
            desk.feed(compact(event, event))
            taken = {shape: count for shape, count in desk.adapter.market.listings.reader.taken.items() if count}
            assert taken == {"events": 1}, (venue, name)
        desk = VenueDesk(venue, VENUES[venue].make_adapter, None)
        desk.feed(*map(compact, events.values()))  # the first one registers the symbol
        desk.feed(compact(*events.values()))
        assert desk.adapter.market.listings.reader.taken == {"events": len(events)}, venue


def test_ids_and_conditions_that_are_no_numbers_are_rejected() -> None:
    with pytest.raises(Exception, match="trade id"):
        messages.id_of(-1)
    desk = Desk()
    for number, bad in enumerate(
        (trade(c=[-1]), trade(q=-1), trade(q=2**70), trade(t=-5), trade(p=True), trade(s=[1]))
    ):
        gap = desk.feed([bad])[0]
        assert (gap.kind, gap.price) == (Kind.GAP, GapCause.REJECTED), bad
        desk.feed([trade(q=20 + number)])
