"""A publisher, its router and a client of both, over real sockets in one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zmq
from plant_process import wait_for

from tickplant import wire
from tickplant.books.level_books import Books
from tickplant.derive.derivation import Settings
from tickplant.derive.registry import channels_of
from tickplant.engine.publisher import Publisher
from tickplant.engine.router import Router
from tickplant.instruments import Instrument
from tickplant.records.layouts import BAR, BBO, TICK, Kind

CHANNELS = channels_of(Settings(bar_s=(1, 60)))
ROWS = {
    1: Instrument(1, "binance", "BTCUSDT", 2, 8),
    2: Instrument(2, "binance", "BRK.B", 4, 3),
    3: Instrument(3, "binance", "BTCUSDT", 3, 8),
}


def ticks(*kinds: tuple[Kind, int] | tuple[Kind, int, int]) -> np.ndarray:
    records = np.zeros(len(kinds), TICK)
    for i, (kind, instrument, *flags) in enumerate(kinds):
        records[i]["kind"], records[i]["instrument"], records[i]["flags"] = kind, instrument, sum(flags)
    records["seq"] = np.arange(len(records))
    records["price"] = 100 + np.arange(len(records))
    return records


class Pair:
    """An engine's two sockets and a subscriber's two."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.address = f"ipc://{folder}/publish"
        self.books = Books()
        self.publisher = Publisher(self.context, self.address, ROWS.__getitem__, channels=CHANNELS, **options)
        self.router = Router(self.context, f"{self.address}.requests", self.publisher, {"book": self.books.snapshot})
        self.outside: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sub = self.outside.socket(zmq.SUB)
        self.sub.connect(self.address)
        self.sub.subscribe(b"")
        self.dealer = self.outside.socket(zmq.DEALER)
        self.dealer.connect(f"{self.address}.requests")
        wait_for("the subscription", self.publisher.read_subscriptions)

    def received(self, count: int) -> list[tuple[str, wire.Header, np.ndarray]]:
        """The next messages."""
        out = []
        for _ in range(count):
            assert self.sub.poll(90_000), f"only {len(out)} of {count} messages came"
            topic, header, payload = self.sub.recv_multipart()
            read = wire.unpack_header(header)
            out.append((topic.decode(), read, np.frombuffer(payload, {64: TICK, 72: BBO, 104: BAR}[read.record_bytes])))
        return out

    def ask(self, request: wire.Request | bytes) -> tuple[wire.Reply, list[bytes]]:
        self.dealer.send(request if isinstance(request, bytes) else wire.encode(request))
        assert self.router.socket.poll(90_000)
        self.router.serve()
        assert self.dealer.poll(90_000)
        head, *frames = self.dealer.recv_multipart()
        return wire.decode_reply(head), frames

    def close(self) -> None:
        # The engine's side first: libzmq aborts (issue 3442) where a peer goes in the middle of a message of several
        # frames at the very moment at which the socket gives the rest of it up.
        self.router.close(0)
        self.publisher.close(0)
        self.context.term()
        self.outside.destroy(0)  # with what a test that has failed left open
