"""Chunks and their transforms hold any values at all, and each kernel does what its plain reference does."""

from __future__ import annotations

from random import Random

import hypothesis.strategies as st
import numpy as np
import pytest
import read_chunks
from hypothesis import example, given, settings
from numpy.typing import NDArray

from tickplant.records.layouts import DTYPES, Schema
from tickplant.writer.format import transform
from tickplant.writer.format.codec import decode_chunk, encode_chunk
from tickplant.writer.format.columns import COLUMN_IDS

pytestmark = pytest.mark.kernels

EXTREMES = [0, 1, 2, 255, 256, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1]

word = st.one_of(st.sampled_from(EXTREMES), st.integers(0, 2**64 - 1), st.integers(0, 300))
words = st.lists(word, min_size=1, max_size=40).map(lambda values: np.array(values, np.uint64))


@st.composite
def records(draw: st.DrawFn) -> tuple[Schema, NDArray[np.void]]:
    schema = draw(st.sampled_from(list(Schema)))
    rows = draw(st.integers(1, 30))
    made = np.zeros(rows, DTYPES[schema])
    for name in COLUMN_IDS[schema]:
        column = draw(st.lists(word, min_size=rows, max_size=rows)) if draw(st.booleans()) else [draw(word)] * rows
        bits = np.array(column, np.uint64)
        made[name] = bits.view(np.float64) if made.dtype[name].kind == "f" else bits.astype(made.dtype[name])
    return schema, made


@given(records(), st.integers(1, 19))
@settings(max_examples=150)
def test_any_records_come_back_from_a_chunk(drawn: tuple[Schema, NDArray[np.void]], level: int) -> None:
    schema, made = drawn
    decoded = decode_chunk(encode_chunk(made, schema, 0, level=level))[0]
    for name in COLUMN_IDS[schema]:
        assert decoded[name].tobytes() == made[name].tobytes(), name


@given(records())
@settings(max_examples=150)
def test_the_stand_alone_reader_reads_the_same(drawn: tuple[Schema, NDArray[np.void]]) -> None:
    schema, made = drawn
    encoded = encode_chunk(made, schema, 7)
    chunk, length = read_chunks.decode_chunk(memoryview(encoded + b"more"))
    assert (chunk.schema, chunk.epoch, length) == (schema.name.lower(), 7, len(encoded))
    assert list(chunk.columns) == list(COLUMN_IDS[schema])
    for name, column in chunk.columns.items():
        assert column.dtype == made.dtype[name]
        assert column.tobytes() == made[name].tobytes(), name


@given(words)
@settings(max_examples=100)
def test_keys_are_numbered_like_the_reference(keys: NDArray[np.uint64]) -> None:
    keys = keys % np.uint64(7) * np.uint64(2**61 + 3)
    numbers, expected = np.empty((2, len(keys)), np.int32)
    with np.errstate(over="ignore"):
        count = transform.number_keys(keys, np.full(64, -1, np.int32), np.empty(64, np.uint64), numbers)
    assert count == transform.number_keys_reference(keys, expected)
    assert np.array_equal(numbers, expected)

    previous, expected_previous, order, expected_order = np.empty((4, len(keys)), np.int32)
    transform.link_rows(numbers, count, previous)
    transform.link_rows_reference(numbers, count, expected_previous)
    assert np.array_equal(previous, expected_previous)
    ends = transform.order_by_group(numbers, count, order)
    assert np.array_equal(ends, transform.order_by_group_reference(numbers, count, expected_order))
    assert np.array_equal(order, expected_order)


@given(words)
@settings(max_examples=100)
@example(np.array([5], np.uint64))
@example(np.array([2**64 - 1, 0, 1, 2], np.uint64))
def test_progressions_are_recognised_like_the_reference(values: NDArray[np.uint64]) -> None:
    with np.errstate(over="ignore"):
        assert transform.is_progression(values) == transform.is_progression_reference(values)
        climbing = np.uint64(7) + np.arange(len(values), dtype=np.uint64) * values[0]
        assert transform.is_progression(climbing)


