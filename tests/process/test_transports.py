"""Both transports against the same server process, which does to them what venues do."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from ws_server import Addresses, ws_server

from tickplant.feeds.contract import LinkSpec
from tickplant.feeds.transports import picows_transport, websockets_transport
from tickplant.feeds.transports.transport import Connect, ConnectError, Transport

DEADLINE_S = 90.0


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.reads: list[list[bytes]] = []
        self.times_ns: list[int] = []
        self.reason: str | None = None
        self.turns = 0
        self._changed = asyncio.Event()

    @property
    def frames(self) -> list[bytes]:
        return [frame for frames in self.reads for frame in frames]

    def on_open(self, transport: Transport) -> None:
        self.events.append("open")
        self._changed.set()

    def on_frames(self, transport: Transport, frames: list[bytes], ts_recv_ns: int) -> None:
        self.events.append("frames")
        self.reads.append(frames)
        self.times_ns.append(ts_recv_ns)
        self._changed.set()

    def on_closed(self, transport: Transport, reason: str) -> None:
        self.events.append("closed")
        self.reason = reason
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[Addresses]:
    with ws_server() as addresses:
        yield addresses


@pytest.fixture(params=[picows_transport.connect, websockets_transport.connect], ids=["picows", "websockets"])
def connect(request: pytest.FixtureRequest) -> Connect:
    found: Connect = request.param
    return found


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, DEADLINE_S))


def talk(
    connect: Connect, url: str, condition: Callable[[Heard], bool], send: tuple[bytes, ...] = (), **options: Any
) -> Heard:
    """Open, send, wait for a condition, close; every connection must end with exactly one `closed`."""
    heard = Heard()

    async def session() -> None:
        transport = await connect(LinkSpec(name="test", url=url, **options), heard)
        for payload in send:
            transport.send(payload)
        await heard.until(lambda: condition(heard))
        await transport.close()

    run(session())
    assert heard.events[0] == "open"
    assert heard.events[-1] == "closed"
    assert heard.events.count("open") == heard.events.count("closed") == 1
    return heard


def test_what_is_sent_comes_back_as_text(connect: Connect, server: Addresses) -> None:
    heard = talk(connect, server[0] + "/echo", lambda heard: len(heard.frames) == 2, send=(b'{"id":1}', "ü".encode()))
    assert heard.frames == [b'{"id":1}', "ü".encode()]
    assert heard.reason == "closed here: 1000"


def test_frames_of_one_read_arrive_together_in_order_with_the_time_of_that_read(
    connect: Connect, server: Addresses
) -> None:
    before_ns = time.time_ns()
    heard = talk(connect, server[0] + "/burst", lambda heard: len(heard.frames) == 1000)
    assert heard.frames == [b"%d" % number for number in range(1000)]
    assert len(heard.reads) < 100
    assert before_ns <= heard.times_ns[0] <= heard.times_ns[-1] <= time.time_ns()
    assert heard.times_ns == sorted(heard.times_ns)


def test_a_fragmented_message_is_put_together_around_a_ping(connect: Connect, server: Addresses) -> None:
    heard = talk(connect, server[0] + "/fragments", lambda heard: len(heard.frames) == 2)
    assert heard.frames == [b"one two three", b"whole"]


def test_a_ping_is_answered_and_holds_nothing_up_that_came_before_it(connect: Connect, server: Addresses) -> None:
    heard = talk(connect, server[0] + "/ping", lambda heard: len(heard.frames) == 2)
    assert heard.frames == [b"before", b"pong: sign of life"]


def test_the_answer_to_our_ping_is_a_sign_of_life(connect: Connect, server: Addresses) -> None:
    heard = Heard()

    async def session() -> None:
        transport = await connect(LinkSpec(name="test", url=server[0] + "/pinged"), heard)
        reads = transport.reads
        transport.ping()
        while transport.reads == reads:  # within the deadline of `run`
            await asyncio.sleep(0.001)
            heard.turns += 1
        await transport.close()

    run(session())
    assert heard.frames == []


def test_a_message_of_three_mebibytes_is_taken(connect: Connect, server: Addresses) -> None:
    heard = talk(connect, server[0] + "/big", lambda heard: len(heard.frames) == 1)
    assert heard.frames == [b"x" * (3 << 20)]


@pytest.mark.parametrize("path", ["/oversize", "/oversize_fragments"])
def test_a_message_beyond_the_limit_ends_the_connection_after_what_came_before(
    connect: Connect, server: Addresses, path: str
) -> None:
    heard = talk(connect, server[0] + path, lambda heard: heard.reason is not None, max_message_bytes=1000)
    assert heard.frames == [b"small"]
    assert (heard.reason or "").startswith("closed here: 1009")


def test_binary_messages_arrive_as_they_are(connect: Connect, server: Addresses) -> None:
    heard = talk(connect, server[0] + "/binary", lambda heard: len(heard.frames) == 1)
    assert heard.frames == [b"\x00\xff\xfe"]


def test_a_close_frame_ends_the_connection_with_its_code_even_if_the_venue_does_not_hang_up(
    connect: Connect, server: Addresses
) -> None:
    heard = talk(connect, server[0] + "/bye", lambda heard: heard.reason is not None)
    assert heard.frames == [b"last words"]
    assert heard.reason == "closed by the venue: 1001 maintenance"


def test_a_cut_socket_ends_the_connection_without_losing_what_came_before(connect: Connect, server: Addresses) -> None:
    heard = talk(connect, server[0] + "/drop", lambda heard: heard.reason is not None)
    assert heard.frames == [b"last words"]
    assert (heard.reason or "").startswith("lost")


def test_bytes_that_are_no_frame_end_the_connection_with_a_protocol_error(connect: Connect, server: Addresses) -> None:
    heard = talk(connect, server[0] + "/garbage", lambda heard: heard.reason is not None)
    assert heard.frames == [b"good"]
    assert (heard.reason or "").startswith("closed here: 1002")


def test_closing_does_not_wait_for_ever_for_a_deaf_venue(connect: Connect, server: Addresses) -> None:
    heard = talk(connect, server[0] + "/deaf", lambda heard: len(heard.frames) == 1)
    assert heard.frames == [b"hello"]


def test_sending_after_the_end_is_harmless(connect: Connect, server: Addresses) -> None:
    heard = Heard()

    async def session() -> None:
        transport = await connect(LinkSpec(name="test", url=server[0] + "/drop"), heard)
        await heard.until(lambda: heard.reason is not None)
        transport.send(b"anybody there?")
        transport.ping()
        await transport.close()

    run(session())
    assert heard.events.count("closed") == 1


def test_a_refused_handshake_says_with_which_status_and_how_long_to_wait(connect: Connect, server: Addresses) -> None:
    heard = Heard()
    with pytest.raises(ConnectError, match="refused with HTTP status 429") as caught:
        run(connect(LinkSpec(name="test", url=server[0] + "/refuse"), heard))  # type: ignore[arg-type]  # the result is of no interest
    assert (caught.value.status, caught.value.retry_after_s) == (429, 7.0)
    assert heard.events == []


def test_a_port_where_nobody_listens_is_named(connect: Connect) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(ConnectError, match=url):
            run(connect(LinkSpec(name="test", url=url), Heard()))  # type: ignore[arg-type]


def test_a_venue_that_never_answers_the_handshake_is_given_up(connect: Connect, server: Addresses) -> None:
    with pytest.raises(ConnectError):
        run(connect(LinkSpec(name="test", url=server[0] + "/mute"), Heard(), open_timeout_s=0.2))  # type: ignore[arg-type]


def test_tls_works_with_a_trusted_certificate(
    connect: Connect, server: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", server.authority)
    heard = talk(connect, server[1] + "/echo", lambda heard: len(heard.frames) == 1, send=(b"secret",))
    assert heard.frames == [b"secret"]


def test_tls_refuses_a_certificate_that_nobody_vouches_for(connect: Connect, server: Addresses) -> None:
    with pytest.raises(ConnectError, match="(?i)certificate"):
        run(connect(LinkSpec(name="test", url=server[1] + "/echo"), Heard()))  # type: ignore[arg-type]


def test_proxies_in_the_environment_are_ignored(
    connect: Connect, server: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    heard = talk(connect, server[0] + "/echo", lambda heard: len(heard.frames) == 1, send=(b"direct",))
    assert heard.frames == [b"direct"]
