"""A past of a feed and of the engine that followed it, made without processes: as if a plant had stored it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zmq
from engine_process import Market
from numpy.typing import NDArray

from tickplant.engine.core import Engine, FeedBooks
from tickplant.engine.publisher import Publisher
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import DTYPES, Flag, GapCause, Kind, Schema
from tickplant.writer.journal import Journal

Records = NDArray[np.void]

DERIVED = (Schema.BBO, Schema.BAR, Schema.CHECKPOINT)
BAR_S = (1, 60)


def past_ticks(
    instruments: list[int],
    count: int,
    *,
    seed: int = 1,
    start_ns: int,
    step_ns: int,
    resyncs: float = 0.02,
    of_orders: frozenset[int] = frozenset(),
) -> Records:
    """Ticks of several books, cut into pieces anywhere, with gaps, new snapshots and receive times that step back.

    `resyncs` is the share of pieces that begin with a gap; twice as many begin with a snapshot. The books of
    `of_orders` are books of orders.
    """
    random = np.random.default_rng(seed)
    markets = {instrument: Market(instrument, seed + instrument) for instrument in instruments}
    parts: list[Records] = []
    made = 0
    while made < count:
        instrument = int(random.choice(instruments))
        part = markets[instrument].ticks(int(random.integers(1, 60)))
        chance = random.random()
        if random.random() < 0.8:
            part["flags"][-1] |= Flag.LAST
        if made and chance < resyncs:
            part["kind"][0], part["price"][0] = Kind.GAP, GapCause.SEQUENCE
            part["flags"][0] = Flag.ON_BOOK | Flag.LAST
        elif made and chance < 3 * resyncs:
            part["kind"][0], part["flags"][0] = Kind.CLEAR, Flag.SNAPSHOT
        if instrument in of_orders:
            as_orders(part, random)
        parts.append(part)
        made += len(part)
    ticks = np.concatenate(parts)
    place = np.arange(len(ticks))
    ticks["seq"], ticks["venue_seq"] = place, place + 10**6
    ticks["ts_recv"] = start_ns + place * step_ns - random.integers(0, 4 * step_ns, len(ticks)) * (place > 10)
    ticks["ts_event"] = ticks["ts_recv"] - 10**7
    return ticks


def as_orders(part: Records, random: np.random.Generator) -> None:
    """Make operations on orders, known ones or not, of changes of levels."""
    levels = part["kind"] == Kind.LEVEL
    kinds = [Kind.ORDER_ADD] * 4 + [Kind.ORDER_MODIFY] * 2 + [Kind.ORDER_CANCEL] * 2 + [Kind.ORDER_FILL]
    part["kind"] = np.where(levels, random.choice(kinds, len(part)), part["kind"])
    part["order_id"] = np.where(levels, random.integers(1, 200, len(part)), 0)
    part["flags"][part["kind"] == Kind.CLEAR] |= np.uint16(Flag.ON_ORDERS)
    part["flags"][part["kind"] == Kind.GAP] ^= np.uint16(Flag.ON_BOOK | Flag.ON_ORDERS)


def derive(
    table: InstrumentTable, folder: Path, ticks: Records, *, checkpoint_s: int, batch: int = 1000
) -> dict[Schema, Records]:
    """What an engine stores of these ticks."""
    kept: dict[Schema, list[bytes]] = {schema: [] for schema in DERIVED}

    def store(records: Records) -> tuple[Records, int]:
        schema = Schema.BBO if "bid_price" in (records.dtype.names or ()) else Schema.BAR
        kept[schema].append(records.tobytes())
        return records, len(records)

    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = Publisher(context, f"ipc://{folder}/past", table.by_id, bar_s=BAR_S)
    try:
        engine = Engine(
            table,
            publisher,
            store,
            store,
            lambda books: kept[Schema.CHECKPOINT].extend(records.tobytes() for records in books),
        )
        feed = engine.add_feed("feed", FeedBooks(max_levels=20_000, bar_s=BAR_S, checkpoint_s=checkpoint_s))
        for start in range(0, len(ticks), batch):
            engine.take(feed, ticks[start : start + batch])
    finally:
        publisher.close(0)
        context.term()
    found = {schema: np.frombuffer(b"".join(parts), DTYPES[schema]).copy() for schema, parts in kept.items()}
    for records in found.values():
        records["seq"] = np.arange(len(records))
    return found


def fill(folder: Path, schema: Schema, producer: str, records: Records, *, flush: int = 700) -> None:
    """Store records in chunks and files that are small, so that there are many."""
    assert records.dtype == DTYPES[schema]
    journal = Journal(folder, schema, producer, rotate_bytes=12_000)
    for start in range(0, len(records), flush):
        journal.append(records[start : start + flush])
        journal.flush()
    journal.close()
