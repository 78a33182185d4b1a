"""dxLink's adapter on the bench: what the two sides say to each other, what is recorded, what becomes of tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from venue_desk import SECOND, VenueDesk

from tickplant.errors import FeedError
from tickplant.feeds.contract import Answer, Request, Resubscribe, Send, Symbols
from tickplant.feeds.last_ids import LastIds
from tickplant.feeds.venues.dxlink.adapter import dxlink, tastytrade
from tickplant.records.layouts import Flag, GapCause, Kind, StatusCode
from tickplant.venues import VENUES

SECRETS = {"client_secret": "planted-client-secret", "refresh_token": "planted-refresh-token"}
UNAUTHORIZED = {"type": "AUTH_STATE", "channel": 0, "state": "UNAUTHORIZED"}
AUTHORIZED = {"type": "AUTH_STATE", "channel": 0, "state": "AUTHORIZED"}
KEEPALIVE = {"type": "KEEPALIVE", "channel": 0}


def setup(keepalive_s: float = 60, accepts_s: float = 60) -> dict[str, Any]:
    terms = {"keepaliveTimeout": keepalive_s, "acceptKeepaliveTimeout": accepts_s}
    return {"type": "SETUP", "channel": 0, "version": "1.0"} | terms


def opened(channel: int) -> dict[str, Any]:
    return {"type": "CHANNEL_OPENED", "channel": channel, "service": "FEED", "parameters": {}}


def config(channel: int, kind: str, *names: str) -> dict[str, Any]:
    return {"type": "FEED_CONFIG", "channel": channel, "dataFormat": "COMPACT", "eventFields": {kind: list(names)}}


def data(channel: int, *pairs: Any) -> dict[str, Any]:
    return {"type": "FEED_DATA", "channel": channel, "data": list(pairs)}


def make(*symbols: str, **options: Any) -> VenueDesk:
    options = {"channels": ("trade", "quote")} | options
    return VenueDesk("dxlink", dxlink, symbols or ("AAPL",), link="feed", **options)


def sent(desk: VenueDesk) -> list[dict[str, Any]]:
    """What was sent since the last call."""
    desk.take()
    messages = [json.loads(action.payload) for action in desk.actions if isinstance(action, Send)]
    desk.actions.clear()
    return messages


def types(desk: VenueDesk) -> list[tuple[str, int]]:
    return [(message["type"], message["channel"]) for message in sent(desk)]


def replaced(desk: VenueDesk) -> list[str]:
    """Why links were replaced since the last call."""
    desk.take()
    reasons = [action.reason for action in desk.actions if isinstance(action, Resubscribe)]
    desk.actions.clear()
    return reasons


def running(desk: VenueDesk, *channels: int, ts: int = SECOND) -> VenueDesk:
    """A feed whose channels are open."""
    desk.start()
    desk.link = desk.links[0].name
    desk.open(ts=ts)
    desk.feed(setup(), AUTHORIZED, *map(opened, channels), ts=ts)
    desk.actions.clear()
    return desk


# Handshake.


def test_terms_then_channels_then_subscriptions_each_when_the_one_before_is_answered() -> None:
    desk = make("AAPL", "MSFT", channels=("trade", "quote", "statistic"))
    desk.start()
    assert [(link.name, link.url) for link in desk.links] == [("feed+statistic", "wss://demo.dxfeed.com/dxlink-ws")]
    desk.link = "feed+statistic"
    desk.open(ts=SECOND)
    (first,) = sent(desk)
    assert (first["type"], first["keepaliveTimeout"], first["acceptKeepaliveTimeout"]) == ("SETUP", 60, 60)
    desk.feed(setup(), ts=SECOND)
    assert sent(desk) == []
    desk.feed(AUTHORIZED, AUTHORIZED, ts=SECOND)
    requests = sent(desk)
    assert [(each["type"], each["channel"], each["parameters"]["contract"]) for each in requests] == [
        ("CHANNEL_REQUEST", 1, "STREAM"),
        ("CHANNEL_REQUEST", 3, "STREAM"),
        ("CHANNEL_REQUEST", 5, "AUTO"),
    ]
    desk.feed(opened(3), opened(3), opened(77), ts=SECOND)
    how, what = sent(desk)
    assert (how["type"], how["acceptDataFormat"], list(how["acceptEventFields"])) == (
        *("FEED_SETUP", "COMPACT"),
        ["TimeAndSale"],
    )
    assert what["add"] == [{"type": "TimeAndSale", "symbol": "AAPL"}, {"type": "TimeAndSale", "symbol": "MSFT"}]
    desk.feed(opened(5), ts=SECOND)
    assert [entry["type"] for entry in sent(desk)[1]["add"]] == ["Greeks", "Summary"] * 2


def test_lists_are_split_to_bounded_messages() -> None:
    symbols = [f"S{number}" for number in range(250)]
    desk = running(make(*symbols, channels=("quote",)))
    desk.feed(opened(1), ts=SECOND)
    adds = [message["add"] for message in sent(desk) if message["type"] == "FEED_SUBSCRIPTION"]
    assert [len(add) for add in adds] == [100, 100, 50]
    assert [entry["symbol"] for add in adds for entry in add] == symbols


def test_bars_are_asked_for_from_now_on() -> None:
    desk = running(make(channels=("venue_bar",)))
    desk.feed(opened(5), ts=1_788_264_000 * SECOND)
    assert sent(desk)[1]["add"] == [{"type": "Candle", "symbol": "AAPL{=m}", "fromTime": 1_788_264_000_000}]


def test_the_first_unauthorized_is_answered_with_the_token_which_is_secret() -> None:
    desk = make(secrets={"token": "planted-token"})
    desk.start()
    desk.open(ts=SECOND)
    desk.actions.clear()
    desk.feed(setup(), UNAUTHORIZED, ts=SECOND)
    (auth,) = desk.actions
    assert auth == Send("feed", b'{"type":"AUTH","channel":0,"token":"planted-token"}', secret=True)
    with pytest.raises(FeedError, match="dxlink: the server refuses the token"):
        desk.feed(UNAUTHORIZED, ts=2 * SECOND)


def test_an_error_after_the_token_ends_the_feed_as_well() -> None:
    desk = make(secrets={"token": "planted-token"})
    desk.start()
    desk.open(ts=SECOND)
    desk.feed(setup(), UNAUTHORIZED, ts=SECOND)
    with pytest.raises(FeedError, match="refuses"):
        desk.feed({"type": "ERROR", "channel": 0, "error": "UNAUTHORIZED", "message": "no"}, ts=2 * SECOND)


def test_a_server_that_wants_a_token_ends_a_feed_without_one() -> None:
    desk = make()
    desk.start()
    desk.open(ts=SECOND)
    with pytest.raises(FeedError, match="wants a token"):
        desk.feed(setup(), UNAUTHORIZED, ts=SECOND)


def test_an_authorization_that_is_withdrawn_is_asked_for_on_a_new_connection() -> None:
    desk = running(make())
    desk.feed(UNAUTHORIZED, ts=5 * SECOND)
    assert replaced(desk) == ["the server has withdrawn the authorization"]


@pytest.mark.parametrize(
    ("frames", "what"),
    [((), "SETUP"), ((setup(),), "AUTH_STATE"), ((setup(), AUTHORIZED), "CHANNEL_REQUEST 1")],
)
def test_an_answer_that_does_not_come_has_the_connection_replaced(frames: tuple, what: str) -> None:
    desk = make()
    desk.start()
    desk.open(ts=SECOND)
    desk.feed(*frames, KEEPALIVE, ts=SECOND)
    desk.timer(10 * SECOND)
    assert replaced(desk) == []
    desk.timer(11 * SECOND)
    desk.timer(12 * SECOND)
    assert replaced(desk) == [f"no answer to {what}"]


# Signs of life.


def test_something_is_sent_at_least_every_30_seconds() -> None:
    desk = running(make(channels=("trade",)), 3)
    for second in range(2, 100):
        desk.feed(KEEPALIVE, ts=second * SECOND)
        desk.timer(second * SECOND)
    assert types(desk) == [("KEEPALIVE", 0)] * 3


def test_a_server_that_accepts_less_silence_hears_more() -> None:
    desk = make(channels=("quote",))
    desk.start()
    desk.open(ts=SECOND)
    desk.feed(setup(accepts_s=10), AUTHORIZED, opened(1), ts=SECOND)
    desk.actions.clear()
    for second in range(2, 32):
        desk.feed(KEEPALIVE, ts=second * SECOND)
        desk.timer(second * SECOND)
    assert types(desk) == [("KEEPALIVE", 0)] * 6


def test_a_server_that_is_silent_for_its_own_time_is_dead() -> None:
    desk = make(channels=("agg_trade",))
    desk.start()
    desk.open(ts=SECOND)
    desk.feed(setup(keepalive_s=20), AUTHORIZED, opened(5), ts=SECOND)
    desk.timer(21 * SECOND)
    assert replaced(desk) == []
    desk.timer(22 * SECOND)
    assert replaced(desk) == ["the server has been silent for 21 s"]


def test_a_subscription_that_delivers_nothing_has_failed() -> None:
    desk = running(make("AAPL", "NOSUCH", channels=("quote",)), 1)
    desk.feed(config(1, "Quote", "eventSymbol", "bidPrice", "askPrice", "bidSize", "askSize"), ts=SECOND)
    for second in range(2, 62):
        desk.feed(data(1, "Quote", ["AAPL", 1.5, 1.75, 1, 2]), ts=second * SECOND)
        desk.timer(second * SECOND)
    assert replaced(desk) == ["acknowledged but silent: Quote NOSUCH"]


def test_a_symbol_that_is_added_is_subscribed_to_and_needs_no_answer() -> None:
    desk = running(make(channels=("trade",)), 3)
    desk.event(Symbols(added=("MSFT",)), 2 * SECOND)
    for second in range(2, 40):
        desk.feed(KEEPALIVE, ts=second * SECOND)
        desk.timer(second * SECOND)
    assert not any(isinstance(action, Resubscribe) for action in desk.actions)
    subscribed = [message["add"] for message in sent(desk) if message["type"] == "FEED_SUBSCRIPTION"]
    assert subscribed == [[{"type": "TimeAndSale", "symbol": "MSFT"}]]


def test_what_was_recorded_before_is_followed_by_a_gap() -> None:
    desk = make("AAPL")
    desk.resume({"AAPL": LastIds(trade=(7, 8), quote=(0, 9))}, ts=SECOND)
    desk.start()
    records = [record for record in desk.open(ts=SECOND) if record.kind == Kind.GAP]
    assert [(record.price, record.flags & ~Flag.LAST) for record in records] == [
        (GapCause.RESTART, Flag.ON_QUOTE),
        (GapCause.RESTART, Flag.ON_TRADE),
    ]


# Channels.


def test_a_closed_channel_is_told_and_opened_again_ever_later() -> None:
    desk = running(make("AAPL", channels=("trade", "quote")), 1, 3)
    desk.feed(config(1, "Quote", "eventSymbol", "bidPrice", "askPrice", "bidSize", "askSize"), ts=SECOND)
    desk.feed(data(1, "Quote", ["AAPL", 1.5, 1.75, 1, 2]), ts=2 * SECOND)
    now_s, waited = 10, []
    for _ in range(4):
        (status,) = desk.feed({"type": "CHANNEL_CLOSED", "channel": 1}, ts=now_s * SECOND)
        assert (status.price, status.flags) == (StatusCode.DISCONNECTED, Flag.ON_QUOTE | Flag.LAST)
        desk.actions.clear()
        for second in range(now_s, now_s + 20):
            desk.feed(KEEPALIVE, ts=second * SECOND)
            desk.timer(second * SECOND)
            if ("CHANNEL_REQUEST", 1) in types(desk):
                waited.append(second - now_s)
                break
        (gap,) = desk.feed(opened(1), ts=second * SECOND)
        assert (gap.kind, gap.price, gap.flags & Flag.ON_QUOTE) == (Kind.GAP, GapCause.DISCONNECT, Flag.ON_QUOTE)
        assert types(desk) == [("FEED_SETUP", 1), ("FEED_SUBSCRIPTION", 1)]
        now_s = second + 1
    assert waited == [1, 2, 4, 8]


def test_values_come_in_the_order_of_the_server_which_may_change() -> None:
    desk = running(make(channels=("quote",)), 1)
    desk.feed(config(1, "Quote", "askPrice", "askSize", "eventSymbol", "bidSize", "bidPrice"), ts=SECOND)
    records = desk.feed(data(1, "Quote", [1.75, 2, "AAPL", 1, 1.5]), ts=SECOND)
    assert [(record.price, record.size) for record in records] == [(150000000, 10**8), (175000000, 2 * 10**8)]
    desk.feed(config(1, "Quote", "eventSymbol", "bidPrice", "bidSize", "askSize", "askPrice"), ts=SECOND)
    assert desk.feed(data(1, "Quote", ["AAPL", 1.5, 1, 2, 1.75]), ts=SECOND) == records
    assert desk.adapter.market.listings.reader.taken == {"Quote 1": 1}


def test_a_lost_feed_config_is_fetched_by_a_new_connection() -> None:
    desk = running(make(channels=("quote",)), 1)
    records = desk.feed(data(1, "Quote", ["AAPL", 1.5, 1, 2, 1.75]), ts=SECOND)
    assert [record.price for record in records] == [GapCause.REJECTED]
    assert [reject.cause for reject in desk.rejects] == ["fields unknown"]
    for second in range(2, 12):
        desk.timer(second * SECOND)
    assert replaced(desk) == ["no answer to FEED_CONFIG 1"]


def test_what_cannot_be_read_costs_no_more_than_itself() -> None:
    desk = running(make("AAPL", "MSFT", channels=("trade", "quote")), 1, 3)
    desk.feed(config(1, "Quote", "eventSymbol", "bidPrice", "bidSize", "askPrice", "askSize"), ts=SECOND)
    desk.feed(config(1, "TimeAndSale", "eventSymbol", "index", "price", "size", "type"), ts=SECOND)
    rows = ["AAPL", 1.123456789, 1, 1.75, 1, "MSFT", 1.5, 1, 1.75, 1, "AAPL", "no number", 1, 2, 1]
    sales = ["AAPL", 2**63, 1.5, 1, "NEW", "MSFT", 8, 1.5, 1, "OTHER", "MSFT", 9, 1.5, 1, "NEW"]
    records = desk.feed(data(1, "Quote", rows, "Trade", ["MSFT", 1.5], "TimeAndSale", sales), ts=SECOND)
    found = [(record.kind, record.symbol, record.venue_seq) for record in records if record.kind != Kind.GAP]
    assert found == [(Kind.QUOTE, "MSFT", 0)] * 2 + [(Kind.TRADE, "MSFT", 9)]
    gaps = [(record.symbol, record.flags & ~Flag.LAST) for record in records if record.kind == Kind.GAP]
    assert gaps == [("AAPL", Flag.ON_QUOTE), ("AAPL", Flag.ON_TRADE), ("MSFT", Flag.ON_TRADE), ("*", 0)]
    assert desk.adapter.counters.rejected == 1


def test_a_value_that_does_not_fit_the_scale_is_rejected_as_such() -> None:
    desk = running(make(channels=("quote",)), 1)
    desk.feed(config(1, "Quote", "eventSymbol", "bidPrice", "bidSize", "askPrice", "askSize"), ts=SECOND)
    desk.feed('{"type":"FEED_DATA","channel":1,"data":["Quote",["AAPL",1.3743299E7,1,1.3743299123456E7,1]]}', ts=SECOND)
    assert not desk.rejects
    desk.feed('{"type":"FEED_DATA","channel":1,"data":["Quote",["AAPL",1.5E-9,1,1.5,1]]}', ts=SECOND)
    assert [reject.cause for reject in desk.rejects] == ["scale"]


# tastytrade.


def tasty(**options: Any) -> VenueDesk:
    options = {"secrets": SECRETS, "channels": ("trade", "quote")} | options
    return VenueDesk("tastytrade", tastytrade, ("AAPL",), link="feed", **options)


ACCESS = b'{"access_token":"planted-access-token","token_type":"Bearer","expires_in":900}'


def quotes(token: str = "planted-quote-token", url: str = "wss://feed.example.com/realtime") -> bytes:
    return json.dumps({"data": {"token": token, "dxlink-url": url, "level": "api"}, "context": "/"}).encode()


def log_in(desk: VenueDesk, ts: int, token: str = "planted-quote-token", **options: Any) -> list[Request]:
    """Answer the requests for a token; returns them."""
    (access,) = desk.take_requests()
    desk.answer(access, 200, ACCESS, ts)
    (quote,) = desk.take_requests()
    desk.answer(quote, 200, quotes(token, **options), ts)
    return [access, quote]


def test_a_token_is_fetched_before_the_link_opens_and_all_of_that_is_secret() -> None:
    desk = tasty()
    desk.adapter.start(SECOND)
    access, quote = log_in(desk, SECOND)
    assert (access.method, access.path, access.secret) == ("POST", "/oauth/token", True)
    assert access.body == (
        b"grant_type=refresh_token&client_secret=planted-client-secret&refresh_token=planted-refresh-token"
    )
    assert access.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert (quote.method, quote.path, quote.secret) == ("GET", "/api-quote-tokens", True)
    assert quote.headers["Authorization"] == "Bearer planted-access-token"
    assert quote.headers["User-Agent"].startswith("tickplant/")
    assert [link.url for link in desk.links] == ["wss://feed.example.com/realtime"]
    desk.open(ts=2 * SECOND)
    desk.actions.clear()
    desk.feed(setup(), UNAUTHORIZED, ts=2 * SECOND)
    (auth,) = desk.actions
    assert auth == Send("feed", b'{"type":"AUTH","channel":0,"token":"planted-quote-token"}', secret=True)
    desk.take()
    told = repr((desk.notices, desk.rejects, desk.adapter.counters, desk.adapter.trouble, desk.links))
    assert "planted" not in told


def test_an_address_that_is_configured_takes_the_place_of_the_one_that_is_handed_out() -> None:
    desk = tasty(ws_url="ws://here/feed")
    desk.adapter.start(SECOND)
    log_in(desk, SECOND)
    assert [link.url for link in desk.links] == ["ws://here/feed"]


def test_a_token_that_ends_is_fetched_again_and_the_link_replaced() -> None:
    desk = tasty(channels=("trade",))
    desk.adapter.start(SECOND)
    log_in(desk, SECOND)
    desk.open(ts=2 * SECOND)
    desk.feed(setup(), UNAUTHORIZED, AUTHORIZED, opened(3), ts=2 * SECOND)
    desk.actions.clear()
    day = 23 * 3600 * SECOND
    desk.feed(KEEPALIVE, ts=day)
    desk.timer(day)
    assert desk.take_requests() == []
    desk.feed(KEEPALIVE, ts=day + SECOND)
    desk.timer(day + SECOND)
    desk.timer(day + 2 * SECOND)
    log_in(desk, day + 3 * SECOND, "planted-other-token", url="wss://other.example.com/")
    assert replaced(desk) == ["another token"]
    assert desk.links[-1].url == "wss://other.example.com/"
    desk.close(ts=day + 4 * SECOND)
    desk.open(ts=day + 5 * SECOND)
    desk.feed(setup(), UNAUTHORIZED, ts=day + 5 * SECOND)
    assert sent(desk)[-1]["token"] == "planted-other-token"


def test_a_connection_that_waits_for_a_token_gets_the_new_one() -> None:
    desk = tasty()
    desk.adapter.start(SECOND)
    log_in(desk, SECOND)
    late = 30 * 3600 * SECOND
    desk.open(ts=late)
    desk.feed(setup(), UNAUTHORIZED, ts=late)
    assert [message["type"] for message in sent(desk)] == ["SETUP"]
    log_in(desk, late, "planted-other-token")
    assert [message["token"] for message in sent(desk)] == ["planted-other-token"]


def test_a_token_that_is_refused_is_fetched_once_more_and_no_oftener() -> None:
    desk = tasty()
    desk.adapter.start(SECOND)
    log_in(desk, SECOND)
    desk.open(ts=2 * SECOND)
    desk.feed(setup(), UNAUTHORIZED, UNAUTHORIZED, ts=2 * SECOND)
    desk.feed({"type": "ERROR", "channel": 0, "error": "UNAUTHORIZED", "message": "no"}, ts=2 * SECOND)
    log_in(desk, 3 * SECOND, "planted-other-token")
    desk.close(ts=3 * SECOND)
    desk.open(ts=4 * SECOND)
    desk.feed(setup(), UNAUTHORIZED, ts=4 * SECOND)
    with pytest.raises(FeedError, match="tastytrade: the server refuses the token"):
        desk.feed(UNAUTHORIZED, ts=5 * SECOND)


def test_a_credential_that_is_refused_ends_the_feed_without_telling_it() -> None:
    desk = tasty()
    desk.adapter.start(SECOND)
    (access,) = desk.take_requests()
    body = b'{"error_code":"invalid_grant","error_description":"planted-refresh-token was revoked"}'
    with pytest.raises(FeedError, match="tastytrade: the access token is refused with HTTP status 400 invalid_grant$"):
        desk.answer(access, 400, body, 2 * SECOND)


def test_an_account_that_may_not_have_a_token_ends_the_feed() -> None:
    desk = tasty()
    desk.adapter.start(SECOND)
    (access,) = desk.take_requests()
    desk.answer(access, 200, ACCESS, SECOND)
    (quote,) = desk.take_requests()
    with pytest.raises(FeedError, match="the quote token is refused with HTTP status 404 customer_not_found"):
        desk.answer(quote, 404, b'{"error":{"code":"customer_not_found","message":"x"}}', SECOND)


@pytest.mark.parametrize("missing", ["client_secret", "refresh_token"])
def test_a_secret_that_is_missing_is_named(missing: str) -> None:
    desk = tasty(secrets={name: value for name, value in SECRETS.items() if name != missing})
    with pytest.raises(FeedError, match=f'no "{missing}"'):
        desk.start()


@pytest.mark.parametrize(
    ("status", "body"),
    [(0, b"no route"), (503, b""), (429, b"slow down"), (200, b"<html>"), (200, b'{"access_token":"a\\nb"}')],
)
def test_a_hand_out_that_fails_is_asked_again_ever_later(status: int, body: bytes) -> None:
    desk = tasty()
    desk.adapter.start(SECOND)
    waited = []
    for _ in range(3):
        (access,) = desk.take_requests()
        waited.append(access.not_before_ns // SECOND - 1)
        desk.answer(access, status, body, SECOND)
    assert waited == [0, 2, 4]
    assert desk.links == []


def test_an_access_token_that_ends_in_between_is_renewed() -> None:
    desk = tasty()
    desk.adapter.start(SECOND)
    (access,) = desk.take_requests()
    desk.answer(access, 200, ACCESS, SECOND)
    (quote,) = desk.take_requests()
    desk.answer(quote, 401, b"", SECOND)
    log_in(desk, 4 * SECOND)
    assert [link.url for link in desk.links] == ["wss://feed.example.com/realtime"]


def test_an_answer_that_nobody_asked_for_is_nothing() -> None:
    for desk in (tasty(), make()):
        desk.event(Answer(Request("access token", "/oauth/token"), 200, ACCESS), SECOND)
        desk.event(Answer(Request("other", "/"), 200, b""), SECOND)
        assert desk.take_requests() == []


# The catalogue.


@pytest.mark.parametrize("venue", ["dxlink", "tastytrade"])
def test_symbols_are_those_of_dxfeed(venue: str) -> None:
    known = ["AAPL", "BRK.B", ".SPY261218C700", "/ESZ26:XCME", "./ESU25P900:XCME", "BTC/USD:CXTALP", "$SPX", "AAPL&Q"]
    assert [VENUES[venue].why_not(symbol) for symbol in known] == [""] * len(known)
    for wrong in ("", "aapl", "*", "AAPL{=m}", "AA PL", "A" * 65):
        assert "is not a symbol" in VENUES[venue].why_not(wrong)
