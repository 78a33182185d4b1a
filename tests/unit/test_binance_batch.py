"""The growing batch: rows of integers are ticks, bit by bit."""

from __future__ import annotations

import numpy as np

from tickplant.records.batch import (
    FLAGS_SHIFT,
    KIND_SHIFT,
    ORDER_ID,
    PACKED,
    PRICE,
    SIDE_SHIFT,
    SIZE,
    TS_EVENT,
    TS_RECV,
    VENUE_SEQ,
    WORDS,
    TickBatch,
)
from tickplant.records.layouts import NO_PRICE, TICK, Flag, Kind, Side


def test_the_words_of_a_row_are_the_fields_of_a_tick() -> None:
    offsets = {name: TICK.fields[name][1] for name in TICK.names}
    for name, word in {
        "ts_event": TS_EVENT,
        "ts_recv": TS_RECV,
        "price": PRICE,
        "size": SIZE,
        "venue_seq": VENUE_SEQ,
        "order_id": ORDER_ID,
        "instrument": PACKED,
    }.items():
        assert offsets[name] == 8 * word
    assert TICK.itemsize == 8 * WORDS
    for name, shift in (("kind", KIND_SHIFT), ("side", SIDE_SHIFT), ("flags", FLAGS_SHIFT)):
        assert offsets[name] == 8 * PACKED + shift // 8


def test_what_is_added_comes_out_as_ticks_in_order() -> None:
    batch = TickBatch(1)
    batch.add(
        Kind.GAP,
        2**32 - 1,
        ts_event=1,
        ts_recv=2,
        price=NO_PRICE,
        size=-1,
        venue_seq=2**63 - 1,
        order_id=5,
        side=Side.ASK,
        flags=Flag.OVERFLOW | Flag.LAST,
    )
    batch.add(Kind.TRADE, 1)
    first, second = batch.take().tolist()
    assert first == (1, 2, NO_PRICE, -1, 2**63 - 1, 5, 2**32 - 1, Kind.GAP, Side.ASK, Flag.OVERFLOW | Flag.LAST, 0)
    assert second == (0, 0, 0, 0, 0, 0, 1, Kind.TRADE, 0, 0, 0)
    assert len(batch.take()) == 0


def test_rows_behind_the_end_are_counted_in_when_the_batch_is_extended_by_them() -> None:
    batch = TickBatch(4)
    batch.add(Kind.TRADE, 1)
    batch.rows[1:3, PACKED] = Kind.LEVEL << KIND_SHIFT
    batch.extend(batch.rows[1:3])
    assert batch.take()["kind"].tolist() == [Kind.TRADE, Kind.LEVEL, Kind.LEVEL]
    assert batch.kinds[Kind.LEVEL] == 2


def test_growing_keeps_what_is_there_and_the_memory_is_reused_afterwards() -> None:
    batch = TickBatch(2)
    for n in range(100):
        batch.add(Kind.TRADE, n)
    assert batch.take()["instrument"].tolist() == list(range(100))
    rows = batch.rows
    batch.extend(np.zeros((50, WORDS), np.int64), Kind.TRADE)
    assert batch.rows is rows
    assert batch.kinds[Kind.TRADE] == 150
