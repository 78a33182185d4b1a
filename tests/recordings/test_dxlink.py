"""dxLink's adapter on the golden messages, with the state that must follow, and on the frames of documents."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from independent import recording
from venue_desk import SECOND, Record, VenueDesk

from tickplant.feeds.contract import Send
from tickplant.feeds.venues.dxlink.adapter import dxlink
from tickplant.instruments import format_decimal
from tickplant.records.layouts import NO_PRICE, Flag, Kind, Side, StatusCode, TradeFlag
from tickplant.records.statistics import StatisticCode

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "dxlink.jsonl"
SCALE = 8
FLAGS = {
    TradeFlag.CONFLATED: "conflated",
    TradeFlag.CORRECTION: "correction",
    TradeFlag.CANCELLED: "cancel",
    TradeFlag.IRREGULAR: "invalid_tick",
}
SIDES = {Side.BUY: "buy", Side.SELL: "sell", Side.NONE: None}


@pytest.fixture(params=[True, False], ids=["shapes", "reference"])
def desk(request: pytest.FixtureRequest) -> VenueDesk:
    use_shapes = bool(request.param)
    return VenueDesk("dxlink", lambda context: dxlink(context, use_shapes=use_shapes), None, scale=SCALE, link="feed")


def decimal(mantissa: int) -> Decimal:
    return Decimal(format_decimal(mantissa, SCALE))


def as_expected(expected: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What a golden trade or quote becomes; a number that is absent is 0, a side without price is empty."""

    def number(name: str) -> Decimal:
        return Decimal(expected[name] or 0)

    head = (expected["symbol"], expected["ts_event_ns"])
    if expected["kind"] == "trade":
        ident = expected.get("id") or expected["seq"]
        flags = tuple(expected.get("flags", ()))
        return [(*head, "trade", number("price"), number("qty"), expected["side"], ident, flags)]
    prices = [None if expected[f"{side}_price"] is None else number(f"{side}_price") for side in ("bid", "ask")]
    sizes = [number(f"{side}_qty") for side in ("bid", "ask")]
    return [(*head, side, *rest, expected.get("seq", 0)) for side, *rest in zip((1, 2), prices, sizes, strict=True)]


def as_read(record: Record) -> tuple[Any, ...]:
    head = (record.symbol, record.ts_event)
    if record.kind == Kind.TRADE:
        flags = tuple(word for flag, word in FLAGS.items() if record.flags & flag)
        side = SIDES[record.side]
        return (*head, "trade", decimal(record.price), decimal(record.size), side, record.venue_seq, flags)
    price = None if record.price == NO_PRICE else decimal(record.price)
    return (*head, int(record.side), price, decimal(record.size), record.venue_seq)


def test_every_golden_message_becomes_its_records(desk: VenueDesk) -> None:
    if not GOLDEN.exists():
        pytest.skip("the golden messages are not beside the project")
    lines = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    seen = 0
    desk.open()
    for line in lines:
        records = desk.feed(line["raw"], ts=1_788_264_005 * SECOND)
        expected = [
            row for record in line["expect"] if record["kind"] in ("trade", "bbo") for row in as_expected(record)
        ]
        found = [as_read(record) for record in records if record.kind in (Kind.TRADE, Kind.QUOTE)]
        assert found == expected, line.get("note")
        seen += len(found)
        if line.get("state", {}).get("action") == "resubscribe":
            lost = {record.symbol for record in records if record.price == StatusCode.DISCONNECTED}
            assert lost == {"AAPL", "MSFT", "/ESZ26:XCME", "NEWCO", "SPY"}
    assert (len(lines), seen) == (22, 19)
    assert not desk.rejects
    counters = desk.adapter.counters
    assert counters.parsed == sum(any(r["kind"] in ("trade", "bbo") for r in line["expect"]) for line in lines)
    assert counters.ignored_kinds == {"ERROR TIMEOUT": 1, "SOMETHING_NEW": 1}


def test_a_closed_channel_is_asked_for_again_and_its_streams_are_subscribed_to_anew() -> None:
    desk = VenueDesk("dxlink", dxlink, ("AAPL",), channels=("trade", "quote"), link="feed")
    desk.start()
    desk.open()
    golden = [json.loads(line)["raw"] for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    for raw in [golden[0], golden[2], golden[3]]:
        desk.feed(raw, ts=SECOND)
    desk.actions.clear()
    desk.feed(next(raw for raw in golden if "CHANNEL_CLOSED" in raw), ts=2 * SECOND)
    desk.timer(4 * SECOND)
    desk.feed(golden[3], ts=5 * SECOND)
    sent = [json.loads(action.payload) for action in desk.actions if isinstance(action, Send)]
    assert [(message["type"], message["channel"]) for message in sent] == [
        ("CHANNEL_REQUEST", 1),
        ("FEED_SETUP", 1),
        ("FEED_SUBSCRIPTION", 1),
    ]
    assert sent[-1]["add"] == [{"type": "Quote", "symbol": "AAPL"}]


# What others have documented, or seen. Their requests say in which order the values come, since no FEED_CONFIG is kept.


def config(kind: str, *names: str, channel: int = 1) -> dict[str, Any]:
    return {"type": "FEED_CONFIG", "channel": channel, "dataFormat": "COMPACT", "eventFields": {kind: list(names)}}


def frames_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recording(f"dxlink/{name}").read_text(encoding="utf-8").splitlines()]


