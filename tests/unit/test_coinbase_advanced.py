"""The adapter of Coinbase Advanced Trade: the count of messages of a connection, trades turned around, labels."""

from __future__ import annotations

from typing import Any

import pytest
from coinbase_tools import NOW, TIME, AdvancedDesk
from venue_desk import SECOND

from tickplant.errors import FeedError
from tickplant.feeds.contract import Followed, Symbols
from tickplant.feeds.venues.coinbase_advanced.attribution import owner
from tickplant.records.layouts import NO_PRICE, Flag, GapCause, Kind, Side, StatusCode

SYMBOLS = ("BTC-USD", "ETH-USD")


@pytest.fixture(params=[True, False], ids=["shapes", "reference"])
def desk(request: pytest.FixtureRequest) -> AdvancedDesk:
    one = AdvancedDesk(SYMBOLS, use_shapes=bool(request.param))
    one.begin()
    one.take()
    one.sent()
    return one


def trades(*those: tuple[int, str], kind: str = "update") -> dict[str, Any]:
    """An event; each trade is id and product."""
    rows = [
        {"product_id": product, "trade_id": str(ident), "price": "1.5", "size": "2", "time": TIME, "side": "SELL"}
        for ident, product in those
    ]
    return {"type": kind, "trades": rows}


def tickers(bid: str = "1.5") -> dict[str, Any]:
    names = ("price", "volume_24_h", "low_24_h", "high_24_h", "low_52_w", "high_52_w", "price_percent_chg_24_h")
    row = {"type": "ticker", "product_id": "BTC-USD"} | dict.fromkeys(names, "1") | {"best_bid": bid}
    sizes = {"best_bid_quantity": "2" if bid else "", "best_ask": "1.6", "best_ask_quantity": "3"}
    return {"type": "update", "tickers": [row | sizes]}


def test_heartbeats_and_instrument_data_come_first_and_one_request_is_for_one_channel() -> None:
    one = AdvancedDesk(SYMBOLS)
    one.start()
    one.open(ts=NOW)
    both = [*SYMBOLS]
    assert [(sent["channel"], sent.get("product_ids")) for sent in one.sent()] == [
        ("heartbeats", None),
        ("status", both),
    ]
    one.count = -1
    products = [{"id": symbol, "base_increment": "0.00000001", "quote_increment": "0.01"} for symbol in SYMBOLS]
    one.feed(one.frame("status", {"type": "snapshot", "products": products}), ts=NOW)
    assert [(sent["channel"], sent["product_ids"]) for sent in one.sent()] == [
        (channel, both) for channel in ("market_trades", "ticker", "level2")
    ]


def test_no_link_carries_more_books_than_the_venue_sends() -> None:
    one = AdvancedDesk(tuple(f"A{number}-USD" for number in range(70)))
    one.start()
    books = [
        [stream for stream in link.streams if stream.channel == "book"]
        for link in one.adapter.subscriptions.links.values()
    ]
    assert [len(each) for each in books] == [30, 30, 10]
    assert not any(link.overlap for link in one.links)
    one.open("public-3", ts=NOW)
    assert [sent["channel"] for sent in one.sent()] == ["heartbeats"]  # within five seconds, whatever else is missing


def test_trades_of_a_frame_are_recorded_oldest_first_with_the_aggressor(desk: AdvancedDesk) -> None:
    desk.feed(desk.frame("market_trades", trades((11, "BTC-USD"), (10, "BTC-USD"), kind="snapshot")), ts=NOW)
    records = desk.feed(desk.frame("market_trades", trades((14, "BTC-USD"), (13, "BTC-USD"), (12, "BTC-USD"))), ts=NOW)
    assert [(one.venue_seq, one.side, one.flags) for one in records] == [(n, Side.BUY, Flag.LAST) for n in (12, 13, 14)]
    assert [one.ts_event for one in records] == [NOW + 1000] * 3


def test_holes_and_repeats_among_trades_show_by_their_ids(desk: AdvancedDesk) -> None:
    desk.feed(desk.frame("market_trades", trades((10, "BTC-USD"))), ts=NOW)
    frame = desk.frame("market_trades", trades((13, "BTC-USD"), (7, "ETH-USD"), (10, "BTC-USD")))
    other, gap, trade = desk.feed(frame, ts=NOW)
    assert (other.symbol, other.venue_seq) == ("ETH-USD", 7)
    assert (gap.kind, gap.size, gap.order_id, gap.venue_seq) == (Kind.GAP, 2, 10, 13)
    assert trade.venue_seq == 13
    assert desk.adapter.counters.duplicates == 1


