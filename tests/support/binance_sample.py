"""Binance: what the conformance suite must know about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec
from sim_process import SimProcess
from venue_sample import Levels, VenueSample, numbers, sides

_BINANCE_STREAM: Final = re.compile(
    rb'\{"stream":"([^@"]+)@(trade|aggTrade|bookTicker|depth(?:5|10|20)?|kline|markPrice|forceOrder)[@_"]'
)
_BINANCE_CHANNELS: Final = (
    {b"trade": "trade", b"aggTrade": "agg_trade", b"bookTicker": "quote", b"depth": "book", b"kline": "venue_bar"}
    | dict.fromkeys((b"depth5", b"depth10", b"depth20"), "partial_book")
    | {b"markPrice": "statistic", b"forceOrder": "liquidation"}
)


def _binance_owner(frame: bytes) -> tuple[str, str] | None:
    found = _BINANCE_STREAM.match(frame)
    return None if found is None else (found[1].decode().upper(), _BINANCE_CHANNELS[found[2]])


def _binance_levels(body: bytes) -> Levels:
    book = numbers(body)
    return sides(book["bids"], book["asks"])


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


_BINANCE: Final = VenueSample(
    venue="binance",
    symbols=("BTCUSDT", "ETHUSDT"),
    further="BNBUSDT",
    owner=_binance_owner,
    channels=("trade", "quote", "book", "partial_book", "venue_bar"),
    levels=_binance_levels,
    fetch_book=_binance_book("/api/v3"),
    depth=5000,
    frames=_BINANCE_FRAMES,
    streams_named={"trade": "{lower}@trade", "quote": "{lower}@bookTicker", "book": "{lower}@depth@*"},
    counted=frozenset({"trade", "agg_trade", "quote", "book"}),
)


_FUTURES: Final = (*_BINANCE.channels, "statistic", "liquidation")


def _coinm(frame: bytes) -> bytes:
    for coin in (b"BTC", b"ETH"):
        frame = frame.replace(coin + b"USDT", coin + b"USD_PERP").replace(
            coin.lower() + b"usdt", coin.lower() + b"usd_perp"
        )
    return frame


SAMPLES: Final = (
    _BINANCE,
    msgspec.structs.replace(_BINANCE, venue="binance-usdm", channels=_FUTURES, fetch_book=_binance_book("/fapi/v1")),
    msgspec.structs.replace(
        _BINANCE,
        venue="binance-coinm",
        channels=("trade", "quote", "book"),  # what is on request is that of binance-usdm
        symbols=("BTCUSD_PERP", "ETHUSD_PERP"),
        further="BNBUSD_PERP",
        fetch_book=_binance_book("/dapi/v1"),
        frames=tuple(map(_coinm, _BINANCE_FRAMES)),
    ),
)
