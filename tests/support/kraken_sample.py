"""Kraken: what the conformance suite must know about it."""

from __future__ import annotations

import json
from typing import Final

from sim_process import SimProcess
from venue_sample import Levels, VenueSample, numbers, sides
from websockets.sync.client import connect


def _kraken_owner(frame: bytes) -> tuple[str, str] | None:
    message = json.loads(frame)
    channels = {"ticker": "quote", "trade": "trade", "book": "book", "ohlc": "venue_bar"}
    channel = channels.get(message.get("channel"))
    symbols = {entry["symbol"] for entry in message["data"]} if channel else set()
    return (symbols.pop(), channel) if channel and len(symbols) == 1 else None


def _kraken_levels(frame: bytes) -> Levels:
    (book,) = numbers(frame)["data"]
    return sides(*([level.values() for level in book[side]] for side in ("bids", "asks")))


def _kraken_book(sim: SimProcess, symbol: str) -> bytes:
    with connect(
        sim.ws_url + "/v2", compression=None, max_size=None, proxy=None, close_timeout=1, open_timeout=90
    ) as ws:
        ws.send(json.dumps({"method": "subscribe", "params": {"channel": "book", "symbol": [symbol], "depth": 10}}))
        while True:
            frame = ws.recv(timeout=90, decode=False)
            if b'"snapshot","data"' in frame:
                return frame


_KRAKEN_FRAMES: Final = (
    (
        b'{"error":"Currency pair not supported FOO/BAR","method":"subscribe","req_id":1,"success":false,'
        b'"symbol":"FOO/BAR"}'
    ),
    b'{"Error":"Exceeded msg rate"}',
    b'{"error":"Malformed request","success":false}',
    b'{"method":"pong","req_id":3}',
    (
        b'{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"maintenance","api_version":"v2",'
        b'"connection_id":18446744073709551615}]}'
    ),
    b'{"channel":"status","type":"update","data":[]}',
    b'{"channel":"ohlc","type":"update","data":[]}',
    b'{"channel":"trade","type":"snapshot","data":[]}',
    (
        b'{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":0,'
        b'"timestamp":"2026-09-01T12:00:00.000001Z"}]}'
    ),
    (
        b'{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":1e3,"bid_qty":1E-8,"ask":1001.5,'
        b'"ask_qty":0.5,"last":1,"volume":1,"vwap":1,"low":1,"high":1,"change":0,"change_pct":0}]}'
    ),
    b'{"channel":"instrument","type":"update","data":{"assets":[],"pairs":[{"symbol":"BTC/USD","status":"delisted"}]}}',
    b'{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[]}}',
    (
        b'{"channel":"instrument","type":"update","data":{"assets":[],"pairs":[{"symbol":"BTC/USD","status":"cancel_only",'
        b'"qty_precision":9,"qty_increment":1e-09,"price_precision":1,"price_increment":0.1}]}}'
    ),
)


SAMPLES: Final = (
    VenueSample(
        venue="kraken",
        channels=("trade", "quote", "book", "venue_bar"),
        symbols=("BTC/USD", "ETH/USD"),
        further="SHIB/USD",
        owner=_kraken_owner,
        levels=_kraken_levels,
        fetch_book=_kraken_book,
        depth=10,
        ws_path="",
        frames=_KRAKEN_FRAMES,
        streams_named={"trade": "{symbol}@trade", "quote": "{symbol}@ticker-bbo", "book": "{symbol}@book-*"},
        counted=frozenset({"trade"}),
        corrupts=True,
        polled=False,
    ),
)
