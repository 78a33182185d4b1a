"""What the adapter does about streams that fall silent and subscriptions that are refused."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from binance_tools import SECOND, Desk, diff, quote, trade

from tickplant.feeds.contract import Request, Resubscribe, Send
from tickplant.records.layouts import Flag, StatusCode


def acknowledged(desk: Desk, ts: int = 0) -> None:
    for action in desk.actions:
        if isinstance(action, Send):
            desk.feed({"result": None, "id": json.loads(action.payload)["id"]}, ts=ts)
    desk.actions.clear()


def opened(**options: Any) -> Desk:
    desk = Desk(("BNBBTC", "ETHBTC"), ws_url="ws://venue", silent_s=60.0, **options)
    desk.bootstrap()
    desk.open()
    return desk


def test_a_stream_that_falls_silent_after_it_has_delivered_is_a_failure_too() -> None:
    desk = opened(channels=("quote",))
    acknowledged(desk)
    ident = 0
    for second in range(200):
        for symbol in ("BNBBTC", "ETHBTC"):
            if symbol == "BNBBTC" or second < 100:
                ident += 1
                desk.feed(quote(ident, symbol=symbol), ts=second * SECOND)
        records = desk.timer(second * SECOND)
        if records:
            break
    (record,) = records
    assert (record.symbol, record.price) == ("ETHBTC", StatusCode.SUBSCRIPTION_SILENT)
    assert record.flags & Flag.ON_QUOTE
    # Asked every 60 s whether there was anything: at 120 there was, at 180 not.
    assert second == 180
    assert desk.actions == [Resubscribe("stream", "acknowledged but silent: ethbtc@bookTicker", overlap=True)]


def test_a_quiet_symbol_costs_ever_fewer_replacements_and_the_busy_ones_none() -> None:
    desk = opened(channels=("book",))
    acknowledged(desk)
    replaced = []
    for second in range(1, 2000):
        now = second * SECOND
        desk.feed(diff(second, second, [("1", "2")]), ts=now)
        records = desk.timer(now)
        if any(isinstance(action, Resubscribe) for action in desk.actions):
            assert {record.symbol for record in records if record.price == StatusCode.SUBSCRIPTION_SILENT} == {"ETHBTC"}
            replaced.append(second)
            desk.actions.clear()
            desk.open(ts=now)
            desk.close(ts=now)
            acknowledged(desk, ts=now)
    assert [later - earlier for earlier, later in pairwise(replaced)] == [120, 240, 480, 960]


def requests(desk: Desk) -> list[dict[str, Any]]:
    sent = [json.loads(action.payload) for action in desk.actions if isinstance(action, Send)]
    desk.actions.clear()
    return sent


def test_what_was_refused_is_asked_for_again_after_ever_longer_pauses() -> None:
    desk = opened()
    (first,) = requests(desk)
    request, now, pauses = first, 0, []
    for _ in range(8):
        desk.feed({"code": 2, "msg": "no", "id": request["id"]}, ts=now)
        refused = now
        while not (again := requests(desk)):
            now += SECOND
            desk.timer(now)
        (request,) = again
        assert request["params"] == first["params"]
        pauses.append((now - refused) // SECOND)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    desk.feed({"result": None, "id": request["id"]}, ts=now)
    desk.feed({"code": 2, "msg": "no", "id": None}, ts=now)
    desk.timer(now + 100 * SECOND)
    assert requests(desk) == []


def test_what_was_refused_on_a_lost_connection_is_not_asked_for_twice_on_the_next() -> None:
    desk = opened()
    (request,) = requests(desk)
    desk.feed({"code": 2, "msg": "no", "id": request["id"]})
    desk.close()
    desk.open()
    assert len(requests(desk)) == 1
    desk.timer(5 * SECOND)
    assert requests(desk) == []


def probing(desk: Desk, ts: int) -> Request:
    """The feed has heard no trade for a while, and asks."""
    assert desk.timer(ts) == []
    (request,) = desk.requests
    desk.requests.clear()
    assert request.path == "/api/v3/historicalTrades?symbol=BNBBTC&limit=1"
    return request


def newest(ident: int) -> bytes:
    return json.dumps([{"id": ident, "price": "1", "qty": "1", "time": 1, "isBuyerMaker": False}]).encode()


def trading(ts: int = 0) -> Desk:
    desk = Desk(("BNBBTC",), ws_url="ws://venue", silent_s=60.0, channels=("trade",))
    desk.bootstrap()
    desk.open(ts=ts)
    acknowledged(desk, ts=ts)
    return desk


def test_a_trade_that_the_venue_has_and_the_stream_has_not_brought_is_a_failure() -> None:
    desk = trading()
    desk.feed(trade(10), ts=SECOND)
    assert desk.timer(60 * SECOND) == []  # it has delivered
    request = probing(desk, 120 * SECOND)
    desk.answer(request, 200, newest(11), 121 * SECOND)
    assert desk.timer(121 * SECOND) == []  # the stream may be a little later than REST
    (record,) = desk.timer(122 * SECOND)
    assert (record.symbol, record.price) == ("BNBBTC", StatusCode.SUBSCRIPTION_SILENT)
    assert record.flags & Flag.ON_TRADE
    assert desk.actions == [Resubscribe("stream", "acknowledged but silent: bnbbtc@trade", overlap=True)]
    counters = desk.adapter.counters
    assert counters.frames == counters.parsed + counters.ignored + counters.rejected


def test_a_quiet_market_is_none_and_is_asked_about_ever_more_rarely() -> None:
    desk = trading()
    desk.feed(trade(10), ts=SECOND)
    asked = []
    for second in range(1, 1200):
        desk.timer(second * SECOND)
        for request in desk.requests:
            asked.append(second)
            desk.answer(request, 200, newest(10), second * SECOND)
        desk.requests.clear()
    assert asked == [120, 240, 480, 960]
    assert desk.actions == []


def test_what_was_traded_before_a_stream_began_proves_nothing_but_the_next_trade_does() -> None:
    desk = trading()
    for second, ident in ((60, 500), (180, 500)):
        desk.answer(probing(desk, second * SECOND), 200, newest(ident), second * SECOND)
        assert desk.timer((second + 2) * SECOND) == []
    desk.answer(probing(desk, 420 * SECOND), 200, newest(501), 420 * SECOND)
    assert [record.price for record in desk.timer(422 * SECOND)] == [StatusCode.SUBSCRIPTION_SILENT]


def test_a_trade_that_came_meanwhile_and_an_answer_that_failed_prove_nothing() -> None:
    desk = trading()
    desk.feed(trade(10), ts=SECOND)
    desk.timer(60 * SECOND)
    request = probing(desk, 120 * SECOND)
    desk.answer(request, 200, newest(11), 120 * SECOND)
    desk.feed(trade(11), ts=120 * SECOND)
    assert desk.timer(122 * SECOND) == []
    desk.timer(240 * SECOND)
    for status, body in ((500, b"no"), (200, b"<html>")):
        desk.answer(request, status, body, 250 * SECOND)
    assert desk.timer(253 * SECOND) == []
    assert desk.actions == []
