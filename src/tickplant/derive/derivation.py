"""The definition of a derivation: how records of one schema are made from a feed's ticks, live and in a replay.

Each is an entry of `registry.DERIVATIONS`, in its own file: rings, journals, topics, recovery and options follow from
the entry and the schema's facts. Entries import their kernels only when they make a stream, so that the supervisor can
read entries without numba.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import Kind, Schema
from tickplant.records.schemas import FACTS, Facts

if TYPE_CHECKING:
    from tickplant.books.market_books import MarketBooks
    from tickplant.derive.indicator import Indicator
    from tickplant.instruments import Instrument

Records = NDArray[np.void]
Made = dict[Schema, Records]
"""What is known of one batch: its ticks, and what earlier derivations have made from them, if anything."""
Sessions = NDArray[np.int64]
"""Open and close of each session of a calendar, ns since the Unix epoch, shape (sessions, 2), in order."""
_TICK: Final = Schema.TICK  # looking the member up in its enumeration costs 60 ns
NO_SESSIONS: Final[Mapping[str, Sessions]] = {}


class Series(NamedTuple):
    """A wanted series of values."""

    number: int  # in the series table of the store
    name: str  # such as rsi-14.1m: `derive.series` reads it
    symbols: tuple[str, ...] = ()  # patterns of VENUE.SYMBOL, `*` for anything; empty: all
    members: tuple[str, ...] = ()  # for a feature set: what it samples


class Settings(NamedTuple):
    """What an engine derives from a feed, and its limits."""

    max_levels: int = 20_000
    bar_s: tuple[int, ...] = ()
    checkpoint_s: int = 0  # books and states are stored this often; 0: never
    max_orders: int = 2_000_000
    matching: bool = False  # crossed books of orders are resolved
    series: tuple[Series, ...] = ()
    seeks: bool = False  # a replay, whose time may jump
    own: Mapping[str, Indicator] = {}  # users' indicators, by name of the series
    sessions: Mapping[str, Sessions] = NO_SESSIONS  # of the calendars that series name, by name of the calendar


class Stream(Protocol):
    """Makes records from a stream of ticks. Its output does not depend on where batches are cut."""

    @property
    def counters(self) -> dict[str, int]:
        """Counters by name."""

    def reserve(self, instrument_id: int) -> None:
        """Make room for instrument ids up to this one."""

    def apply(self, made: Made) -> Records:
        """The records that a batch produces, in the order of `source_seq`, with `seq` 0."""


@runtime_checkable
class KeptStream(Stream, Protocol):
    """A stream whose state is stored; see `Derivation.kept`."""

    def states(self) -> Iterable[tuple[int, int, NDArray[np.float64]]]:
        """Each series' states, in order: number of the series, key (an instrument id), and the vector."""

    def restore(self, records: Records, from_seq: int) -> None:
        """Continue from a stored set of states, with the rows that the tick `from_seq` makes."""


@runtime_checkable
class Folded(Stream, Protocol):
    """A stream whose kernel works in a memory of words, so that an engine may call it together with other streams'."""

    @property
    def address(self) -> int:
        """Address of the memory, which does not move."""

    @property
    def kernel(self) -> Callable[[Records, int], int]:
        """The kernel: takes ticks, compiled for the type of `tick_arrays.SCATTERED_TICKS`, and the address."""

    def finish(self, made: Made, result: int) -> Records:
        """What `apply` returns, after the kernel was called for the batch and returned `result`."""


class Moment(Protocol):
    """Makes records of the state before a tick, at scheduled times."""

    at_begin: bool  # also before the first tick of a feed that continues from no stored state

    def at(self, tick: np.void, positions: Mapping[Schema, int]) -> Iterable[Records]:
        """Parts, each stored whole or not at all; `positions`: the next seq of each derived schema."""


class Bench(NamedTuple):
    """What an entry may use to make one feed's records."""

    settings: Settings
    books: MarketBooks
    instrument: Callable[[int], Instrument]
    line: Callable[[int], int]  # the first id of the symbol that an instrument id belongs to
    streams: Mapping[Schema, Stream]  # the streams of earlier entries


class OfTicks:
    """A stream made from ticks alone, by a maker that takes ticks."""

    def __init__(self, maker: _TakesTicks) -> None:
        self._maker = maker
        self.reserve = maker.reserve

    @property
    def counters(self) -> dict[str, int]:
        """The maker's counters."""
        return self._maker.counters

    @property
    def address(self) -> int:
        """See `Folded`."""
        return self._maker.address

    @property
    def kernel(self) -> Callable[[Records, int], int]:
        """See `Folded`."""
        return self._maker.kernel

    def apply(self, made: Made) -> Records:
        """What the maker makes from the ticks."""
        return self._maker.apply(made[_TICK])

    def finish(self, made: Made, result: int) -> Records:
        """See `Folded`."""
        return self._maker.finish(made[_TICK], result)


class _TakesTicks(Protocol):
    @property
    def address(self) -> int: ...

    @property
    def kernel(self) -> Callable[[Records, int], int]: ...

    @property
    def counters(self) -> dict[str, int]: ...

    def reserve(self, instrument_id: int) -> None: ...

    def apply(self, ticks: Records) -> Records: ...

    def finish(self, ticks: Records, result: int) -> Records: ...


@dataclass(frozen=True, kw_only=True)
class Derivation:
    """One derivation.

    Attributes:
        schema: the records' schema; `FACTS` says how they are stored and shown.
        make: makes the stream of one feed; None if `moment` makes the records.
        moment: makes the records of state that are stored on a schedule.
        numbers: the series that the settings ask for: numbers in the column `facts.series`, or (0,).
        channel: the channel of a series, given its number and the names of the series table.
        channels: a pattern that matches every possible channel.
        examples: some channels, given the names: one for each name, or one of each kind that a topic pattern may match.
        begins: the kind of tick that such a series can begin with. CLEAR means that it is about books: a fold may begin
            at a snapshot.
        look_back_s: how long before the last stored record a fold must begin to give the same records.
        restated: whether each series' last record is the current state, sent to subscribers again after a rebuild.
        kept: whether its state is stored (`Schema.STATE`) and read back, instead of folding from the beginning; its
            streams are then KeptStreams.
        reference: the plain reference that tests compare it with, `module.name` in the package.
    """

    schema: Schema
    make: Callable[[Bench], Stream] | None = None
    moment: Callable[[Bench], Moment] | None = None
    numbers: Callable[[Settings], tuple[int, ...]] = lambda _: (0,)
    channel: Callable[[int, Sequence[str]], str] = lambda _number, _names: ""
    channels: re.Pattern[str] = re.compile(r"(?!)")
    examples: Callable[[Sequence[str]], list[str]] = lambda _: []
    begins: Kind = Kind.TRADE
    look_back_s: Callable[[Settings], int] = lambda _: 0
    restated: bool = False
    kept: bool = False
    reference: str

    @property
    def facts(self) -> Facts:
        """How the records are stored and shown."""
        return FACTS[self.schema]


def series_of(schema: Schema, records: Records) -> NDArray[np.uint64]:
    """The number of each record's series; 0 if the schema has one series per instrument."""
    name = FACTS[schema].series
    return records[name].astype(np.uint64) if name else np.zeros(len(records), np.uint64)
