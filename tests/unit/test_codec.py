"""The chunk format: layout, what makes a chunk valid, what a reader says of one that is not."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import zstandard
from made_records import make_records, make_ticks

from tickplant.errors import DamageError, StoreError
from tickplant.records.layouts import DTYPES, TICK, Flag, Kind, Schema
from tickplant.writer.format import codec, columns, grouping, sections
from tickplant.writer.format.chunk_layout import (
    COLUMN,
    COMMIT_MARK,
    HEADER,
    MAGIC,
    MAX_ROWS,
    ChunkHeader,
    header_checksum,
    read_header,
)
from tickplant.writer.format.codec import ChunkDecoder, decode_chunk, encode_chunk
from tickplant.writer.format.section_frames import THOROUGH_LEVEL, FrameMaker

pytestmark = pytest.mark.kernels


def test_header_and_directory_have_the_documented_offsets() -> None:
    assert HEADER.itemsize == 104
    assert COLUMN.itemsize == 8
    offsets = {name: HEADER.fields[name][1] for name in HEADER.names}
    assert offsets == {
        "length_bytes": 0, "magic": 4, "version": 8, "schema": 10, "columns": 12, "reserved": 14, "rows": 16,
        "kinds": 20, "producer": 24, "epoch": 32, "first_seq": 40, "last_seq": 48, "ts_event_min": 56,
        "ts_event_max": 64, "ts_recv_min": 72, "ts_recv_max": 80, "instruments": 88, "payload_checksum": 96,
        "header_checksum": 100,
    }  # fmt: skip
    assert ChunkHeader._fields == HEADER.names


@pytest.mark.parametrize("schema", list(Schema))
def test_every_field_with_a_meaning_has_a_column_of_its_own(schema: Schema) -> None:
    ids = columns.COLUMN_IDS[schema]
    assert set(ids) == set(DTYPES[schema].names or ()) - {"reserved"}
    assert len(set(ids.values())) == len(ids)
    keys = [name for name, _ in columns.KEYS[schema]]
    assert list(ids)[: len(keys)] == keys
    assert sum(bits for _, bits in columns.KEYS[schema]) <= 64


@pytest.mark.parametrize("schema", list(Schema))
@pytest.mark.parametrize("rows", [1, 2, 7, 300])
def test_records_come_back_to_the_byte(schema: Schema, rows: int) -> None:
    records = make_records(schema, rows, first_seq=1000)
    chunk = encode_chunk(records, schema, epoch=2**64 - 1, producer=2**64 - 2)
    decoded, header, end = decode_chunk(chunk)
    assert decoded.dtype == records.dtype
    for name in records.dtype.names or ():
        assert decoded[name].tobytes() == records[name].tobytes(), name
    assert decoded.tobytes() == records.tobytes()  # the padding too
    assert end == len(chunk) == header.length_bytes
    assert (header.rows, header.first_seq, header.last_seq) == (rows, 1000, 1000 + rows - 1)
    assert (header.epoch, header.producer) == (2**64 - 1, 2**64 - 2)


def test_header_describes_its_records() -> None:
    ticks = make_ticks(60)
    ticks["ts_event"][ticks["kind"] == Kind.LEVEL] = -5
    header = decode_chunk(encode_chunk(ticks, Schema.TICK, 0))[1]
    events = ticks["ts_event"][ticks["ts_event"] != 0]
    assert (header.ts_event_min, header.ts_event_max) == (events.min(), events.max())
    assert (header.ts_recv_min, header.ts_recv_max) == (ticks["ts_recv"].min(), ticks["ts_recv"].max())
    assert header.kinds == sum(1 << kind for kind in set(ticks["kind"].tolist()))
    assert header.instruments == sum(1 << number for number in set(ticks["instrument"].tolist()))


def test_event_times_of_records_without_any_are_zero_in_the_header() -> None:
    ticks = make_ticks(20)
    ticks["ts_event"] = 0
    header = decode_chunk(encode_chunk(ticks, Schema.TICK, 0))[1]
    assert (header.ts_event_min, header.ts_event_max) == (0, 0)


def test_instruments_and_kinds_beyond_the_bits_share_some() -> None:
    assert codec.instrument_bits(np.array([64, 1], np.uint32)) == 0b11
    assert codec.kind_bits(np.array([31, 200, 0], np.uint8)) == 1 << 31 | 1


def test_no_record_or_too_many_or_others_are_refused() -> None:
    with pytest.raises(ValueError, match="not 0"):
        encode_chunk(make_ticks(0), Schema.TICK, 0)
    with pytest.raises(ValueError, match="not 1048577"):
        encode_chunk(np.zeros(MAX_ROWS + 1, TICK), Schema.TICK, 0)
    with pytest.raises(ValueError, match="one dimension of BBO"):
        encode_chunk(make_ticks(1), Schema.BBO, 0)
    with pytest.raises(ValueError, match="one dimension of TICK"):
        encode_chunk(make_ticks(4).reshape(2, 2), Schema.TICK, 0)


def test_chosen_columns_are_decoded_alone_and_packed() -> None:
    ticks = make_ticks(100)
    chunk = encode_chunk(ticks, Schema.TICK, 0)
    decoded, _, _ = decode_chunk(chunk, columns=["price", "side", "ts_recv"])
    assert decoded.dtype.names == ("price", "side", "ts_recv")
    assert decoded.dtype.itemsize == 17
    for name in decoded.dtype.names:
        assert np.array_equal(decoded[name], ticks[name])
    with pytest.raises(ValueError, match="no column colour, taste"):
        decode_chunk(chunk, columns=["price", "taste", "colour"])


def test_chunks_follow_one_another_and_a_decoder_is_reused() -> None:
    parts = [make_ticks(40), make_ticks(2000, first_seq=40), make_ticks(3, first_seq=2040)]
    data = b"".join(encode_chunk(part, Schema.TICK, 0) for part in parts)
    decoder, offset = ChunkDecoder(), 0
    kept = []
    for _ in parts:
        decoded, _, offset = decoder.decode(data, offset)
        kept.append(decoded)
    assert offset == len(data)
    for decoded, part in zip(kept, parts, strict=True):  # the decoder's memory is not what it returned
        assert decoded.tobytes() == part.tobytes()


def test_constants_and_counters_take_no_room() -> None:
    ticks = make_ticks(1000)
    ticks["instrument"] = 9
    chunk = encode_chunk(ticks, Schema.TICK, 0)
    (section,) = np.frombuffer(chunk, COLUMN, 1, HEADER.itemsize)
    with np.errstate(over="ignore"):
        table, _ = sections.read_section(
            memoryview(chunk)[HEADER.itemsize + COLUMN.itemsize :],
            int(section["width"]),
            1000,
            sections.SectionLayout(Schema.TICK),
            sections.Origins(0, 0),
        )
    widths = {int(column[0]): int(column[2]) for column in table}
    ids = columns.COLUMN_IDS[Schema.TICK]
    assert ids["order_id"] not in widths  # all zero
    assert widths[ids["instrument"]] == widths[ids["seq"]] == 0  # a constant, a counter


@pytest.mark.parametrize("level", [1, THOROUGH_LEVEL])
@pytest.mark.parametrize("small_rows", [1, 500, 501])
def test_columns_of_small_and_large_chunks_come_back_alone_and_together(
    small_rows: int, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "SMALL_ROWS", small_rows)
    ticks = make_ticks(500)
    ticks["kind"][5], ticks["price"][5] = Kind.GAP, 7
    chunk = encode_chunk(ticks, Schema.TICK, 0, level=level)
    names = ticks.dtype.names or ()
    together = ChunkDecoder().columns(chunk)[0]
    assert tuple(together) == names
    for name in names:
        (alone,) = ChunkDecoder().columns(chunk, names=[name])[0].values()
        assert alone.dtype == together[name].dtype == ticks.dtype[name]
        assert np.array_equal(alone, ticks[name])
        assert np.array_equal(together[name], ticks[name])
    assert decode_chunk(chunk)[0].tobytes() == ticks.tobytes()


def test_planes_in_blocks_of_their_own_are_one_frame_and_smaller() -> None:
    random = np.random.default_rng(1)
    rows = sections.SMALL_ROWS
    noise, steps = random.integers(0, 256, rows, np.uint8), random.choice(4, rows, p=[0.85, 0.05, 0.05, 0.05])
    planes = noise.tobytes() + steps.astype(np.uint8).tobytes()
    frames, plain = FrameMaker(THOROUGH_LEVEL), zstandard.ZstdDecompressor()
    for behind in (b"", b"a row apart"):
        made, whole = frames.frame_of_planes(planes + behind, 2, rows), frames.frame(planes + behind)
        assert plain.decompress(made, allow_extra_data=False) == planes + behind
        assert zstandard.frame_content_size(made) == len(planes + behind)
        assert len(made) < 0.98 * len(whole)
    assert plain.decompress(frames.frame_of_planes(planes, 1, 2 * rows)) == planes


@pytest.mark.parametrize("sides", ["together", "apart"])
def test_where_size_counts_prices_are_predicted_as_makes_them_smallest(
    sides: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 2 * sections.SMALL_ROWS
    random = np.random.default_rng(5)
    ticks = np.zeros(rows, TICK)
    ticks["kind"], ticks["side"], ticks["seq"] = Kind.LEVEL, 1 + np.arange(rows) % 2, np.arange(rows)
    steps = random.integers(-3, 4, rows)
    if sides == "together":
        ticks["price"] = 10**9 + np.cumsum(steps)
    else:
        ticks["price"][::2], ticks["price"][1::2] = np.cumsum(steps[::2]), 10**9 + np.cumsum(steps[1::2])
    chunk = encode_chunk(ticks, Schema.TICK, 0, level=THOROUGH_LEVEL)
    assert decode_chunk(chunk)[0].tobytes() == ticks.tobytes()
    lengths = []
    for candidate in ((columns.STREAM, True), (columns.GROUP, True)):
        monkeypatch.setitem(sections._CANDIDATES, "price", (candidate,))
        monkeypatch.setattr(sections, "_ALSO", {})
        lengths.append(len(encode_chunk(ticks, Schema.TICK, 0, level=THOROUGH_LEVEL)))
    assert len(chunk) == min(lengths) < 0.95 * max(lengths), lengths


@pytest.mark.parametrize("walk", [True, False])
def test_a_part_of_a_large_chunk_tells_which_transform_is_smaller(walk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 3 * sections.SMALL_ROWS
    random = np.random.default_rng(3)
    ticks = np.zeros(rows, TICK)
    ticks["kind"], ticks["seq"] = 1 + random.integers(0, 3, rows), np.arange(rows)
    steps = random.integers(-3, 4, rows)
    ticks["size"] = 10**9 + np.cumsum(steps) if walk else random.choice([5, 70_000, 10**9], rows)
    chunk = encode_chunk(ticks, Schema.TICK, 0)
    assert decode_chunk(chunk)[0].tobytes() == ticks.tobytes()
    lengths = []
    for candidate in ((columns.BASE, True), (columns.GROUP, True)):
        monkeypatch.setitem(sections._CANDIDATES, "size", (candidate,))
        lengths.append(len(encode_chunk(ticks, Schema.TICK, 0)))
    assert len(chunk) == min(lengths) < 0.95 * max(lengths)


def test_columns_are_the_callers_own_and_stay_when_the_next_chunk_is_decoded() -> None:
    decoder, parts = ChunkDecoder(), [make_ticks(300), make_ticks(300, first_seq=300, start_ns=5)]
    kept = [decoder.columns(encode_chunk(part, Schema.TICK, 0))[0] for part in parts]
    for found, part in zip(kept, parts, strict=True):
        for name, column in found.items():
            assert column.flags.writeable
            assert np.array_equal(column, part[name])


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_is_used_again_when_nobody_has_it_and_not_before() -> None:
    pool, dtype = columns.Pool(), np.dtype(np.int64)
    first, second = (pool.array("price", dtype, 100) for _ in range(2))
    places = {address(first), address(second)}
    assert len(places) == 2
    part = first[10:20].view(np.uint8)
    del first
    assert address(pool.array("price", dtype, 50)) not in places  # somebody has a part of it
    freed = address(part) - 80
    del part
    assert address(pool.array("price", dtype, 80)) == freed
    assert len(pool.array("price", dtype, 101)) == 101  # longer than what there is
    kept = [pool.array("price", dtype, 10) for _ in range(9)]
    assert len({address(array) for array in kept}) == 9


@pytest.mark.parametrize(("schema", "rows", "most_bytes"), [(Schema.BBO, 80, 21), (Schema.BAR, 20, 40)])
def test_small_chunks_of_quotes_and_bars_take_few_bytes(schema: Schema, rows: int, most_bytes: int) -> None:
    records = make_records(schema, rows)
    assert len(encode_chunk(records, schema, 0)) / rows <= most_bytes


def test_a_realistic_chunk_is_many_times_smaller_than_its_records() -> None:
    ticks = make_ticks(3000)
    assert len(encode_chunk(ticks, Schema.TICK, 0)) * 4 < ticks.nbytes


def reseal(chunk: bytearray) -> bytes:
    """Make both checksums right again after a deliberate change."""
    directory_end = HEADER.itemsize + int.from_bytes(chunk[12:14], "little") * COLUMN.itemsize
    chunk[96:100] = zlib.crc32(chunk[directory_end : len(chunk) - 12]).to_bytes(4, "little")
    chunk[100:104] = header_checksum(chunk).to_bytes(4, "little")
    return bytes(chunk)


@pytest.mark.parametrize("kind", [Kind.STATUS, Kind.GAP])
@pytest.mark.parametrize("rows", [[0], [5], [999], [0, 1, 2], [7, 400, 401, 999]])
def test_a_code_among_prices_comes_back_and_costs_next_to_nothing(kind: Kind, rows: list[int]) -> None:
    ticks = make_ticks(1000)
    ticks["price"] = ticks["price"] // 10**6 * 10**6
    plain = encode_chunk(ticks, Schema.TICK, 0)
    ticks["kind"][rows], ticks["side"][rows] = kind, 0
    ticks["price"][rows], ticks["size"][rows] = 12, np.arange(len(rows)) - 1
    ticks["venue_seq"][rows], ticks["order_id"][rows] = 2**63 + 1, 2**64 - 1
    chunk = encode_chunk(ticks, Schema.TICK, 0)
    assert decode_chunk(chunk)[0].tobytes() == ticks.tobytes()
    assert len(chunk) < len(plain) + 100 + 40 * len(rows)
    (alone, *_) = decode_chunk(chunk, columns=["size"])
    assert (alone["size"] == ticks["size"]).all()


def test_a_chunk_of_codes_alone_comes_back() -> None:
    ticks = make_ticks(50)
    ticks["kind"] = Kind.STATUS
    assert decode_chunk(encode_chunk(ticks, Schema.TICK, 0))[0].tobytes() == ticks.tobytes()


def test_every_flipped_byte_is_noticed() -> None:
    chunk = encode_chunk(make_ticks(12), Schema.TICK, 0)
    for place in range(len(chunk)):
        flipped = bytearray(chunk)
        flipped[place] ^= 0xFF
        with pytest.raises(DamageError, match="some.tpj: at byte 7") as raised:
            ChunkDecoder().decode(b"1234567" + flipped, 7, path="some.tpj")
        assert raised.value.offset == 7


def test_every_cut_is_noticed() -> None:
    chunk = encode_chunk(make_ticks(12), Schema.TICK, 0)
    for length in range(len(chunk)):
        with pytest.raises(DamageError):
            decode_chunk(chunk[:length])


def test_a_later_version_is_named_and_not_called_damage() -> None:
    chunk = bytearray(encode_chunk(make_ticks(12), Schema.TICK, 0))
    chunk[8] = codec.VERSION + 1
    with pytest.raises(StoreError, match=f"has format {codec.VERSION + 1}.*update it") as raised:
        read_header(reseal(chunk))
    assert not isinstance(raised.value, DamageError)


def test_a_column_of_an_unknown_id_is_skipped_and_a_missing_one_is_zero() -> None:
    """So that a field can be added: an older reader meets a new id, a newer one an old chunk."""
    ticks = make_ticks(sections.SMALL_ROWS)  # each column has a section
    chunk = bytearray(encode_chunk(ticks, Schema.TICK, 0))
    entry = HEADER.itemsize + 3 * COLUMN.itemsize
    assert chunk[entry] == columns.COLUMN_IDS[Schema.TICK]["price"]
    chunk[entry] = 99
    decoded, _, _ = decode_chunk(reseal(chunk))
    assert not decoded["price"].any()
    for name in set(ticks.dtype.names or ()) - {"price"}:
        assert np.array_equal(decoded[name], ticks[name])


ENTRY = HEADER.itemsize + 3 * COLUMN.itemsize
"""In the directory, of the section of the price, in a large chunk."""
SECTION = HEADER.itemsize + 8 * COLUMN.itemsize
"""The first section there, which begins with the instrument."""


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (10, 77, "schema 77"),  # header.schema
        (16, 0, "0 rows"),  # header.rows, below
        (ENTRY + 0, 4, "occurs twice"),  # a section's id
        (ENTRY + 1, 2, "type 2, which this program does not know"),  # its type
        (ENTRY + 3, 2, "cannot be decoded"),  # how many columns it has
        (ENTRY + 7, 0x7F, "do not fill"),  # its length
        (HEADER.itemsize + 7 * 8 + 4, 0, "do not fill"),  # the last one's length
        (SECTION + 0, 2, "kind occurs twice"),  # a column's id
        (SECTION + 1, 0x80, "does not know"),  # its transform
        (SECTION + 1, 0x13, "not sorted by"),  # predicted from a group, and in stored order
        (SECTION + 1, 0x50, "rows apart|are said to be apart|instead of"),  # rows apart, which an id has not
        (SECTION + 2, 9, "does not know"),  # its width
        (SECTION + 2, 2, "instead of"),  # more bytes a row
    ],
)
def test_nonsense_under_a_right_checksum_is_damage_and_no_crash(
    offset: int, value: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "SMALL_ROWS", 1)
    chunk = bytearray(encode_chunk(make_ticks(50), Schema.TICK, 0))
    if offset == 16:
        chunk[16:20] = bytes(4)
    else:
        chunk[offset] = value
    with pytest.raises(DamageError, match=reason):
        decode_chunk(reseal(chunk))


def test_a_chunk_ends_with_its_length_and_the_commit_mark() -> None:
    chunk = encode_chunk(make_ticks(12), Schema.TICK, 0)
    assert chunk[4:8] == MAGIC
    assert chunk[-8:] == COMMIT_MARK
    assert int.from_bytes(chunk[-12:-8], "little") == int.from_bytes(chunk[:4], "little") == len(chunk)


def test_many_instruments_outgrow_the_first_table() -> None:
    ticks = make_ticks(3000, instruments=400)
    assert decode_chunk(encode_chunk(ticks, Schema.TICK, 0))[0].tobytes() == ticks.tobytes()


def test_the_table_of_keys_says_when_it_is_too_small() -> None:
    keys = np.arange(100, dtype=np.uint64)
    numbers = np.empty(100, np.int32)
    with np.errstate(over="ignore"):
        small = grouping.number_keys(keys, np.full(64, -1, np.int32), np.empty(64, np.uint64), numbers)
        large = grouping.number_keys(keys, np.full(256, -1, np.int32), np.empty(256, np.uint64), numbers)
    assert (small, large) == (-1, 100)
    assert np.array_equal(numbers, keys)


def test_warming_up_needs_nothing_and_leaves_nothing() -> None:
    codec.warm_up()


def test_flags_of_ticks_survive() -> None:
    ticks = make_ticks(30)
    ticks["flags"] = [int(Flag.LAST | Flag.BACKFILL), 0xFFFF, 0] * 10
    assert np.array_equal(decode_chunk(encode_chunk(ticks, Schema.TICK, 0))[0]["flags"], ticks["flags"])
