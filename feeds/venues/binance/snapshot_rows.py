"""Rows of whole books from Binance's REST answers."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from tickplant.feeds.kit.level_rows import book_rows, complete_book
from tickplant.feeds.kit.numbers import epoch_ns
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.shape_reader import ShapeReader
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.state_table import INSTRUMENT, PRICE_SCALE, SIZE_SCALE, STATE_COLUMNS
from tickplant.feeds.kit.symbols import SymbolTable
from tickplant.feeds.venues.binance import shapes
from tickplant.feeds.venues.binance.messages import Snapshot
from tickplant.instruments import Instrument
from tickplant.records.batch import WORDS, Rows, TickBatch
from tickplant.records.layouts import Flag

_SHAPES: Final = Shapes(shapes.SNAPSHOTS)
_LEVEL_BYTES: Final = 9  # least bytes of a level with its comma
_NAME: Final = "symbol"  # stands for any instrument, in a table of its own


def snapshot_rows(instrument: Instrument, body: bytes, ts_recv: int) -> tuple[int, Rows]:
    """`(lastUpdateId, rows)` of a REST depth answer. It has thousands of levels, so the kernel of shapes reads them.

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
        books.append((ident, complete_book(instrument, rows, ts_event, ts, ident, Flag.SNAPSHOT)))

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
    time = epoch_ns(snapshot.time)
    rows = book_rows(instrument, snapshot.bids, snapshot.asks, time, ts_recv, snapshot.id, Flag.SNAPSHOT)
    return snapshot.id, rows
