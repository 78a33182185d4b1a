"""Polygon: what the conformance suite must know about it."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from venue_sample import VenueSample

_POLYGON_EVENT: Final = re.compile(rb'\{"ev":"(X?[TQ]|A|AM|XAS?|LULD)","(?:sym|pair|T)":"([^"]+)"')
_POLYGON_CHANNELS: Final = {b"T": "trade", b"XT": "trade", b"Q": "quote", b"XQ": "quote", b"LULD": "statistic"}


def _polygon_owner(frame: bytes) -> tuple[str, str] | None:
    found = set(_POLYGON_EVENT.findall(frame))
    if len(found) != 1:
        return None
    kind, symbol = found.pop()
    return symbol.decode(), _POLYGON_CHANNELS.get(kind, "venue_bar")


_POLYGON_FRAMES: Final = (
    b'[{"ev":"status","status":"success","message":"subscribed to: T.MSFT"}]',
    b'[{"ev":"status","status":"error","message":"not authorized to subscribe to Q.MSFT"}]',
    b'[{"ev":"status","status":"slow_consumer","message":"client too slow"}]',
    b'[{"ev":"status","status":"max_connections","message":"Maximum number of connections exceeded."}]',
    b'[{"ev":"status","status":"auth_timeout","message":"too late"}]',
    b'[{"ev":"status","status":"maintenance"},{"ev":"ZZ","foo":null}]',
    (
        b'[{"ev":"T","sym":"MSFT","x":4,"i":"7","z":3,"p":414.13,"s":3,"c":[0,2,300],"t":1788264000785,"q":3681330,'
        b'"trfi":202,"trft":1788264000690},{"ev":"Q","sym":"MSFT","bx":4,"bp":0,"bs":0,"ax":7,"ap":414.14,"as":1,"c":0,'
        b'"t":1788264000786,"q":50385480,"z":3}]'
    ),
    b'[{"ev":"T","sym":"AAPL","x":4,"i":"7","z":3,"p":41e1,"s":0.5,"t":1788264000785,"q":7}]',
    b'[{"ev":"LULD","T":"MSFT","h":430.96,"l":398.11,"i":[21],"z":3,"t":1788264001700746,"q":290317}]',
    (
        b'[{"ev":"AM","sym":"MSFT","v":12345,"av":150004,"op":414.07,"vw":414.4488,"o":414.46,"c":414.4,"h":414.5,'
        b'"l":414.3,"a":414.4016,"z":53,"s":1788264000000,"e":1788264060000}]'
    ),
    b'[{"ev":"XT","pair":"ETH-USD","p":1.234e-05,"t":1788264001300,"s":1e6,"c":0,"i":"a9","x":23,"r":1788264001301}]',
    (
        b'[{"ev":"XL2","pair":"BTC-USD","t":1788264001500,"r":1788264001513,"x":1,"b":[[60021.5,0.3],[60021.4,2]],'
        b'"a":[[60022.0,1.25]]}]'
    ),
    b'[{"ev":"C","p":"EUR/USD","x":48,"a":1.14278,"b":1.14273,"t":1788264001600}]',
)

_POLYGON: Final = VenueSample(
    venue="polygon",
    symbols=("MSFT", "AAPL"),
    further="BRK.B",
    owner=_polygon_owner,
    channels=("trade", "quote", "venue_bar"),
    frames=_POLYGON_FRAMES,
    nothing=frozenset({b"[]"}),
    watched=frozenset(),
    streams_named={"trade": "T.{symbol}", "quote": "Q.{symbol}"},
    counted=frozenset({"trade"}),
    in_line=False,
    has_life=False,
    secrets={"key": "a-key-that-is-good"},
)


SAMPLES: Final = (
    _POLYGON,
    msgspec.structs.replace(
        _POLYGON,
        venue="polygon-options",
        symbols=("O:SPY261218C00700000", "O:SPY261218P00700000"),
        further="O:MSFT261218C00400000",
    ),
    msgspec.structs.replace(
        _POLYGON,
        venue="polygon-crypto",
        symbols=("BTC-USD", "ETH-USD"),
        further="SHIB-USD",
        watched=frozenset({"quote"}),
        streams_named={"trade": "XT.{symbol}", "quote": "XQ.{symbol}"},
    ),
)
