"""dxLink: channels and symbols."""

from __future__ import annotations

import pytest
from dxlink_desk import (
    KEEPALIVE,
    config,
    data,
    make,
    opened,
    replaced,
    running,
    types,
)
from venue_desk import SECOND

from tickplant.records.layouts import Flag, GapCause, Kind, StatusCode
from tickplant.venues import VENUES

# Channels.


def test_a_closed_channel_is_told_and_opened_again_ever_later() -> None:
    desk = running(make("AAPL", channels=("trade", "quote")), 1, 3)
    desk.feed(config(1, "Quote", "eventSymbol", "bidPrice", "askPrice", "bidSize", "askSize"), ts=SECOND)
    desk.feed(data(1, "Quote", ["AAPL", 1.5, 1.75, 1, 2]), ts=2 * SECOND)
    now_s, waited = 10, []
    for _ in range(4):
        (status,) = desk.feed({"type": "CHANNEL_CLOSED", "channel": 1}, ts=now_s * SECOND)
        assert (status.price, status.flags) == (StatusCode.DISCONNECTED, Flag.ON_QUOTE | Flag.LAST)
        desk.actions.clear()
        for second in range(now_s, now_s + 20):
            desk.feed(KEEPALIVE, ts=second * SECOND)
            desk.timer(second * SECOND)
            if ("CHANNEL_REQUEST", 1) in types(desk):
                waited.append(second - now_s)
                break
        (gap,) = desk.feed(opened(1), ts=second * SECOND)
        assert (gap.kind, gap.price, gap.flags & Flag.ON_QUOTE) == (Kind.GAP, GapCause.DISCONNECT, Flag.ON_QUOTE)
        assert types(desk) == [("FEED_SETUP", 1), ("FEED_SUBSCRIPTION", 1)]
        now_s = second + 1
    assert waited == [1, 2, 4, 8]


def test_values_come_in_the_order_of_the_server_which_may_change() -> None:
    desk = running(make(channels=("quote",)), 1)
    desk.feed(config(1, "Quote", "askPrice", "askSize", "eventSymbol", "bidSize", "bidPrice"), ts=SECOND)
    records = desk.feed(data(1, "Quote", [1.75, 2, "AAPL", 1, 1.5]), ts=SECOND)
    assert [(record.price, record.size) for record in records] == [(150000000, 10**8), (175000000, 2 * 10**8)]
    desk.feed(config(1, "Quote", "eventSymbol", "bidPrice", "bidSize", "askSize", "askPrice"), ts=SECOND)
    assert desk.feed(data(1, "Quote", ["AAPL", 1.5, 1, 2, 1.75]), ts=SECOND) == records
    assert desk.adapter.market.listings.reader.taken == {"Quote 1": 1}


def test_a_lost_feed_config_is_fetched_by_a_new_connection() -> None:
    desk = running(make(channels=("quote",)), 1)
    records = desk.feed(data(1, "Quote", ["AAPL", 1.5, 1, 2, 1.75]), ts=SECOND)
    assert [record.price for record in records] == [GapCause.REJECTED]
    assert [reject.cause for reject in desk.rejects] == ["fields unknown"]
    for second in range(2, 12):
        desk.timer(second * SECOND)
    assert replaced(desk) == ["no answer to FEED_CONFIG 1"]


def test_what_cannot_be_read_costs_no_more_than_itself() -> None:
    desk = running(make("AAPL", "MSFT", channels=("trade", "quote")), 1, 3)
    desk.feed(config(1, "Quote", "eventSymbol", "bidPrice", "bidSize", "askPrice", "askSize"), ts=SECOND)
    desk.feed(config(1, "TimeAndSale", "eventSymbol", "index", "price", "size", "type"), ts=SECOND)
    rows = ["AAPL", 1.123456789, 1, 1.75, 1, "MSFT", 1.5, 1, 1.75, 1, "AAPL", "no number", 1, 2, 1]
    sales = ["AAPL", 2**63, 1.5, 1, "NEW", "MSFT", 8, 1.5, 1, "OTHER", "MSFT", 9, 1.5, 1, "NEW"]
    records = desk.feed(data(1, "Quote", rows, "Trade", ["MSFT", 1.5], "TimeAndSale", sales), ts=SECOND)
    found = [(record.kind, record.symbol, record.venue_seq) for record in records if record.kind != Kind.GAP]
    assert found == [(Kind.QUOTE, "MSFT", 0)] * 2 + [(Kind.TRADE, "MSFT", 9)]
    gaps = [(record.symbol, record.flags & ~Flag.LAST) for record in records if record.kind == Kind.GAP]
    assert gaps == [("AAPL", Flag.ON_QUOTE), ("AAPL", Flag.ON_TRADE), ("MSFT", Flag.ON_TRADE), ("*", 0)]
    assert desk.adapter.counters.rejected == 1


def test_a_value_that_does_not_fit_the_scale_is_rejected_as_such() -> None:
    desk = running(make(channels=("quote",)), 1)
    desk.feed(config(1, "Quote", "eventSymbol", "bidPrice", "bidSize", "askPrice", "askSize"), ts=SECOND)
    desk.feed('{"type":"FEED_DATA","channel":1,"data":["Quote",["AAPL",1.3743299E7,1,1.3743299123456E7,1]]}', ts=SECOND)
    assert not desk.rejects
    desk.feed('{"type":"FEED_DATA","channel":1,"data":["Quote",["AAPL",1.5E-9,1,1.5,1]]}', ts=SECOND)
    assert [reject.cause for reject in desk.rejects] == ["scale"]


# The catalogue.


@pytest.mark.parametrize("venue", ["dxlink", "tastytrade"])
def test_symbols_are_those_of_dxfeed(venue: str) -> None:
    known = ["AAPL", "BRK.B", ".SPY261218C700", "/ESZ26:XCME", "./ESU25P900:XCME", "BTC/USD:CXTALP", "$SPX", "AAPL&Q"]
    assert [VENUES[venue].why_not(symbol) for symbol in known] == [""] * len(known)
    for wrong in ("", "aapl", "*", "AAPL{=m}", "AA PL", "A" * 65):
        assert "is not a symbol" in VENUES[venue].why_not(wrong)
