"""Kraken's books of orders: the token that they need, their records, checksums and depth."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

import numpy as np
import pytest
from kraken_tools import KrakenDesk, pair, pairs
from venue_desk import SECOND, Record

from tickplant.books.checksums import checks_orders, unpack_decimals
from tickplant.books.order_books import OrderBooks
from tickplant.errors import FeedError
from tickplant.feeds.contract import Send
from tickplant.feeds.kit.order_ids import order_id
from tickplant.feeds.venues.kraken.kraken_rest import signature
from tickplant.instruments import to_mantissa
from tickplant.records.layouts import UNKNOWN, Flag, GapCause, Kind, Side, StatusCode

BTC, ETH = "BTC/USD", "ETH/USD"
KEY = {"key": "the-key", "secret": "c2VjcmV0"}
Order = tuple[str, str, str]  # id, price, size
BIDS: list[Order] = [("A", "100.5", "1.00000000"), ("B", "100.5", "0.50000000"), ("C", "99.0", "2.00000000")]
ASKS: list[Order] = [("X", "101.0", "3.00000000"), ("Y", "102.0", "0.00000001")]


def orders_desk(*symbols: str, secrets: dict[str, str] | None = None, **options: Any) -> KrakenDesk:
    channels = options.pop("channels", ("trade", "orders"))
    secrets = {"token": "a-token"} if secrets is None else secrets
    return KrakenDesk(symbols or (BTC,), channels=channels, secrets=secrets, link="orders", scale=8, **options)


def opened(*symbols: str, **options: Any) -> KrakenDesk:
    desk = orders_desk(*symbols, **options)
    desk.start()
    desk.open("market")
    desk.open("orders")
    desk.feed(pairs(*(pair(symbol) for symbol in desk.symbols or ())), name="market")
    desk.take()
    return desk


def crc(bids: list[Order], asks: list[Order]) -> int:
    """Of books whose orders stand in price-time priority, by strings."""
    text = ""
    for side in (asks, bids):
        prices = list(dict.fromkeys(price for _, price, _ in side))[:10]
        for _, price, size in side:
            if price in prices:
                text += price.replace(".", "").lstrip("0") + size.replace(".", "").lstrip("0")
    return zlib.crc32(text.encode())


def frame(
    bids: list[dict[str, Any]], asks: list[dict[str, Any]], checksum: int, *, kind: str = "update", symbol: str = BTC
) -> str:
    data = [{"symbol": symbol, "checksum": checksum, "bids": bids, "asks": asks}]
    text = json.dumps({"channel": "level3", "type": kind, "data": data}, separators=(",", ":"))
    return re.sub(r'"(limit_price|order_qty)":"([^"]*)"', r'"\1":\2', text)  # bare numbers, with their zeros


def entry(order: Order, event: str | None = None) -> dict[str, Any]:
    name, price, size = order
    told = {} if event is None else {"event": event}
    time = "2026-09-01T12:00:00.000000123Z"
    return told | {"order_id": name, "limit_price": price, "order_qty": size, "timestamp": time}


def snapshot(bids: list[Order] = BIDS, asks: list[Order] = ASKS, *, symbol: str = BTC) -> str:
    return frame([*map(entry, bids)], [*map(entry, asks)], crc(bids, asks), kind="snapshot", symbol=symbol)


def gaps(records: list[Record]) -> list[tuple[Any, ...]]:
    return [(r.symbol, GapCause(r.price), r.size, r.flags & ~Flag.LAST) for r in records if r.kind is Kind.GAP]


def sent(desk: KrakenDesk) -> list[tuple[str, str, str]]:
    sends = [action for action in desk.actions if isinstance(action, Send)]
    desk.actions.clear()
    found = []
    for send in sends:
        request = json.loads(send.payload)
        if request["params"]["channel"] == "level3":
            assert send.secret
            found.append((request["method"], request["params"]["symbol"][0], request["params"]["token"]))
    return found


# The token.


def test_a_signature_is_that_of_the_venues_documentation() -> None:
    secret = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
    body = "nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
    expected = "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    assert signature(secret, "/0/private/AddOrder", "1616492376594", body) == expected


def test_orders_come_over_a_link_of_their_own_with_the_given_token() -> None:
    desk = opened(depth=25)
    assert {link.name: link.url for link in desk.links} == {
        "market": "wss://ws.kraken.com/v2",
        "orders": "wss://ws-l3.kraken.com/v2",
    }
    requests = [json.loads(action.payload) for action in desk.actions if isinstance(action, Send)]
    (subscription,) = [request for request in requests if request["params"]["channel"] == "level3"]
    expected = {"channel": "level3", "snapshot": True, "symbol": [BTC], "depth": 100, "token": "a-token"}
    assert subscription["params"] == expected
    assert sent(desk) == [("subscribe", BTC, "a-token")]


def test_a_token_is_fetched_with_the_key_whenever_the_link_opens() -> None:
    desk = opened(secrets=KEY)
    assert sent(desk) == []
    (request,) = desk.take_requests()
    assert (request.method, request.path, request.secret) == ("POST", "/0/private/GetWebSocketsToken", True)
    body = request.body.decode()
    expected = signature(KEY["secret"], request.path, body.removeprefix("nonce="), body)
    assert (request.headers["API-Key"], request.headers["API-Sign"]) == (KEY["key"], expected)
    desk.answer(request, 200, b'{"error":["EAPI:Invalid nonce"]}', SECOND)
    assert sent(desk) == []
    (request,) = desk.take_requests()
    assert request.not_before_ns >= 5 * SECOND
    desk.answer(request, 200, b'{"error":[],"result":{"token":"T1","expires":900}}', 9 * SECOND)
    assert sent(desk) == [("subscribe", BTC, "T1")]
    desk.close("orders")
    desk.open("orders", ts=20 * SECOND)
    (request,) = desk.take_requests()
    desk.answer(request, 200, b'{"error":[],"result":{"token":"T2","expires":900}}', 21 * SECOND)
    assert sent(desk) == [("subscribe", BTC, "T2")]
    texts = [repr(each) for each in (*desk.notices, *desk.rejects)]
    assert not any("T1" in text or KEY["secret"] in text for text in texts)
    assert any("nonce" in str(notice.fields.get("reason")) for notice in desk.notices)


@pytest.mark.parametrize("error", ["EAPI:Invalid key", "EGeneral:Permission denied"])
def test_a_key_that_is_worth_nothing_ends_the_feed(error: str) -> None:
    desk = opened(secrets=KEY)
    (request,) = desk.take_requests()
    with pytest.raises(FeedError, match=error):
        desk.answer(request, 200, json.dumps({"error": [error]}).encode(), 0)


@pytest.mark.parametrize("secrets", [{}, {"key": "only"}])
def test_orders_without_a_credential_end_the_feed_at_once(secrets: dict[str, str]) -> None:
    with pytest.raises(FeedError, match="orders need a credential"):
        orders_desk(secrets=secrets).start()


def test_a_token_that_is_refused_is_fetched_anew() -> None:
    desk = opened(secrets=KEY)
    (request,) = desk.take_requests()
    answer = b'{"error":[],"result":{"token":"T1"}}'
    desk.answer(request, 200, answer, 0)
    (subscription,) = [each for each in desk.actions if isinstance(each, Send) and b"level3" in each.payload]
    number = json.loads(subscription.payload)["req_id"]
    desk.actions.clear()
    told = {"error": "ESession:Invalid session", "method": "subscribe", "success": False, "symbol": BTC}
    records = desk.feed(told | {"req_id": number})
    assert [record.price for record in records] == [StatusCode.SUBSCRIPTION_REFUSED]
    (request,) = desk.take_requests()
    desk.answer(request, 200, answer.replace(b"T1", b"T2"), SECOND // 2)
    desk.timer(2 * SECOND)
    assert ("subscribe", BTC, "T2") in sent(desk)


# Records.


class Folded:
    """The fold of a desk's records, by the kernel that the engine and the store use."""

    def __init__(self, desk: KrakenDesk) -> None:
        self.desk = desk
        self.books = OrderBooks()

    def feed(self, text: str) -> np.ndarray:
        self.desk.frames("orders", [text.encode()], 7 * SECOND)
        ticks = self.desk.take_ticks()
        self.books.apply(ticks)
        for tick in ticks[ticks["kind"] == Kind.CHECKSUM]:
            instrument = self.desk.instruments[int(tick["instrument"]) - 1]
            if not self.books.is_stale(instrument.id) and unpack_decimals(int(tick["order_id"])) != (255, 255):
                sides = (self.books.orders(instrument.id, side, 10) for side in (Side.BID, Side.ASK))
                rows = [np.stack([side["price"], side["size"]], axis=1) for side in sides]
                assert checks_orders(tick, instrument, *rows) is True
        return ticks

    def orders(self, side: Side) -> list[tuple[int, int, int]]:
        (instrument,) = [row for row in self.desk.instruments if row.symbol == BTC]
        return self.books.orders(instrument.id, side)[["order_id", "price", "size"]].tolist()


