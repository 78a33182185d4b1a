"""The only exit of the simulated venue, and the ledger of everything sent.

Market data leave by `deliver`, answers on a WebSocket by `reply`, pings by `ping`, the end of a connection by `close`
and `drop`, REST answers by `answer`. So faults apply here: `fault_state` decides what they do to each message; this
module carries that out, and enters it in ledger and log.

The log has one line per frame, `<time, ns> <connection> <frame>`; connection 0 is REST. A frame that begins with `!`
was not sent intact:

    !drop, !silent, !stall FRAME      not sent at all
    !truncate FRAME                   only its first half was sent
    !reorder FRAME                    not sent here; a plain line follows at its place
    !duplicate FRAME                  sent, for the second time
    !corrupt FRAME                    sent with one digit changed
    !garbage TEXT                     a frame that is not a message was sent, as Python prints bytes
    !oversize TEXT                    the head of a huge frame was sent: the rest of this connection is unreadable
    !fault JSON                       connection 0: this fault was armed
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import IO, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.errors import FeedError
from tickplant.sim.conversation import Answer, Session
from tickplant.sim.fault_state import Armed, Faults, Piece
from tickplant.sim.faults import Fault
from tickplant.sim.frames import Batch, batch_of, frames

KEPT_CONNECTIONS = 1000  # closed connections kept in the ledger


class Receiver(Protocol):
    """One WebSocket connection, as the outlet uses it."""

    number: int
    path: str
    session: Session
    mask: NDArray[np.bool_]  # which streams it is subscribed to

    @property
    def is_open(self) -> bool:
        """Whether frames can still be sent: no closing handshake has begun."""
        ...

    def send_frames(self, data: bytes) -> None:
        """Queue whole frames."""
        ...

    def send_text(self, text: bytes) -> None:
        """Queue one text frame."""
        ...

    def send_ping(self, payload: bytes) -> None:
        """Queue a ping."""
        ...

    def send_close(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""
        ...

    def abort(self) -> None:
        """Cut the connection without a close frame."""
        ...

    async def until_writable(self) -> None:
        """Return when the client is not far behind, or gone."""
        ...

    async def barrier(self) -> None:
        """Return when the client has read everything sent so far, or is gone."""
        ...

    @property
    def queued_bytes(self) -> int:
        """Bytes that the client has not taken yet."""
        ...


class Sender(Protocol):
    """One HTTP connection, as the outlet uses it."""

    def send_answer(self, answer: Answer) -> None:
        """Queue an HTTP answer."""
        ...


class Entry:
    """What was sent on one WebSocket connection."""

    def __init__(self, number: int, path: str, streams: int) -> None:
        self.number = number
        self.path = path
        self.opened_ns = time.time_ns()
        self.closed_ns: int | None = None
        self.end = ""  # why it ended, if this side ended it
        self.counts = np.zeros(streams, np.int64)
        self.last_ids = np.zeros(streams, np.int64)
        self.lost = np.zeros(streams, np.int64)  # messages taken by a fault
        self.faults: Counter[str] = Counter()  # pieces by mark
        self.replies = 0
        self.pings = 0
        self.requests = 0

    def report(self, streams: list[str]) -> dict[str, object]:
        """The entry as JSON."""
        return {
            "connection": self.number,
            "path": self.path,
            "opened_ns": self.opened_ns,
            "closed_ns": self.closed_ns,
            "end": self.end,
            "requests": self.requests,
            "replies": self.replies,
            "pings": self.pings,
            "faults": dict(self.faults),
            "streams": {
                streams[i]: {
                    "frames": int(self.counts[i]),
                    "last_id": int(self.last_ids[i]),
                    "lost": int(self.lost[i]),
                }
                for i in np.flatnonzero(self.counts + self.lost)
            },
        }


class Outlet:
    """Sends, counts and logs. `streams` names the source's streams; masks and batches use their indices."""

    def __init__(self, streams: list[str], *, max_buffer_bytes: int, log: str | None = None) -> None:
        """Raises FeedError if the log cannot be opened."""
        self.streams = streams
        self.faults = Faults(streams)
        self.before_batch: Callable[[int], None] = lambda frames_sent: None
        self.receivers: dict[int, Receiver] = {}
        self.entries: dict[int, Entry] = {}
        self.wanted = np.zeros(len(streams), np.bool_)  # whether some connection is subscribed to it
        self.frames_sent = 0
        self.rest_requests: Counter[str] = Counter()
        self.rest_statuses: Counter[int] = Counter()
        self._max_buffer_bytes = max_buffer_bytes
        self._log: IO[bytes] | None = None
        if log is not None:
            try:
                self._log = open(log, "ab")  # noqa: SIM115, PTH123  # open for the life of the outlet; see close_log
            except OSError as error:
                raise FeedError(f"{log}: cannot be opened for the log of frames: {error.strerror}") from None

    # Connections come, go and subscribe.

    def opened(self, receiver: Receiver) -> None:
        """Note that a WebSocket connection is up."""
        self.receivers[receiver.number] = receiver
        self.entries[receiver.number] = Entry(receiver.number, receiver.path, len(self.streams))
        self.faults.opened(receiver.number)
        self.subscribed()
        if len(self.entries) > KEPT_CONNECTIONS + len(self.receivers):
            del self.entries[next(number for number in self.entries if number not in self.receivers)]

    def subscribed(self) -> None:
        """Note that some connection's mask has changed."""
        self.wanted = np.zeros(len(self.streams), np.bool_)
        for receiver in self.receivers.values():
            self.wanted |= receiver.mask

    def closed(self, receiver: Receiver) -> None:
        """Note that a WebSocket connection is gone."""
        if self.receivers.pop(receiver.number, None) is not None:
            self.entries[receiver.number].closed_ns = time.time_ns()
            self.faults.closed(receiver.number)
            self.subscribed()

    # Everything that leaves.

    def deliver(self, batch: Batch, *, variant: int | None = None) -> None:
        """Send each message to the connections that are subscribed to its stream, in order.

        With `variant`, only to connections that take this rendering.
        """
        self.before_batch(self.frames_sent)
        for receiver in list(self.receivers.values()):
            if not receiver.is_open or (variant is not None and receiver.session.variant != variant):
                continue
            order = np.flatnonzero(receiver.mask[batch.stream])
            if order.shape[0]:
                self._deliver_to(receiver, batch, order, receiver.session.form)
            if receiver.queued_bytes > self._max_buffer_bytes:
                self.drop(receiver, "the client was too slow")

    def push(self, receiver: Receiver, text: bytes, stream: int, ident: int) -> None:
        """Send one connection a frame of a stream, whether or not it is subscribed."""
        if receiver.is_open:
            self._deliver_to(receiver, batch_of([text], [stream], [ident]), np.zeros(1, np.int64), 0)

    def _deliver_to(self, receiver: Receiver, batch: Batch, order: NDArray[np.int64], form: int) -> None:
        own = receiver.session.own
        if own is not None:
            silent = self.faults.silent(receiver.number, batch.stream[order])  # would never come: not counted
            payloads = [batch.payload(message, form) for message in order.tolist()]
            texts = [text if lost else own(text) for text, lost in zip(payloads, silent.tolist(), strict=True)]
            batch = batch_of(texts, batch.stream[order].tolist(), batch.id[order].tolist())
            order, form = np.arange(len(texts)), 0
        if self.faults.concern(receiver.number):
            pieces = self.faults.mangle(receiver.number, batch, order, form, now_ns=time.time_ns())
            receiver.send_frames(b"".join(piece.sent for piece in pieces))
            for piece in pieces:
                self._enter_piece(self.entries[receiver.number], piece)
        else:
            receiver.send_frames(frames(batch, order, form))
            self._enter(receiver.number, batch, order, form)

    def reply(self, receiver: Receiver, text: bytes) -> None:
        """Send one connection a frame of no stream: an answer, greeting, heartbeat or announcement."""
        if not receiver.is_open:
            return
        text = text if receiver.session.own is None else receiver.session.own(text)
        if self.faults.stall(receiver.number, time.time_ns()) is not None:
            self._write_log(receiver.number, b"!stall " + text)
            return
        receiver.send_text(text)
        self.entries[receiver.number].replies += 1
        self._write_log(receiver.number, text)

    def ping(self, receiver: Receiver, payload: bytes) -> None:
        """Send a ping."""
        if not receiver.is_open or self.is_mute(receiver):
            return
        receiver.send_ping(payload)
        self.entries[receiver.number].pings += 1

    def close(self, receiver: Receiver, code: int, reason: str) -> None:
        """End a connection properly, unless its end has begun."""
        if not receiver.is_open:
            return
        self.entries[receiver.number].end = f"{code} {reason}"
        receiver.send_close(code, reason)

    def drop(self, receiver: Receiver, reason: str) -> None:
        """Cut a connection without a close frame."""
        self.entries[receiver.number].end = reason
        receiver.abort()

    def answer(self, sender: Sender, path: str, answer: Answer) -> None:
        """Answer a REST request for `path`."""
        self.rest_requests[path] += 1
        self.rest_statuses[0 if answer.cut else answer.status] += 1
        sender.send_answer(answer)
        if not answer.cut:
            self._write_log(0, answer.body)

    # Faults.

    def arm(self, fault: Fault, now_ns: int) -> Armed:
        """Enter a fault."""
        armed = self.faults.arm(fault, now_ns, [one.number for one in self.receivers.values() if one.is_open])
        self._write_log(0, b"!fault " + msgspec.json.encode(fault))
        return armed

    def is_mute(self, receiver: Receiver) -> bool:
        """Whether not even the protocol's own frames are to be sent."""
        return self.faults.is_mute(receiver.number, time.time_ns())

    # The ledger.

    def _enter_piece(self, entry: Entry, piece: Piece) -> None:
        if piece.mark:
            entry.faults[piece.mark] += 1
            text = repr(piece.payload).encode() if piece.mark in ("garbage", "oversize") else piece.payload
            self._write_log(entry.number, b"!%b %b" % (piece.mark.encode(), text))
        else:
            entry.last_ids[piece.stream] = piece.id
            self._write_log(entry.number, piece.payload)
        if piece.is_lost:
            entry.lost[piece.stream] += 1
        elif piece.sent and piece.mark in ("", "duplicate", "corrupt"):
            entry.counts[piece.stream] += 1
            self.frames_sent += 1

    def _enter(self, number: int, batch: Batch, order: NDArray[np.int64], form: int) -> None:
        entry = self.entries[number]
        streams = batch.stream[order]
        entry.counts += np.bincount(streams, minlength=entry.counts.shape[0])
        entry.last_ids[streams] = batch.id[order]  # of a repeated stream, the last id stays
        self.frames_sent += order.shape[0]
        if self._log is not None:
            now_ns = time.time_ns()
            for message in order.tolist():
                self._log.write(b"%d %d %b\n" % (now_ns, number, batch.payload(message, form)))

    def _write_log(self, number: int, text: bytes) -> None:
        if self._log is not None:
            self._log.write(b"%d %d %b\n" % (time.time_ns(), number, text))

    def flush_log(self) -> None:
        """Flush the log, so that it holds everything sent so far."""
        if self._log is not None:
            self._log.flush()

    def close_log(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def report(self) -> dict[str, object]:
        """The ledger as JSON: connections in the order of opening."""
        self.flush_log()
        return {
            "frames_sent": self.frames_sent,
            "connections": [entry.report(self.streams) for entry in self.entries.values()],
            "rest_requests": dict(self.rest_requests),
            "rest_statuses": {str(status): count for status, count in self.rest_statuses.items()},
        } | self.faults.report()
