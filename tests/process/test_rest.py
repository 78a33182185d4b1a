"""The REST client against a server that answers, refuses, overflows or is not there."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tickplant.feeds import rest
from tickplant.feeds.contract import Answer, Request
from tickplant.feeds.rest import RestClient

ANSWERS = {
    "/ok?a=1": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "/slow-down": b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    "/broken": b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
    "/endless": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000,
    "/torn": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
}


class Session:
    """A client, its server, and what was reported."""

    def __init__(self, url: str) -> None:
        self.circuits: list[bool] = []
        self.client = RestClient(url, self.circuits.append)
        self.answered_ns = 0  # time of the newest answer

    async def get(self, path: str, not_before_ns: int = 0) -> Answer:
        answer, self.answered_ns = await self.client.fetch(Request("key", path, not_before_ns))
        return answer


def talk(story: Callable[[Session], Coroutine[Any, Any, None]]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWERS[head.split(b" ", 2)[1].decode()])
        await writer.drain()
        writer.close()

    async def whole() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        session = Session(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        try:
            async with asyncio.timeout(90):
                await story(session)
        finally:
            await session.client.close()
            server.close()
            await server.wait_closed()

    asyncio.run(whole())


def test_an_answer_comes_with_its_request_and_the_time_of_its_arrival() -> None:
    async def story(session: Session) -> None:
        before_ns = time.time_ns()
        response = await session.get("/ok?a=1")
        assert (response.request.path, response.status, response.body) == ("/ok?a=1", 200, b"{}")
        assert before_ns < session.answered_ns <= time.time_ns()

    talk(story)


def test_a_request_is_not_sent_before_its_time() -> None:
    async def story(session: Session) -> None:
        not_before_ns = time.time_ns() + 200_000_000
        await session.get("/ok?a=1", not_before_ns)
        assert session.answered_ns > not_before_ns

    talk(story)


def test_retry_after_holds_back_all_requests_to_the_venue() -> None:
    async def story(session: Session) -> None:
        asked_ns = time.time_ns()
        refused = await session.get("/slow-down")
        assert (refused.status, refused.retry_after_s) == (429, 1.0)
        answered = await session.get("/ok?a=1")
        assert answered.status == 200
        assert session.answered_ns - asked_ns > 0.9e9

    talk(story)


def test_failing_again_and_again_opens_the_circuit_once() -> None:
    async def story(session: Session) -> None:
        for _ in range(8):
            response = await session.get("/broken")
            assert (response.status, response.body) == (500, b"oops")
        assert session.circuits == [True]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(session.get("/ok?a=1"), 0.2)

    talk(story)


def test_a_torn_answer_and_one_without_end_are_failures_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MAX_BODY_BYTES", 1000)

    async def story(session: Session) -> None:
        for path in ("/torn", "/endless"):
            response = await session.get(path)
            assert response.status == 0
            assert response.body

    talk(story)


def test_a_server_that_is_not_there_is_status_zero_with_the_reason() -> None:
    async def story(_: Session) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            absent = Session(f"http://127.0.0.1:{unused.getsockname()[1]}")
            response = await absent.get("/ok?a=1")
            await absent.client.close()
        assert response.status == 0
        assert b"connect" in response.body.lower()

    talk(story)


def test_proxies_in_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    async def story(session: Session) -> None:
        assert (await session.get("/ok?a=1")).status == 200

    talk(story)
