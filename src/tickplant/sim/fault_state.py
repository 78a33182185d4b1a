"""What is left of each armed fault, and what faults do to the messages of a connection. No I/O, no clock."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tickplant.sim.faults import (
    Corrupt,
    Drop,
    Duplicate,
    Fault,
    Garbage,
    OnFrames,
    Oversize,
    RefuseConnection,
    RefuseSubscription,
    Reorder,
    Rest,
    Silent,
    StaleSnapshot,
    Stall,
    Truncate,
)
from tickplant.sim.frames import BINARY, Batch, frame, frame_header

KEPT_HITS: Final = 10_000
OVERSIZE_BODY_BYTES: Final = 1 << 16

F = TypeVar("F")

_DIGITS: Final = re.compile(rb"\d+")


class Armed:
    """A given fault and its effects so far."""

    def __init__(self, number: int, fault: Fault, now_ns: int) -> None:
        self.number = number
        self.fault = fault
        self.armed_ns = now_ns
        self.hits = 0
        self.last_ns: int | None = None
        self.left = 0  # occasions that it still waits for
        self.skip = 0

    def report(self) -> dict[str, object]:
        """The fault as JSON."""
        return {
            "number": self.number,
            "fault": self.fault,
            "armed_ns": self.armed_ns,
            "hits": self.hits,
            "last_ns": self.last_ns,
            "left": self.left,
        }


class Hit(NamedTuple):
    """One effect of a fault."""

    time_ns: int
    fault: int
    connection: int  # 0: REST, or no WebSocket yet
    stream: str
    id: int


class Piece(NamedTuple):
    """One frame of a connection, or one that is missing from it.

    `mark` is empty if `payload` is sent intact; else it is the fault's tag, and `sent` is what is written instead:
    nothing, the frame again, a part of it, or garbage.
    """

    mark: str
    payload: bytes
    sent: bytes  # the frame with its header; empty if nothing is sent
    stream: int
    id: int

    @property
    def is_lost(self) -> bool:
        """Whether a message that should have been sent was not sent, or is not readable."""
        return self.mark in ("drop", "silent", "stall", "truncate")


class Faults:
    """All faults of a venue. `streams` names the source's streams, as in the outlet."""

    def __init__(self, streams: list[str]) -> None:
        self.streams = streams
        self.armed: list[Armed] = []
        self.hits: list[Hit] = []  # the first KEPT_HITS
        self._on_frames: list[tuple[Armed, OnFrames, NDArray[np.bool_]]] = []  # those with occasions left
        self._silent: dict[int, list[tuple[Armed, NDArray[np.bool_]]]] = {}  # by connection
        self._stalled: dict[int, tuple[Armed, Stall, float]] = {}  # by connection, with the end in ns
        self._held: dict[tuple[int, int], tuple[bytes, int]] = {}  # (connection, stream): a message to be sent late

    def arm(self, fault: Fault, now_ns: int, connections: Iterable[int]) -> Armed:
        """Enter a fault; `connections` are those open now. The caller carries out Disconnect and Cut."""
        armed = Armed(len(self.armed) + 1, fault, now_ns)
        self.armed.append(armed)
        match fault:
            case OnFrames():
                armed.left, armed.skip = fault.count, fault.skip
                self._on_frames.append((armed, fault, self._matching(fault.stream)))
            case Silent(new_connections=0):
                for number in connections:
                    if fault.connection in (0, number):
                        self._silent.setdefault(number, []).append((armed, self._matching(fault.stream)))
            case Silent():
                armed.left = fault.new_connections
            case Stall():
                until_ns = float("inf") if fault.for_s is None else now_ns + fault.for_s * 1e9
                for number in connections:
                    if fault.connection in (0, number):
                        self._stalled[number] = (armed, fault, until_ns)
            case RefuseSubscription() | RefuseConnection() | Rest() | StaleSnapshot():
                armed.left = fault.count
            case _:  # Disconnect and Cut wait for nothing
                pass
        return armed

    def hit(self, armed: Armed, now_ns: int, connection: int = 0, stream: str = "", ident: int = 0) -> None:
        """Note an effect of a fault."""
        armed.hits += 1
        armed.last_ns = now_ns
        if len(self.hits) < KEPT_HITS:
            self.hits.append(Hit(now_ns, armed.number, connection, stream, ident))

    # Connections.

    def opened(self, number: int) -> None:
        """Note that a WebSocket connection is up."""
        if (found := self._next(Silent, lambda silent: silent.connection in (0, number))) is not None:
            armed, silent = found
            armed.left -= 1
            self._silent.setdefault(number, []).append((armed, self._matching(silent.stream)))

    def closed(self, number: int) -> None:
        """Note that a WebSocket connection is gone, and with it what was still to be sent."""
        self._silent.pop(number, None)
        self._stalled.pop(number, None)
        for key in [key for key in self._held if key[0] == number]:
            del self._held[key]

    def stall(self, number: int, now_ns: int) -> tuple[Armed, Stall] | None:
        """The stall that holds a connection now."""
        if number not in self._stalled:
            return None
        armed, stall, until_ns = self._stalled[number]
        if now_ns < until_ns:
            return armed, stall
        del self._stalled[number]
        return None

    def silent(self, number: int, streams: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which of these streams deliver nothing on a connection."""
        silent = np.zeros(len(streams), np.bool_)
        for _, mask in self._silent.get(number, ()):
            silent |= mask[streams]
        return silent

    def is_mute(self, number: int, now_ns: int) -> bool:
        """Whether a connection gets not even pings and pongs."""
        found = self.stall(number, now_ns)
        return found is not None and not found[1].pings

    # Faults that wait for a request. Each call is an occasion: a returned fault has hit.

    def take_refused_subscription(self, number: int, now_ns: int) -> RefuseSubscription | None:
        """How to answer a request to subscribe that a fault refuses."""
        return self._take(RefuseSubscription, lambda fault: fault.connection in (0, number), now_ns, number)

    def take_refused_connection(self, now_ns: int) -> RefuseConnection | None:
        """How to answer a handshake that a fault refuses."""
        return self._take(RefuseConnection, lambda _: True, now_ns)

    def take_rest(self, endpoint: str, now_ns: int) -> Rest | None:
        """What a fault does to a REST request."""
        return self._take(Rest, lambda fault: fnmatchcase(endpoint, fault.endpoint), now_ns, stream=endpoint)

    def take_stale_snapshot(self, symbol: str, now_ns: int) -> int | None:
        """Number of the fault whose snapshot replaces a fresh one."""
        found = self._next(StaleSnapshot, lambda fault: fnmatchcase(symbol, fault.symbol))
        if found is None:
            return None
        found[0].left -= 1
        self.hit(found[0], now_ns, stream=symbol)
        return found[0].number

    # Messages.

    def concern(self, number: int) -> bool:
        """Whether the messages of a connection must go through `mangle`."""
        return bool(self._on_frames or self._held) or number in self._silent or number in self._stalled

    def mangle(self, number: int, batch: Batch, order: NDArray[np.int64], form: int = 0, *, now_ns: int) -> list[Piece]:
        """What is written on a connection for these messages of a batch, and what is not."""
        pieces: list[Piece] = []
        stalled = self.stall(number, now_ns)
        for message in order.tolist():
            stream, ident = int(batch.stream[message]), int(batch.id[message])
            payload = batch.payload(message, form)
            armed = None if stalled is None else stalled[0]
            mark = "stall"
            if armed is None:
                mark = "silent"
                armed = next((one for one, mask in self._silent.get(number, ()) if mask[stream]), None)
            if armed is not None:
                self.hit(armed, now_ns, number, self.streams[stream], ident)
                pieces.append(Piece(mark, payload, b"", stream, ident))
                continue
            fault = self._take_on_frame(number, stream, ident, now_ns)
            pieces += self._pieces(fault, number, stream, ident, payload)
        return pieces

    def _take_on_frame(self, number: int, stream: int, ident: int, now_ns: int) -> OnFrames | None:
        for place, (armed, fault, mask) in enumerate(self._on_frames):
            if not mask[stream] or fault.connection not in (0, number):
                continue
            if armed.skip:
                armed.skip -= 1
                continue
            armed.left -= 1
            if armed.left == 0:
                del self._on_frames[place]
            self.hit(armed, now_ns, number, self.streams[stream], ident)
            return fault
        return None

    def _pieces(self, fault: OnFrames | None, number: int, stream: int, ident: int, payload: bytes) -> list[Piece]:
        whole = Piece("", payload, frame(payload), stream, ident)
        held = self._held.pop((number, stream), None)
        late = [] if held is None else [Piece("", held[0], frame(held[0]), stream, held[1])]
        match fault:
            case Drop():
                pieces = [Piece("drop", payload, b"", stream, ident)]
            case Duplicate():
                pieces = [whole, Piece("duplicate", payload, whole.sent, stream, ident)]
            case Reorder() if held is None:
                self._held[number, stream] = (payload, ident)
                pieces = [Piece("reorder", payload, b"", stream, ident)]
            case Truncate():
                pieces = [Piece("truncate", payload, frame(payload[: len(payload) // 2]), stream, ident)]
            case Corrupt(key=key):
                pieces = [Piece("corrupt", payload, frame(_with_another_digit(payload, key or "")), stream, ident)]
            case Garbage(text=text, binary=binary):
                word = (text or "").encode()
                garbage = b"\x00\xff" + word if binary else word
                sent = frame(garbage, BINARY) if binary else frame(garbage)
                pieces = [Piece("garbage", garbage, sent, stream, 0), whole]
            case Oversize(size_bytes=size):
                body = bytes(min(size, OVERSIZE_BODY_BYTES))
                pieces = [whole, Piece("oversize", b"%d bytes" % size, frame_header(size) + body, stream, 0)]
            case _:
                pieces = [whole]
        return pieces + late

    # Inner.

    def _matching(self, pattern: str) -> NDArray[np.bool_]:
        return np.array([fnmatchcase(name, pattern) for name in self.streams], np.bool_)

    def _next(self, kind: type[F], suits: Callable[[F], bool]) -> tuple[Armed, F] | None:
        """The oldest matching fault of a kind that has occasions left."""
        for armed in self.armed:
            if isinstance(armed.fault, kind) and armed.left > 0 and suits(armed.fault):
                return armed, armed.fault
        return None

    def _take(
        self, kind: type[F], suits: Callable[[F], bool], now_ns: int, connection: int = 0, stream: str = ""
    ) -> F | None:
        found = self._next(kind, suits)
        if found is None:
            return None
        found[0].left -= 1
        self.hit(found[0], now_ns, connection, stream)
        return found[1]

    def report(self) -> dict[str, object]:
        """The faults as shown in the ledger."""
        return {
            "faults": [armed.report() for armed in self.armed],
            "hits": [hit._asdict() for hit in self.hits],
        }


def _with_another_digit(payload: bytes, key: str) -> bytes:
    """The message with a changed last digit in the first integer after a key, or in the last number."""
    found = _DIGITS.search(payload, payload.index(mark)) if (mark := f'"{key}":'.encode()) in payload else None
    last = found.end() - 1 if found else max((one.end() - 1 for one in _DIGITS.finditer(payload)), default=None)
    if last is None:
        return payload
    return payload[:last] + b"%d" % ((payload[last] - 48 + 1) % 10) + payload[last + 1 :]
