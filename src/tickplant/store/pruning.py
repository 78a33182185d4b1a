"""Which instruments, kinds and chunks an Arrow expression leaves, by what is known before anything is decoded.

Arrow itself decides: each candidate is a fragment of a data set with what holds for all its rows as its partition
expression, and `get_fragments(filter)` drops those in which no row can fit. So there is no second evaluator here
that could disagree with the one that filters the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from tickplant.instruments import Instrument
from tickplant.records.layouts import Kind, Schema
from tickplant.store.arrow_columns import KIND_WORDS, VENUE_TIMES
from tickplant.store.selection import Selection

Expression: TypeAlias = Any  # pc.Expression, which has no types

_FAN: Final = 32
"""Chunks are asked about in groups of so many, then one by one where their group is left: a few of many is cheap."""


def needed_columns(filter_by: Expression, schema: pa.Schema) -> list[str]:
    """Columns that an expression looks at. Raises pa.ArrowInvalid where it does not fit the schema."""
    ds.Scanner.from_batches([], schema=schema, filter=filter_by)
    found = []
    for place, name in enumerate(schema.names):
        try:
            ds.Scanner.from_batches([], schema=schema.remove(place), filter=filter_by)
        except pa.ArrowInvalid:
            found.append(name)
    return found


def surviving(filter_by: Expression, known: Sequence[Expression], schema: pa.Schema) -> list[int]:
    """Places of those facts, each true for all rows of a candidate, beside which the filter may be true."""
    form = ds.ParquetFileFormat()  # of files that nobody opens: a fragment has to be of some format
    filesystem = pa.fs.LocalFileSystem()
    fragments = [
        form.make_fragment(str(place), filesystem, partition_expression=fact) for place, fact in enumerate(known)
    ]
    dataset = ds.FileSystemDataset(fragments, schema, form, filesystem)
    return [int(fragment.path) for fragment in dataset.get_fragments(filter_by)]


class PrunedSelection(Selection, frozen=True):
    """A selection that also leaves out chunks in which, by their headers, no row fits the filter."""

    filter_by: Any = None
    schema: Any = None  # of Arrow, of the filter's columns and the times

    def chunks(self, entries: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which of these index entries may hold such records."""
        wanted = super().chunks(entries)
        places = np.flatnonzero(wanted)
        headers = entries["header"]
        for fan in (_FAN, 1):
            groups = [places[start : start + fan] for start in range(0, len(places), fan)]
            left = surviving(self.filter_by, [self._known(headers[group]) for group in groups], self.schema)
            places = np.concatenate([groups[place] for place in left]) if left else places[:0]
        wanted[:] = False
        wanted[places] = True
        return wanted

    def _known(self, headers: NDArray[np.void]) -> Expression:
        """What holds for all rows of these chunks."""
        facts = [
            _within("seq", pa.scalar(int(headers["first_seq"].min()), pa.uint64()), int(headers["last_seq"].max()))
        ]
        for name in ("ts_recv", "ts_event"):
            kind = pa.timestamp("ns", "UTC")
            low, high = int(headers[f"{name}_min"].min()), int(headers[f"{name}_max"].max())
            if name in VENUE_TIMES:  # 0 in a header where the chunk has no time, and a time may be missing in any
                times = headers[f"{name}_min"]
                low = int(times[times != 0].min()) if times.any() else 0
            facts.append(_within(name, pa.scalar(low, kind), high))
            facts.append(
                _within(_INTEGERS[name], pa.scalar(min(0, low) if name in VENUE_TIMES else low, pa.int64()), high)
            )
        return reduce(and_, facts)


_INTEGERS: Final = {"ts_recv": "recv_ns", "ts_event": "event_ns"}


def _within(name: str, low: pa.Scalar, high: int) -> Expression:
    field = pc.field(name)
    bounds = field >= low, field <= pa.scalar(high, low.type)
    if name in VENUE_TIMES:
        return (bounds[0] | field.is_null()) & (bounds[1] | field.is_null())
    return bounds[0] & bounds[1]


def narrow(
    selection: Selection, filter_by: Expression, schema: pa.Schema, of: Schema, instruments: Sequence[Instrument]
) -> Selection:
    """The selection with what the filter says of instruments, kinds and chunks: it may let more through than fits.

    Args:
        selection: to narrow.
        filter_by: an Arrow expression over the columns of `schema`.
        schema: of all columns that there are.
        of: of the records.
        instruments: all that the selection lets through.
    """
    rows = [row for row in instruments if selection.ids is None or row.id in selection.ids]
    names = [(pc.field("venue") == row.venue) & (pc.field("symbol") == row.symbol) for row in rows]
    ids = frozenset(rows[place].id for place in surviving(filter_by, names, schema))
    kinds = selection.kinds
    if of == Schema.TICK:
        # Behind the words stands what has none: kinds of a later version.
        facts = [pc.field("kind") == word for word in KIND_WORDS] + [pc.field("kind").is_null()]
        left = surviving(filter_by, facts, schema)
        if len(left) < len(facts) and len(KIND_WORDS) not in left:
            found = frozenset(int(Kind[KIND_WORDS[place].upper()]) for place in left)
            kinds = found if kinds is None else kinds & found
    whole = len(ids) == len(rows) and selection.ids is None
    return PrunedSelection(
        ids=None if whole else ids,
        kinds=kinds,
        start_ns=selection.start_ns,
        end_ns=selection.end_ns,
        clock=selection.clock,
        filter_by=filter_by,
        schema=schema,
    )
