"""Stored bytes as a forger would make them, checksums right: records or a DamageError, bounded memory, no crash."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import hypothesis.strategies as st
import numpy as np
import pytest
import zstandard
from forged_chunks import mutated, seal, taken_apart
from hypothesis import given, settings
from made_records import make_records, make_ticks
from numpy.typing import NDArray

from tickplant.errors import DamageError, StoreError, TickplantError
from tickplant.instruments import InstrumentTable
from tickplant.kernels import JIT_ENABLED
from tickplant.records.layouts import DTYPES, Schema
from tickplant.store.export import export
from tickplant.store.reader import Store
from tickplant.store.verify import verify
from tickplant.writer.format import columns
from tickplant.writer.format.chunk_layout import (
    COLUMN,
    HEADER,
    MAX_CHUNK_BYTES,
    MAX_ROWS,
    header_checksum,
    producer_id,
)
from tickplant.writer.format.codec import ChunkDecoder, decode_chunk, encode_chunk
from tickplant.writer.index import ENTRY, index_path, journal_files, load_index, make_entries
from tickplant.writer.journal import Journal, journal_dir

Records = NDArray[np.void]

pytestmark = pytest.mark.kernels

MIB = 1 << 20


CHUNKS = [encode_chunk(make_records(schema, rows), schema, 1) for schema in Schema for rows in (1, 40)]
GOLDEN = (Path(__file__).parents[1] / "golden" / "chunks-v1.tpj").read_bytes()
CHUNKS += [GOLDEN[: int.from_bytes(GOLDEN[:4], "little")]]  # what the first version wrote is as open to change


@given(st.sampled_from(CHUNKS), st.randoms(use_true_random=False))
@settings(max_examples=400)
def test_whatever_a_chunk_holds_it_is_records_or_damage(chunk: bytes, random: Random) -> None:
    forged = mutated(chunk, random)
    with contextlib.suppress(DamageError):
        records, header, end = ChunkDecoder().decode(forged)
        assert len(records) == header.rows
        assert end == len(forged)


@contextlib.contextmanager
def within(mib: float) -> Iterator[None]:
    """No more than this much memory is taken at any moment of a block."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mib * MIB, f"{peak / MIB:.1f} MiB"


def declaring(size: int) -> bytes:
    """A zstd frame that declares a size and holds nothing."""
    return b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\x00\x00"


