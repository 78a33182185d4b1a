"""dxLink, with and without tastytrade: what the conformance suite must know about it."""

from __future__ import annotations

import json
from typing import Final

import msgspec
from venue_sample import VenueSample

_DXLINK_ORDER: Final = {
    "TimeAndSale": ("trade", 14, 1),
    "Quote": ("quote", 10, 1),
    "Trade": ("agg_trade", 7, 1),
}
"""By type: the channel, the number of values in an event of the simulated venue, and which of them is the symbol."""


def _dxlink_owner(frame: bytes) -> tuple[str, str] | None:
    message = json.loads(frame)
    if message.get("type") != "FEED_DATA" or message["data"][0] not in _DXLINK_ORDER:
        return None
    channel, width, place = _DXLINK_ORDER[message["data"][0]]
    symbols = set(message["data"][1][place::width])
    return (symbols.pop(), channel) if len(symbols) == 1 else None


_DXLINK_FRAMES: Final = (
    b'{"type":"AUTH_STATE","channel":0,"state":"AUTHORIZED","userId":"u-1"}',
    b'{"type":"ERROR","channel":0,"error":"TIMEOUT","message":"no keepalive received"}',
    b'{"type":"CHANNEL_CLOSED","channel":3}',
    b'{"type":"SOMETHING_NEW","channel":0,"x":null}',
    b'{"type":"FEED_CONFIG","channel":3,"aggregationPeriod":0,"dataFormat":"FULL"}',
    (
        b'{"type":"FEED_DATA","channel":1,"data":["Quote",["Quote","AAPL",0,1,1788264001000,230.13,"NaN",0,"NaN","NaN",'
        b'"Quote","MSFT",0,2,0,414.2,2,1788264000000,4.141E2,1.0E1],"TimeAndSale",[]]}'
    ),
    (
        b'{"type":"FEED_DATA","channel":3,"data":["TimeAndSale",["TimeAndSale","AAPL",7680535401890578439,1788264001234,'
        b'567890,"Q",100.0,230.15,"BUY",false,true,"CORRECTION",0,"@   ","TimeAndSale","AAPL",7680535401890578439,'
        b'1788264001234,0,"Q","NaN","NaN","UNDEFINED",true,false,"CANCEL",0,"","TimeAndSale","AAPL",7680535401890578439,'
        b'1788264001234,0,"Q","NaN","NaN","UNDEFINED",false,true,"NEW",2,""]]}'
    ),
    (
        b'{"type":"FEED_DATA","channel":3,"data":[{"eventType":"Quote","eventSymbol":"MSFT","bidPrice":650.01,'
        b'"askPrice":650.02,"askSize":400,"askTime":1788264003000},{"eventType":"TimeAndSale","eventSymbol":"AAPL",'
        b'"index":7680535409918476288,"time":1788264003100,"price":650.02,"size":5,"aggressorSide":"BUY","type":"NEW"}]}'
    ),
    (
        b'{"type":"FEED_DATA","channel":5,"data":[["Trade",["eventSymbol","price","size"]],["AAPL",6.5E+3,2,"MSFT",'
        b'"NaN","NaN"]]}'
    ),
    (
        b'{"type":"FEED_DATA","channel":5,"data":[{"eventType":"Candle","eventSymbol":"AAPL{=5m}","time":1788264000000,'
        b'"count":3,"open":1,"high":2.5,"low":1,"close":2,"volume":4.3020691E7},{"eventType":"Greeks","eventSymbol":"MSFT",'
        b'"time":1788264000000,"price":1.5,"delta":-0.25,"gamma":"NaN","vega":1.2E-10}]}'
    ),
)

_DXLINK: Final = VenueSample(
    venue="dxlink",
    symbols=("AAPL", "MSFT"),
    further="SPY",
    owner=_dxlink_owner,
    channels=("trade", "quote"),
    frames=_DXLINK_FRAMES,
    watched=frozenset({"quote"}),
    streams_named={"trade": "{symbol}@TimeAndSale", "quote": "{symbol}@Quote"},
    counted=frozenset({"trade"}),
    in_line=False,
    has_life=False,
    acknowledges=False,
)


SAMPLES: Final = (
    _DXLINK,
    msgspec.structs.replace(
        _DXLINK,
        venue="tastytrade",
        secrets={"client_secret": "a-secret-that-is-good", "refresh_token": "a-token-that-is-good"},
    ),
)