def as_stored(orders: list[Order]) -> list[tuple[int, int, int]]:
    return [(order_id(name), to_mantissa(price, 8), to_mantissa(size, 8)) for name, price, size in orders]


def test_a_book_of_orders_is_the_fold_of_its_records() -> None:
    desk = opened()
    folded = Folded(desk)
    ticks = folded.feed(snapshot())
    assert [Kind(kind) for kind in ticks["kind"]] == [Kind.CLEAR, *[Kind.ORDER_ADD] * 5, Kind.CHECKSUM]
    assert (ticks["flags"] & Flag.SNAPSHOT).all()
    assert [bool(flags & Flag.ON_ORDERS) for flags in ticks["flags"]] == [True, *[False] * 5, True]
    assert folded.orders(Side.BID) == as_stored(BIDS)
    # B grows and goes behind D; A shrinks and keeps its place; X is gone.
    bids: list[Order] = [
        *[("A", "100.5", "0.25000000"), ("D", "100.5", "7.00000000"), ("B", "100.5", "9.00000000")],
        ("C", "99.0", "2.00000000"),
    ]
    changes = [entry(bids[1], "add"), entry(bids[2], "modify"), entry(bids[0], "modify")]
    ticks = folded.feed(frame(changes, [entry(ASKS[0], "delete")], crc(bids, ASKS[1:])))
    expected = [Kind.ORDER_ADD, Kind.ORDER_MODIFY, Kind.ORDER_MODIFY, Kind.ORDER_CANCEL, Kind.CHECKSUM]
    assert [Kind(kind) for kind in ticks["kind"]] == expected
    assert [int(flags) & Flag.LAST for flags in ticks["flags"]] == [0, 0, 0, 0, Flag.LAST]
    assert set(ticks["ts_recv"].tolist()) == {7 * SECOND}
    assert folded.orders(Side.BID) == as_stored(bids)
    assert folded.orders(Side.ASK) == as_stored(ASKS[1:])
    counters = desk.adapter.counters
    assert (counters.checksums_ok, counters.checksums_failed, counters.gaps) == (2, 0, 0)


