"""The text that a checksum is taken over equals the plain reference's, for any numbers and decimals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.books.checksums import ALGORITHMS, INEXACT, NUMBER_BYTES, BookChecksum, Digits, Form, write_number
from tickplant.books.plain_checksums import book_checksum, number_text

pytestmark = pytest.mark.kernels

DECIMALS = st.integers(0, 18)
ROUND = st.tuples(st.integers(-(10**6), 10**6), st.integers(0, 12)).map(lambda pair: pair[0] * 10 ** pair[1])
MANTISSA = st.one_of(ROUND, st.integers(-(2**63) + 1, 2**63 - 1))
LEVELS = st.lists(st.tuples(ROUND, ROUND.map(abs)), max_size=30)


def array_of(levels: list[tuple[int, int]]) -> np.ndarray:
    return np.array(levels, np.int64).reshape(-1, 2)


@settings(max_examples=400)
@given(MANTISSA, DECIMALS, DECIMALS, st.sampled_from(list(Form)))
def test_a_number_is_written_as_by_str(mantissa: int, scale: int, decimals: int, form: Form) -> None:
    out = np.full(NUMBER_BYTES + 1, 255, np.uint8)
    start = write_number(mantissa, scale, decimals, int(form), out, NUMBER_BYTES)
    try:
        expected = number_text(mantissa, scale, decimals, form)
    except ValueError:
        assert start == INEXACT
        return
    assert bytes(out[start:NUMBER_BYTES]).decode() == expected
    assert start > 0, "room for a separator"
    assert set(out[:start].tolist()) | {out[-1]} == {255}


@settings(max_examples=150)
@given(st.sampled_from(list(ALGORITHMS)), LEVELS, LEVELS, st.sampled_from([(3, 4), (8, 8)]), DECIMALS, DECIMALS)
def test_a_checksum_equals_the_reference(
    venue: str, bids: list, asks: list, scales: tuple[int, int], price: int, size: int
) -> None:
    digits = Digits(*scales, price, size)
    checksum = BookChecksum(ALGORITHMS[venue], digits)
    expected = book_checksum(ALGORITHMS[venue], digits, bids, asks)
    assert checksum.of_levels(array_of(bids), array_of(asks)) == expected
