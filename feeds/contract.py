"""The contract between a venue's adapter and the runner that owns sockets, requests, timers and files.

An adapter does no I/O and reads no clock. Events go in with their time; `take` hands out what follows from them: ticks,
effects for the runner to carry out, and rejected frames. The same adapter therefore runs on live sockets, on a
recording, and in a unit test:

    on_event(Resumed | Continued)       at most once, before `start`: what was recorded earlier
    start(now)                          the first effects; not for a recording, which cannot answer
    on_event(event, now), take()        alternately, for whatever happens
    on_event(Ended, now), take()        the source has ended, or the feed stops

While a link is replaced with overlap, two sockets share its name. Opened for the new socket comes before Closed for
the old one, Frames of both arrive under that name, and a Send goes to the newer socket. The adapter counts its
sockets: the link is lost only when the last of them closes.

Where `connections` is 2, two links carry the same streams. Each link has its own name, sockets, subscriptions and
acknowledgements; a stream is lost when the last link that carries it is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.feeds.last_ids import LastIds
from tickplant.instruments import Instrument


class Resolver(Protocol):
    """Finds the instrument of a symbol, and registers it if new."""

    def __call__(
        self, symbol: str, price_scale: int | None, size_scale: int | None, /, *, exact: bool = False
    ) -> Instrument:
        """The newest id of the symbol if its scales hold these, else a new id with these scales.

        A scale of None means that the venue has not stated it; the configured scale applies, else 8. With `exact` the
        scales must equal these.
        """
        ...


REST: Final = "rest"
"""Name of the endpoint of requests that name no other."""

WS: Final = "ws"
"""Name of the endpoint of a venue's WebSockets."""


class FeedContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter is built from."""

    symbols: tuple[str, ...] | None  # None records every symbol that occurs, as from a recording
    channels: tuple[str, ...]  # what to subscribe to; whatever else arrives is recorded too
    resolve: Resolver
    expect: Callable[[Sequence[tuple[str, int | None, int | None]]], None] = lambda _: None  # many are resolved next
    known: Callable[[str], Instrument | None] = lambda _: None  # newest instrument of a symbol, from an earlier process
    live: bool = True  # False: events come from a recording, and the venue cannot be asked
    secrets: Mapping[str, str] = {}  # of the configured credential, by name: for a Send or Request with `secret`
    endpoints: Mapping[str, str] = {}  # addresses that replace the venue's own, by name
    depth: int = 0  # levels per side of a book, where the venue offers a choice; 0: the venue's default
    connections: int = 1  # links per stream; a record that both bring is recognized by its id
    compression: bool = False  # offer permessage-deflate to a venue that supports it
    silent_s: float = 60.0  # a subscription silent for this long has failed, unless its channel may rest
    rejects_kept: int = 100  # rejected frames handed out, per cause
    instrument_poll_s: float = 3600.0  # how often to ask for instrument data without a particular reason


# Effects: what an adapter asks its runner to do.


class LinkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One connection that an adapter needs: a WebSocket, or plain TCP, where each read is one frame."""

    name: str  # in logs, captures and events, such as "public"
    url: str  # ws://, wss:// or tcp://host:port
    headers: dict[str, str] = {}
    compression: bool = False  # offer permessage-deflate
    proxy: str | None = None
    max_age_s: float | None = None  # age at which the venue cuts connections; replaced before that. None: it does not
    age_share: float = 1.0  # of the age, whoever sets it: links with the same streams are replaced at different times
    overlap: bool = True  # a replacement may open before the old one closes; False for one login at a time, or no ids
    pings: bool = True  # the venue answers WebSocket pings, so a quiet connection can be tested
    send_interval_s: float = 0.0  # shortest time between two messages to the venue
    max_message_bytes: int = 64 << 20  # largest message accepted


class Open(msgspec.Struct, frozen=True):
    """Keep this connection open. An existing link of this name uses the specification for its next socket."""

    link: LinkSpec


class Close(msgspec.Struct, frozen=True):
    """End this connection. Closed follows."""

    link: str
    reason: str


class Resubscribe(msgspec.Struct, frozen=True):
    """Replace the connection, so that all its streams are subscribed to again.

    With `overlap`, and where the link allows it, the new socket opens before the old one closes.
    """

    link: str
    reason: str
    overlap: bool = False


class Send(msgspec.Struct, frozen=True):
    """Send this text frame; over TCP, these bytes."""

    link: str
    payload: bytes
    secret: bool = False  # never captured


class Request(msgspec.Struct, frozen=True):
    """Make this HTTP request. A newer request replaces an unanswered one of the same key."""

    key: str  # in logs, captures and answers, such as "exchangeInfo" or "depth BTCUSDT"
    path: str  # path and query below the endpoint's address
    not_before_ns: int = 0  # do not send before this time: how an adapter throttles itself
    headers: dict[str, str] = {}
    method: str = "GET"
    body: bytes = b""
    endpoint: str = REST
    secret: bool = False  # neither the path nor the answer is logged or captured


class Hold(msgspec.Struct, frozen=True):
    """Leave an endpoint or a link alone until this time. An open link is closed."""

    name: str
    until_ns: int
    reason: str


