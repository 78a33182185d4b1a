"""From socket to ring: Binance trades per CPU second, for both transports, compared with `websockets` and `json.loads`.

A server in a process of its own sends prepared frames, either as fast as they are taken (each read brings many), or one
at a time at a steady pace (each read brings one, as in a calm market). Measures the CPU time of this process between
the first and the last frame, without TLS, but with the kernel time of the socket. Afterwards the ring, or the rival's
list, must hold every trade once and in order.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import uvloop
from websockets.asyncio.client import connect as rival_connect

from bench.harness import Result, host, main
from bench.trades import FIRST_ID
from tickplant.feeds.contract import FeedContext, LinkSpec
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.ring_publisher import FeedPublisher
from tickplant.feeds.ring_publisher import prepare_kernels as prepare_publisher
from tickplant.feeds.runner import LiveFeed
from tickplant.feeds.transports import picows_transport, websockets_transport
from tickplant.feeds.transports.transport import Connect, Transport
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Kind, Schema
from tickplant.runtime.config import FeedConfig
from tickplant.shm.ring import OLDEST, Mode, Ring
from tickplant.shm.ring import prepare_kernels as prepare_ring
from tickplant.venues import find_venue

BURST_FRAMES: Final = 200_000
CAPACITY_RECORDS: Final = 1 << 18
PACED_FRAMES: Final = 20_000
PACE_PER_S: Final = 10_000

Client = Callable[[str, int], Coroutine[Any, Any, float]]
"""Takes a number of frames from an address; returns the CPU seconds between the first and the last."""


# The clients: each returns CPU seconds between the first and the last frame.


class _Through:
    """Passes frames to a feed, and notes the CPU time."""

    def __init__(self, feed: LiveFeed, expected: int) -> None:
        self.feed = feed
        self.left = expected
        self.reads = 0
        self.first_s = self.last_s = 0.0
        self.done = asyncio.Event()

    def on_open(self, transport: Transport) -> None:
        """Nothing to subscribe to."""

    def on_frames(self, transport: Transport, frames: list[bytes], ts_recv_ns: int) -> None:
        """Take the frames of one read."""
        self.first_s = self.first_s or time.process_time()
        self.feed.link_frames("stream", frames, ts_recv_ns)
        self.reads += 1
        self.left -= len(frames)
        if self.left == 0:
            self.last_s = time.process_time()
            self.done.set()

    def on_closed(self, transport: Transport, reason: str) -> None:
        """Note the end, early or not."""
        self.done.set()


def _plant(connect: Connect) -> Client:
    async def client(url: str, count: int) -> float:
        with tempfile.TemporaryDirectory(prefix="tickplant-bench-") as name:
            folder = Path(name)
            table = InstrumentTable.load(folder / "instruments.jsonl")
            segment = f"tickplant-bench-{folder.name[-8:]}"
            ring = Ring.create(segment, Schema.TICK, CAPACITY_RECORDS, epoch=1, doorbell_dir=folder)
            try:
                with ring.producer() as producer:
                    cpu_s = await _feed(connect, url, count, FeedPublisher(producer, CAPACITY_RECORDS, 0.0), table)
                with ring.consumer("check", Mode.LOSSY, start=OLDEST) as consumer:
                    ticks = consumer.read(CAPACITY_RECORDS)  # the feed's accounts among them
                    ids = ticks["venue_seq"][ticks["kind"] == Kind.TRADE].tolist()
            finally:
                ring.unlink()
                ring.close()
        _check(ids, count)
        return cpu_s

    return client


async def _feed(connect: Connect, url: str, count: int, publisher: FeedPublisher, table: InstrumentTable) -> float:
    def resolve(symbol: str, price_scale: int | None, size_scale: int | None) -> Any:
        del price_scale, size_scale
        return table.register("binance", symbol, 8, 8)

    feed = LiveFeed(
        find_venue("binance").make_adapter(FeedContext(symbols=None, channels=("trade",), resolve=resolve)),
        publisher,
        RejectLog(table.path.parent / "rejects", 1),
        resolve=resolve,
        symbol_of=lambda instrument: table.by_id(instrument).symbol,
        connect=connect,
        endpoints={"rest": "http://127.0.0.1:9"},
        config=FeedConfig(venue="binance", symbols=("BTCUSDT",)),
    )
    through = _Through(feed, count)
    transport = await connect(LinkSpec(name="bench", url=url), through)
    await through.done.wait()
    await transport.close()
    return through.last_s - through.first_s


async def _rival(url: str, count: int) -> float:
    trades: list[tuple[int, int, float, float, bool]] = []
    first_s = 0.0
    async with rival_connect(url, compression=None, proxy=None, max_queue=1024) as connection:
        for _ in range(count):
            message = await connection.recv()
            first_s = first_s or time.process_time()
            data = json.loads(message)["data"]
            trades.append((data["t"], data["T"], float(data["p"]), float(data["q"]), data["m"]))
        last_s = time.process_time()
    _check([trade[0] for trade in trades], count)
    return last_s - first_s


def _check(ids: list[int], count: int) -> None:
    if ids != list(range(FIRST_ID, FIRST_ID + count)):
        raise AssertionError(f"{len(ids)} of {count} trades arrived, or not in order")


RIVAL: Final = "websockets + json.loads"

LOOPS: Final[dict[str, Callable[[], asyncio.AbstractEventLoop]]] = {RIVAL: asyncio.new_event_loop}
"""Event loops: those of feeds, except that the rival runs on Python's own."""

CLIENTS: Final[dict[str, Client]] = {
    "picows": _plant(picows_transport.connect),
    "websockets": _plant(websockets_transport.connect),
    RIVAL: _rival,
}


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure messages per CPU second of each client under each load; the clients take turns."""
    loads = {
        "many a read": (BURST_FRAMES // (10 if quick else 1), 0),
        "one a read": (PACED_FRAMES // (10 if quick else 1), PACE_PER_S),
    }
    prepare_ring()
    prepare_publisher()
    find_venue("binance").warm_up()
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    with subprocess.Popen([sys.executable, "-m", "bench.trades"], stdout=subprocess.PIPE) as server:
        try:
            port = int(server.stdout.readline()) if server.stdout else 0
            for _ in range(repeats):
                for load, (count, pace) in loads.items():
                    for name, client in CLIENTS.items():
                        with asyncio.Runner(loop_factory=LOOPS.get(name, uvloop.new_event_loop)) as runner:
                            cpu_s = runner.run(client(f"ws://127.0.0.1:{port}/{count}/{pace}", count))
                        rates[load, name].append(count / cpu_s)
        finally:
            server.kill()
    medians = {key: statistics.median(values) for key, values in rates.items()}
    return [
        Result(
            name=f"feed: Binance trades from socket to ring, {name}, {load}",
            value=medians[load, name],
            unit="messages/CPU s",
            compared_with=f"{RIVAL} to a list of tuples",
            ratio=medians[load, name] / medians[load, RIVAL],
            host=host(),
        )
        for load in loads
        for name in CLIENTS
        if name != RIVAL
    ]


if __name__ == "__main__":
    main(run)
