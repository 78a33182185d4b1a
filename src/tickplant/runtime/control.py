"""The messages of the control socket: commands to processes, their reports, requests of the command line.

The supervisor binds one ROUTER socket, `ipc://RUN/control`; children and commands connect DEALER sockets
(`control_client.py`). Every message is one frame of MessagePack: a struct below, identified by its tag.
"""

from __future__ import annotations

import struct
from typing import Final, Literal

import msgspec

from tickplant.errors import ControlError
from tickplant.instruments import Instrument
from tickplant.runtime.accounts import Account

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


class ChangeSymbols(msgspec.Struct, tag="change_symbols"):
    """Command line, passed on to the feed: record these symbols from now on, and those no longer."""

    feed: str
    added: list[str] = []
    removed: list[str] = []


class Playback(msgspec.Struct, tag="playback"):
    """Passed on to the replay of a plant: play on in another way. What is None or 0 stays as it is."""

    paused: bool | None = None
    step: int = 0  # events that pass while paused
    seek_ns: int | None = None  # go on at this time, by the clock of the replay
    skip_ns: int = 0  # go on so much later, or earlier
    speed: float | Literal["max"] | None = None  # times real time
    faster: float = 0.0  # so many times the speed
    loop: bool | None = None  # begin again at the end


class SymbolChanged(msgspec.Struct, tag="symbol_changed"):
    """Feed: what I have made of a symbol that was to be added, or removed."""

    feed: str
    symbol: str
    added: bool
    problem: str = ""  # why not, as a clause; empty: done


class SymbolsChanged(msgspec.Struct, tag="symbols_changed"):
    """Supervisor: what has become of a ChangeSymbols; by symbol the problem, empty where there is none."""

    outcomes: dict[str, str]


class FeedSymbols(msgspec.Struct):
    """What a feed records."""

    symbols: list[str]
    added: list[str] = []  # of them, those that the configuration does not name
    removed: list[str] = []  # that the configuration names, and that are not recorded


class WantHistory(msgspec.Struct, tag="want_history"):
    """Engine: the history service has questions to answer; start it, unless it runs."""


class GetStatus(msgspec.Struct, tag="get_status"):
    """Command line: how is everything?"""


class Accepted(msgspec.Struct, tag="accepted"):
    """Supervisor: the command is being carried out."""


Role = Literal["sim", "writer", "engine", "feed", "replay", "history", "compactor", "survey", "gateway"]
State = Literal["starting", "running", "stopping", "backoff", "fatal", "done", "stopped"]


class ProcessStatus(msgspec.Struct, tag="process_status"):
    """One child as the supervisor sees it."""

    name: str
    role: Role
    state: State
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
    most: dict[str, int] = {}  # the greatest lag that a reader has found since it began, as it last reported


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
    symbols: dict[str, FeedSymbols] = {}  # by feed
    gateways: list[str] = []  # addresses for browsers


Command = GetStatus | Stop | Restart | Resync | ChangeSymbols | Playback
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
    | ChangeSymbols
    | Playback
    | SymbolChanged
    | SymbolsChanged
    | WantHistory
    | GetStatus
    | Accepted
    | Status
)


def duty(role: Role) -> str:
    """What a process that is in trouble cannot do, as a verb."""
    return "record" if role == "feed" else "store"


def trouble_sentence(name: str, role: Role, trouble: str) -> str:
    """What the counter `trouble` of a process says, in full."""
    where = "" if duty(role) == "record" else ", records wait in the ring"
    return f"{name} cannot {duty(role)}{where}: {trouble}"


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
# Between engines and the history service: it binds a ROUTER socket, each engine connects a DEALER.


class Passage(msgspec.Struct, frozen=True, tag="passage"):
    """Engine: the records of a topic that it has published and keeps no longer. One frame of MessagePack.

    The question has all that is needed to answer it: the frames of a `wire.Range`, or `otherwise` where the store does
    not have the whole of the passage, exactly.
    """

    id: int  # of the subscriber's request
    topic: str
    epoch: int
    first: int  # topic sequence that is wanted first
    count: int  # records that are wanted
    producer: str
    schema: int
    instrument: int
    price_scale: int
    size_scale: int
    first_seq: int  # of the producer: where the passage begins, with a record of the topic
    last_seq: int  # and where it ends, included
    records: int  # that the topic carried from there to there
    skip: int  # of them, before `first`
    otherwise: bytes


HISTORY_HEAD: Final = struct.Struct("<qdB")
"""First frame of a question and of its answer: the descriptor of the subscriber's connection, which is the engine's
affair; CLOCK_MONOTONIC, seconds, when it was asked; the number of frames that lead to the subscriber. Then these, then
the question, or the frames of the answer."""
