"""The stand-alone reader, as a stranger would run it: one file, without this package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import read_chunks
from made_records import make_ticks

from tickplant.records.layouts import DTYPES, TICK, Kind, Schema
from tickplant.writer.format.chunk_layout import HEADER, VERSION
from tickplant.writer.format.codec import decode_chunk, encode_chunk
from tickplant.writer.format.columns import COLUMN_IDS, KEYS, STREAM_SHIFT
from tickplant.writer.format.section_frames import THOROUGH_LEVEL
from tickplant.writer.format.sections import BASE_FROM, SMALL_ROWS


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "2026-09-01T00.ticks"
    records = np.zeros(500, TICK)
    records["seq"] = np.arange(500)
    records["kind"] = np.where(np.arange(500) % 7, Kind.TRADE, Kind.GAP)
    records["instrument"] = np.arange(500) % 3 + 1
    records["price"] = np.arange(500) ** 2 * -5
    path.write_bytes(b"".join(encode_chunk(part, Schema.TICK, 1) for part in (records[:200], records[200:])))
    return path


def test_the_page_shows_the_header_and_the_columns_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "file-format.md").read_text()
    offsets = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", page, re.MULTILINE)
    fields = HEADER.fields
    assert fields is not None
    assert offsets == [(str(place), str(dtype.itemsize), name) for name, (dtype, place, *_) in fields.items()]
    for schema, ids in COLUMN_IDS.items():
        keys = ", ".join(name for name, _ in KEYS[schema])
        assert f"| {schema.name.lower()} | {keys} | `{' '.join(ids)}` |" in page


def _run(*paths: Path) -> subprocess.CompletedProcess[str]:
    script = Path(read_chunks.__file__)
    return subprocess.run(
        [sys.executable, "-I", script, *paths], capture_output=True, text=True, check=False, timeout=300
    )


def test_it_knows_every_schema_and_column() -> None:
    known = {name: words.split() for name, _, words in (text.partition(": ") for text in read_chunks.SCHEMAS.values())}
    assert {schema.name.lower(): list(ids) for schema, ids in COLUMN_IDS.items()} == known
    assert list(read_chunks.SCHEMAS) == list(COLUMN_IDS)
    assert {schema.name.lower(): keys for schema, keys in KEYS.items()} == read_chunks.KEYS
    assert {schema.name.lower(): shift for schema, shift in STREAM_SHIFT.items()} == read_chunks.STREAM_SHIFT


def test_a_journal_is_printed_record_by_record(journal: Path) -> None:
    run = _run(journal)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert (run.returncode, run.stderr, len(rows)) == (0, "", 500)
    assert rows[3] == {
        "schema": "tick",
        **dict.fromkeys(("side", "ts_event", "ts_recv", "size", "venue_seq", "order_id", "flags"), 0),
        "instrument": 1,
        "kind": 1,
        "price": -45,
        "seq": 3,
    }
    assert "tickplant" not in Path(read_chunks.__file__).read_text().partition("from __future__")[2]


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_chunks_of_every_version_are_read_as_the_package_reads_them(version: int) -> None:
    path = Path(__file__).parents[1] / "golden" / f"chunks-v{version}.tpj"
    data, offset, count = path.read_bytes(), 0, 0
    for chunk in read_chunks.read_chunks(path):
        records, _, offset = decode_chunk(data, offset)
        for name, column in chunk.columns.items():
            assert column.dtype == records.dtype[name]
            assert np.array_equal(column, records[name]), (chunk.schema, name)
        count += 1
    assert (count, offset) == (4, len(data))


@pytest.mark.parametrize("schema", list(Schema))
def test_it_knows_the_type_of_every_column(schema: Schema) -> None:
    for name in COLUMN_IDS[schema]:
        assert np.dtype(read_chunks.column_type(name)) == DTYPES[schema][name], name
    assert read_chunks.BASE_FROM == BASE_FROM


@pytest.mark.parametrize("level", [1, THOROUGH_LEVEL])
def test_a_large_chunk_with_a_section_for_each_column_is_read(level: int) -> None:
    ticks = make_ticks(SMALL_ROWS)
    ticks["kind"][9] = Kind.STATUS
    chunk, _ = read_chunks.decode_chunk(memoryview(encode_chunk(ticks, Schema.TICK, 1, level=level)))
    for name, column in chunk.columns.items():
        assert np.array_equal(column, ticks[name]), name


@pytest.mark.parametrize("cut", [1, 100, 10_000])
def test_what_stands_before_a_torn_chunk_is_read_and_its_place_is_named(journal: Path, cut: int) -> None:
    data = journal.read_bytes()
    first = int.from_bytes(data[:4], "little")
    journal.write_bytes(data[: max(first + 1, len(data) - cut)])
    run = _run(journal)
    assert (run.returncode, len(run.stdout.splitlines())) == (1, 200)
    assert f"{journal} at byte {first}" in run.stderr
    assert "Traceback" not in run.stderr


def test_any_changed_byte_is_damage(journal: Path) -> None:
    data = bytearray(journal.read_bytes())
    for place in range(int.from_bytes(data[:4], "little")):
        data[place] ^= 0x40
        with pytest.raises(ValueError):  # noqa: PT011
            read_chunks.decode_chunk(memoryview(data))
        data[place] ^= 0x40


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    run = _run(tmp_path / "none")
    assert (run.returncode, run.stderr.count("\n")) == (1, 1)
