"""From frame to ring, compared with what the peers do with a frame: messages per CPU second, by venue and message.

    frames of one read ──> adapter ──> accounts, anomalies ──> publisher ──> records in a ring in shared memory
    one frame          ──> handler of cryptofeed, of NautilusTrader's client ──> object, handed to a callback

No sockets. All take turns, so that other load on the machine affects all. Needs the environment of `make bench-peers`.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.harness import Result, host
from bench.peer_frames import PRICE_DECIMALS, SIZE_DECIMALS, STREAMS, Book, Stream, Values
from bench.peer_readers import Price, Reader, readers
from tickplant.feeds.contract import Answer, FeedContext, Frames, Request
from tickplant.feeds.pipeline import FeedPipeline
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.ring_publisher import FeedPublisher
from tickplant.feeds.ring_publisher import prepare_kernels as prepare_publisher
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Flag, Kind, Schema, Side
from tickplant.shm.consumer import Consumer
from tickplant.shm.producer import Producer
from tickplant.shm.ring import Mode, Ring
from tickplant.shm.ring import prepare_kernels as prepare_ring
from tickplant.venues import find_venue

CAPACITY_RECORDS: Final = 1 << 17
FRAMES_PER_READ: Final = (1, 50)
"""One frame per read is a quiet market; fifty are a burst, which is when speed matters."""

SCALE: Final = 8
_SIDES: Final = {
    Kind.TRADE: {"buy": Side.BID, "sell": Side.ASK},
    Kind.QUOTE: {"bid": Side.BID, "ask": Side.ASK},
    Kind.LEVEL: {"bid": Side.BID, "ask": Side.ASK},
}
Record = tuple[Side, int, int]


class Feed:
    """A feed from the frames of a read to its ring, as in `runner.LiveFeed`, with a live book."""

    def __init__(self, stream: Stream, folder: Path, producer: Producer) -> None:
        table = InstrumentTable.load(folder / "instruments.jsonl")

        def resolve(symbol: str, *_: int | None, **__: bool) -> Any:
            return table.register(stream.venue, symbol, SCALE, SCALE)

        self.publisher = FeedPublisher(producer, CAPACITY_RECORDS, 0.0)
        venue = find_venue(stream.venue)
        context = FeedContext(
            symbols=None, channels=venue.channels, resolve=resolve, live=False, depth=max(venue.depths, default=0)
        )
        self.adapter = venue.make_adapter(context)
        self._pipeline = FeedPipeline(
            self.adapter,
            self.publisher,
            RejectLog(folder / "rejects", 1),
            resolve,
            lambda ident: table.by_id(ident).symbol,
        )
        if stream.asked:
            self._pipeline.deliver(Answer(Request(stream.asked, "/"), 200, stream.snapshot), time.time_ns())
        elif stream.snapshot:
            self._pipeline.deliver(Frames("", [stream.snapshot]), time.time_ns())
        self._drain()

    def _drain(self) -> None:
        ticks, _ = self._pipeline.take()
        self.publisher.publish(ticks)

    def read(self, reads: Sequence[Sequence[bytes]]) -> None:
        """Pass each read with the current time, as a link does."""
        pipeline = self._pipeline
        for frames in reads:
            now_ns = time.time_ns()
            if pipeline.is_due(now_ns):
                pipeline.write_account()
            pipeline.seen(now_ns)
            pipeline.deliver(Frames("", frames), now_ns)
            self._drain()


def recorded(consumer: Consumer, kind: Kind) -> list[Record]:
    """Side, price and size of the records that came into the ring since the last call, without snapshots."""
    parts = []
    while len(part := consumer.read(CAPACITY_RECORDS)):
        parts.append(part.copy())
    ticks = np.concatenate([consumer.read(0), *parts])
    ticks = ticks[(ticks["kind"] == kind) & (ticks["flags"] & Flag.SNAPSHOT == 0)]
    return list(zip(ticks["side"].tolist(), ticks["price"].tolist(), ticks["size"].tolist(), strict=True))


def kind_of(content: Sequence[Values]) -> Kind:
    """The kind as which a content is recorded."""
    return Kind.TRADE if content[0][0] in ("buy", "sell") else Kind.QUOTE if len(content) == 2 else Kind.LEVEL


def expected(stream: Stream, count: int) -> list[Record]:
    """The expected records of `count` messages."""
    sides = _SIDES[kind_of(stream.content(0))]
    factor = 10 ** (SCALE - PRICE_DECIMALS)
    return [
        (sides[side], price * factor, size) for number in range(count) for side, price, size in stream.content(number)
    ]


def as_prices(values: Sequence[Values]) -> list[Price]:
    """Values as exact decimals, as the peers return them."""
    return [
        (side, Decimal(price).scaleb(-PRICE_DECIMALS), Decimal(size).scaleb(-SIZE_DECIMALS))
        for side, price, size in values
    ]


def check_reader(label: str, reader: Reader, stream: Stream, count: int) -> None:
    """Check a peer's last callback, and the number of calls. Raises AssertionError."""
    found, last = reader.found(), as_prices(stream.content(count - 1))
    if stream.makers:
        other = {"buy": "sell", "sell": "buy"}
        last = [(other[side], price, size) for side, price, size in last]
    if len(found) > len(last):  # the whole book
        book = Book()
        if stream.lacks:
            book.sides[stream.lacks].clear()
        for number in range(count):
            book.apply(stream.content(number))
        last = as_prices([(side, price, size) for side, sizes in book.sides.items() for price, size in sizes.items()])
    if not any(size for _, _, size in found):  # a ticker without sizes
        last = [(side, price, Decimal(0)) for side, price, _ in last]
    if reader.count not in (count, count + bool(stream.asked)) or sorted(found) != sorted(last):
        raise AssertionError(f"{stream.venue} {stream.message}, {label}: {reader.count} of {count} read, or wrongly")


