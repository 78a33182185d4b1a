"""The stored records of a topic, by the seqs of its producer: the answers of the history service.

Stateless: a request names producer, schema, instruments, channel and seqs, so any process with the data directory can
answer it, now or years later.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.registry import BY_SCHEMA, schema_of
from tickplant.derive.series import SeriesTable
from tickplant.instruments import Instrument
from tickplant.records.channel_masks import tick_channels
from tickplant.records.layouts import DTYPES, Schema
from tickplant.records.merge import join_records
from tickplant.records.schemas import FACTS
from tickplant.runtime.control import Passage
from tickplant.store.reader import OnDamage, Store
from tickplant.store.recent_chunks import RecentChunks
from tickplant.store.selection import Selection
from tickplant.wire import (
    MESSAGE_RECORDS,
    TICK_CHANNELS,
    GetHistory,
    History,
    Range,
    Refused,
    Reply,
    encode,
    pack_header,
    split_topic,
)
from tickplant.writer.index import Damage, WhileReading

Records = NDArray[np.void]

REPLY_BYTES: Final = 1 << 20
"""A reply ends once it has reached this size."""

READ_S: Final = 3.0
"""A reply ends after this long, with what has been read, since other requests wait."""

PATIENCE_S: Final = 8.0
"""A passage must be read to its end; a passage that takes longer than this is given up."""


class TopicHistory:
    """Answers requests from one store. Not thread-safe.

    Args:
        data_dir: the store.
        on_damage: called with any damage found; no answer skips over damage.
        while_reading: called for each file and chunk that is read.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        on_damage: OnDamage = lambda _: None,
        while_reading: WhileReading = lambda: None,
    ) -> None:
        self.store = Store(data_dir, on_damage=self._found_damage, while_reading=while_reading)
        self._table = self.store.instruments
        self._chunks = RecentChunks()
        self._on_damage = on_damage
        self._damage: Damage | None = None  # the first damage since a reading began

    def _found_damage(self, damage: Damage) -> None:
        self._damage = self._damage or damage
        self._on_damage(damage)

    def passage(self, wanted: Passage) -> list[bytes]:
        """A Range and its frames, or else the passage's `otherwise`. Raises StoreError.

        Both ends of the passage and its number of records must agree with what the topic carried: records that are
        damaged, or not durable yet, are not skipped.
        """
        schema = Schema(wanted.schema)
        channel = split_topic(wanted.topic)[2]
        kept: list[Records] = []
        found = 0
        first_seq = last_seq = -1
        until_s = time.monotonic() + PATIENCE_S
        end = wanted.skip + min(wanted.count, REPLY_BYTES // DTYPES[schema].itemsize)
        ids = frozenset({wanted.instrument})
        for records in self._topic(wanted.producer, schema, channel, ids, wanted.first_seq, wanted.last_seq):
            first_seq = int(records[0]["seq"]) if not found else first_seq
            last_seq = int(records[-1]["seq"])
            part = records[max(0, wanted.skip - found) : max(0, end - found)]
            found += len(records)
            if len(part):
                kept.append(part)
            if time.monotonic() > until_s:
                return [wanted.otherwise]
        if (first_seq, last_seq, found) != (wanted.first_seq, wanted.last_seq, wanted.records):
            return [wanted.otherwise]
        scales = {wanted.instrument: (wanted.price_scale, wanted.size_scale)}
        frames = _messages(join_records(kept), schema, wanted.producer, scales, wanted.epoch, wanted.first)
        last = wanted.first + sum(map(len, kept)) - 1
        return [encode(Range(wanted.id, wanted.epoch, wanted.topic, wanted.first, last, len(frames) // 2)), *frames]

    def history(self, asked: GetHistory) -> list[bytes]:
        """A History and its frames. Raises StoreError."""
        reply, frames = self._history(asked)
        return [encode(reply), *frames]

    def _history(self, asked: GetHistory) -> tuple[Reply, list[bytes]]:
        try:
            venue, symbol, channel = split_topic(asked.topic)
            schema = schema_of(channel)
        except ValueError as error:
            return Refused(asked.id, str(error)), []
        self._table.reload()
        rows = self._table.find(venue, symbol)
        if not rows or asked.producer not in self.store.producers(schema):
            return Refused(asked.id, f"the store has no records of {asked.topic} by {asked.producer!r}"), []
        if not 0 <= asked.first_seq <= asked.last_seq < 2**62:
            return Refused(asked.id, f"{asked.first_seq} to {asked.last_seq} is not a range of seqs"), []
        ids = frozenset(row.id for row in rows)
        end, resume = stored_until(self.store, asked.producer, schema, ids, asked.first_seq, asked.last_seq)
        kept: list[Records] = []
        left = REPLY_BYTES // DTYPES[schema].itemsize
        until_s = time.monotonic() + READ_S
        if end >= asked.first_seq:
            for records in self._topic(asked.producer, schema, channel, ids, asked.first_seq, end):
                if self._damage is not None:
                    break
                kept.append(records[:left])
                left -= len(kept[-1])
                if not left or time.monotonic() > until_s:
                    # End with a record of the topic, so that the next reply begins after one: see `_carried`.
                    end = int(kept[-1][-1]["seq"])
                    resume = end + 1
                    break
        if (damage := self._damage) is not None:
            known = int(kept[-1][-1]["seq"]) if kept else asked.first_seq - 1
            end = max(known, min(end, (damage.first_seq or 0) - 1))
            resume = asked.last_seq + 1 if damage.last_seq is None else max(damage.last_seq, end) + 1
        records = join_records(kept) if kept else np.zeros(0, DTYPES[schema])
        frames = _messages(records, schema, asked.producer, _scales(rows), 0, 0)
        return History(asked.id, asked.topic, asked.producer, end, resume, len(frames) // 2), frames

    def _topic(
        self, producer: str, schema: Schema, channel: str, ids: frozenset[int], first_seq: int, last_seq: int
    ) -> Iterator[Records]:
        """The records of a topic from one seq to another, chunk by chunk, in non-empty arrays."""
        self._damage = None
        carried = _carried(ids, channel)
        seqs = {"first_seq": first_seq, "last_seq": last_seq}
        for records in self.store.read(producer, schema, Selection(ids=ids), **seqs, decode=self._chunks.decode):
            chosen = _of_channel(records, schema, channel, carried, self.store.series)
            if len(chosen):
                yield chosen


def stored_until(
    store: Store, producer: str, schema: Schema, ids: frozenset[int], first_seq: int, last_seq: int
) -> tuple[int, int]:
    """Up to which seq all records of these instruments are stored, from `first_seq` on, and where they continue.

    Uses indexes and manifests only. The first result is `first_seq - 1` if that record itself is missing. Raises
    StoreError.
    """
    at = first_seq
    segments = store.segments(producer, schema)
    for place, segment in enumerate(segments):
        if at > last_seq:
            break
        if segment.last_seq is not None and segment.last_seq < at:
            continue
        if segment.first_seq > at:
            return at - 1, segment.first_seq
        if segment.span is not None:
            manifest = store.indexes.manifest_of(segment)
            if manifest is None or any(file.removed and ids.intersection(file.instruments) for file in manifest.files):
                return at - 1, (segment.last_seq or at) + 1
            at = (segment.last_seq or 0) + 1
            continue
        heads = store.indexes.contents(segments, place).entries["header"]
        heads = heads[heads["last_seq"] >= at]
        if not len(heads):
            continue
        firsts, lasts = heads["first_seq"].astype(np.int64), np.maximum.accumulate(heads["last_seq"].astype(np.int64))
        holes = np.flatnonzero(firsts > np.concatenate([[at - 1], lasts[:-1]]) + 1)
        if len(holes):
            hole = int(holes[0])
            end = int(lasts[hole - 1]) if hole else at - 1
            if end < last_seq:
                return end, int(firsts[hole])
        at = int(lasts[-1]) + 1
    return min(at - 1, last_seq), min(at, last_seq + 1)


def _carried(ids: frozenset[int], channel: str) -> NDArray[np.uint32]:
    """The state of `tick_channels` after a record of the topic: a GAP belongs to it, until a trade says otherwise."""
    carried = np.zeros(max(ids, default=0) + 1, np.uint32)
    if channel in TICK_CHANNELS:
        carried[list(ids)] = 1 << TICK_CHANNELS.index(channel)
    return carried


def _of_channel(
    records: Records, schema: Schema, channel: str, carried: NDArray[np.uint32], series: SeriesTable
) -> Records:
    """The records of a channel. `carried` is the state of `tick_channels` so far, by instrument."""
    if schema is Schema.TICK:
        masks = np.empty(len(records), np.uint32)
        tick_channels(records, masks, carried)
        records = records[(masks >> TICK_CHANNELS.index(channel)) & 1 == 1]
    elif (name := FACTS[schema].series) and len(records):
        found = np.unique(records[name]).tolist()
        names = series.up_to(found[-1]) if FACTS[schema].named else []
        numbers = [number for number in found if BY_SCHEMA[schema].channel(number, names) == channel]
        records = records[np.isin(records[name], numbers)]
    return records


def _scales(rows: list[Instrument]) -> dict[int, tuple[int, int]]:
    return {row.id: (row.price_scale, row.size_scale) for row in rows}


def _messages(
    records: Records, schema: Schema, producer: str, scales: dict[int, tuple[int, int]], epoch: int, first: int
) -> list[bytes]:
    """Header and payload of messages that hold these records; each message is of one instrument id."""
    frames: list[bytes] = []
    changes = np.flatnonzero(np.diff(records["instrument"])) + 1
    for begin, stop in zip([0, *changes.tolist()], [*changes.tolist(), len(records)], strict=True):
        for start in range(begin, stop, MESSAGE_RECORDS):
            part = records[start : min(start + MESSAGE_RECORDS, stop)]
            id_ = int(part[0]["instrument"])
            frames += (
                pack_header(
                    int(schema),
                    records.dtype.itemsize,
                    len(part),
                    epoch,
                    first + start,
                    0,
                    id_,
                    *scales[id_],
                    producer.encode("ascii"),
                ),
                part.tobytes(),
            )
    return frames


def least_of(asked: Passage | GetHistory) -> tuple[Schema, int]:
    """The schema of a request, and the seq that must be stored before it is answered. Raises ValueError."""
    if isinstance(asked, Passage):
        return Schema(asked.schema), asked.last_seq
    return schema_of(split_topic(asked.topic)[2]), asked.first_seq
