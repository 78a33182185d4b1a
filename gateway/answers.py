"""Responses that Litestar does not provide: bodies streamed within time limits; and the schemas shown by OpenAPI."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Literal

import msgspec
from litestar import Response


class Raw(Response[Any]):
    """A response that is an ASGI application of its own."""

    def __init__(self, application: Any) -> None:
        super().__init__(None)
        self._application = application

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """Return the application."""
        return self._application


class Streamed:
    """A response whose body comes in parts. A client that takes nothing for `stalled_s` is disconnected.

    Args:
        parts: parts of the body; closed in any case.
        media_type: media type of the body.
        stalled_s: how long one part may wait for the client.
        headers: further headers.
        status: HTTP status.
    """

    def __init__(
        self,
        parts: AsyncIterator[bytes],
        media_type: str,
        *,
        stalled_s: float,
        headers: dict[str, str] | None = None,
        status: int = 200,
    ) -> None:
        self._parts = parts
        self._stalled_s = stalled_s
        self._status = status
        fields = {"content-type": media_type, **(headers or {})}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the response."""
        try:
            await while_connected(receive, self._send(scope, send))
        finally:
            close = getattr(self._parts, "aclose", None)
            if close:
                await close()

    async def _send(self, scope: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        try:
            async for part in self._parts:
                async with asyncio.timeout(self._stalled_s):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            abort(scope)


async def while_connected(receive: Any, sending: Coroutine[Any, Any, None]) -> None:
    """Send for as long as the client is connected."""
    gone, done = asyncio.ensure_future(_disconnected(receive)), asyncio.ensure_future(sending)
    try:
        await asyncio.wait([gone, done], return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            done.result()
    finally:
        for task in (gone, done):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await done


async def _disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def abort(scope: Any) -> None:
    """Close a connection at once, discarding what the client has not taken."""
    cut = scope.get("state", {}).get("abort")
    if cut is not None:
        cut()


class ProblemBody(msgspec.Struct, omit_defaults=True):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    parameter: str = ""


class InstrumentRow(msgspec.Struct):
    """One symbol."""

    venue: str
    symbol: str
    ids: list[int]
    price_scale: int
    size_scale: int
    channels: list[str]
    live: bool


class Instruments(msgspec.Struct):
    """What is recorded."""

    instruments: list[InstrumentRow]


class TopicRow(msgspec.Struct):
    """One live topic."""

    topic: str
    venue: str
    symbol: str
    channel: str
    epoch: int
    next_seq: int


class LiveTopics(msgspec.Struct):
    """Topics of the engines."""

    topics: list[TopicRow]


class BookOrder(msgspec.Struct):
    """One order and its place in the queue at its price."""

    order_id: str
    price: str
    size: str
    orders_ahead: int
    size_ahead: str


class BookAnswer(msgspec.Struct, omit_defaults=True):
    """A book; levels are [price, size], best first."""

    venue: str
    symbol: str
    ts_event: str | None
    ts_recv: str | None
    stale: bool
    topic_seq: int | None
    epoch: int | None
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    bid_orders: list[BookOrder] | msgspec.UnsetType = msgspec.UNSET
    ask_orders: list[BookOrder] | msgspec.UnsetType = msgspec.UNSET


class HistoryPage(msgspec.Struct):
    """Rows of a table, and the cursor of the next page."""

    data: list[dict[str, str | int | None]]
    next: str | None


class GapCount(msgspec.Struct):
    """Gaps of one cause and stream on one day."""

    cause: str
    stream: str
    gaps: int
    missing: int
    unknown: int
    length_s: str


class CoverageDay(msgspec.Struct):
    """One symbol and day."""

    venue: str
    symbol: str
    day: str
    state: Literal["complete", "gaps", "missing", "removed"]
    records: int
    first: str | None
    last: str | None
    gaps: list[GapCount]


class CoverageAnswer(msgspec.Struct):
    """What is stored."""

    coverage: list[CoverageDay]


class GapRow(msgspec.Struct):
    """One gap."""

    venue: str
    symbol: str
    ts_recv: str
    ts_event: str | None
    cause: str
    streams: list[str]
    missing: int | None
    last_id: str
    next_id: str
    seq: int


class GapsPage(msgspec.Struct):
    """Gaps, and the cursor of the next page."""

    gaps: list[GapRow]
    next: str | None


class RestartOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Which process to start again."""

    name: str


class ResyncOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Whose books to fetch again."""

    feed: str
    symbol: str = ""


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """A token, to be kept as a cookie."""

    token: str


class LoginAnswer(msgspec.Struct):
    """What the token allows."""

    scopes: list[str]


class Done(msgspec.Struct):
    """It is being done."""

    accepted: bool = True


class Health(msgspec.Struct):
    """Whether the plant is well."""

    healthy: bool