def test_orders_of_a_level_that_falls_out_of_the_depth_are_cancelled() -> None:
    desk = opened()
    folded = Folded(desk)
    bids: list[Order] = [(f"B{n}", f"{100 - n}.0", "1.00000000") for n in range(10)]
    bids.append(("second", "91.0", "5.00000000"))
    folded.feed(snapshot(bids))
    better: Order = ("best", "100.5", "1.00000000")
    ticks = folded.feed(frame([entry(better, "add")], [], crc([better, *bids[:9]], ASKS)))
    gone = ticks[ticks["kind"] == Kind.ORDER_CANCEL]
    assert gone["order_id"].tolist() == [order_id("B9"), order_id("second")]
    assert folded.orders(Side.BID) == as_stored([better, *bids[:9]])


def test_numbers_that_are_printed_unevenly_are_checked_as_they_came() -> None:
    desk = opened()
    folded = Folded(desk)
    bids: list[Order] = [("A", "100.5", "14084.5")]
    asks: list[Order] = [("X", "101.25", "6390.19338"), ("Y", "102", "7.000")]
    folded.feed(snapshot(bids, asks[:1]))
    ticks = folded.feed(frame([], [entry(asks[1], "add")], crc(bids, asks)))
    assert unpack_decimals(int(ticks["order_id"][-1])) == (255, 255)
    assert desk.adapter.counters.checksums_ok == 2


def test_a_wrong_checksum_resyncs_that_pair_and_only_that_pair() -> None:
    desk = opened(BTC, ETH)
    desk.feed(snapshot(), snapshot(symbol=ETH))
    sent(desk)
    records = desk.feed(frame([entry(BIDS[2], "delete")], [], 1))
    assert gaps(records) == [(BTC, GapCause.CHECKSUM, UNKNOWN, Flag.ON_ORDERS)]
    (resync,) = [record for record in records if record.kind is Kind.STATUS]
    assert (resync.symbol, resync.price, resync.flags & ~Flag.LAST) == (BTC, StatusCode.RESYNC, Flag.ON_ORDERS)
    assert sent(desk) == [("unsubscribe", BTC, "a-token"), ("subscribe", BTC, "a-token")]
    assert gaps(desk.feed(frame([entry(("N", "1.0", "1.0"), "add")], [], 2), snapshot())) == []
    good = frame([entry(BIDS[2], "delete")], [], crc(BIDS[:2], ASKS), symbol=ETH)
    assert gaps(desk.feed(good)) == []
    assert (desk.adapter.counters.checksums_ok, desk.adapter.counters.checksums_failed) == (4, 1)


def test_an_interruption_and_a_rejected_order_are_gaps_of_the_orders() -> None:
    desk = opened()
    desk.feed(snapshot())
    records = desk.close("orders")
    (lost,) = [record for record in records if record.kind is Kind.STATUS]
    assert (lost.price, lost.flags & ~Flag.LAST) == (StatusCode.DISCONNECTED, Flag.ON_ORDERS)
    desk.open("orders")
    assert gaps(desk.feed(snapshot())) == [(BTC, GapCause.DISCONNECT, UNKNOWN, Flag.ON_ORDERS)]
    records = desk.feed(frame([entry(("N", "1.123456789", "1.0"), "add")], [], 2))
    assert gaps(records) == [(BTC, GapCause.REJECTED, UNKNOWN, Flag.ON_ORDERS)]


def test_a_recording_of_orders_needs_no_configuration() -> None:
    desk = KrakenDesk(channels=("trade", "quote", "book"))
    records = desk.recorded(snapshot())
    assert [record.kind for record in records] == [Kind.CLEAR, *[Kind.ORDER_ADD] * 5, Kind.CHECKSUM]
    assert gaps(desk.recorded(frame([], [], 1))) == [(BTC, GapCause.CHECKSUM, UNKNOWN, Flag.ON_ORDERS)]
    assert desk.requests == []
