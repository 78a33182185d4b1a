"""A made-up past of a feed and of its engine, as if a plant had stored it, but made without processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from engine_process import Market
from numpy.typing import NDArray

from tickplant.derive.derivation import Settings
from tickplant.derive.registry import channels_of, wanted
from tickplant.engine.core import Engine
from tickplant.engine.publisher import Publisher
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import DTYPES, Flag, GapCause, Kind, Schema
from tickplant.records.schemas import FACTS
from tickplant.writer.journal import Journal

Records = NDArray[np.void]

SETTINGS = Settings(bar_s=(1, 60), checkpoint_s=30)


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
    """Turn changes of levels into operations on orders, known and unknown ones."""
    levels = part["kind"] == Kind.LEVEL
    kinds = [Kind.ORDER_ADD] * 4 + [Kind.ORDER_MODIFY] * 2 + [Kind.ORDER_CANCEL] * 2 + [Kind.ORDER_FILL]
    part["kind"] = np.where(levels, random.choice(kinds, len(part)), part["kind"])
    part["order_id"] = np.where(levels, random.integers(1, 200, len(part)), 0)
    part["flags"][part["kind"] == Kind.CLEAR] |= np.uint16(Flag.ON_ORDERS)
    part["flags"][part["kind"] == Kind.GAP] ^= np.uint16(Flag.ON_BOOK | Flag.ON_ORDERS)


class Kept:
    """Takes and keeps derived records of one schema; at most `room` published records are stored at a time."""

    def __init__(self, schema: Schema, room: int = 1 << 30) -> None:
        self.schema = schema
        self.room = room
        self.parts: list[Records] = []
        self.position = 0

    def store(self, records: Any) -> tuple[Records, int]:
        """As the engine's `Sink` and `MomentSink`."""
        for part in [records] if isinstance(records, np.ndarray) else records:
            part["seq"] = np.arange(self.position, self.position + len(part))
            self.position += len(part)
            self.parts.append(part.copy())
        return records, min(len(records), self.room) if isinstance(records, np.ndarray) else 0

    @property
    def records(self) -> Records:
        """All records so far."""
        return np.concatenate([np.zeros(0, DTYPES[self.schema]), *self.parts])


class Sinks:
    """The sinks of an engine with these settings."""

    def __init__(self, settings: Settings) -> None:
        self.kept = {schema: Kept(schema) for schema in wanted(settings)}
        self.streams = {schema: kept for schema, kept in self.kept.items() if FACTS[schema].published}
        self.moments = {schema: kept for schema, kept in self.kept.items() if not FACTS[schema].published}


def derive(
    table: InstrumentTable, folder: Path, ticks: Records, settings: Settings = SETTINGS, *, cuts: Sequence[int] = ()
) -> dict[Schema, Records]:
    """The records that an engine derives from these ticks; `cuts`: where batches end, by default after each 1000."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = Publisher(context, f"ipc://{folder}/past", table.by_id, channels=channels_of(settings))
    sinks = Sinks(settings)
    try:
        engine = Engine(table, publisher, sinks.streams, sinks.moments)
        feed = engine.add_feed("feed", settings)
        for part in np.split(ticks, list(cuts) or range(1000, len(ticks), 1000)):
            engine.take(feed, part.copy())
    finally:
        publisher.close(0)
        context.term()
    return {schema: kept.records for schema, kept in sinks.kept.items()}


def fill(folder: Path, schema: Schema, producer: str, records: Records, *, flush: int = 700) -> None:
    """Store records in many small chunks and files."""
    assert records.dtype == DTYPES[schema]
    journal = Journal(folder, schema, producer, rotate_bytes=12_000)
    for start in range(0, len(records), flush):
        journal.append(records[start : start + flush])
        journal.flush()
    journal.close()
