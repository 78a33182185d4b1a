"""Kernel parts that write rows and complete events: rows are stamped, or given to the adapter."""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.raw_text import put_word, word_at
from tickplant.kernels import inlined
from tickplant.records.batch import FLAGS_SHIFT, ORDER_ID, PACKED, PRICE, SIZE, TS_EVENT, TS_RECV, VENUE_SEQ, WORDS
from tickplant.records.layouts import Flag

ROW_BYTES: Final = 8 * WORDS
LAST_FLAG: Final = Flag.LAST << FLAGS_SHIFT


@inlined
def put_level(row: int, price: int, size: int, packed: int) -> None:
    """Write a row, except its times and ids."""
    put_word(row + 8 * PRICE, price)
    put_word(row + 8 * SIZE, size)
    put_word(row + 8 * PACKED, packed)


@inlined
def stamp(row: int, ts_event: int, ts_recv: int, seq: int, order: int) -> None:
    """Write the times and ids of a row."""
    put_word(row + 8 * TS_EVENT, ts_event)
    put_word(row + 8 * TS_RECV, ts_recv)
    put_word(row + 8 * VENUE_SEQ, seq)
    put_word(row + 8 * ORDER_ID, order)


@inlined
def flag_last(row: int) -> None:
    """Flag a row with LAST."""
    put_word(row + 8 * PACKED, word_at(row + 8 * PACKED) | LAST_FLAG)


@inlined
def stamp_rows(first: int, end: int, ts_event: int, ts_recv: int, seq: int) -> None:
    """Complete the rows at these addresses as one event; the last row gets LAST."""
    row = first
    while row < end:
        stamp(row, ts_event, ts_recv, seq, 0)
        row += ROW_BYTES
    if end > first:
        flag_last(end - ROW_BYTES)


@inlined
def put_gift(gift: int, pc: int, slot: int, first: int, count: int, fields: int) -> None:
    """Write what the GIVE at `pc` hands over: `count` rows of the batch, starting at row `first`, and values."""
    put_word(gift, word_at(pc + 8))
    put_word(gift + 8, slot)
    put_word(gift + 16, first)
    put_word(gift + 24, count)
    values = word_at(pc + 16)
    put_word(gift + 32, values)
    for k in range(values):
        put_word(gift + 40 + 8 * k, word_at(fields + word_at(pc + 24 + 8 * k)))
