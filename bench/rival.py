"""`python -m bench.rival WS_URL ADDRESS`: what one would write in an afternoon instead of a plant, for comparison.

One process: `websockets`, `json`, floats, and one JSON message per venue message on a ZeroMQ PUB socket, numbered by
topic so that a subscriber sees losses. It has no book and no bars, and stores nothing: it does less than the plant.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import defaultdict
from typing import Any

import zmq
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bench.plant import SYMBOLS
from tickplant.runtime.lineage import die_with_parent


def normalise(event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Topic and contents of a venue message: trade, depth, or best bid and offer."""
    kind = event.get("e")
    if kind == "trade":
        return f"binance.{event['s']}.trade", {
            "id": event["t"],
            "ts_event": event["T"] * 1000,
            "price": float(event["p"]),
            "size": float(event["q"]),
            "side": "sell" if event["m"] else "buy",
        }
    if kind == "depthUpdate":
        return f"binance.{event['s']}.book", {
            "id": event["u"],
            "ts_event": event["E"] * 1000,
            "bids": [(float(price), float(size)) for price, size in event["b"]],
            "asks": [(float(price), float(size)) for price, size in event["a"]],
        }
    return f"binance.{event['s']}.quote", {
        "id": event["u"],
        "ts_event": 0,
        "bid": float(event["b"]),
        "bid_size": float(event["B"]),
        "ask": float(event["a"]),
        "ask_size": float(event["A"]),
    }


async def record(ws_url: str, publish: str) -> None:
    """Receive and publish until cancelled."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.PUB)
    socket.set(zmq.SNDHWM, 10_000)  # as the engine's
    socket.bind(publish)
    positions: defaultdict[str, int] = defaultdict(int)
    names = [f"{symbol.lower()}@{name}" for symbol in SYMBOLS for name in ("trade", "bookTicker", "depth@100ms")]
    url = f"{ws_url}/stream?streams={'/'.join(names)}&timeUnit=MICROSECOND"
    async for venue in connect(url, max_size=None, compression=None, proxy=None):  # opens again what was lost
        print("ready", flush=True)
        with contextlib.suppress(ConnectionClosed):
            async for frame in venue:
                ts_recv = time.time_ns()
                topic, message = normalise(json.loads(frame)["data"])
                message["ts_recv"] = ts_recv
                message["position"] = positions[topic]
                positions[topic] += 1
                socket.send_multipart([topic.encode(), json.dumps(message).encode()])


def main() -> None:
    """See the module."""
    die_with_parent()
    asyncio.run(record(*sys.argv[1:]))


if __name__ == "__main__":
    main()
