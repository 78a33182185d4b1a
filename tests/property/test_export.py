"""Decimal text, many at a time, equals the one-at-a-time reference."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from tickplant.instruments import MAX_SCALE, format_decimal
from tickplant.store.decimals import format_decimals

pytestmark = pytest.mark.kernels

mantissas = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-1000, 1000))
numbers = st.lists(st.tuples(mantissas, st.integers(0, MAX_SCALE), st.booleans()), max_size=30)


@given(numbers)
@settings(max_examples=200)
@example([(-(2**63), 0, True), (-(2**63), 18, True), (0, 0, True), (0, 8, True), (-1, 18, True), (10, 1, True)])
def test_texts_equal_the_reference(rows: list[tuple[int, int, bool]]) -> None:
    offsets, text = format_decimals(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.uint8),
        np.array([row[2] for row in rows], np.bool_),
    )
    texts = [bytes(text[start:stop]).decode() for start, stop in pairwise(offsets)]
    assert texts == [format_decimal(mantissa, scale) if valid else "" for mantissa, scale, valid in rows]
