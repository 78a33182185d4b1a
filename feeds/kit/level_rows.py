"""Rows of LEVEL and CLEAR records from the level lists of messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tickplant.feeds.kit.numbers import price, size
from tickplant.instruments import Instrument
from tickplant.records.batch import (
    FLAGS_SHIFT,
    KIND_SHIFT,
    PACKED,
    PRICE,
    SIDE_SHIFT,
    SIZE,
    TS_EVENT,
    TS_RECV,
    VENUE_SEQ,
    WORDS,
    Rows,
)
from tickplant.records.layouts import Flag, Kind, Side


class TextLevel(Protocol):
    """A level as sent on the wire."""

    @property
    def price(self) -> str:
        """A decimal."""
        ...

    @property
    def size(self) -> str:
        """A decimal; 0 removes the level."""
        ...


Levels = Sequence[TextLevel]


def packed_word(instrument: Instrument, kind: Kind, side: Side = Side.NONE, flags: int = 0) -> int:
    """Word PACKED of a row."""
    return instrument.id | kind << KIND_SHIFT | side << SIDE_SHIFT | flags << FLAGS_SHIFT


def event_rows(instrument: Instrument, bids: Levels, asks: Levels, ts_event: int, ts_recv: int, venue_seq: int) -> Rows:
    """LEVEL rows of one book event: bids, then asks, in wire order, the last with LAST. Raises RejectError."""
    rows = _level_rows(instrument, bids, asks, 0, 0)
    _stamp(rows, ts_event, ts_recv, venue_seq)
    return rows


def book_rows(
    instrument: Instrument, bids: Levels, asks: Levels, ts_event: int, ts_recv: int, book_id: int, flags: int
) -> Rows:
    """CLEAR and LEVEL rows of a whole or partial book, all with `flags`, the last with LAST. Raises RejectError."""
    rows = _level_rows(instrument, bids, asks, flags, 1)
    return complete_book(instrument, rows, ts_event, ts_recv, book_id, flags)


def change_rows(
    instrument: Instrument, changes: Sequence[tuple[Side, str, str]], ts_event: int, ts_recv: int, flags: int = 0
) -> Rows:
    """LEVEL rows of one book event with all changes (side, price, size) in one list. Raises RejectError."""
    rows = np.zeros((len(changes), WORDS), np.int64)
    words = {side: packed_word(instrument, Kind.LEVEL, side, flags) for side in (Side.BID, Side.ASK)}
    scales = instrument.price_scale, instrument.size_scale
    if changes:
        rows[:, PRICE : SIZE + 1] = [
            (price(number, scales[0]), size(amount, scales[1])) for _, number, amount in changes
        ]
        rows[:, PACKED] = [words[side] for side, _, _ in changes]
    _stamp(rows, ts_event, ts_recv, 0)
    return rows


def whole_book(instrument: Instrument, levels: Rows, ts_event: int, ts_recv: int, book_id: int = 0) -> Rows:
    """A CLEAR, then LEVEL rows with flag SNAPSHOT, bids first, as one atomic event; a copy."""
    sides = levels[:, PACKED] >> SIDE_SHIFT & 0xFF
    rows = np.concatenate([np.zeros((1, WORDS), np.int64), levels[np.argsort(sides, kind="stable")]])
    rows[:, PACKED] &= ~(Flag.LAST << FLAGS_SHIFT)
    return complete_book(instrument, rows, ts_event, ts_recv, book_id, Flag.SNAPSHOT)


def checked_rows(
    instrument: Instrument,
    bids: Levels,
    asks: Levels,
    ts_event: int,
    ts_recv: int,
    checksum: int | None,
    *,
    snapshot: bool,
    asks_first: bool = False,
) -> Rows:
    """LEVEL rows of one book event, after a CLEAR if it is a whole book, then its CHECKSUM. Raises RejectError.

    `checksum`: None where the venue sends none; that row is then left out. `asks_first`: the venue sends asks first;
    rows keep the wire order, as those of its shape do.
    """
    flags = Flag.SNAPSHOT if snapshot else 0
    levels = _level_rows(instrument, bids, asks, flags, int(snapshot), asks_first=asks_first)
    if snapshot:
        levels[0, PACKED] = packed_word(instrument, Kind.CLEAR, flags=flags)
    rows = np.concatenate([levels, np.zeros((1, WORDS), np.int64)])
    rows[-1, [SIZE, PACKED]] = checksum or 0, packed_word(instrument, Kind.CHECKSUM, flags=flags)
    _stamp(rows, ts_event, ts_recv, 0)
    return without_checksum(rows) if checksum is None else rows


def without_checksum(rows: Rows) -> Rows:
    """Rows of `checked_rows`, or of a Stamp, without their CHECKSUM, whose number the venue sent without meaning."""
    rows = rows[:-1]
    rows[-1:, PACKED] |= Flag.LAST << FLAGS_SHIFT
    return rows


def _level_rows(
    instrument: Instrument, bids: Levels, asks: Levels, flags: int, skip: int, *, asks_first: bool = False
) -> Rows:
    rows = np.zeros((skip + len(bids) + len(asks), WORDS), np.int64)
    row = skip
    sides = ((Side.BID, bids), (Side.ASK, asks))
    for side, levels in reversed(sides) if asks_first else sides:
        end = row + len(levels)
        # One assignment for all: one per row would cost as much as reading its numbers.
        if levels:
            rows[row:end, PRICE : SIZE + 1] = [
                (price(level.price, instrument.price_scale), size(level.size, instrument.size_scale))
                for level in levels
            ]
        rows[row:end, PACKED] = packed_word(instrument, Kind.LEVEL, side, flags)
        row = end
    return rows


def complete_book(instrument: Instrument, rows: Rows, ts_event: int, ts_recv: int, book_id: int, flags: int) -> Rows:
    """Complete LEVEL rows after one empty row, which becomes the CLEAR, as one atomic event; returns them."""
    rows[0, PACKED] = packed_word(instrument, Kind.CLEAR, flags=flags)
    _stamp(rows, ts_event, ts_recv, max(book_id, 0))
    return rows


def _stamp(rows: Rows, ts_event: int, ts_recv: int, venue_seq: int) -> None:
    # Complete rows as one atomic event. The last row may be the CLEAR itself, if the book is empty.
    rows[:, [TS_EVENT, TS_RECV, VENUE_SEQ]] = ts_event, ts_recv, venue_seq
    rows[-1:, PACKED] |= Flag.LAST << FLAGS_SHIFT
