"""Routes about live data: instruments, topics and books."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from tickplant.client.topic_patterns import Pattern
from tickplant.errors import SubscribeError
from tickplant.gateway.answers import (
    BookAnswer,
    InstrumentRow,
    Instruments,
    LiveTopics,
    TopicRow,
)
from tickplant.gateway.documented import SYMBOL, VENUE, answers
from tickplant.gateway.problems import Problem, bad
from tickplant.gateway.services import Services
from tickplant.gateway.stored_routes import TIME, book_at
from tickplant.gateway.stream_routes import Topics, patterns_of
from tickplant.instruments import FEED_SYMBOL, InstrumentTable
from tickplant.wire import split_topic


@get(
    "/api/v1/instruments",
    summary="What is recorded",
    tags=["live"],
    responses=answers(Instruments, "symbols", "instruments"),
)
async def instruments(
    services: NamedDependency[Services],
    venue: Annotated[str, QueryParameter(description="only this venue", max_length=128)] = "",
    search: Annotated[str, QueryParameter(description="text within the symbol", max_length=128)] = "",
) -> Instruments:
    """Every symbol of the store and of the engines, with its live topics."""
    path = services.readers.data_dir / "instruments.jsonl"
    found: dict[tuple[str, str], InstrumentRow] = {}
    for row in await asyncio.to_thread(InstrumentTable.load, path):
        key = row.venue, row.symbol
        ids = [*(found[key].ids if key in found else []), row.id]
        found[key] = InstrumentRow(*key, ids, row.price_scale, row.size_scale, [], live=False)
    for info, _ in await services.hub.topics():
        topic_venue, topic_symbol, channel = split_topic(info.topic)
        scales = info.price_scale, info.size_scale
        new = InstrumentRow(topic_venue, topic_symbol, [info.instrument], *scales, [], live=True)
        one = found.setdefault((topic_venue, topic_symbol), new)
        one.channels = sorted([*one.channels, channel])
        one.live = True
    return Instruments(
        [
            one
            for one in found.values()
            if one.symbol != FEED_SYMBOL and venue in ("", one.venue) and search.lower() in one.symbol.lower()
        ]
    )


@get(
    "/api/v1/topics",
    summary="Live topics, and how far each is",
    tags=["live"],
    responses=answers(LiveTopics, "topics", "topics"),
)
async def live_topics(services: NamedDependency[Services], topics: Topics = None) -> LiveTopics:
    """Topics of all engines that have had a record."""
    patterns = [Pattern(text) for text in patterns_of(topics, needed=False)]
    rows = [
        TopicRow(info.topic, *split_topic(info.topic), epoch, info.next_seq)
        for info, epoch in await services.hub.topics()
        if not patterns or any(pattern.matches(info.topic) for pattern in patterns)
    ]
    return LiveTopics(sorted(rows, key=lambda row: row.topic))


@get(
    "/api/v1/book",
    summary="A book as it is now, or as it was at a time",
    tags=["live"],
    responses=answers(BookAnswer, "the book", "book"),
)
async def book(
    services: NamedDependency[Services],
    request: Request[Any, Any, Any],
    venue: VENUE,
    symbol: SYMBOL,
    depth: Annotated[int | None, QueryParameter(ge=1, le=1_000_000, description="levels a side; default: all")] = None,
    orders: Annotated[bool, QueryParameter(description="each order as well, in price-time priority")] = False,
    at: Annotated[str | None, QueryParameter(description=f"after all received up to this time: {TIME}")] = None,
) -> BookAnswer:
    """The engine's book or, with `at`, the one rebuilt from the store, which needs the scope history."""
    seq = epoch = None
    if at is not None:
        if "history" not in request.scope["state"].get("scopes", ()):
            raise Problem(403, "at needs a token with the scope history", parameter="at")
        found = await book_at(services, venue, symbol, at, orders=orders)
    else:
        try:
            found, seq, epoch = await services.hub.book(venue, symbol, orders=orders)
        except ValueError as error:
            raise bad("symbol", str(error)) from None
        except SubscribeError as error:
            if "no such topic" in str(error):
                raise Problem(404, f"there is no live book of {venue} {symbol}: {error}") from None
            raise
    return msgspec.convert({**found.shown(depth), "topic_seq": seq, "epoch": epoch}, BookAnswer)


ROUTES: Final = (instruments, live_topics, book)
