"""Proves series: computes values of indicators, samples of feature sets and bars of trades again from the ticks.

An engine's streams (`derive.registry`) fold the ticks of a feed again, and the result must equal the stored records to
the last bit. Each stored set of states (`derive.series_states`) is compared with the state of the streams before its
tick. Then the streams continue from the stored set. So an error does not spread beyond the next set, and a series that
an engine began later begins at the set that its engine began with.

A record that agrees is proved. One that differs is wrong only if the ticks must lead to it: after the first set, and,
if retention has removed the oldest ticks, after a set from which on books and bars are complete again. The engine may
have resolved a crossed book of orders. Series of users' indicators are not computed here: their records are unproved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from glob import escape
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.books.level_runs import UNBOUNDED
from tickplant.books.market_books import MAX_LEVELS, MarketBooks
from tickplant.derive.calendars import sessions_of, stored_calendar
from tickplant.derive.derivation import Bench, KeptStream, Made, Series, Sessions, Settings, Stream, series_of
from tickplant.derive.feature_sets import parse_member
from tickplant.derive.registry import BY_SCHEMA
from tickplant.derive.running_series import running, running_books
from tickplant.derive.sampled_books import SampledBooks
from tickplant.derive.series import are_bars, bars_series, parse_series
from tickplant.errors import DeriveError
from tickplant.instruments import Instrument
from tickplant.records.layouts import DTYPES, Flag, Schema
from tickplant.store.deep_summary import DeepSummary, Flaw, StoredDerived
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.stored_states import set_of

Records = NDArray[np.void]
Pair = tuple[int, int]
"""Number of a series, and an instrument id."""

KEPT: Final = (Schema.TRADE_BAR, Schema.VALUE)
"""The schemas that are checked here, in the order in which an engine makes them."""
_NOTHING: Final = {schema: np.zeros(0, DTYPES[schema]) for schema in (Schema.BAR, *KEPT)}
_NUMBERED: Final = ("seq", "reserved")
_NS: Final = 10**9


class _Known(NamedTuple):
    """The series of an engine that are computed again."""

    series: tuple[Series, ...]
    made_of: dict[int, frozenset[Schema]]  # by number: the schemas of its input rows, or of its members' input rows
    sessions: dict[str, Sessions]  # of the calendars that the series name

    @property
    def settings(self) -> Settings:
        """Settings of the streams, except for the lengths of bars."""
        return Settings(series=self.series, sessions=self.sessions)


class SeriesCheck:
    """Checks the series that one engine has derived from one feed. Takes all ticks in order: `at`, then `apply`.

    Args:
        store: the store.
        engine: the engine of the records.
        ids: instruments of the feed.
        bar_s: lengths of the bars that the engine stored.
        unsure: ids of books that need not follow from the ticks, see `deep_checks`; grows while ticks are folded.
        max_levels: the most levels per side in the engine's books.
    """

    def __init__(
        self,
        store: Store,
        engine: str,
        ids: frozenset[int],
        bar_s: tuple[int, ...],
        unsure: Set[int],
        max_levels: int = MAX_LEVELS,
    ) -> None:
        self._unsure = unsure
        self._max_levels = max_levels
        self.engine = engine
        self._store = store
        self._ends = {schema: _ends_of(store, engine, schema, ids) for schema in KEPT}
        # A series that has made no record yet has states all the same.
        ran = [*self._ends.values(), _ends_of(store, engine, Schema.STATE, ids)]
        self._known = _known(store, {pair for ends in ran for pair in ends if pair[0]})
        over = {parse_series(one.name).bars_s for one in self._known.series} - {0}
        self._settings = self._known.settings._replace(bar_s=tuple(sorted(over.union(bar_s))))
        self._stored = {schema: StoredDerived(store, engine, schema, ids) for schema in KEPT}
        self._room = 0
        self._books = self._sampled()
        self._bars = self._made_by(Schema.BAR) if self._settings.bar_s else None
        self._streams = self._begun()
        self._heads = _heads(store, engine, ids) if self._known.series else {}
        self._first: np.void | None = None  # tick
        self._synced = False  # a set has been met
        self._whole: dict[Schema, frozenset[int]] = {}  # ids whose bars and books were complete at the last set
        self._lengths: dict[int, set[int]] = {}  # by id, lengths of bars that have closed
        self._live: set[int] = set()  # ids whose books had a snapshot
        self._missing: dict[Pair, int] = {}  # since the last set; the next set tells whether the series ran at all

    @property
    def seqs(self) -> frozenset[int]:
        """The seqs of the ticks before which sets were stored, without those that have been passed."""
        return frozenset(self._heads)

    def at(self, tick: np.void, summary: DeepSummary) -> Iterator[Flaw]:
        """Compare the sets before this tick, if any, with the streams' states, and continue from the last set."""
        self._first = tick if self._first is None else self._first
        for head in self._heads.pop(int(tick["seq"]), []):
            records = set_of(self._store, self.engine, head)
            if records is None or head[["ts_event", "ts_recv"]] != tick[["ts_event", "ts_recv"]]:
                summary.unproved += 1
                continue
            ours, self._streams = self._states(), self._begun()
            for stream in self._streams.values():
                stream.restore(records, int(tick["seq"]))
            theirs = self._states()
            for pair, vector in theirs.items():
                mine = ours.get(pair)
                if mine is not None and mine.tobytes() == vector.tobytes():
                    summary.states += 1
                elif self._is_sure(*pair):
                    summary.wrong += 1
                    text = f"what {self._name(pair[0])} of instrument {pair[1]} remembers before seq {tick['seq']} of"
                    text += f" {summary.feed} is not what the ticks lead to"
                    yield Flaw(self.engine, "state", int(head["seq"]), text)
                else:
                    summary.unproved += 1
            ran = theirs.keys() | {pair for pair, vector in ours.items() if not len(vector)}
            summary.lacking += sum(count for pair, count in self._missing.items() if pair in ran)
            self._missing = {}
            self._sync(tick)

    def apply(self, ticks: Records, bbo: Records, summary: DeepSummary) -> Iterator[Flaw]:
        """Derive the records of these ticks, with `bbo` from their books, and compare the stored records with them."""
        self._first = ticks[0] if self._first is None else self._first
        if not self._known.series:
            return
        highest = int(ticks["instrument"].max())
        if highest >= self._room:
            self._room = 2 * highest + 1
            for stream in (self._bars, self._books, *self._streams.values()):
                if stream is not None:
                    stream.reserve(self._room)
        made: Made = {Schema.TICK: ticks, Schema.BBO: bbo}
        if self._books:
            self._books.apply(made)
        made[Schema.BAR] = self._bars.apply(made) if self._bars else _NOTHING[Schema.BAR]
        for schema in KEPT:
            made[schema] = self._streams[schema].apply(made) if schema in self._streams else _NOTHING[schema]
        for schema in KEPT:
            yield from self._hold(schema, made[schema], int(ticks[-1]["seq"]), summary)
        self._live |= set(np.unique(bbo["instrument"][bbo["flags"] & Flag.STALE == 0]).tolist())
        for id_, length in np.unique(made[Schema.BAR][["instrument", "interval_s"]]).tolist():
            self._lengths.setdefault(id_, set()).add(length)

    def rest(self) -> int:
        """How many stored records were not reached."""
        return sum(stored.rest() for stored in self._stored.values())

    @property
    def missing(self) -> int:
        """How many records after the last set follow from the ticks but are not stored.

        Only records between the first and the last stored one of a series count.
        """
        return sum(self._missing.values())

    # -----------------------------------------------------------------------------------------------------------

    def _hold(self, schema: Schema, made: Records, until: int, summary: DeepSummary) -> Iterator[Flaw]:
        stored = self._stored[schema].until(until)
        stored = _NOTHING[schema] if stored is None else stored
        match = _matches(schema, stored, made)
        found = match >= 0
        right = found.copy()
        right[found] = _words(stored[found]) == _words(made[match[found]])
        proved = int(np.count_nonzero(right))
        if schema == Schema.VALUE:
            summary.values += proved
        else:
            summary.trade_bars += proved
        for row, its in zip(stored[~right], match[~right].tolist(), strict=True):
            number, id_ = int(row["series"]), int(row["instrument"])
            if not self._is_sure(number, id_):
                summary.unproved += 1
                continue
            summary.wrong += 1
            text = f"the record of {self._name(number)} of instrument {id_} that seq {row['source_seq']} of"
            text += f" {summary.feed} made is not what the ticks lead to"
            text += f": {_difference(row, made[its])}" if its >= 0 else ", which make no such record"
            yield Flaw(self.engine, schema.name.lower(), int(row["seq"]), text)
        lacking = np.ones(len(made), np.bool_)
        lacking[match[found]] = False
        for pair, seqs in _by_pair(made[lacking]):
            first, last = self._ends[schema].get(pair, (0, -1))
            within = (seqs >= first) & (seqs.astype(np.int64) <= last)
            if self._is_sure(*pair) and (count := int(np.count_nonzero(within))):
                key = pair[0], pair[1] if schema == Schema.TRADE_BAR else self._line(pair[1])
                self._missing[key] = self._missing.get(key, 0) + count

    def _is_sure(self, number: int, id_: int) -> bool:
        """Whether a record of a series must follow from the ticks."""
        made_of = self._known.made_of.get(number)
        if made_of is None or not self._synced or (Schema.BBO in made_of and id_ in self._unsure):
            return False
        return all(id_ in ids for schema, ids in self._whole.items() if schema in made_of)

    def _sync(self, tick: np.void) -> None:
        """Note which books and bars are complete, now that the series continue from a stored set."""
        self._synced = True
        if self._first is None or not int(self._first["seq"]):
            self._whole = {}
            return
        # A bar that began before the oldest ticks that retention has kept differs here, and so may the next bar.
        back_ns = _NS * BY_SCHEMA[Schema.BAR].look_back_s(self._settings)
        lengths = set(self._settings.bar_s)
        past = int(tick["ts_recv"]) - int(self._first["ts_recv"]) > back_ns
        closed = frozenset(id_ for id_, its in self._lengths.items() if past and its >= lengths)
        self._whole = {Schema.BBO: frozenset(self._live), Schema.BAR: closed}

    def _made_by(self, schema: Schema) -> Stream:
        make = BY_SCHEMA[schema].make
        assert make  # these are derived batch by batch
        before = {Schema.BBO: self._books} if self._books else {}
        stream = make(Bench(self._settings, MarketBooks(1, 1), self._instrument, self._line, before))
        stream.reserve(self._room)
        return stream

    def _sampled(self) -> SampledBooks | None:
        """The sampled books; None if no series is over books."""
        if not any(parse_series(one.name).every_ns for one in self._known.series):
            return None
        return SampledBooks(
            MarketBooks(self._max_levels, UNBOUNDED), self._known.series, self._instrument, self._line, {}
        )

    def _begun(self) -> dict[Schema, KeptStream]:
        """Streams with empty states."""
        wanted = [schema for schema in KEPT if BY_SCHEMA[schema].numbers(self._settings)]
        found = {schema: self._made_by(schema) for schema in wanted}
        return {schema: stream for schema, stream in found.items() if isinstance(stream, KeptStream)}

    def _states(self) -> dict[Pair, NDArray[np.float64]]:
        return {(number, key): vector for stream in self._streams.values() for number, key, vector in stream.states()}

    def _instrument(self, id_: int) -> Instrument:
        return self._store.instruments.by_id(id_)

    def _line(self, id_: int) -> int:
        row = self._instrument(id_)
        return self._store.instruments.find(row.venue, row.symbol)[0].id

    def _name(self, number: int) -> str:
        return self._store.series.names[number - 1]


