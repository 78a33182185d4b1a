"""The book of an instrument, once: `fetch_book`."""

from __future__ import annotations

import msgspec
import numpy as np

from tickplant.client.request_line import CONNECT_TIMEOUT_S, RequestLine
from tickplant.errors import SubscribeError
from tickplant.records.layouts import DTYPES, Kind, Schema, Side
from tickplant.runtime.config import DEFAULT_PUBLISH, beside
from tickplant.wire import GetSnapshot, Snapshot, make_topic


class Book(msgspec.Struct, frozen=True):
    """A book as it is now. Levels are (price, size) mantissas, best first; value = mantissa * 10**-scale."""

    venue: str
    symbol: str
    ts_event: int
    ts_recv: int
    stale: bool
    price_scale: int
    size_scale: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


def fetch_book(
    venue: str, symbol: str, *, address: str = DEFAULT_PUBLISH, requests: str = "", timeout: float = CONNECT_TIMEOUT_S
) -> Book:
    """The book of an instrument as it is now. Raises SubscribeError: no engine answers, or it has no such book."""
    try:
        topic = make_topic(venue, symbol, "book")
    except ValueError as error:
        raise SubscribeError(str(error)) from None
    line = RequestLine(address, requests or beside(address))
    try:
        reply, frames = line.ask(GetSnapshot(topic), timeout)
    finally:
        line.close()
    if not isinstance(reply, Snapshot):
        raise SubscribeError(f"{line.address}: {getattr(reply, 'reason', reply)}")
    try:
        records = np.frombuffer(frames[0], DTYPES[Schema.TICK])
        first = records[0]
    except (IndexError, ValueError) as error:
        raise SubscribeError(f"{line.address}: it answered with something that is no book: {error}") from None
    levels = {}
    for side in (Side.BID, Side.ASK):
        chosen = records[(records["kind"] == Kind.LEVEL) & (records["side"] == side)]
        levels[side] = list(zip(chosen["price"].tolist(), chosen["size"].tolist(), strict=True))
    return Book(
        venue=venue,
        symbol=symbol,
        ts_event=int(first["ts_event"]),
        ts_recv=int(first["ts_recv"]),
        stale=reply.stale,
        price_scale=reply.info.price_scale,
        size_scale=reply.info.size_scale,
        bids=levels[Side.BID],
        asks=levels[Side.ASK],
    )
