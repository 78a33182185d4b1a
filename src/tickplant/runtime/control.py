"""The messages of the control socket: commands to processes, their reports, requests of the command line.

The supervisor binds one ROUTER socket, `ipc://RUN/control`; children and commands connect DEALER sockets. Every
message is one frame of MessagePack: a struct below, identified by its tag. A child gets its work as a spec, JSON as
its stdin, and reports through `ControlClient`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import zmq

from tickplant.errors import ControlError
from tickplant.instruments import Instrument
from tickplant.runtime.accounts import Account
from tickplant.runtime.config import EngineConfig, FeedConfig, WriterConfig

# ---------------------------------------------------------------------------------------------------------------
# Specs: what a process is started with.


class Plant(msgspec.Struct, frozen=True):
    """Where a plant lives."""

    data_dir: str
    run_dir: str  # doorbells and the control socket
    control: str  # address of the control socket
    log_level: str = "info"
    heartbeat_s: float = 1.0


class RingRef(msgspec.Struct, frozen=True):
    """One ring: segment name, what it holds, whose it is."""

    name: str
    schema: int  # a records.Schema value
    producer: str


class Live(msgspec.Struct, frozen=True, tag="live"):
    """Source: the venue's sockets."""

    ws_url: str = ""  # empty: the venue's own
    rest_url: str = ""


class Recording(msgspec.Struct, frozen=True, tag="recording"):
    """Source: a file of `<receive time, ns> <frame>` lines, read without loss and as fast as possible."""

    path: str


class FeedSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.feeds`."""

    name: str
    plant: Plant
    config: FeedConfig
    ring: RingRef
    source: Live | Recording
    discover: bool = False  # take every symbol that occurs, not only the configured ones


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.engine`. Without `outputs` derived records are published but not stored."""

    name: str
    plant: Plant
    config: EngineConfig
    inputs: list[RingRef]
    outputs: list[RingRef] = []  # one per derived schema
    gating: bool = False  # the source can wait: lose nothing, and do not drop for a slow subscriber either
    wait_for_subscriber: bool = False  # hold the first record back until somebody has subscribed
    restores: bool = False  # what it has missed, the journal has: it asks the supervisor for it (`Restore`)
    recall: str = ""  # address at which it awaits a recall process (`Recall`); empty: there is nothing to recall


class WriterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.writer`."""

    name: str
    plant: Plant
    config: WriterConfig
    inputs: list[RingRef]
    until_drained: bool = False  # store what the rings hold, then exit: for the rings of a dead plant


class ReplaySpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.store.replay`: a feed whose venue is the store."""

    name: str
    plant: Plant
    ring: RingRef
    venue: str = ""  # empty: all
    symbols: list[str] = []  # empty: all
    start_ns: int | None = None
    end_ns: int | None = None
    speed: float | Literal["max"] = 1.0
    skip_damage: bool = False  # leave out what cannot be read, and name it in the counters


class RestoreSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.store.restore`: what an engine needs to make its state of one feed anew."""

    name: str
    plant: Plant
    engine: str
    feed: str
    venue: str
    symbols: tuple[str, ...]  # empty: all of the venue
    bar_s: tuple[int, ...]
    live: RingRef  # the feed's ring
    ring: RingRef  # where the stored ticks go
    whole: bool = False  # take as long as is needed that nothing at all is missing of what is derived


class RecallSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.store.recall`: reads the store for subscribers of an engine that has forgotten."""

    name: str
    plant: Plant
    address: str  # where the engine awaits it: see `Passage`
    idle_s: float = 30.0  # without a request for this long it ends


class SurveySpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.plant.survey`: where the journals behind these rings end."""

    name: str
    plant: Plant
    rings: list[RingRef]


# ---------------------------------------------------------------------------------------------------------------
# Messages.

MAX_MESSAGE_BYTES: Final = 4 << 20
"""Most that the supervisor reads as one message; what a child says is far below. A status may be as long as four."""

Scalar = int | float | str | bool | None
Counters = dict[str, Scalar | dict[str, int]]


class Hello(msgspec.Struct, tag="hello"):
    """Child: I am attached to my rings and about to work."""

    name: str
    pid: int


class Heartbeat(msgspec.Struct, tag="heartbeat"):
    """Child: I am alive, and this is what I have counted since I started."""

    name: str
    counters: Counters
    accounts: list[Account] = []  # in numbers of the same moment
    pid: int = 0


class Done(msgspec.Struct, tag="done"):
    """Child: my source has ended and all of it is in the ring (or stored); I exit now."""

    name: str
    counters: Counters
    accounts: list[Account] = []
    pid: int = 0


class Register(msgspec.Struct, tag="register"):
    """Child: which id has this instrument? Registered if new."""

    venue: str
    symbol: str
    price_scale: int
    size_scale: int


class Registered(msgspec.Struct, tag="registered"):
    """Supervisor: this one."""

    instrument: Instrument


class Refused(msgspec.Struct, tag="refused"):
    """Supervisor: no, and why."""

    reason: str


class Stop(msgspec.Struct, tag="stop"):
    """Command line to supervisor: drain and end the plant. Supervisor to child: finish what is in your inputs, exit."""


class Restart(msgspec.Struct, tag="restart"):
    """Command line: end this process and start it again."""

    name: str


class Resync(msgspec.Struct, tag="resync"):
    """Command line, passed on to the feed: fetch the book again. An empty symbol means all."""

    feed: str
    symbol: str = ""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """How far a series of derived records is stored: its last one was made by the tick `source_seq`."""

    instrument: int
    interval_s: int  # of the bars; 0: best bid and offer
    source_seq: int
    ts_recv: int = 0
    stale: bool = False  # its last word is that the book is out of sync


class Restore(msgspec.Struct, tag="restore"):
    """Engine: my state of this feed is lost; have the stored ticks played to me."""

    engine: str
    feed: str


class Restoring(msgspec.Struct, tag="restoring"):
    """Restore process, passed on to the engine: ticks from `first_seq` on come through this ring.

    Before them come as many records of checkpoints, in the form of ticks: the books as they stood then.
    """

    engine: str
    feed: str
    ring: RingRef
    first_seq: int
    stored: list[Mark]
    checkpoint_records: int = 0


class Restored(msgspec.Struct, tag="restored"):
    """Engine: I have what I need. The restore process may end."""

    engine: str
    feed: str


class Recall(msgspec.Struct, tag="recall"):
    """Engine: I need a recall process, unless there is one."""

    engine: str


class GetStatus(msgspec.Struct, tag="get_status"):
    """Command line: how is everything?"""


class Accepted(msgspec.Struct, tag="accepted"):
    """Supervisor: the command is being carried out."""


class ProcessStatus(msgspec.Struct, tag="process_status"):
    """One child as the supervisor sees it."""

    name: str
    role: Literal["feed", "engine", "writer", "sim", "replay", "restore", "recall", "survey"]
    state: Literal["starting", "running", "stopping", "backoff", "fatal", "done", "stopped"]
    pid: int
    uptime_s: float
    restarts: int
    cpu_percent: float
    rss_bytes: int
    counters: Counters


class RingStatus(msgspec.Struct, tag="ring_status"):
    """One ring. Lag is in records behind the producer."""

    producer: str
    schema: str
    head: int
    capacity: int
    lag: dict[str, int]
    lost: dict[str, int]


class Status(msgspec.Struct, tag="status"):
    """Supervisor: everything."""

    pid: int
    data_dir: str
    uptime_s: float
    healthy: bool
    publish: list[str]
    processes: list[ProcessStatus]
    rings: list[RingStatus]
    accounts: list[Account]  # of every process, each as it last reported them


Command = GetStatus | Stop | Restart | Resync
"""What anybody may say who reaches the socket: this user alone. All else is between supervisor and children."""

Message = (
    Hello
    | Heartbeat
    | Done
    | Register
    | Registered
    | Refused
    | Stop
    | Restart
    | Resync
    | Restore
    | Restoring
    | Restored
    | Recall
    | GetStatus
    | Accepted
    | Status
)


def trouble_sentence(name: str, role: str, trouble: str) -> str:
    """What the counter `trouble` of a process says, in full."""
    if role == "feed":
        return f"{name} cannot record: {trouble}"
    return f"{name} cannot store, records wait in the ring: {trouble}"


_DECODER: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """One frame."""
    return msgspec.msgpack.encode(message)


def decode(frame: bytes) -> Message:
    """The message of a frame. Raises ControlError for anything else."""
    try:
        return _DECODER.decode(frame)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ControlError(f"not a control message: {error}") from None


# ---------------------------------------------------------------------------------------------------------------
# Between an engine and its recall process: the engine binds a ROUTER socket, the process connects a DEALER.


class Passage(msgspec.Struct, frozen=True, array_like=True):
    """Engine: read these records of a topic from the store. One frame of MessagePack.

    The answer is two frames: `id` as 8 bytes, little-endian; and the records, or nothing where the store does not have
    the whole of the passage, exactly.
    """

    id: int
    producer: str
    schema: int
    instrument: int
    channel: str
    first_seq: int  # of the producer: where the passage begins
    last_seq: int  # and where it ends, included
    records: int  # that the topic carried from there to there
    skip: int  # of them, before the first one that is wanted
    count: int  # that are wanted


RECALL_READY: Final = b"ready"
"""Recall process: here I am. One frame, again with each heartbeat, since the engine may have been replaced."""


# ---------------------------------------------------------------------------------------------------------------
# The child's side.


class ControlClient:
    """A child's line to its supervisor. Not thread-safe; never blocks, but for `register`.

    `socket` can be polled (its `FD` in asyncio, edge-triggered: drain with `receive`).
    """

    def __init__(self, address: str, name: str) -> None:
        self.name = name
        self._address = address
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 1000)
        self.socket.set(zmq.SNDHWM, 1000)
        self.socket.set(zmq.MAXMSGSIZE, 4 * MAX_MESSAGE_BYTES)
        self.socket.connect(address)
        self._pending: list[Message] = []
        self._introduced = False

    def send(self, message: Message) -> None:
        """Queue a message; dropped where the supervisor has not taken any for very long."""
        if not (self._introduced or isinstance(message, Hello | Heartbeat | Done | Command)):
            self.heartbeat({})  # who says this: the supervisor listens to its own children alone
        try:
            self.socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return

    def hello(self) -> None:
        """Say that this process is attached and ready."""
        self._introduced = True
        self.send(Hello(self.name, os.getpid()))

    def heartbeat(self, counters: Counters, accounts: Sequence[Account] = ()) -> None:
        """Report; call it every `Plant.heartbeat_s`."""
        self._introduced = True
        self.send(Heartbeat(self.name, counters, list(accounts), os.getpid()))

    def done(self, counters: Counters, accounts: Sequence[Account] = ()) -> None:
        """Report that the source has ended."""
        self.send(Done(self.name, counters, list(accounts), os.getpid()))

    def receive(self) -> list[Message]:
        """Messages that have arrived since the last call, oldest first; never waits."""
        messages, self._pending = self._pending, []
        while True:
            try:
                messages.append(decode(self.socket.recv(zmq.NOBLOCK)))
            except zmq.Again:
                return messages

    def register(
        self, venue: str, symbol: str, price_scale: int, size_scale: int, *, timeout_s: float = 10.0
    ) -> Instrument:
        """The instrument of a symbol, registered if new. Waits for the supervisor. Raises ControlError."""
        self.send(Register(venue, symbol, price_scale, size_scale))
        reply = self._wait_for((Registered, Refused), timeout_s, f"registering {venue} {symbol}")
        if isinstance(reply, Registered):
            return reply.instrument
        raise ControlError(f"{venue} {symbol}: {getattr(reply, 'reason', reply)}")

    def request(self, message: Message, *, timeout_s: float = 5.0) -> Message:
        """Send a command and wait for its answer. Raises ControlError where none comes or it is refused."""
        self.send(message)
        reply = self._wait_for((Accepted, Status, Refused), timeout_s, type(message).__name__)
        if isinstance(reply, Refused):
            raise ControlError(reply.reason)
        return reply

    def _wait_for(self, kinds: tuple[type, ...], timeout_s: float, what: str) -> Message:
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            if self.socket.poll(max(1, int(left_s * 1000))):
                message = decode(self.socket.recv())
                if isinstance(message, kinds):
                    return message
                self._pending.append(message)
        raise ControlError(f"{self._address}: no answer within {timeout_s:g} s ({what}); is the plant up?")

    def close(self) -> None:
        """Send what is queued, for a second at most, and let go of the socket."""
        self.socket.close()
        self._context.term()
