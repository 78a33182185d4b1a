"""The venue to copy works: it records its documented examples, live, by shape as by reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tickplant.feeds.contract import Closed, Effect, FeedContext, Frames, Open, Opened, Send
from tickplant.feeds.venues._template import adapter as template
from tickplant.feeds.venues._template.adapter import ExampleAdapter
from tickplant.feeds.venues._template.venue import ROW
from tickplant.instruments import Instrument
from tickplant.records.layouts import Flag, GapCause, Kind, Side, StatusCode
from tickplant.venues import VENUES

SECOND = 1_000_000_000
TRADE = (
    '{"type":"trade","product":"BTC-USD","id":%d,"price":"64000.10","size":"0.005","side":"buy",'
    '"time":"2026-09-01T12:00:01.000001Z"}'
)
TS_EVENT = 1_788_264_001_000_001_000


class Feed:
    """The template's adapter, subscribed to BTC-USD."""

    def __init__(self, *, use_shapes: bool = True) -> None:
        self._instruments: list[Instrument] = []
        self.effects: list[Effect] = []
        context = FeedContext(symbols=("BTC-USD",), channels=("trade",), resolve=self._resolve)
        self.adapter = ExampleAdapter(context, use_shapes=use_shapes)
        self.adapter.start(0)
        self.take()
        self.adapter.on_event(Opened("public"), 0)
        self.take()

    def _resolve(
        self, symbol: str, price_scale: int | None, size_scale: int | None, /, *, exact: bool = False
    ) -> Instrument:
        del exact
        scales = (8 if scale is None else scale for scale in (price_scale, size_scale))
        self._instruments.append(Instrument(len(self._instruments) + 1, ROW.name, symbol, *scales))
        return self._instruments[-1]

    def take(self) -> np.ndarray:
        output = self.adapter.take()
        self.effects += output.effects
        return output.ticks.copy()

    def read(self, *frames: str) -> np.ndarray:
        self.adapter.on_event(Frames("public", [frame.encode() for frame in frames]), 5 * SECOND)
        return self.take()


@pytest.fixture(params=[True, False], ids=["by shape", "by reference"])
def feed(request: pytest.FixtureRequest) -> Feed:
    return Feed(use_shapes=request.param)


def test_the_documented_trade_is_recorded(feed: Feed) -> None:
    (tick,) = feed.read(TRADE % 1001)
    assert Kind(tick["kind"]) == Kind.TRADE
    assert (tick["price"], tick["size"]) == (6_400_010_000_000, 500_000)
    assert (tick["ts_event"], tick["ts_recv"]) == (TS_EVENT, 5 * SECOND)
    assert (Side(tick["side"]), tick["venue_seq"], Flag(tick["flags"])) == (Side.BUY, 1001, Flag.LAST)


def test_the_shape_takes_the_documented_trade() -> None:
    feed = Feed()
    feed.read(TRADE % 1001)
    assert feed.adapter.market.listings.reader.taken == {"trade": 0}  # the first one registers the symbol
    feed.read(TRADE % 1002)
    assert feed.adapter.market.listings.reader.taken == {"trade": 1}


def test_it_opens_one_link_and_subscribes(feed: Feed) -> None:
    opened, sent = feed.effects
    assert isinstance(opened, Open)
    assert opened.link.url == ROW.endpoints["ws"]
    assert isinstance(sent, Send)
    assert sent.payload == b'{"op":"subscribe","id":1,"channel":"trades","products":["BTC-USD"]}'
    assert len(feed.read('{"type":"answer","id":1}')) == 0
    assert not feed.adapter.subscriptions.links["public"].pending


def test_a_refused_subscription_is_a_status_and_is_asked_for_again(feed: Feed) -> None:
    (status,) = feed.read('{"type":"answer","id":1,"error":"too many products"}')
    assert StatusCode(status["price"]) == StatusCode.SUBSCRIPTION_REFUSED
    assert feed.adapter.counters.refused == 1
    feed.adapter.on_second(7 * SECOND)
    feed.take()
    assert [type(effect) for effect in feed.effects] == [Open, Send, Send]


def test_a_hole_in_the_ids_is_a_gap_and_a_repeat_is_dropped(feed: Feed) -> None:
    ticks = feed.read(TRADE % 1001, TRADE % 1001, TRADE % 1004)
    assert [Kind(kind) for kind in ticks["kind"]] == [Kind.TRADE, Kind.GAP, Kind.TRADE]
    assert (GapCause(ticks[1]["price"]), ticks[1]["size"]) == (GapCause.SEQUENCE, 2)
    assert feed.adapter.counters.duplicates == 1


@pytest.mark.parametrize("damaged", [TRADE[:60] % 1002, (TRADE % 1002).replace("buy", "long")], ids=["cut", "side"])
def test_a_frame_that_cannot_be_read_is_a_gap_on_its_stream(feed: Feed, damaged: str) -> None:
    feed.read(TRADE % 1001)
    (gap,) = feed.read(damaged)
    assert (Kind(gap["kind"]), GapCause(gap["price"])) == (Kind.GAP, GapCause.REJECTED)
    assert Flag(gap["flags"]) & Flag.ON_TRADE
    assert gap["instrument"] == feed.adapter.market.listings.by_symbol["BTC-USD"].instrument.id


def test_what_is_not_recorded_is_counted(feed: Feed) -> None:
    assert len(feed.read('{"type":"heartbeat"}', TRADE.replace("BTC-USD", "ETH-USD") % 7)) == 0
    counters = feed.adapter.counters
    assert (counters.frames, counters.parsed, counters.ignored, counters.rejected) == (2, 0, 2, 0)
    assert counters.ignored_kinds == {"heartbeat": 1}


def test_a_lost_link_is_said_of_the_instrument(feed: Feed) -> None:
    feed.read(TRADE % 1001)
    feed.adapter.on_event(Closed("public", "test"), 6 * SECOND)
    (status,) = feed.take()
    assert StatusCode(status["price"]) == StatusCode.DISCONNECTED
    gap, _ = feed.read(TRADE % 1003)
    assert (GapCause(gap["price"]), gap["size"]) == (GapCause.DISCONNECT, 1)


def test_its_row_makes_the_adapter_and_its_kernels_and_is_not_in_the_catalogue() -> None:
    assert ROW.name not in VENUES
    context = FeedContext(symbols=None, channels=(), resolve=lambda *_, **__: Instrument(1, "", "", 0, 0))
    assert isinstance(ROW.make_adapter(context), ExampleAdapter)
    assert not ROW.why_not("BTC-USD")
    ROW.warm_up()


def test_it_stays_small_enough_to_be_read_in_one_sitting() -> None:
    assert template.__file__ is not None
    lines = sum(len(path.read_text().splitlines()) for path in Path(template.__file__).parent.glob("*.py"))
    assert lines <= 200
