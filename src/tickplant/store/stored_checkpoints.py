"""Finds checkpoints of books in a store.

A checkpoint is an engine's book before one tick: the records of its journal from a CLEAR to the next LAST. Checkpoints
are a short cut, never the only source: one that is torn, or that cannot be shown to belong to a feed, is skipped.

A checkpoint belongs to the feed whose tick of that seq has the checkpoint's two times. Seq and times settle this even
though an engine may follow several feeds, feeds come and go, and a feed reuses the seqs of lost ticks after a power
cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import TICK, Flag, Kind, Schema
from tickplant.records.merge import join_records
from tickplant.store.selection import Selection

if TYPE_CHECKING:
    from tickplant.store.reader import Store

Records = NDArray[np.void]


class Checkpoint(NamedTuple):
    """Books before a tick."""

    source_seq: int  # of that tick, with which folding continues
    ticks: Records  # CLEAR, LEVEL or ORDER_ADD …, LAST of each book; with times, seq and venue's id of its last tick


def newest(
    store: Store,
    feed: str,
    instrument_id: int,
    *,
    of_orders: bool = False,
    after_seq: int,
    after_ns: int,
    at_ns: int,
    until_seq: int | None = None,
) -> Checkpoint | None:
    """The newest checkpoint of a book from which a fold up to a time may begin, instead of from a snapshot.

    All ticks in a checkpoint were recorded before the tick that it names. If that tick was received by the time
    `at_ns`, the checkpoint holds neither too few nor too many ticks.

    Args:
        store: the store.
        feed: producer of the ticks.
        instrument_id: the book's instrument.
        of_orders: whether it is a book of orders.
        after_seq: seq of the feed's tick from which the fold would begin otherwise.
        after_ns: receive time of that tick.
        at_ns: the time up to which to fold.
        until_seq: seq of the newest tick that the checkpoint may name; None: any.

    Raises:
        DamageError: as `Store` says.
    """
    wanted = Selection(
        ids=frozenset({instrument_id}), kinds=frozenset({Kind.CLEAR}), start_ns=after_ns, end_ns=at_ns + 1
    )
    found: list[Checkpoint] = []
    for engine in store.producers(Schema.CHECKPOINT):
        for head in _heads(store, engine, wanted):
            seq = int(head["source_seq"])
            if bool(head["flags"] & Flag.ON_ORDERS) is not of_orders or (until_seq is not None and seq > until_seq):
                continue
            if seq > after_seq and is_of(store, feed, head) and (ticks := ticks_of(store, engine, head)) is not None:
                found.append(Checkpoint(seq, ticks))
                break
    return max(found, key=lambda checkpoint: checkpoint.source_seq, default=None)


def newest_of_all(
    store: Store,
    engine: str,
    feed: str,
    ids: frozenset[int],
    *,
    begins: Mapping[int, int],
    after_seq: int,
    until_seq: int,
) -> Checkpoint | None:
    """The newest checkpoints from which a single fold of a whole feed may begin.

    Args:
        store: the store.
        engine: the engine that wrote the checkpoints.
        feed: producer of the ticks.
        ids: instruments of the feed.
        begins: by instrument, the seq of the tick from which its book would begin otherwise. If that is older than the
            checkpoints, the book must be among them.
        after_seq: checkpoints at or before this seq are of no use.
        until_seq: seq of the newest tick that they may name.

    Raises:
        DamageError: as `Store` says.
    """
    wanted = Selection(ids=ids, kinds=frozenset({Kind.CLEAR}))
    for seq, group in groupby(_heads(store, engine, wanted), key=lambda head: int(head["source_seq"])):
        heads = list(group)
        if seq <= after_seq:
            return None
        needed = {id_ for id_, begin in begins.items() if begin < seq}
        if seq > until_seq or needed - {int(head["instrument"]) for head in heads} or not is_of(store, feed, heads[0]):
            continue
        ticks = [ticks_of(store, engine, head) for head in heads]
        whole = [part for part in ticks if part is not None]
        if len(whole) == len(ticks):
            return Checkpoint(seq, join_records(whole))
    return None


def _heads(store: Store, engine: str, wanted: Selection) -> Iterator[np.void]:
    """The CLEAR of each checkpoint of an engine, newest first."""
    for stretch in store.newest_first(engine, Schema.CHECKPOINT, wanted, since_ns=wanted.start_ns):
        yield from wanted.records(store.records(stretch))[::-1]


def is_of(store: Store, feed: str, head: np.void) -> bool:
    """Whether the checkpoint or set of states that begins with this record names a tick of the feed."""
    tick = store.record(feed, Schema.TICK, int(head["source_seq"]))
    return tick is not None and tick[["ts_event", "ts_recv"]] == head[["ts_event", "ts_recv"]]


def ticks_of(store: Store, engine: str, head: np.void) -> Records | None:
    """The checkpoint that begins with this record, as ticks; None if its end is missing. Raises DamageError."""
    parts: list[Records] = []
    expected = int(head["seq"])
    for records in store.read(engine, Schema.CHECKPOINT, Selection(), first_seq=expected):
        if int(records[0]["seq"]) != expected:
            return None
        ends = np.flatnonzero(records["flags"] & Flag.LAST)
        parts.append(records[: ends[0] + 1] if len(ends) else records)
        if len(ends):
            break
        expected += len(records)
    else:
        return None
    records = join_records(parts)
    if (records["kind"][1:] == Kind.CLEAR).any():
        return None  # an engine was killed while writing it, and the next engine began another one
    ticks = np.zeros(len(records), TICK)
    for field in ("price", "size", "venue_seq", "instrument", "kind", "side", "flags"):
        ticks[field] = records[field]
    for field in ("ts_event", "ts_recv", "seq"):
        ticks[field] = records[f"book_{field}"]
    orders = ticks["kind"] == Kind.ORDER_ADD
    ticks["order_id"][orders] = records["venue_seq"][orders]
    ticks["venue_seq"] = head["venue_seq"]
    return ticks
