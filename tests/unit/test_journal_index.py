"""The index of a journal: its offsets, and what a harmed, an old or a wrong one costs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from journal_writes import TICKS, stored, write

from tickplant.errors import StoreError
from tickplant.plant.repair import repair
from tickplant.records.layouts import Schema
from tickplant.writer.format.chunk_bounds import SLOTS
from tickplant.writer.format.chunk_layout import HEADER
from tickplant.writer.index import ENTRY, PLAIN_ENTRY, index_path, journal_files, load_index
from tickplant.writer.journal import Journal, journal_dir


def test_entries_of_the_index_have_the_documented_offsets(tmp_path: Path) -> None:
    assert (ENTRY.itemsize, PLAIN_ENTRY.itemsize) == (224, 120)
    offsets = {name: ENTRY.fields[name][1] for name in ENTRY.names}
    assert offsets == {"offset": 0, "header": 8, "bounds": 112, "slots": 208, "checksum": 216}
    write(tmp_path, 100, 50)
    (path,) = journal_files(journal_dir(tmp_path, "feed", Schema.TICK))
    entries = np.fromfile(index_path(path), ENTRY)
    data = path.read_bytes()
    for entry in entries:
        offset = int(entry["offset"])
        assert entry["header"].tobytes() == data[offset : offset + HEADER.itemsize]


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "flipped", "foreign", "stale"])
def test_a_harmed_index_costs_time_and_never_data(tmp_path: Path, harm: str) -> None:
    write(tmp_path, 100, 100, 100)
    (path,) = journal_files(journal_dir(tmp_path, "feed", Schema.TICK))
    index = index_path(path)
    data = bytearray(index.read_bytes())
    if harm == "missing":
        index.unlink()
    elif harm == "empty":
        index.write_bytes(b"")
    elif harm == "cut":
        index.write_bytes(data[:-50])
    elif harm == "flipped":
        data[130] ^= 0xFF
        index.write_bytes(data)
    elif harm == "foreign":
        write(tmp_path / "other", 7, 9, 11)
        (other,) = journal_files(journal_dir(tmp_path / "other", "feed", Schema.TICK))
        index.write_bytes(b"\0" * 224 + index_path(other).read_bytes()[:224])
    else:
        index.write_bytes(data[:224])
    found = load_index(path)
    assert found.entries["header"]["first_seq"].tolist() == [0, 100, 200]
    assert not found.damage
    assert stored(tmp_path) == TICKS[:300].tobytes()


def test_an_index_of_earlier_versions_is_read_and_goes_on_with_bounds(tmp_path: Path) -> None:
    write(tmp_path, 100, 100)
    (path,) = journal_files(journal_dir(tmp_path, "feed", Schema.TICK))
    index = index_path(path)
    entries = np.fromfile(index, ENTRY)
    assert (entries["slots"] == SLOTS).all()
    plain = np.zeros(2, PLAIN_ENTRY)
    plain["offset"], plain["header"] = entries["offset"], entries["header"]
    words = plain.view(np.uint64).reshape(2, -1)[:, :-1]
    weights = np.cumprod(np.full(words.shape[1], 0x9E3779B97F4A7C15, np.uint64)) | np.uint64(1)
    plain["checksum"] = (words * weights).sum(axis=1, dtype=np.uint64) ^ np.uint64(0x74706E6478)
    index.write_bytes(plain.tobytes())
    found = load_index(path)
    assert (found.indexed, found.entries["slots"].tolist()) == (2, [0, 0])
    journal = Journal(tmp_path, Schema.TICK, "feed")
    journal.append(TICKS[200:300])
    journal.close()
    assert load_index(path).entries["slots"].tolist() == [0, 0, SLOTS]
    assert load_index(path).indexed == 3
    assert [repaired.kind for repaired in repair(tmp_path)] == ["index"]
    assert (load_index(path).entries["slots"] == SLOTS).all()
    assert np.array_equal(load_index(path).entries["bounds"][:2], entries["bounds"])
    Journal(tmp_path, Schema.TICK, "feed").close()
    assert load_index(path).indexed == 3


def test_an_index_with_a_hole_does_not_hide_the_chunk_in_it(tmp_path: Path) -> None:
    write(tmp_path, 100, 100, 100)
    (path,) = journal_files(journal_dir(tmp_path, "feed", Schema.TICK))
    entries = np.fromfile(index_path(path), ENTRY)
    index_path(path).write_bytes(entries[[0, 2]].tobytes())
    assert load_index(path).entries["header"]["first_seq"].tolist() == [0, 100, 200]
    index_path(path).write_bytes(entries[1:].tobytes())
    assert load_index(path).entries["header"]["first_seq"].tolist() == [0, 100, 200]


def test_a_file_shorter_than_its_index_is_damage_and_not_a_torn_tail(tmp_path: Path) -> None:
    write(tmp_path, 100, 100, 100)
    (path,) = journal_files(journal_dir(tmp_path, "feed", Schema.TICK))
    second = int(load_index(path).entries[1]["offset"])
    os.truncate(path, second + 10)
    (damage,) = load_index(path).damage
    assert not damage.torn
    assert (damage.offset, damage.first_seq, damage.last_seq) == (second, 100, 299)
    with pytest.raises(StoreError, match=r"ends before 2 chunks .* records 100 to 299 are missing"):
        stored(tmp_path)
