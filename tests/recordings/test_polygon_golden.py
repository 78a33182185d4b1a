"""Every golden message of Polygon, and the vendor's samples: what is decoded, and what is concluded in order."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from venue_desk import VenueDesk

from tickplant.feeds.contract import Frames, Hold, Resubscribe
from tickplant.feeds.venues.polygon import adapter, messages
from tickplant.instruments import format_decimal, parse_decimal, to_mantissa
from tickplant.records.layouts import NO_PRICE, Flag, Kind, Side

SHARED = Path(__file__).parents[2].parent / "shared"
GOLDEN = SHARED / "golden" / "polygon.jsonl"
SAMPLES = SHARED / "data" / "polygon" / "websocket-spec-examples.jsonl"
SCALE = 8
WORDS = {
    "connected": "status",
    "auth_success": "ack",
    "success": "ack",
}


def lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        pytest.skip("the golden messages are not beside the project")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def plain(text: str) -> str:
    """A number without its exponent."""
    return format_decimal(*parse_decimal(text))


def side_of(price: object, size: object, name: str) -> dict[str, str | None]:
    price_text, size_text = messages.side(price, size)
    absent = price_text == "0"
    return {
        f"{name}_price": None if absent else price_text,
        f"{name}_qty": None if absent or size_text == "0" else size_text,
    }


def as_golden(event: messages.Event) -> dict[str, Any] | None:
    """A decoded event in the words of the golden file."""
    match event:
        case messages.Status():
            kind = WORDS.get(event.status, "error")
            told = {"kind": kind, "symbol": None, "ts_event_ns": None}
            return told | {"status": event.status, "message": event.message}
        case messages.Trade() | messages.CryptoTrade():
            told = {"kind": "trade", "symbol": event.symbol, "ts_event_ns": messages.time_ns(event.t), "side": None}
            told |= {"price": plain(messages.decimal(event.price)), "qty": plain(messages.decimal(event.size))}
            told |= {"id": str(event.name) or None, "cond": event.conditions}
            if isinstance(event, messages.Trade):
                told["seq"] = event.id
                if event.trf_time:
                    told["ts_trf_ns"] = messages.time_ns(event.trf_time)
            return told
        case messages.Quote() | messages.CryptoQuote():
            told = {"kind": "bbo", "symbol": event.symbol, "ts_event_ns": messages.time_ns(event.t)}
            told |= side_of(event.bid, event.bid_size, "bid") | side_of(event.ask, event.ask_size, "ask")
            return told | ({"seq": event.id} if event.id else {})
        case messages.ForexQuote():
            told = {"kind": "bbo", "symbol": event.symbol, "ts_event_ns": messages.time_ns(event.t)}
            return told | side_of(event.bid, 0, "bid") | side_of(event.ask, 0, "ask")
        case messages.CryptoBook():
            bids, asks = ([[level.price, level.size] for level in side] for side in event.levels)
            told = {"kind": "snapshot", "symbol": event.symbol, "ts_event_ns": messages.time_ns(event.t)}
            return told | {"bids": bids, "asks": asks}
        case messages.MinuteBar() | messages.CryptoMinuteBar() | messages.Limits() | messages.Ignored():
            return None
        case _:
            raise AssertionError(event)


def test_every_golden_line_is_decoded_to_its_records() -> None:
    for line in lines(GOLDEN):
        found = [as_golden(event) for event in messages.decode(line["raw"].encode())]
        assert [each for each in found if each is not None] == line["expect"], line


@pytest.mark.parametrize("use_shapes", [True, False])
def test_the_adapter_records_what_the_golden_lines_say_in_order(use_shapes: bool) -> None:
    desk = VenueDesk("polygon", partial(adapter.stocks, use_shapes=use_shapes), None, scale=SCALE)
    duplicates = 0
    for line in lines(GOLDEN):
        records = desk.feed(line["raw"])
        repeats = line.get("state", {}).get("action") == "dedupe"
        duplicates += repeats
        expected = [] if repeats else line["expect"]
        trades = [each for each in records if each.kind == Kind.TRADE]
        assert [
            (each.symbol, each.ts_event, each.price, each.size, each.order_id.to_bytes(8, "little").rstrip(b"\0"))
            for each in trades
        ] == [
            (
                each["symbol"],
                each["ts_event_ns"],
                mantissa(each["price"]),
                mantissa(each["qty"]),
                bytes(each["cond"]).rstrip(b"\0"),
            )
            for each in expected
            if each["kind"] == "trade"
        ]
        assert [each.venue_seq for each in trades if "seq" in line["expect"][0]] == [
            each["seq"] for each in expected if each["kind"] == "trade" and "seq" in each
        ]
        quotes = [each for each in records if each.kind == Kind.QUOTE]
        assert [(each.side, each.price, each.size) for each in quotes] == [
            (side, mantissa(each[f"{name}_price"]), mantissa(each[f"{name}_qty"] or "0"))
            for each in expected
            if each["kind"] == "bbo"
            for side, name in ((Side.BID, "bid"), (Side.ASK, "ask"))
        ]
        levels = [each for each in records if each.kind == Kind.LEVEL]
        assert [(each.side, each.price, each.size) for each in levels] == [
            (side, mantissa(price), mantissa(size))
            for each in expected
            if each["kind"] == "snapshot"
            for side, name in ((Side.BID, "bids"), (Side.ASK, "asks"))
            for price, size in each[name]
        ]
        assert all(each.flags & Flag.PARTIAL for each in levels)
    assert desk.adapter.counters.duplicates == duplicates == 1
    assert desk.adapter.counters.rejected == desk.adapter.counters.gaps == 0


def mantissa(text: str | None) -> int:
    return NO_PRICE if text is None else to_mantissa(text, SCALE)


def test_the_conclusions_of_the_golden_file_hold_in_order() -> None:
    found = {}
    desk = VenueDesk("polygon", adapter.stocks, ["MSFT"], secrets={"key": "K"}, channels=("trade", "quote"))
    desk.start()
    desk.open()
    for line in lines(GOLDEN):
        action = line.get("state", {}).get("action")
        if action not in ("reconnect", "stop"):
            continue
        desk.adapter.on_event(Frames("stream", [line["raw"].encode()]), 1)
        found[action] = [type(effect) for effect in desk.adapter.take().effects]
    assert found == {"reconnect": [Resubscribe], "stop": [Hold]}


def test_the_vendors_samples_are_recorded_at_the_times_and_prices_that_they_name() -> None:
    desks = {
        "stocks": VenueDesk("polygon", adapter.stocks, None),
        "options": VenueDesk("polygon-options", adapter.options, None),
        "crypto": VenueDesk("polygon-crypto", adapter.crypto, None),
    }
    recorded = 0
    for line in lines(SAMPLES):
        desk = desks.get(line["path"].split("/")[1])
        if desk is None:
            continue
        event = line["example"]
        records = desk.feed(json.dumps([event], separators=(",", ":")))
        assert desk.rejects == [], line
        if event["ev"] == "NOI":
            assert records == []
            continue
        recorded += 1
        first = records[0]
        assert first.symbol == event.get("sym", event.get("pair", event.get("T")))
        if event["ev"] in ("T", "XT"):
            assert first.ts_event == event["t"] * 1_000_000
            assert first.price == round(event["p"] * 10**8)
        if event["ev"] == "LULD":
            assert first.ts_event == event["t"] * 1000
        if event["ev"] in ("A", "AM", "XA", "XAS"):
            assert (first.venue_seq, first.ts_event) == (event["s"] * 1_000_000, event["e"] * 1_000_000)
            assert [each.price for each in records[:4]] == [round(event[key] * 10**8) for key in "ohlc"]
    assert recorded == 14
