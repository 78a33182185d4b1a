"""Which instruments, kinds and chunks a filter leaves, decided before anything is decoded.

The library that filters the rows also decides here, from the bounds of columns, so that no second evaluator could
disagree with it: this is a `Judge`. The one for Arrow makes each candidate a fragment of a data set, whose partition
expression holds for all its rows; `get_fragments(filter)` drops the fragments in which no row can match.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tickplant.instruments import Instrument
from tickplant.records.arrow_columns import INTEGER_TIMES, KIND_WORDS, VENUE_TIMES, ArrowColumns
from tickplant.records.layouts import Kind, Schema
from tickplant.store.selection import Selection
from tickplant.store.value_bounds import Bounds, Facts, value_facts
from tickplant.writer.format.chunk_bounds import BITS, LAYOUT_OF, SLOTS_OF, series_bits

Expression: TypeAlias = Any  # pc.Expression, which has no types

_FAN: Final = 32
"""Chunks are judged in groups of this size, then one by one in the groups that are left: finding a few among many is
cheap."""


_ALWAYS: Final = frozenset({"seq", *INTEGER_TIMES, *INTEGER_TIMES.values()})
"""Columns about which the header of a chunk says something."""


class Judge(Protocol):
    """A filter that can tell where no row matches."""

    columns: frozenset[str]  # the columns that the filter looks at; bounds of others are not needed

    def surviving(self, candidates: Sequence[Facts]) -> list[int]:
        """Indices of the candidates in which a row may match; all of them if it cannot tell."""
        ...


class ArrowJudge:
    """An Arrow expression over the columns of a schema."""

    def __init__(self, filter_by: Expression, schema: pa.Schema) -> None:
        import pyarrow.dataset as ds  # noqa: PLC0415  # loads pandas if installed: seldom needed, and slow

        self.columns = frozenset(needed_columns(filter_by, schema))
        self._filter_by = filter_by
        self._schema = schema
        self._make = ds.FileSystemDataset
        self._form = ds.ParquetFileFormat()  # for files that nobody opens: a fragment must have some format
        self._filesystem = pa.fs.LocalFileSystem()

    def surviving(self, candidates: Sequence[Facts]) -> list[int]:
        """Indices of the candidates in which a row may match."""
        fragments = [
            self._form.make_fragment(str(place), self._filesystem, partition_expression=_known(facts))
            for place, facts in enumerate(candidates)
        ]
        dataset = self._make(fragments, self._schema, self._form, self._filesystem)
        return [int(fragment.path) for fragment in dataset.get_fragments(self._filter_by)]


def _known(facts: Facts) -> Expression:
    """An expression that is true for every row of a candidate."""
    parts = []
    for name, bounds in facts.items():
        field = pc.field(name)
        if bounds is None:
            parts.append(field.is_null())
        elif bounds.low == bounds.high and not bounds.nulls:
            parts.append(field == bounds.low)
        else:
            either = field >= bounds.low, field <= bounds.high
            parts += [each | field.is_null() for each in either] if bounds.nulls else either
    return reduce(and_, parts, pc.scalar(True))


def needed_columns(filter_by: Expression, schema: pa.Schema) -> list[str]:
    """Columns that an Arrow expression looks at. Raises pa.ArrowInvalid if it does not fit the schema."""
    from pyarrow.dataset import Scanner  # noqa: PLC0415  # as above

    Scanner.from_batches([], schema=schema, filter=filter_by)
    found = []
    for place, name in enumerate(schema.names):
        try:
            Scanner.from_batches([], schema=schema.remove(place), filter=filter_by)
        except pa.ArrowInvalid:
            found.append(name)
    return found


class PrunedSelection(Selection, frozen=True):
    """A selection that also leaves out chunks in which no row can match a filter, by their index entries."""

    judge: Any = None  # Judge
    arrow: Any = None  # ArrowColumns; None: nothing is known about prices, sizes and ids
    series: frozenset[int] | None = None  # numbers of the series in which a row may match; None: all

    def chunks(self, entries: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which of these index entries may hold such records."""
        wanted = super().chunks(entries)
        if self.series is not None:
            wanted &= self._may_have_series(entries)
        if self.judge.columns.isdisjoint(_noted(self.arrow)):
            return wanted
        places = np.flatnonzero(wanted)
        firsts, alike = self._alike(entries[places])
        candidates = places[firsts]
        for fan in (_FAN, 1):
            groups = [candidates[start : start + fan] for start in range(0, len(candidates), fan)]
            known = [_facts(entries[group], self.arrow, self.judge.columns) for group in groups]
            left = self.judge.surviving(known) if groups else []
            candidates = np.concatenate([groups[place] for place in left]) if left else candidates[:0]
        wanted[:] = False
        wanted[places[np.isin(places[firsts], candidates)[alike]]] = True
        return wanted

    def _may_have_series(self, entries: NDArray[np.void]) -> NDArray[np.bool_]:
        schema, numbers = self.arrow.record_schema, sorted(self.series or ())
        (slot,) = (place for place, its in enumerate(SLOTS_OF[schema]) if its.rows == BITS)
        bits = series_bits(np.array(numbers, np.int64)) if numbers else np.int64(0)
        found: NDArray[np.bool_] = entries["bounds"][:, 0, slot] & bits != 0
        found |= entries["slots"] != LAYOUT_OF[schema]
        return found

    def _alike(self, entries: NDArray[np.void]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Indices of entries that differ in what the filter looks at, and for each entry which of these it equals.

        Bars, for example, come in chunks of a second, which are of two sorts: with and without a bar of a minute.
        """
        slots = () if self.arrow is None else SLOTS_OF[self.arrow.record_schema]
        values = [place for place, its in enumerate(slots) if its.column in self.judge.columns and its.rows != BITS]
        each = np.arange(len(entries))
        if not self.judge.columns.isdisjoint(_ALWAYS) or not values:  # hardly two entries have the same times
            return each, each
        bounds = entries["bounds"][:, :, values].reshape(len(entries), 2 * len(values))
        looked_at = np.concatenate([bounds, entries["slots"][:, None].astype(np.int64)], axis=1)
        _, firsts, alike = np.unique(looked_at, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(firsts)
        return firsts[order], np.argsort(order)[alike.reshape(-1)]


def _noted(arrow: ArrowColumns | None) -> set[str]:
    """Columns about whose values index entries say something."""
    slots = () if arrow is None else SLOTS_OF[arrow.record_schema]
    return {slot.column for slot in slots if slot.rows != BITS} | _ALWAYS


def _facts(entries: NDArray[np.void], arrow: ArrowColumns | None, columns: frozenset[str]) -> Facts:
    """Bounds of these columns over all rows of the chunks with these index entries."""
    headers = entries["header"]
    facts: dict[str, Bounds | None] = {} if arrow is None else value_facts(entries, arrow, columns)
    if "seq" in columns:
        facts["seq"] = _bounds(headers["first_seq"], headers["last_seq"], pa.uint64())
    for integers, name in INTEGER_TIMES.items():
        if columns.isdisjoint((integers, name)):
            continue
        low, high = headers[f"{name}_min"], headers[f"{name}_max"]
        if name in VENUE_TIMES:
            # A time may be missing in any row; a header has 0 where no row has one.
            facts[integers] = _bounds(np.minimum(low, 0), np.maximum(high, 0), pa.int64())
            there = low != 0
            low, high = (low[there], high[there]) if there.any() else (low, high)
        else:
            facts[integers] = _bounds(low, high, pa.int64())
        facts[name] = _bounds(low, high, pa.timestamp("ns", "UTC"))._replace(nulls=name in VENUE_TIMES)
    return facts


def _bounds(low: NDArray[Any], high: NDArray[Any], kind: pa.DataType) -> Bounds:
    return Bounds(pa.scalar(int(low.min()), kind), pa.scalar(int(high.max()), kind))


def narrow(
    selection: Selection,
    judge: Judge,
    of: Schema,
    instruments: Sequence[Instrument],
    arrow: ArrowColumns | None = None,
) -> Selection:
    """Narrow a selection by what a filter says about instruments, kinds, series and chunks.

    The result may let more records through than the filter.

    Args:
        selection: the selection to narrow.
        judge: the judge of the filter.
        of: schema of the records.
        instruments: all instruments.
        arrow: makes the columns that the filter looks at.
    """
    rows = [row for row in instruments if selection.ids is None or row.id in selection.ids]
    names = [{"venue": _same(row.venue), "symbol": _same(row.symbol)} for row in rows]
    ids = frozenset(rows[place].id for place in judge.surviving(names))
    kinds = selection.kinds
    if of == Schema.TICK:
        # The last candidate stands for kinds without a word, those of a later version.
        words: list[Facts] = [{"kind": _same(word)} for word in KIND_WORDS]
        left = judge.surviving([*words, {"kind": None}])
        if len(left) <= len(words) and len(words) not in left:
            found = frozenset(int(Kind[KIND_WORDS[place].upper()]) for place in left)
            kinds = found if kinds is None else kinds & found
    series = None
    if arrow is not None and "series" in judge.columns and arrow.series is not None:
        left = judge.surviving([{"series": _same(name)} for name in arrow.series])
        series = frozenset(place + 1 for place in left)
    return PrunedSelection(
        ids=None if len(ids) == len(rows) and selection.ids is None else ids,
        kinds=kinds,
        start_ns=selection.start_ns,
        end_ns=selection.end_ns,
        clock=selection.clock,
        judge=judge,
        arrow=arrow,
        series=series,
    )


def _same(text: str) -> Bounds:
    return Bounds(pa.scalar(text), pa.scalar(text))
