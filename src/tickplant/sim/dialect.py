"""The contract between the simulator and the venues that it simulates. No I/O.

The simulator owns sockets, clocks, order flow, recordings, faults and the ledger. A *dialect* owns what differs between
venues: the paths, how a client subscribes, the form of frames, the REST answers. `dialect_table` lists the dialects;
each is a folder of `dialects/`.

A *stream* is what a client can subscribe to: one channel of one symbol, under the dialect's name for it. The source (a
recording or a synthetic market) numbers its streams; masks and batches use these numbers. A frame is printed once and
shared by all connections that take it; a connection that needs its own text makes that from the shared one
(`Session.own`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tickplant.sim.conversation import Answer, Get, Refusal, Refused, Session
from tickplant.sim.faults import FaultWords
from tickplant.sim.frames import Batch
from tickplant.sim.market import Market
from tickplant.sim.sim_source import Asker, Listed, Source, Traded
from tickplant.sim.spec import SimSpec

Snapshot = Callable[[int], bytes]
"""The book at one moment: returns the text of its snapshot with at most this many levels per side."""


class Limits(NamedTuple):
    """Figures of a venue. If `ping_interval_s` is None, the server sends no pings."""

    ping_interval_s: float | None
    pong_timeout_s: float
    client_messages_per_s: int

    def with_spec(self, spec: SimSpec) -> Limits:
        """These figures, overridden by those of a spec."""
        return Limits(
            spec.ping_interval_s or self.ping_interval_s,
            spec.pong_timeout_s or self.pong_timeout_s,
            spec.client_messages_per_s or self.client_messages_per_s,
        )


class Dialect(Protocol):
    """A venue. It makes its source, so that it can query books and trades."""

    source: Source
    limits: Limits
    words: FaultWords
    heartbeat_s: float | None
    posts: bool = False
    """Whether clients post anything to the venue; else a POST is refused."""

    def bind(self, stale: Callable[[str], Snapshot | None]) -> None:
        """Called before the first client. `stale` gives a symbol's old snapshot if a fault wants it shown, or None."""
        ...

    def accept(
        self, target: str, headers: Mapping[str, str], refuse: Callable[[], Refused | None]
    ) -> Session | Refusal:
        """Answer a handshake for a path with its query. The session calls `refuse` at each request to subscribe."""
        ...

    async def rest(self, request: Get, asker: Asker) -> Answer:
        """Answer a REST request; may take time."""
        ...

    def rest_refusal(self, status: int) -> bytes:
        """The body of an answer with an error status, caused by a fault or by a failure of ours."""
        ...

    def snapshots(self) -> dict[str, Snapshot]:
        """The present books by symbol, where there is one."""
        ...


class Events(NamedTuple):
    """Events of a synthetic market. The next events overwrite the arrays."""

    rows: NDArray[np.void]  # of order_flow.MESSAGE
    levels: NDArray[np.int64]  # [levels, 2]: tick and lots, of the depth rows
    sent_ns: int  # now, since the epoch
    origin_ns: int  # when the market opened; times in `rows` count from there


class Printer(Protocol):
    """Prints a synthetic market as a venue does."""

    instruments: list[Traded]
    streams: list[str]
    intervals_ns: list[int]  # of the depth streams for the market to provide
    id_step: int  # update ids rise by 1 .. id_step at each change of a book
    decimals: NDArray[np.int64]  # [symbols, 4], see `templates`; the market writes here if a fault refines a price

    def begin(self, market: Market) -> None:
        """Begin with a market that has opened and had no events."""
        ...

    def prepare(self) -> None:
        """Compile the kernels that `render` does not call."""
        ...

    def needs(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which rows the market must produce for these streams: [symbols * kinds]."""
        ...

    def render(
        self, events: Events, wanted: NDArray[np.bool_], variants: set[int]
    ) -> Iterator[tuple[int | None, Batch]]:
        """The frames of the wanted streams, for each variant that some session takes; None for all variants.

        Called once for all events, in order, with or without listeners. A batch is valid until the next one.
        """
        ...

    def changed(self, one: Listed) -> Batch | None:
        """The frame that announces a change of an instrument; None if the venue sends none."""
        ...


class Line(NamedTuple):
    """The kind of a recorded line."""

    stream: str = ""  # empty: not played, since each connection gets its own
    id: int = 0  # the venue's own id: trade id, final update id; 0 if none
    head: int = 0  # bytes before and after the frame's second form, if it has one
    tail: int = 0
    is_greeting: bool = False  # only played once one of these has come first


class RecordedVenue(Protocol):
    """What the player must know about a venue's frames."""

    venue: str

    def survey(self, number: int, frame: bytes) -> Line | None:
        """First pass, called for each line: its kind. None if the venue sends no such frame."""
        ...

    def listed(self) -> dict[str, Listed]:
        """After the survey: the instruments, by symbol."""
        ...

    def fetched(self) -> dict[int, str]:
        """After the survey: the lines that a client fetches by REST once they are due, each with its symbol."""
        ...

    def read(self, frame: bytes) -> Line | None:
        """The kind of a line."""
        ...

    def key(self, stream: str) -> str:
        """What a subscription and a recorded stream must have in common."""
        ...

    def book_stream(self, symbol: str) -> str:
        """Name of a stream with the book's changes."""
        ...

    def played(self, batch: Batch) -> None:
        """Note that these frames have been sent; `batch.stream` counts streams in the order of their first line."""
        ...

    def start(self, symbol: str, body: bytes) -> None:
        """Note that the place of a fetched line has been passed. Raises FeedError if it is not a snapshot."""
        ...
