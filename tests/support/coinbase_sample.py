"""Coinbase: what the conformance suite must know about it."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from sim_process import SimProcess
from venue_sample import Levels, VenueSample, numbers, sides
from websockets.sync.client import connect


def _coinbase_owner(frame: bytes) -> tuple[str, str] | None:
    message = json.loads(frame)
    channels = {"match": "trade", "last_match": "trade", "ticker": "quote", "l2update": "book", "snapshot": "book"}
    channel = channels.get(message.get("type"))
    return None if channel is None else (message["product_id"], channel)


def _coinbase_levels(frame: bytes) -> Levels:
    book = numbers(frame)
    return sides(book["bids"], book["asks"])


def _first_frame(sim: SimProcess, request: dict[str, Any], mark: bytes) -> bytes:
    with connect(sim.ws_url + "/", compression=None, max_size=None, proxy=None, close_timeout=1, open_timeout=90) as ws:
        ws.send(json.dumps({"type": "subscribe"} | request))
        while True:
            frame = ws.recv(timeout=90, decode=False)
            if mark in frame:
                return frame


def _coinbase_book(sim: SimProcess, symbol: str) -> bytes:
    return _first_frame(sim, {"product_ids": [symbol], "channels": ["level2_batch"]}, b'"type":"snapshot"')


def _advanced_owner(frame: bytes) -> tuple[str, str] | None:
    message = json.loads(frame)
    channel = {"market_trades": "trade", "ticker": "quote", "l2_data": "book"}.get(message.get("channel"))
    rows = [row for event in message.get("events", ()) for row in event.get("trades", event.get("tickers", [event]))]
    symbols = {row.get("product_id", "") for row in rows}
    return (symbols.pop(), channel) if channel and len(symbols) == 1 else None


def _advanced_levels(frame: bytes) -> Levels:
    (event,) = numbers(frame)["events"]
    both = ([one for one in event["updates"] if one["side"] == side] for side in ("bid", "offer"))
    return sides(*([(one["price_level"], one["new_quantity"]) for one in side] for side in both))


def _advanced_book(sim: SimProcess, symbol: str) -> bytes:
    return _first_frame(sim, {"product_ids": [symbol], "channel": "level2"}, b'"l2_data"')


def _exchange(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind} | fields, separators=(",", ":")).encode()


_COINBASE_FRAMES: Final = (
    _exchange("error", message="Failed to subscribe", reason="FOO-USD is not a valid product"),
    _exchange("rfq_match", trade_id="b3f1", product_id="BTC-USD", size="5", price="60005", side="buy"),
    _exchange("ticker", sequence=1, product_id="BTC-USD", price="1", best_bid="1.5", best_ask="1.6", trade_id=1),
    _exchange(
        "ticker",
        sequence=9**19,
        product_id="BTC-USD",
        best_bid="1.5",
        best_bid_size="2",
        best_ask="0",
        best_ask_size="0",
        time="2026-09-01T12:00:00Z",
    ),
    _exchange("snapshot", product_id="BTC-USD", bids=[], asks=[]),
    _exchange("snapshot", product_id="ETH-USD", bids=[["1.50", "2"]], asks=[["1.6", "3"], ["1.7", "1"]]),
    _exchange(
        "l2update",
        product_id="BTC-USD",
        changes=[["sell", "60001.25000000", "0.00000000"], ["buy", "60001.24", "0.75"], ["buy", "60001.24", "0"]],
        time="2026-09-01T12:00:02.200000Z",
    ),
    _exchange("heartbeat", sequence=5012, last_trade_id=9**19, product_id="BTC-USD", time="2026-09-01T12:00:02Z"),
    _exchange("received", sequence=7, order_id="x", product_id="BTC-USD", side="buy", size="1", price="2"),
    _exchange("open", sequence=8, order_id="x", product_id="BTC-USD", side="buy", remaining_size="1", price="2"),
    _exchange("done", sequence=9, order_id="x", product_id="BTC-USD", side="buy", reason="canceled"),
    _exchange("change", sequence=9, order_id="y", product_id="BTC-USD", side="buy", new_size="1", price=None),
    _exchange("status", currencies=[], products=[{"id": "BTC-USD", "status": "delisted"}]),
    _exchange(
        "status", currencies=[], products=[{"id": "BTC-USD", "status": "offline", "quote_increment": "0.000001"}]
    ),
    b'[{"id":"BTC-USD","base_increment":"0.00000001","quote_increment":"0.01","status":"online"}]',
    b'[{"trade_id":5,"price":"1.5","size":"2","time":"2026-09-01T12:00:02.2Z","side":"buy"}]',
    b'{"sequence":5,"bids":[["1","2","x"]],"asks":[["3","1","y"]],"time":"2026-09-01T12:00:02.2Z"}',
)


def _advanced(channel: str, number: int, *events: Any) -> bytes:
    head = {"channel": channel, "client_id": "", "timestamp": "2026-09-01T12:00:03.000000123Z", "sequence_num": number}
    return json.dumps(head | {"events": events}, separators=(",", ":")).encode()


_PAST: Final = {"size": "0.5", "side": "BUY", "time": "2026-09-01T12:00:02.9Z"}
_ADVANCED_FRAMES: Final = (
    b'{"type":"error","message":"too many L2 streams requested in a single session"}',
    b'{"type":"error","message":"failure to subscribe"}',
    _advanced("candles", 7, {"type": "snapshot", "candles": []}),
    _advanced("l2_data", 8, {"type": "snapshot", "product_id": "BTC-USD", "updates": []}),
    _advanced("l2_data", 9**19, {"type": "update", "product_id": "BTC-USD", "updates": []}),
    _advanced("subscriptions", 10, {"subscriptions": {"level2": ["BTC-USD"], "heartbeats": ["heartbeats"]}}),
    _advanced(
        "market_trades",
        11,
        {
            "type": "update",
            "trades": [
                {"trade_id": "204", "product_id": "ETH-USD", "price": "2500.01"} | _PAST,
                {"trade_id": "203", "product_id": "BTC-USD", "price": "60001.3"} | _PAST,
            ],
        },
    ),
    _advanced(
        "ticker",
        12,
        {
            "type": "update",
            "tickers": [
                {"product_id": "BTC-USD", "best_bid": "", "best_bid_quantity": ""}
                | {"best_ask": "60001.30", "best_ask_quantity": "2.5"}
            ],
        },
    ),
    _advanced("status", 13, {"type": "update", "products": [{"id": "BTC-USD", "status": "delisted"}]}),
    _advanced("status", 14, {"type": "snapshot", "products": []}),
    _advanced(
        "status", 15, {"type": "update", "products": [{"id": "BTC-USD", "status": "x", "quote_increment": "1e-7"}]}
    ),
)


SAMPLES: Final = (
    VenueSample(
        venue="coinbase",
        symbols=("BTC-USD", "ETH-USD"),
        further="SOL-USD",
        owner=_coinbase_owner,
        levels=_coinbase_levels,
        fetch_book=_coinbase_book,
        depth=5000,
        frames=_COINBASE_FRAMES,
        read_from={"quote": b'"best_bid"'},
        watched=frozenset({"trade", "book"}),
        streams_named={"trade": "{symbol}@matches", "quote": "{symbol}@ticker", "book": "{symbol}@level2"},
        lossy="*@[!l]*",
        counted=frozenset({"trade", "quote"}),
    ),
    VenueSample(
        venue="coinbase-advanced",
        symbols=("BTC-USD", "ETH-USD"),
        further="SOL-USD",
        owner=_advanced_owner,
        levels=_advanced_levels,
        fetch_book=_advanced_book,
        depth=5000,
        frames=_ADVANCED_FRAMES,
        watched=frozenset({"book"}),
        streams_named={"trade": "{symbol}@market_trades", "quote": "{symbol}@ticker", "book": "{symbol}@level2"},
        read_from={"trade": b'"trades"', "quote": b'"best_bid"', "book": b'"price_level"'},
        fresh=lambda frame: re.sub(rb'"sequence_num":\d+', b'"sequence_num":1000000', frame),
        counted=frozenset({"trade"}),
        polled=False,
        by_name=True,
    ),
)
