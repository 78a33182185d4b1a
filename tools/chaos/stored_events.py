"""What a plant stored of one feed, read back as messages of the venue: events in stored order, symbol by symbol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chaos.venue_log import BUCKET_IDS, CHANNELS, Channel
from tickplant.instruments import FEED_SYMBOL, Instrument
from tickplant.records.layouts import Flag, Kind, Schema, Side, StatusCode
from tickplant.store.reader import Store
from tickplant.store.selection import Selection

Records = NDArray[np.void]
ON: Final[dict[Channel, Flag]] = {"trade": Flag.ON_TRADE, "quote": Flag.ON_QUOTE, "book": Flag.ON_BOOK}


KINDS: Final[dict[Channel, tuple[Kind, ...]]] = {
    "trade": (Kind.TRADE,),
    "quote": (Kind.QUOTE,),
    "book": (Kind.LEVEL, Kind.CLEAR),
}
_NEVER: Final = 1 << 64


class Event(NamedTuple):
    """A stored message: `content` in mantissas, in the form that `proof.expected` gives what was sent."""

    seq: int  # of its first record
    id: int
    content: tuple[Any, ...]
    backfill: bool


class Gap(NamedTuple):
    """A GAP record."""

    seq: int
    cause: int
    last_id: int
    next_id: int  # 0 if unknown
    missing: int


class Clear(NamedTuple):
    """A snapshot."""

    seq: int
    id: int
    levels: tuple[tuple[int, int, int], ...]


class Extent:
    """Where the messages of one symbol and channel are stored; ids exclude snapshots.

    Attributes:
        first_seq: lowest seq.
        ids: lowest and highest id.
        last_seq: seq of the highest id.
        spans: by bucket of ids, lowest and highest seq, snapshots included.
    """

    def __init__(self) -> None:
        self.first_seq = _NEVER
        self.ids = (_NEVER, -1)
        self.last_seq = -1
        self.spans: dict[int, tuple[int, int]] = {}

    def take(self, records: Records) -> None:
        """Add records."""
        buckets = records["venue_seq"] // BUCKET_IDS
        for bucket in np.unique(buckets).tolist():
            seqs = records["seq"][buckets == bucket]
            low, high = self.spans.get(bucket, (_NEVER, -1))
            self.spans[bucket] = min(low, int(seqs[0])), max(high, int(seqs[-1]))
        changes = records[(records["flags"] & Flag.SNAPSHOT) == 0]
        if len(changes):
            ids = changes["venue_seq"]
            low, high = self.ids
            if int(ids.max()) > high:
                self.last_seq = int(changes["seq"][ids.argmax()])
            self.ids = min(low, int(ids.min())), max(high, int(ids.max()))
            self.first_seq = min(self.first_seq, int(changes["seq"][0]))


class Symbol:
    """What is kept of one symbol; `Stored.load` reads its messages."""

    def __init__(self) -> None:
        self.instruments: set[int] = set()
        self.extents: dict[Channel, Extent] = {channel: Extent() for channel in CHANNELS}
        self.gaps: dict[Channel, list[Gap]] = {channel: [] for channel in CHANNELS}
        self.changes: list[tuple[int, int]] = []  # seq of the last record, and id, of every change of the book
        self.clears: list[tuple[int, int]] = []  # the same for every snapshot
        self.interruptions: list[int] = []  # seq of every DISCONNECTED
        self.torn: set[int] = set()  # seq of records that form no whole message
        self.scales = (0, 0)

    def take(self, records: Records) -> None:
        """Add records, in stored order."""
        kinds, flags = records["kind"], records["flags"]
        ended = (kinds == Kind.STATUS) & (records["price"] == StatusCode.DISCONNECTED)
        self.interruptions += records["seq"][ended].tolist()
        gaps = records[kinds == Kind.GAP]
        for channel, flag in ON.items():
            self.gaps[channel] += [
                Gap(*(int(gap[name]) for name in ("seq", "price", "order_id", "venue_seq", "size")))
                for gap in gaps[(gaps["flags"] & flag) != 0]
            ]
        for channel, extent in self.extents.items():
            of = records[np.isin(kinds, KINDS[channel])]
            if len(of):
                extent.take(of)
        ends = np.isin(kinds, KINDS["book"]) & ((flags & Flag.LAST) != 0)
        snapshots = (flags & Flag.SNAPSHOT) != 0
        for chosen, noted in ((ends & ~snapshots, self.changes), (ends & snapshots, self.clears)):
            noted.extend(zip(records["seq"][chosen].tolist(), records["venue_seq"][chosen].tolist(), strict=True))


class Stored:
    """Everything of one feed. `symbols` by name; `records` counts all records."""

    def __init__(self, data_dir: Path, producer: str) -> None:
        self.records = 0
        self.first_seq = -1
        self.next_seq = 0
        self.holes: list[tuple[int, int]] = []  # seq expected, seq found
        self.symbols: dict[str, Symbol] = {}
        self._store = Store(data_dir)
        self._producer = producer
        table = {row.id: row for row in self._store.instruments}
        for records in self._store.read(producer, Schema.TICK, Selection()):
            self._follow(records["seq"])
            self.records += len(records)
            for ident in np.unique(records["instrument"]).tolist():
                self._take(table[ident], records[records["instrument"] == ident])

    def load(self, name: str, channel: Channel, bucket: int) -> tuple[list[Event], list[Clear]]:
        """The messages of a bucket of ids, in stored order."""
        symbol = self.symbols[name]
        span = symbol.extents[channel].spans.get(bucket)
        if span is None:
            return [], []
        selection = Selection(ids=frozenset(symbol.instruments), kinds=frozenset(map(int, KINDS[channel])))
        parts = [
            records[records["venue_seq"] // BUCKET_IDS == bucket]
            for records in self._store.read(self._producer, Schema.TICK, selection, first_seq=span[0], last_seq=span[1])
        ]
        records = np.concatenate(parts)
        if channel == "trade":
            return _trades(records), []
        whole = _whole(records, symbol)
        return (_quotes(whole, symbol), []) if channel == "quote" else _book(whole)

    def _follow(self, seqs: NDArray[np.uint64]) -> None:
        if self.first_seq < 0:
            self.first_seq = self.next_seq = int(seqs[0])
        steps = np.flatnonzero(np.diff(seqs.astype(np.int64)) != 1)
        if int(seqs[0]) != self.next_seq:
            self.holes.append((self.next_seq, int(seqs[0])))
        self.holes += [(int(seqs[at]) + 1, int(seqs[at + 1])) for at in steps.tolist()]
        self.next_seq = int(seqs[-1]) + 1

    def _take(self, row: Instrument, records: Records) -> None:
        if row.symbol == FEED_SYMBOL:
            return
        symbol = self.symbols.setdefault(row.symbol, Symbol())
        symbol.instruments.add(row.id)
        symbol.scales = (row.price_scale, row.size_scale)
        symbol.take(records)


def _trades(records: Records) -> list[Event]:
    columns = (records[name].tolist() for name in ("seq", "venue_seq", "price", "size", "side", "ts_event", "flags"))
    return [
        Event(seq, ident, (price, size, side == Side.SELL, time), bool(flags & Flag.BACKFILL))
        for seq, ident, price, size, side, time, flags in zip(*columns, strict=True)
    ]


def _quotes(messages: Iterator[Records], symbol: Symbol) -> list[Event]:
    found = []
    for records in messages:
        (seq, *_), (ident, *_), sides, *_ = columns = [
            records[name].tolist() for name in ("seq", "venue_seq", "side", "price", "size")
        ]
        if sides == [Side.BID, Side.ASK]:
            (bid, ask), (bid_size, ask_size) = columns[3:]
            found.append(Event(seq, ident, (bid, bid_size, ask, ask_size), False))
        else:
            symbol.torn.add(seq)
    return found


def _book(messages: Iterator[Records]) -> tuple[list[Event], list[Clear]]:
    changes, clears = [], []
    for records in messages:
        seq, ident = int(records[0]["seq"]), int(records[0]["venue_seq"])
        snapshot = records[0]["kind"] == Kind.CLEAR
        levels = tuple(records[int(snapshot) :][["side", "price", "size"]].tolist())
        if snapshot:
            clears.append(Clear(seq, ident, levels))
        else:
            changes.append(Event(seq, ident, (levels,), False))
    return changes, clears


def _whole(records: Records, symbol: Symbol) -> Iterator[Records]:
    """Records divided after each LAST; each part is one message. Invalid ones are noted in `symbol.torn`."""
    ends = np.flatnonzero((records["flags"] & Flag.LAST) != 0) + 1
    start = 0
    for end in ends.tolist():
        event = records[start:end]
        start = end
        if (event["venue_seq"] != event[0]["venue_seq"]).any():
            symbol.torn.add(int(event[0]["seq"]))
        else:
            yield event
    if start < len(records):
        symbol.torn.add(int(records[start]["seq"]))
