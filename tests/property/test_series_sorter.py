"""Derived records are sorted into topics: each once, in its order, under the key of its instrument and series."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.derive.derivation import series_of
from tickplant.derive.series_sorter import SeriesSorter
from tickplant.records.layouts import DTYPES, Schema
from tickplant.records.schemas import FACTS

pytestmark = pytest.mark.kernels

SCHEMAS = (Schema.BBO, Schema.BAR, Schema.VALUE, Schema.TRADE_BAR)


@settings(max_examples=60)
@given(st.sampled_from(SCHEMAS), st.lists(st.integers(1, 65_535), min_size=1, max_size=5, unique=True), st.data())
def test_a_batch_is_sorted_as_by_looking_at_each_record(
    schema: Schema, numbers: list[int], data: st.DataObject
) -> None:
    numbers = numbers if FACTS[schema].series else [0]
    rows = data.draw(st.lists(st.tuples(st.integers(1, 400), st.sampled_from(numbers)), min_size=1, max_size=40))
    records = np.frombuffer(data.draw(st.randoms()).randbytes(len(rows) * DTYPES[schema].itemsize), DTYPES[schema])
    records = records.copy()
    records["instrument"] = [instrument for instrument, _ in rows]
    if FACTS[schema].series:
        records[FACTS[schema].series] = [number for _, number in rows]
    words, keys, starts = SeriesSorter(schema, numbers).sort(records)
    sorted_ = words.reshape(-1).view(DTYPES[schema])
    assert len(set(keys.tolist())) == len(keys)
    for key, start, end in zip(keys.tolist(), starts.tolist(), starts.tolist()[1:], strict=False):
        instrument, place = divmod(key, len(numbers))
        expected = records[(records["instrument"] == instrument) & (series_of(schema, records) == numbers[place])]
        assert sorted_[start:end].tobytes() == expected.tobytes()
    assert starts[-1] == len(records)


def test_a_record_of_a_series_that_was_not_named_is_refused() -> None:
    records = np.zeros(3, DTYPES[Schema.VALUE])
    records["instrument"], records["series"] = 1, (3, 5, 4)
    with pytest.raises(KeyError, match="not named"):
        SeriesSorter(Schema.VALUE, (5, 3)).sort(records)
