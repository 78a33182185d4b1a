"""An engine's sockets, books and topics in this process, served by the event loop of a test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import zmq

from tickplant.books.level_books import Books
from tickplant.engine.publisher import Publisher
from tickplant.engine.router import Router
from tickplant.instruments import Instrument
from tickplant.records.layouts import TICK, Flag, Kind, Side

ROWS = {number: Instrument(number, "venue", f"S{number}", 2, 3) for number in range(1, 9)}
START_NS = 1_700_000_000 * 10**9


def ticks(*rows: tuple[int, Kind, Side, int, int, int]) -> np.ndarray:
    """Records of (instrument, kind, side, price, size, flags)."""
    records = np.zeros(len(rows), TICK)
    for name, values in zip(
        ("instrument", "kind", "side", "price", "size", "flags"), zip(*rows, strict=True), strict=True
    ):
        records[name] = values
    return records


class SmallEngine:
    """Publishes the records that a test passes, and keeps their books."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.addresses = f"ipc://{folder}/publish", f"ipc://{folder}/requests"
        self._options = options
        self._seq = 0
        self._open()

    def _open(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.books = Books()
        self.publisher = Publisher(self.context, self.addresses[0], ROWS.__getitem__, **self._options)
        self.router = Router(self.context, self.addresses[1], self.publisher, {"book": self.books.snapshot})

    def publish(self, records: np.ndarray) -> None:
        """Publish the next records, which get their seq and times here."""
        count = len(records)
        records["seq"] = np.arange(self._seq, self._seq + count)
        records["ts_recv"] = START_NS + records["seq"].astype(np.int64) * 1000
        records["ts_event"] = records["ts_recv"] - 500
        self._seq += count
        self.publisher.publish_ticks(records)
        self.books.apply(records)

    def trade(self, instrument: int, price: int, size: int = 1) -> None:
        """Publish one trade."""
        self.publish(ticks((instrument, Kind.TRADE, Side.BUY, price, size, Flag.LAST)))

    def clear(self, instrument: int, levels: dict[int, int]) -> None:
        """Begin a book with these bids."""
        rows = [(instrument, Kind.CLEAR, Side.NONE, 0, 0, Flag.SNAPSHOT)]
        rows += [(instrument, Kind.LEVEL, Side.BID, price, size, Flag.SNAPSHOT) for price, size in levels.items()]
        records = ticks(*rows)
        records["flags"][-1] |= Flag.LAST
        self.publish(records)

    def level(self, instrument: int, price: int, size: int, side: Side = Side.BID) -> None:
        """Change one level."""
        self.publish(ticks((instrument, Kind.LEVEL, side, price, size, Flag.LAST)))

    def bids(self, instrument: int) -> list[tuple[int, int]]:
        """The current bids, best first."""
        return [(price, size) for price, size in self.books.levels(instrument, Side.BID).tolist()]

    def restart(self) -> None:
        """Die, and come back with nothing: a new epoch."""
        self.close()
        self._open()

    def close(self) -> None:
        """Close the sockets."""
        self.router.close(0)
        self.publisher.close(0)
        self.context.term()

    async def serve(self) -> None:
        """Answer requests until cancelled."""
        while True:
            self.publisher.read_subscriptions()
            self.router.serve()
            await asyncio.sleep(0.0005)


@contextlib.asynccontextmanager
async def small_engine(folder: Path, **options: object) -> AsyncIterator[SmallEngine]:
    """An engine that answers until the block ends."""
    engine = SmallEngine(folder, **options)
    serving = asyncio.ensure_future(engine.serve())
    try:
        yield engine
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        engine.close()
