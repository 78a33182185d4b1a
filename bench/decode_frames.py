"""The messages that `decode` reads: as venues write them, and as users read them. Imports nothing of the project."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from bench.trades import trade

Row = tuple[str, Decimal, Decimal, int, int]
"""Side, price, size, id, time in ns."""

_LEVELS: Final = 15  # of each side
_START: Final = datetime(2026, 9, 1, 12, tzinfo=UTC)


def quote(number: int) -> bytes:
    """A best bid and offer as Binance spot sends it in a combined stream."""
    bid, size = 61_837_630_000 + number % 977, 2_000 + number % 7919
    return (
        b'{"stream":"btcusdt@bookTicker","data":{"u":%d,"s":"BTCUSDT","b":"%d.%06d00","B":"3.%05d000",'
        b'"a":"%d.%06d00","A":"0.%05d000"}}'
        % (
            50_093_239_212 + 7 * number,
            bid // 1_000_000,
            bid % 1_000_000,
            size,
            bid // 1_000_000 + 1,
            bid % 1_000_000,
            size,
        )
    )


def extended_trade(number: int) -> bytes:
    """The same trade with fields that the venue may add, and that no one reads."""
    return trade(number)[:-2] + b',"st":1,"ps":"BTCUSDT"}}'


def aggregate_trade(number: int) -> bytes:
    """An aggregate trade, as cryptofeed takes trades from Binance."""
    first = b'"f":%d,"l":%d,"T":' % (2 * number, 2 * number + 1)
    return trade(number).replace(b"trade", b"aggTrade").replace(b'"t":', b'"a":').replace(b'"T":', first)


def depth(number: int) -> bytes:
    """A depth diff of Binance spot, of 30 levels."""
    bids, asks = (
        b",".join(
            b'["%d.%02d000000","%d.%05d000"]' % (whole, (7 * k + number) % 100, k % 3, (977 * k + number) % 100_000)
            for k in range(_LEVELS)
        )
        for whole in (61_834, 61_835)
    )
    return (
        b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":%d,"u":%d,"b":[%b],"a":[%b]}}'
        % (1_723_118_400_000 + 100 * number, 10 * number, 10 * number + 9, bids, asks)
    )


def kraken_trade(number: int) -> bytes:
    """A trade of Kraken's WebSocket v2."""
    time = f"{_START + timedelta(0, 0, 37 * number):%Y-%m-%dT%H:%M:%S.%fZ}"
    return (
        b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"%b","price":%d.%d,"qty":0.%08d,'
        b'"ord_type":"limit","trade_id":%d,"timestamp":"%b"}]}'
        % (b"buy" if number % 2 else b"sell", 61_834 + number % 10, number % 9, number, 900 + number, time.encode())
    )


def kraken_book(number: int) -> bytes:
    """An update of a Kraken book: three levels and the checksum."""
    time = f"{_START + timedelta(0, 0, 37 * number):%Y-%m-%dT%H:%M:%S.%fZ}"
    return (
        b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":61834.%d,"qty":0.%08d}],"asks":'
        b'[{"price":61835.%d,"qty":0.00000000},{"price":61836.1,"qty":1.%08d}],"checksum":%d,"timestamp":"%b"}]}'
        % (number % 10, number, number % 10, number, 7919 * number % 2**32, time.encode())
    )


def _trade_rows(message: Any) -> list[Row]:
    data = message["data"]
    side, ident = "sell" if data["m"] else "buy", data["a"] if "a" in data else data["t"]
    return [(side, Decimal(data["p"]), Decimal(data["q"]), ident, data["T"] * 1_000_000)]


def _quote_rows(message: Any) -> list[Row]:
    data = message["data"]
    return [
        ("bid", Decimal(data["b"]), Decimal(data["B"]), data["u"], 0),
        ("ask", Decimal(data["a"]), Decimal(data["A"]), data["u"], 0),
    ]


def _depth_rows(message: Any) -> list[Row]:
    data = message["data"]
    ident, time = data["u"], data["E"] * 1_000_000
    return [
        (side, Decimal(price), Decimal(size), ident, time)
        for side, levels in (("bid", data["b"]), ("ask", data["a"]))
        for price, size in levels
    ]


def _ns(text: str) -> int:
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


def _kraken_trade_rows(message: Any) -> list[Row]:
    return [
        (each["side"], each["price"], each["qty"], each["trade_id"], _ns(each["timestamp"])) for each in message["data"]
    ]


def _kraken_book_rows(message: Any) -> list[Row]:
    rows = []
    for each in message["data"]:
        time = _ns(each["timestamp"])
        for side, levels in (("bid", each["bids"]), ("ask", each["asks"])):
            rows += [(side, level["price"], level["qty"], 0, time) for level in levels]
    return rows


def kraken_1(rows: list[Row]) -> bytes:
    """The content of a Kraken message in version 1 of the protocol, which cryptofeed reads."""
    if rows[0][0] in ("buy", "sell"):
        trades = [[f"{row[1]:.5f}", f"{row[2]:.8f}", f"{row[4] / 1e9:.6f}", row[0][0], "l", ""] for row in rows]
        return json.dumps([337, trades, "trade", "XBT/USD"], separators=(",", ":")).encode()
    bids, asks = (
        [[f"{row[1]:.5f}", f"{row[2]:.8f}", f"{row[4] / 1e9:.6f}"] for row in rows if row[0] == side]
        for side in ("bid", "ask")
    )
    sides = [336, {"a": asks}, {"b": bids, "c": "974947235"}, "book-1000", "XBT/USD"]
    return json.dumps(sides, separators=(",", ":")).encode()


def empty_book(name: str) -> tuple[bytes, bytes]:
    """The book that a peer needs before changes: as an answer of Binance, and as a message of Kraken."""
    if "Kraken" in name:
        return b"", b'[336,{"as":[],"bs":[]},"book-1000","XBT/USD"]'
    return b'{"lastUpdateId":0,"bids":[],"asks":[]}', b""


class Case(NamedTuple):
    """A kind of message. Binance's numbers are text, Kraken's are bare; both rivals turn each into a Decimal."""

    name: str
    make: Callable[[int], bytes]
    rows: Callable[[Any], list[Row]]
    sides: tuple[str, str]
    symbol: str = "BTCUSDT"
    peers: bool = True  # cryptofeed reads it


CASES: Final = (
    Case("trades", trade, _trade_rows, ("buy", "sell"), peers=False),
    Case("trades with further fields", extended_trade, _trade_rows, ("buy", "sell"), peers=False),
    Case("aggregate trades", aggregate_trade, _trade_rows, ("buy", "sell")),
    Case("quotes", quote, _quote_rows, ("bid", "ask")),
    Case("depth of 30 levels", depth, _depth_rows, ("bid", "ask")),
    Case("Kraken trades", kraken_trade, _kraken_trade_rows, ("buy", "sell"), "BTC/USD"),
    Case("Kraken books", kraken_book, _kraken_book_rows, ("bid", "ask"), "BTC/USD"),
)
RIVALS: Final[dict[str, Callable[[bytes], Any]]] = {
    "json.loads + Decimal": lambda frame: json.loads(frame, parse_float=Decimal),
    "msgspec, untyped, + Decimal": msgspec.json.Decoder(float_hook=Decimal).decode,
}
