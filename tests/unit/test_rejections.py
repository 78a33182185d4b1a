"""What was received and not stored leaves a GAP at once: every stream, every kind of reject, and never a flood."""

from __future__ import annotations

import json

import pytest
from binance_tools import SECOND, Desk, Record, agg_trade, as_bytes, diff, quote, snapshot, trade, wrapped
from folded_book import FoldedBook
from hypothesis import given
from hypothesis import strategies as st

from tickplant.feeds.rejections import BURST, PAUSE_NS, Pacer
from tickplant.feeds.venues.binance.attribution import owner
from tickplant.records.layouts import UNKNOWN, Flag, GapCause, Kind

FINE = "1.001"  # does not fit two decimals

FRAMES = {
    # stream: name, good message, message whose value does not fit, flags of its GAP; n counts messages
    "trade": ("trade", trade, lambda n: trade(n, price=FINE), Flag.ON_TRADE),
    "agg_trade": ("aggTrade", lambda n: agg_trade(n, n), lambda n: agg_trade(n, n) | {"p": FINE}, Flag.ON_TRADE),
    "quote": ("bookTicker", quote, lambda n: quote(n, bid=FINE), Flag.ON_QUOTE),
    "book": (
        "depth@100ms",
        lambda n: diff(n, n, [("1.00", "2")]),
        lambda n: diff(n, n, [(FINE, "2")]),
        Flag.ON_BOOK,
    ),
}
RECORDED = {"live": False, "recording": True}


def rejected(records: list[Record]) -> list[Record]:
    return [record for record in records if record.kind is Kind.GAP and record.price == GapCause.REJECTED]


def desk_with(recorded: bool) -> Desk:
    desk = Desk(None if recorded else ("BNBBTC",), scale=2, ws_url="ws://venue")
    if not recorded:
        desk.bootstrap()
        desk.open()
    return desk


def receive(desk: Desk, frame: dict | bytes, *, recorded: bool, ts: int = 1) -> list[Record]:
    return desk.recorded(frame, ts=ts) if recorded else desk.feed(frame, ts=ts)


@pytest.mark.parametrize("recorded", RECORDED.values(), ids=RECORDED)
@pytest.mark.parametrize("stream", FRAMES)
def test_the_first_reject_of_a_stream_is_a_gap_at_once_and_the_next_ones_are_told_with_the_last(
    stream: str, recorded: bool
) -> None:
    _, good, bad, flag = FRAMES[stream]
    desk = desk_with(recorded)
    receive(desk, good(10), recorded=recorded)
    if stream == "book":
        desk.rest(snapshot(10, [("1.00", "2")]))
    (first,) = receive(desk, bad(11), recorded=recorded)
    assert (first.kind, first.price, first.size, first.order_id) == (Kind.GAP, GapCause.REJECTED, UNKNOWN, 10)
    assert first.symbol == "BNBBTC"
    assert first.flags & flag
    for n in range(12, 500):
        assert receive(desk, bad(n), recorded=recorded) == []
    (exact,) = rejected(receive(desk, good(500), recorded=recorded))
    assert (exact.size, exact.order_id, exact.venue_seq) == (489, 10, 500)
    assert exact.flags & flag
    assert rejected(receive(desk, good(501), recorded=recorded)) == []


@pytest.mark.parametrize("stream", FRAMES)
def test_where_no_good_message_follows_the_number_is_told_at_the_end(stream: str) -> None:
    _, good, bad, flag = FRAMES[stream]
    desk = desk_with(recorded=True)
    desk.recorded(good(10), ts=3)
    for n in range(11, 20):
        desk.recorded(bad(n), ts=4)
    desk.end()
    (exact,) = rejected(desk.take())
    assert (exact.order_id, exact.venue_seq, exact.size, exact.ts_recv) == (10, 20, 9, 4)
    assert exact.flags & flag


