"""The streams that `peers` reads: one market, as each venue writes it. Imports nothing of the project or the peers.

Prices are integers in tenths, sizes in 10**-8. What is written must be recorded, so a content also serves to check the
result.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

PRICE_DECIMALS: Final = 1
SIZE_DECIMALS: Final = 8

Values = tuple[str, int, int]
"""Side, price, size of one record. Sides are buy and sell of a trade, bid and ask of a quote or level."""

Content = Callable[[int], list[Values]]
"""Maps the number of a message to its contents."""

_MID: Final = 618_350
_PLACES: Final = 40  # of the best prices of a side, which change
_DEEP: Final = 100  # levels of a side that never change
_CHANGED: Final = 10  # levels of a side in one diff
_START: Final = datetime(2026, 9, 1, 12, tzinfo=UTC)
_START_MS: Final = int(_START.timestamp() * 1000)
_FIRST_ID: Final = 3_735_683_259


def trade(number: int) -> list[Values]:
    """One trade."""
    return [("buy" if number % 3 else "sell", _MID + number % 97, 200_000 + number % 791_900)]


def quote(number: int) -> list[Values]:
    """The best bid and offer."""
    price = _MID + number % 97
    return [("bid", price, 200_000 + number % 791_900), ("ask", price + 1, 31_000_000 + number % 7_919)]


def diff(number: int) -> list[Values]:
    """Ten bids and ten asks, a third of them removals; the best bid and ask stay where they are."""
    return [
        (side, _MID + sign * (place + 1), 0 if place and (k + number) % 3 == 0 else 1 + (977 * k + number) % 100_000)
        for side, sign in (("bid", -1), ("ask", 1))
        for k in range(_CHANGED)
        for place in [(4 * k + number % 4) % _PLACES]
    ]


def whole() -> list[Values]:
    """The book before the first diff, best first."""
    return [
        (side, _MID + sign * (place + 1), 12_345_678)
        for side, sign in (("bid", -1), ("ask", 1))
        for place in range(_PLACES + _DEEP)
    ]


class Book:
    """Both sides of a book, for messages about the whole of it."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[int, int]] = {"bid": {}, "ask": {}}
        self.apply(whole())

    def apply(self, levels: Sequence[Values]) -> None:
        """Set the sizes of levels; 0 removes a level."""
        for side, price, size in levels:
            if size:
                self.sides[side][price] = size
            else:
                self.sides[side].pop(price, None)

    def checksum(self, price_factor: int) -> int:
        """Kraken's checksum, over the best ten levels of each side; prices are multiplied by `price_factor`."""
        text = "".join(
            f"{price * price_factor}{self.sides[side][price]}"
            for side in ("ask", "bid")
            for price in sorted(self.sides[side], reverse=side == "bid")[:10]
        )
        return zlib.crc32(text.encode())


class Stream(NamedTuple):
    """Messages of one kind from one venue."""

    venue: str  # of the catalogue
    message: str
    symbol: str
    content: Content
    frames: Callable[[int], list[bytes]]  # so many, from the first on
    snapshot: bytes = b""  # the book before
    asked: str = ""  # key of the request that the snapshot answers; empty where it comes in band
    theirs: Callable[[int], list[bytes]] | None = None  # the same content in another protocol, which cryptofeed reads
    their_snapshot: bytes = b""
    makers: bool = False  # the side of a trade is the maker's on the wire, and cryptofeed leaves it so
    lacks: str = ""  # a side of the snapshot that cryptofeed passes over, since it knows it by another word
    checksums: bool = False  # the venue sends some, which the project always checks, and cryptofeed on request


def _price(value: int, zeros: str = "") -> str:
    return f"{value // 10}.{value % 10}{zeros}"


def _size(value: int) -> str:
    return f"{value // 10**8}.{value % 10**8:08d}"


def _pairs(levels: Sequence[Values], side: str, form: str, zeros: str = "") -> str:
    return ",".join(form % (_price(price, zeros), _size(size)) for name, price, size in levels if name == side)


# Binance.

_ZEROS: Final = "0" * 7


def _wrapped(stream: str, data: str) -> bytes:
    return f'{{"stream":"btcusdt@{stream}","data":{data}}}'.encode()


def _binance_trades(form: str) -> Callable[[int], list[bytes]]:
    def frame(number: int) -> bytes:
        ((side, price, size),) = trade(number)
        now_ms = _START_MS + number // 20
        values = {
            "event": now_ms + 1,
            "id": _FIRST_ID + number,
            "price": _price(price, _ZEROS),
            "size": _size(size),
            "first": 2 * _FIRST_ID + 2 * number,
            "time": now_ms,
            "maker": "false" if side == "buy" else "true",
        }
        return _wrapped("aggTrade", form % values)

    return lambda count: [frame(number) for number in range(count)]


_AGG_TRADE: Final = (
    '{"e":"aggTrade","E":%(event)d,"s":"BTCUSDT","a":%(id)d,"p":"%(price)s","q":"%(size)s","f":%(first)d,'
    '"l":%(first)d,"T":%(time)d,"m":%(maker)s'
)


