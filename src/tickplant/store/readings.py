"""The named readings of a store: ticks, trades, quotes, levels, orders, bars, bbo, gaps and others, as rows.

    trades = Store("data").trades("binance", "BTCUSDT", "2024-08-08", "2024-08-09")
    trades.numpy(); trades.arrow(); trades.pandas(); trades.polars(); trades.batches()

Nothing is read before one of those is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import numpy as np

from tickplant.errors import StoreError
from tickplant.instruments import Instrument
from tickplant.records.layouts import Kind, Schema
from tickplant.records.merge import Columns, merge_columns
from tickplant.records.schemas import FACTS
from tickplant.store.segments import Range
from tickplant.store.selection import Clock, Selection
from tickplant.times import parse_time

if TYPE_CHECKING:
    from tickplant.derive.feature_sets import FeatureSet
    from tickplant.records.arrow_columns import Prices
    from tickplant.store.derived_values import Derived, Progress
    from tickplant.store.feature_rows import Features
    from tickplant.store.pruning import Expression, Judge
    from tickplant.store.reader import Store  # which has these as methods
    from tickplant.store.rows import Check, Rows

Time: TypeAlias = int | str | datetime | np.datetime64
"""Nanoseconds since the epoch, RFC 3339 text, or a time of Python, numpy or pandas; UTC if it has no zone."""
Names: TypeAlias = str | Iterable[str]

PRODUCER: Final = "producer"
"""A field on request: the index of a row's producer in `Store.producers` of its schema."""

_ORDERS: Final = (Kind.ORDER_ADD, Kind.ORDER_MODIFY, Kind.ORDER_CANCEL, Kind.ORDER_FILL)