def zeros(size: int, *, declared: bool, window_log: int = 20) -> bytes:
    """A zstd frame of so many zeros."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    maker = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=size if declared else -1)
    return b"".join(maker.compress(bytes(MIB)) for _ in range(size // MIB)) + maker.flush()


@pytest.mark.parametrize(
    "frame",
    [
        declaring(2**31),
        declaring(40 << 40),
        declaring(2**64 - 3),
        zeros(64 * MIB, declared=True),
        zeros(64 * MIB, declared=False),
        zeros(MIB, declared=False, window_log=27),
        b"",
        b"\x28\xb5\x2f\xfd",
        b"no frame at all",
    ],
    ids=lambda frame: f"{len(frame)} bytes",
)
def test_a_frame_that_declares_or_holds_more_than_its_rows_is_damage_at_no_cost(frame: bytes) -> None:
    header, directory, sections = taken_apart(encode_chunk(make_ticks(300), Schema.TICK, 1))
    # One column of one byte a row, in a zstd frame.
    directory["type"], directory["width"], sections[0] = 1, 1, bytes((6, 0, 1)) + frame
    forged = seal(header, directory, sections)
    with within(8), pytest.raises(DamageError, match="cannot be decoded"):
        decode_chunk(forged)


def with_rows(header: bytes, rows: int) -> bytes:
    made = np.frombuffer(bytearray(header), HEADER)
    made["rows"] = rows
    return made.tobytes()


def test_columns_that_nobody_knows_cost_nothing_however_many() -> None:
    header, directory, sections = taken_apart(encode_chunk(make_ticks(300), Schema.TICK, 1))
    strange = np.zeros(65535, COLUMN)
    strange["id"] = 250
    with within(8), pytest.raises(DamageError, match="65535 columns"):
        decode_chunk(seal(with_rows(header, MAX_ROWS), strange, [b""] * 65535))
    for count in (2, 255):
        with within(8), pytest.raises(DamageError, match="occurs twice"):
            decode_chunk(seal(with_rows(header, MAX_ROWS), strange[:count].copy(), [b""] * count))
    unknown = np.zeros(240, COLUMN)
    unknown["id"] = np.arange(16, 256)
    many = np.concatenate([directory, unknown])
    ticks = decode_chunk(seal(header, many, sections + [b"later"] * len(unknown)))[0]
    assert ticks.tobytes() == make_ticks(300).tobytes()


@pytest.mark.skipif(not JIT_ENABLED, reason="a million rows take minutes in plain Python")
def test_the_most_that_a_chunk_may_declare_is_bounded() -> None:
    """A million rows of constants are a legal chunk of 200 bytes: that is what MAX_ROWS bounds."""
    header, directory, sections = taken_apart(encode_chunk(make_ticks(1), Schema.TICK, 1))
    with within(256):
        assert len(decode_chunk(seal(with_rows(header, MAX_ROWS), directory.copy(), sections))[0]) == MAX_ROWS
    with within(1), pytest.raises(DamageError, match="1048577 rows"):
        decode_chunk(seal(with_rows(header, MAX_ROWS + 1), directory.copy(), sections))


def test_keys_made_to_collide_are_numbered_all_the_same() -> None:
    inverse = pow(0x9E3779B97F4A7C15, -1, 2**64)  # undoes the hash: these differ in its lowest bits alone
    keys = np.array([(inverse * number) % 2**64 for number in range(6000)] * 2, np.uint64)
    numbers = np.empty(len(keys), np.int32)
    with np.errstate(over="ignore"):
        assert columns._number(keys, numbers) == 6000
    assert (numbers == np.arange(len(keys)) % 6000).all()


def test_a_file_that_promises_a_huge_chunk_is_not_read_for_it(tmp_path: Path) -> None:
    """Sparse files cost their maker nothing."""
    header, directory, _ = taken_apart(encode_chunk(make_ticks(5), Schema.TICK, 1))
    path = tmp_path / f"{0:020d}.tpj"
    for length in (MAX_CHUNK_BYTES, MAX_CHUNK_BYTES + 1, 2**32 - 1):
        directory["stored_bytes"] = 0
        directory["stored_bytes"][0] = length - HEADER.itemsize - directory.nbytes - 12
        made = np.frombuffer(bytearray(header), HEADER)
        made["length_bytes"] = length
        made["header_checksum"] = header_checksum(made.tobytes() + directory.tobytes())
        path.write_bytes(made.tobytes() + directory.tobytes())
        with path.open("r+b") as file:
            file.truncate(min(length, 2 * MAX_CHUNK_BYTES))
        with within(8):
            (damage,) = load_index(path).damage
        assert damage.offset == 0


# ---------------------------------------------------------------------------------------------------------------
# Whole stores.


def forge(data_dir: Path, producer: str, schema: Schema, chunks: list[bytes]) -> Path:
    """A journal file of these chunks."""
    folder = journal_dir(data_dir, producer, schema)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{0:020d}.tpj"
    path.write_bytes(b"".join(chunks))
    return path


def table(data_dir: Path) -> None:
    instruments = InstrumentTable.load(data_dir / "instruments.jsonl")
    for symbol, scale in (("AAA", 0), ("BBB", 8), ("AAA", 18)):
        instruments.register("venue", symbol, scale, 18 - scale)


def read_everything(data_dir: Path) -> None:
    """Every way in which a store is read; each may raise a TickplantError and nothing else."""

    def attempt(action: Callable[[], object]) -> None:
        with contextlib.suppress(TickplantError):
            action()

    attempt(lambda: verify(data_dir))
    for on_damage in (None, lambda _: None):
        store = Store(data_dir, on_damage=on_damage)
        attempt(lambda: store.book("venue", "AAA", 2**62))  # noqa: B023  # called at once
        for schema in Schema:
            attempt(lambda: [store.next_seq(name, schema) for name in store.producers(schema)])  # noqa: B023
            attempt(lambda: list(store.scan(schema=schema)))  # noqa: B023
            attempt(lambda: [store.record("feed", schema, seq) for seq in (0, 39, 2**40)])  # noqa: B023
            for as_float in (False, True):
                attempt(lambda: export(store, "venue", "AAA", schema=schema, as_float=as_float).table())  # noqa: B023
            attempt(lambda: export(store, "venue", "AAA", schema=schema).write_text(io.BytesIO(), "csv"))  # noqa: B023
            attempt(lambda: export(store, "venue", "AAA", schema=schema).write_text(io.BytesIO(), "jsonl"))  # noqa: B023


def any_records(schema: Schema, random: Random, rows: int = 40) -> Records:
    """Records of any values, with seqs such as a journal has and instruments that mostly exist."""
    made = np.zeros(rows, DTYPES[schema])
    for name in columns.COLUMN_IDS[schema]:
        wide = made.dtype[name].itemsize == 8
        values = [random.choice([0, 1, 2, 3, 7, random.getrandbits(64 if wide else 8)]) for _ in range(rows)]
        made[name] = np.array(values, np.uint64).astype(made.dtype[name])
    made["instrument"] = [random.choice([1, 2, 3, 3, 1, 99]) for _ in range(rows)]
    made["seq"] = np.arange(rows)
    return made


SEEDS = range(6)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_store_of_any_records_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    random, data_dir = Random(seed), tmp_path
    table(data_dir)
    for schema in Schema:
        chunk = encode_chunk(any_records(schema, random), schema, 1, producer=producer_id("feed"))
        forge(data_dir, "feed", schema, [chunk if random.random() < 0.5 else mutated(chunk, random)])
    read_everything(data_dir)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_index_that_lies_is_no_more_than_damage(tmp_path: Path, seed: int) -> None:
    random, data_dir = Random(seed), tmp_path
    table(data_dir)
    chunks = [encode_chunk(make_ticks(20, first_seq=seq), Schema.TICK, 1) for seq in (0, 20, 40)]
    path = forge(data_dir, "feed", Schema.TICK, chunks)
    found = load_index(path, use_index=False).entries
    entries = [(int(entry["offset"]), decode_chunk(path.read_bytes(), int(entry["offset"]))[1]) for entry in found]
    for place, (offset, header) in enumerate(entries):
        if random.random() < 0.6:
            name = random.choice(["length_bytes", "schema", "rows", "first_seq", "last_seq", "ts_recv_max", "columns"])
            bits = HEADER[name].itemsize * 8 - HEADER[name].kind.count("i")
            value = random.choice([0, 1, getattr(header, name) + 1, random.getrandbits(bits), 2**bits - 1])
            header = header._replace(**{name: value})  # noqa: PLW2901  # a liar of one field
        if random.random() < 0.3:
            offset = random.choice([0, offset + 1, 2**62, 2**63 - 1])  # noqa: PLW2901
        entries[place] = offset, header
    index_path(path).write_bytes(make_entries(entries).tobytes())
    assert index_path(path).stat().st_size == 3 * ENTRY.itemsize
    read_everything(data_dir)


@pytest.mark.parametrize(
    "text",
    [
        b'{"id":1,"venue":"v","symbol":"A","price_scale":1000000000,"size_scale":1}\n',
        b'{"id":1,"venue":"v","symbol":"A","price_scale":-1,"size_scale":1}\n',
        b'{"id":2,"venue":"v","symbol":"A","price_scale":1,"size_scale":1}\n',
        b'{"id":1,"venue":"v","symbol":"A","price_scale":1,"size_scale":1,"more":' + b"[" * 100_000 + b"\n",
        b'{"id":1,"venue":"v","symbol":"\\ud800","price_scale":1,"size_scale":1}\n',
        b'{"id":1,"venue":"v","symbol":"\xff","price_scale":1,"size_scale":1}\n',
        b"\0" * 1000 + b"\n",
        b"{}\n",
    ],
    ids=["scale", "negative", "id", "deep", "surrogate", "utf-8", "zeros", "empty"],
)
def test_a_table_that_is_none_is_refused_by_row(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "instruments.jsonl").write_bytes(text)
    with pytest.raises(StoreError, match=r"instruments\.jsonl: row 1 "):
        Store(tmp_path).find("v", "A")


def test_a_table_of_any_size_is_bounded(tmp_path: Path) -> None:
    with (tmp_path / "instruments.jsonl").open("wb") as file:
        file.truncate(1 << 32)
    with within(160), pytest.raises(StoreError, match="holds more than 64 MiB"):
        Store(tmp_path).find("v", "A")
    (tmp_path / "instruments.jsonl").unlink()
    (tmp_path / "instruments.jsonl").mkdir()
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        Store(tmp_path).find("v", "A")


@pytest.mark.parametrize("name", ["²", "٣" * 20, "1", "-" + "1" * 19, "9" * 20, "x" * 20, "1" * 200])
def test_a_file_whose_name_is_no_seq_is_no_journal(tmp_path: Path, name: str) -> None:
    folder = journal_dir(tmp_path, "feed", Schema.TICK)
    folder.mkdir(parents=True)
    (folder / f"{name}.tpj").touch()
    assert journal_files(folder) == []
    Journal(tmp_path, Schema.TICK, "feed").close()


def test_a_journal_is_not_continued_behind_the_last_seq_there_can_be(tmp_path: Path) -> None:
    ticks = make_ticks(5)
    ticks["seq"] = 2**64 - 1
    path = forge(tmp_path, "feed", Schema.TICK, [encode_chunk(ticks, Schema.TICK, 1)])
    (damage,) = load_index(path).damage
    assert "makes no sense" in damage.reason
    journal = Journal(tmp_path, Schema.TICK, "feed")
    assert journal.next_seq == 0
    journal.close()
