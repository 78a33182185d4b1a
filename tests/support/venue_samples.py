"""What the conformance suite must know of each venue of the catalogue: with one row here a venue gets the whole suite.

Most frames come from the venue's simulated dialect. Here stand names, frames that the dialect does not send, and how to
read its book.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgspec
from sim_process import SimProcess
from websockets.sync.client import connect

from tickplant.records.layouts import Side

Levels = dict[Side, dict[Decimal, Decimal]]
"""Size by side and price."""


class VenueSample(msgspec.Struct, frozen=True, kw_only=True):
    """One venue."""

    venue: str
    symbols: tuple[str, ...]
    further: str  # one more, that the simulated venue trades and nobody follows
    owner: Callable[[bytes], tuple[str, str] | None]  # of a whole frame of market data: symbol and channel
    levels: Callable[[bytes], Levels]  # of a book as the simulated venue shows it
    fetch_book: Callable[[SimProcess, str], bytes]  # the same of a symbol, from a process
    depth: int  # levels a side of the book that a feed follows by default
    ws_path: str = ""  # of the simulated venue
    frames: tuple[bytes, ...] = ()  # documented, and not sent by the simulated venue, or seldom
    counted: frozenset[str] = frozenset()  # channels whose ids tell a repeat
    corrupts: bool = False  # a wrong digit of a book shows in its checksum
    polled: bool = True  # instrument data is asked for; else the venue pushes them


def _numbers(frame: bytes) -> Any:
    return json.loads(frame, parse_float=Decimal, parse_int=Decimal)


def _sides(bids: Any, asks: Any) -> Levels:
    return {
        side: {Decimal(price): Decimal(size) for price, size in rows}
        for side, rows in ((Side.BID, bids), (Side.ASK, asks))
    }


_BINANCE_STREAM: Final = re.compile(rb'\{"stream":"([^@"]+)@(trade|aggTrade|bookTicker|depth)')
_BINANCE_CHANNELS: Final = {b"trade": "trade", b"aggTrade": "agg_trade", b"bookTicker": "quote", b"depth": "book"}


def _binance_owner(frame: bytes) -> tuple[str, str] | None:
    found = _BINANCE_STREAM.match(frame)
    return None if found is None else (found[1].decode().upper(), _BINANCE_CHANNELS[found[2]])


def _binance_levels(body: bytes) -> Levels:
    book = _numbers(body)
    return _sides(book["bids"], book["asks"])


def _binance_book(prefix: str) -> Callable[[SimProcess, str], bytes]:
    return lambda sim, symbol: sim.get(f"{prefix}/depth?symbol={symbol}&limit=1000").content


_BINANCE_FRAMES: Final = (
    b'{"result":null,"id":1}',
    b'{"code":2,"msg":"Invalid request: too many streams","id":1}',
    b'{"error":{"code":2,"msg":"Invalid request"},"id":2}',
    b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1788264000000}}',
    b'{"stream":"btcusdt@miniTicker","data":{"e":"24hrMiniTicker","s":"BTCUSDT"}}',
    (
        b'{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1788264000013,"s":"BTCUSDT","k":{"t":1788264000000,'
        b'"T":1788264059999,"s":"BTCUSDT","i":"1m","f":100,"L":200,"o":"1.5","c":"2","h":"2.5","l":"1","v":"1000",'
        b'"n":100,"x":false,"q":"1","V":"500","Q":"0.5","B":"0"}}}'
    ),
    (
        b'{"stream":"ethusdt@markPrice@1s","data":{"e":"markPriceUpdate","E":1788264000013,"s":"ETHUSDT",'
        b'"p":"2594.15","i":"2594.62","P":"2594.25","r":"-0.00038167","T":1788264000000}}'
    ),
    (
        b'{"stream":"btcusdt@forceOrder","data":{"e":"forceOrder","E":1788264000014,"o":{"s":"BTCUSDT","S":"SELL",'
        b'"o":"LIMIT","f":"IOC","q":"0.014","p":"9910","ap":"9910","X":"FILLED","l":"0.014","z":"0.014",'
        b'"T":1788264000014}}}'
    ),
    b'{"stream":"btcusdt@depth5","data":{"lastUpdateId":7,"bids":[["1.5","2"]],"asks":[["1.6","3"]]}}',
    b'{"stream":"ethusdt@depthSnapshot","data":{"lastUpdateId":9,"bids":[["1.5","2"]],"asks":[["1.6","3"]]}}',
    b'{"lastUpdateId":8,"bids":[["1.5","2"]],"asks":[["1.6","3"]]}',
    b'{"e":"trade","E":1788264000013,"s":"BTCUSDT","t":5001,"p":"61000.25","q":"0.2","T":1788264000011,"m":true}',
    b'{"u":400900217,"s":"BTCUSDT","b":"61000.24","B":"31.2","a":"61000.25","A":"4"}',
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"T":1,"s":"BTCUSDT","t":9,"p":"0","q":"0","X":"NA","m":true}}',
    b'{"symbols":[{"symbol":"BTCUSDT","status":"BREAK","quotePrecision":9,"pricePrecision":9,"filters":[]}]}',
    b'[{"id":5,"price":"1.5","qty":"2","time":1788264000011,"isBuyerMaker":true}]',
    b'[{"a":5,"p":"1.5","q":"2","f":1,"l":2,"T":1788264000011,"m":true}]',
)


def _kraken_owner(frame: bytes) -> tuple[str, str] | None:
    message = json.loads(frame)
    channel = {"ticker": "quote", "trade": "trade", "book": "book"}.get(message.get("channel"))
    symbols = {entry["symbol"] for entry in message["data"]} if channel else set()
    return (symbols.pop(), channel) if channel and len(symbols) == 1 else None


def _kraken_levels(frame: bytes) -> Levels:
    (book,) = _numbers(frame)["data"]
    return _sides(*([level.values() for level in book[side]] for side in ("bids", "asks")))


def _kraken_book(sim: SimProcess, symbol: str) -> bytes:
    with connect(sim.ws_url + "/v2", compression=None, max_size=None, proxy=None, close_timeout=1) as ws:
        ws.send(json.dumps({"method": "subscribe", "params": {"channel": "book", "symbol": [symbol], "depth": 10}}))
        while True:
            frame = ws.recv(timeout=30.0, decode=False)
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

_BINANCE: Final = VenueSample(
    venue="binance",
    symbols=("BTCUSDT", "ETHUSDT"),
    further="BNBUSDT",
    owner=_binance_owner,
    levels=_binance_levels,
    fetch_book=_binance_book("/api/v3"),
    depth=5000,
    frames=_BINANCE_FRAMES,
    counted=frozenset({"trade", "agg_trade", "quote", "book"}),
)


def _coinm(frame: bytes) -> bytes:
    for coin in (b"BTC", b"ETH"):
        frame = frame.replace(coin + b"USDT", coin + b"USD_PERP").replace(
            coin.lower() + b"usdt", coin.lower() + b"usd_perp"
        )
    return frame


SAMPLES: Final[dict[str, VenueSample]] = {
    sample.venue: sample
    for sample in (
        _BINANCE,
        msgspec.structs.replace(_BINANCE, venue="binance-usdm", fetch_book=_binance_book("/fapi/v1")),
        msgspec.structs.replace(
            _BINANCE,
            venue="binance-coinm",
            symbols=("BTCUSD_PERP", "ETHUSD_PERP"),
            further="BNBUSD_PERP",
            fetch_book=_binance_book("/dapi/v1"),
            frames=tuple(map(_coinm, _BINANCE_FRAMES)),
        ),
        VenueSample(
            venue="kraken",
            symbols=("BTC/USD", "ETH/USD"),
            further="SHIB/USD",
            owner=_kraken_owner,
            levels=_kraken_levels,
            fetch_book=_kraken_book,
            depth=10,
            ws_path="",
            frames=_KRAKEN_FRAMES,
            counted=frozenset({"trade"}),
            corrupts=True,
            polled=False,
        ),
    )
}
