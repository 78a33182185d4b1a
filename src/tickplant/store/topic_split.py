"""Splits stored records into messages of topics, as a subscriber gets them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.client.topic_message import Message, MessageKind
from tickplant.client.topic_patterns import Pattern
from tickplant.derive.derivation import series_of
from tickplant.derive.registry import BY_SCHEMA, STREAMS
from tickplant.derive.series_sorter import SeriesSorter
from tickplant.instruments import Instrument, InstrumentTable
from tickplant.records import fanout
from tickplant.records.arrays import grown
from tickplant.records.channel_masks import tick_channels
from tickplant.records.channels import TICK_CHANNELS
from tickplant.records.layouts import Kind, Schema
from tickplant.records.schemas import FACTS
from tickplant.store.selection import Selection
from tickplant.wire import make_topic

if TYPE_CHECKING:
    from tickplant.store.reader import Store

Records = NDArray[np.void]

_KINDS: Final = {"trade": Kind.TRADE, "agg_trade": Kind.TRADE, "quote": Kind.QUOTE}
"""Channels that consist of one kind of data, and notes."""


class _Topic:
    """One topic of one instrument."""

    __slots__ = ("channel", "name", "next_seq", "row")

    def __init__(self, row: Instrument, channel: str) -> None:
        self.row = row
        self.channel = channel
        self.name = make_topic(row.venue, row.symbol, channel)
        self.next_seq = 0


class Wanted(NamedTuple):
    """What must be read from the store for some topics."""

    schemas: tuple[Schema, ...]
    ids: frozenset[int] | None  # None: all
    kinds: frozenset[int] | None

    def selection(self, schema: Schema, **bounds: Any) -> Selection:
        """The selection for one schema; `bounds` are arguments of Selection."""
        return Selection(ids=self.ids, kinds=self.kinds if schema == Schema.TICK else None, **bounds)


class TopicSplitter:
    """Sorts blocks of records into messages; counts the records of each topic from 0.

    Args:
        store: the store of the records.
        topics: as for `tickplant.subscribe`.
        kind: kind of the messages.
    """

    def __init__(self, store: Store, topics: Sequence[str], kind: MessageKind) -> None:
        self._store = store
        self._texts = tuple(topics) or ("*",)
        self._patterns = [Pattern(text) for text in self._texts]
        self._kind = kind
        self._table: InstrumentTable = store.instruments
        self._topics: dict[tuple[int, str], _Topic | None] = {}
        self._counts: dict[str, _Topic] = {}
        self._trade_bits = np.zeros(64, np.uint32)
        self._slots = np.full(0, -1, np.int32)

    def wanted(self) -> Wanted:
        """What must be read for the topics."""
        table = self._store.instruments
        ticks = {(row.id, channel) for row in table for channel in TICK_CHANNELS if self._wants(row, channel)}
        ids = {id_ for id_, _ in ticks}
        schemas = [Schema.TICK] * bool(ticks)
        for entry in STREAMS:
            # A topic may name any series that the channels of this stream can have.
            named = {text.rpartition(".")[2] for text in self._texts}
            channels = {*entry.examples(self._store.series.names), *filter(entry.channels.fullmatch, named)}
            found = {row.id for row in table if any(self._wants(row, channel) for channel in channels)}
            ids |= found
            schemas += [entry.schema] * bool(found)
        kinds = None
        if {channel for _, channel in ticks} <= _KINDS.keys():
            kinds = frozenset({int(_KINDS[channel]) for _, channel in ticks} | {int(Kind.GAP), int(Kind.STATUS)})
        return Wanted(tuple(schemas), None if len(ids) == len(table) else frozenset(ids), kinds)

    def _wants(self, row: Instrument, channel: str) -> bool:
        return self._matches(make_topic(row.venue, row.symbol, channel))

    def _matches(self, topic: str) -> bool:
        return any(pattern.matches(topic) for pattern in self._patterns)

    def split(self, schema: Schema, records: Records) -> Iterator[Message]:
        """The messages of a block, each in stored order; the order across topics is lost."""
        if schema == Schema.TICK:
            highest = int(records["instrument"].max())
            if highest >= len(self._trade_bits):
                self._trade_bits = grown(self._trade_bits, 2 * highest)
            masks = np.zeros(len(records), np.uint32)
            tick_channels(records, masks, self._trade_bits)
            slots = (highest + 1) * len(TICK_CHANNELS)
            if slots > len(self._slots):
                self._slots = np.full(2 * slots, -1, np.int32)
            words = np.ascontiguousarray(records).view(np.uint64).reshape(len(records), -1)
            found = fanout.group(words, records["instrument"], masks, len(TICK_CHANNELS), self._slots)
            yield from self._of(schema, TICK_CHANNELS, records.dtype, *found)
        else:
            numbers = np.unique(series_of(schema, records)).tolist()
            names = self._store.series.up_to(numbers[-1]) if FACTS[schema].named else []
            channels = [BY_SCHEMA[schema].channel(number, names) for number in numbers]
            yield from self._of(schema, channels, records.dtype, *SeriesSorter(schema, numbers).sort(records))

    def message(self, kind: MessageKind, id_: int, channel: str, records: Records, *, stale: bool = False) -> Message:
        """One message of a wanted topic, without counting its records."""
        topic = self._topic(id_, channel)
        if topic is None:
            raise ValueError(f"channel {channel} of instrument {id_} is not wanted")
        return self._message(kind, topic, Schema.TICK, records, stale=stale)

    def wants(self, id_: int, channel: str) -> bool:
        """Whether messages of this instrument and channel are wanted."""
        return self._topic(id_, channel) is not None

    def _of(
        self,
        schema: Schema,
        channels: Sequence[str],
        dtype: np.dtype[np.void],
        rows: fanout.Words,
        keys: NDArray[np.int64],
        starts: NDArray[np.int64],
    ) -> Iterator[Message]:
        """Messages of several instruments and channels, from records sorted by `fanout.group`."""
        grouped = rows.reshape(-1).view(dtype)
        bounds = starts.tolist()
        for place, key in enumerate(keys.tolist()):
            id_, channel = divmod(key, len(channels))
            topic = self._topic(id_, channels[channel])
            if topic is not None:
                part = grouped[bounds[place] : bounds[place + 1]]
                yield self._message(self._kind, topic, schema, part)
                self._counts[topic.name].next_seq += len(part)

    def _topic(self, id_: int, channel: str) -> _Topic | None:
        key = id_, channel
        if key not in self._topics:
            if id_ > len(self._table):
                self._table.reload()
            topic = _Topic(self._table.by_id(id_), channel)
            self._topics[key] = topic if self._matches(topic.name) else None
            self._counts.setdefault(topic.name, topic)
        return self._topics[key]

    def _message(
        self, kind: MessageKind, topic: _Topic, schema: Schema, records: Records, *, stale: bool = False
    ) -> Message:
        row = topic.row
        return Message(
            kind=kind,
            topic=topic.name,
            venue=row.venue,
            symbol=row.symbol,
            channel=topic.channel,
            schema=schema,
            records=records,
            instrument=row.id,
            price_scale=row.price_scale,
            size_scale=row.size_scale,
            epoch=0,
            first_seq=self._counts[topic.name].next_seq,
            stale=stale,
        )
