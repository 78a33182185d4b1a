"""`python -m bench.subscriber FORMAT ADDRESS ROWS FILE`: a subscriber as a user would write it, which notes times.

FORMAT is `ticks` (a tickplant engine: plain pyzmq and numpy) or `json` (bench/rival.py: pyzmq and json). It takes
trades and quotes of every symbol until its stdin is closed, then writes its notes to FILE (`ROW`) and ends. Records of
one message that came in one read from the venue's socket share a row, so that notes cost little at any rate.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Final

import numpy as np
import zmq
from numpy.typing import NDArray

from bench.plant import SYMBOLS
from tickplant.records.layouts import TICK
from tickplant.runtime.lineage import die_with_parent
from tickplant.wire import WIRE_HEADER

ROW: Final = np.dtype(
    [
        ("received_ns", "i8"),  # when recv_multipart had returned
        ("published_ns", "i8"),  # when the engine had made the message; 0 where that is not said
        ("ts_recv", "i8"),  # when the publishing side had read the frames from the venue's socket
        ("ts_event", "i8"),  # when the first record happened at the venue, 0 where the venue gives no time
        ("id", "u8"),  # the venue's, of the last record
        ("position", "u8"),  # of the first record within its topic, from 0
        ("records", "u4"),
        ("topic", "u4"),
    ]
)
TOPICS: Final = tuple(f"binance.{symbol}.{channel}" for symbol in SYMBOLS for channel in ("trade", "quote"))


class Rows:
    """Preallocated rows, so that taking a note costs little."""

    def __init__(self, capacity: int) -> None:
        self.rows = np.zeros(capacity, ROW)
        self.used = 0
        self.topics: dict[bytes, int] = {}

    def room(self, topic: bytes, count: int) -> NDArray[np.void]:
        """The next rows, for this topic."""
        rows = self.rows[self.used : self.used + count]
        if len(rows) < count:
            sys.exit("the subscriber has no room for so many rows: give it more")
        self.used += count
        rows["topic"] = self.topics.setdefault(topic, len(self.topics))
        return rows


def take_ticks(frames: list[bytes], now_ns: int, rows: Rows) -> None:
    """Take one message of an engine."""
    topic, head, payload = frames
    ticks = np.frombuffer(payload, TICK)
    header = np.frombuffer(head, WIRE_HEADER)[0]
    reads = ticks["ts_recv"]
    starts = np.concatenate([[0], np.flatnonzero(reads[1:] != reads[:-1]) + 1])
    ends = np.append(starts[1:], len(ticks))
    notes = rows.room(topic, len(starts))
    notes["received_ns"] = now_ns
    notes["published_ns"] = header["publish_ns"]
    notes["ts_recv"] = reads[starts]
    notes["ts_event"] = ticks["ts_event"][starts]
    notes["id"] = ticks["venue_seq"][ends - 1]
    notes["position"] = starts + int(header["first_seq"])
    notes["records"] = ends - starts


def take_json(frames: list[bytes], _: int, rows: Rows) -> None:
    """Take one message of the rival: a quote is one message, not two records."""
    topic, payload = frames
    message = json.loads(payload)
    now_ns = time.time_ns()  # what was sent is usable when it is parsed; a view of ticks takes no such step
    note = rows.room(topic, 1)
    note["received_ns"] = now_ns
    note["records"] = 1
    for name in ("ts_recv", "ts_event", "id", "position"):
        note[name] = message[name]


def main() -> None:
    """See the module."""
    die_with_parent()
    form, address, capacity, file = sys.argv[1:]
    take: Callable[[list[bytes], int, Rows], None] = {"ticks": take_ticks, "json": take_json}[form]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.set(zmq.RCVHWM, 100_000)
    socket.connect(address)
    for topic in TOPICS:
        socket.subscribe(topic)
    rows = Rows(int(capacity))
    rows.rows["topic"] = 1  # touches every page
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    gc.freeze()
    print("ready", flush=True)
    while sys.stdin.fileno() not in dict(poller.poll()):
        # At most so many messages before looking at stdin again.
        for _ in range(1000):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            take(frames, time.time_ns(), rows)
    np.savez(file, rows=rows.rows[: rows.used], topics=np.array([name.decode() for name in rows.topics]))
    context.destroy(0)


if __name__ == "__main__":
    main()