def _known(store: Store, pairs: set[Pair]) -> _Known:
    """The series of these pairs that can be computed here, each for the symbols with which it occurs."""
    table, names = store.instruments, store.series.names
    ids: dict[int, list[int]] = {}
    for number, id_ in sorted(pairs):
        ids.setdefault(number, []).append(id_)
    numbers = {name: number for number, name in enumerate(names, 1)}
    found: dict[int, Series] = {}
    made_of: dict[int, frozenset[Schema]] = {}

    def take(number: int, symbols: tuple[str, ...]) -> frozenset[Schema]:
        """Add a series; returns the schemas of its inputs. Raises KeyError, DeriveError if it cannot be computed."""
        name = names[number - 1]
        if name in store.series.sources:
            raise KeyError(name)
        said, members = parse_series(name), store.series.members.get(name, ())
        if said.calendar and stored_calendar(store.data_dir, said.calendar) is None:
            raise KeyError(name)
        of = {Schema.TICK}
        if said.bars_s or said.of_books:
            of.add(Schema.BAR if said.bars_s else Schema.BBO)
        if said.rule and not are_bars(name):  # its bars are made as well, though none may have closed
            rule = numbers[bars_series(said.over)]
            found.setdefault(rule, Series(rule, names[rule - 1], symbols))
            made_of.setdefault(rule, frozenset({Schema.TICK}))
        for text in members:
            # A member that the engine has not stored does not run there, so it does not run here.
            if (number_of := numbers.get(parse_member(text).series, 0)) in ids:
                of |= made_of[number_of]
        if not members and not are_bars(name):
            _computed(Series(number, name), numbers)
        made_of[number] = frozenset(of)
        found[number] = Series(number, name, symbols, members)
        return made_of[number]

    # Feature sets come last: their inputs follow from their members.
    for number in sorted(ids, key=lambda one: (one <= len(names) and names[one - 1] in store.series.members, one)):
        if number > len(names):
            continue
        rows = [table.by_id(id_) for id_ in ids[number] if 1 <= id_ <= len(table)]
        try:
            take(number, tuple(escape(f"{row.venue}.{row.symbol}") for row in rows))
        except (KeyError, DeriveError):
            continue
    series = tuple(found[number] for number in sorted(found))
    return _Known(series, made_of, sessions_of(store.data_dir, [one.name for one in series]))


