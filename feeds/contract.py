"""The interface between a venue's decoder and the runner that owns sockets, timers and files.

An adapter does no I/O and reads no clock: it takes bytes with their receive time and returns ticks, requests and
actions. The same adapter therefore runs on a live socket, on a recording, and in a unit test. The runner drives it:

    bootstrap() -> REST -> on_rest()           once, before the first connection
    resume()                                   where an earlier process has published to the same ring
    go_on()                                    instead, for a recording that is added to a store
    connections() -> open -> on_open()         for each connection, again after each reconnect
    on_frames() / on_rest() / on_timer()       whatever arrives
    take_ticks(), take_requests(), take_actions(), take_rejects()     after each of them
    release()                                  when the source has ended or the feed stops, before the last take_ticks()

While a connection is replaced with overlap, two sockets bear its name. on_open() of the new one comes before
on_close() of the old one, frames of both are handed in under the name, and a Send goes to the newer socket. The
adapter counts: only when the last of them closes is the connection lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.feeds.last_ids import LastIds
from tickplant.instruments import Instrument
from tickplant.records.layouts import Flag


class Resolver(Protocol):
    """From a symbol to its instrument, registered if new."""

    def __call__(
        self, symbol: str, price_scale: int | None, size_scale: int | None, /, *, exact: bool = False
    ) -> Instrument:
        """The newest id of the symbol where its scales hold these, else a new one with these.

        A scale of None means: the venue has not said; take the configured one, else 8. With `exact` the scales must
        be these and no larger.
        """
        ...


ON_CHANNEL: Final = {
    "trade": Flag.ON_TRADE,
    "agg_trade": Flag.ON_TRADE,
    "quote": Flag.ON_QUOTE,
    "book": Flag.ON_BOOK,
}
"""By channel of the configuration, the flag of a STATUS or GAP that concerns it."""


class RestRequest(msgspec.Struct, frozen=True):
    """An HTTP GET the adapter wants made."""

    key: str  # names it in logs and in on_rest, such as "exchangeInfo" or "depth BTCUSDT"
    path: str  # path and query below the venue's REST address, such as "/api/v3/depth?symbol=BTCUSDT&limit=5000"
    not_before_ns: int = 0  # do not send earlier than this (wall clock): how the adapter throttles its retries
    headers: dict[str, str] = {}


class RestResponse(msgspec.Struct, frozen=True):
    """The answer to a request. A network failure is status 0 with the reason as body."""

    request: RestRequest
    status: int
    body: bytes
    ts_recv_ns: int
    retry_after_s: float | None = None


class Connection(msgspec.Struct, frozen=True):
    """One WebSocket the adapter needs."""

    name: str  # "public": names it in logs and in on_frames
    url: str
    send_interval_s: float = 0.0  # least time between two messages to the venue


class Send(msgspec.Struct, frozen=True):
    """Action: send this text frame on this connection."""

    connection: str
    payload: bytes


class Reconnect(msgspec.Struct, frozen=True):
    """Action: replace this connection; with `overlap`, open the new one before the old one is closed."""

    connection: str
    reason: str
    overlap: bool = False


class Reject(msgspec.Struct, frozen=True):
    """A frame or value that was not recorded, kept raw so that a parser can be mended."""

    cause: str  # short and stable, such as "not json" or "scale": the reject log keeps the first N of each
    raw: bytes
    ts_recv_ns: int
    detail: str = ""


class Notice(msgspec.Struct, frozen=True):
    """Something for the log that no record says in full, such as the venue's own word for a status."""

    event: str
    fields: dict[str, str | int] = {}


