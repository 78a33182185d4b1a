"""What the conformance suite must know of each venue of the catalogue: with one row here a venue gets the whole suite.

Most frames come from the venue's simulated dialect. Here stand names, frames that the dialect does not send, and how to
read its book.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

import dbn_sample
import msgspec
from sim_process import SimProcess
from websockets.sync.client import connect

from tickplant.feeds.contract import Event
from tickplant.records.channels import ON_CHANNEL
from tickplant.records.layouts import Flag, Side

Levels = dict[Side, dict[Decimal, Decimal]]
"""Size by side and price."""


class VenueSample(msgspec.Struct, frozen=True, kw_only=True):
    """One venue."""

    venue: str
    symbols: tuple[str, ...]
    further: str  # one more, that the simulated venue trades and nobody follows
    owner: Callable[[bytes], tuple[str, str] | None]  # of a whole frame of market data: symbol and channel
    channels: tuple[str, ...] = ("trade", "quote", "book")  # what the suite has it record
    levels: Callable[[bytes], Levels] | None = None  # of a book as the simulated venue shows it
    fetch_book: Callable[[SimProcess, str], bytes] | None = None  # the same of a symbol, from a process
    depth: int = 0  # levels a side of the book that a feed follows by default
    ws_path: str = ""  # of the simulated venue
    frames: tuple[bytes, ...] = ()  # documented, and not sent by the simulated venue, or seldom
    nothing: frozenset[bytes] = frozenset()  # frames without a stream that are sound, and say nothing
    counted: frozenset[str] = frozenset()  # channels whose ids tell a repeat
    read_from: dict[str, bytes] = {}  # by channel, behind what the numbers that a feed reads stand in a frame
    fresh: Callable[[bytes], bytes] = lambda frame: frame  # as it comes over a connection that has sent others since
    streams_named: dict[str, str] = {}  # by channel, the simulated venue's stream; {lower}: a symbol in small letters
    watched: frozenset[str] = frozenset({"trade", "quote", "book"})  # channels whose silence is known not to be rest
    lossy: str = "*"  # pattern of the simulated venue's streams of which a feed notices what is lost, or goes on right
    in_line: bool = True  # the ids of its trades have no holes
    has_links: bool = True  # else all comes by requests
    has_life: bool = True  # it says how its instruments change
    secrets: dict[str, str] = {}  # the values of a credential that its simulated self takes
    corrupts: bool = False  # a wrong digit of a book shows in its checksum
    polled: bool = True  # instrument data is asked for; else the venue pushes them
    by_name: bool = False  # it says of its instruments what it is asked by name
    acknowledges: bool = True  # it says whether it takes a subscription
    told: Callable[[], Iterator[tuple[int, Event]]] | None = None  # a session of a venue that has no simulated dialect
    stream: bool = False  # a link brings bytes that a read cuts anywhere, not frames

    def stream_of(self, symbol: str, channel: str) -> str:
        """Pattern of the simulated venue's stream of a channel of a symbol."""
        return self.streams_named[channel].format(symbol=symbol, lower=symbol.lower())

    @property
    def has_book(self) -> bool:
        """Whether the suite has it record books."""
        return "book" in self.channels

    @property
    def aggregate(self) -> int:
        """AGGREGATE where its trades are aggregates, else 0."""
        return 0 if "trade" in self.channels else int(Flag.AGGREGATE)

    @property
    def streams(self) -> set[Flag]:
        """The flags of its channels."""
        return {ON_CHANNEL[channel] for channel in self.channels}

    @property
    def all_streams(self) -> int:
        """These flags as one."""
        return int(sum(self.streams))

    @property
    def untold(self) -> set[Flag]:
        """Streams of which no id tells what an interruption has cost."""
        return self.streams - ({Flag.ON_TRADE} if self.in_line else set())


def _numbers(frame: bytes) -> Any:
    return json.loads(frame, parse_float=Decimal, parse_int=Decimal)


def _sides(bids: Any, asks: Any) -> Levels:
    return {
        side: {Decimal(price): Decimal(size) for price, size in rows}
        for side, rows in ((Side.BID, bids), (Side.ASK, asks))
    }


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
    channels = {"ticker": "quote", "trade": "trade", "book": "book", "ohlc": "venue_bar"}
    channel = channels.get(message.get("channel"))
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


def _coinbase_owner(frame: bytes) -> tuple[str, str] | None:
    message = json.loads(frame)
    channels = {"match": "trade", "last_match": "trade", "ticker": "quote", "l2update": "book", "snapshot": "book"}
    channel = channels.get(message.get("type"))
    return None if channel is None else (message["product_id"], channel)


def _coinbase_levels(frame: bytes) -> Levels:
    book = _numbers(frame)
    return _sides(book["bids"], book["asks"])


def _first_frame(sim: SimProcess, request: dict[str, Any], mark: bytes) -> bytes:
    with connect(sim.ws_url + "/", compression=None, max_size=None, proxy=None, close_timeout=1) as ws:
        ws.send(json.dumps({"type": "subscribe"} | request))
        while True:
            frame = ws.recv(timeout=30.0, decode=False)
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
    (event,) = _numbers(frame)["events"]
    sides = ([one for one in event["updates"] if one["side"] == side] for side in ("bid", "offer"))
    return _sides(*([(one["price_level"], one["new_quantity"]) for one in side] for side in sides))


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

