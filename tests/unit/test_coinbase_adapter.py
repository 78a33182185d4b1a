"""The adapter of Coinbase Exchange: what it asks for, what it makes of messages, and of what is missing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from coinbase_tools import NOW, SECRETS, TIME, ExchangeDesk, match
from venue_desk import SECOND

from tickplant.errors import FeedError
from tickplant.feeds.contract import Resubscribe
from tickplant.feeds.venues.coinbase.attribution import owner
from tickplant.feeds.venues.coinbase.rest_api import TradeArchive
from tickplant.records.layouts import Flag, GapCause, Kind, Side, StatusCode

SYMBOLS = ("BTC-USD", "ETH-USD")


def desk(**options: object) -> ExchangeDesk:
    one = ExchangeDesk(SYMBOLS, **options)
    one.begin()
    one.take()
    return one


def opened(**options: object) -> list[dict]:
    """What a feed sends when its link is up."""
    one = ExchangeDesk(SYMBOLS, **options)
    (request,) = one.start()
    one.answer(request, 200, json.dumps([{"id": symbol} for symbol in SYMBOLS]).encode(), NOW)
    one.open(ts=NOW)
    return one.sent()


def book(*changes: list[str], kind: str = "l2update", symbol: str = "BTC-USD") -> dict:
    if kind == "snapshot":
        sides = {
            side: [row[1:] for row in changes if row[0] == name] for side, name in (("bids", "buy"), ("asks", "sell"))
        }
        return {"type": kind, "product_id": symbol} | sides
    return {"type": kind, "product_id": symbol, "changes": changes, "time": TIME}


def ticker(sequence: int, bid: str = "1.5", ask: str = "1.6") -> dict:
    names = ("price", "open_24h", "volume_24h", "low_24h", "high_24h", "volume_30d")
    head = {"type": "ticker", "sequence": sequence, "product_id": "BTC-USD"} | dict.fromkeys(names, "1")
    sides = {"best_bid": bid, "best_bid_size": "2", "best_ask": ask, "best_ask_size": "3"}
    return head | sides | {"side": "buy", "time": TIME, "trade_id": 1, "last_size": "1"}


# Subscriptions.


def test_one_request_asks_for_all_channels_and_for_heartbeats_and_instrument_data() -> None:
    (request,) = opened()
    products = {channel["name"]: channel.get("product_ids") for channel in request["channels"]}
    both = [*SYMBOLS]
    assert products == {"status": None} | dict.fromkeys(("matches", "heartbeat", "ticker", "level2_batch"), both)
    assert "signature" not in request


def test_a_signature_is_the_hmac_of_time_method_and_path() -> None:
    (request,) = opened(secrets=SECRETS)
    assert (request["key"], request["passphrase"]) == (SECRETS["key"], SECRETS["passphrase"])
    assert request["timestamp"] == str(NOW // SECOND)
    text = f"{request['timestamp']}GET/users/self/verify".encode()
    digest = hmac.digest(base64.b64decode(SECRETS["secret"]), text, hashlib.sha256)
    assert request["signature"] == base64.b64encode(digest).decode()
    assert {"level2"} == {channel["name"] for channel in request["channels"] if "level" in channel["name"]}


def test_a_feed_of_orders_takes_its_trades_from_them() -> None:
    (request,) = opened(secrets=SECRETS, channels=("trade", "quote", "orders"))
    assert {channel["name"] for channel in request["channels"]} == {"full", "heartbeat", "ticker", "status"}


def test_many_products_go_over_several_links_and_the_instrument_data_over_the_first() -> None:
    symbols = tuple(f"A{number}-USD" for number in range(150))
    one = ExchangeDesk(symbols)
    (request,) = one.start()
    one.answer(request, 200, json.dumps([{"id": symbol} for symbol in symbols]).encode(), NOW)
    one._pull()
    assert [link.name for link in one.links] == ["feed", "feed-2"]
    assert all(link.max_message_bytes > 64 << 20 and not link.overlap and not link.compression for link in one.links)
    one.open("feed-2", ts=NOW)
    requests = one.sent()
    assert len(requests) == 3  # of 60 streams at the most
    assert not any(channel["name"] == "status" for request in requests for channel in request["channels"])


def test_compression_is_offered_on_request_and_feeds_without_price_levels_hand_over() -> None:
    one = ExchangeDesk(SYMBOLS, channels=("trade", "quote"), compression=True)
    (request,) = one.start()
    one.answer(request, 200, json.dumps([{"id": symbol} for symbol in SYMBOLS]).encode(), NOW)
    one._pull()
    assert [(link.compression, link.overlap) for link in one.links] == [(True, True)]


def test_the_answer_lists_all_that_is_subscribed_to_and_what_is_not_in_it_is_waited_for() -> None:
    one = ExchangeDesk(SYMBOLS)
    (request,) = one.start()
    one.answer(request, 200, json.dumps([{"id": symbol} for symbol in SYMBOLS]).encode(), NOW)
    one.open(ts=NOW)
    (request,) = one.sent()
    wanted = [channel for channel in request["channels"] if channel["name"] != "ticker"]
    one.feed({"type": "subscriptions", "channels": wanted}, ts=NOW)
    one.timer(NOW + 11 * SECOND)
    (replaced,) = [action for action in one.actions if isinstance(action, Resubscribe)]
    assert "no answer" in replaced.reason


def test_one_product_that_is_refused_costs_the_others_a_second() -> None:
    symbols = ("A-USD", "B-USD", "C-USD", "D-USD")
    one = ExchangeDesk(symbols, channels=("trade",))
    (request,) = one.start()
    one.answer(request, 200, json.dumps([{"id": symbol} for symbol in symbols]).encode(), NOW)
    one.open(ts=NOW)
    now, bad, refused = NOW, "C-USD", 0
    known: set[str] = set()
    for _ in range(40):
        for request in one.sent():
            products = {one for channel in request["channels"] for one in channel.get("product_ids", ())}
            if bad in products:
                refused += 1
                one.feed({"type": "error", "message": "Failed to subscribe", "reason": f"{bad} is not valid"}, ts=now)
            else:
                known |= products
                state = [{"name": name, "product_ids": [*known]} for name in ("matches", "heartbeat")]
                one.feed({"type": "subscriptions", "channels": [*state, {"name": "status"}]}, ts=now)
        now += SECOND
        one.timer(now)
        if len(known) == 3 and now > NOW + 30 * SECOND:
            break
    assert known == {*symbols} - {bad}
    assert refused <= 10
    assert one.adapter.counters.refused == refused


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Authentication Failed", '{"message":"Invalid API Key"}'),
        ("Failed to subscribe", "level2, level3, and full channels now require authentication"),
    ],
)
def test_a_credential_that_is_refused_ends_the_feed(message: str, reason: str) -> None:
    one = desk(secrets=SECRETS)
    with pytest.raises(FeedError, match="does not accept the credential"):
        one.feed({"type": "error", "message": message, "reason": reason}, ts=NOW)


# Trades.


def test_the_newest_old_trade_is_recorded_once_and_in_line() -> None:
    one = desk()
    (old,) = one.feed(match(100, kind="last_match"), ts=NOW)
    assert (old.kind, old.side, old.venue_seq, old.flags) == (Kind.TRADE, Side.BUY, 100, Flag.LAST | Flag.SNAPSHOT)
    (new,) = one.feed(match(101, side="buy"), ts=NOW)
    assert (new.side, new.flags) == (Side.SELL, Flag.LAST)
    assert one.feed(match(101, kind="last_match"), ts=NOW) == []
    gap, later = one.feed(match(104, kind="last_match"), ts=NOW)
    assert (gap.kind, gap.order_id, gap.venue_seq, gap.size) == (Kind.GAP, 101, 104, 2)
    assert later.venue_seq == 104
    (request,) = one.take_requests()
    assert request.path == "/products/BTC-USD/trades?limit=2&after=104"
    past = [{"trade_id": 103, "side": "sell", "size": "1", "price": "2", "time": TIME}]
    one.answer(request, 200, json.dumps(past).encode(), NOW)
    (back,) = one.take()
    assert (back.venue_seq, back.side, back.flags) == (103, Side.BUY, Flag.LAST | Flag.BACKFILL)


def heartbeat(last: int) -> dict:
    return {"type": "heartbeat", "sequence": 1, "last_trade_id": last, "product_id": "BTC-USD", "time": TIME}


def test_a_trade_that_a_heartbeat_names_has_a_second_to_come() -> None:
    one = desk()
    one.feed(match(100), heartbeat(101), ts=NOW)
    one.timer(NOW + SECOND // 2)
    one.feed(match(101), ts=NOW + SECOND // 2)
    one.timer(NOW + 2 * SECOND)
    assert one.take_requests() == []


def test_what_a_heartbeat_names_and_the_stream_does_not_bring_is_asked_for_once_and_recorded_in_line() -> None:
    one = desk()
    one.feed(match(100), heartbeat(103), heartbeat(103), ts=NOW)
    one.timer(NOW + SECOND)
    (request,) = one.take_requests()
    assert (request.key, request.path) == ("newer BTC-USD", "/products/BTC-USD/trades?limit=3&after=104")
    one.feed(match(101), heartbeat(103), ts=NOW + SECOND)
    rows = [{"trade_id": ident, "side": "buy", "size": "1", "price": "2", "time": TIME} for ident in (103, 102, 101)]
    one.answer(request, 200, json.dumps(rows).encode(), NOW + SECOND)
    first, second = one.take()
    assert [(each.venue_seq, each.flags) for each in (first, second)] == [
        (102, Flag.LAST | Flag.SNAPSHOT),
        (103, Flag.LAST | Flag.SNAPSHOT),
    ]
    one.feed(heartbeat(103), ts=NOW + 2 * SECOND)
    one.timer(NOW + 4 * SECOND)
    assert one.take_requests() == []
    assert one.feed(match(103), ts=NOW + 4 * SECOND) == []
    assert one.adapter.counters.gaps == 0


def test_a_stream_of_trades_that_only_answers_bring_is_renewed() -> None:
    one = desk()
    one.feed(match(100), ts=NOW)
    for number in range(3):
        now = NOW + 2 * number * SECOND
        one.feed(heartbeat(101 + number), ts=now)
        one.timer(now + SECOND)
        (request,) = one.take_requests()
        assert not any(isinstance(action, Resubscribe) for action in one.actions)
        row = {"trade_id": 101 + number, "side": "buy", "size": "1", "price": "2", "time": TIME}
        one.answer(request, 200, json.dumps([row]).encode(), now + SECOND)
    records = one.timer(NOW + 6 * SECOND)
    (again,) = [action for action in one.actions if isinstance(action, Resubscribe)]
    assert "matches BTC-USD" in again.reason
    silent = [record for record in records if record.price == StatusCode.SUBSCRIPTION_SILENT]
    assert [record.flags & ~Flag.LAST for record in silent] == [Flag.ON_TRADE]


def test_an_answer_that_does_not_have_the_trade_leaves_the_hole_to_the_next_one() -> None:
    one = desk()
    one.feed(match(100), heartbeat(102), ts=NOW)
    for body, rejected in ((b"[]", 0), (b"<html>", 1)):
        one.timer(NOW + SECOND)
        requests = one.take_requests()
        for request in requests:
            one.answer(request, 200, body, NOW + SECOND)
        assert one.adapter.counters.rejected in (0, rejected)
        one.feed(heartbeat(102), ts=NOW + SECOND)
    (gap, trade) = one.feed(match(103), ts=NOW + SECOND)
    assert (gap.kind, gap.size, trade.venue_seq) == (Kind.GAP, 2, 103)


def test_past_trades_are_asked_for_below_a_cursor() -> None:
    archive = TradeArchive()
    assert archive.path("BTC-USD", "trade", None, 1) == "/products/BTC-USD/trades?limit=1"
    assert archive.path("BTC-USD", "trade", 10, 5) == "/products/BTC-USD/trades?limit=5&after=15"
    rows = archive.read(
        b'[{"trade_id":7,"side":"buy","size":"0.50","price":"1.5","time":"2026-09-01T12:00:00Z"}]', "BTC-USD", "trade"
    )
    assert [(row.id, row.side, row.price, row.size, row.ts_event) for row in rows] == [
        (7, Side.SELL, "1.5", "0.50", NOW)
    ]


# Quotes and books.


def test_tickers_are_quotes_counted_by_their_sequence() -> None:
    one = desk()
    bid, ask = one.feed(ticker(7), ts=NOW)
    assert (bid.side, bid.price, bid.size, bid.venue_seq) == (Side.BID, 150, 2 * 10**8, 7)
    assert (ask.side, ask.price, ask.flags) == (Side.ASK, 160, Flag.LAST)
    assert one.feed(ticker(7), ts=NOW) == []
    one.feed({"type": "ticker", "sequence": 8, "product_id": "BTC-USD", "best_bid": "1", "best_ask": "2"}, ts=NOW)
    assert one.adapter.counters.ignored_kinds == {"ticker without sizes": 1}


def test_a_snapshot_begins_a_book_and_a_second_one_replaces_it() -> None:
    one = desk()
    (early,) = one.feed(book(["buy", "1.5", "1"]), ts=NOW)
    assert early.kind is Kind.LEVEL  # nobody applies it
    clear, bid, ask = one.feed(book(["buy", "1.50", "1"], ["sell", "1.6", "2"], kind="snapshot"), ts=NOW)
    assert (clear.kind, clear.flags, bid.price, ask.flags) == (
        Kind.CLEAR,
        Flag.SNAPSHOT,
        150,
        Flag.SNAPSHOT | Flag.LAST,
    )
    assert [record.kind for record in one.feed(book(kind="snapshot"), ts=NOW)] == [Kind.CLEAR]
    assert one.adapter.counters.gaps == 0


def test_changes_stand_in_the_order_of_the_wire() -> None:
    one = desk()
    changes = ["sell", "1.60000000", "0.00000000"], ["buy", "1.5", "1"], ["buy", "1.5", "0"]
    records = one.feed(book(*changes), ts=NOW)
    assert [(record.side, record.price, record.size) for record in records] == [
        (Side.ASK, 160, 0),
        (Side.BID, 150, 10**8),
        (Side.BID, 150, 0),
    ]
    assert [record.flags for record in records] == [0, 0, Flag.LAST]


def test_a_change_that_is_rejected_renews_the_subscription_of_that_book() -> None:
    one = desk()
    one.feed(book(kind="snapshot"), book(kind="snapshot", symbol="ETH-USD"), ts=NOW)
    (gap, status) = one.feed(book(["buy", "1.555", "1"]), ts=NOW)  # finer than the product's prices
    assert (gap.kind, gap.symbol, gap.price, gap.flags) == (
        Kind.GAP,
        "BTC-USD",
        GapCause.REJECTED,
        Flag.ON_BOOK | Flag.LAST,
    )
    assert status.price == StatusCode.RESYNC
    assert [(sent["type"], sent["channels"]) for sent in one.sent()] == [
        (kind, [{"name": "level2_batch", "product_ids": ["BTC-USD"]}]) for kind in ("unsubscribe", "subscribe")
    ]


def test_a_book_whose_snapshot_does_not_come_is_asked_for_again() -> None:
    one = desk()
    one.feed(book(kind="snapshot", symbol="ETH-USD"), ts=NOW)
    for second in range(1, 11):
        one.timer(NOW + second * SECOND)
        assert one.sent() == []
    one.timer(NOW + 11 * SECOND)
    assert [sent["type"] for sent in one.sent()] == ["unsubscribe", "subscribe"]
    one.acknowledge(NOW + 11 * SECOND)
    one.feed(book(kind="snapshot"), ts=NOW + 12 * SECOND)
    one.timer(NOW + 30 * SECOND)
    assert one.sent() == []


def test_a_lost_connection_is_a_gap_before_the_next_book() -> None:
    one = desk()
    one.feed(book(kind="snapshot"), ts=NOW)
    one.close(ts=NOW)
    one.open(ts=NOW + SECOND)
    gap, clear = one.feed(book(kind="snapshot"), ts=NOW + SECOND)
    assert (gap.kind, gap.price, clear.kind) == (Kind.GAP, GapCause.DISCONNECT, Kind.CLEAR)


def test_a_book_of_many_thousand_levels_is_read_by_its_shape() -> None:
    levels = [
        [side, f"{1000 + number}.{cents:02d}", "1"]
        for number in range(5000)
        for side, cents in (("buy", 1), ("sell", 2))
    ]
    fast, slow = desk(), desk(use_shapes=False)
    frame = book(*levels, kind="snapshot")
    frame["asks"] = frame.pop("asks")  # as the venue orders them
    for one in (fast, slow):
        one.feed(frame, ts=NOW)
    assert fast.adapter.market.listings.reader.taken["snapshot without time"] == 1
    assert fast.adapter.counters.kinds == slow.adapter.counters.kinds
    assert fast.adapter.counters.kinds["level"] == 10_000


def test_instrument_data_are_followed() -> None:
    one = desk()
    one.feed({"type": "status", "currencies": [], "products": [{"id": "BTC-USD", "trading_disabled": True}]}, ts=NOW)
    halted = one.feed({"type": "status", "products": [{"id": "ETH-USD", "status": "delisted"}]}, ts=NOW)
    codes = [record.price for record in halted if record.symbol == "ETH-USD" and record.kind is Kind.STATUS]
    assert codes == [StatusCode.DISCONNECTED, StatusCode.DELISTED]
    (request,) = [sent for sent in one.sent() if sent["type"] == "unsubscribe"]
    assert {name for channel in request["channels"] for name in channel["product_ids"]} == {"ETH-USD"}


def test_a_frame_that_cannot_be_read_is_of_the_product_that_it_names_wherever_that_stands() -> None:
    for message, channel in ((match(5), "trade"), (ticker(5), "quote"), (book(["buy", "1", "2"]), "book")):
        frame = json.dumps(message).encode()
        assert owner(frame) == owner(frame[:-10]) == ("BTC-USD", channel)
    long = json.dumps(book(*[["buy", "1", "2"]] * 2000, kind="snapshot") | {"type": "open"}).encode()
    assert owner(long) == ("BTC-USD", "orders")
    assert owner(b'{"type":"subscriptions"}') is None
