"""Kraken as it is simulated, without sockets: what it answers, what it plays."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from kraken_client import MS, ORIGIN_NS, Client, Venue, checksum

from tickplant.errors import FeedError
from tickplant.sim.conversation import Get, Reply, Text
from tickplant.sim.dialects.kraken.instruments import instrument_frame
from tickplant.sim.dialects.kraken.recorded import KrakenRecording
from tickplant.sim.dialects.kraken.rest import TradeDesk, answer
from tickplant.sim.dialects.kraken.session import HEARTBEAT, Desk, Session
from tickplant.sim.recording_reader import Contents, Piece, pieces, scan
from tickplant.sim.sim_source import Listed

# Sessions.


class Shelf(Desk):
    """A desk with two pairs whose books have the depths 10 and 25."""

    def lists(self, symbol: str) -> bool:
        return symbol in ("BTC/USD", "ETH/USD")

    def offers(self, symbol: str, depth: int) -> bool:
        return depth < 100

    def snapshot(self, stream: str) -> Text:
        return Text(b"snapshot", stream)


def session(**options: Any) -> Session:
    return Session(Shelf(), 1 << 63, options.pop("max_streams", 100), options.pop("refuse", lambda: None))


def ask(one: Session, **request: Any) -> list[Any]:
    """The answers without their times, which are looked at here; of pushes, the stream."""
    shown = []
    for reply in one.on_text(json.dumps(request).encode()):
        assert isinstance(reply, Text)
        if reply.stream:
            shown.append(reply.stream)
            continue
        answer = json.loads(reply.text)
        assert list(answer) == sorted(answer)
        assert "2026" <= answer.pop("time_in") <= answer.pop("time_out")
        shown.append(answer)
    return shown


def texts(replies: list[Reply]) -> list[bytes]:
    return [reply.text for reply in replies if isinstance(reply, Text)]


def test_each_symbol_is_acknowledged_by_itself_and_snapshots_follow() -> None:
    one = session()
    params = {"channel": "book", "symbol": ["BTC/USD", "FOO/BAR", "ETH/USD"], "depth": 25}

    def ack(symbol: str) -> dict[str, Any]:
        result = {"channel": "book", "depth": 25, "snapshot": True, "symbol": symbol}
        return {"method": "subscribe", "req_id": 7, "result": result, "success": True}

    unknown = {"error": "Currency pair not supported FOO/BAR", "method": "subscribe", "req_id": 7, "success": False}
    assert ask(one, method="subscribe", params=params, req_id=7) == [
        ack("BTC/USD"),
        unknown | {"symbol": "FOO/BAR"},
        ack("ETH/USD"),
        "BTC/USD@book-25",
        "ETH/USD@book-25",
    ]
    assert one.names() == ["BTC/USD@book-25", "ETH/USD@book-25", "status"]
    params = {"channel": "book", "symbol": ["BTC/USD"], "depth": 25}
    (ended,) = ask(one, method="unsubscribe", params=params)
    assert ended["result"] == {"channel": "book", "depth": 25, "symbol": "BTC/USD"}
    assert one.names() == ["ETH/USD@book-25", "status"]


@pytest.mark.parametrize(
    ("params", "streams", "pushed"),
    [
        ({"channel": "trade", "symbol": ["BTC/USD"]}, ["BTC/USD@trade"], []),
        ({"channel": "trade", "symbol": ["BTC/USD"], "snapshot": True}, ["BTC/USD@trade"], ["BTC/USD@trade"]),
        ({"channel": "ticker", "symbol": ["BTC/USD"]}, ["BTC/USD@ticker-trades"], ["BTC/USD@ticker-trades"]),
        (
            {"channel": "ticker", "symbol": ["BTC/USD"], "event_trigger": "bbo", "snapshot": False},
            ["BTC/USD@ticker-bbo"],
            [],
        ),
        ({"channel": "book", "symbol": ["BTC/USD"]}, ["BTC/USD@book-10"], ["BTC/USD@book-10"]),
        ({"channel": "instrument"}, ["instrument"], ["instrument"]),
    ],
)
def test_a_channel_has_its_defaults(params: dict[str, Any], streams: list[str], pushed: list[str]) -> None:
    one = session()
    assert ask(one, method="subscribe", params=params)[1:] == pushed
    assert one.names() == [*streams, "status"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": 11}}, "depth not supp"),
        ({"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": 100}}, "depth not supp"),
        (
            {"method": "subscribe", "params": {"channel": "ticker", "symbol": ["BTC/USD"], "event_trigger": "x"}},
            "rigger",
        ),
        ({"method": "subscribe", "params": {"channel": "book", "symbol": "BTC/USD"}}, "Malformed"),
        ({"method": "subscribe", "params": {"channel": "book", "symbol": []}}, "Malformed"),
        ({"method": "subscribe", "params": {"channel": "x", "symbol": ["BTC/USD"]}}, "Unsupported channel"),
        ({"method": "unsubscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"]}}, "not found"),
        ({"method": "order", "params": {}}, "Unsupported method"),
        ({"method": "subscribe"}, "Malformed"),
        ({"method": 1}, "Malformed"),
        ({"method": "ping", "req_id": "x"}, "Malformed"),
        ([], "Malformed"),
    ],
)
def test_a_wrong_request_is_answered_with_an_error_and_changes_nothing(request_: Any, error: str) -> None:
    one = session()
    (reply,) = one.on_text(json.dumps(request_).encode())
    assert isinstance(reply, Text)
    answer = json.loads(reply.text)
    assert error in answer["error"]
    assert answer["success"] is False
    assert one.names() == ["status"]


def test_what_is_no_json_is_malformed() -> None:
    for text in (b"", b"{", b"\xff"):
        assert json.loads(texts(session().on_text(text))[0])["error"] == "Malformed request"


def test_a_pair_s_channel_is_subscribed_once_and_a_connection_has_a_limit() -> None:
    one = session(max_streams=1)
    book = {"channel": "book", "symbol": ["BTC/USD"], "depth": 10}
    ask(one, method="subscribe", params=book)
    assert ask(one, method="subscribe", params=book | {"depth": 25})[0]["error"] == "Already subscribed"
    trade = {"channel": "trade", "symbol": ["BTC/USD"]}
    assert ask(one, method="subscribe", params=trade)[0]["error"] == "Too many subscriptions"
    assert ask(one, method="unsubscribe", params=book | {"depth": 25})[0]["error"] == "Subscription not found"
    assert one.names() == ["BTC/USD@book-10", "status"]


def test_a_connection_is_greeted_beats_once_subscribed_and_is_told_of_maintenance() -> None:
    one = session()
    (status,) = (json.loads(text) for text in texts(one.greetings()))
    assert status["data"][0]["connection_id"] == 1 << 63
    assert one.heartbeat() is None
    ask(one, method="subscribe", params={"channel": "instrument"})
    assert one.heartbeat() == HEARTBEAT
    notice = json.loads(one.shutdown_notice(0))
    assert notice["data"][0] == status["data"][0] | {"system": "maintenance"}
    assert ask(one, method="ping", req_id=3) == [{"method": "pong", "req_id": 3}]
    assert texts(one.on_flood()) == [b'{"Error":"Exceeded msg rate"}']


def test_instruments_are_listed_with_bare_numbers_in_the_venue_s_form() -> None:
    one = Listed("SHIB/USD", "SHIB", "USD", 8, 5, "0.00000001", "0.00001", "cancel_only")
    text = instrument_frame("update", [one])
    assert text.startswith(b'{"channel":"instrument","type":"update","data":{"assets":[],"pairs":[{"symbol":"SHIB/USD"')
    assert b'"qty_precision":5,"qty_increment":1e-05,"price_precision":8,"price_increment":1e-08,' in text


# Recordings.


def frame(channel: str, kind: str, **entry: Any) -> bytes:
    return msgspec.json.encode({"channel": channel, "type": kind, "data": [entry]})


def record(path: Path, frames: list[bytes]) -> Contents:
    path.write_bytes(
        zstandard.compress(b"".join(b"%d %b\n" % (1_700_000_000 + i, text) for i, text in enumerate(frames)))
    )
    return scan(path, KrakenRecording(kept_trades=100))


@pytest.mark.kernels
def test_a_client_in_the_middle_of_a_recording_gets_the_book_as_it_is_and_goes_on_with_it(tmp_path: Path) -> None:
    venue = Venue()
    frames = [venue.book(0, 25), venue.book(2, 25)]
    venue.want("BTC/USD@book-25", "SHIB/USD@book-25", "BTC/USD@trade", "BTC/USD@ticker-bbo")
    frames += [text for _, text in venue.until(4_000 * MS)]
    greeting = b'{"channel":"status","type":"update","data":[{"system":"online","connection_id":18446744073709551615}]}'
    maintenance = greeting.replace(b"online", b"maintenance")
    answers = [b'{"method":"subscribe","result":{"channel":"book"},"success":true}', HEARTBEAT, b'{"Error":"x"}']
    contents = record(tmp_path / "r.zst", [greeting, *answers, *frames, maintenance])
    recorded = contents.venue
    assert isinstance(recorded, KrakenRecording)
    assert set(contents.streams) == {"BTC/USD@book", "SHIB/USD@book", "BTC/USD@trade", "BTC/USD@ticker", "status"}
    assert contents.frames == len(frames) + 1
    pair = recorded.listed()["SHIB/USD"]
    assert (pair.base, pair.quote, pair.price_digits, pair.size_digits) == ("SHIB", "USD", 8, 5)
    assert recorded.offers("BTC/USD", 25)
    assert not recorded.offers("BTC/USD", 10)

    assert recorded.snapshot("BTC/USD@book-25") is None  # its snapshot is recorded
    played: list[bytes] = []
    early, late = Client(25), Client(25)
    for piece in pieces(contents):
        assert isinstance(piece, Piece)
        texts_ = [piece.batch.payload(i) for i in range(piece.batch.messages)]
        played += texts_
        for text in texts_:
            if b'"status"' not in text:
                early.take(text)
                if late.books and b"BTC/USD" in text and b'"book"' in text:
                    late.take(text)
        recorded.played(piece.batch)
        if not late.books:
            now = recorded.snapshot("BTC/USD@book-25")
            assert now is not None
            late.take(now.text)
            assert late.books["BTC/USD"] == early.books["BTC/USD"]
    assert played == [*frames, maintenance]
    assert late.updates["BTC/USD"] > 20
    assert late.books["BTC/USD"] == early.books["BTC/USD"]
    now = recorded.snapshot("SHIB/USD@book-25")
    assert now is not None
    last = Client(25)
    last.take(now.text)
    assert last.books["SHIB/USD"] == early.books["SHIB/USD"]
    assert now.id == checksum(**last.books["SHIB/USD"])

    trades = recorded.snapshot("BTC/USD@trade")
    ticker = recorded.snapshot("BTC/USD@ticker-trades")
    assert trades is not None
    assert ticker is not None
    shown = json.loads(trades.text, parse_float=str)
    assert (shown["type"], shown["data"]) == ("snapshot", early.trades["BTC/USD"][-50:])
    assert json.loads(ticker.text, parse_float=str)["data"] == early.tickers["BTC/USD"][-1:]


def get(desk: TradeDesk, target: str) -> Any:
    return json.loads(answer(desk, Get(target, {}, "")).body, parse_float=str)


def test_played_trades_are_served_by_rest_in_pages(tmp_path: Path) -> None:
    entries = [
        f'{{"symbol":"A/B","side":"{side}","price":{price},"qty":0.50000000,"ord_type":"{kind}","trade_id":{ident},'
        f'"timestamp":"2026-09-01T12:00:00.00000{ident}Z"}}'
        for ident, (side, price, kind) in enumerate([("buy", "10.1", "market"), ("sell", "10", "limit")] * 3)
    ]
    lines = [f'{{"channel":"trade","type":"update","data":[{entry}]}}'.encode() for entry in entries]
    contents = record(tmp_path / "r.zst", lines)
    recorded = contents.venue
    assert isinstance(recorded, KrakenRecording)
    (piece,) = pieces(contents)
    assert isinstance(piece, Piece)
    assert get(recorded, "/0/public/Trades?pair=AB") == {"error": [], "result": {"AB": [], "last": "0"}}
    recorded.played(piece.batch)
    got = get(recorded, f"/0/public/Trades?pair=A/B&since={ORIGIN_NS + 1000}&count=2&assetVersion=1")["result"]
    assert got["A/B"] == [
        ["10.1", "0.50000000", "1788264000.000002000", "b", "m", "", 2],
        ["10", "0.50000000", "1788264000.000003000", "s", "l", "", 3],
    ]
    assert got["last"] == str(ORIGIN_NS + 3000)
    rest = get(recorded, f"/0/public/Trades?pair=A/B&since={got['last']}")["result"]["A/B"]
    assert [row[6] for row in rest] == [4, 5]
    assert [row[6] for row in get(recorded, "/0/public/Trades?pair=A/B&count=1")["result"]["A/B"]] == [5]
    for target, error in (
        ("/0/public/Trades?pair=X/Y", "EQuery:Unknown asset pair"),
        ("/0/public/Trades?pair=A/B&count=1001", "EGeneral:Invalid arguments"),
        ("/0/public/Trades?pair=A/B&since=x", "EGeneral:Invalid arguments"),
        ("/0/public/Nothing", "EGeneral:Unknown method"),
        ("/1/public/Trades?pair=A/B", "EGeneral:Unknown method"),
    ):
        assert get(recorded, target) == {"error": [error]}
    assert get(recorded, "/0/public/SystemStatus")["result"]["status"] == "online"
    assert abs(get(recorded, "/0/public/Time")["result"]["unixtime"] - time.time()) < 60


def test_recorded_instruments_are_pushed_as_they_were_and_their_changes_are_played(tmp_path: Path) -> None:
    one = Listed("BTC/USD", "BTC", "USD", 1, 8, "0.1", "0.00000001", "online")
    listing = instrument_frame("snapshot", [one])
    change = instrument_frame("update", [msgspec.structs.replace(one, status="post_only")])
    contents = record(tmp_path / "r.zst", [listing, change, frame("trade", "update", symbol="BTC/USD", trade_id=5)])
    recorded = contents.venue
    assert isinstance(recorded, KrakenRecording)
    assert contents.streams == ["instrument", "BTC/USD@trade"]
    assert recorded.snapshot("instrument") == Text(listing, "instrument")
    assert recorded.listed() == {"BTC/USD": one}
    (piece,) = pieces(contents)
    assert isinstance(piece, Piece)
    assert piece.batch.id.tolist() == [0, 5]


def test_the_depth_of_a_book_is_what_was_acknowledged_or_what_its_snapshot_has(tmp_path: Path) -> None:
    levels = [{"price": 1 + i, "qty": 1} for i in range(12)]
    book = frame("book", "snapshot", symbol="A/B", bids=levels, asks=levels[:3], checksum=1)
    assert record(tmp_path / "r.zst", [book]).venue.offers("A/B", 25)  # type: ignore[attr-defined]  # a desk too
    ack = b'{"method":"subscribe","result":{"channel":"book","depth":100,"symbol":"A/B"},"success":true}'
    assert record(tmp_path / "r.zst", [ack, book]).venue.offers("A/B", 100)  # type: ignore[attr-defined]  # a desk too


@pytest.mark.parametrize("line", [b"{", b"[1]", b'{"stream":"x"}', b'{"channel":"book","type":"update","data":[{}]}'])
def test_a_line_that_the_venue_does_not_send_is_named(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(FeedError, match="line 2 is not a message of kraken"):
        record(tmp_path / "r.zst", [HEARTBEAT, line])
