"""Every golden message: what the reference decoder reads in it, and what the adapter concludes when fed in order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from binance_tools import Desk, Record, diff, snapshot
from folded_book import FoldedBook

from tickplant.feeds.contract import Resubscribe
from tickplant.feeds.kit.numbers import epoch_ns
from tickplant.feeds.venues.binance import messages
from tickplant.feeds.venues.binance.messages import decode
from tickplant.instruments import format_decimal, to_mantissa
from tickplant.records.layouts import Flag, GapCause, Kind, Side, StatusCode

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "binance.jsonl"
SCALE = 8


def golden_lines() -> list[dict]:
    if not GOLDEN.exists():
        pytest.skip("the golden messages are not beside the project")
    return [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


def pairs(levels: messages.Levels) -> list[tuple[str, str]]:
    return [(level.price, level.size) for level in levels]


def as_golden(message: messages.Message) -> list[dict]:
    """A decoded message in the words of the golden file."""
    match message:
        case messages.Trade() | messages.AggTrade():
            if isinstance(message, messages.Trade) and message.origin != messages.MARKET:
                return []
            record = {
                "kind": "trade",
                "symbol": message.symbol,
                "ts_event_ns": epoch_ns(message.time),
                "price": message.price,
                "qty": message.size,
                "side": "sell" if message.buyer_is_maker else "buy",
                "id": message.id,
            }
            if isinstance(message, messages.AggTrade):
                record |= {"agg": True, "first_id": message.first_trade}
            return [record]
        case messages.BookTicker():
            record = {"kind": "bbo", "symbol": message.symbol, "ts_event_ns": epoch_ns(message.time) or None}
            record |= {"bid_price": message.bid_price, "bid_qty": message.bid_size, "seq": message.id}
            return [record | {"ask_price": message.ask_price, "ask_qty": message.ask_size}]
        case messages.Diff():
            record = {"kind": "diff", "symbol": message.symbol, "ts_event_ns": epoch_ns(message.time)}
            record |= {"bids": pairs(message.bids), "asks": pairs(message.asks)}
            record |= {"seq_first": message.first, "seq": message.last}
            return [record | ({} if message.previous is None else {"seq_prev": message.previous})]
        case messages.Snapshot() | messages.PartialDepth():
            record = {"kind": "snapshot", "ts_event_ns": epoch_ns(message.time) or None, "seq": message.id}
            symbol = message.stream_symbol.upper() if isinstance(message, messages.PartialDepth) else "BNBBTC"
            return [record | {"symbol": symbol, "bids": pairs(message.bids), "asks": pairs(message.asks)}]
        case messages.Answer():
            return [{"kind": "ack", "symbol": None, "ts_event_ns": None, "id": message.id}]
        case messages.Refusal():
            record = {"kind": "error", "symbol": None, "ts_event_ns": None, "code": message.code, "id": message.id}
            return [record | {"message": message.text}]
        case messages.Shutdown():
            record = {"kind": "status", "symbol": None, "ts_event_ns": epoch_ns(message.time)}
            return [record | {"status": "serverShutdown"}]
        case _:
            return []


def test_every_golden_message_decodes_to_its_records() -> None:
    lines = golden_lines()
    for line in lines:
        expected = line["expect"]
        for record in expected:
            record.pop("last_id", None)  # of an aggregate trade: not recorded
            record.pop("depth", None)  # part of the stream's name
            for side in ("bids", "asks"):
                if side in record:
                    record[side] = [tuple(level) for level in record[side]]
        assert as_golden(decode(line["raw"].encode())) == expected, line.get("note")
    assert len(lines) == 25


def opened(futures: bool, use_shapes: bool) -> Desk:
    desk = Desk(("BNBBTC", "BTCUSDT", "测试USDT"), futures=futures, use_shapes=use_shapes, ws_url="ws://venue")
    desk.bootstrap(SCALE)
    desk.open()
    return desk


def trades_and_quotes(record: dict) -> list[tuple]:
    """What a golden trade or quote becomes: kind, side, price, size, id, time."""
    ts = record["ts_event_ns"] or 0
    if record["kind"] == "trade":
        side = Side.SELL if record["side"] == "sell" else Side.BUY
        return [(Kind.TRADE, side, record["price"], record["qty"], record["id"], ts)]
    bid = (Kind.QUOTE, Side.BID, record["bid_price"], record["bid_qty"], record["seq"], ts)
    return [bid, (Kind.QUOTE, Side.ASK, record["ask_price"], record["ask_qty"], record["seq"], ts)]


def readable(records: list[Record]) -> list[tuple]:
    return [
        (r.kind, r.side, format_decimal(r.price, SCALE), format_decimal(r.size, SCALE), r.venue_seq, r.ts_event)
        for r in records
        if r.kind in (Kind.TRADE, Kind.QUOTE)
    ]


def padded(rows: list[tuple]) -> list[tuple]:
    return [
        (k, s, *(format_decimal(to_mantissa(t, SCALE), SCALE) for t in (p, q)), i, ts) for k, s, p, q, i, ts in rows
    ]


@pytest.mark.parametrize("use_shapes", [True, False])
def test_the_conclusions_of_the_golden_file_hold_when_it_is_fed_in_order(use_shapes: bool) -> None:
    desks = {futures: opened(futures, use_shapes) for futures in (False, True)}
    books = {False: FoldedBook("BNBBTC"), True: FoldedBook("BTCUSDT")}
    # The futures lines begin inside a live book whose id is 9004.
    desks[True].feed(diff(9001, 9004, symbol="BTCUSDT", previous=9000))
    books[True].apply(desks[True].rest(snapshot(9004), symbol="BTCUSDT"))
    concluded = []
    for line in golden_lines():
        source = line.get("src", "")
        futures = source.startswith("futures")
        desk, book = desks[futures], books[futures]
        asked, duplicates = len(desk.requests), desk.adapter.counters.duplicates
        feed = desk.rest if source.startswith("rest-depth") else desk.feed
        records = feed(line["raw"])
        book.apply(records)
        state = line.get("state", {})
        action = state.get("action")
        expected = [
            row for record in line["expect"] if record["kind"] in ("trade", "bbo") for row in trades_and_quotes(record)
        ]
        assert readable(records) == ([] if action == "dedupe" else padded(expected)), line.get("note")
        gaps = [record for record in records if record.kind == Kind.GAP]
        statuses = [record.price for record in records if record.kind == Kind.STATUS]
        if action == "buffer":
            assert records == []
        elif action in ("dedupe", "drop"):
            assert records == []
            assert desk.adapter.counters.duplicates == duplicates + 1
        elif action == "trade_gap":
            (gap,) = gaps
            assert list(range(gap.order_id + 1, gap.venue_seq)) == state["missing"]
            assert (gap.size, gap.price) == (len(state["missing"]), GapCause.SEQUENCE)
            assert gap.flags == Flag.ON_TRADE | Flag.LAST
        elif action == "resync":
            (gap,) = gaps
            assert gap.flags == Flag.ON_BOOK | Flag.LAST
            assert not book.live
            assert statuses == [StatusCode.RESYNC]
            assert len(desk.requests) == asked + 1
        elif action == "refetch":
            assert [record.kind for record in records] == [Kind.STATUS]
            assert len(desk.requests) == asked + 1
            assert desk.requests[-1].not_before_ns > 0
        elif action == "reconnect":
            assert statuses == [StatusCode.SHUTDOWN_NOTICE]
            assert isinstance(desk.actions[-1], Resubscribe)
            assert desk.actions[-1].overlap
        if action == "apply":
            assert book.live
        if "best_bid" in state:
            assert book.best_bid == tuple(to_mantissa(text, SCALE) for text in state["best_bid"])
            assert book.best_ask == tuple(to_mantissa(text, SCALE) for text in state["best_ask"])
            assert book.book_id == state["book_seq"]
        if "levels" in state:
            assert [len(book.levels[Side.BID]), len(book.levels[Side.ASK])] == state["levels"]
        concluded.append(action)
    assert sum(action is not None for action in concluded) == 13
    for desk in desks.values():
        counters = desk.adapter.counters
        assert counters.frames == counters.parsed + counters.ignored + counters.rejected
        assert [reject.cause for reject in desk.rejects] in ([], ["subscription refused"])