class Fail(msgspec.Struct, frozen=True):
    """End the feed: the user's configuration cannot work, and no retry can fix that."""

    reason: str


class Notice(msgspec.Struct, frozen=True):
    """Log something that no record states in full, such as the venue's own word for a status."""

    event: str
    fields: dict[str, str | int] = {}


class Followed(msgspec.Struct, frozen=True):
    """The outcome for a symbol that was added or removed while the feed runs."""

    symbol: str
    added: bool = True
    problem: str = ""  # why the request failed, as a clause; empty: it succeeded


Effect = Open | Close | Resubscribe | Send | Request | Hold | Fail | Notice | Followed


class Reject(msgspec.Struct, frozen=True):
    """A frame or value that was not recorded, kept raw so that a parser can be fixed."""

    cause: str  # short and stable, such as "not json" or "scale": the reject log keeps the first N of each
    raw: bytes
    ts_recv_ns: int
    detail: str = ""


class Output(NamedTuple):
    """What has resulted from the events since the last `take`."""

    ticks: NDArray[np.void]  # shape (n,), dtype TICK, `seq` still 0; valid until the next call on the adapter
    effects: Sequence[Effect] = ()  # in order
    rejects: Sequence[Reject] = ()  # a bounded number; the counters count all


# Events: what goes into an adapter.


class Frames(msgspec.Struct, frozen=True, gc=False):
    """Whole messages from one read of the socket, in order. The event's time is that of the read."""

    link: str
    frames: Sequence[bytes]


class Opened(msgspec.Struct, frozen=True):
    """A socket is up: send the subscriptions now."""

    link: str


class Closed(msgspec.Struct, frozen=True):
    """A socket is gone."""

    link: str
    reason: str


class Answer(msgspec.Struct, frozen=True):
    """The answer to a request. A network failure is status 0 with the reason as body."""

    request: Request
    status: int
    body: bytes
    retry_after_s: float | None = None


class Second(msgspec.Struct, frozen=True):
    """About a second has passed: time to check deadlines and to poll."""


class Resync(msgspec.Struct, frozen=True):
    """Fetch the book of this symbol again; every book where the symbol is empty."""

    symbol: str


class Symbols(msgspec.Struct, frozen=True):
    """An operator has changed the symbols to record. Followed reports the outcome of each."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Resumed(msgspec.Struct, frozen=True):
    """An earlier process has recorded up to these ids, by symbol. What follows comes after an interruption."""

    last: Mapping[str, LastIds]


class Continued(msgspec.Struct, frozen=True):
    """Frames of these symbols follow directly on what has been recorded of them.

    Unlike with Resumed, nothing was interrupted: known ids are duplicates, consecutive ids continue the stream and the
    book, and holes are GAPs as within one connection. Each symbol maps to the id of its instrument and its last ids.
    """

    before: Mapping[str, tuple[int, LastIds]]


class Ended(msgspec.Struct, frozen=True):
    """Nothing more comes for now: hand out what was held back, such as book changes that await a snapshot."""


Event = Frames | Opened | Closed | Answer | Second | Resync | Symbols | Resumed | Continued | Ended


class FeedCounters(msgspec.Struct):
    """What an adapter has seen since its creation. Invariant: frames == parsed + ignored + rejected."""

    frames: int = 0
    parsed: int = 0  # frames that became ticks, or were understood and then held back or dropped as duplicates
    ignored: int = 0  # acknowledgements, and messages of kinds or symbols that are not recorded
    rejected: int = 0  # frames that should have been recorded and were not
    ticks: int = 0  # records handed out by take
    kinds: dict[str, int] = msgspec.field(default_factory=dict)  # ticks by lower-case Kind name
    duplicates: int = 0  # trades, quotes and book events dropped because their id was already recorded
    gaps: int = 0  # GAP records
    resyncs: int = 0  # snapshots asked for, beyond the first of each book
    backfilled: int = 0  # trades of a gap that were fetched later, flagged BACKFILL
    unfilled: int = 0  # trades of a gap that the venue did not return, or that were too many to ask for
    fallbacks: int = 0  # frames that the fast decoder handed to the reference decoder, which is 20 times slower
    ignored_kinds: dict[str, int] = msgspec.field(default_factory=dict)  # of the ignored, by kind that is not recorded
    off_book: dict[str, int] = msgspec.field(default_factory=dict)  # fills made off the book and left out, by origin
    refused: int = 0  # subscriptions that the venue refused; counted among the rejected too
    checksums_ok: int = 0
    checksums_failed: int = 0


class Adapter(Protocol):
    """One venue, one feed. Not thread-safe; never raises for what the venue sent."""

    venue: str

    @property
    def counters(self) -> FeedCounters:
        """Counts so far; read the property again for newer numbers."""
        ...

    @property
    def trouble(self) -> str:
        """A sentence if every frame of a subscribed stream is being rejected, else empty."""
        ...

    def start(self, now_ns: int) -> None:
        """Begin the feed: the first requests and links are effects of the next `take`."""
        ...

    def on_event(self, event: Event, now_ns: int) -> None:
        """Take in an event at this time, in ns of the wall clock."""
        ...

    def take(self) -> Output:
        """What has resulted since the last call."""
        ...
