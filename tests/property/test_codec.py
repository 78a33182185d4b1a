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
from tickplant.writer.format import columns, describing, grouping, restoring, sections, transform
from tickplant.writer.format.chunk_layout import COLUMN, HEADER, MAX_ROWS
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
        count = grouping.number_keys(keys, np.full(64, -1, np.int32), np.empty(64, np.uint64), numbers)
    assert count == grouping.number_keys_reference(keys, expected)
    assert np.array_equal(numbers, expected)

    previous, expected_previous, order, expected_order = np.empty((4, len(keys)), np.int32)
    grouping.link_rows(numbers, count, previous)
    grouping.link_rows_reference(numbers, count, expected_previous)
    assert np.array_equal(previous, expected_previous)
    ends = grouping.order_by_group(numbers, count, order)
    assert np.array_equal(ends, grouping.order_by_group_reference(numbers, count, expected_order))
    assert np.array_equal(order, expected_order)


@given(
    st.integers(1, 60),
    st.sampled_from([(1, 1, 1), (3, 3, 3), (1, 32, 8), (1, 33, 8), (1, 32, 9), (2, 5, 3), (300, 300, 300)]),
    st.sampled_from([1, 2, 20]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=150)
def test_rows_are_sorted_by_group_and_stream_like_the_reference(
    rows: int, most: tuple[int, int, int], run: int, random: Random
) -> None:
    first, second, third = (
        np.repeat(np.array([random.randrange(end) % 256 for _ in range(rows)], dtype), run)
        for end, dtype in zip(most, (np.uint32, np.uint8, np.uint8), strict=True)
    )
    rows *= run
    keys = np.empty(rows, np.uint64)
    groups, numbers, order, sorted_rows, expected, expected_order = np.empty((6, rows), np.int32)
    with np.errstate(over="ignore"):
        ends = grouping.sort_groups(first, second, third, keys, groups, order)
        wanted = grouping.sort_groups_reference(first, second, third, keys, expected, expected_order)
        assert np.array_equal(ends, wanted)
        assert np.array_equal(groups, expected)
        assert len(ends) == 1 or np.array_equal(order, expected_order)
        ends = grouping.sort_streams(keys, np.uint64(8), groups, order, ends, numbers, sorted_rows)
    wanted = grouping.sort_streams_reference(keys, 8, expected, expected_order)
    assert np.array_equal(ends, wanted)
    assert np.array_equal(numbers, expected)
    assert len(ends) == 1 or np.array_equal(sorted_rows, expected_order)


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
    grouping.link_rows_reference(groups, 3, previous)
    grouping.order_by_group_reference(groups, 3, order)
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
def test_grouped_residuals_equal_the_reference(values: NDArray[np.uint64], base: int, random: Random) -> None:
    order, ends = sorted_rows(len(values), random)
    made, expected, restored = np.empty((3, len(values)), np.uint64)
    with np.errstate(over="ignore"):
        transform.make_grouped_residuals(values, np.uint64(base), order, ends, made)
        transform.make_grouped_residuals_reference(values, base, order, ends, expected)
        transform.restore_grouped_values_reference(expected, base, order, ends, restored)
    assert np.array_equal(made, expected)
    assert np.array_equal(restored, values)


def sorted_rows(rows: int, random: Random) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Rows in the order of three groups, numbered as they appear, and where those end."""
    numbers, order = np.empty((2, rows), np.int32)
    count = grouping.number_keys_reference(np.array([random.randrange(3) for _ in range(rows)], np.uint64), numbers)
    return order, grouping.order_by_group_reference(numbers, count, order)


MANY = 1500  # rows: more than a kernel unpacks at once


@given(
    st.one_of(st.integers(1, 20), st.just(MANY)),
    st.integers(0, 8),
    st.integers(0, 0x7F),
    word,
    word,
    st.randoms(use_true_random=False),
)
@settings(max_examples=100)
def test_a_column_is_restored_like_the_reference(
    rows: int, width: int, bits: int, base: int, divisor: int, random: Random
) -> None:
    order, ends = sorted_rows(rows, random)
    apart = np.array([row for row in range(min(rows, 20)) if random.randrange(8) == 0], np.int64)
    count = len(apart) if random.randrange(10) else 3
    nothing = apart[:0]
    column = np.array([7, bits, width, base, divisor, count, 3], np.uint64)
    planes = np.frombuffer(random.randbytes(3 + width * rows + 8 * count), np.uint8)
    with np.errstate(over="ignore"):
        for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
            made, expected = np.zeros((2, rows), dtype)
            for places, stops in ((order, ends), (order[:0], nothing)):
                how = planes, column, places, stops, apart if bits & columns.APART else nothing
                status = restoring.restore(*how, made)
                assert status == restoring.restore_reference(*how, expected)
                assert status or np.array_equal(made, expected)


@given(st.integers(1, 20), st.sampled_from([0, 1, 200, 255, 256, 2**64 - 1]), st.integers(1, 256), st.data())
@settings(max_examples=100)
def test_a_column_of_bytes_is_restored_like_the_reference(rows: int, base: int, end: int, data: st.DataObject) -> None:
    planes = np.array(data.draw(st.lists(st.integers(0, end - 1), min_size=rows + 3, max_size=rows + 3)), np.uint8)
    column = np.array([7, columns.HAS_BASE, 1, base, data.draw(st.integers(0, 2)), 0, 3], np.uint64)
    nothing, no_rows = np.empty(0, np.int64), np.empty(0, np.int32)
    made, expected = np.zeros((2, rows), np.uint8)
    with np.errstate(over="ignore"):
        status = restoring.restore(planes, column, no_rows, nothing, nothing, made)
        assert status == restoring.restore_reference(planes, column, no_rows, nothing, nothing, expected)
    assert status or np.array_equal(made, expected)


@given(
    st.lists(st.one_of(st.integers(0, 255), st.sampled_from([1, 3, 4, 5, 6, 0x10, 0x30])), max_size=60).map(bytes),
    st.integers(1, 5),
    st.sampled_from([1, 300, MAX_ROWS]),
    word,
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from(list(Schema)),
)
@settings(max_examples=150)
@example(bytes([6, 0x10, 8, 7, 7, 0x70, 1, 5, 6, 7, 5, 0x10, 3, 9]), 3, 300, 2**64 - 1, -5, Schema.BBO)
def test_a_section_is_described_like_the_reference(
    data: bytes, count: int, rows: int, first_seq: int, ts_recv: int, schema: Schema
) -> None:
    origins = sections.SectionLayout(schema).origins
    made, expected = np.zeros((2, count, len(sections.Described._fields)), np.uint64)
    with np.errstate(over="ignore"):
        end = describing.describe(
            np.frombuffer(data, np.uint8), rows, origins, np.uint64(first_seq), np.int64(ts_recv), made
        )
    assert end == describing.describe_reference(data, rows, origins, first_seq, ts_recv, expected)
    assert np.array_equal(made, expected)


@given(
    st.lists(st.lists(st.sampled_from([0, 1, 3, 4, 5, 6, 0x10, 0x30, 255]), max_size=12).map(bytes), max_size=6),
    st.randoms(use_true_random=False),
    st.sampled_from([1, 300]),
    st.integers(1, 9),
)
@settings(max_examples=150)
@example([bytes([5, 0, 2]), bytes([6, 0x10, 1, 7, 5, 0, 8])], Random(2), 300, 9)
def test_the_sections_of_a_chunk_are_described_like_the_reference(
    parts: list[bytes], random: Random, rows: int, room: int
) -> None:
    layout = sections.SectionLayout(Schema.TICK)
    directory = np.zeros(len(parts), COLUMN)
    for place, part in enumerate(parts):
        count = random.choice([0, 1, 1, 2, 2, 3])
        directory[place] = random.choice([1, 5, 5, 200]), random.choice([0, 1]), 0, count, len(part)
    chunk = bytes(HEADER.itemsize) + directory.tobytes() + b"".join(parts) + bytes(12)
    needed = np.array([random.random() < 0.5 for _ in range(256)])
    made, expected = np.zeros((2, room, len(sections.Described._fields) + 1), np.uint64)
    its, expected_its = np.zeros((2, len(parts), 4), np.int64)
    how = len(parts), rows, layout.known, needed, layout.origins
    data = np.frombuffer(chunk, np.uint8)
    with np.errstate(over="ignore"):
        found = describing.describe_sections(data, *how, np.uint64(7), np.int64(-9), made, its)
    assert found == describing.describe_sections_reference(chunk, *how, 7, -9, expected, expected_its)
    if found >= 0:
        assert np.array_equal(made[:found], expected[:found])
        assert np.array_equal(its, expected_its)


@given(st.integers(1, 30), st.sampled_from([8, 9, 11, 13]), st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_columns_are_joined_like_the_reference(rows: int, width: int, more: int, random: Random) -> None:
    """To records, to words, and to keys."""
    words_of = np.frombuffer(random.randbytes(8 * width * (rows + more)), np.uint64).reshape(width, rows + more).copy()
    made, expected = np.empty((2, rows, width), np.uint64)
    restoring.interleave(words_of, made)
    restoring.interleave_reference(words_of, expected)
    assert np.array_equal(made, expected)
    apart, expected_apart = np.zeros((2, width + 1, rows + more), np.uint64)
    restoring.separate(made, apart)
    restoring.separate_reference(made, expected_apart)
    assert np.array_equal(apart, expected_apart)

    first, second, third = (words_of[place, :rows].astype(f"u{4 >> place}") for place in range(3))
    whole, expected_whole = words_of[3, :rows] & np.uint64(0xFFFF_FFFF_0000_FFFF), words_of[4, :rows].copy()
    expected_whole[:] = whole
    restoring.add_part(second, np.uint64(16), whole)
    restoring.add_part_reference(second, 16, expected_whole)
    assert np.array_equal(whole, expected_whole)
    nothing = third[:0]
    restoring.take_part(whole, np.uint64(16), second)
    narrow = np.empty(rows, second.dtype)
    restoring.take_part_reference(expected_whole, 16, narrow)
    assert np.array_equal(second, narrow)
    for parts in ((first, second, third), (first, first, nothing), (first, nothing, nothing)):
        grouping.join_keys(*parts, whole)
        grouping.join_keys_reference(*parts, expected_whole)
        assert np.array_equal(whole, expected_whole)


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
