"""The ring between two processes, compared with what a user would pick instead, with the same records.

    this process ──ring | Queue | Pipe | ZeroMQ ipc | iceoryx2──> child      (throughput, in batches)
    this process ──>  child  ──> this process                                 (round trip, a record or a batch)

Throughput: TICK records in batches; the child checks that every `seq` comes once and in order. The ring's producer
waits for its consumer (gating), so none of the transports loses records. Round trip: one record there and one back,
from Python, the median of many trips; both sides spin on the ring, as lossy consumers, and block on the others.
`ring_peers` measures iceoryx2, if installed.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import numpy as np
import zmq
from numpy.typing import NDArray

from bench.harness import Result, host, main, median_of
from tickplant.records.layouts import TICK, Schema
from tickplant.shm.ring import Mode, Ring, prepare_kernels

BATCH_RECORDS: Final = 256
CAPACITY_RECORDS: Final = 1 << 14  # 1 MiB: fits the second-level caches
SPAWN: Final = multiprocessing.get_context("spawn")

Send = Callable[[NDArray[np.void]], object]
Receive = Callable[[], NDArray[np.void]]


# Each transport gives, on either side, a way to send and a way to receive batches.


@contextlib.contextmanager
def ring_ends(directory: str, outward: str, inward: str, mode: Mode) -> Iterator[tuple[Send, Receive]]:
    """Send on one ring, receive on another."""
    prepare_kernels()
    with (
        Ring.attach(outward, Schema.TICK, Path(directory)) as out_ring,
        Ring.attach(inward, Schema.TICK, Path(directory)) as in_ring,
        out_ring.producer() as producer,
        in_ring.consumer("bench", mode, start=0) as consumer,
    ):

        def receive() -> NDArray[np.void]:
            while not len(records := consumer.read(4 * BATCH_RECORDS)):
                consumer.wait()
            consumer.commit(consumer.position)
            return records

        def spin() -> NDArray[np.void]:
            while not len(records := consumer.read(BATCH_RECORDS)):
                pass
            return records

        yield producer.publish, receive if mode is Mode.GATING else spin


@contextlib.contextmanager
def queue_ends(outward: Any, inward: Any) -> Iterator[tuple[Send, Receive]]:
    """multiprocessing.Queue of numpy arrays, in the obvious way."""
    yield outward.put, inward.get


@contextlib.contextmanager
def pipe_ends(connection: Connection) -> Iterator[tuple[Send, Receive]]:
    """multiprocessing.Pipe with raw bytes, its fastest use."""
    yield (
        lambda records: connection.send_bytes(records.view(np.uint8).data),
        lambda: np.frombuffer(connection.recv_bytes(), TICK),
    )


@contextlib.contextmanager
def zmq_ends(outward: str, inward: str, *, bind: bool) -> Iterator[tuple[Send, Receive]]:
    """ZeroMQ PUSH and PULL over ipc."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as push, context.socket(zmq.PULL) as pull:
        for socket, address in ((push, outward), (pull, inward)):
            (socket.bind if bind else socket.connect)(address)
        yield (
            lambda records: push.send(records.view(np.uint8).data),
            lambda: np.frombuffer(pull.recv(), TICK),
        )


