"""dxLink as it is simulated, without sockets: what it prints, what it answers, how tastytrade hands tokens out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tickplant.errors import FeedError
from tickplant.sim import order_flow
from tickplant.sim.conversation import Close, Get, Refused, Reply, Text
from tickplant.sim.dialect import Events
from tickplant.sim.dialects.dxlink.printer import DxlinkPrinter
from tickplant.sim.dialects.dxlink.rest import TokenDesk
from tickplant.sim.dialects.dxlink.session import Session
from tickplant.sim.dialects.dxlink.venue import Dxlink
from tickplant.sim.dialects.dxlink.words import FIELDS
from tickplant.sim.market import Market
from tickplant.sim.spec import SimSpec

SYMBOLS = ("AAPL", "MSFT")
ORIGIN_NS = 1_788_264_000_123_456_789
MS = 1_000_000


class Desk:
    """Takes one token; its newest quotes come in the channel that the printer prints."""

    needs_token = True

    def takes(self, token: str) -> bool:
        return token == "good"

    def newest(self, symbol: str) -> Text | None:
        return Text(b'{"type":"FEED_DATA","channel":1,"data":["Quote",["Quote"]]}', f"{symbol}@Quote")


def session(refused: Refused | None = None, max_streams: int = 10) -> Session:
    return Session(Desk(), max_streams, lambda: refused)


def ask(connection: Session, type_: str, channel: int = 0, **members: Any) -> list[Any]:
    """What a client is answered, as JSON; a Close as it is."""
    replies: list[Reply] = connection.on_text(json.dumps({"type": type_, "channel": channel} | members).encode())
    return [json.loads(reply.text) if isinstance(reply, Text) else reply for reply in replies]


def with_channel(connection: Session, channel: int) -> Session:
    ask(connection, "SETUP")
    ask(connection, "AUTH", token="good")
    ask(connection, "CHANNEL_REQUEST", channel, service="FEED", parameters={"contract": "STREAM"})
    ask(connection, "FEED_SETUP", channel)
    return connection


def test_a_token_is_wanted_before_anything_else_and_a_wrong_one_ends_the_connection() -> None:
    connection = session()
    terms, state = ask(connection, "SETUP")
    assert terms["keepaliveTimeout"] == 60
    assert state["state"] == "UNAUTHORIZED"
    (error,) = ask(connection, "CHANNEL_REQUEST", 1, service="FEED")
    assert (error["type"], error["error"]) == ("ERROR", "UNAUTHORIZED")
    state, end = ask(connection, "AUTH", token="wrong")
    assert state["state"] == "UNAUTHORIZED"
    assert isinstance(end, Close)
    assert ask(connection, "AUTH", token="good")[0]["state"] == "AUTHORIZED"


def test_the_order_of_values_is_told_with_the_first_subscription_of_a_type_and_is_not_that_of_the_request() -> None:
    connection = with_channel(session(), 7)
    first, _ = ask(connection, "FEED_SUBSCRIPTION", 7, add=[{"type": "Quote", "symbol": "AAPL"}])
    assert first["eventFields"] == {"Quote": list(FIELDS["Quote"])}
    (newest,) = ask(connection, "FEED_SUBSCRIPTION", 7, add=[{"type": "Quote", "symbol": "MSFT"}])
    assert newest["channel"] == 7, "a client chooses its channels"
    assert connection.names() == ["AAPL@Quote", "MSFT@Quote"]
    assert connection.own is not None
    assert connection.own(b'{"type":"FEED_DATA","channel":1,"data":["Quote",[1]]}').startswith(
        b'{"type":"FEED_DATA","channel":7,"data":["Quote",['
    )
    assert connection.own(b'{"type":"FEED_DATA","channel":3,"data":["TimeAndSale",[1]]}').count(b'"channel":3,') == 1
    ask(connection, "FEED_SUBSCRIPTION", 7, remove=[{"type": "Quote", "symbol": "AAPL"}])
    assert connection.names() == ["MSFT@Quote"]
    ask(connection, "FEED_SUBSCRIPTION", 7, reset=True)
    assert connection.names() == []


def test_what_is_refused_ends_the_channel() -> None:
    entries = [{"type": "Quote", "symbol": "AAPL"}]
    for connection in (with_channel(session(Refused(0, "not permitted")), 1), with_channel(session(max_streams=0), 1)):
        error, closed = ask(connection, "FEED_SUBSCRIPTION", 1, add=entries)
        assert (error["type"], closed["type"]) == ("ERROR", "CHANNEL_CLOSED")
        assert connection.names() == []
        assert ask(connection, "FEED_SUBSCRIPTION", 1, add=entries)[0]["error"] == "BAD_ACTION"


def test_a_client_without_a_sign_of_life_gets_no_more_data(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [ORIGIN_NS]
    monkeypatch.setattr("time.time_ns", lambda: now[0])
    connection = with_channel(session(), 1)
    ask(connection, "FEED_SUBSCRIPTION", 1, add=[{"type": "Quote", "symbol": "AAPL"}])
    now[0] += 60 * 10**9
    assert json.loads(connection.heartbeat() or b"") == {"type": "KEEPALIVE", "channel": 0}
    assert ask(connection, "KEEPALIVE") == []
    now[0] += 60 * 10**9 + 1
    assert json.loads(connection.heartbeat() or b"")["error"] == "TIMEOUT"
    assert connection.names() == []


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"null", b'{"type":"SETUP"}', b"\xff"])
def test_what_is_no_message_is_an_error(text: bytes) -> None:
    (reply,) = session().on_text(text)
    assert isinstance(reply, Text)
    assert json.loads(reply.text)["error"] == "INVALID_MESSAGE"


# What is printed.


def printed() -> dict[str, list[dict[str, Any]]]:
    """Events of some seconds of a market, by type, by the names of their values."""
    printer = DxlinkPrinter(SYMBOLS)
    market = Market(printer.instruments, seed=3, messages_per_s=500.0, intervals_ns=printer.intervals_ns)
    wanted = np.ones(len(printer.streams), np.bool_)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in FIELDS}
    rows = []
    for events, levels in market.advance(4 * 10**9, printer.needs(wanted)):
        rows.append(events[events["kind"] == order_flow.TRADE].copy())
        for _, batch in printer.render(Events(events, levels, 0, ORIGIN_NS), wanted, {0}):
            for message in range(batch.messages):
                frame = json.loads(batch.payload(message))
                kind, values = frame["data"]
                names = FIELDS[kind]
                assert len(values) % len(names) == 0
                made = [dict(zip(names, values[at:], strict=False)) for at in range(0, len(values), len(names))]
                assert {event["eventType"] for event in made} == {kind}
                assert {f"{event['eventSymbol']}@{kind}" for event in made} == {
                    printer.streams[int(batch.stream[message])]
                }
                found[kind] += made
    trades = np.concatenate(rows)
    assert len(trades) == len(found["TimeAndSale"]) > 100
    for event, trade in zip(found["TimeAndSale"], trades, strict=True):
        assert event["time"] * MS + event["timeNanoPart"] == ORIGIN_NS + int(trade["time"])
        assert round(event["price"] * 100) == int(trade["price"])
        assert event["size"] == int(trade["size"])
        assert event["aggressorSide"] in (("SELL" if trade["maker"] else "BUY"), "UNDEFINED")
    return found


def test_events_are_those_of_the_market() -> None:
    found = printed()
    for symbol in SYMBOLS:
        indices = [event["index"] for event in found["TimeAndSale"] if event["eventSymbol"] == symbol]
        assert indices == sorted(set(indices)), "an index names a sale, and orders it"
        assert indices[0] >> 32 == ORIGIN_NS // 10**9
    assert all(event["bidTime"] % 1000 == 0 and event["bidPrice"] < event["askPrice"] for event in found["Quote"])
    assert 0 < len(found["Trade"]) < len(found["TimeAndSale"]), "the last one of each order"
    sales = {
        (event["eventSymbol"], event["time"], event["timeNanoPart"], event["price"]) for event in found["TimeAndSale"]
    }
    assert {
        (event["eventSymbol"], event["time"], event["timeNanoPart"], event["price"]) for event in found["Trade"]
    } <= sales


# tastytrade.


def test_a_quote_token_needs_an_access_token_and_a_name() -> None:
    desk = TokenDesk()

    def post(form: bytes) -> tuple[int, dict[str, Any]]:
        answer = desk.answer(Get("/oauth/token", {}, "", "POST", form))
        return answer.status, json.loads(answer.body)

    assert post(b"grant_type=refresh_token&client_secret=wrong&refresh_token=b")[0] == 400
    assert post(b"grant_type=password&client_secret=a&refresh_token=b")[0] == 400
    assert post(b"")[0] == 400
    status, access = post(b"grant_type=refresh_token&client_secret=a&refresh_token=b")
    assert status == 200
    headers = {"Authorization": f"Bearer {access['access_token']}", "User-Agent": "tickplant/1.0", "Host": "here:1"}
    for wrong in ({"User-Agent": ""}, {"User-Agent": "tickplant"}, {"Authorization": "Bearer x"}):
        assert desk.answer(Get("/api-quote-tokens", headers | wrong, "")).status == 401
    assert not desk.tokens
    data = json.loads(desk.answer(Get("/api-quote-tokens", headers, "")).body)["data"]
    assert data["dxlink-url"] == "ws://here:1/realtime"
    assert desk.tokens == {data["token"]}
    assert desk.answer(Get("/other", headers, "")).status == 404


def test_a_recording_is_not_played() -> None:
    with pytest.raises(FeedError, match="plays no recordings"):
        Dxlink(SimSpec(venue="dxlink", symbols=SYMBOLS, recording="x.gz"))
