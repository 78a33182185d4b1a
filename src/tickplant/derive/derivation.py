"""What a derivation is: how records of one schema are made of a feed's ticks, live as on a replay.

One entry of `registry.DERIVATIONS` each, a file of its own: rings, journals, topics, recovery and options follow from
it and from the schema's facts. Entries import their kernels when something is made, so that the supervisor can read
them.
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
"""What is known of one batch: its ticks, and what earlier derivations have made of them, where that is anything."""
Sessions = NDArray[np.int64]
"""Open and close of each session of a calendar, ns since the Unix epoch, shape (sessions, 2), in order."""
_TICK: Final = Schema.TICK  # to look it up in its enumeration costs 60 ns
NO_SESSIONS: Final[Mapping[str, Sessions]] = {}


class Series(NamedTuple):
    """A series of values that is wanted."""

    number: int  # in the series table of the store
    name: str  # such as rsi-14.1m: `derive.series` reads it
    symbols: tuple[str, ...] = ()  # patterns of VENUE.SYMBOL, `*` for anything; empty: all
    members: tuple[str, ...] = ()  # of a feature set: what it samples


class Settings(NamedTuple):
    """What is kept of a feed."""

    max_levels: int = 20_000
    bar_s: tuple[int, ...] = ()
    checkpoint_s: int = 0  # books and states are stored this often, with 0 never
    max_orders: int = 2_000_000
    matching: bool = False  # crossed books of orders are resolved
    series: tuple[Series, ...] = ()
    seeks: bool = False  # a replay, whose time may jump
    own: Mapping[str, Indicator] = {}  # by name of the series, where its indicator is a user's
    sessions: Mapping[str, Sessions] = NO_SESSIONS  # by name of the calendar, of those that series name


class Stream(Protocol):
    """Makes records of a stream of ticks. What comes out does not depend on where batches are cut."""

    @property
    def counters(self) -> dict[str, int]:
        """What has been counted."""

    def reserve(self, instrument_id: int) -> None:
        """Make room for instrument ids up to this one."""

    def apply(self, made: Made) -> Records:
        """The records that come of a batch, in the order of `source_seq`, their `seq` 0."""


@runtime_checkable
class KeptStream(Stream, Protocol):
    """A stream whose memory is stored, see `Derivation.kept`."""

    def states(self) -> Iterable[tuple[int, int, NDArray[np.float64]]]:
        """What each series remembers: its number, a key, which is an instrument id, and the vector; in order."""

    def restore(self, records: Records, from_seq: int) -> None:
        """Go on from a stored set of states with what the tick `from_seq` makes."""


@runtime_checkable
class Folded(Stream, Protocol):
    """A stream that a kernel applies in a memory of words: an engine may call it together with those of others."""

    @property
    def address(self) -> int:
        """Of the memory; it stays."""

    @property
    def kernel(self) -> Callable[[Records, int], int]:
        """Takes ticks, which it is compiled for as `tick_arrays.SCATTERED_TICKS`, and the address."""

    def finish(self, made: Made, result: int) -> Records:
        """What `apply` returns, where the kernel was called for the batch and has returned `result`."""


class Moment(Protocol):
    """Makes records of the state before a tick, at the times of the schedule."""

    at_begin: bool  # also before the first tick of a feed that comes from nowhere

    def at(self, tick: np.void, positions: Mapping[Schema, int]) -> Iterable[Records]:
        """Parts that are stored whole or not at all; `positions`: the next seq of the derived schemas."""


class Bench(NamedTuple):
    """What an entry may use to make the records of one feed."""

    settings: Settings
    books: MarketBooks
    instrument: Callable[[int], Instrument]
    line: Callable[[int], int]  # the first id of the symbol that an id is of
    streams: Mapping[Schema, Stream]  # those of earlier entries


class OfTicks:
    """A stream made of ticks alone, by something that takes them."""

    def __init__(self, maker: _TakesTicks) -> None:
        self._maker = maker
        self.reserve = maker.reserve

    @property
    def counters(self) -> dict[str, int]:
        """As the maker counts."""
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
        """What the maker makes of the ticks."""
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
    """One entry.

    Attributes:
        schema: of the records; how they are stored and shown stands in `FACTS`.
        make: the stream of one feed; None where `moment` makes the records.
        moment: what is stored of the state, on the schedule.
        numbers: which series the settings ask for: numbers in the column `facts.series`, or (0,).
        channel: the channel of a series, given its number and the names of the series table.
        channels: a pattern of the channels that there may be.
        examples: some of them, given the names: those, or of as many kinds as matter to a pattern of topics.
        begins: the kind of tick that such a series can begin with. With CLEAR it is about books: a fold may begin at a
            snapshot.
        look_back_s: how long before the last stored record a fold must begin to give the same records.
        restated: the last record of each series is what holds now: subscribers get it again after a rebuild.
        kept: what it remembers is stored (`Schema.STATE`) and read again, instead of folding from the beginning: its
            streams are KeptStreams.
        reference: the plain reference that tests hold it against, `module.name` in the package.
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
        """How its records are stored and shown."""
        return FACTS[self.schema]


def series_of(schema: Schema, records: Records) -> NDArray[np.uint64]:
    """The number of each record's series, 0 where the schema has one for each instrument."""
    name = FACTS[schema].series
    return records[name].astype(np.uint64) if name else np.zeros(len(records), np.uint64)
