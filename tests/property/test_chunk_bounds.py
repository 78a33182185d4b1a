"""What an index says of values: the kernel like its reference, and no filter leaves out a chunk in which a row fits."""

from __future__ import annotations

import operator
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tickplant.instruments import Instrument
from tickplant.records.arrow_columns import ArrowColumns
from tickplant.records.layouts import DTYPES, NO_PRICE, Schema
from tickplant.store.pruning import ArrowJudge, PrunedSelection
from tickplant.writer.format.chunk_bounds import SLOTS, SLOTS_OF, bounds_of, find_bounds, find_bounds_reference
from tickplant.writer.format.chunk_layout import read_header
from tickplant.writer.format.codec import encode_with_bounds
from tickplant.writer.index import make_entries

INSTRUMENTS = [Instrument(1, "venue", "AAA", 2, 0), Instrument(2, "venue", "BBB", 8, 8), Instrument(3, "x", "C", 18, 3)]
SCHEMAS = [schema for schema in Schema if SLOTS_OF[schema]]

edges = st.sampled_from([NO_PRICE, NO_PRICE + 1, 2**63 - 1, -1, 0, 1])
numbers = st.one_of(edges, st.integers(-500, 500), st.integers(-(2**63), 2**63 - 1))
kinds = st.integers(0, 16)


@given(st.lists(st.tuples(numbers, kinds), max_size=20), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=150)
@pytest.mark.kernels
def test_the_least_and_the_greatest_are_those_of_the_reference(
    rows: list[tuple[int, int]], noted: bool, nullable: bool, without: bool
) -> None:
    values = np.array([value for value, _ in rows], np.int64)
    kind = np.array([] if without else [kind for _, kind in rows], np.uint8)
    assert find_bounds(values, kind, noted, nullable) == find_bounds_reference(values, kind, noted, nullable)


def make_records(schema: Schema, rows: list[list[int]], ids: list[int]) -> NDArray[np.void]:
    """Records whose slots have these values; those of unsigned columns modulo what fits."""
    records = np.zeros(len(rows), DTYPES[schema])
    for place, row in enumerate(rows):
        for name, number in zip([slot.column for slot in SLOTS_OF[schema]], row, strict=False):
            field = records.dtype[name]
            records[name][place] = number % 2 ** (8 * field.itemsize) if field.kind == "u" else number
        records["instrument"][place] = ids[place]
        if "kind" in (records.dtype.names or ()):
            records["kind"][place] = row[-1] % 16
    records["seq"] = np.arange(len(rows))
    records["ts_recv"] = records["ts_event"] = 1
    return records


@st.composite
def questions(draw: st.DrawFn, arrow: ArrowColumns, batch: pa.RecordBatch, depth: int = 2) -> Any:
    """An Arrow expression over columns with bounds, about values of their type that there are, or nearly."""
    if depth and draw(st.booleans()):
        both = [draw(questions(arrow, batch, depth - 1)) for _ in range(2)]
        return draw(st.sampled_from([operator.and_, operator.or_]))(*both)
    if depth and draw(st.booleans()):
        return ~draw(questions(arrow, batch, depth - 1))
    name = draw(st.sampled_from(sorted({slot.column for slot in SLOTS_OF[arrow.record_schema]})))
    if draw(st.integers(0, 5)) == 0:
        return pc.field(name).is_null()
    known = batch[name][draw(st.integers(0, batch.num_rows - 1))].as_py()
    near = draw(st.sampled_from([-1, 0, 0, 1]))
    kind = batch[name].type
    if pa.types.is_decimal(kind):
        value = pa.scalar(Decimal(0 if known is None else known) + Decimal(near).scaleb(-kind.scale), kind)
    elif pa.types.is_integer(kind):
        limits = np.iinfo(kind.to_pandas_dtype())
        value = pa.scalar(min(max((known or 0) + near, int(limits.min)), int(limits.max)), kind)
    else:
        value = pa.scalar((known or 0) + near, kind)
    compare = draw(st.sampled_from([operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]))
    return compare(pc.field(name), value)


@given(st.data())
@settings(max_examples=30)
def test_no_chunk_is_left_out_in_which_a_row_fits(data: st.DataObject) -> None:
    schema = data.draw(st.sampled_from(SCHEMAS))
    prices = data.draw(st.sampled_from(["decimal", "float", "integer"]))
    wanted = data.draw(st.sampled_from([INSTRUMENTS, INSTRUMENTS[:2], INSTRUMENTS[2:]]))
    arrow = ArrowColumns(wanted, schema, prices=prices)
    place, chunks, batches, fits = 0, [], [], []
    bounds = []
    for _ in range(data.draw(st.integers(1, 3))):
        rows = data.draw(st.lists(st.lists(numbers, min_size=SLOTS + 1, max_size=SLOTS + 1), min_size=1, max_size=4))
        records = make_records(schema, rows, data.draw(st.lists(st.integers(1, 3), min_size=4, max_size=4)))
        chunk, its = encode_with_bounds(records, schema, 0)
        assert np.array_equal(its, bounds_of({name: records[name] for name in records.dtype.names or ()}, schema))
        chunks.append((place, read_header(chunk)))
        bounds.append(its)
        place += len(chunk)
        kept = records[np.isin(records["instrument"], [row.id for row in wanted])]
        batches.append(arrow.batch(arrow.all, {name: kept[name] for name in kept.dtype.names or ()}))
    table = [batch for batch in batches if batch.num_rows]
    if not table:
        return
    filter_by = data.draw(questions(arrow, table[0]))
    fits = [batch.filter(filter_by).num_rows > 0 for batch in batches]
    selection = PrunedSelection(judge=ArrowJudge(filter_by, arrow.schema(arrow.all)), arrow=arrow)
    left = selection.chunks(make_entries(chunks, bounds))
    assert not (np.array(fits) & ~left).any(), (filter_by, fits, left)
    twice = make_entries([*chunks, *((offset + place, header) for offset, header in chunks)], bounds * 2)
    assert np.array_equal(selection.chunks(twice), np.tile(left, 2))