def test_a_jump_of_the_count_gives_up_all_books_of_the_connection_and_asks_for_them_at_once(desk: AdvancedDesk) -> None:
    for symbol in SYMBOLS:
        desk.feed(desk.book("snapshot", ("bid", "1.5", "1"), symbol=symbol), ts=NOW)
    desk.feed(desk.frame("ticker", tickers()), ts=NOW)
    desk.count += 2
    records = desk.feed(desk.frame("ticker", tickers()), ts=NOW)
    gaps = [(one.symbol, one.price, one.flags) for one in records if one.kind is Kind.GAP]
    assert gaps == [
        ("BTC-USD", GapCause.SEQUENCE, Flag.ON_QUOTE | Flag.LAST),
        *((symbol, GapCause.SEQUENCE, Flag.ON_BOOK | Flag.LAST) for symbol in SYMBOLS),
    ]
    assert [one.kind for one in records[-2:]] == [Kind.QUOTE, Kind.QUOTE]
    assert [one.price for one in records if one.kind is Kind.STATUS] == [StatusCode.RESYNC] * 2
    both = [*SYMBOLS]
    assert [(sent["type"], sent["channel"], sent["product_ids"]) for sent in desk.sent()] == [
        (kind, "level2", both) for kind in ("unsubscribe", "subscribe")
    ]
    desk.feed(desk.book("snapshot", ("bid", "1.5", "1")), ts=NOW)
    assert desk.adapter.market.listings.by_symbol["BTC-USD"].book.live


def test_a_message_that_is_no_newer_is_dropped_and_a_new_connection_counts_anew(desk: AdvancedDesk) -> None:
    desk.feed(desk.book("snapshot"), ts=NOW)
    frame = desk.book("update", ("bid", "1.5", "1"))
    assert len(desk.feed(frame, ts=NOW)) == 1
    assert desk.feed(frame, ts=NOW) == []
    assert desk.adapter.counters.duplicates == 1
    desk.close(ts=NOW)
    desk.open(ts=NOW + SECOND)
    desk.count = -1
    gap, clear = desk.feed(desk.book("snapshot"), ts=NOW + SECOND)
    assert (gap.price, clear.kind) == (GapCause.DISCONNECT, Kind.CLEAR)


def test_what_cannot_be_read_and_what_is_not_recorded_count_as_well(desk: AdvancedDesk) -> None:
    desk.feed(desk.book("snapshot"), ts=NOW)
    desk.feed(desk.frame("candles", {"type": "update", "candles": []}), desk.frame("heartbeats", {}), ts=NOW)
    broken = desk.frame("market_trades", trades((10, "BTC-USD")))
    broken["events"][0]["trades"][0]["side"] = "NONE"
    records = desk.feed(broken, desk.book("update", ("bid", "1.5", "1")), ts=NOW)
    assert [(one.kind, one.price) for one in records if one.kind is Kind.GAP] == [(Kind.GAP, GapCause.REJECTED)]
    assert desk.adapter.market.listings.by_symbol["BTC-USD"].book.live


def test_a_count_beyond_63_bits_is_no_count(desk: AdvancedDesk) -> None:
    candles = desk.frame("candles", {"type": "update", "candles": []})
    assert not desk.feed(candles | {"sequence_num": 10**30}, desk.frame("heartbeats", {}), ts=NOW)


def test_books_and_quotes_have_the_time_of_the_message_and_empty_sides_no_price(desk: AdvancedDesk) -> None:
    (clear, bid, ask) = desk.feed(desk.book("snapshot", ("offer", "1.6", "1"), ("bid", "1.5", "2")), ts=NOW)
    assert [one.ts_event for one in (clear, bid, ask)] == [NOW + 1000] * 3
    assert (bid.side, bid.price, ask.side, ask.price) == (Side.BID, 150, Side.ASK, 160)
    bid, ask = desk.feed(desk.frame("ticker", tickers("")), ts=NOW)
    assert (bid.price, bid.size, ask.price) == (NO_PRICE, 0, 160)


def test_a_product_in_usdc_has_the_data_of_its_twin() -> None:
    for use_shapes in (True, False):
        one = AdvancedDesk(("BTC-USDC", "USDT-USDC"), use_shapes=use_shapes)
        one.begin()
        one.take()
        one.feed(one.book("snapshot", ("bid", "1.5", "1")), ts=NOW)
        one.feed(one.book("snapshot", ("bid", "1", "1"), symbol="USDT-USDC"), ts=NOW)
        records = one.feed(one.book("update", ("bid", "1.5", "2")), ts=NOW)
        assert [record.symbol for record in records] == ["BTC-USDC"]
        state = {"subscriptions": {"level2": ["BTC-USD", "USDT-USDC"]}}
        one.feed(one.frame("subscriptions", state), ts=NOW)
        assert all(listing.book.live for listing in one.adapter.market.listings.by_slot)
    with pytest.raises(FeedError, match="have the data of BTC-USD"):
        AdvancedDesk(("BTC-USD", "BTC-USDC")).start()


def test_a_refusal_of_one_request_is_repeated_and_one_of_the_credential_ends_the_feed(desk: AdvancedDesk) -> None:
    desk.feed({"type": "error", "message": "too many L2 streams requested in a single session"}, ts=NOW)
    assert [reject.cause for reject in desk.rejects] == ["subscription refused"]
    with pytest.raises(FeedError, match="authentication failure"):
        desk.feed({"type": "error", "message": "authentication failure"}, ts=NOW)