@contextlib.contextmanager
def iceoryx2_ends(outward: str, inward: str) -> Iterator[tuple[Send, Receive]]:
    """Samples of iceoryx2, as fast as its Python binding allows: written in place, read in place, spinning.

    When the subscriber is behind, the publisher retries at once: the library's own wait, which sleeps, takes ten times
    as long.
    """
    ice: Any = importlib.import_module("iceoryx2")
    ice.set_log_level(ice.LogLevel.Error)
    node = ice.NodeBuilder.new().create(ice.ServiceType.Ipc)

    def service(name: str) -> Any:
        builder = node.service_builder(ice.ServiceName.new(name)).publish_subscribe(ice.Slice[ctypes.c_uint8])
        builder = builder.enable_safe_overflow(False).subscriber_max_buffer_size(CAPACITY_RECORDS // BATCH_RECORDS)
        return builder.open_or_create()

    builder = service(outward).publisher_builder().initial_max_slice_len(BATCH_RECORDS * TICK.itemsize)
    publisher = builder.backpressure_strategy(ice.BackpressureStrategy.DiscardData).create()
    subscriber = service(inward).subscriber_builder().create()
    held: list[Any] = [None]  # the sample whose memory the receiver looks at

    def send(records: NDArray[np.void]) -> None:
        delivered = 0
        while not delivered:
            sample = publisher.loan_slice_uninit(records.nbytes)
            np.frombuffer(sample.payload().as_memory_view(), np.uint8)[:] = records.view(np.uint8)
            delivered = sample.assume_init().send()

    def receive() -> NDArray[np.void]:
        held[0] = None
        while (sample := subscriber.receive()) is None:
            pass
        held[0] = sample
        return np.frombuffer(sample.payload().as_memory_view(), TICK)

    yield send, receive
    held[0] = None


def child(kind: str, arguments: tuple[Any, ...], options: dict[str, Any], work: str, count: int) -> None:
    """The other process: echo each of `count` records, or check them and report the result at the end."""
    with ENDS[kind](*arguments, **options) as (send, receive):
        send(np.zeros(1, TICK))  # ready
        if work == "echo":
            for _ in range(count):
                send(receive())
            return
        expected = total = 0
        while expected < count:
            seqs = receive()["seq"]
            if int(seqs[0]) != expected or int(seqs[-1]) != expected + len(seqs) - 1:
                break
            total += int(seqs.sum())
            expected += len(seqs)
        answer = np.zeros(1, TICK)
        answer["seq"], answer["price"] = expected, total
        send(answer)


ENDS: Final[dict[str, Callable[..., contextlib.AbstractContextManager[tuple[Send, Receive]]]]] = {
    "ring": ring_ends,
    "queue": queue_ends,
    "pipe": pipe_ends,
    "zmq": zmq_ends,
    "iceoryx2": iceoryx2_ends,
}


@contextlib.contextmanager
def connected(kind: str, work: str, count: int) -> Iterator[tuple[Send, Receive]]:
    """Start the child; yields this process's ends once both are ready."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        theirs: tuple[Any, ...]
        ours: tuple[Any, ...]
        ours_options: dict[str, Any] = {}
        theirs_options: dict[str, Any] = {}
        if kind == "ring":
            names = [f"tickplant-bench-{os.getpid()}-{way}" for way in ("there", "back")]
            for name in names:
                ring = Ring.create(name, Schema.TICK, CAPACITY_RECORDS, epoch=1, doorbell_dir=Path(directory))
                stack.callback(ring.unlink)
                if work == "count":
                    ring.consumer("bench", Mode.GATING).close()  # its place: nothing is overwritten before it comes
            mode = Mode.GATING if work == "count" else Mode.LOSSY
            ours, theirs = (directory, *names, mode), (directory, *reversed(names), mode)
        elif kind == "queue":
            there, back = SPAWN.Queue(64), SPAWN.Queue(64)
            ours, theirs = (there, back), (back, there)
        elif kind == "pipe":
            near, far = SPAWN.Pipe()
            ours, theirs = (near,), (far,)
        elif kind == "iceoryx2":
            names = [f"tickplant-bench-{os.getpid()}-{work}-{way}" for way in ("there", "back")]
            ours, theirs = tuple(names), tuple(reversed(names))
        else:
            addresses = [f"ipc://{directory}/{way}" for way in ("there", "back")]
            ours, theirs = (addresses[0], addresses[1]), (addresses[1], addresses[0])
            ours_options, theirs_options = {"bind": True}, {"bind": False}
        send, receive = stack.enter_context(ENDS[kind](*ours, **ours_options))
        process: BaseProcess = SPAWN.Process(target=child, args=(kind, theirs, theirs_options, work, count))
        process.start()
        stack.callback(process.join)
        receive()
        yield send, receive


def throughput(kind: str, count: int) -> float:
    """Records per second, from the first batch sent until the other side reports that all have come."""
    batches = np.zeros(count, TICK)
    batches["seq"] = np.arange(count)
    with connected(kind, "count", count) as (send, receive):
        began_ns = time.perf_counter_ns()
        for first in range(0, count, BATCH_RECORDS):
            send(batches[first : first + BATCH_RECORDS])
        answer = receive()
        seconds = (time.perf_counter_ns() - began_ns) / 1e9
    if int(answer["seq"][0]) != count or int(answer["price"][0]) != count * (count - 1) // 2:
        raise AssertionError(f"{kind}: {count} records sent, {answer['seq'][0]} came in order")
    return count / seconds


def round_trip_us(kind: str, count: int, batch_records: int = 1) -> float:
    """Median microseconds for a batch of records there and back, from Python to Python."""
    records = np.zeros(count * batch_records, TICK)
    records["seq"] = np.arange(len(records)) // batch_records
    trips_ns = np.zeros(count, np.int64)
    with connected(kind, "echo", count) as (send, receive):
        for seq in range(count):
            record = records[seq * batch_records : (seq + 1) * batch_records]
            began_ns = time.perf_counter_ns()
            send(record)
            answer = receive()
            trips_ns[seq] = time.perf_counter_ns() - began_ns
            if len(answer) != batch_records or answer["seq"][-1] != seq:
                raise AssertionError(f"{kind}: {answer['seq'][0]} came back for {seq}")
    return statistics.median(trips_ns.tolist()) / 1e3


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure throughput and round trip of ring, ZeroMQ, Pipe and Queue."""
    prepare_kernels()
    scale = 50 if quick else 1
    rivals = {"zmq": "ZeroMQ PUSH/PULL over ipc", "pipe": "multiprocessing.Pipe", "queue": "multiprocessing.Queue"}
    rates = {"ring": median_of(repeats, lambda: throughput("ring", BATCH_RECORDS * 40_000 // scale))}
    trips = {"ring": median_of(repeats, lambda: round_trip_us("ring", 50_000 // scale))}
    for kind in rivals:
        rates[kind] = median_of(repeats, lambda kind=kind: throughput(kind, BATCH_RECORDS * 4_000 // scale))  # type: ignore[misc]  # mypy cannot type a lambda with a default
        trips[kind] = median_of(repeats, lambda kind=kind: round_trip_us(kind, 5_000 // scale))  # type: ignore[misc]  # likewise
    machine = host()
    results = []
    for kind, rival in rivals.items():
        results.append(
            Result(
                name=f"ring: records/s between processes, batches of {BATCH_RECORDS}",
                value=rates["ring"],
                unit="records/s",
                compared_with=f"{rival} ({rates[kind]:,.0f})",
                ratio=rates["ring"] / rates[kind],
                host=machine,
            )
        )
    for kind, rival in rivals.items():
        results.append(
            Result(
                name="ring: round trip of one record from Python, p50, spinning",
                value=trips["ring"],
                unit="µs",
                compared_with=f"{rival} ({trips[kind]:.1f})",
                ratio=trips[kind] / trips["ring"],
                host=machine,
            )
        )
    return results


if __name__ == "__main__":
    main(run)
