"""The life of an instrument: new scales, halts, delisting and listing again, asked of the venue while the feed runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from binance_tools import SECOND, Desk, Record, diff, snapshot, trade
from folded_book import FoldedBook

from tickplant.errors import FeedError
from tickplant.feeds.contract import Request, Send
from tickplant.feeds.kit.instrument_life import LONGEST_DELAY_NS
from tickplant.feeds.last_ids import LastIds, by_symbol
from tickplant.instruments import Instrument
from tickplant.records.layouts import UNKNOWN, Flag, GapCause, Kind, StatusCode

KEY = "exchangeInfo"


def info(
    symbol: str = "BTCUSDT", price: int = 2, size: int = 3, status: str = "TRADING", **more: Any
) -> dict[str, Any]:
    return {"symbol": symbol, "status": status, "pricePrecision": price, "quantityPrecision": size} | more


def live(*infos: dict[str, Any], channels: tuple[str, ...] = ("trade", "book"), **options: Any) -> Desk:
    desk = Desk(
        tuple(one["symbol"] for one in infos) or ("BTCUSDT",),
        futures=True,
        ws_url="ws://venue",
        channels=channels,
        **options,
    )
    answer(desk, *(infos or (info(),)), request=desk.start()[0])
    desk.open()
    return desk


def answer(desk: Desk, *infos: dict[str, Any], ts: int = 0, request: Request | None = None) -> list[Record]:
    asked = request or next(one for one in desk.requests if one.key == KEY)
    desk.requests = [one for one in desk.requests if one is not asked]
    desk.answer(asked, 200, json.dumps({"symbols": infos}).encode(), ts)
    return desk.take()


def codes(records: list[Record]) -> list[tuple[str, StatusCode]]:
    return [(record.symbol, StatusCode(record.price)) for record in records if record.kind is Kind.STATUS]


def traded(ident: int, price: str, symbol: str = "BTCUSDT") -> dict[str, Any]:
    return trade(ident, symbol=symbol, price=price, X="MARKET")


def named(desk: Desk, symbol: str) -> list[Instrument]:
    return [instrument for instrument in desk.instruments if instrument.symbol == symbol]


def test_a_refined_tick_size_leads_to_a_new_id_that_goes_on_with_the_streams() -> None:
    desk = live()
    book = FoldedBook("BTCUSDT")
    desk.feed(traded(100, "100.10"), diff(9, 10, [("100.10", "1")], symbol="BTCUSDT", previous=8), ts=SECOND)
    book.apply(desk.rest(snapshot(10, [("100.10", "1")]), symbol="BTCUSDT"))
    assert book.live
    records = desk.feed(
        traded(101, "100.1234"), diff(11, 12, [("100.1234", "1")], symbol="BTCUSDT", previous=10), ts=2 * SECOND
    )
    assert [(record.kind, record.price, record.order_id) for record in records] == [
        (Kind.GAP, GapCause.REJECTED, 100),
        (Kind.GAP, GapCause.REJECTED, 10),
    ]
    book.apply(records)
    assert not book.live
    assert [request.not_before_ns for request in desk.requests if request.key == KEY] == [2 * SECOND]

    records = answer(desk, info(price=4), ts=3 * SECOND)
    assert codes(records) == [("BTCUSDT", code) for code in (2, 12, 12)]
    old, new = named(desk, "BTCUSDT")
    assert [record.order_id for record in records] == [0, new.id, old.id]
    assert [(one.price_scale, one.size_scale) for one in (old, new)] == [(2, 3), (4, 3)]

    desk.requests.clear()
    desk.frames("stream", [json.dumps(traded(104, "100.1235")).encode()], 4 * SECOND)
    ticks = desk.take_ticks().copy()
    assert ticks["instrument"].tolist() == [new.id, new.id]
    assert [int(ticks[name][0]) for name in ("kind", "size", "order_id", "venue_seq")] == [Kind.GAP, 3, 100, 104]
    assert int(ticks["price"][1]) == 1001235
    # What was rejected fits now, so that it is asked for.
    assert [request.key for request in desk.take_requests()] == ["trades BTCUSDT trade 101 103"]

    records = desk.feed(diff(13, 14, [("100.1234", "1")], symbol="BTCUSDT", previous=12))
    assert [(r.size, r.order_id, r.venue_seq) for r in records if r.kind is Kind.GAP] == [(UNKNOWN, 10, 13)]
    records = desk.rest(snapshot(13, [("100.1234", "2")]), symbol="BTCUSDT")
    assert Kind.CLEAR in [record.kind for record in records]


def test_trades_that_did_not_fit_are_fetched_once_they_do_also_where_others_fitted_meanwhile() -> None:
    desk = live(channels=("trade",))
    desk.feed(*(traded(n, "1.5" if n % 2 else "1.555") for n in range(10, 16)))
    desk.requests = [one for one in desk.requests if one.key == KEY]
    answer(desk, info(price=3))
    desk.feed(traded(16, "1.555"))
    assert [one.key for one in desk.requests] == [f"trades BTCUSDT trade {n} {n}" for n in (10, 12, 14)]


def test_while_the_venue_states_nothing_new_it_is_asked_ever_more_rarely() -> None:
    desk = live(channels=("trade",))
    desk.feed(traded(10, "1.5"), ts=SECOND)
    asked = []
    for second in range(2, 3600):
        desk.feed(traded(second + 10, "1.555"), ts=second * SECOND)
        for request in [one for one in desk.requests if one.key == KEY]:
            if request.not_before_ns <= second * SECOND:
                asked.append(second)
                answer(desk, info(), ts=second * SECOND, request=request)
    assert asked[:4] == [2, 4, 8, 16]
    assert len(asked) < 10 + 3600 * SECOND // LONGEST_DELAY_NS
    assert desk.adapter.counters.kinds["gap"] == 1
    assert "every trade message of BTCUSDT is rejected" in desk.adapter.trouble


def test_a_coarser_tick_size_changes_nothing_since_its_values_fit() -> None:
    desk = live(info(price=4), instrument_poll_s=10.0)
    desk.feed(traded(100, "100.1234"))
    desk.timer(SECOND)
    desk.timer(11 * SECOND)
    assert answer(desk, info(price=2, size=0)) == []
    assert [record.kind for record in desk.feed(traded(101, "100.12"))] == [Kind.TRADE]
    assert len(named(desk, "BTCUSDT")) == 1


def test_values_too_large_for_a_scale_lead_to_the_coarser_one_that_is_stated() -> None:
    desk = live(info(price=18), channels=("trade",))
    desk.feed(traded(100, "1.5"))
    desk.feed(traded(101, "150"))
    answer(desk, info(price=2))
    (gap, record) = desk.feed(traded(102, "150"))
    assert (gap.order_id, gap.venue_seq, record.price) == (100, 102, 15000)


@pytest.mark.parametrize(
    ("fields", "scales"),
    [
        ({"pricePrecision": 2, "quantityPrecision": 3}, (2, 3)),
        ({"filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.0010"}], "pricePrecision": 2}, (3, 8)),
        ({"filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.10"}], "pricePrecision": 2}, (2, 8)),
        ({"filters": [{"filterType": "LOT_SIZE", "stepSize": "1e-5"}], "quantityPrecision": 3}, (8, 5)),
        ({"filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.00000000"}], "pricePrecision": 4}, (4, 8)),
        ({"filters": [{"filterType": "PRICE_FILTER", "tickSize": "nonsense"}], "pricePrecision": 4}, (4, 8)),
        ({"filters": [{"filterType": "PRICE_FILTER", "tickSize": "1e-19"}], "pricePrecision": 19}, (8, 8)),
        ({"filters": [{"filterType": 7}], "pricePrecision": 4}, (8, 8)),
        ({"filters": "none", "pricePrecision": "4"}, (8, 8)),
        ({"pricePrecision": -1, "quantityPrecision": None}, (8, 8)),
        ({}, (8, 8)),
    ],
)
def test_the_finest_of_what_the_venue_states_is_the_scale(fields: dict[str, Any], scales: tuple[int, int]) -> None:
    desk = live({"symbol": "BTCUSDT"} | fields)
    (instrument,) = named(desk, "BTCUSDT")
    assert (instrument.price_scale, instrument.size_scale) == scales


def test_a_delisted_symbol_is_told_and_left_and_joined_again_when_it_is_listed() -> None:
    desk = live(info(), info("OLDUSDT"), instrument_poll_s=10.0)
    desk.feed(traded(100, "1.5", "OLDUSDT"))
    desk.actions.clear()
    desk.timer(SECOND)
    desk.timer(11 * SECOND)
    assert answer(desk, info(), ts=11 * SECOND) == []  # one answer may be wrong
    records = answer(desk, info(), ts=14 * SECOND)
    assert codes(records) == [("OLDUSDT", StatusCode.DISCONNECTED), ("OLDUSDT", StatusCode.DELISTED)]
    assert records[0].flags & Flag.ON_BOOK
    (leave,) = [json.loads(action.payload) for action in desk.actions if isinstance(action, Send)]
    assert (leave["method"], leave["params"]) == ("UNSUBSCRIBE", ["oldusdt@trade", "oldusdt@depth@100ms"])
    desk.actions.clear()

    desk.close()
    desk.open()
    (again,) = [json.loads(action.payload) for action in desk.actions if isinstance(action, Send)]
    assert "oldusdt@trade" not in again["params"]
    desk.actions.clear()

    desk.timer(50 * SECOND)
    assert codes(answer(desk, info(), info("OLDUSDT"), ts=50 * SECOND)) == [("OLDUSDT", StatusCode.LISTED)]
    (join,) = [json.loads(action.payload) for action in desk.actions if isinstance(action, Send)]
    assert (join["method"], join["params"]) == ("SUBSCRIBE", ["oldusdt@trade", "oldusdt@depth@100ms"])
    (gap, _) = desk.feed(traded(103, "1.5", "OLDUSDT"))
    assert (gap.price, gap.order_id, gap.venue_seq) == (GapCause.DISCONNECT, 100, 103)


def test_a_halt_is_told_and_its_silence_is_no_failure() -> None:
    desk = live(silent_s=5.0, instrument_poll_s=10.0)
    for action in desk.actions:
        desk.feed({"result": None, "id": json.loads(action.payload)["id"]})
    desk.actions.clear()
    desk.timer(SECOND)
    desk.feed(diff(9, 10, [("1", "1")], symbol="BTCUSDT", previous=8))
    desk.timer(11 * SECOND)
    assert codes(answer(desk, info(status="HALT"), ts=11 * SECOND)) == [("BTCUSDT", StatusCode.HALTED)]
    desk.actions.clear()
    assert not any(codes(desk.timer(second * SECOND)) for second in range(12, 100))
    assert desk.actions == []
    desk.requests.clear()
    assert codes(answer(desk, info(), ts=100 * SECOND, request=Request(KEY, "/"))) == [("BTCUSDT", StatusCode.TRADING)]
    assert [notice.fields["status"] for notice in desk.take_notices()] == ["HALT", "TRADING"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (0, b"no route"),
        (500, b""),
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"symbols":[]}'),
        (200, b'{"symbols":{}}'),
        (200, b'{"symbols":[7]}'),
        (200, b'{"code":-1000,"msg":"no"}'),
        (200, b'{"symbols":' + b"[" * 100_000),
    ],
)
def test_instrument_data_that_cannot_be_used_changes_nothing_and_is_asked_for_again(status: int, body: bytes) -> None:
    desk = live(instrument_poll_s=10.0)
    desk.timer(SECOND)
    desk.timer(11 * SECOND)
    (request,) = [one for one in desk.requests if one.key == KEY]
    desk.requests.clear()
    for second in (11, 14, 19):
        desk.answer(request, status, body, second * SECOND)
        assert desk.take() == []
    assert [one.key for one in desk.requests] == [KEY] * 3
    assert [record.kind for record in desk.feed(traded(1, "1.5"))] == [Kind.TRADE]
    assert {notice.event for notice in desk.take_notices()} == {"instrument data cannot be used"}


def known(*symbols: str) -> Any:
    rows = {symbol: Instrument(90 + n, "binance-usdm", symbol, 2, 3) for n, symbol in enumerate(symbols)}
    return rows.get


def start(desk: Desk, *infos: dict[str, Any]) -> Any:
    (request,) = desk.start()
    desk.answer(request, 200, json.dumps({"symbols": infos}).encode(), 7)
    return desk.take_ticks().copy()


def test_at_the_start_a_known_symbol_that_is_not_listed_any_more_is_told_and_left_out() -> None:
    desk = Desk(("BTCUSDT", "OLDUSDT"), futures=True, ws_url="ws://venue", known=known("OLDUSDT"))
    ticks = start(desk, info())
    assert [(int(tick["instrument"]), int(tick["price"])) for tick in ticks] == [(90, StatusCode.DELISTED)]
    desk.open()
    assert [json.loads(action.payload)["params"][0] for action in desk.actions] == ["btcusdt@trade"]
    assert [instrument.symbol for instrument in desk.instruments] == ["BTCUSDT", "*"]


def test_at_the_start_a_symbol_that_was_never_there_is_refused_and_so_is_a_feed_without_any_left() -> None:
    desk = Desk(("BTCUSDT", "OLDUSDT"), futures=True, known=known("BTCUSDT"))
    with pytest.raises(FeedError, match="unknown symbol OLDUSDT"):
        start(desk, info())
    desk = Desk(("OLDUSDT", "OLDERUSDT"), futures=True, known=known("OLDUSDT", "OLDERUSDT"))
    with pytest.raises(FeedError, match="no longer listed: OLDUSDT, OLDERUSDT"):
        start(desk, info())


def test_at_the_start_a_broken_answer_is_asked_for_again_where_all_symbols_are_known() -> None:
    desk = Desk(("BTCUSDT",), futures=True, known=known("BTCUSDT"))
    assert len(start(desk)) == 0
    (request,) = desk.take_requests()
    assert (request.key, request.not_before_ns) == (KEY, 7 + 5 * SECOND)
    assert desk.links == []


def test_a_symbol_listed_after_the_start_goes_on_after_its_last_ids() -> None:
    desk = Desk(("BTCUSDT", "OLDUSDT"), futures=True, ws_url="ws://venue", known=known("OLDUSDT"))
    start(desk, info())
    desk.resume({"OLDUSDT": LastIds(trade=(184, 5))}, 8)
    desk.open()
    assert codes(answer(desk, info(), info("OLDUSDT"), ts=9)) == [("OLDUSDT", StatusCode.LISTED)]
    (gap, _) = desk.feed(traded(275, "1.5", "OLDUSDT"))
    assert (gap.price, gap.size, gap.order_id, gap.venue_seq) == (GapCause.RESTART, 90, 184, 275)


def test_a_recording_follows_the_instrument_data_that_it_holds() -> None:
    desk = Desk(futures=True)
    records: list[Record] = []
    for line in (
        {"symbols": [info()]},
        traded(100, "100.10"),
        {"symbols": [info(price=4)]},
        traded(101, "100.1234"),
        traded(102, "100.1235"),
    ):
        records += desk.recorded(line)
    assert [(r.kind, r.price) for r in records if r.kind is not Kind.STATUS] == [
        (Kind.TRADE, 10010),
        (Kind.TRADE, 1001234),
        (Kind.TRADE, 1001235),
    ]
    assert codes(records) == [("BTCUSDT", code) for code in (2, 12, 12)]
    assert (desk.adapter.counters.gaps, desk.adapter.counters.rejected) == (0, 0)


def test_the_ids_of_a_symbol_are_those_of_its_newest_record_whatever_its_id() -> None:
    rows = [Instrument(n, "v", symbol, 2, n) for n, symbol in ((1, "A"), (2, "B"), (3, "A"))]
    last = {
        1: LastIds(trade=(184, 50), quote=(9, 0), book=(7, 70)),
        2: LastIds(trade=(1, 1)),
        3: LastIds(trade=(120, 40), quote=(12, 0)),
        4: LastIds(trade=(1000, 1000)),
    }
    assert by_symbol(last, rows) == {
        "A": LastIds(trade=(184, 50), quote=(12, 0), book=(7, 70)),
        "B": LastIds(trade=(1, 1)),
    }


def test_a_recording_goes_on_after_the_ids_that_are_recorded_of_a_symbol() -> None:
    desk = Desk(futures=True)
    desk.resume({"BTCUSDT": LastIds(trade=(184, 5))}, 8)
    (gap, _) = desk.recorded(traded(275, "1.5"))
    assert (gap.price, gap.size, gap.order_id, gap.venue_seq) == (GapCause.RESTART, 90, 184, 275)


def test_polling_does_not_put_off_what_a_reject_asks_for() -> None:
    desk = live(channels=("trade",), instrument_poll_s=1.0)
    for second in range(1, 100):
        desk.timer(second * SECOND)
        if any(one.key == KEY for one in desk.requests):
            answer(desk, info(), ts=second * SECOND)
    desk.feed(traded(10, "1.5555"), ts=100 * SECOND)
    assert [one.not_before_ns for one in desk.requests if one.key == KEY] == [100 * SECOND]


def test_no_snapshot_is_asked_for_of_a_symbol_that_is_gone() -> None:
    desk = live(info(), info("OLDUSDT"), instrument_poll_s=10.0)
    desk.timer(SECOND)
    desk.timer(11 * SECOND)
    answer(desk, info(), ts=11 * SECOND)
    answer(desk, info(), ts=14 * SECOND)
    desk.requests.clear()
    desk.feed(diff(9, 10, [("1", "1")], symbol="OLDUSDT", previous=8), ts=15 * SECOND)
    assert [one.key for one in desk.requests if one.key != KEY] == []