def _binance_quotes(head: str, tail: str) -> Callable[[int], list[bytes]]:
    def frame(number: int) -> bytes:
        bid, ask = quote(number)
        four = (
            f'"b":"{_price(bid[1], _ZEROS)}","B":"{_size(bid[2])}","a":"{_price(ask[1], _ZEROS)}","A":"{_size(ask[2])}"'
        )
        ident, now_ms = 50_093_239_212 + 7 * number, _START_MS + number // 20
        times = tail.replace("TIME", str(now_ms))
        return _wrapped("bookTicker", f'{{{head}"u":{ident},"s":"BTCUSDT",{four}{times}}}')

    return lambda count: [frame(number) for number in range(count)]


def _binance_diffs(*, futures: bool) -> Callable[[int], list[bytes]]:
    def frame(number: int) -> bytes:
        levels, now_ms, last = diff(number), _START_MS + 100 * number, 10 * number + 1000
        time = f'"T":{now_ms},' if futures else ""
        previous = f'"pu":{last - 10},' if futures else ""
        return _wrapped(
            "depth@100ms",
            f'{{"e":"depthUpdate","E":{now_ms},{time}"s":"BTCUSDT","U":{last - 9},"u":{last},{previous}'
            f'"b":[{_pairs(levels, "bid", _TEXTS, _ZEROS)}],"a":[{_pairs(levels, "ask", _TEXTS, _ZEROS)}]}}',
        )

    return lambda count: [frame(number) for number in range(count)]


_TEXTS: Final = '["%s","%s"]'


def _binance_snapshot(*, futures: bool) -> bytes:
    time = f'"E":{_START_MS},"T":{_START_MS},' if futures else ""
    bids, asks = (_pairs(whole(), side, _TEXTS, _ZEROS) for side in ("bid", "ask"))
    return f'{{"lastUpdateId":990,{time}"bids":[{bids}],"asks":[{asks}]}}'.encode()


def _binance(venue: str, *, futures: bool) -> tuple[Stream, ...]:
    end = "}" if futures else ',"M":true}'
    head, tail = ('"e":"bookTicker",', ',"T":TIME,"E":TIME') if futures else ("", "")
    return (
        Stream(venue, "aggregate trade", "BTCUSDT", trade, _binance_trades(_AGG_TRADE + end)),
        Stream(venue, "quote", "BTCUSDT", quote, _binance_quotes(head, tail)),
        Stream(
            venue,
            "diff of 20 levels",
            "BTCUSDT",
            diff,
            _binance_diffs(futures=futures),
            _binance_snapshot(futures=futures),
            "depth BTCUSDT",
        ),
    )


# Kraken: version 2, and version 1, which is what cryptofeed speaks.

_PAIR: Final = '{"price":%s,"qty":%s}'
_FIVE: Final = "0" * 4  # version 1 prints five decimals


def _rfc3339(number: int) -> str:
    return f"{_START + timedelta(0, 0, 37 * number):%Y-%m-%dT%H:%M:%S.%fZ}"


def _seconds(number: int) -> str:
    return f"{_START_MS // 1000}.{37 * number % 10**6:06d}"


def _kraken_trade(number: int) -> bytes:
    ((side, price, size),) = trade(number)
    return (
        f'{{"channel":"trade","type":"update","data":[{{"symbol":"BTC/USD","side":"{side}","price":{_price(price)},'
        f'"qty":{_size(size)},"ord_type":"limit","trade_id":{900 + number},"timestamp":"{_rfc3339(number)}"}}]}}'
    ).encode()


def _kraken_trade_1(number: int) -> bytes:
    ((side, price, size),) = trade(number)
    values = f'"{_price(price, _FIVE)}","{_size(size)}","{_seconds(number)}","{side[0]}","l",""'
    return f'[337,[[{values}]],"trade","XBT/USD"]'.encode()


def _kraken_quote(number: int) -> bytes:
    bid, ask = quote(number)
    return (
        f'{{"channel":"ticker","type":"update","data":[{{"symbol":"BTC/USD","bid":{_price(bid[1])},'
        f'"bid_qty":{_size(bid[2])},"ask":{_price(ask[1])},"ask_qty":{_size(ask[2])},"last":{_price(bid[1])},'
        f'"volume":2163.75113298,"vwap":61650.1,"low":60800.0,"high":62310.4,"change":-212.3,"change_pct":-0.34,'
        f'"timestamp":"{_rfc3339(number)}"}}]}}'
    ).encode()


def _kraken_quote_1(number: int) -> bytes:
    bid, ask = quote(number)
    return (
        f'[340,{{"a":["{_price(ask[1], _FIVE)}",0,"{_size(ask[2])}"],'
        f'"b":["{_price(bid[1], _FIVE)}",0,"{_size(bid[2])}"],'
        f'"c":["{_price(bid[1], _FIVE)}","0.01000000"],"v":["2163.75113298","4201.10233001"],"p":["61650.10000",'
        f'"61590.20000"],"t":[24966,46717],"l":["60800.00000","60800.00000"],"h":["62310.40000","62310.40000"],'
        f'"o":["62047.30000","61990.10000"]}},"ticker","XBT/USD"]'
    ).encode()