def test_a_frame_of_several_products_has_no_owner() -> None:
    one = b'{"channel":"market_trades","events":[{"trades":[{"product_id":"A"}]}]}'
    assert owner(one) == ("A", "trade")
    assert owner(one.replace(b'"A"}', b'"A"},{"product_id":"B"}')) is None
    assert owner(one.replace(b"market_trades", b"heartbeats")) is None


# Symbols that come and go.


def followed(one: AdvancedDesk) -> dict[str, str]:
    """Problems by symbol."""
    one.take()
    return {action.symbol: action.problem for action in one.actions if isinstance(action, Followed)}


def test_the_instrument_data_of_a_product_that_is_added_are_asked_for_by_name(desk: AdvancedDesk) -> None:
    desk.event(Symbols(added=("SOL-USD",)), NOW)
    assert [(sent["channel"], sent["product_ids"]) for sent in desk.sent()] == [("status", ["SOL-USD"])]
    product = {"id": "SOL-USD", "base_increment": "0.0001", "quote_increment": "0.01"}
    desk.feed(desk.frame("status", {"type": "snapshot", "products": [product]}), ts=NOW)
    assert [(sent["channel"], sent["product_ids"]) for sent in desk.sent()] == [
        (channel, ["SOL-USD"]) for channel in ("market_trades", "ticker", "level2")
    ]
    for _ in range(3):  # an answer about one product says nothing of the others
        records = desk.feed(desk.frame("status", {"type": "snapshot", "products": [product]}), ts=NOW)
        assert [one for one in records if one.price == StatusCode.DELISTED] == []
    desk.open(ts=NOW + SECOND)
    status = [sent["product_ids"] for sent in desk.sent() if sent["channel"] == "status"]
    assert status == [[*SYMBOLS, "SOL-USD"]]


def test_a_product_is_not_listed_that_is_not_named_soon(desk: AdvancedDesk) -> None:
    desk.event(Symbols(added=("SOL-USDC",)), NOW)
    desk.timer(NOW + 9 * SECOND)
    assert followed(desk) == {}
    desk.timer(NOW + 10 * SECOND)
    assert followed(desk)["SOL-USDC"].startswith("unknown symbol SOL-USDC")


@pytest.mark.parametrize(("followed_one", "other"), [("SOL-USD", "SOL-USDC"), ("SOL-USDC", "SOL-USD")])
def test_a_product_is_not_recorded_beside_its_twin(followed_one: str, other: str) -> None:
    one = AdvancedDesk((followed_one,))
    one.begin()
    one.take()
    one.actions.clear()
    one.event(Symbols(added=(other,)), NOW)
    assert followed(one) == {other: f"it has the same data as {followed_one}, which the feed records"}


def test_the_data_of_a_twin_stand_under_the_name_that_was_added_and_no_longer_when_it_is_removed() -> None:
    one = AdvancedDesk(("BTC-USD",))
    one.begin()
    one.take()
    for symbol in ("ETH-USDC", "ETH-USD", "ETH-USDC"):
        one.event(Symbols(added=(symbol,)), NOW)
        product = {"id": "ETH-USD", "base_increment": "0.0001", "quote_increment": "0.01"}
        one.feed(one.frame("status", {"type": "snapshot", "products": [product]}), ts=NOW)
        one.number = getattr(one, "number", 100) + 1
        records = one.feed(one.frame("market_trades", trades((one.number, "ETH-USD"))), ts=NOW)
        assert [each.symbol for each in records if each.kind == Kind.TRADE] == [symbol]
        one.event(Symbols(removed=(symbol,)), NOW)
        one.take()
        records = one.feed(one.frame("market_trades", trades((one.number + 1, "ETH-USD"))), ts=NOW)
        assert [each for each in records if each.kind == Kind.TRADE] == []


def test_one_trade_and_changes_of_a_book_are_recorded_by_shape_alone_where_nothing_is_missing() -> None:
    one = AdvancedDesk(SYMBOLS)
    one.begin()
    one.feed(one.frame("market_trades", trades((10, "BTC-USD"), kind="snapshot")), ts=NOW)
    reader = one.adapter.market.listings.reader
    before = reader.taken
    (trade,) = one.feed(one.frame("market_trades", trades((11, "BTC-USD"))), ts=NOW)
    (level,) = one.feed(one.book("update", ("bid", "1.5", "1")), ts=NOW)
    assert (trade.venue_seq, trade.side, level.kind) == (11, Side.BUY, Kind.LEVEL)
    taken = {name: number - before[name] for name, number in reader.taken.items() if number != before[name]}
    assert sum(number for name, number in taken.items() if name.endswith("market_trades of one")) == 1
    assert taken["l2_data"] == 1
    assert reader.counted == one.count
    one.count += 1  # one is missing
    gap, _ = one.feed(one.frame("market_trades", trades((13, "BTC-USD"))), ts=NOW)
    assert (gap.kind, gap.size, reader.counted) == (Kind.GAP, 1, one.count)
