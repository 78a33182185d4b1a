"""What an engine keeps for one ring of ticks: books, and the streams of derived records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from tickplant.books.market_books import MarketBooks
from tickplant.derive import value_memory
from tickplant.derive.derivation import Bench, Folded, Moment, Settings, Stream
from tickplant.derive.registry import BY_SCHEMA, DERIVATIONS
from tickplant.engine import batch_kernels as k
from tickplant.engine.message_kernels import publish_pointer
from tickplant.engine.moments import Schedule
from tickplant.engine.publisher import Publisher
from tickplant.engine.retention import Origin
from tickplant.instruments import Instrument
from tickplant.kernel_calls import pointer
from tickplant.records.arrays import grown, note
from tickplant.records.layouts import Kind, Schema
from tickplant.records.tick_arrays import SCATTERED_TICKS

Records = NDArray[np.void]

_TICK: Final = Schema.TICK  # looking the member up in its enumeration costs 60 ns
_NONE_RUN: Final = [k.NOT_RUN] * k.STAGES


class Feed:
    """The state derived from one ring of ticks."""

    def __init__(
        self, name: str, settings: Settings, instrument: Callable[[int], Instrument], line: Callable[[int], int]
    ) -> None:
        self.origin = Origin(name)  # of what is published now; a new one after each hole
        self.settings = settings
        self.schedule = Schedule(settings.checkpoint_s)
        self.books = MarketBooks(settings.max_levels, settings.max_orders, matching=settings.matching)
        self.begun = False  # whether states have been stored or restored
        self.streams: dict[Schema, Stream] = {}
        self.moments: dict[Schema, Moment] = {}
        self._bench = bench = Bench(settings, self.books, instrument, line, self.streams)
        for entry in DERIVATIONS:
            if entry.numbers(settings) and entry.make:
                self.streams[entry.schema] = entry.make(bench)
            elif entry.numbers(settings) and entry.moment:
                self.moments[entry.schema] = entry.moment(bench)
        self.seen = np.zeros(64, np.bool_)  # by instrument id
        self.ticks = 0
        self.lost = 0
        self._memory = np.zeros(k.WORDS, np.int64)
        self._scratch = np.zeros(value_memory.WORDS, np.int64)
        self._memory[k.SCRATCH] = self._scratch.ctypes.data
        self._words = self._memory.data  # ten times as fast for a single word
        self.address: int = self._memory.ctypes.data
        """Address of the memory that `batch_kernels.take` works in."""

    def reserve(self, instrument_id: int) -> None:
        """Make room for instrument ids up to this one."""
        self._words[k.KNOWN] = 0
        if instrument_id >= len(self.seen):
            self.seen = grown(self.seen, 2 * instrument_id)
        for stream in self.streams.values():
            stream.reserve(instrument_id)

    def note(self, known: int, publisher: Publisher, due_ns: int) -> None:
        """From now on, process batches in one kernel call as far as possible; not in a replay, whose time may jump.

        Args:
            known: the feed has room for instrument ids up to this one.
            publisher: publishes the ticks.
            due_ns: time of receipt from which the state is due to be stored.
        """
        if self.settings.seeks:
            return
        memory = self._memory
        note(memory, k.SEEN, self.seen)
        memory[[k.STREAM, k.STATE, k.HIGHEST, k.ROOM]] = publisher.memory_of_ticks
        memory[k.PUBLISH] = publish_pointer()
        memory[k.DUE_NS], memory[k.KNOWN] = due_ns, known
        memory[k.ORDERS] = self.books.address if self.books.orders_too else 0
        for place, schema in enumerate(k.SCHEMAS):
            address, stream = k.ADDRESSES + place, self.streams.get(schema)
            if isinstance(stream, Folded):
                memory[address] = self.books.by_level.address if schema is Schema.BBO else stream.address
                memory[k.KERNELS + place] = pointer(stream.kernel, SCATTERED_TICKS, 0)
            else:
                memory[address] = k.BY_ITSELF if stream else k.NOT_WANTED

    @property
    def is_noted(self) -> bool:
        """Whether the memory is up to date, except for what the kernel finds out itself."""
        return bool(self._words[k.KNOWN]) and bool(self._words[k.ORDERS]) == self.books.orders_too

    def begin_anew(self) -> None:
        """Time jumps: forget all open bars and values. Books arrive as snapshots."""
        self.origin = Origin(self.origin.feed)
        for schema in self.streams:
            if (make := BY_SCHEMA[schema].make) and BY_SCHEMA[schema].begins is not Kind.CLEAR:
                self.streams[schema] = make(self._bench)
        self.reserve(len(self.seen) - 1)

    def of_books(self, ticks: Records) -> list[tuple[Schema, Records]]:
        """Records derived from ticks outside the stream, such as our own GAP; these affect only the books."""
        streams = [schema for schema in self.streams if BY_SCHEMA[schema].begins is Kind.CLEAR]
        return [(schema, self.books.apply(ticks)) for schema in streams]

    def apply(self, ticks: Records) -> Iterator[tuple[Schema, Records]]:
        """The records derived from the ticks, schema by schema. Later ones build on earlier ones: take them in turn."""
        return self._apply(ticks, _NONE_RUN)

    def go_on(self, ticks: Records) -> Iterator[tuple[Schema, Records]]:
        """As `apply`, for a batch that the kernel has begun."""
        return self._apply(ticks, self._words[k.RESULTS : k.RESULTS + k.STAGES].tolist())

    @property
    def sent_or_why(self) -> int:
        """What publishing returned in the kernel."""
        return self._words[k.SENT_OR_WHY]

    def _apply(self, ticks: Records, results: Sequence[int]) -> Iterator[tuple[Schema, Records]]:
        """`results`: for each stage, what its kernel returned, or NOT_RUN."""
        made = {_TICK: ticks}
        for schema, result in zip(k.SCHEMAS, results, strict=True):
            if not (stream := self.streams.get(schema)):
                continue
            if result == k.NOT_RUN:
                records = stream.apply(made)
            elif result:
                records = cast("Folded", stream).finish(made, result)
            else:
                continue
            if len(records):
                made[schema] = records
                yield schema, records
