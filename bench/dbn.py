"""A DBN file of orders into a ring, compared with what a user would write: an array of records and a Python loop.

    bytes in memory ──> adapter of Databento ──> ring
                   └──> np.frombuffer with the dtype of databento-dbn (what to_ndarray does) ──> a tuple for each record

Both must yield the same orders, prices, sizes and times before anything is timed. CPU time.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from bench.harness import Result, host, main, median_of
from tickplant.feeds.contract import FeedContext, Frames
from tickplant.feeds.importers import FILE_LINK
from tickplant.feeds.ring_publisher import FeedPublisher, prepare_kernels
from tickplant.feeds.venues.databento.adapter import DatabentoAdapter
from tickplant.instruments import Instrument
from tickplant.records.layouts import Schema
from tickplant.shm.ring import Mode, Ring

RECORDS: Final = 200_000
PIECE_RECORDS: Final = 8192
SIZE: Final = 56
ACTIONS: Final = "ACMF"

Row = tuple[int, int, int, int, int]


def make(count: int, dtype: np.dtype[Any]) -> tuple[bytes, bytes]:
    """Metadata of a file, and its records: orders of one instrument."""
    import databento_dbn as db  # noqa: PLC0415  # skipped where it is not installed

    random = np.random.default_rng(1)
    rows = np.zeros(count, dtype)
    rows["length"], rows["rtype"], rows["publisher_id"], rows["instrument_id"] = SIZE // 4, 0xA0, 1, 7
    rows["ts_event"] = 1_760_000_000 * 10**9 + np.arange(count) * 1000
    rows["ts_recv"], rows["sequence"] = rows["ts_event"] + 500, np.arange(count)
    rows["order_id"], rows["price"] = random.integers(1, 2**40, count), random.integers(1, 10**6, count) * 10**7
    rows["size"], rows["flags"] = random.integers(1, 100, count), db.F_LAST
    rows["action"] = random.choice([letter.encode() for letter in ACTIONS], count)
    rows["side"] = random.choice([b"A", b"B"], count)
    head = db.Metadata(
        dataset="GLBX.MDP3",
        start=0,
        stype_in=db.SType.RAW_SYMBOL,
        stype_out=db.SType.INSTRUMENT_ID,
        schema=db.Schema.MBO,
        symbols=[],
        partial=[],
        not_found=[],
        mappings=[],
    )
    return bytes(head.encode()), rows.tobytes()


def by_loop(data: bytes, dtype: np.dtype[Any]) -> list[Row]:
    """Each record as a tuple, as a handler would take it."""
    rows = np.frombuffer(data, dtype)
    names = ("ts_event", "ts_recv", "order_id", "price", "size")
    return [tuple(int(row[name]) for name in names) for row in rows]  # type: ignore[misc]


def by_lists(data: bytes, dtype: np.dtype[Any]) -> list[Row]:
    """The same, in the fastest way in plain Python: all fields are turned into lists first."""
    rows = np.frombuffer(data, dtype)
    columns = [rows[name].tolist() for name in ("ts_event", "ts_recv", "order_id", "price", "size")]
    return [(event, recv, order, price, size) for event, recv, order, price, size in zip(*columns, strict=True)]


def into_ring(head: bytes, data: bytes, publisher: FeedPublisher) -> None:
    """Pass all records through a new adapter into a ring."""
    instrument = Instrument(1, "databento", "GLBX.MDP3/id:7", 9, 0)
    context = FeedContext(symbols=None, channels=(), resolve=lambda *_, **__: instrument, live=False)
    adapter = DatabentoAdapter(context)
    adapter.on_event(Frames(FILE_LINK, (head,)), 1)
    for start in range(0, len(data), PIECE_RECORDS * SIZE):
        adapter.on_event(Frames(FILE_LINK, (data[start : start + PIECE_RECORDS * SIZE],)), 1)
        publisher.publish(adapter.take().ticks)


def nanoseconds(repeats: int, count: int, work: Callable[[], object]) -> float:
    """Median CPU time per record."""

    def once() -> float:
        start_s = time.process_time()
        work()
        return (time.process_time() - start_s) / count * 1e9

    return median_of(repeats, once)


def run(repeats: int, quick: bool) -> list[Result]:
    """See the module."""
    try:
        import databento_dbn as db  # noqa: PLC0415  # skipped where it is not installed
    except ImportError:
        raise FileNotFoundError("databento-dbn is not installed") from None
    dtype: np.dtype[Any] = np.dtype(db.MBOMsg._dtypes)  # type: ignore[attr-defined]
    count = 20_000 if quick else RECORDS
    head, data = make(count, dtype)
    prepare_kernels()
    capacity = 1 << (count + 1).bit_length()
    with TemporaryDirectory() as folder:

        def publish() -> np.ndarray[Any, Any]:
            name = f"tickplant-bench-{uuid.uuid4().hex[:12]}"
            with Ring.create(name, Schema.TICK, capacity, epoch=1, doorbell_dir=Path(folder)) as ring:
                try:
                    with ring.consumer("bench", Mode.GATING) as consumer, ring.producer() as producer:
                        publisher = FeedPublisher(producer, capacity, 1.0)
                        start_s = time.process_time()
                        into_ring(head, data, publisher)
                        spent.append((time.process_time() - start_s) / count * 1e9)
                        found: np.ndarray[Any, Any] = consumer.read(capacity)
                        return found
                finally:
                    ring.unlink()

        spent: list[float] = []
        found = publish()[1:]  # without the CLEAR before the first order
        names = ["ts_event", "ts_recv", "order_id", "price", "size"]
        expected = by_loop(data, dtype)
        if found[names].tolist() != expected or by_lists(data, dtype) != expected:
            raise AssertionError("the records are not those of the file")
        spent.clear()
        for _ in range(repeats):
            publish()
    ours = float(np.median(spent))
    results = []
    for label, rival in (("to_ndarray and a loop", by_loop), ("to_ndarray, lists and a loop", by_lists)):
        value = nanoseconds(repeats, count, lambda rival=rival: rival(data, dtype))  # type: ignore[misc]
        results.append(Result(name=f"dbn: mbo, {label}", value=value, unit="ns/record", host=host()))
        results.append(
            Result(
                name="dbn: mbo, to the ring",
                value=ours,
                unit="ns/record",
                compared_with=label,
                ratio=value / ours,
                host=host(),
            )
        )
    return results


if __name__ == "__main__":
    main(run)
