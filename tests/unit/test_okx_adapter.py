"""The adapter of OKX: what it asks for, and what it makes of the documented examples, by shape and by reference."""

from __future__ import annotations

import json
from typing import Any

import pytest
from okx_tools import subscribed
from venue_desk import SECOND, Record, VenueDesk

from tickplant.feeds.contract import Send
from tickplant.records.layouts import NO_PRICE, Flag, GapCause, Kind, Side

SYMBOLS = ("BTC-USDT", "ETH-USDT")
READ = pytest.mark.parametrize("use_shapes", [True, False], ids=["by shape", "by reference"])


def opened(**options: Any) -> VenueDesk:
    return subscribed(SYMBOLS, **options)


def sent(desk: VenueDesk) -> list[bytes]:
    return [action.payload for action in desk.actions if isinstance(action, Send)]


def frame(channel: str, **data: Any) -> bytes:
    arg = {"channel": channel, "instId": "BTC-USDT"}
    return json.dumps({"arg": arg, "data": [data]}, separators=(",", ":")).encode()


def trade(last: int, count: str | None, ts: int = 1630048897897) -> bytes:
    fills = {} if count is None else {"count": count, "source": "0", "seqId": 1234}
    fields = {"tradeId": str(last), "px": "42219.9", "sz": "0.12060306", "side": "buy", "ts": str(ts)}
    return frame("trades", instId="BTC-USDT", **fields, **fills)


def book(action: str, prev: int, seq: int, bid: str = "8476.97") -> bytes:
    levels = {"asks": [["8477.56", "7", "0", "2"]], "bids": [[bid, "256", "0", "12"]]}
    data = levels | {"ts": "1597026383085", "checksum": 0, "prevSeqId": prev, "seqId": seq}
    message = {"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": action, "data": [data]}
    return json.dumps(message, separators=(",", ":")).encode()


def test_a_request_is_for_one_channel_and_pings_are_text() -> None:
    desk = opened()
    asked = [json.loads(one) for one in sent(desk)]
    assert [one["op"] for one in asked] == ["subscribe"] * 3
    channels = [{arg["channel"] for arg in one["args"]} for one in asked]
    assert channels == [{"trades"}, {"tickers"}, {"books"}]
    desk.timer(SECOND)
    assert sent(desk)[3:] == [b"ping"]
    desk.timer(2 * SECOND)
    assert desk.feed(b"pong", ts=2 * SECOND) == []
    assert (len(sent(desk)), desk.adapter.counters.ignored_kinds) == (4, {"pong": 1})


@READ
@pytest.mark.parametrize(
    ("count", "first"), [("3", 122), ("1", 124), (None, 124), ("0", 124), ("200", 0), ("9" * 18, 0)]
)
def test_a_trade_is_an_aggregate_of_fills_whose_ids_count(count: str | None, first: int, *, use_shapes: bool) -> None:
    desk = opened(use_shapes=use_shapes)
    (one,) = desk.feed(trade(124, count), ts=SECOND)
    assert (one.kind, one.venue_seq, one.order_id, one.side) == (Kind.TRADE, 124, first, Side.BUY)
    assert (one.price, one.size, one.ts_event) == (42219_90000000, 12060306, 1630048897897 * 10**6)
    assert one.flags == Flag.LAST | Flag.AGGREGATE
    assert desk.adapter.counters.fallbacks == (count is None and use_shapes)


@READ
def test_ids_may_have_holes_and_be_mixed_but_a_repeat_is_dropped(*, use_shapes: bool) -> None:
    desk = opened(use_shapes=use_shapes)
    # Fills 121 and 123 are of one source, 122 of the other.
    sends = [trade(123, "2"), trade(122, "1"), trade(123, "2"), trade(130, "1"), trade(130, "1")]
    records = desk.feed(*sends, ts=SECOND)
    assert [(one.kind, one.venue_seq) for one in records] == [(Kind.TRADE, each) for each in (123, 122, 130)]
    counters = desk.adapter.counters
    assert (counters.duplicates, counters.gaps, counters.parsed, counters.kinds["trade"]) == (2, 0, 5, 3)


@READ
def test_an_empty_side_of_a_ticker_has_no_price(*, use_shapes: bool) -> None:
    names = ("open24h", "high24h", "low24h", "sodUtc0", "sodUtc8", "volCcy24h", "vol24h")
    rest = dict.fromkeys(names, "8888") | {"ts": "1597026383085"}
    head = {"instType": "SPOT", "instId": "BTC-USDT", "last": "9999.99", "lastSz": "0.1"}
    sides = {"askPx": "9999.99", "askSz": "11", "bidPx": "8888.88", "bidSz": "5"}
    desk = opened(use_shapes=use_shapes)

    def prices(**changed: str) -> list[tuple[Side, int, int]]:
        records: list[Record] = desk.feed(frame("tickers", **(head | sides | changed | rest)), ts=SECOND)
        return [(Side(one.side), one.price, one.size) for one in records]

    both = [(Side.BID, 8888_88000000, 5_00000000), (Side.ASK, 9999_99000000, 11_00000000)]
    assert prices() == both
    assert prices(bidPx="", bidSz="") == [(Side.BID, NO_PRICE, 0), both[1]]


@READ
def test_a_change_that_does_not_continue_the_book_costs_this_book(*, use_shapes: bool) -> None:
    desk = opened(use_shapes=use_shapes)
    desk.feed(book("snapshot", -1, 10), book("update", 10, 15), ts=SECOND)
    assert desk.adapter.market.listings.by_symbol["BTC-USDT"].book.live
    assert desk.feed(book("update", 10, 15), ts=SECOND) == []
    before = len(sent(desk))
    gap, *_ = desk.feed(book("update", 16, 17), ts=SECOND)
    assert (gap.kind, gap.price, gap.flags & Flag.ON_BOOK) == (Kind.GAP, GapCause.SEQUENCE, Flag.ON_BOOK)
    wanted = [{"channel": "books", "instId": "BTC-USDT"}]
    asked = [json.loads(one) for one in sent(desk)[before:]]
    assert [(one["op"], one["args"]) for one in asked] == [("unsubscribe", wanted), ("subscribe", wanted)]
    assert desk.adapter.counters.duplicates == 1


@pytest.mark.parametrize("ident", ["7" * 5000, "two", "", "²"])
def test_an_answer_to_nothing_that_was_asked_is_survived(ident: str) -> None:
    desk = opened()
    desk.feed(json.dumps({"event": "subscribe", "id": ident, "arg": {"channel": "books"}}).encode(), ts=SECOND)
    desk.feed(json.dumps({"event": "error", "id": ident, "code": "60012", "msg": "no"}).encode(), ts=SECOND)
    assert (desk.adapter.counters.frames, desk.adapter.counters.parsed) == (2, 0)