def test_the_session_of_the_guide_is_read_to_the_digit(desk: VenueDesk) -> None:
    lines = frames_of("tastytrade-streaming-guide-session.jsonl")
    (setup,) = [line["frame"] for line in lines if line["frame"]["type"] == "FEED_SETUP"]
    received = [line["frame"] for line in lines if line["dir"] == "received"]
    (data,) = [frame for frame in received if frame["type"] == "FEED_DATA"]
    for frame in received:
        desk.feed(frame, ts=SECOND)
    assert [reject.cause for reject in desk.rejects] == ["fields unknown"], "nothing is guessed"
    desk.take()
    for kind, names in setup["acceptEventFields"].items():
        desk.feed(config(kind, *names, channel=data["channel"]), ts=SECOND)
    found = {}
    text = '{"type":"FEED_DATA","channel":3,"data":["Trade",["Trade","SPY",559.36,1.3743299E7,100.0,"Trade",'
    text += '"BTC/USD:CXTALP",58356.71,"NaN","NaN"]]}'
    assert json.loads(text) == data
    for record in desk.feed(text, ts=SECOND):
        if record.kind == Kind.TRADE:
            found[record.symbol] = decimal(record.price), decimal(record.size), Flag(record.flags)
    flags = Flag.LAST | Flag.AGGREGATE | Flag(TradeFlag.CONFLATED)
    assert found == {
        "SPY": (Decimal("559.36"), Decimal(100), flags),
        "BTC/USD:CXTALP": (Decimal("58356.71"), Decimal(0), flags),
    }


def raw_frame(test: str) -> tuple[str, dict[str, Any]]:
    """The text of a frame as it stands in the file, and what it says."""
    for line in recording("dxlink/quantconnect-tastytrade-frames.jsonl").read_text(encoding="utf-8").splitlines():
        if f'"{test}"' in line:
            return line[line.index('"frame": ') + 9 : -1], json.loads(line, parse_float=Decimal)["frame"]
    raise AssertionError(test)


def test_frames_that_others_have_seen_are_read_as_an_independent_parse_reads_them(desk: VenueDesk) -> None:
    text, message = raw_frame("DeserializeFeedDataTradeStreamResponse")
    desk.feed(config("Trade", "eventSymbol", "price", "size", "time"))
    values = message["data"][1]
    expected = [
        (symbol, Decimal(price), Decimal(0 if size == "NaN" else size), time * 1_000_000)
        for symbol, price, size, time in zip(*(values[at::4] for at in range(4)), strict=True)
        if price != "NaN"
    ]
    found = [(r.symbol, decimal(r.price), decimal(r.size), r.ts_event) for r in desk.feed(text)]
    assert found == expected
    assert len(expected) == 4

    text, message = raw_frame("DeserializeFeedDataQuoteStreamResponse")
    desk.feed(config("Quote", "eventSymbol", "bidPrice", "askPrice", "bidSize", "askSize"))
    values = message["data"][1]
    quotes = zip(*(values[at::5] for at in range(5)), strict=True)
    expected_sides = [side for _, bid, ask, *sizes in quotes for side in ((bid, sizes[0]), (ask, sizes[1]))]
    assert [(decimal(r.price), decimal(r.size)) for r in desk.feed(text)] == expected_sides


def test_candles_that_others_have_seen_become_bars_but_for_those_without_trades(desk: VenueDesk) -> None:
    text, message = raw_frame("DeserializeFeedDataCandleStreamResponse")
    names = ("eventFlags", "eventSymbol", "time", "open", "high", "low", "close", "volume", "openInterest")
    desk.feed(config("Candle", *names))
    values = message["data"][1]
    records = desk.feed(text, ts=1_750_100_000 * SECOND)
    expected = [row for row in zip(*(values[at::9] for at in range(9)), strict=True) if row[3] != "NaN"]
    assert len(expected) == 2
    assert [r.kind for r in records] == [Kind.VENUE_BAR] * 4 * len(expected)
    for bar, row in zip((records[:4], records[4:]), expected, strict=True):
        assert [decimal(r.price) for r in bar] == list(row[3:7])
        assert decimal(bar[3].size) == row[7]
        assert {(r.symbol, r.venue_seq, r.ts_event) for r in bar} == {
            ("AAPL", row[2] * 1_000_000, (row[2] + 86_400_000) * 1_000_000)
        }
        partial = row[2] // 1000 + 86_400 > 1_750_100_000
        assert all(bool(r.flags & Flag.PARTIAL) == partial for r in bar)


def test_numbers_beside_the_market_keep_their_digits(desk: VenueDesk) -> None:
    desk.feed(config("Greeks", "eventSymbol", "time", "volatility", "delta", "gamma"))
    text = '{"type":"FEED_DATA","channel":1,"data":["Greeks",[".SPY261218C700",1788264000000,0.123456789012345,'
    records = desk.feed(text + '-1.2E-10,"NaN"]]}')
    assert [(r.order_id, r.size, r.price, r.ts_event) for r in records] == [
        (StatisticCode.VOLATILITY, 123456789012345, 15, 1_788_264_000 * SECOND),
        (StatisticCode.DELTA, -12, 11, 1_788_264_000 * SECOND),
    ]
    assert [bool(r.flags & Flag.LAST) for r in records] == [False, True]
