"""Orders one by one of Coinbase Exchange: the records of each message, and whole sessions with the simulated venue."""

from __future__ import annotations

import json
import uuid

import numpy as np
import pytest
from checked_adapter import Checked
from coinbase_tools import NOW, SECRETS, TIME, ExchangeDesk, match
from folded_orders import FoldedOrders
from session_scripts import StreamRules
from venue_desk import SECOND, words
from venue_samples import SAMPLES
from venue_session import VenueSession

from tickplant.errors import FeedError
from tickplant.feeds.contract import Send
from tickplant.feeds.kit.order_ids import order_id, order_word
from tickplant.records.layouts import Flag, GapCause, Kind, Side

CHANNELS = ("trade", "quote", "orders")
A, B = str(uuid.UUID(int=0xFEDCBA98765432100000000000000001)), str(uuid.UUID(int=5 << 70))


def message(kind: str, sequence: int, order: str, **more: object) -> dict:
    return {"type": kind, "sequence": sequence, "order_id": order, "side": "buy", "product_id": "BTC-USD"} | more


def opened(sequence: int, order: str, price: str = "100.5", size: str = "2") -> dict:
    return message("open", sequence, order, price=price, remaining_size=size, time=TIME)


def book(sequence: int, *bids: tuple[str, str, str]) -> bytes:
    return json.dumps({"sequence": sequence, "bids": bids, "asks": [["101", "1", B]], "time": TIME}).encode()


def desk() -> ExchangeDesk:
    """With a book of orders that stands at sequence 10."""
    one = ExchangeDesk(("BTC-USD",), channels=CHANNELS, secrets=SECRETS)
    one.begin()
    one.take()
    one.feed(message("activate", 10, A), ts=NOW)
    (request,) = one.take_requests()
    assert (request.key, request.path) == ("orders BTC-USD", "/products/BTC-USD/book?level=3")
    assert request.headers["CB-ACCESS-KEY"] == SECRETS["key"]
    one.answer(request, 200, book(10, ("100", "1", A)), NOW)
    return one


def test_order_ids_are_the_first_digits_of_a_uuid_or_a_hash() -> None:
    assert order_id("fedcba98-7654-3210-0000-000000000001") == 0xFEDCBA9876543210
    assert order_word("fedcba98-7654-3210-0000-000000000001") == 0xFEDCBA9876543210 - 2**64
    assert order_word("7edcba98-7654-3210-0000-000000000001") == 0x7EDCBA9876543210
    assert order_id("OQCLML-BW3P3-BUCMWZ") == 0x3BB9875AB8F68E55
    assert order_id("fedcba98-7654-3210-0000-00000000000g") != 0xFEDCBA9876543210


def test_a_book_of_orders_begins_with_all_of_them() -> None:
    clear, bid, ask = desk().take()
    assert (clear.kind, clear.flags, clear.venue_seq) == (Kind.CLEAR, Flag.SNAPSHOT | Flag.ON_ORDERS, 10)
    assert (bid.kind, bid.side, bid.price, bid.size, bid.order_id) == (
        Kind.ORDER_ADD,
        Side.BID,
        100 * 10**2,
        10**8,
        order_id(A),
    )
    assert (ask.side, ask.order_id, ask.flags) == (Side.ASK, order_id(B), Flag.SNAPSHOT | Flag.LAST)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([opened(11, "x")], [(Kind.ORDER_ADD, 10050, 2 * 10**8)]),
        ([message("done", 11, A, price="100", reason="canceled")], [(Kind.ORDER_CANCEL, 10000, 0)]),
        ([message("done", 11, A, price="100", reason="filled")], []),
        ([message("done", 11, A, reason="canceled")], []),
        ([message("received", 11, "x"), message("done", 12, "x", price="9", reason="canceled")], []),
        ([message("received", 11, "x"), opened(12, "x", "9", "1"), message("done", 13, "x", price="9")],
         [(Kind.ORDER_ADD, 900, 10**8), (Kind.ORDER_CANCEL, 900, 0)]),
        ([message("change", 11, A, price="100", new_size="0.5")], [(Kind.ORDER_MODIFY, 10000, 5 * 10**7)]),
        ([message("change", 11, A, price="100", new_price="99", new_size="3")], [(Kind.ORDER_MODIFY, 9900, 3 * 10**8)]),
        ([message("change", 11, A, price=None, new_size="3")], []),
        ([message("received", 11, "x"), message("change", 12, "x", price="100", new_size="3")], []),
        ([message("activate", 11, A)], []),
        ([match(11, sequence=11, side="buy", price="100", maker_order_id=A)],
         [(Kind.TRADE, 10000, 5 * 10**7), (Kind.ORDER_FILL, 10000, 5 * 10**7), (Kind.ORDER_CANCEL, 10000, 5 * 10**7)]),
    ],
)  # fmt: skip
def test_what_each_message_becomes(messages: list[dict], expected: list[tuple]) -> None:
    one = desk()
    one.take()
    records = one.feed(*messages, ts=NOW)
    assert [(record.kind, record.price, record.size) for record in records] == expected
    assert [record.flags for record in records if record.kind != Kind.ORDER_FILL] == [
        Flag.LAST for record in records if record.kind != Kind.ORDER_FILL
    ]
    assert one.adapter.counters.gaps == 0


