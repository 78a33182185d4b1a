"""What a plant stored of one feed, read back as messages of the venue: events in stored order, symbol by symbol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chaos.venue_log import CHANNELS, Channel
from tickplant.instruments import FEED_SYMBOL, Instrument
from tickplant.records.layouts import Flag, Kind, Schema, Side, StatusCode
from tickplant.store.reader import Store
from tickplant.store.selection import Selection

Records = NDArray[np.void]
ON: Final[dict[Channel, Flag]] = {"trade": Flag.ON_TRADE, "quote": Flag.ON_QUOTE, "book": Flag.ON_BOOK}


class Event(NamedTuple):
    """A message as it was stored: `content` in mantissas, shaped as `proof.expected` shapes what was sent."""

    seq: int  # of its first record
    id: int
    content: tuple[Any, ...]
    backfill: bool


class Gap(NamedTuple):
    """A GAP record."""

    seq: int
    cause: int
    last_id: int
    next_id: int  # 0 where nobody knew it
    missing: int


class Clear(NamedTuple):
    """A snapshot."""

    seq: int
    id: int
    levels: tuple[tuple[int, int, int], ...]


class Symbol:
    """All that is stored of one symbol."""

    def __init__(self) -> None:
        self.events: dict[Channel, list[Event]] = {channel: [] for channel in CHANNELS}
        self.gaps: dict[Channel, list[Gap]] = {channel: [] for channel in CHANNELS}
        self.clears: list[Clear] = []
        self.interruptions: list[int] = []  # seq of every DISCONNECTED
        self.torn: list[int] = []  # seq of records that are no whole message
        self.scales = (0, 0)


class Stored:
    """Everything of one feed. `symbols` by name; `records` counts all of them."""

    def __init__(self, data_dir: Path, producer: str) -> None:
        self.records = 0
        self.first_seq = -1
        self.next_seq = 0
        self.holes: list[tuple[int, int]] = []  # seq expected, seq found
        self.rejected_unknown = 0  # GAP REJECTED on `*`
        store = Store(data_dir)
        table = {row.id: row for row in store.instruments}
        parts: dict[int, list[Records]] = {ident: [] for ident in table}
        for records in store.read(producer, Schema.TICK, Selection()):
            self._follow(records["seq"])
            self.records += len(records)
            for ident in np.unique(records["instrument"]).tolist():
                parts[ident].append(records[records["instrument"] == ident])
        of = {ident: np.concatenate(part) for ident, part in parts.items() if part}
        self.symbols: dict[str, Symbol] = {}
        for ident, records in of.items():
            if table[ident].symbol == FEED_SYMBOL:
                self.rejected_unknown += int((records["kind"] == Kind.GAP).sum())
            else:
                self._take(table[ident], records)

    def _follow(self, seqs: NDArray[np.uint64]) -> None:
        if self.first_seq < 0:
            self.first_seq = self.next_seq = int(seqs[0])
        steps = np.flatnonzero(np.diff(seqs.astype(np.int64)) != 1)
        if int(seqs[0]) != self.next_seq:
            self.holes.append((self.next_seq, int(seqs[0])))
        self.holes += [(int(seqs[at]) + 1, int(seqs[at + 1])) for at in steps.tolist()]
        self.next_seq = int(seqs[-1]) + 1

    def _take(self, row: Instrument, records: Records) -> None:
        symbol = self.symbols.setdefault(row.symbol, Symbol())
        symbol.scales = (row.price_scale, row.size_scale)
        symbol.interruptions += _disconnects(records)
        for channel, flag in ON.items():
            gaps = records[(records["kind"] == Kind.GAP) & ((records["flags"] & flag) != 0)]
            symbol.gaps[channel] += [
                Gap(*(int(gap[name]) for name in ("seq", "price", "order_id", "venue_seq", "size"))) for gap in gaps
            ]
        trades = records[records["kind"] == Kind.TRADE]
        columns = (trades[name].tolist() for name in ("seq", "venue_seq", "price", "size", "side", "ts_event", "flags"))
        symbol.events["trade"] += [
            Event(seq, ident, (price, size, side == Side.SELL, time), bool(flags & Flag.BACKFILL))
            for seq, ident, price, size, side, time, flags in zip(*columns, strict=True)
        ]
        for event in _whole(records[records["kind"] == Kind.QUOTE], symbol):
            if len(event) == 2 and event["side"].tolist() == [Side.BID, Side.ASK]:
                content = (*event[["price", "size"]][0].item(), *event[["price", "size"]][1].item())
                symbol.events["quote"].append(Event(int(event[0]["seq"]), int(event[0]["venue_seq"]), content, False))
            else:
                symbol.torn.append(int(event[0]["seq"]))
        book = records[(records["kind"] == Kind.LEVEL) | (records["kind"] == Kind.CLEAR)]
        for event in _whole(book, symbol):
            seq, ident = int(event[0]["seq"]), int(event[0]["venue_seq"])
            snapshot = event[0]["kind"] == Kind.CLEAR
            levels = tuple(event[int(snapshot) :][["side", "price", "size"]].tolist())
            if snapshot:
                symbol.clears.append(Clear(seq, ident, levels))
            else:
                symbol.events["book"].append(Event(seq, ident, (levels,), False))


def _whole(records: Records, symbol: Symbol) -> Iterator[Records]:
    """Records cut behind each LAST; one message each. What is none is noted in `symbol.torn`."""
    ends = np.flatnonzero((records["flags"] & Flag.LAST) != 0) + 1
    start = 0
    for end in ends.tolist():
        event = records[start:end]
        start = end
        if (event["venue_seq"] != event[0]["venue_seq"]).any():
            symbol.torn.append(int(event[0]["seq"]))
        else:
            yield event
    if start < len(records):
        symbol.torn.append(int(records[start]["seq"]))


def _disconnects(records: Records) -> list[int]:
    chosen = (records["kind"] == Kind.STATUS) & (records["price"] == StatusCode.DISCONNECTED)
    return [int(seq) for seq in records["seq"][chosen]]
