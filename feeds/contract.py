"""The contract between a venue's adapter and the runner that owns sockets, requests, timers and files.

An adapter does no I/O and reads no clock. Events go in with their time, and one `take` hands out what follows: ticks,
effects for the runner to carry out, and rejected frames. The same adapter therefore runs on live sockets, on a
recording, and in a unit test:

    on_event(Resumed | Continued)       at most once, before `start`: what was recorded before
    start(now)                          the first effects; not for a recording, where nobody can be asked
    on_event(event, now), take()        for whatever happens, in turns
    on_event(Ended, now), take()        the source has ended, or the feed stops

While a link is replaced with overlap, two sockets bear its name. Opened of the new one comes before Closed of the old
one, Frames of both come under the name, and a Send goes to the newer socket. The adapter counts: only when the last
of them closes is the link lost.

Where `connections` is 2, two links carry the same streams. Each has its name and its sockets, subscriptions and
acknowledgements; a stream is lost when the last link that carries it is.
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
    """From a symbol to its instrument, registered if new."""

    def __call__(
        self, symbol: str, price_scale: int | None, size_scale: int | None, /, *, exact: bool = False
    ) -> Instrument:
        """The newest id of the symbol where its scales hold these, else a new one with these.

        A scale of None means: the venue has not said; take the configured one, else 8. With `exact` the scales must
        be these and no larger.
        """
        ...


REST: Final = "rest"
"""Name of the endpoint that requests go to where they name no other one."""

WS: Final = "ws"
"""Name of the endpoint of a venue's WebSockets."""


class FeedContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter is made of."""

    symbols: tuple[str, ...] | None  # None records every symbol that occurs, as from a recording
    channels: tuple[str, ...]  # what to subscribe to; whatever else arrives is recorded too
    resolve: Resolver
    expect: Callable[[Sequence[tuple[str, int | None, int | None]]], None] = lambda _: None  # many are resolved next
    known: Callable[[str], Instrument | None] = lambda _: None  # newest instrument of a symbol, of an earlier process
    live: bool = True  # False: events come from a recording, and nobody can be asked
    secrets: Mapping[str, str] = {}  # of the configured credential, by name: for Send and Request with `secret`
    endpoints: Mapping[str, str] = {}  # addresses that replace the venue's own, by name
    depth: int = 0  # levels a side of a book, where the venue offers a choice; 0: the venue's default
    connections: int = 1  # that carry each stream: what one repeats of the other is told by its id
    compression: bool = False  # offer permessage-deflate to a venue that has it
    silent_s: float = 60.0  # a subscription that delivers nothing for so long has failed, unless its channel may rest
    rejects_kept: int = 100  # rejected frames handed out, per cause
    instrument_poll_s: float = 3600.0  # how often instrument data is asked for without an occasion


# Effects: what an adapter asks its runner to do.


class LinkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One connection that an adapter needs: a WebSocket, or plain TCP, where what one read brings is one frame."""

    name: str  # in logs, captures and events, such as "public"
    url: str  # ws://, wss:// or tcp://host:port
    headers: dict[str, str] = {}
    compression: bool = False  # offer permessage-deflate
    proxy: str | None = None
    max_age_s: float | None = None  # the venue cuts connections about this old: replaced before; None: it does not
    age_share: float = 1.0  # of the age, whoever sets it: links that carry the same streams are not replaced together
    overlap: bool = True  # a replacement may open before the old one closes; False for one login at a time, or no ids
    pings: bool = True  # the venue answers WebSocket pings, so a quiet connection can be asked whether it lives
    send_interval_s: float = 0.0  # least time between two messages to the venue
    max_message_bytes: int = 64 << 20  # greatest message taken


class Open(msgspec.Struct, frozen=True):
    """Keep this connection open; a link of this name that exists takes the specification for its next socket."""

    link: LinkSpec


class Close(msgspec.Struct, frozen=True):
    """End this connection; Closed follows."""

    link: str
    reason: str