def _computed(series: Series, numbers: Mapping[str, int]) -> None:
    """Raises KeyError, DeriveError for a series without an indicator in this program."""
    rule = parse_series(series.name)
    bars = [Series(numbers[bars_series(rule.over)], bars_series(rule.over))] if rule.rule else []
    running([*bars, series])
    running_books([series])


def _ends_of(store: Store, engine: str, schema: Schema, ids: frozenset[int]) -> dict[Pair, tuple[int, int]]:
    """By series and instrument, the seqs of the ticks that made the first and the last stored record."""
    found: dict[Pair, tuple[int, int]] = {}
    columns = ("series", "instrument", "source_seq")
    for block in store.blocks(engine, schema, Selection(ids=ids), columns) if ids else ():
        for pair, seqs in _by_pair(block.columns):
            first, last = int(seqs.min()), int(seqs.max())
            known = found.get(pair, (first, last))
            found[pair] = min(known[0], first), max(known[1], last)
    return found


def _by_pair(records: Mapping[str, NDArray[Any]] | Records) -> Iterator[tuple[Pair, NDArray[np.uint64]]]:
    """The seqs of the ticks that made the records of each series and instrument."""
    keys = records["series"].astype(np.uint64) << np.uint64(32) | records["instrument"]
    for key in np.unique(keys).tolist():
        yield (key >> 32, key & 0xFFFFFFFF), records["source_seq"][keys == key]


