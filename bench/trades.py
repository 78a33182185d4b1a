"""`python -m bench.trades`: sends Binance trades to each client of `/FRAMES/PACE`; prints its port.

PACE is frames per second, each in a write of its own; 0 is as fast as the client takes them. Imports only the standard
library: the server must not be the bottleneck.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from typing import Final

FIRST_ID: Final = 3_735_683_259


def trade(number: int) -> bytes:
    """A trade as Binance spot sends it in a combined stream."""
    price, size, now_us = 61_837_630_000 + number % 977, 2_000 + number % 7919, 1_723_161_255_342_000 + 37 * number
    return (
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"%d.%06d00","q":"0.%05d000",'
        b'"T":%d,"m":%b,"M":true}}'
        % (
            now_us // 1000 + 1,
            FIRST_ID + number,
            price // 1_000_000,
            price % 1_000_000,
            size,
            now_us // 1000,
            b"true" if number % 3 else b"false",
        )
    )


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    count, pace = (int(part) for part in head.split(b" ", 2)[1].split(b"/")[1:])
    key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")).split(b":")[1]
    accept = base64.b64encode(hashlib.sha1(key.strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    frames = [b"\x81\x7e" + len(text).to_bytes(2, "big") + text for text in map(trade, range(count))]
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    await writer.drain()
    if pace == 0:
        for start in range(0, count, 1000):
            writer.write(b"".join(frames[start : start + 1000]))
            await writer.drain()
    else:
        start_s = time.perf_counter()
        for number, frame in enumerate(frames):
            early_s = start_s + number / pace - time.perf_counter()
            while early_s > 0:  # without sleeping: a pause that short lasts too long
                await asyncio.sleep(0)
                early_s = start_s + number / pace - time.perf_counter()
            writer.write(frame)
    await reader.read(1)  # the client has had all, and says goodbye
    writer.write(b"\x88\x00")
    writer.close()


async def _server() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_server())
