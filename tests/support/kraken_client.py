"""Tools for tests of the simulated Kraken: a market as the venue prints it, and a client that follows its frames."""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from tickplant.sim.dialect import Events
from tickplant.sim.dialects.kraken.printer import KrakenPrinter
from tickplant.sim.dialects.kraken.shapes import BOOK, DEPTHS, KINDS
from tickplant.sim.market import Market

SYMBOLS = ("BTC/USD", "ETH/BTC", "SHIB/USD")
MS = 1_000_000
ORIGIN_NS = 1_788_264_000 * 10**9  # 2026-09-01T12:00:00Z


def checksum(bids: dict[str, str], asks: dict[str, str]) -> int:
    """The checksum as the venue's documentation defines it, over the digits as received."""

    def token(text: str) -> str:
        return text.replace(".", "").lstrip("0")

    best = sorted(asks.items(), key=lambda level: Decimal(level[0]))[:10]
    best += sorted(bids.items(), key=lambda level: -Decimal(level[0]))[:10]
    return zlib.crc32("".join(token(price) + token(size) for price, size in best).encode())


class Client:
    """Follows frames as the documentation tells clients to: cuts books to their depth, and compares checksums."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.books: dict[str, dict[str, dict[str, str]]] = {}
        self.trades: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.tickers: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.updates: Counter[str] = Counter()

    def take(self, frame: bytes) -> None:
        message = json.loads(frame, parse_float=str)
        for entry in message["data"]:
            symbol = entry["symbol"]
            if message["channel"] == "trade":
                self.trades[symbol].append(entry)
            elif message["channel"] == "ticker":
                self.tickers[symbol].append(entry)
            else:
                self._book(symbol, entry, is_snapshot=message["type"] == "snapshot")

    def _book(self, symbol: str, entry: dict[str, Any], *, is_snapshot: bool) -> None:
        if is_snapshot:
            self.books[symbol] = {"bids": {}, "asks": {}}
        book = self.books[symbol]
        for name, sign in (("bids", -1), ("asks", 1)):
            for level in entry[name]:
                if float(level["qty"]):
                    book[name][level["price"]] = level["qty"]
                else:
                    assert book[name].pop(level["price"]), "nothing is deleted that is not there"
            best = sorted(book[name], key=lambda price: sign * Decimal(price))[: self.depth]
            book[name] = {price: book[name][price] for price in best}
        assert entry["checksum"] == checksum(book["bids"], book["asks"])
        self.updates[symbol] += not is_snapshot


class Venue:
    """A market, and the frames printed from it."""

    def __init__(self, *, messages_per_s: float = 300.0, depth_levels: int = 40) -> None:
        self.printer = KrakenPrinter(SYMBOLS)
        self.market = Market(
            self.printer.instruments,
            seed=3,
            messages_per_s=messages_per_s,
            intervals_ns=self.printer.intervals_ns,
            depth_levels=depth_levels,
        )
        self.printer.begin(self.market)
        self.wanted = np.zeros(len(self.printer.streams), np.bool_)

    def want(self, *suffixes: str) -> None:
        self.wanted[:] = [name.endswith(suffixes) for name in self.printer.streams]

    def until(self, time_ns: int) -> Iterator[tuple[str, bytes]]:
        for rows, levels in self.market.advance(time_ns, self.printer.needs(self.wanted)):
            events = Events(rows, levels, ORIGIN_NS, ORIGIN_NS)
            for _, batch in self.printer.render(events, self.wanted, {0}):
                for message in range(batch.messages):
                    yield self.printer.streams[int(batch.stream[message])], batch.payload(message)

    def book(self, symbol: int, depth: int) -> bytes:
        stream = symbol * KINDS + BOOK + DEPTHS.index(depth)
        return self.printer.book_snapshot(stream, None, ORIGIN_NS)[0]