def _heads(store: Store, engine: str, ids: frozenset[int]) -> dict[int, list[np.void]]:
    """The first records of all sets of states, by the seq of the tick before which they were taken."""
    found: dict[int, list[np.void]] = {}
    for records in store.read(engine, Schema.STATE, Selection(ids=ids)) if ids else ():
        for head in records[records["series"] == 0]:
            found.setdefault(int(head["source_seq"]), []).append(head)
    return found


def _matches(schema: Schema, stored: Records, made: Records) -> NDArray[np.intp]:
    """For each stored record, the index of the one made for the same series by the same tick; -1 if there is none.

    If a tick made several records of a series, they are matched in order.
    """
    if not len(made):
        return np.full(len(stored), -1)
    both = [np.concatenate([series_of(schema, stored), series_of(schema, made)])]
    both += [np.concatenate([stored[name], made[name]]).astype(np.uint64) for name in ("instrument", "source_seq")]
    _, keys = np.unique(np.stack(both, axis=1), axis=0, return_inverse=True)
    keys = keys.reshape(-1)
    ours, theirs = keys[: len(stored)], keys[len(stored) :]
    order, own = np.argsort(theirs, kind="stable"), np.argsort(ours, kind="stable")
    its, sought = theirs[order], ours[own]
    nth = np.arange(len(sought)) - np.searchsorted(sought, sought)
    place = np.searchsorted(its, sought) + nth
    there = place < len(its)
    there[there] = its[place[there]] == sought[there]
    match = np.full(len(stored), -1)
    match[own[there]] = order[place[there]]
    return match


def _words(records: Records) -> NDArray[np.void]:
    """Each record as bytes, with its seq zeroed."""
    plain = records.copy()
    for name in _NUMBERED:
        if name in (plain.dtype.names or ()):
            plain[name] = 0
    return plain.view(np.dtype((np.void, plain.dtype.itemsize)))


def _difference(stored: np.void, made: np.void) -> str:
    """The first column in which two records differ, as text."""
    for name in stored.dtype.names or ():
        if name not in _NUMBERED and stored[name].tobytes() != made[name].tobytes():
            return f"{name} is {stored[name]}, not {made[name]}"
    return ""