class Readings:
    """Methods of `Store`. Each returns rows that are read only when needed.

    All of them take: `venue` and `symbol`, one name, several, or None for all; `start` and `end`, the half-open range
    by `clock`; `columns`, in order; `where`, a predicate (see `tickplant.store.where`) or an Arrow expression;
    `prices`, "decimal", "float" or "integer". They raise StoreError for a name that is not stored, WhereError for a
    predicate that cannot be understood, and, while rows are read, DamageError.
    """

    data_dir: Path

    def ticks(self, venue: Names | None = None, symbol: Names | None = None, *range_: Time | None, **how: Any) -> Rows:
        """Everything that a feed recorded, in stored order."""
        return self._rows(venue, symbol, range_, how)

    def trades(self, venue: Names | None = None, symbol: Names | None = None, *range_: Time | None, **how: Any) -> Rows:
        """Trades; their side is the aggressor's."""
        return self._rows(venue, symbol, range_, how, kinds=(Kind.TRADE,))

    def quotes(self, venue: Names | None = None, symbol: Names | None = None, *range_: Time | None, **how: Any) -> Rows:
        """Best bids and offers as the venue sent them, one row per side; `bbo` returns those of the engine's books."""
        return self._rows(venue, symbol, range_, how, kinds=(Kind.QUOTE,))

    def levels(self, venue: Names | None = None, symbol: Names | None = None, *range_: Time | None, **how: Any) -> Rows:
        """Changes of books by level, and the CLEARs between them."""
        return self._rows(venue, symbol, range_, how, kinds=(Kind.LEVEL, Kind.CLEAR))

    def orders(self, venue: Names | None = None, symbol: Names | None = None, *range_: Time | None, **how: Any) -> Rows:
        """Changes of books of orders, and the CLEARs between them."""
        return self._rows(venue, symbol, range_, how, kinds=(*_ORDERS, Kind.CLEAR))

    def gaps(self, venue: Names | None = None, symbol: Names | None = None, *range_: Time | None, **how: Any) -> Rows:
        """Gaps: price is the GapCause, size the number of missing records, order_id and venue_seq the ids around."""
        return self._rows(venue, symbol, range_, how, kinds=(Kind.GAP,))

    def bbo(self, venue: Names | None = None, symbol: Names | None = None, *range_: Time | None, **how: Any) -> Rows:
        """Best bids and offers of the books that the engine kept."""
        return self._rows(venue, symbol, range_, how, schema=Schema.BBO)

    def bars(self, venue: Names | None = None, symbol: Names | None = None, *range_: Time | None, **how: Any) -> Rows:
        """Bars of every interval that the engine made; select one by `interval_s`: `where="interval_s = 60"`."""
        return self._rows(venue, symbol, range_, how, schema=Schema.BAR)

    def values(self, venue: Names | None = None, symbol: Names | None = None, *range_: Time | None, **how: Any) -> Rows:
        """Values of the series that the engine made by `[[engines.NAME.derive]]`: `where="series = rsi-14.1m"`.

        `store.series.names` has all names. NaN means no value, as during warm-up.
        """
        return self._rows(venue, symbol, range_, how, schema=Schema.VALUE)

    def trade_bars(
        self, venue: Names | None = None, symbol: Names | None = None, *range_: Time | None, **how: Any
    ) -> Rows:
        """Bars of trades that the engine closed by a rule: `where="series = bars.volume-50"`.

        A row with the flag `BarFlag.CORRECTION` is not a bar, but a trade that came later; see `layouts.TRADE_BAR`.
        """
        return self._rows(venue, symbol, range_, how, schema=Schema.TRADE_BAR)

    def derive(
        self,
        name: str,
        venue: Names | None = None,
        symbol: Names | None = None,
        *range_: Time | None,
        bars: str = "",
        sessions: str = "",
        every: str = "",
        clock: Clock = "recv",
        progress: Progress = lambda _: None,
        start: Time | None = None,
        end: Time | None = None,
        **parameters: float,
    ) -> Derived:
        """Values of an indicator over stored data: `store.derive("rsi", "binance", "BTCUSDT", bars="5m", period=9)`.

        Indicators over bars use bars of length `bars`: the engine's if it stored that length, otherwise bars made from
        the stored trades. The indicator always starts at the first stored row; the range only selects which values are
        returned. Computed values are kept in the store's folder `derived`, and computed again if their inputs change.

        Args:
            name: name of the indicator, one of `tickplant.derive.indicators.catalogue.INDICATORS`; or the place of your
                own: `spreads.py:SPREAD_MEAN`, `package.module:OBJECT`.
            venue: one name, several, or None for all.
            symbol: likewise.
            range_: start and end, as positional arguments.
            bars: for an indicator over bars: a length such as 1s, 5m, 1h, 1d, or a rule for bars of trades, such as
                volume-50, time-60, session-XNYS. Default 1m.
            sessions: for vwap_session: the calendar at whose sessions it restarts, such as XNYS.
            every: for an indicator over the book: how often to sample books, such as 100ms, 1s, 1m, at most 1d. Default
                1s.
            clock: clock of the range.
            progress: called with each `DerivedDay`, from several threads.
            start: start of the half-open range.
            end: end of that range.
            parameters: the indicator's parameters; the others have their defaults.

        Raises StoreError for a name that is not stored, DeriveError for an unknown indicator or parameter and for
        `bars`, `sessions` or `every` that the indicator cannot use, and, while rows are read, DamageError.
        """
        from tickplant.derive.calendars import calendar_of  # noqa: PLC0415
        from tickplant.derive.indicator import SESSION_S, check_session_s, check_sessions  # noqa: PLC0415
        from tickplant.derive.own_indicators import find  # noqa: PLC0415
        from tickplant.derive.running_series import with_sessions  # noqa: PLC0415
        from tickplant.derive.series import parse_series, series_name, series_over, trade_bar_rule  # noqa: PLC0415
        from tickplant.store.derived_values import Derived  # noqa: PLC0415

        found, own, code = find(name)
        if sessions:
            check_sessions(name, begins=not own and any(one.name == SESSION_S for one in found.parameters))
        if not own:
            check_session_s(parameters, sessions)
        settled = found.settle({SESSION_S: 0.0, **parameters} if sessions else parameters)
        bounds = _bounds(range_, {key: time for key, time in (("start", start), ("end", end)) if time is not None})
        over = series_over(found.name, found.over, bars=bars, every=every)
        label = series_name(found.label(settled.tolist()), over)
        if sessions:
            label += f"-{sessions}"
            settled = with_sessions(settled, calendar_of(self.data_dir, parse_series(label).calendar).sessions)
        symbols = dict.fromkeys((row.venue, row.symbol) for row in self.select(venue, symbol))
        return Derived(
            cast("Store", self),
            list(symbols),
            found,
            settled,
            interval_s=parse_series(label).bars_s,
            rule=trade_bar_rule(over),
            label=label,
            code=code,
            range_ns=bounds,
            clock=clock,
            progress=progress,
        )

    def features(
        self,
        features: str | FeatureSet,
        venue: Names | None = None,
        symbol: Names | None = None,
        *range_: Time | None,
        version: int | None = None,
        clock: Clock = "recv",
        start: Time | None = None,
        end: Time | None = None,
    ) -> Features:
        """Samples of a feature set: `store.features("momentum", "binance", "BTCUSDT", "2026-01-05", "2026-01-06")`.

        Each row has the values that were known at its time; rows begin with the first stored one. The samples are made
        from stored values. `features` is the name of a set that an engine makes (the newest version, unless `version`
        is given), or any `tickplant.derive.feature_sets.FeatureSet` whose members an engine has made.

        Raises StoreError for a name that is not stored, DeriveError for an unknown set, and, while rows are read,
        DamageError.
        """
        from tickplant.store.feature_rows import Features, set_of  # noqa: PLC0415

        store = cast("Store", self)
        found = set_of(store, features, version) if isinstance(features, str) else features
        found.check()
        bounds = _bounds(range_, {key: time for key, time in (("start", start), ("end", end)) if time is not None})
        symbols = dict.fromkeys((row.venue, row.symbol) for row in self.select(venue, symbol))
        return Features(store, symbols, found, range_ns=bounds, clock=clock)

    # -----------------------------------------------------------------------------------------------------------

    def rows(
        self,
        venue: Names | None = None,
        symbol: Names | None = None,
        *,
        schema: Schema = Schema.TICK,
        kinds: Iterable[Kind | str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        clock: Clock = "recv",
        columns: Sequence[str] | None = None,
        where: str | Expression | None = None,
        prices: Prices = "decimal",
        judge: Judge | None = None,
        after: Mapping[str, int] | None = None,
    ) -> Rows:
        """Rows of any schema and kinds; the methods above select them by name.

        A reader that filters the rows itself passes a `judge` of the chunks that it needs. `after` gives the first seq
        to return, by producer.
        """
        # Arrow takes 0.2 s to import, and the processes of a plant read the store without it.
        from tickplant.derive.series import are_bars  # noqa: PLC0415
        from tickplant.records.arrow_columns import arrow_columns  # noqa: PLC0415
        from tickplant.store.pruning import ArrowJudge, narrow  # noqa: PLC0415
        from tickplant.store.rows import Rows  # noqa: PLC0415
        from tickplant.store.where import parse_where  # noqa: PLC0415

        instruments = self.select(venue, symbol)
        ids = None if venue is None and symbol is None else [row.id for row in instruments]
        selection = self._selection(schema, ids, kinds, start_ns, end_ns, clock)
        arrow = arrow_columns(tuple(instruments), schema, prices, self._series_names(schema))
        filter_by = where
        if where is not None:
            whole = arrow.schema(arrow.all)
            of_bars = schema is Schema.TRADE_BAR
            series = [one for one in arrow.series or () if are_bars(one) == of_bars]
            filter_by = parse_where(where, whole, series) if isinstance(where, str) else where
            judge = ArrowJudge(filter_by, whole)
        if judge is not None:
            selection = narrow(selection, judge, schema, instruments, arrow)
        source = self._fields(schema, selection, after or {})
        if after:  # reading all rows at once would start at the beginning
            return Rows(source, arrow, columns=columns, filter_by=filter_by, selection=selection)
        whole = partial(self._whole, schema, selection)
        return Rows(source, arrow, columns=columns, filter_by=filter_by, whole=whole, selection=selection)

    def _series_names(self, schema: Schema) -> tuple[str, ...]:
        if not FACTS[schema].named:
            return ()
        table = cast("Store", self).series
        table.reload()
        return tuple(table.names)

    def _rows(
        self,
        venue: Names | None,
        symbol: Names | None,
        range_: tuple[Time | None, ...],
        how: dict[str, Any],
        **what: Any,
    ) -> Rows:
        start, end = _bounds(range_, how)
        return self.rows(venue, symbol, start_ns=start, end_ns=end, **what, **how)

    def _fields(self, schema: Schema, selection: Selection, after: Mapping[str, int]) -> Any:
        store = cast("Store", self)

        def blocks(rank: int, producer: str, names: Sequence[str]) -> Iterator[Columns]:
            wanted = [name for name in names if name != PRODUCER]
            first_seq = after.get(producer, 0)
            for block in store.blocks(producer, schema, selection, wanted, first_seq=first_seq):
                ranks = {PRODUCER: np.full(block.rows, rank, np.int32)} if PRODUCER in names else {}
                yield {**block.columns, **ranks}

        def read(names: Sequence[str]) -> Iterator[Columns]:
            producers = store.producers(schema)
            needed = tuple(dict.fromkeys((*names, "ts_recv"))) if len(producers) > 1 else tuple(names)
            return merge_columns([blocks(rank, producer, needed) for rank, producer in enumerate(producers)])

        return read

    def _whole(self, schema: Schema, selection: Selection, names: Sequence[str], check: Check) -> Columns | None:
        """These fields of all selected records; None if several producers have some, or they must be read in blocks."""
        from tickplant.store.whole_reading import read_whole  # noqa: PLC0415  # loads threads, which few readers need

        store = cast("Store", self)
        ranges = [Range(producer, schema, selection) for producer in store.producers(schema)]
        return read_whole(store, ranges, names, check)

    def select(self, venue: Names | None, symbol: Names | None) -> list[Instrument]:
        """Rows of the instrument table. For an unknown name, raises StoreError, which lists the known ones."""
        store = cast("Store", self)
        if isinstance(venue, str) and isinstance(symbol, str):
            return store.find(venue, symbol)
        found = list(store.instruments)
        for key, wanted in (("venue", venue), ("symbol", symbol)):
            if wanted is None:
                continue
            names = {wanted} if isinstance(wanted, str) else set(wanted)
            known = {getattr(row, key) for row in found}
            if missing := sorted(names - known):
                there = ", ".join(sorted(known)[:20]) or "none"
                raise StoreError(f"no {key} {missing[0]!r} is stored; the store has {there}", path=self.data_dir)
            found = [row for row in found if getattr(row, key) in names]
        return found

    def _selection(
        self,
        schema: Schema,
        ids: Iterable[int] | None,
        kinds: Iterable[Kind | str] | None,
        start_ns: int | None,
        end_ns: int | None,
        clock: Clock,
    ) -> Selection:
        if kinds is not None and schema != Schema.TICK:
            raise StoreError(f"records of schema {schema.name.lower()} have no kind to select by", path=self.data_dir)
        return Selection(
            ids=None if ids is None else frozenset(ids),
            kinds=None if kinds is None else frozenset(self._kind(kind) for kind in kinds),
            start_ns=start_ns,
            end_ns=end_ns,
            clock=clock,
        )

    def _kind(self, kind: Kind | str) -> int:
        try:
            return Kind[kind.upper()] if isinstance(kind, str) else Kind(kind)
        except (KeyError, ValueError):
            names = ", ".join(known.name.lower() for known in Kind)
            raise StoreError(f"{kind!r} is not a kind of record; choose from {names}", path=self.data_dir) from None


def _ns(time: Time | None) -> int | None:
    """Nanoseconds since the epoch. Raises ValueError for a text that is not a time."""
    if time is None or isinstance(time, int):
        return time
    if isinstance(time, str):
        return parse_time(time)
    if isinstance(time, np.datetime64):
        return int(time.astype("M8[ns]").astype(np.int64))
    moment = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    whole = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return whole * 1000 + int(getattr(time, "nanosecond", 0))  # times of pandas have this attribute


def _bounds(range_: tuple[Time | None, ...], how: dict[str, Any]) -> tuple[int | None, int | None]:
    """Start and end, given by position or by name; the names are removed from `how`."""
    if len(range_) > 2:
        raise TypeError(f"start and end are two times, not {len(range_)}")
    given = dict(zip(("start", "end"), range_, strict=False))
    for name in ("start", "end"):
        if name in how:
            if name in given:
                raise TypeError(f"{name} is given twice")
            given[name] = how.pop(name)
    return _ns(given.get("start")), _ns(given.get("end"))
