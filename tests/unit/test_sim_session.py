"""What the simulated venue answers on its WebSocket."""

from __future__ import annotations

import json

import pytest

from tickplant.sim.conversation import Text
from tickplant.sim.dialects.binance.session import COMBINED, RAW, Session, Target, parse_target, stream_key

SPOT, FUTURES = "binance", "binance-usdm"


def session(*streams: str, base: str = "", max_streams: int = 1024) -> Session:
    return Session(Target(base, False, streams, None), max_streams)


@pytest.mark.parametrize(
    ("path", "combined", "streams"),
    [
        ("/ws", False, ()),
        ("/ws/btcusdt@trade", False, ("btcusdt@trade",)),
        ("/ws/btcusdt@trade/ethusdt@depth@100ms", False, ("btcusdt@trade", "ethusdt@depth@100ms")),
        ("/ws/btcusdt%40trade", False, ("btcusdt@trade",)),
        ("/stream", True, ()),
        ("/stream?streams=btcusdt@trade/ethusdt@bookTicker", True, ("btcusdt@trade", "ethusdt@bookTicker")),
        ("/stream?streams=btcusdt%40trade%2Fethusdt%40trade", True, ("btcusdt@trade", "ethusdt@trade")),
    ],
)
def test_paths_name_form_and_streams(path: str, combined: bool, streams: tuple[str, ...]) -> None:
    assert parse_target(path, SPOT) == Target("", combined, streams, None)


@pytest.mark.parametrize("path", ["/", "/api/v3/ping", "/wsx", "/streams", "/public/ws"])
def test_other_paths_carry_no_websocket(path: str) -> None:
    assert parse_target(path, SPOT) is None


def test_futures_are_also_served_below_public_and_market() -> None:
    assert parse_target("/public/ws/btcusdt@depth", FUTURES) == Target("/public", False, ("btcusdt@depth",), None)
    assert parse_target("/market/stream?streams=a", FUTURES) == Target("/market", True, ("a",), None)
    assert parse_target("/ws", FUTURES) == Target("", False, (), None)
    assert parse_target("/private/ws", FUTURES) is None


def test_the_time_unit_is_read_from_the_query() -> None:
    for query, unit in (("timeUnit=MICROSECOND", 1000), ("timeUnit=microsecond", 1000), ("timeUnit=x", None)):
        target = parse_target(f"/stream?streams=a&{query}", SPOT)
        assert target is not None
        assert target.unit_ns == unit


def test_public_serves_quotes_and_books_and_market_serves_trades() -> None:
    served = {
        base: [
            name
            for name in ("a@trade", "a@aggTrade", "a@bookTicker", "a@depth@100ms")
            if session(base=base).serves(name)
        ]
        for base in ("", "/public", "/market")
    }
    assert served["/public"] == ["a@bookTicker", "a@depth@100ms"]
    assert served["/market"] == ["a@trade", "a@aggTrade"]
    assert len(served[""]) == 4


def test_subscriptions_are_acknowledged_listed_and_ended() -> None:
    one = session("a@trade")
    assert one.answer(b'{"method":"SUBSCRIBE","params":["b@trade","a@trade"],"id":1}') == b'{"result":null,"id":1}'
    assert one.answer(b'{"method":"LIST_SUBSCRIPTIONS","id":"x"}') == b'{"result":["a@trade","b@trade"],"id":"x"}'
    assert one.answer(b'{"method":"UNSUBSCRIBE","params":["a@trade","never"],"id":-3}') == b'{"result":null,"id":-3}'
    assert list(one.streams) == ["b@trade"]


def test_the_combined_form_can_be_switched_on_and_off() -> None:
    one = session()
    assert one.form == RAW
    assert one.on_text(b'{"method":"SET_PROPERTY","params":["combined",true],"id":4}') == [
        Text(b'{"result":null,"id":4}')
    ]
    assert one.form == COMBINED
    assert one.answer(b'{"method":"GET_PROPERTY","params":["combined"],"id":5}') == b'{"result":true,"id":5}'


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ('{"method":"SET_PROPERTY","params":["no",true],"id":1}', 0, "Unknown property"),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1, "expected Boolean"),
        ('{"method":"SET_PROPERTY","params":[1,true],"id":1}', 2, "property name must be a string"),
        ('{"method":"SET_PROPERTY","params":["combined",true,3],"id":1}', 2, "too many parameters"),
        ('{"method":"SUBSCRIBE","params":["a"],"id":1.5}', 2, "request ID must be"),
        ('{"method":"SUBSCRIBE","params":["a"],"id":true}', 2, "request ID must be"),
        ('{"method":"SUBSCRIBE","params":["a"],"id":"%s"}' % ("x" * 37), 2, "request ID must be"),
        ('{"method":"subscribe","params":["a"],"id":1}', 2, "unknown variant `subscribe`"),
        ('{"params":["a"],"id":1}', 2, "missing field `method`"),
        ('{"method":"SUBSCRIBE","params":"a","id":1}', 2, "expected a sequence"),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2, "expected a string"),
        ('{"method":"SUBSCRIBE","id":1}', 2, "missing field `params`"),
        ("[1]", 2, "expected a request object"),
        ("{", 3, "Invalid JSON"),
        ("", 3, "Invalid JSON"),
    ],
)
def test_a_wrong_request_is_refused_in_the_venue_s_words(text: str, code: int, words: str) -> None:
    one = session("a@trade")
    answer = json.loads(one.answer(text.encode()))
    assert answer["code"] == code
    assert words in answer["msg"]
    assert list(one.streams) == ["a@trade"]


def test_bytes_that_are_no_text_are_invalid_json() -> None:
    assert json.loads(session().answer(b'{"method":"\xff"}'))["code"] == 3


def test_a_connection_takes_so_many_streams_and_no_more() -> None:
    one = session("a", max_streams=2)
    assert one.answer(b'{"method":"SUBSCRIBE","params":["b"],"id":1}') == b'{"result":null,"id":1}'
    assert json.loads(one.answer(b'{"method":"SUBSCRIBE","params":["c"],"id":2}'))["code"] == 2
    assert list(one.streams) == ["a", "b"]


def test_the_key_of_a_stream_ignores_its_speed() -> None:
    assert stream_key("btcusdt@depth@100ms") == stream_key("btcusdt@depth") == "btcusdt@depth"
    assert stream_key("btcusdt@trade") == "btcusdt@trade"
