"""The two kinds of streams: Server-Sent Events and WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, WebSocket, get, websocket
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter

from tickplant.gateway.answers import Raw, abort, while_connected
from tickplant.gateway.documented import ERRORS
from tickplant.gateway.problems import Problem, bad
from tickplant.gateway.services import Services
from tickplant.gateway.stream_cursor import Cursor
from tickplant.gateway.stream_member import Member

MAX_TOPICS: Final = 100  # patterns of one stream
MAX_PATTERN: Final = 256
LEAST_MS: Final = 20
MOST_MS: Final = 60_000

Topics = Annotated[
    list[str] | None, QueryParameter(description="topics or patterns, separated by commas", max_items=MAX_TOPICS)
]
Conflate = Annotated[
    int | None,
    QueryParameter(ge=LEAST_MS, le=MOST_MS, description="at most one event per topic in this many milliseconds"),
]


@get(
    "/api/v1/stream",
    summary="Server-Sent Events",
    tags=["streams"],
    media_type="text/event-stream",
    responses={200: ResponseSpec(str, description="events", media_type="text/event-stream"), **ERRORS},
)
async def stream(
    services: NamedDependency[Services],
    topics: Topics = None,
    conflate_ms: Conflate = None,
    snapshot: Annotated[bool, QueryParameter(description="begin books, quotes and bbo with their state")] = True,
    after: Annotated[str | None, QueryParameter(description="a cursor: the `id` of an event")] = None,
    last_event_id: Annotated[
        str | None, HeaderParameter(name="Last-Event-ID", description="the same, as browsers send it")
    ] = None,
) -> Response[Any]:
    """Events of these topics: snapshots first, then everything that follows, without a hole after a cursor."""
    wanted = patterns_of(topics, needed=True)
    cursor = _cursor(last_event_id or after)
    return Raw(EventStream(services, wanted, conflate_ms or 0, snapshot=snapshot, cursor=cursor))


class EventStream:
    """One answer with Server-Sent Events."""

    def __init__(
        self, services: Services, topics: tuple[str, ...], conflate_ms: int, *, snapshot: bool, cursor: Cursor | None
    ) -> None:
        self._services = services
        self._topics = topics
        self._conflate_ms = conflate_ms
        self._snapshot = snapshot
        self._cursor = cursor

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send events until the client is gone."""
        counts = self._services.counts
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"retry: 1000\n: hello\n\n", "more_body": True})
        counts["sse_clients"] += 1
        try:
            await while_connected(receive, self._send(scope, send))
        finally:
            counts["sse_clients"] -= 1

    async def _send(self, scope: Any, send: Any) -> None:
        last = b""
        try:
            await self._send_events(scope, send)
        except Problem as problem:
            last = b"event: error\ndata: " + problem.body + b"\n\n"
        await send({"type": "http.response.body", "body": last})

    async def _send_events(self, scope: Any, send: Any) -> None:
        services = self._services
        async with joined(
            services,
            self._topics,
            self._conflate_ms,
            websocket=False,
            snapshot=self._snapshot,
            cursor=self._cursor,
            cut=lambda: abort(scope),
        ) as member:
            while not member.closed:
                data = b"".join(await member.take())
                await send({"type": "http.response.body", "body": data, "more_body": True})
                member.sent()
                services.counts["events_bytes"] += len(data)


@contextlib.asynccontextmanager
async def joined(
    services: Services,
    topics: tuple[str, ...],
    conflate_ms: int,
    *,
    websocket: bool,
    snapshot: bool,
    cursor: Cursor | None,
    cut: Callable[[], object],
) -> Any:
    """A member of the stream of these topics, until the block ends."""
    shared = await services.hub.open(topics, conflate_ms)
    member = None
    try:
        if len(shared.positions) > services.config.topics_per_stream:
            raise bad("topics", f"these are {len(shared.positions)} topics; topics_per_stream allows fewer")
        member = Member(
            shared,
            websocket=websocket,
            queue_bytes=services.config.queue_kib << 10,
            snapshot=snapshot,
            cursor=cursor,
            stalled_s=services.config.stalled_s,
            cut=cut,
        )
        yield member
    finally:
        if member:
            member.leave()
            services.counts["events_dropped"] += member.dropped
            services.counts["stalled"] += member.stalled
        services.hub.release(shared)


class Subscribe(msgspec.Struct, forbid_unknown_fields=True):
    """The message a WebSocket client may send: start afresh with these parameters."""

    topics: list[str]
    conflate_ms: Annotated[int, msgspec.Meta(ge=LEAST_MS, le=MOST_MS)] | None = None
    snapshot: bool = True
    after: str | None = None


_SUBSCRIBE: Final = msgspec.json.Decoder(Subscribe)


