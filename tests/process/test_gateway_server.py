"""The server of a gateway on real sockets: limits, TLS, WebSockets, clients that break off."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trustme
import websockets
from gateway_app import App, gateway_app
from plant_process import DEADLINE_S, free_port, until
from stream_reader import StreamReader

from tickplant.gateway import web_server
from tickplant.gateway.admission import Tokens
from tickplant.gateway.web_server import Connections, listen, serving

pytestmark = pytest.mark.usefixtures("unmeasured")


@contextlib.asynccontextmanager
async def served(folder: Path, **config: Any) -> AsyncIterator[tuple[App, Connections, int]]:
    """A gateway's server on a port of its own."""
    tokens = config.pop("credentials", None)
    port = free_port()
    async with gateway_app(folder, folder, tokens=tokens, port=port, **config) as app:
        with listen(app.services.config, key="web") as listener:
            async with serving(
                app.asgi, app.services.config, listener, folder, app.services.hub.end_streams
            ) as connections:
                yield app, connections, port


def run(test: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test

    asyncio.run(limited())


def test_a_request_that_does_not_arrive_is_cut_off(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path, header_s=0.2) as (_, connections, port):
            post = b"POST /api/v1/session HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{"
            for beginning in (b"", b"GET / HTTP/1.1\r\nhost: x", post):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(beginning)
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
            assert connections.late == 3
            await until(lambda: connections.count == 0)

    run(test())


def test_a_head_that_is_too_long_and_a_body_that_is_too_large_are_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            served(tmp_path, header_kib=4, body_kib=1) as (_, connections, port),
            httpx.AsyncClient(timeout=DEADLINE_S) as client,
        ):
            url = f"http://127.0.0.1:{port}"
            answer = await client.get(f"{url}/healthz", headers={"x": "y" * 8000})
            assert (answer.status_code, connections.late) == (431, 1)
            answer = await client.post(f"{url}/api/v1/session", json={"token": "x" * 5000})
            assert answer.status_code == 413
            assert (await client.get(f"{url}/healthz")).status_code == 200
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(200):  # a head that never ends
                writer.write(b"x" * 1000)
                if reader.at_eof():
                    break
                await asyncio.sleep(0)
            with contextlib.suppress(ConnectionError):
                assert (await reader.read()).startswith(b"HTTP/1.1 4")
            writer.close()

    run(test())


def test_connections_of_an_address_are_counted_and_given_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path, connections_per_address=3) as (_, connections, port):
            writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(3)]
            await until(lambda: connections.count == 3)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
            for one in (*writers, writer):
                one.close()
            await until(lambda: connections.count == 0)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S) as client:
                assert (await client.get("/healthz")).status_code == 200

    run(test())


def test_tls_by_configuration(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def test() -> None:
        async with served(
            tmp_path,
            tls_certificate="cert.pem",
            tls_key="key.pem",
            credentials=Tokens([{"read": "secret"}]),
        ) as (_, __, port):
            async with httpx.AsyncClient(
                base_url=f"https://localhost:{port}", verify=trusting, timeout=DEADLINE_S
            ) as client:
                assert (await client.get("/api/v1/status")).status_code == 401
                answer = await client.get("/api/v1/status", headers={"authorization": "Bearer secret"})
                assert answer.status_code == 200
                assert "strict-transport-security" in answer.headers
                login = await client.post("/api/v1/session", json={"token": "secret"})
                assert "; secure" in login.headers["set-cookie"].lower()
            async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
                with pytest.raises(httpx.TransportError):
                    await client.get(f"http://localhost:{port}/healthz")

    run(test())


def test_a_websocket_gets_the_events_and_may_change_its_topics(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path) as (app, connections, port):
            app.engine.trade(1, 100)
            app.engine.clear(2, {50: 5})
            url = f"ws://127.0.0.1:{port}/api/v1/ws"
            async with websockets.connect(f"{url}?topics=venue.S1.trade") as socket_:
                await until(lambda: any(stream.members for stream in app.services.hub.streams.values()))
                app.engine.trade(1, 101)
                event = msgspec.json.decode(await socket_.recv())
                assert (event["type"], event["seq"], event["records"][0]["price"]) == ("records", 1, "1.01")
                cursor = event["id"]
                await socket_.send('{"topics": ["venue.S2.book"]}')
                snapshot = msgspec.json.decode(await socket_.recv())
                assert (snapshot["type"], snapshot["bids"]) == ("snapshot", [["0.50", "0.005"]])
                app.engine.trade(1, 102)
                await socket_.send(msgspec.json.encode({"topics": ["venue.S1.trade"], "after": cursor}).decode())
                event = msgspec.json.decode(await socket_.recv())
                assert (event["seq"], event["records"][0]["price"]) == (2, "1.02")
                await socket_.send("what?")
                assert msgspec.json.decode(await socket_.recv())["type"] == "error"
                await socket_.send('{"topics": []}')
                assert msgspec.json.decode(await socket_.recv())["type"] == "error"
            await until(lambda: not app.services.hub.streams and connections.count == 0)
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(url, origin="https://evil.example")
            assert refused.value.response.status_code == 403

    run(test())


def test_streams_end_when_the_gateway_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "END_S", DEADLINE_S)  # beyond which a gateway cuts them off

    async def test() -> None:
        async with served(tmp_path) as (app, _, port):
            app.engine.trade(1, 100)

            async def read_all() -> None:
                async with (
                    httpx.AsyncClient(timeout=DEADLINE_S) as client,
                    client.stream("GET", f"http://127.0.0.1:{port}/api/v1/stream?topics=venue") as answer,
                ):
                    async for _ in answer.aiter_raw():
                        pass

            reading = [asyncio.ensure_future(read_all()) for _ in range(3)]
            await until(lambda: sum(len(one.members) for one in app.services.hub.streams.values()) == 3)
        await asyncio.gather(*reading)  # each to its regular end: none was cut off

    run(test())


