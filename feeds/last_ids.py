"""The ids that a feed continues from: those that an earlier process of the feed left in the ring or the store.

With them, the first trade after a restart shows exactly which trades were missed, as after a lost connection. A newly
made ring is empty; for that case the process that can read the store leaves a file, `file_of`, for the feed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.instruments import Instrument
from tickplant.records.layouts import Flag, Kind, StatusCode
from tickplant.records.venue_bars import FIELD_BITS, BarField
from tickplant.shm.ring import OLDEST, Mode, Ring

LABEL: Final = "restarted feed"
BATCH_RECORDS: Final = 1 << 16


STREAMS: Final = ("trade", "agg_trade", "quote", "book")


_BOOK: Final = (
    *(Kind.LEVEL, Kind.CLEAR),
    *(Kind.ORDER_ADD, Kind.ORDER_MODIFY, Kind.ORDER_CANCEL, Kind.ORDER_FILL),
)


class LastIds(msgspec.Struct):
    """The newest id of each stream of an instrument, with its venue time in ns; None before the first."""

    trade: tuple[int, int] | None = None
    agg_trade: tuple[int, int] | None = None
    quote: tuple[int, int] | None = None
    book: tuple[int, int] | None = None
    live: bool | None = None  # whether the book is in sync at its id; None if unknown
    snapshot: bool = False  # whether the book's newest record belongs to a snapshot
    bars: dict[int, int] = {}  # by length in ns of a completed venue bar: start of the newest one


def of_streams(records: NDArray[np.void]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """For each field of LastIds, which of these records, dtype TICK, belong to its stream.

    Backfill is out of order and partial books are unrelated to the diffs; neither belongs to a stream.
    """
    kind, flags = records["kind"], records["flags"]
    trade = (kind == Kind.TRADE) & (flags & Flag.BACKFILL == 0)
    aggregate = flags & Flag.AGGREGATE != 0
    yield "trade", trade & ~aggregate
    yield "agg_trade", trade & aggregate
    yield "quote", kind == Kind.QUOTE
    yield "book", np.isin(kind, _BOOK) & (flags & Flag.PARTIAL == 0)


class Continuity:
    """Folds records, oldest first."""

    def __init__(self) -> None:
        self.last: dict[int, LastIds] = {}  # by instrument

    def add(self, records: NDArray[np.void]) -> None:
        """Take in records (n,), dtype TICK."""
        kind, flags = records["kind"], records["flags"]
        for stream, mask in of_streams(records):
            mine = records[mask][::-1]
            instruments, newest = np.unique(mine["instrument"], return_index=True)
            for instrument, record in zip(instruments.tolist(), mine[newest], strict=True):
                ids = self.last.setdefault(instrument, LastIds())
                setattr(ids, stream, (int(record["venue_seq"]), int(record["ts_event"])))
                if stream == "book":
                    ids.snapshot = bool(record["flags"] & Flag.SNAPSHOT)
        for instrument, start, end in _whole_bars(records).tolist():
            bars = self.last.setdefault(instrument, LastIds()).bars
            bars[end - start] = max(start, bars.get(end - start, start))
        lost = (kind == Kind.GAP) | ((kind == Kind.STATUS) & (records["price"] == StatusCode.DISCONNECTED))
        lost &= flags & (Flag.ON_BOOK | Flag.ON_ORDERS) != 0
        cleared = (kind == Kind.CLEAR) & (flags & Flag.PARTIAL == 0)
        turns = records[cleared | lost][::-1]
        instruments, newest = np.unique(turns["instrument"], return_index=True)
        for instrument, record in zip(instruments.tolist(), turns[newest], strict=True):
            self.last.setdefault(instrument, LastIds()).live = bool(record["kind"] == Kind.CLEAR)


def _whole_bars(records: NDArray[np.void]) -> NDArray[np.void]:
    """Instrument, start and end of completed venue bars."""
    bars = records[(records["kind"] == Kind.VENUE_BAR) & (records["flags"] & Flag.PARTIAL == 0)]
    closes = bars["order_id"] & ((1 << FIELD_BITS) - 1) == BarField.CLOSE
    found: NDArray[np.void] = bars[closes][["instrument", "venue_seq", "ts_event"]]
    return found


def by_symbol(last: Mapping[int, LastIds], instruments: Iterable[Instrument]) -> dict[str, LastIds]:
    """The newest ids of each symbol over all ids of these instruments, which are of one venue, oldest first.

    A stream belongs to a symbol, whose instrument changes with its scales.
    """
    found: dict[str, LastIds] = {}
    for instrument in instruments:
        if (ids := last.get(instrument.id)) is None:
            continue
        known = found.setdefault(instrument.symbol, LastIds())
        if ids.book is not None or ids.live is not None:
            known.live, known.snapshot = ids.live, ids.snapshot  # from the newest instrument that had a book
        for stream in STREAMS:
            newest = [one for one in (getattr(known, stream), getattr(ids, stream)) if one is not None]
            setattr(known, stream, max(newest, key=lambda one: (one[1], one[0]), default=None))
        for length_ns, start in ids.bars.items():
            known.bars[length_ns] = max(start, known.bars.get(length_ns, start))
    return found


def file_of(run_dir: Path, feed: str) -> Path:
    """The file that passes a feed its newest stored ids."""
    return run_dir / f"{feed}.last"


def save(path: Path, last: Mapping[int, LastIds]) -> None:
    """Write ids for `load`. Raises OSError."""
    path.write_bytes(msgspec.json.encode(last))


def load(path: Path) -> dict[int, LastIds]:
    """Read what `save` wrote; empty if the file is missing or incomplete."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[int, LastIds])
    except (OSError, msgspec.DecodeError):
        return {}


def last_ids(ring: Ring, stored: Mapping[int, LastIds]) -> dict[int, LastIds]:
    """The newest ids of all that the ring still holds, or else those of `stored`.

    Call it as the producer, before anything is published. Raises RingError.
    """
    continuity = Continuity()
    continuity.last.update(stored)
    with ring.consumer(LABEL, Mode.LOSSY, start=OLDEST) as consumer:
        while len(records := consumer.read(BATCH_RECORDS)):
            continuity.add(records)
    return continuity.last
