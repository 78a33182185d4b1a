"""Coinbase's adapters on recordings, against an independent reading, and on the golden messages."""

from __future__ import annotations

import functools
import gzip
import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coinbase_tools import AdvancedDesk, ExchangeDesk
from folded_book import FoldedBook
from independent import recording
from venue_desk import SECOND

from tickplant.books.level_books import Books
from tickplant.feeds.contract import Fail, Send
from tickplant.feeds.kit.numbers import rfc3339_ns
from tickplant.feeds.venues.coinbase import messages as exchange
from tickplant.feeds.venues.coinbase_advanced import messages as advanced
from tickplant.instruments import to_mantissa
from tickplant.records.layouts import Flag, GapCause, Kind, Side

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "coinbase.jsonl"
SCALE = 8
CENTS = 2  # decimals of the prices that the desk lists
AGGRESSOR = {"buy": "sell", "sell": "buy", "BUY": "sell", "SELL": "buy"}


@pytest.fixture(params=[True, False], ids=["shapes", "reference"])
def shapes(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def ns(text: str) -> int:
    """A time, by numpy."""
    return int(np.datetime64(text.removesuffix("Z"), "ns").astype(np.int64))


def mantissa(number: Decimal) -> int:
    return int(number.scaleb(SCALE))


# Recordings.


@functools.cache
def ten_products() -> list[tuple[int, bytes, dict[str, Any]]]:
    with gzip.open(recording("coinbase_exchange_10_products.gz")) as file:
        parts = [line.rstrip(b"\n").partition(b" ") for line in file]
    return [(int(time_ns), frame, json.loads(frame, parse_float=Decimal)) for time_ns, _, frame in parts]


def test_the_books_of_a_recording_equal_an_independent_reconstruction(shapes: bool) -> None:
    desk, books = ExchangeDesk(scale=SCALE, use_shapes=shapes), Books()
    truth: defaultdict[str, dict[str, dict[Decimal, Decimal]]] = defaultdict(lambda: {"buy": {}, "sell": {}})
    crossed, events = 0, 0
    flagged: set[int] = set()
    for time_ns, frame, message in ten_products():
        desk.frames("", [frame], time_ns)
        ticks = desk.take_ticks()
        if message["type"] not in ("snapshot", "l2update"):
            assert not len(ticks) or ticks["kind"].tolist() == [Kind.TRADE]
            continue
        events += 1
        sides = truth[message["product_id"]]
        if message["type"] == "snapshot":
            for side, name in (("buy", "bids"), ("sell", "asks")):
                sides[side] = {Decimal(price): Decimal(size) for price, size in message[name]}
        for side, price, size in message.get("changes", ()):
            sides[side][Decimal(price)] = Decimal(size)
            if not Decimal(size):
                del sides[side][Decimal(price)]
        assert ticks["flags"][-1] & Flag.LAST
        assert ticks["ts_event"].tolist() == [ns(message["time"]) if "time" in message else 0] * len(ticks)
        bbo = books.apply(ticks)
        instrument = int(ticks["instrument"][0])
        is_crossed = max(sides["buy"]) >= min(sides["sell"])
        crossed += is_crossed
        if len(bbo):
            assert bool(bbo[-1]["flags"] & Flag.CROSSED) == is_crossed
            (flagged.add if is_crossed else flagged.discard)(instrument)
        assert (instrument in flagged) == is_crossed
        for side, name in ((Side.BID, "buy"), (Side.ASK, "sell")) if events % 20 == 0 or events > 5800 else ():
            expected = {mantissa(price): mantissa(size) for price, size in sides[name].items()}
            assert dict(books.levels(instrument, side).tolist()) == expected
    assert events == 5872
    assert books.counters["crossed"] == crossed


def test_the_trades_of_a_recording_are_those_of_an_independent_reading(shapes: bool) -> None:
    desk = ExchangeDesk(scale=SCALE, use_shapes=shapes)
    for time_ns, frame, _ in ten_products():
        desk.frames("", [frame], time_ns)
    found = [record for record in desk.take() if record.kind is Kind.TRADE]
    expected = [message for _, _, message in ten_products() if message["type"] in ("match", "last_match")]
    assert len(found) == len(expected) == 46
    for record, message in zip(found, expected, strict=True):
        assert (record.symbol, record.venue_seq, record.ts_event) == (
            message["product_id"],
            message["trade_id"],
            ns(message["time"]),
        )
        assert record.price == mantissa(Decimal(message["price"]))
        assert record.size == mantissa(Decimal(message["size"]))
        assert record.side.name == {"buy": "ASK", "sell": "BID"}[message["side"]]
        assert bool(record.flags & Flag.SNAPSHOT) == (message["type"] == "last_match")
    counters = desk.adapter.counters
    assert (counters.gaps, counters.rejected, counters.duplicates) == (0, 0, 0)
    assert counters.ignored_kinds == {"ticker without sizes": 46}


def test_frames_of_advanced_trade_equal_an_independent_reading(shapes: bool) -> None:
    desk = AdvancedDesk(scale=SCALE, use_shapes=shapes)
    expected = []
    with recording("coinbase/advanced_md_stream.seq242-243.tsv").open("rb") as file:
        frames = [line.rstrip(b"\n").partition(b"\t")[2] for line in file]
    for frame in frames:
        desk.frames("", [frame], 1)
        message = json.loads(frame)
        for event in message["events"]:
            for one in reversed(event.get("trades", [])):
                numbers = one["price"], one["size"]
                expected.append((AGGRESSOR[one["side"]], *numbers, int(one["trade_id"]), ns(one["time"])))
            for one in event.get("updates", []):
                numbers = one["price_level"], one["new_quantity"]
                expected.append(({"bid": "buy", "offer": "sell"}[one["side"]], *numbers, 0, ns(message["timestamp"])))
    assert len(expected) == 111
    found = [
        ({Side.BUY: "buy", Side.SELL: "sell"}[one.side], one.price, one.size, one.venue_seq, one.ts_event)
        for one in desk.take()
    ]
    assert found == [(one[0], mantissa(Decimal(one[1])), mantissa(Decimal(one[2])), *one[3:]) for one in expected]
    assert desk.adapter.counters.gaps == 0


def test_the_orders_of_a_recording_are_records_in_line() -> None:
    desk = ExchangeDesk(scale=SCALE, live=False, channels=("trade", "orders"))
    with recording("coinbase/full_channel_2017-06-25.jsonl").open("rb") as file:
        lines = file.read().splitlines()
    for line in lines:
        desk.frames("", [line], 1)
    desk.end()
    records = desk.take()
    expected = []
    for message in map(json.loads, lines):
        if message["type"] not in ("open", "done"):
            continue
        kind = Kind.ORDER_ADD if message["type"] == "open" else Kind.ORDER_CANCEL
        size = mantissa(Decimal(message["remaining_size"])) if message["type"] == "open" else 0
        number = int(message["order_id"].replace("-", "")[:16], 16)
        side = Side.BID if message["side"] == "buy" else Side.ASK
        price = mantissa(Decimal(message["price"]))
        expected.append((message["product_id"], kind, side, price, size, message["sequence"], number))
    found = [
        (one.symbol, one.kind, one.side, one.price, one.size, one.venue_seq, one.order_id)
        for one in sorted(records, key=lambda one: one.venue_seq)
    ]
    assert found == sorted(expected, key=lambda one: one[5])
    assert desk.adapter.counters.gaps == 0


# Golden messages.


def golden() -> list[dict[str, Any]]:
    if not GOLDEN.exists():
        pytest.skip("the golden messages are not beside the project")
    return [json.loads(line) for line in GOLDEN.read_text().splitlines()]


def plain_exchange(frame: bytes) -> list[dict[str, Any]]:
    """A message of the exchange as the golden file has it."""
    message = exchange.decode(frame)
    head: dict[str, Any] = {"symbol": getattr(message, "product_id", None)}
    time = getattr(message, "time", "")
    head["ts_event_ns"] = rfc3339_ns(time) if time else None
    match message:
        case exchange.Match():
            record = {"kind": "trade", "price": message.price, "qty": message.size, "side": AGGRESSOR[message.side]}
            record |= {"id": message.trade_id, "seq": message.sequence}
            return [head | record | ({"flags": ["backfill"]} if isinstance(message, exchange.LastMatch) else {})]
        case exchange.Ticker():
            sides = {"bid_price": message.best_bid, "bid_qty": message.best_bid_size}
            sides |= {"ask_price": message.best_ask, "ask_qty": message.best_ask_size}
            return [head | {"kind": "bbo", "seq": message.sequence} | sides]
        case exchange.Snapshot():
            return [head | {"kind": "snapshot", "bids": [*map(list, message.bids)], "asks": [*map(list, message.asks)]}]
        case exchange.Update():
            sides = {
                name: [[price, size] for on, price, size in message.changes if on == side]
                for name, side in (("bids", "buy"), ("asks", "sell"))
            }
            return [head | {"kind": "diff"} | sides]
        case exchange.Heartbeat():
            return [head | {"kind": "heartbeat", "seq": message.sequence, "last_trade_id": message.last_trade_id}]
        case exchange.Subscriptions():
            return [head | {"kind": "ack", "channels": {one.name: one.product_ids for one in message.channels}}]
        case exchange.Refusal():
            reason = {"reason": message.reason} if message.reason else {}
            return [head | {"kind": "error", "message": message.message} | reason]
        case _:
            return []


def plain_advanced(frame: bytes) -> list[dict[str, Any]]:
    """A message of Advanced Trade as the golden file has it."""
    message = advanced.decode(frame)
    if isinstance(message, advanced.Refusal):
        return [{"kind": "error", "symbol": None, "ts_event_ns": None, "message": message.message}]
    assert not isinstance(message, advanced.Ignored)
    head = {"symbol": None, "ts_event_ns": rfc3339_ns(message.timestamp), "seq": message.sequence_num}
    match message:
        case advanced.Trades():
            return [
                head
                | {"kind": "trade", "symbol": one.product_id, "ts_event_ns": rfc3339_ns(one.time), "price": one.price}
                | {"qty": one.size, "side": AGGRESSOR[one.side], "id": one.trade_id}
                | ({"flags": ["backfill"]} if event.type == "snapshot" else {})
                for event in message.events
                for one in event.trades
            ]
        case advanced.Books():
            return [
                head
                | {"kind": {"snapshot": "snapshot", "update": "diff"}[book.type], "symbol": book.product_id}
                | {
                    name: [[one.price_level, one.new_quantity] for one in book.updates if one.side == side]
                    for name, side in (("bids", "bid"), ("asks", "offer"))
                }
                for book in message.events
            ]
        case advanced.Tickers():
            return [
                head
                | {"kind": "bbo", "symbol": one.product_id, "bid_price": one.best_bid, "ask_price": one.best_ask}
                | {"bid_qty": one.best_bid_quantity, "ask_qty": one.best_ask_quantity}
                for event in message.events
                for one in event.tickers
            ]
        case advanced.Products():
            products = [product for event in message.events for product in event.products]
            return [head | {"kind": "status", "symbol": one.id, "status": one.status} for one in products]
        case advanced.Subscriptions():
            return [head | {"kind": "ack", "channels": event.subscriptions} for event in message.events]
        case advanced.Heartbeat():
            return [head | {"kind": "heartbeat"}]


def test_the_reference_decoders_read_the_golden_messages_as_expected() -> None:
    for line in golden():
        plain = plain_exchange if line["src"] == "exchange" else plain_advanced
        expected = line["expect"]
        for record in expected:
            record.pop("counter", None)  # of a heartbeat: not recorded
        assert plain(line["raw"].encode()) == expected, line.get("note")
    assert len(golden()) == 23


def live(kind: type[ExchangeDesk | AdvancedDesk], *, use_shapes: bool) -> ExchangeDesk | AdvancedDesk:
    """With what the golden messages are about, acknowledged."""
    desk = kind(("BTC-USD", "ETH-USD", "OLD-USD"), use_shapes=use_shapes, scale=SCALE)
    desk.begin()
    desk.take()
    desk.actions.clear()
    if isinstance(desk, AdvancedDesk):
        desk.adapter.market.listings.reader.counted = -1  # the golden connection begins to count anew
    return desk


def test_the_conclusions_of_the_golden_file_hold_when_it_is_fed_in_order(shapes: bool) -> None:
    desks = {
        "exchange": live(ExchangeDesk, use_shapes=shapes),
        "advanced": live(AdvancedDesk, use_shapes=shapes),
    }
    folds = {name: FoldedBook("BTC-USD") for name in desks}
    concluded: list[str] = []
    now = 1_788_264_000 * SECOND
    for line in golden():
        desk, fold, state = desks[line["src"]], folds[line["src"]], line.get("state", {})
        before = desk.adapter.counters
        records = desk.feed(line["raw"], ts=now)
        fold.apply(records)
        after, action = desk.adapter.counters, state.get("action", "")
        trades = [record for record in records if record.kind is Kind.TRADE]
        if action == "dedupe":
            assert trades == []
            assert after.duplicates == before.duplicates + 1
        elif action == "trade_gap":
            missing = desk.adapter._newest.missing("BTC-USD")
            assert [*missing] == state["missing"]
            asked = live(ExchangeDesk, use_shapes=shapes)
            asked.feed(*(one["raw"] for one in golden()[:5]), ts=now)
            asked.timer(now + 2 * SECOND)
            (request,) = [request for request in asked.take_requests() if request.key == "newer BTC-USD"]
            assert request.path == f"/products/BTC-USD/trades?limit={len(missing)}&after={missing[-1] + 1}"
        elif action == "resync":
            gaps = [(one.symbol, one.price) for one in records if one.kind is Kind.GAP and one.flags & Flag.ON_BOOK]
            assert gaps == [("BTC-USD", GapCause.SEQUENCE)]
            sent = [json.loads(action.payload) for action in desk.actions if isinstance(action, Send)]
            assert [(one["type"], one["channel"], one["product_ids"]) for one in sent] == [
                ("unsubscribe", "level2", ["BTC-USD"]),
                ("subscribe", "level2", ["BTC-USD"]),
            ]
            assert not fold.live
        elif action == "apply":
            assert fold.live
        if "best_bid" in state:
            for best, name in ((fold.best_bid, "best_bid"), (fold.best_ask, "best_ask")):
                price, size = state[name]
                assert best == (to_mantissa(price, CENTS), to_mantissa(size, SCALE))
            assert [len(fold.levels[side]) for side in (Side.BID, Side.ASK)] == state["levels"]
        expected = [record for record in line["expect"] if record["kind"] == "trade"]
        if action != "dedupe":
            assert sorted(record.venue_seq for record in trades) == sorted(int(record["id"]) for record in expected)
        concluded += [action] if action else []
    assert sorted(concluded) == sorted(["trade_gap", "dedupe", *["apply"] * 5, "resync"])
    assert [reject.cause for reject in desks["exchange"].rejects] == ["subscription refused"]
    assert [reject.cause for reject in desks["advanced"].rejects] == ["subscription refused"]
    assert Fail not in {type(action) for desk in desks.values() for action in desk.actions}
