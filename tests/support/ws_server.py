"""A WebSocket server that misbehaves on request, as a real process; the path of the URL says how.

It uses bare sockets, since no library can send everything that a transport has to survive.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import ssl
import struct
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import trustme

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """One frame as a server sends it."""
    first = opcode | (0x80 if fin else 0)
    if len(payload) < 126:
        return struct.pack(">BB", first, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack(">BBH", first, 126, len(payload)) + payload
    return struct.pack(">BBQ", first, 127, len(payload)) + payload


async def read_frame(reader: Reader) -> tuple[int, bytes]:
    """One frame of a client: opcode, payload."""
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", await reader.readexactly(8))
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(length)
    return first & 0xF, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


async def wait_for_close(reader: Reader, writer: Writer) -> None:
    """Answer a close frame."""
    while True:
        opcode, payload = await read_frame(reader)
        if opcode == CLOSE:
            writer.write(frame(CLOSE, payload))
            return


async def echo(reader: Reader, writer: Writer) -> None:
    """Send every text back; close once the client does."""
    while True:
        opcode, payload = await read_frame(reader)
        if opcode == CLOSE:
            writer.write(frame(CLOSE, payload))
            return
        if opcode == PING:
            writer.write(frame(PONG, payload))
        elif opcode == TEXT:
            writer.write(frame(TEXT, payload))


async def burst(reader: Reader, writer: Writer) -> None:
    """A thousand messages in one write."""
    writer.write(b"".join(frame(TEXT, b"%d" % number) for number in range(1000)))
    await wait_for_close(reader, writer)


async def fragments(reader: Reader, writer: Writer) -> None:
    """A message in three pieces with a ping between them, then a whole one."""
    writer.write(
        frame(TEXT, b"one ", fin=False) + frame(CONT, b"two ", fin=False) + frame(PING, b"?") + frame(CONT, b"three")
    )
    writer.write(frame(TEXT, b"whole"))
    await wait_for_close(reader, writer)


async def ping(reader: Reader, writer: Writer) -> None:
    """A message directly followed by a ping; the payload of the pong is sent back."""
    writer.write(frame(TEXT, b"before") + frame(PING, b"sign of life"))
    while True:
        opcode, payload = await read_frame(reader)
        if opcode == PONG:
            writer.write(frame(TEXT, b"pong: " + payload))
        elif opcode == CLOSE:
            writer.write(frame(CLOSE, payload))
            return


async def pinged(reader: Reader, writer: Writer) -> None:
    """Report what the client sends, pings included."""
    while True:
        opcode, payload = await read_frame(reader)
        if opcode == CLOSE:
            writer.write(frame(CLOSE, payload))
            return
        writer.write(frame(PONG if opcode == PING else TEXT, payload))


async def big(reader: Reader, writer: Writer) -> None:
    """Three MiB in one message, more than libraries accept by default."""
    writer.write(frame(TEXT, b"x" * (3 << 20)))
    await wait_for_close(reader, writer)


async def oversize(reader: Reader, writer: Writer) -> None:
    """A small message, then one of 2,000 bytes."""
    writer.write(frame(TEXT, b"small") + frame(TEXT, b"x" * 2000))
    await wait_for_close(reader, writer)


async def oversize_fragments(reader: Reader, writer: Writer) -> None:
    """2,000 bytes in four pieces."""
    writer.write(frame(TEXT, b"small") + frame(TEXT, b"x" * 500, fin=False))
    writer.write(frame(CONT, b"x" * 500, fin=False) * 2 + frame(CONT, b"x" * 500))
    await wait_for_close(reader, writer)


async def binary(reader: Reader, writer: Writer) -> None:
    """A binary message of bytes that are not text."""
    writer.write(frame(BINARY, b"\x00\xff\xfe"))
    await wait_for_close(reader, writer)


async def bye(reader: Reader, writer: Writer) -> None:
    """A message and a close frame, but the socket is left open."""
    writer.write(frame(TEXT, b"last words") + frame(CLOSE, struct.pack(">H", 1001) + b"maintenance"))
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await read_frame(reader)


async def drop(reader: Reader, writer: Writer) -> None:
    """A message, then the socket is cut."""
    writer.write(frame(TEXT, b"last words"))
    await writer.drain()


async def deaf(reader: Reader, writer: Writer) -> None:
    """Read everything, answer nothing, not even a close frame."""
    writer.write(frame(TEXT, b"hello"))
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await read_frame(reader)


async def garbage(reader: Reader, writer: Writer) -> None:
    """A message, then bytes that are not a frame."""
    writer.write(frame(TEXT, b"good") + b"\xff\xff\xff\xff\xff\xff")
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await reader.readexactly(1)


EXCHANGE_INFO = json.dumps(
    {"symbols": [{"symbol": "BTCUSDT", "status": "TRADING", "quotePrecision": 2, "baseAssetPrecision": 5}]}
).encode()


def trade(number: int) -> bytes:
    """A trade of BTCUSDT as sent on the wire."""
    data = '{"e":"trade","E":1,"s":"BTCUSDT","t":%d,"p":"1.00","q":"2.00000","T":1700000000000,"m":true,"M":true}'
    return b'{"stream":"btcusdt@trade","data":%b}' % (data % number).encode()


async def subscription(reader: Reader, writer: Writer) -> None:
    """Wait for a request and acknowledge it."""
    _, payload = await read_frame(reader)
    writer.write(frame(TEXT, json.dumps({"result": None, "id": json.loads(payload)["id"]}).encode()))


async def nonsense(reader: Reader, writer: Writer) -> None:
    """A venue with all sorts of nonsense between its trades 1 to 4."""
    await subscription(reader, writer)
    for number, junk in enumerate((b"{", b"\x00\xff", b"[" * 5000, b""), start=1):
        writer.write(frame(TEXT, junk) + frame(BINARY, b"\xfe") + frame(TEXT, trade(number)))
    await wait_for_close(reader, writer)


async def silence(reader: Reader, writer: Writer) -> None:
    """A venue that sends one trade and then nothing, not even pongs."""
    await subscription(reader, writer)
    writer.write(frame(TEXT, trade(1)))
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await read_frame(reader)


BEHAVIOURS: dict[str, Callable[[Reader, Writer], Awaitable[None]]] = {
    "/" + behaviour.__name__: behaviour
    for behaviour in (
        echo,
        burst,
        fragments,
        ping,
        pinged,
        big,
        oversize,
        oversize_fragments,
        binary,
        bye,
        drop,
        deaf,
        garbage,
        nonsense,
        silence,
    )
}


async def serve(reader: Reader, writer: Writer) -> None:
    """Serve one connection: handshake, then whatever its path says."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode().partition("?")[0].removesuffix("/stream")
        if path == "/refuse":
            writer.write(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
        elif path == "/api/v3/exchangeInfo":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(EXCHANGE_INFO) + EXCHANGE_INFO)
        elif path == "/mute":
            await reader.read()
        else:
            key = next(
                line.split(b":", 1)[1].strip()
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"sec-websocket-key")
            )
            accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
            # The behaviours' first frames follow in the same write, as with a fast venue.
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            await BEHAVIOURS[path](reader, writer)
        await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


async def main() -> None:
    """Serve plain and TLS until killed; their ports go to stdout."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(sys.argv[1]) / "server.pem")
    plain = await asyncio.start_server(serve, "127.0.0.1", 0)
    secure = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print(plain.sockets[0].getsockname()[1], secure.sockets[0].getsockname()[1], flush=True)
    await asyncio.gather(plain.serve_forever(), secure.serve_forever())


class Addresses(NamedTuple):
    """Where a server listens, and the file of the authority that vouches for it."""

    plain: str
    secure: str
    authority: str


@contextlib.contextmanager
def ws_server() -> Iterator[Addresses]:
    """A running server, with a certificate made for the occasion."""
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(f"{folder}/authority.pem")
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(f"{folder}/server.pem")
        with subprocess.Popen([sys.executable, __file__, folder], stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                plain, secure = process.stdout.readline().split()
                yield Addresses(
                    f"ws://127.0.0.1:{int(plain)}", f"wss://localhost:{int(secure)}", f"{folder}/authority.pem"
                )
            finally:
                process.kill()


if __name__ == "__main__":
    asyncio.run(main())
