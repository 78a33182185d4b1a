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
"""Longest message that the supervisor reads; those of children are far shorter. A status may be four times as long."""

Scalar = int | float | str | bool | None
Counters = dict[str, Scalar | dict[str, int]]


class Hello(msgspec.Struct, tag="hello"):
    """Child: I am attached to my rings and about to work."""

    name: str
    pid: int


class Heartbeat(msgspec.Struct, tag="heartbeat"):
    """Child: I am alive, and these are my counts since I started."""

    name: str
    counters: Counters
    accounts: list[Account] = []  # with numbers of the same moment
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
    """Command line, passed on to the feed: start or stop recording these symbols."""

    feed: str
    added: list[str] = []
    removed: list[str] = []


class Playback(msgspec.Struct, tag="playback"):
    """Passed on to the replay of a plant: change the playback. Values of None or 0 change nothing."""

    paused: bool | None = None
    step: int = 0  # events that pass while paused
    seek_ns: int | None = None  # continue at this time, by the clock of the replay
    skip_ns: int = 0  # continue this much later, or earlier if negative
    speed: float | Literal["max"] | None = None  # times real time
    faster: float = 0.0  # factor on the present speed
    loop: bool | None = None  # begin again at the end


class SymbolChanged(msgspec.Struct, tag="symbol_changed"):
    """Feed: the outcome for a symbol that was to be added or removed."""

    feed: str
    symbol: str
    added: bool
    problem: str = ""  # why not, as a clause; empty: done


class SymbolsChanged(msgspec.Struct, tag="symbols_changed"):
    """Supervisor: the outcome of a ChangeSymbols, by symbol; a problem, or empty on success."""

    outcomes: dict[str, str]


class FeedSymbols(msgspec.Struct):
    """What a feed records."""

    symbols: list[str]
    added: list[str] = []  # those of them that the configuration does not name
    removed: list[str] = []  # those that the configuration names and the feed does not record


class WantHistory(msgspec.Struct, tag="want_history"):
    """Engine: the history service has questions to answer; start it unless it runs."""


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
    most: dict[str, int] = {}  # greatest lag of each reader since it began, as last reported


class Status(msgspec.Struct, tag="status"):
    """Supervisor: everything."""

    pid: int
    data_dir: str
    uptime_s: float
    healthy: bool
    publish: list[str]
    processes: list[ProcessStatus]
    rings: list[RingStatus]
    accounts: list[Account]  # of every process, as last reported
    symbols: dict[str, FeedSymbols] = {}  # by feed
    gateways: list[str] = []  # addresses for browsers


Command = GetStatus | Stop | Restart | Resync | ChangeSymbols | Playback
"""What anyone who reaches the socket, which is only this user, may send. The rest stays within the plant."""

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
    """What a process in trouble cannot do, as a verb."""
    return "record" if role == "feed" else "store"


def trouble_sentence(name: str, role: Role, trouble: str) -> str:
    """The meaning of a process's counter `trouble`, as a sentence."""
    where = "" if duty(role) == "record" else ", records wait in the ring"
    return f"{name} cannot {duty(role)}{where}: {trouble}"


_DECODER: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """The message as one frame."""
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
    """Engine: the records of a topic that it has published and no longer keeps. One frame of MessagePack.

    The question holds everything needed for the answer: the frames of a `wire.Range`, or `otherwise` if the store does
    not have exactly the whole passage.
    """

    id: int  # of the subscriber's request
    topic: str
    epoch: int
    first: int  # first topic sequence wanted
    count: int  # records wanted
    producer: str
    schema: int
    instrument: int
    price_scale: int
    size_scale: int
    first_seq: int  # of the producer: start of the passage, a record of the topic
    last_seq: int  # and its end, inclusive
    records: int  # of the topic within the passage
    skip: int  # of them, before `first`
    otherwise: bytes


HISTORY_HEAD: Final = struct.Struct("<qdB")
"""First frame of a question and of its answer: the descriptor of the subscriber's connection, used by the engine; the
time of the question (CLOCK_MONOTONIC, seconds); the number of frames that route to the subscriber. Those frames follow,
then the question, or the frames of the answer."""