class FeedCounters(msgspec.Struct):
    """What an adapter has seen since it was made. Invariant: frames == parsed + ignored + rejected."""

    frames: int = 0
    parsed: int = 0  # frames that became ticks, or were understood and held or dropped as duplicates
    ignored: int = 0  # acknowledgements, and messages of kinds or symbols that are not recorded
    rejected: int = 0  # frames that were not recorded though they should have been
    ticks: int = 0  # records handed out by take_ticks
    kinds: dict[str, int] = msgspec.field(default_factory=dict)  # ticks by lower-case Kind name
    duplicates: int = 0  # trades, quotes and book events dropped because their id had been recorded
    gaps: int = 0  # GAP records
    resyncs: int = 0  # snapshots asked for, after the first of each book
    backfilled: int = 0  # trades of a gap that were fetched later, flagged BACKFILL
    unfilled: int = 0  # trades of a gap that were asked for in vain, or too many to ask for
    fallbacks: int = 0  # frames that the fast decoder handed to the reference decoder, which is 20 times slower
    ignored_kinds: dict[str, int] = msgspec.field(default_factory=dict)  # of the ignored: kinds that are not recorded
    off_book: dict[str, int] = msgspec.field(default_factory=dict)  # fills not made on the book, left out, by origin
    refused: int = 0  # subscriptions that the venue refused; also among the rejected
    checksums_ok: int = 0
    checksums_failed: int = 0


class Adapter(Protocol):
    """One venue, one feed. Not thread-safe; never raises for what the venue sent, with the exception of on_rest."""

    venue: str

    @property
    def counters(self) -> FeedCounters:
        """What was seen so far; read it again for newer numbers."""
        ...

    @property
    def trouble(self) -> str:
        """A sentence where every frame of a subscribed stream is being rejected, else empty."""
        ...

    def bootstrap(self) -> list[RestRequest]:
        """Requests whose answers are needed before connecting: the instrument data."""
        ...

    def connections(self) -> list[Connection]:
        """The WebSockets to open. Empty until the bootstrap answers were fed in: a failed one is asked for again."""
        ...

    def resume(self, last: Mapping[str, LastIds], ts_ns: int) -> None:
        """Go on after these ids, by symbol, which an earlier process has recorded. Once, before any frame."""
        ...

    def go_on(self, before: Mapping[str, tuple[int, LastIds]]) -> None:
        """Take the frames of these symbols as the next ones behind what has been recorded of them.

        Unlike after `resume` nothing was interrupted: ids that are known are duplicates, ids that follow continue the
        stream and the book, and holes between are told as within one connection. Once, before any frame; the ids stand
        with the instrument that has them.
        """
        ...

    def on_open(self, connection: str, ts_ns: int) -> None:
        """A connection is up: subscriptions follow as Send actions."""
        ...

    def on_frames(self, connection: str, frames: Sequence[bytes], ts_recv_ns: int) -> None:
        """Text frames of one read from the socket, in order, with the time of that read."""
        ...

    def on_close(self, connection: str, ts_ns: int, reason: str) -> None:
        """A connection is gone."""
        ...

    def on_rest(self, response: RestResponse) -> None:
        """The answer, or the failure, of an earlier request.

        Raises FeedError where the answer shows a mistake of the user's that no retry can mend, such as a configured
        symbol which the venue does not have.
        """
        ...

    def on_timer(self, now_ns: int) -> None:
        """Called about once a second, for deadlines: silent subscriptions, unanswered requests."""
        ...

    def on_recorded(self, body: bytes, ts_recv_ns: int) -> None:
        """One line of a recording, of a frame or of a REST answer, which only its content tells apart."""
        ...

    def resync(self, symbol: str, ts_ns: int) -> None:
        """Fetch the book of a symbol again; all of them where it is empty."""
        ...

    def release(self) -> None:
        """Hand out book changes that were held back for a snapshot: it will not come any more."""
        ...

    def take_ticks(self) -> NDArray[np.void]:
        """Ticks made since the last call, dtype TICK, `seq` still 0; valid until the next call on the adapter."""
        ...

    def take_requests(self) -> list[RestRequest]:
        """Requests made since the last call."""
        ...

    def take_actions(self) -> list[Send | Reconnect]:
        """Actions wanted since the last call, in order."""
        ...

    def take_rejects(self) -> list[Reject]:
        """Frames and values rejected since the last call (a bounded number; the counters count all)."""
        ...

    def take_notices(self) -> list[Notice]:
        """What is for the log, since the last call."""
        ...
