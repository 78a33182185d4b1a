"""Checkpoints: whole books as records, as they were before a tick."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.derivation import Derivation
from tickplant.records.layouts import CHECKPOINT, Kind, Schema

if TYPE_CHECKING:
    from tickplant.books.market_books import MarketBooks

Records = NDArray[np.void]


def checkpoint(ticks: Records, tick: np.void) -> Records:
    """A book just before `tick`, as CHECKPOINT records with `seq` 0: CLEAR, bids, asks, the last with LAST.

    Args:
        ticks: the book's snapshot, from `MarketBooks.whole`.
        tick: the next tick.
    """
    records = np.zeros(len(ticks), CHECKPOINT)
    for field in ("price", "size", "venue_seq", "instrument", "kind", "side", "flags"):
        records[field] = ticks[field]
    # The CLEAR keeps the venue's id of the last tick, whatever follows.
    orders = ticks["kind"] == Kind.ORDER_ADD
    records["venue_seq"][orders] = ticks["order_id"][orders]
    for field in ("ts_event", "ts_recv", "seq"):
        records[f"book_{field}"] = ticks[field]
    records["ts_event"], records["ts_recv"], records["source_seq"] = tick["ts_event"], tick["ts_recv"], tick["seq"]
    return records


class BookCheckpoints:
    """Checkpoints of all books of a feed at one tick, so that a recovery finds them in one place."""

    at_begin = False

    def __init__(self, books: MarketBooks) -> None:
        self._books = books

    def at(self, tick: np.void, _positions: Mapping[Schema, int]) -> Iterator[Records]:
        """The books that are exactly what the ticks say, an array each."""
        return (checkpoint(book, tick) for book in self._books.whole())


CHECKPOINTS: Final = Derivation(
    schema=Schema.CHECKPOINT,
    moment=lambda bench: BookCheckpoints(bench.books),
    begins=Kind.CLEAR,
    reference="books.plain_books.DictBooks",
)
