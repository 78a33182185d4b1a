"""A conversation with a simulated Kraken over its WebSocket, and a book kept as the venue tells clients to."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

SHARED = Path(__file__).parents[2].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real recordings are not at hand")
DEADLINE_S = 90.0


def subscribe(ws: ClientConnection, channel: str, symbols: list[str] | None = None, **params: Any) -> None:
    params |= {"channel": channel} | ({} if symbols is None else {"symbol": symbols})
    ws.send(json.dumps({"method": "subscribe", "params": params, "req_id": 7}))


def receive(ws: ClientConnection) -> Any:
    return json.loads(ws.recv(timeout=DEADLINE_S), parse_float=str)


def until(ws: ClientConnection, wanted: Callable[[Any], bool]) -> Any:
    while not wanted(message := receive(ws)):
        pass
    return message


def token(text: str) -> str:
    return text.replace(".", "").lstrip("0")


class Book:
    """As the venue tells clients to keep one; says whether each checksum fits."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.sides: dict[str, dict[Decimal, tuple[str, str]]] = {"bids": {}, "asks": {}}

    def fits(self, message: Any) -> bool:
        (entry,) = message["data"]
        best: list[tuple[str, str]] = []
        for name in ("asks", "bids"):
            side = {} if message["type"] == "snapshot" else self.sides[name]
            for level in entry[name]:
                price = Decimal(level["price"])
                side[price] = (level["price"], level["qty"])
                if not Decimal(level["qty"]):
                    del side[price]
            kept = sorted(side, reverse=name == "bids")[: self.depth]
            self.sides[name] = {price: side[price] for price in kept}
            best += [self.sides[name][price] for price in kept[:10]]
        text = "".join(token(price) + token(size) for price, size in best)
        expected: int = entry["checksum"]
        return zlib.crc32(text.encode()) == expected


def is_book(message: Any) -> bool:
    return message.get("channel") == "book"