@contextmanager
def ring_in(folder: Path) -> Iterator[tuple[Producer, Consumer]]:
    """Both ends of a ring without waits."""
    ring = Ring.create(
        f"tickplant-bench-{folder.name[-8:]}", Schema.TICK, CAPACITY_RECORDS, epoch=1, doorbell_dir=folder
    )
    try:
        with ring.producer() as producer, ring.consumer("check", Mode.LOSSY) as consumer:
            yield producer, consumer
    finally:
        ring.unlink()
        ring.close()


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds that work takes in this process."""
    gc.collect()
    start_s = time.process_time()
    work()
    return time.process_time() - start_s


def measure(stream: Stream, repeats: int, count: int) -> dict[str, float]:
    """Messages per CPU second, by reader, as medians; every run is checked."""
    frames = stream.frames(count)
    records = expected(stream, count)
    kind = kind_of(stream.content(0))
    cpu: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="tickplant-bench-") as name, ring_in(Path(name)) as (producer, consumer):
        for repeat in range(repeats + 1):  # the first is to warm up
            for per_read in FRAMES_PER_READ:
                feed = Feed(stream, Path(name), producer)
                recorded(consumer, kind)
                reads = [frames[start : start + per_read] for start in range(0, count, per_read)]
                cpu[f"{per_read} a read"].append(cpu_s(partial(feed.read, reads)))
                if recorded(consumer, kind) != records:
                    raise AssertionError(f"{stream.venue} {stream.message}: the ring does not hold what was sent")
                if repeat == 0 and feed.adapter.counters.fallbacks > 1:
                    raise AssertionError(f"{stream.venue} {stream.message}: {feed.adapter.counters}")
            for label, make in readers(stream).items():
                reader = make(stream)
                theirs = reader.frames(stream, count)
                cpu[label].append(cpu_s(partial(reader.read, theirs)))
                check_reader(label, reader, stream, count)
                reader.close()
    return {who: count / statistics.median(seconds[1:]) for who, seconds in cpu.items()}


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure every stream of bench/peer_frames.py with the project, and with the peers that read it."""
    if not readers(STREAMS[0]):
        raise FileNotFoundError("no peer is installed here: make bench-peers")
    prepare_ring()
    prepare_publisher()
    results: list[Result] = []
    for stream in STREAMS:
        find_venue(stream.venue).warm_up()
        count = 200 if quick else 2_000 if stream.snapshot else 20_000
        rates = measure(stream, repeats, count)
        ours = {f"{per_read} a read": per_read for per_read in FRAMES_PER_READ}
        for way, per_read in ours.items():
            value = rates[way]
            results += [
                Result(
                    name=f"{stream.venue}: {stream.message}, frame to ring, {per_read} a read",
                    value=value,
                    unit="messages/CPU s",
                    compared_with=f"{label} ({rate:,.0f})",
                    ratio=value / rate,
                    host=host(),
                )
                for label, rate in rates.items()
                if label not in ours
            ]
    return results