@given(
    words,
    st.sampled_from([transform.BASE, transform.ROW, transform.CONTEXT]),
    word,
    st.booleans(),
    st.randoms(use_true_random=False),
)
@settings(max_examples=150)
def test_residuals_equal_the_reference_and_restore_the_values(
    values: NDArray[np.uint64], predictor: int, base: int, grouped: bool, random: Random
) -> None:
    rows = len(values)
    groups = np.array([random.randrange(3) for _ in range(rows)], np.int32)
    previous, order = np.empty((2, rows), np.int32)
    transform.link_rows_reference(groups, 3, previous)
    transform.order_by_group_reference(groups, 3, order)
    order = order if grouped else np.empty(0, np.int32)
    made, expected, restored, expected_restored = np.empty((4, rows), np.uint64)
    with np.errstate(over="ignore"):
        transform.make_residuals(values, predictor, np.uint64(base), previous, order, made)
        transform.make_residuals_reference(values, predictor, base, previous, order, expected)
        assert np.array_equal(made, expected)
        transform.restore_values(made, predictor, np.uint64(base), previous, order, restored)
        transform.restore_values_reference(expected, predictor, base, previous, order, expected_restored)
    assert np.array_equal(restored, values)
    assert np.array_equal(expected_restored, values)


@given(words, word, st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_grouped_residuals_equal_the_reference_and_restore_the_values(
    values: NDArray[np.uint64], base: int, random: Random
) -> None:
    rows = len(values)
    numbers, order = np.empty((2, rows), np.int32)
    count = transform.number_keys_reference(np.array([random.randrange(3) for _ in range(rows)], np.uint64), numbers)
    ends = transform.order_by_group_reference(numbers, count, order)
    made, expected, restored, expected_restored = np.empty((4, rows), np.uint64)
    with np.errstate(over="ignore"):
        transform.make_grouped_residuals(values, np.uint64(base), order, ends, made)
        transform.make_grouped_residuals_reference(values, base, order, ends, expected)
        assert np.array_equal(made, expected)
        transform.restore_grouped_values(made, np.uint64(base), order, ends, restored)
        transform.restore_grouped_values_reference(expected, base, order, ends, expected_restored)
    assert np.array_equal(restored, values)
    assert np.array_equal(expected_restored, values)


@given(words, st.sampled_from([1, 2, 1000, 2**40, 2**63]))
@settings(max_examples=150)
@example(np.array([2**63], np.uint64), 1)
@example(np.array([0, 0], np.uint64), 1)
def test_packing_equals_the_reference_and_unpacks(values: NDArray[np.uint64], factor: int) -> None:
    with np.errstate(over="ignore"):
        values *= np.uint64(factor)
        divisor, largest, signed = transform.measure(values)
        assert (int(divisor), int(largest), bool(signed)) == transform.measure_reference(values)
        width = transform.width_of(int(largest), int(divisor), signed=bool(signed))
        planes, expected = np.empty((2, width * len(values)), np.uint8)
        transform.pack_reference(values, int(divisor), bool(signed), width, expected)
        transform.pack(values.copy(), np.uint64(divisor), bool(signed), width, planes)
        assert np.array_equal(planes, expected)
        unpacked, expected_unpacked = np.empty((2, len(values)), np.uint64)
        transform.unpack(planes, np.uint64(divisor), bool(signed), width, unpacked)
        transform.unpack_reference(planes, int(divisor), bool(signed), width, expected_unpacked)
    assert np.array_equal(unpacked, values)
    assert np.array_equal(expected_unpacked, values)
    if width > 1:  # it is the narrowest
        narrower = 256 ** (width - 1)
        quotient = int(largest) // int(divisor)
        assert (2 * quotient if signed else quotient) >= narrower
