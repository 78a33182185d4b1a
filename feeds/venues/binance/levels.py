"""Rows of LEVEL and CLEAR records from the level lists of messages."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import numpy as np

from tickplant.feeds.venues.binance.messages import MAX_ID, Id, Levels, RejectError, Snapshot, price, size, to_ns
from tickplant.feeds.venues.binance.scanner import MIN_LEVEL_BYTES, scan_levels, stamp_levels
from tickplant.feeds.venues.binance.text import text_of
from tickplant.instruments import Instrument
from tickplant.records.batch import (
    FLAGS_SHIFT,
    KIND_SHIFT,
    PACKED,
    SIDE_SHIFT,
    WORDS,
    Rows,
)
from tickplant.records.layouts import Flag, Kind, Side


class _RawSnapshot(msgspec.Struct, frozen=True):
    # A Snapshot whose levels are still text.
    id: Annotated[int, msgspec.Meta(ge=-1, le=MAX_ID)] = msgspec.field(name="lastUpdateId")
    bids: msgspec.Raw
    asks: msgspec.Raw
    time: Id = msgspec.field(name="T", default=0)


_RAW_SNAPSHOT: Final = msgspec.json.Decoder(_RawSnapshot)


def packed_word(instrument: Instrument, kind: Kind, side: Side = Side.NONE, flags: int = 0) -> int:
    """Word PACKED of a row."""
    return instrument.id | kind << KIND_SHIFT | side << SIDE_SHIFT | flags << FLAGS_SHIFT


def diff_rows(instrument: Instrument, bids: Levels, asks: Levels, ts_event: int, ts_recv: int, last_id: int) -> Rows:
    """LEVEL rows of one diff: bids, then asks, in wire order, the last with LAST. Raises RejectError."""
    rows = _level_rows(instrument, bids, asks, 0, 0)
    stamp_levels(rows, 0, len(rows), ts_event, ts_recv, last_id)
    return rows


def book_rows(
    instrument: Instrument, bids: Levels, asks: Levels, ts_event: int, ts_recv: int, book_id: int, flags: int
) -> Rows:
    """CLEAR and LEVEL rows of a whole or partial book, all with `flags`, the last with LAST. Raises RejectError."""
    rows = _level_rows(instrument, bids, asks, flags, 1)
    return _complete_book(instrument, rows, ts_event, ts_recv, book_id, flags)


def snapshot_rows(instrument: Instrument, body: bytes, ts_recv: int) -> tuple[int, Rows]:
    """`(lastUpdateId, rows)` of a REST depth answer: thousands of levels, so the scanner reads them.

    Raises RejectError.
    """
    try:
        raw = _RAW_SNAPSHOT.decode(body)
    except msgspec.ValidationError as error:
        raise RejectError("schema", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectError("not json", str(error)) from None
    rows = np.zeros((1 + len(body) // MIN_LEVEL_BYTES, WORDS), np.int64)
    end = 1
    for side, levels in ((Side.BID, raw.bids), (Side.ASK, raw.asks)):
        text = text_of(memoryview(levels))
        packed = packed_word(instrument, Kind.LEVEL, side, Flag.SNAPSHOT)
        scales = instrument.price_scale, instrument.size_scale
        stop, end = scan_levels(text, 0, len(text), packed, *scales, rows, end) if text[0] == ord("[") else (-1, end)
        if stop != len(text):
            return raw.id, _slow_snapshot_rows(instrument, body, ts_recv)
    return raw.id, _complete_book(instrument, rows[:end], to_ns(raw.time), ts_recv, raw.id, Flag.SNAPSHOT)


def _slow_snapshot_rows(instrument: Instrument, body: bytes, ts_recv: int) -> Rows:
    try:
        snapshot = msgspec.json.decode(body, type=Snapshot)
    except msgspec.ValidationError as error:
        raise RejectError("schema", str(error)) from None
    time = to_ns(snapshot.time)
    return book_rows(instrument, snapshot.bids, snapshot.asks, time, ts_recv, snapshot.id, Flag.SNAPSHOT)


def _level_rows(instrument: Instrument, bids: Levels, asks: Levels, flags: int, skip: int) -> Rows:
    rows = np.zeros((skip + len(bids) + len(asks), WORDS), np.int64)
    row = skip
    for side, levels in ((Side.BID, bids), (Side.ASK, asks)):
        packed = packed_word(instrument, Kind.LEVEL, side, flags)
        row = _fill(rows, row, levels, packed, instrument)
    return rows


def _fill(rows: Rows, row: int, levels: Levels, packed: int, instrument: Instrument) -> int:
    for level in levels:
        mantissas = price(level.price, instrument.price_scale), size(level.size, instrument.size_scale)
        rows[row] = (0, 0, *mantissas, 0, 0, packed, 0)
        row += 1
    return row


def _complete_book(instrument: Instrument, rows: Rows, ts_event: int, ts_recv: int, book_id: int, flags: int) -> Rows:
    rows[0, PACKED] = packed_word(instrument, Kind.CLEAR, flags=flags)
    # stamp_levels sets LAST on the last row, which is the CLEAR itself where the book is empty.
    stamp_levels(rows, 0, len(rows), ts_event, ts_recv, max(book_id, 0))
    return rows