class Resubscribe(msgspec.Struct, frozen=True):
    """Replace the connection, so that all its streams are subscribed to anew.

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
    """Make this HTTP request. A newer one of the same key takes the place of an older one that is not answered yet."""

    key: str  # in logs, captures and answers, such as "exchangeInfo" or "depth BTCUSDT"
    path: str  # path and query below the endpoint's address
    not_before_ns: int = 0  # do not send earlier than this: how an adapter throttles itself
    headers: dict[str, str] = {}
    method: str = "GET"
    body: bytes = b""
    endpoint: str = REST
    secret: bool = False  # neither path nor answer are logged or captured


class Hold(msgspec.Struct, frozen=True):
    """Leave an endpoint, or a link, alone until then. A link that is open is closed."""

    name: str
    until_ns: int
    reason: str


class Fail(msgspec.Struct, frozen=True):
    """End the feed: the user's configuration cannot work, and no retry can mend that."""

    reason: str


class Notice(msgspec.Struct, frozen=True):
    """Write something to the log that no record says in full, such as the venue's own word for a status."""

    event: str
    fields: dict[str, str | int] = {}


class Followed(msgspec.Struct, frozen=True):
    """What has become of a symbol that was added or removed while the feed runs."""

    symbol: str
    added: bool = True
    problem: str = ""  # why it is not recorded, as a clause; empty: it is as was wished


Effect = Open | Close | Resubscribe | Send | Request | Hold | Fail | Notice | Followed


class Reject(msgspec.Struct, frozen=True):
    """A frame or value that was not recorded, kept raw so that a parser can be mended."""

    cause: str  # short and stable, such as "not json" or "scale": the reject log keeps the first N of each
    raw: bytes
    ts_recv_ns: int
    detail: str = ""


class Output(NamedTuple):
    """What has come of the events since the last `take`."""

    ticks: NDArray[np.void]  # shape (n,), dtype TICK, `seq` still 0; valid until the next call on the adapter
    effects: Sequence[Effect] = ()  # in order
    rejects: Sequence[Reject] = ()  # a bounded number; the counters count all


# Events: what goes into an adapter.


class Frames(msgspec.Struct, frozen=True, gc=False):
    """Whole messages of one read from the socket, in order; the time is that of the read."""

    link: str
    frames: Sequence[bytes]


class Opened(msgspec.Struct, frozen=True):
    """A socket is up: subscriptions are to be sent now."""

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
    """About a second has passed: deadlines, polling."""


class Resync(msgspec.Struct, frozen=True):
    """Fetch the book of a symbol again; all of them where it is empty."""

    symbol: str


class Symbols(msgspec.Struct, frozen=True):
    """At somebody's wish these symbols are recorded from now on, and those no longer. Followed says what came of it."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Resumed(msgspec.Struct, frozen=True):
    """An earlier process has recorded up to these ids, by symbol. What follows comes after an interruption."""

    last: Mapping[str, LastIds]


class Continued(msgspec.Struct, frozen=True):
    """Frames of these symbols follow directly on what has been recorded of them.

    Unlike after Resumed nothing was interrupted: ids that are known are duplicates, ids that follow continue the
    stream and the book, and holes between are GAPs as within one connection. The ids stand with the id of the
    instrument that has them.
    """

    before: Mapping[str, tuple[int, LastIds]]


class Ended(msgspec.Struct, frozen=True):
    """Nothing more comes for now: what was held back, such as book changes that await a snapshot, is handed out."""


Event = Frames | Opened | Closed | Answer | Second | Resync | Symbols | Resumed | Continued | Ended


class FeedCounters(msgspec.Struct):
    """What an adapter has seen since it was made. Invariant: frames == parsed + ignored + rejected."""

    frames: int = 0
    parsed: int = 0  # frames that became ticks, or were understood and held or dropped as duplicates
    ignored: int = 0  # acknowledgements, and messages of kinds or symbols that are not recorded
    rejected: int = 0  # frames that were not recorded though they should have been
    ticks: int = 0  # records handed out by take
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
    """One venue, one feed. Not thread-safe; never raises for what the venue sent."""

    venue: str

    @property
    def counters(self) -> FeedCounters:
        """What was seen so far; read it again for newer numbers."""
        ...

    @property
    def trouble(self) -> str:
        """A sentence where every frame of a subscribed stream is being rejected, else empty."""
        ...

    def start(self, now_ns: int) -> None:
        """The feed begins: the first requests and links are effects of the next `take`."""
        ...

    def on_event(self, event: Event, now_ns: int) -> None:
        """Something has happened at this time, in ns of the wall clock."""
        ...

    def take(self) -> Output:
        """What has come of it since the last call."""
        ...
