"""Rows of LEVEL and CLEAR records from the level lists of messages."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from tickplant.feeds.kit.shape_reader import ShapeReader
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.state_table import INSTRUMENT, PRICE_SCALE, SIZE_SCALE, STATE_COLUMNS
from tickplant.feeds.kit.symbols import SymbolTable
from tickplant.feeds.venues.binance import shapes
from tickplant.feeds.venues.binance.messages import Levels, RejectError, Snapshot, price, size, to_ns
from tickplant.instruments import Instrument
from tickplant.records.batch import (
    FLAGS_SHIFT,
    KIND_SHIFT,
    PACKED,
    SIDE_SHIFT,
    TS_EVENT,
    TS_RECV,
    VENUE_SEQ,
    WORDS,
    Rows,
    TickBatch,
)
from tickplant.records.layouts import Flag, Kind, Side

_SHAPES: Final = Shapes(shapes.SNAPSHOTS)
_LEVEL_BYTES: Final = 9  # of a level, with its comma, at the least
_NAME: Final = "symbol"  # of the instrument, whichever it is, in a table of its own


def packed_word(instrument: Instrument, kind: Kind, side: Side = Side.NONE, flags: int = 0) -> int:
    """Word PACKED of a row."""
    return instrument.id | kind << KIND_SHIFT | side << SIDE_SHIFT | flags << FLAGS_SHIFT


def diff_rows(instrument: Instrument, bids: Levels, asks: Levels, ts_event: int, ts_recv: int, last_id: int) -> Rows:
    """LEVEL rows of one diff: bids, then asks, in wire order, the last with LAST. Raises RejectError."""
    rows = _level_rows(instrument, bids, asks, 0, 0)
    _stamp(rows, ts_event, ts_recv, last_id)
    return rows


def book_rows(
    instrument: Instrument, bids: Levels, asks: Levels, ts_event: int, ts_recv: int, book_id: int, flags: int
) -> Rows:
    """CLEAR and LEVEL rows of a whole or partial book, all with `flags`, the last with LAST. Raises RejectError."""
    rows = _level_rows(instrument, bids, asks, flags, 1)
    return _complete_book(instrument, rows, ts_event, ts_recv, book_id, flags)


def snapshot_rows(instrument: Instrument, body: bytes, ts_recv: int) -> tuple[int, Rows]:
    """`(lastUpdateId, rows)` of a REST depth answer: thousands of levels, so the kernel of shapes reads them.

    Raises RejectError.
    """
    state = np.zeros((1, STATE_COLUMNS), np.int64)
    state[0, [INSTRUMENT, PRICE_SCALE, SIZE_SCALE]] = instrument.id, instrument.price_scale, instrument.size_scale
    symbols = SymbolTable()
    symbols.add(_NAME, 0)
    books: list[tuple[int, Rows]] = []

    def give(_: int, slot: int, levels: Rows, values: list[int], ts: int) -> None:
        rows = np.concatenate([np.zeros((1, WORDS), np.int64), levels])
        ident, ts_event = values
        books.append((ident, _complete_book(instrument, rows, ts_event, ts, ident, Flag.SNAPSHOT)))

    def refer(_: bytes, ts: int) -> None:
        books.append(_slow_snapshot_rows(instrument, body, ts))

    batch = TickBatch(1 + len(body) // _LEVEL_BYTES)
    frame = b'{"symbol":"%s","answer":%s}' % (_NAME.encode(), body)
    ShapeReader(_SHAPES, symbols, state).read((frame,), ts_recv, batch, refer, give)
    return books[0]


def _slow_snapshot_rows(instrument: Instrument, body: bytes, ts_recv: int) -> tuple[int, Rows]:
    try:
        snapshot = msgspec.json.decode(body, type=Snapshot)
    except msgspec.ValidationError as error:
        raise RejectError("schema", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectError("not json", str(error)) from None
    time = to_ns(snapshot.time)
    rows = book_rows(instrument, snapshot.bids, snapshot.asks, time, ts_recv, snapshot.id, Flag.SNAPSHOT)
    return snapshot.id, rows


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
    _stamp(rows, ts_event, ts_recv, max(book_id, 0))
    return rows


def _stamp(rows: Rows, ts_event: int, ts_recv: int, venue_seq: int) -> None:
    # Complete rows as one atomic event. The last one may be the CLEAR itself, where the book is empty.
    rows[:, [TS_EVENT, TS_RECV, VENUE_SEQ]] = ts_event, ts_recv, venue_seq
    rows[-1:, PACKED] |= Flag.LAST << FLAGS_SHIFT
