"""The ids after which a feed goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from remains import ring_name

from tickplant.feeds.last_ids import Continuity, LastIds, file_of, last_ids, load, save
from tickplant.records.layouts import TICK, Flag, Kind, Schema, StatusCode
from tickplant.shm.ring import Ring


def ticks(*rows: tuple[Kind, int, int, int]) -> np.ndarray[Any, Any]:
    """Ticks of (kind, instrument, id, flags); the venue's time is ten times the id."""
    records = np.zeros(len(rows), TICK)
    for record, (kind, instrument, ident, flags) in zip(records, rows, strict=True):
        record["kind"], record["instrument"], record["venue_seq"], record["flags"] = kind, instrument, ident, flags
        record["ts_event"] = 10 * ident
    return records


def test_the_newest_id_of_each_stream_counts_whatever_lies_between() -> None:
    continuity = Continuity()
    continuity.add(ticks((Kind.TRADE, 1, 5, 0), (Kind.QUOTE, 1, 7, 0), (Kind.CLEAR, 2, 8, 0), (Kind.TRADE, 2, 1, 0)))
    continuity.add(
        ticks(
            (Kind.TRADE, 1, 6, 0),
            (Kind.TRADE, 1, 3, Flag.BACKFILL),
            (Kind.TRADE, 1, 90, Flag.AGGREGATE),
            (Kind.LEVEL, 1, 70, Flag.PARTIAL),
            (Kind.LEVEL, 2, 9, 0),
            (Kind.GAP, 1, 99, Flag.ON_TRADE),
            (Kind.STATUS, 2, 0, 0),
        )
    )
    assert continuity.last == {
        1: LastIds(trade=(6, 60), agg_trade=(90, 900), quote=(7, 70)),
        2: LastIds(trade=(1, 10), book=(9, 90), live=True),
    }


def test_whether_a_book_is_in_sync_is_what_its_records_say() -> None:
    continuity = Continuity()

    def after(*rows: tuple[Kind, int, int, int]) -> tuple[bool | None, bool]:
        continuity.add(ticks(*rows))
        return continuity.last[1].live, continuity.last[1].snapshot

    snapshot, on_book, on_orders = Flag.SNAPSHOT, Flag.ON_BOOK, Flag.ON_ORDERS
    assert after((Kind.LEVEL, 1, 5, 0)) == (None, False)
    assert after((Kind.CLEAR, 1, 7, snapshot), (Kind.LEVEL, 1, 7, snapshot)) == (True, True)
    assert after((Kind.LEVEL, 1, 8, 0), (Kind.GAP, 1, 9, Flag.ON_TRADE)) == (True, False)
    assert after((Kind.CLEAR, 1, 9, snapshot | Flag.PARTIAL)) == (True, False)
    assert after((Kind.GAP, 1, 9, on_book), (Kind.LEVEL, 1, 10, 0)) == (False, False)
    assert after((Kind.GAP, 1, 9, on_book), (Kind.CLEAR, 1, 11, snapshot)) == (True, True)
    assert after((Kind.CLEAR, 1, 12, on_orders), (Kind.ORDER_ADD, 1, 13, 0)) == (True, False)
    assert continuity.last[1].book == (13, 130)
    assert after((Kind.GAP, 1, 14, on_orders), (Kind.ORDER_ADD, 1, 15, 0)) == (False, False)
    assert after((Kind.CLEAR, 1, 16, on_orders | snapshot)) == (True, True)
    lost = ticks((Kind.STATUS, 1, 0, on_book))
    lost["price"] = StatusCode.DISCONNECTED
    continuity.add(lost)
    assert continuity.last[1].live is False


def test_the_ring_is_asked_first_and_the_file_where_it_is_silent(tmp_path: Path) -> None:
    path = file_of(tmp_path, "feed")
    assert load(path) == {}
    save(path, {1: LastIds(trade=(4, 40), quote=(2, 20)), 3: LastIds(book=(1, 10))})
    with Ring.create(ring_name(), Schema.TICK, 64, epoch=1, doorbell_dir=tmp_path) as ring:
        try:
            with ring.producer() as producer:
                for first in range(0, 200, 50):  # only the newest 64 are still there
                    producer.publish(ticks(*[(Kind.TRADE, 1, first + ident, 0) for ident in range(50)]))
                found = last_ids(ring, load(path))
        finally:
            ring.unlink()
    assert found == {1: LastIds(trade=(199, 1990), quote=(2, 20)), 3: LastIds(book=(1, 10))}


def test_a_torn_file_is_as_good_as_none(tmp_path: Path) -> None:
    path = file_of(tmp_path, "feed")
    save(path, {1: LastIds(trade=(4, 40))})
    path.write_bytes(path.read_bytes()[:-3])
    assert load(path) == {}