@pytest.mark.parametrize("damage", ["cut", "number", "missing"])
@pytest.mark.parametrize("stream", FRAMES)
def test_a_frame_that_cannot_be_read_is_told_on_the_stream_that_it_names(stream: str, damage: str) -> None:
    name, good, _, flag = FRAMES[stream]
    desk = desk_with(recorded=False)
    desk.feed(good(10))
    whole = wrapped(f"bnbbtc@{name}", good(11))
    for key in ("p", "b"):
        if key in whole["data"]:
            whole["data"][key] = 5
    if damage == "missing":
        whole["data"].pop("s")
    raw = as_bytes(whole)
    records = rejected(desk.feed(raw[: len(raw) // 2] if damage == "cut" else raw))
    assert [(record.symbol, record.size) for record in records] == [("BNBBTC", UNKNOWN)]
    assert records[0].flags & flag


@pytest.mark.parametrize("stream", FRAMES)
def test_trouble_is_told_while_all_messages_of_a_stream_are_rejected(stream: str) -> None:
    _, good, bad, _ = FRAMES[stream]
    desk = desk_with(recorded=False)
    desk.feed(good(10), bad(11))
    assert desk.adapter.trouble == ""
    desk.feed(bad(12))
    assert desk.adapter.trouble.startswith(f"every {stream} message of BNBBTC is rejected (scale: 1.001 has more than")
    desk.feed(good(13))
    assert desk.adapter.trouble == ""


def test_trouble_is_told_where_nothing_can_be_read() -> None:
    desk = desk_with(recorded=False)
    desk.feed(trade(10), b"\x00", b"\x01")
    assert desk.adapter.trouble == "no message can be read: all are rejected"
    desk.feed(trade(11))
    assert desk.adapter.trouble == ""
    broken = as_bytes(wrapped("bnbbtc@trade", trade(12)))[:40]
    desk.feed(broken, broken)
    assert desk.adapter.trouble.startswith("every trade message of BNBBTC is rejected (not json")
    desk.feed(trade(12))
    assert desk.adapter.trouble == ""


def test_a_rejected_change_makes_its_book_stale_and_a_new_snapshot_makes_it_live() -> None:
    desk = desk_with(recorded=False)
    book = FoldedBook("BNBBTC")
    desk.feed(diff(10, 12, [("1.00", "2")]))
    book.apply(desk.rest(snapshot(12, [("1.00", "2")])))
    book.apply(desk.feed(diff(13, 14, [(FINE, "1")])))
    assert not book.live
    book.apply(desk.feed(diff(15, 16, [("1.50", "1")])))
    assert not book.live
    book.apply(desk.rest(snapshot(16, [("2.00", "3")])))
    assert book.live
    assert book.best_bid == (200, 300)


def test_a_snapshot_from_before_a_rejected_change_is_no_book() -> None:
    for ident in (11, -1):
        desk = desk_with(recorded=True)
        desk.recorded(wrapped("bnbbtc@trade", trade(1)))
        desk.recorded(as_bytes({"rest": "depth BNBBTC", "data": snapshot(ident, [("1.00", "2")])}))
        desk.recorded(diff(12, 12, [(FINE, "1")]))
        book = FoldedBook("BNBBTC")
        book.apply(desk.recorded(diff(13, 13, [("1.50", "1")])))
        assert not book.live


def test_frames_of_no_stream_are_told_at_once_and_their_flood_once_a_second() -> None:
    desk = desk_with(recorded=False)
    told, frames = [], 0
    for second in range(1, 600):
        for part in range(20):
            told += desk.feed(b"nonsense", ts=second * SECOND + part * SECOND // 20)
            frames += 1
            if len(told) < BURST:
                assert len(told) == frames
    desk.end()
    told += desk.take()
    assert {(record.symbol, record.kind) for record in told} == {("*", Kind.GAP)}
    assert sum(max(record.size, 1) for record in told) == frames
    assert len(told) < 600 + 2 * BURST


@given(st.lists(st.tuples(st.integers(0, 5 * PAUSE_NS), st.integers(0, 3)), max_size=200))
def test_the_pacer_tells_of_every_frame_once_and_seldom(steps: list[tuple[int, int]]) -> None:
    pacer, now, told, times = Pacer(), 10**18, 0, 0
    for pause, frames in steps:
        now += pause
        number = pacer.add(now, frames) if frames else pacer.due(now)
        told += number
        times += number > 0
    assert told + pacer.rest() == sum(frames for _, frames in steps)
    assert times <= BURST + (now - 10**18) // PAUSE_NS + 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"stream":"btcusdt@trade","data":<html>', ("btcusdt", "trade")),
        (b' { "stream" : "btcusdt@depth@100ms", "da', ("btcusdt", "book")),
        (b'{"stream":"btcusdt@depth20@100ms","data":{', ("btcusdt", "partial_book")),
        (b'{"stream":"btcusdt@kline_1m","data":{', ("btcusdt", "venue_bar")),
        (b'{"stream":"btcusdt@markPrice@1s","data":{', ("btcusdt", "statistic")),
        (b'{"e":"forceOrder","E":1,"o":{"s":"BTCUSDT",', ("BTCUSDT", "liquidation")),
        (b'{"stream":"btcusdt@ticker_1h","data":{', None),
        (b'{"stream":"!miniTicker@arr","data":{', None),
        ('{"stream":"币安@aggTrade","data":{'.encode(), ("币安", "agg_trade")),
        (b'{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":', ("BTCUSDT", "book")),
        (b'{"u":1,"s":"BTCUSDT","b":', ("BTCUSDT", "quote")),
        (b'{"e":"trade","s":"BTC', None),
        (b"\x00\xff", None),
        (b"", None),
    ],
)
def test_the_beginning_of_a_frame_says_whose_it_is(body: bytes, expected: tuple[str, str] | None) -> None:
    assert owner(body) == expected


@given(st.binary(max_size=200))
def test_no_bytes_upset_it(body: bytes) -> None:
    owner(body)
    desk = desk_with(recorded=False)
    desk.feed(body)
    counters = desk.adapter.counters
    assert counters.frames == counters.parsed + counters.ignored + counters.rejected == 1
    assert bool(counters.rejected) == bool(counters.gaps)


def test_a_reject_without_a_name_of_a_symbol_we_do_not_record_is_told_on_the_feed() -> None:
    desk = desk_with(recorded=False)
    (gap,) = desk.feed(as_bytes(wrapped("ethbtc@trade", {"e": "trade", "s": "ETHBTC"})))
    assert gap.symbol == "*"
    assert json.loads(desk.rejects[0].raw)["stream"] == "ethbtc@trade"
