"""dxLink with tokens that tastytrade hands out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dxlink_desk import (
    AUTHORIZED,
    KEEPALIVE,
    SECRETS,
    UNAUTHORIZED,
    make,
    opened,
    replaced,
    sent,
    setup,
)
from venue_desk import SECOND, VenueDesk

from tickplant.errors import FeedError
from tickplant.feeds.contract import Answer, Request, Send
from tickplant.feeds.venues.dxlink.adapter import tastytrade

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
