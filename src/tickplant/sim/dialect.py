"""The contract between the simulator and the venues that it simulates. No I/O.

The simulator owns sockets, clocks, order flow, recordings, faults and the ledger. A *dialect* owns what differs between
venues: which paths there are, how a client subscribes, what a frame looks like, what REST answers. The dialects are
listed in `dialect_table`; each is a folder of `dialects/`.

A *stream* is what a client can subscribe to, one channel of one symbol, under the name that the dialect gives it. The
source (a recording or a synthetic market) numbers its streams; masks and batches use these numbers. A frame is printed
once and shared by all connections that take it; a connection that needs a text of its own says how to make it from the
shared one (`Session.own`).
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
"""The book of one moment: the text of its snapshot with at most so many levels a side."""


class Limits(NamedTuple):
    """Figures of a venue. Where `ping_interval_s` is None, the server sends no pings."""

    ping_interval_s: float | None
    pong_timeout_s: float
    client_messages_per_s: int

    def with_spec(self, spec: SimSpec) -> Limits:
        """The figures of a spec, where it has any."""
        return Limits(
            spec.ping_interval_s or self.ping_interval_s,
            spec.pong_timeout_s or self.pong_timeout_s,
            spec.client_messages_per_s or self.client_messages_per_s,
        )


class Dialect(Protocol):
    """A venue. It makes its source, so that it can ask that about books and trades."""

    source: Source
    limits: Limits
    words: FaultWords
    heartbeat_s: float | None
    posts: bool = False
    """Whether clients post something to the venue; else a POST is refused."""

    def bind(self, stale: Callable[[str], Snapshot | None]) -> None:
        """Before the first client. `stale` gives the old snapshot of a symbol that a fault wants shown, or None."""
        ...

    def accept(
        self, target: str, headers: Mapping[str, str], refuse: Callable[[], Refused | None]
    ) -> Session | Refusal:
        """Answer a handshake for a path with its query. The session calls `refuse` at each request to subscribe."""
        ...

    async def rest(self, request: Get, asker: Asker) -> Answer:
        """Answer a REST request; may take its time."""
        ...

    def rest_refusal(self, status: int) -> bytes:
        """The body of an answer with an error status that a fault, or a failure of ours, causes."""
        ...

    def snapshots(self) -> dict[str, Snapshot]:
        """The books as they are now, by symbol, of those that have one."""
        ...


class Events(NamedTuple):
    """What happened in a synthetic market. The arrays are overwritten by the next ones."""

    rows: NDArray[np.void]  # of order_flow.MESSAGE
    levels: NDArray[np.int64]  # [levels, 2] tick and lots, of the depth rows
    sent_ns: int  # now, since the epoch
    origin_ns: int  # when the market opened; times in `rows` count from there


class Printer(Protocol):
    """Prints a synthetic market as a venue does."""

    instruments: list[Traded]
    streams: list[str]
    intervals_ns: list[int]  # of the depth streams that the market is to have
    id_step: int  # update ids rise by 1 .. id_step at each change of a book
    decimals: NDArray[np.int64]  # [symbols, 4] see `templates`; the market writes here where a fault refines a price

    def begin(self, market: Market) -> None:
        """The market has opened, and nothing has happened yet."""
        ...

    def prepare(self) -> None:
        """Compile the kernels that `render` does not call."""
        ...

    def needs(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which rows the market must produce where these streams are wanted: [symbols * kinds]."""
        ...

    def render(
        self, events: Events, wanted: NDArray[np.bool_], variants: set[int]
    ) -> Iterator[tuple[int | None, Batch]]:
        """The frames of the streams that are wanted, for each variant that some session takes; None for all of them.

        Called once for all that happens, in order, whether anybody listens or not. A batch is valid until the next.
        """
        ...

    def changed(self, one: Listed) -> Batch | None:
        """The frame that says how an instrument has changed; None where the venue sends none."""
        ...


class Line(NamedTuple):
    """What a recorded line is."""

    stream: str = ""  # empty: not played, since each connection gets its own
    id: int = 0  # the venue's own id: trade id, final update id; 0 where there is none
    head: int = 0  # bytes before and after the frame's second form, where it has one
    tail: int = 0
    is_greeting: bool = False  # not played before the first frame that is


class RecordedVenue(Protocol):
    """What the player must know of a venue's frames."""

    venue: str

    def survey(self, number: int, frame: bytes) -> Line | None:
        """First pass, called for each line: what it is. None where the venue sends no such thing."""
        ...

    def listed(self) -> dict[str, Listed]:
        """After the survey: the instruments, by symbol."""
        ...

    def fetched(self) -> dict[int, str]:
        """After the survey: lines that a client fetches by REST when they are due, each with its symbol."""
        ...

    def read(self, frame: bytes) -> Line | None:
        """What a line is."""
        ...

    def key(self, stream: str) -> str:
        """What a subscription and a recorded stream must have in common."""
        ...

    def book_stream(self, symbol: str) -> str:
        """Name of a stream with the book's changes."""
        ...

    def played(self, batch: Batch) -> None:
        """These frames have been sent; `batch.stream` counts streams in the order of their first line."""
        ...

    def start(self, symbol: str, body: bytes) -> None:
        """The place of a fetched line has been passed. Raises FeedError where it is no snapshot."""
        ...