@websocket("/api/v1/ws")
async def sockets(socket: WebSocket[Any, Any, Any], services: NamedDependency[Services]) -> None:
    """Events of topics; the client may change the topics at any time."""
    query = socket.query_params
    text: dict[str, Any] = {name: query[name] for name in ("conflate_ms", "snapshot", "after") if name in query}
    if topics := query.getall("topics", []):
        text["topics"] = topics
    await socket.accept()
    services.counts["ws_clients"] += 1
    wanted: asyncio.Queue[Subscribe | Problem] = asyncio.Queue(16)
    try:
        if topics:
            wanted.put_nowait(msgspec.convert(text, Subscribe, strict=False))
        await _converse(socket, services, wanted)
    except msgspec.ValidationError as error:
        await _close(socket, 1008, str(error))
    finally:
        services.counts["ws_clients"] -= 1


async def _converse(
    socket: WebSocket[Any, Any, Any], services: Services, wanted: asyncio.Queue[Subscribe | Problem]
) -> None:
    hearing = asyncio.ensure_future(_hear(socket, wanted))
    talking: asyncio.Future[None] | None = None
    try:
        while True:
            asking = asyncio.ensure_future(wanted.get())
            await asyncio.wait([hearing, asking], return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                asking.cancel()
                return
            if talking:
                talking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await talking
                talking = None
            asked = asking.result()
            try:
                if isinstance(asked, Problem):
                    raise asked
                talking = asyncio.ensure_future(
                    _talk(socket, services, asked, patterns_of(asked.topics, needed=True), _cursor(asked.after))
                )
            except Problem as problem:
                await _complain(socket, services, problem)
    finally:
        for task in (hearing, talking):
            if task:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task


async def _hear(socket: WebSocket[Any, Any, Any], wanted: asyncio.Queue[Subscribe | Problem]) -> None:
    """Read the client's messages until it is gone."""
    while True:
        message: dict[str, Any] = dict(await socket.receive())
        if message["type"] == "websocket.disconnect":
            return
        try:
            await wanted.put(_SUBSCRIBE.decode(message.get("text") or message.get("bytes") or ""))
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            await wanted.put(Problem(400, f'a message is {{"topics": […], "conflate_ms": …, "after": "…"}}: {error}'))


async def _talk(
    socket: WebSocket[Any, Any, Any],
    services: Services,
    asked: Subscribe,
    topics: tuple[str, ...],
    cursor: Cursor | None,
) -> None:
    try:
        await _talk_events(socket, services, asked, topics, cursor)
    except Problem as problem:
        await _complain(socket, services, problem)


async def _talk_events(
    socket: WebSocket[Any, Any, Any],
    services: Services,
    asked: Subscribe,
    topics: tuple[str, ...],
    cursor: Cursor | None,
) -> None:
    async with joined(
        services,
        topics,
        asked.conflate_ms or 0,
        websocket=True,
        snapshot=asked.snapshot,
        cursor=cursor,
        cut=lambda: abort(socket.scope),
    ) as member:
        while not member.closed:
            for part in await member.take():
                await _say(socket, services, part)
            member.sent()
    await _close(socket, 1001, "the gateway ends")


async def _complain(socket: WebSocket[Any, Any, Any], services: Services, problem: Problem) -> None:
    await _say(socket, services, msgspec.json.encode({"type": "error", "detail": problem.detail}))


async def _say(socket: WebSocket[Any, Any, Any], services: Services, data: bytes) -> None:
    await socket.send({"type": "websocket.send", "text": data.decode(), "bytes": None})
    services.counts["events_bytes"] += len(data)


async def _close(socket: WebSocket[Any, Any, Any], code: int, reason: str) -> None:
    with contextlib.suppress(Exception):
        await socket.close(code, reason[:100])


def patterns_of(topics: list[str] | None, *, needed: bool) -> tuple[str, ...]:
    """The patterns in a parameter, which may contain commas. Raises Problem."""
    found = tuple(dict.fromkeys(part.strip() for text in topics or () for part in text.split(",") if part.strip()))
    if needed and not found:
        raise bad("topics", "name at least one, such as binance.BTCUSDT.trade, or * for all")
    if len(found) > MAX_TOPICS or any(len(part) > MAX_PATTERN for part in found):
        raise bad("topics", f"at most {MAX_TOPICS} patterns of {MAX_PATTERN} letters")
    if any(part.count("*") > 4 for part in found):  # each one multiplies the time of a comparison
        raise bad("topics", "at most four * in a pattern")
    return found


def _cursor(text: str | None) -> Cursor | None:
    if not text:
        return None
    try:
        return Cursor(text)
    except ValueError as error:
        raise bad("after", str(error)) from None


ROUTES: Final = (stream, sockets)