_OKX_CHANNELS: Final = {"trades": "agg_trade", "tickers": "quote", "books": "book"}


def _okx_owner(frame: bytes) -> tuple[str, str] | None:
    if frame == b"pong":
        return None
    message = json.loads(frame)
    channel = _OKX_CHANNELS.get(message.get("arg", {}).get("channel"))
    return (message["arg"]["instId"], channel) if channel and "data" in message else None


def _okx_levels(frame: bytes) -> Levels:
    (book,) = _numbers(frame)["data"]
    return _sides(*([level[:2] for level in book[side]] for side in ("bids", "asks")))


def _okx_book(sim: SimProcess, symbol: str) -> bytes:
    with connect(sim.ws_url + "/ws/v5/public", compression=None, max_size=None, proxy=None, close_timeout=1) as ws:
        ws.send(json.dumps({"op": "subscribe", "args": [{"channel": "books", "instId": symbol}]}))
        while True:
            frame = ws.recv(timeout=30.0, decode=False)
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

_SERIES_SYMBOL: Final = re.compile(rb'"2\. Symbol": ?"([^"]+)"')


def _alpha_vantage_owner(body: bytes) -> tuple[str, str] | None:
    found = _SERIES_SYMBOL.search(body)
    return None if found is None else (found[1].decode(), "venue_bar")


_ALPHA_VANTAGE_BODIES: Final = (
    (
        b'{"Meta Data":{"1. Information":"Intraday (1min)","2. Symbol":"IBM","3. Last Refreshed":"2026-09-01 08:00:00",'
        b'"4. Interval":"1min","5. Output Size":"Compact","6. Time Zone":"US/Eastern"},"Time Series (1min)":{'
        b'"2026-09-01 08:00:00":{"1. open":"86.4900","2. high":"86.5000","3. low":"86.4750","4. close":"86.5000",'
        b'"5. volume":"10494"},"2026-09-01 07:59:00":{"1. open":"86.4900","2. high":"86.5000","3. low":"86.4801",'
        b'"4. close":"86.5000","5. volume":"12682"}}}'
    ),
    (
        b'{"Meta Data":{"2. Symbol":"MSFT","5. Time Zone":"US/Eastern"},"Time Series (Daily)":{"2026-08-31":'
        b'{"1. open":"1.5","2. high":"2","3. low":"1","4. close":"1.75","5. volume":"7"}}}'
    ),
    b'{"Error Message":"Invalid API call. Please retry."}',
    b'{"Note":"Our standard API call frequency is 5 calls per minute"}',
    b'{"Information":"This is a premium endpoint."}',
    b'{"Meta Data":{"2. Symbol":"IBM","4. Interval":"1min","6. Time Zone":"Mars/Olympus"},"Time Series (1min)":{}}',
)

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

_DXLINK_ORDER: Final = {
    "TimeAndSale": ("trade", 14, 1),
    "Quote": ("quote", 10, 1),
    "Trade": ("agg_trade", 7, 1),
}
"""By type: the channel, and how many values an event of the simulated venue has, and which of them is the symbol."""


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


SAMPLES: Final[dict[str, VenueSample]] = {
    sample.venue: sample
    for sample in (
        _BINANCE,
        msgspec.structs.replace(
            _BINANCE, venue="binance-usdm", channels=_FUTURES, fetch_book=_binance_book("/fapi/v1")
        ),
        msgspec.structs.replace(
            _BINANCE,
            venue="binance-coinm",
            channels=("trade", "quote", "book"),  # what is on request is that of binance-usdm
            symbols=("BTCUSD_PERP", "ETHUSD_PERP"),
            further="BNBUSD_PERP",
            fetch_book=_binance_book("/dapi/v1"),
            frames=tuple(map(_coinm, _BINANCE_FRAMES)),
        ),
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
        VenueSample(
            venue="alpha-vantage",
            symbols=("IBM", "MSFT"),
            further="TSCO.LON",
            owner=_alpha_vantage_owner,
            channels=("venue_bar",),
            frames=_ALPHA_VANTAGE_BODIES,
            in_line=False,
            has_links=False,
            has_life=False,
            secrets={"key": "a-key-that-is-good", "requests_per_day": "5000"},
        ),
        _DXLINK,
        msgspec.structs.replace(
            _DXLINK,
            venue="tastytrade",
            secrets={"client_secret": "a-secret-that-is-good", "refresh_token": "a-token-that-is-good"},
        ),
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
        VenueSample(
            venue="databento",
            symbols=dbn_sample.SYMBOLS,
            further="GLBX.MDP3/NONE",
            owner=dbn_sample.owner,
            channels=("orders", "trade"),
            frames=tuple(dbn_sample.layouts(1)),
            in_line=False,
            has_life=False,
            secrets=dbn_sample.SECRETS,
            told=dbn_sample.session,
            stream=True,
        ),
    )
}

WITH_FRAMES: Final = {name: sample for name, sample in SAMPLES.items() if not sample.stream}
WITH_LINKS: Final = {name: sample for name, sample in WITH_FRAMES.items() if sample.has_links}
WITH_BOOKS: Final = {name: sample for name, sample in SAMPLES.items() if sample.has_book}
WITH_LIVES: Final = {name: sample for name, sample in SAMPLES.items() if sample.has_life}
