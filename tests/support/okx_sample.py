"""OKX: what the conformance suite must know about it."""

from __future__ import annotations

import json
from typing import Final

from sim_process import SimProcess
from venue_sample import Levels, VenueSample, numbers, sides
from websockets.sync.client import connect

_OKX_CHANNELS: Final = {"trades": "agg_trade", "tickers": "quote", "books": "book"}


def _okx_owner(frame: bytes) -> tuple[str, str] | None:
    if frame == b"pong":
        return None
    message = json.loads(frame)
    channel = _OKX_CHANNELS.get(message.get("arg", {}).get("channel"))
    return (message["arg"]["instId"], channel) if channel and "data" in message else None


def _okx_levels(frame: bytes) -> Levels:
    (book,) = numbers(frame)["data"]
    return sides(*([level[:2] for level in book[side]] for side in ("bids", "asks")))


def _okx_book(sim: SimProcess, symbol: str) -> bytes:
    with connect(
        sim.ws_url + "/ws/v5/public", compression=None, max_size=None, proxy=None, close_timeout=1, open_timeout=90
    ) as ws:
        ws.send(json.dumps({"op": "subscribe", "args": [{"channel": "books", "instId": symbol}]}))
        while True:
            frame = ws.recv(timeout=90, decode=False)
            if b'"snapshot"' in frame:
                return frame


_OKX_FRAMES: Final = (
    b"pong",
    b'{"event":"error","code":"60012","msg":"Illegal request","connId":"a4d3ae55"}',
    b'{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade."}',
    b'{"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[["1597026383085","8533.02"]]}',
    (
        b'{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instType":"SPOT","instId":"BTC-USDT","last":"1",'
        b'"lastSz":"1","askPx":"","askSz":"","bidPx":"8888.5","bidSz":"5","ts":"1788264000013"}]}'
    ),
    (
        b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[["60001.5","0.25","0","2"]],'
        b'"bids":[],"ts":"1788264000013","checksum":-855196043,"prevSeqId":7,"seqId":8}]}'
    ),
    (
        b'{"arg":{"channel":"books","instId":"ETH-USDT"},"action":"update","data":[{"asks":[["2600.5","0.25","0","2"]],'
        b'"bids":[["2600","0","0","0"]],"ts":"1788264000013","checksum":855196043}]}'
    ),
    (
        b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[],"bids":[],'
        b'"ts":"1788264000013","checksum":0,"prevSeqId":8,"seqId":8}]}'
    ),
    b'{"code":"0","data":[{"instId":"BTC-USDT","state":"suspend","tickSz":"0.000000001","lotSz":"1"}],"msg":""}',
)


SAMPLES: Final = (
    VenueSample(
        venue="okx",
        symbols=("BTC-USDT", "ETH-USDT"),
        further="SOL-USDT",
        owner=_okx_owner,
        channels=("agg_trade", "quote", "book"),
        levels=_okx_levels,
        fetch_book=_okx_book,
        depth=400,
        frames=_OKX_FRAMES,
        lossy="*@books",
        counted=frozenset({"agg_trade"}),
        in_line=False,
    ),
)