def test_a_hole_in_the_sequence_asks_for_all_orders_of_that_product() -> None:
    one = desk()
    one.take()
    (gap, *_) = one.feed(opened(13, "x"), ts=NOW)
    assert (gap.kind, gap.price, gap.size, gap.order_id, gap.venue_seq) == (Kind.GAP, GapCause.SEQUENCE, 2, 10, 13)
    assert gap.flags == Flag.ON_ORDERS | Flag.LAST
    (request,) = one.take_requests()
    assert request.not_before_ns > NOW
    one.answer(request, 200, book(12, ("100", "1", A)), NOW + SECOND)
    assert [record.kind for record in one.take()][-4:] == [Kind.CLEAR, Kind.ORDER_ADD, Kind.ORDER_ADD, Kind.ORDER_ADD]
    assert one.feed(opened(13, "x"), ts=NOW) == []
    assert one.adapter.counters.duplicates == 1


def test_an_answer_that_cannot_be_read_is_asked_for_again() -> None:
    one = ExchangeDesk(("BTC-USD",), channels=CHANNELS, secrets=SECRETS)
    one.begin()
    one.feed(opened(11, "x"), ts=NOW)
    (request,) = one.take_requests()
    one.answer(request, 200, b'{"sequence":11,"bids":[["1"]]}', NOW)
    (request,) = one.take_requests()
    one.answer(request, 401, b"{}", NOW + SECOND)
    (request,) = one.take_requests()
    one.answer(request, 200, book(11, ("100.123", "1", A)), NOW + 2 * SECOND)  # finer than the product's prices
    assert [reject.cause for reject in one.rejects] == ["schema", "scale"]
    (request, *_) = one.take_requests()
    assert request.key in ("orders BTC-USD", "products")


def test_orders_need_a_credential_that_can_be_used_and_no_error_shows_it() -> None:
    for secrets, what in (
        ({}, "needs credentials"),
        ({"key": "K"}, "lacks passphrase, secret"),
        (SECRETS | {"secret": "no-base64!"}, "is not base64"),
    ):
        with pytest.raises(FeedError, match=what) as raised:
            ExchangeDesk(("BTC-USD",), channels=CHANNELS, secrets=secrets).start()
        assert not any(value in str(raised.value) for value in secrets.values() if len(value) > 1)


def test_what_is_signed_is_secret_and_the_rest_is_not() -> None:
    for secrets in (SECRETS, {}):
        one = ExchangeDesk(("BTC-USD",), secrets=secrets)
        (request,) = one.start()
        one.answer(request, 200, b'[{"id":"BTC-USD"}]', NOW)
        one.open(ts=NOW)
        sends = [action for action in one.actions if isinstance(action, Send)]
        assert sends
        assert all(send.secret == bool(secrets) == (b'"signature"' in send.payload) for send in sends)
        assert all((b'"level2"' in send.payload) == bool(secrets) for send in sends)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_fold_of_the_orders_is_the_venues_book_whatever_goes_wrong(seed: int) -> None:
    with VenueSession(SAMPLES["coinbase"], seed=seed, channels=CHANNELS, secrets=SECRETS) as session:
        session.run(1.0)
        for fault in ("drop", "duplicate", "truncate", "drop"):
            session.fault(fault, stream="*@full", count=2)
            session.run(0.7)
        session.disconnect()
        session.run(1.5)
        session.fault("drop", stream="*@full", count=3)
        session.run(1.0)
        session.replace(overlap=True)
        session.run(3.0)
        session.end_market()
        session.run_until(lambda: session.is_silent)
        session.run(3.0)
        causes: set[int] = set()
        for symbol in session.sample.symbols:
            records, instrument = session.feed.of(symbol), session.feed.table.known(symbol)
            assert instrument is not None
            folded = FoldedOrders().apply(records)
            assert folded.live
            assert folded.levels(instrument.price_scale, instrument.size_scale) == session.book(symbol)
            assert folded.unknown == 0
            kinds = {Kind(kind) for kind in np.unique(records["kind"])}
            assert kinds >= {Kind.ORDER_ADD, Kind.ORDER_MODIFY, Kind.ORDER_CANCEL, Kind.ORDER_FILL, Kind.TRADE}
            gaps = records[(records["kind"] == Kind.GAP) & (records["flags"] & Flag.ON_ORDERS != 0)]
            causes |= {*gaps["price"].tolist()}
            StreamRules().check(records)
            fills = records[records["kind"] == Kind.ORDER_FILL]
            assert fills["size"].sum() > 0
        assert causes >= {GapCause.SEQUENCE, GapCause.DISCONNECT}
        counters = session.feed.adapter.counters
        assert counters.duplicates
        assert counters.resyncs
        assert session.feed.adapter.market.listings.reader.taken["open"] > 100
    slow = Checked(session.sample, channels=CHANNELS, secrets=SECRETS, use_shapes=False)
    slow.start(session.happened[0].now_ns)
    for each in session.happened:
        if not isinstance(each.what, Send):
            slow.on(each.what, each.now_ns)
    assert words(slow.records) == words(session.feed.records)
    assert slow.adapter.counters.parsed == counters.parsed
