"""Finds whole sets of series' states in a store; see `derive.series_states`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.series_states import KEPT
from tickplant.records.layouts import Schema
from tickplant.records.merge import join_records
from tickplant.store.selection import Selection
from tickplant.store.stored_checkpoints import is_of

if TYPE_CHECKING:
    from tickplant.store.reader import Store

Records = NDArray[np.void]


class StateSet(NamedTuple):
    """The states of all series of a feed before a tick."""

    source_seq: int  # of that tick
    ts_recv: int  # of that tick
    records: Records  # STATE


def newest_states(store: Store, engine: str, feed: str, ids: frozenset[int]) -> StateSet | None:
    """The newest set of a feed from which an engine can continue; None if there is none. Raises DamageError.

    A set is skipped if it is torn, if its tick is not stored, or if values or bars made before it are not stored: after
    a power cut, each journal ends at another point.

    Args:
        store: the store.
        engine: the engine that wrote the states.
        feed: producer of the ticks.
        ids: instruments of the feed.
    """
    stored = {field: store.next_seq(engine, schema) for schema, field in KEPT.items()}
    for head in _heads(store, engine, ids):
        if all(head[field] <= count for field, count in stored.items()) and is_of(store, feed, head):
            records = set_of(store, engine, head)
            if records is not None:
                return StateSet(int(head["source_seq"]), int(head["ts_recv"]), records)
    return None


def _heads(store: Store, engine: str, ids: frozenset[int]) -> Iterator[np.void]:
    """The first record of each set, newest first."""
    for stretch in store.newest_first(engine, Schema.STATE, Selection(ids=ids)):
        records = store.records(stretch)
        yield from Selection(ids=ids).records(records[records["series"] == 0])[::-1]


def set_of(store: Store, engine: str, head: np.void) -> Records | None:
    """The set that begins with this record; None if its end is missing."""
    first, count = int(head["seq"]), int(head["value_1"]) + 1
    parts = list(store.read(engine, Schema.STATE, Selection(), first_seq=first, last_seq=first + count - 1))
    records = join_records(parts) if parts else np.zeros(0, head.dtype)
    whole = len(records) == count and (records["source_seq"] == head["source_seq"]).all()
    return records if whole and (records["series"][1:] != 0).all() else None