def _kraken_books(count: int) -> list[bytes]:
    book, frames = Book(), []
    for number in range(count):
        levels = diff(number)
        book.apply(levels)
        bids, asks = (_pairs(levels, side, _PAIR) for side in ("bid", "ask"))
        frames.append(
            f'{{"channel":"book","type":"update","data":[{{"symbol":"BTC/USD","bids":[{bids}],"asks":[{asks}],'
            f'"checksum":{book.checksum(1)},"timestamp":"{_rfc3339(number)}"}}]}}'.encode()
        )
    return frames


def _kraken_books_1(count: int) -> list[bytes]:
    book, frames = Book(), []
    for number in range(count):
        levels, form = diff(number), f'["%s","%s","{_seconds(number)}"]'
        book.apply(levels)
        bids, asks = (_pairs(levels, side, form, _FIVE) for side in ("bid", "ask"))
        checksum = book.checksum(10**4)
        frames.append(f'[336,{{"a":[{asks}]}},{{"b":[{bids}],"c":"{checksum}"}},"book-1000","XBT/USD"]'.encode())
    return frames


def _kraken_snapshot() -> bytes:
    bids, asks = (_pairs(whole(), side, _PAIR) for side in ("bid", "ask"))
    return (
        f'{{"channel":"book","type":"snapshot","data":[{{"symbol":"BTC/USD","bids":[{bids}],"asks":[{asks}],'
        f'"checksum":{Book().checksum(1)},"timestamp":"{_rfc3339(0)}"}}]}}'
    ).encode()


def _kraken_snapshot_1() -> bytes:
    bids, asks = (_pairs(whole(), side, f'["%s","%s","{_seconds(0)}"]', _FIVE) for side in ("bid", "ask"))
    return f'[336,{{"as":[{asks}],"bs":[{bids}]}},"book-1000","XBT/USD"]'.encode()


def _each(frame: Callable[[int], bytes]) -> Callable[[int], list[bytes]]:
    return lambda count: [frame(number) for number in range(count)]


# Coinbase Advanced Trade.

_LEVEL: Final = '{"side":"%s","event_time":"2026-09-01T12:00:00.000037Z","price_level":"%s","new_quantity":"%s"}'


def _coinbase(channel: str, number: int, event: str) -> bytes:
    return (
        f'{{"channel":"{channel}","client_id":"","timestamp":"{_rfc3339(number)}","sequence_num":{number},'
        f'"events":[{{{event}}}]}}'
    ).encode()


def _coinbase_trade(number: int) -> bytes:
    ((side, price, size),) = trade(number)
    maker = "SELL" if side == "buy" else "BUY"
    return _coinbase(
        "market_trades",
        number,
        f'"type":"update","trades":[{{"product_id":"BTC-USD","trade_id":"{43736593 + number}",'
        f'"price":"{_price(price)}","size":"{_size(size)}","time":"{_rfc3339(number)}","side":"{maker}"}}]',
    )


def _coinbase_book(kind: str, number: int, values: Sequence[Values]) -> bytes:
    names = {"bid": "bid", "ask": "offer"}
    levels = ",".join(_LEVEL % (names[side], _price(price), _size(size)) for side, price, size in values)
    return _coinbase("l2_data", number, f'"type":"{kind}","product_id":"BTC-USD","updates":[{levels}]')


STREAMS: Final = (
    *_binance("binance", futures=False),
    *_binance("binance-usdm", futures=True),
    Stream("kraken", "trade", "BTC/USD", trade, _each(_kraken_trade), theirs=_each(_kraken_trade_1)),
    Stream("kraken", "quote", "BTC/USD", quote, _each(_kraken_quote), theirs=_each(_kraken_quote_1)),
    Stream(
        "kraken",
        "diff of 20 levels",
        "BTC/USD",
        diff,
        _kraken_books,
        _kraken_snapshot(),
        theirs=_kraken_books_1,
        their_snapshot=_kraken_snapshot_1(),
        checksums=True,
    ),
    Stream("coinbase-advanced", "trade", "BTC-USD", trade, _each(_coinbase_trade), makers=True),
    Stream(
        "coinbase-advanced",
        "diff of 20 levels",
        "BTC-USD",
        diff,
        _each(lambda number: _coinbase_book("update", number + 1, diff(number))),
        _coinbase_book("snapshot", 0, whole()),
        lacks="ask",
    ),
)
"""Streams that no peer reads from Python are left out: cryptofeed 2.4.1 has no Coinbase Exchange, Polygon, dxLink or
Databento, and no orders of Coinbase or Kraken. Binance COIN-M takes the same path as USD-M."""