@pytest.mark.long
def test_a_client_that_takes_nothing_is_cut_off_and_the_others_go_on(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path, stalled_s=8.0, queue_kib=256) as (app, connections, port):
            app.engine.trade(1, 1)
            stalled = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
            for one in stalled:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                one.sendall(b"GET /api/v1/stream?topics=venue.S1.trade HTTP/1.1\r\nhost: localhost\r\n\r\n")
            reader = StreamReader()
            async with (
                httpx.AsyncClient(timeout=DEADLINE_S) as client,
                client.stream("GET", f"http://127.0.0.1:{port}/api/v1/stream?topics=venue.S1.trade") as answer,
            ):
                parts = answer.aiter_raw()
                await until(lambda: sum(len(one.members) for one in app.services.hub.streams.values()) == 4)
                number = 1
                while app.services.counts["stalled"] < 3:
                    for _ in range(200):
                        number += 1
                        app.engine.trade(1, number)
                    while reader.end("venue.S1.trade") < number:
                        reader.feed(await anext(parts))
            assert not reader.gaps
            assert len(reader.trades["venue.S1.trade"]) == number - 1
            await until(lambda: connections.count == 0)
            for one in stalled:
                one.close()

    run(test())


@pytest.mark.long
def test_a_thousand_clients_that_break_off_leave_no_descriptor(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path, connections_per_address=500) as (app, connections, port):
            app.engine.trade(1, 1)
            app.engine.clear(2, dict.fromkeys(range(1, 200), 5))
            upgrade = b"connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: %s==\r\n\r\n" % (
                b"A" * 22
            )
            requests = [
                b"GET /api/v1/stream?topics=venue HTTP/1.1\r\nhost: localhost\r\n\r\n",
                b"GET /api/v1/book?venue=venue&symbol=S2 HTTP/1.1\r\nhost: localhost\r\n\r\n",
                b"GET /api/v1/str",
                b"GET /api/v1/ws?topics=venue HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n" + upgrade,
            ]

            def descriptors() -> int:
                return len(list(Path("/proc/self/fd").iterdir()))

            before = descriptors()
            for number in range(1000):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(requests[number % len(requests)])
                if number % 3:
                    with contextlib.suppress(ConnectionError, TimeoutError):
                        async with asyncio.timeout(0.02):
                            await reader.read(10)
                app.engine.trade(1, number)
                writer.transport.abort()
            counts = app.services.counts
            try:
                async with asyncio.timeout(DEADLINE_S / 2):
                    await until(lambda: connections.count == 0 and not app.services.hub.streams)
            except TimeoutError:
                raise AssertionError((connections.count, app.services.hub.streams, counts)) from None
            await until(lambda: descriptors() <= before and counts["sse_clients"] == counts["ws_clients"] == 0)

    run(test())
