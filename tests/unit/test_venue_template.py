"""The venue to copy works: it records its documented examples, live, by shape as by reference."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from venue_desk import SECOND, VenueDesk

from tickplant.feeds.contract import Send
from tickplant.feeds.venues._template import adapter as template
from tickplant.feeds.venues._template.adapter import ExampleAdapter
from tickplant.feeds.venues._template.venue import ROW
from tickplant.records.layouts import Flag, GapCause, Kind, Side, StatusCode
from tickplant.venues import VENUES

TRADE = (
    '{"type":"trade","product":"BTC-USD","id":%d,"price":"64000.10","size":"0.005","side":"buy",'
    '"time":"2026-09-01T12:00:01.000001Z"}'
)
TS_EVENT = 1_788_264_001_000_001_000
SUBSCRIBE = b'{"op":"subscribe","id":%d,"channel":"trades","products":["BTC-USD"]}'


def subscribed(*, use_shapes: bool = True) -> VenueDesk:
    desk = VenueDesk(
        ROW.name,
        partial(ExampleAdapter, use_shapes=use_shapes),
        ["BTC-USD"],
        channels=["trade"],
        link="public",
    )
    desk.start()
    desk.open()
    return desk


@pytest.fixture(params=[True, False], ids=["by shape", "by reference"])
def desk(request: pytest.FixtureRequest) -> VenueDesk:
    return subscribed(use_shapes=request.param)


def test_the_documented_trade_is_recorded(desk: VenueDesk) -> None:
    (trade,) = desk.feed(TRADE % 1001, ts=5 * SECOND)
    assert (trade.kind, trade.symbol, trade.side) == (Kind.TRADE, "BTC-USD", Side.BUY)
    assert (trade.price, trade.size) == (6_400_010_000_000, 500_000)
    assert (trade.ts_event, trade.ts_recv) == (TS_EVENT, 5 * SECOND)
    assert (trade.venue_seq, trade.flags) == (1001, Flag.LAST)


def test_the_shape_takes_the_documented_trade() -> None:
    desk = subscribed()
    for ident, taken in ((1001, 0), (1002, 1)):  # the first one registers the symbol
        desk.feed(TRADE % ident)
        assert desk.adapter.market.listings.reader.taken == {"trade": taken}


def test_it_opens_one_link_and_subscribes(desk: VenueDesk) -> None:
    assert [link.url for link in desk.links] == [ROW.endpoints["ws"] + "/v1"]
    assert desk.actions == [Send("public", SUBSCRIBE % 1)]
    assert desk.feed('{"type":"answer","id":1}') == []
    assert not desk.adapter.subscriptions.links["public"].pending


def test_a_refused_subscription_is_a_status_and_is_asked_for_again(desk: VenueDesk) -> None:
    (status,) = desk.feed('{"type":"answer","id":1,"error":"too many products"}')
    assert status.price == StatusCode.SUBSCRIPTION_REFUSED
    assert desk.adapter.counters.refused == 1
    desk.timer(2 * SECOND)
    assert desk.actions[1:] == [Send("public", SUBSCRIBE % 2)]


def test_a_hole_in_the_ids_is_a_gap_and_a_repeat_is_dropped(desk: VenueDesk) -> None:
    first, gap, last = desk.feed(TRADE % 1001, TRADE % 1001, TRADE % 1004)
    assert (first.venue_seq, last.venue_seq) == (1001, 1004)
    assert (gap.kind, gap.price, gap.size) == (Kind.GAP, GapCause.SEQUENCE, 2)
    assert desk.adapter.counters.duplicates == 1


@pytest.mark.parametrize("damaged", [TRADE[:60] % 1002, (TRADE % 1002).replace("buy", "long")], ids=["cut", "side"])
def test_a_frame_that_cannot_be_read_is_a_gap_on_its_stream(desk: VenueDesk, damaged: str) -> None:
    desk.feed(TRADE % 1001)
    (gap,) = desk.feed(damaged)
    assert (gap.kind, gap.symbol, gap.price) == (Kind.GAP, "BTC-USD", GapCause.REJECTED)
    assert gap.flags & Flag.ON_TRADE


def test_what_is_not_recorded_is_counted(desk: VenueDesk) -> None:
    assert desk.feed('{"type":"heartbeat"}', TRADE.replace("BTC-USD", "ETH-USD") % 7) == []
    counters = desk.adapter.counters
    assert (counters.frames, counters.parsed, counters.ignored, counters.rejected) == (2, 0, 2, 0)
    assert counters.ignored_kinds == {"heartbeat": 1}


def test_a_lost_link_is_said_of_the_instrument(desk: VenueDesk) -> None:
    desk.feed(TRADE % 1001)
    (status,) = desk.close()
    assert (status.symbol, status.price) == ("BTC-USD", StatusCode.DISCONNECTED)
    gap, _ = desk.feed(TRADE % 1003)
    assert (gap.price, gap.size) == (GapCause.DISCONNECT, 1)


def test_a_link_that_a_recording_names_carries_what_it_may_have_carried() -> None:
    desk = VenueDesk(ROW.name, ExampleAdapter, channels=["trade"], link="public")
    desk.open()
    desk.feed(TRADE % 1001)
    (status,) = desk.close()
    assert (status.symbol, status.price) == ("BTC-USD", StatusCode.DISCONNECTED)


def test_its_row_makes_the_adapter_and_its_kernels_and_is_not_in_the_catalogue() -> None:
    assert ROW.name not in VENUES
    desk = VenueDesk(ROW.name, ROW.make_adapter)
    assert isinstance(desk.adapter, ExampleAdapter)
    assert not ROW.why_not("BTC-USD")
    ROW.warm_up()


def test_it_stays_small_enough_to_be_read_in_one_sitting() -> None:
    assert template.__file__ is not None
    lines = sum(len(path.read_text().splitlines()) for path in Path(template.__file__).parent.glob("*.py"))
    assert lines <= 200
