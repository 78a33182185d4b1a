"""A journal cut anywhere, or with any bytes of it changed: readers return exact data or name the damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from made_records import make_ticks
from numpy.typing import NDArray

from tickplant.errors import DamageError
from tickplant.records.layouts import Schema
from tickplant.store.reader import Store
from tickplant.store.segment_checks import HARMLESS
from tickplant.store.selection import Selection
from tickplant.store.verify import verify
from tickplant.writer.index import Damage, index_path, load_index
from tickplant.writer.journal import Journal

CHUNKS = 10
ROWS = 2
TICKS = make_ticks(CHUNKS * ROWS)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a journal file of ten small chunks."""
    data_dir = tmp_path_factory.mktemp("journal")
    writer = Journal(data_dir, Schema.TICK, "feed")
    for start in range(0, len(TICKS), ROWS):
        writer.append(TICKS[start : start + ROWS])
        writer.flush()
    writer.close()
    return Store(data_dir).files("feed", Schema.TICK)[0]


def copy_of(journal: Path, tmp_path: Path, *, indexed: bool) -> Path:
    """The same journal in a store of its own."""
    path = tmp_path / "journal" / "feed" / "tick" / journal.name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(journal, path)
    index_path(path).unlink(missing_ok=True)
    if indexed:
        shutil.copy(index_path(journal), index_path(path))
    return path


def read(data_dir: Path) -> tuple[NDArray[np.uint64], list[Damage]]:
    """Which records a reader gets, all of them checked, and what damage it is told of."""
    found: list[Damage] = []
    blocks = list(Store(data_dir, on_damage=found.append).read("feed", Schema.TICK, Selection()))
    seqs = np.concatenate([block["seq"] for block in blocks]) if blocks else np.zeros(0, np.uint64)
    assert b"".join(block.tobytes() for block in blocks) == TICKS[seqs.astype(np.int64)].tobytes()
    return seqs, found


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.long)])
def test_a_journal_cut_at_any_byte_gives_every_whole_chunk(
    journal: Path, tmp_path: Path, stride: int, indexed: bool
) -> None:
    path = copy_of(journal, tmp_path, indexed=indexed)
    ends = [0, *(int(entry["offset"]) for entry in load_index(journal).entries[1:]), journal.stat().st_size]
    for size in range(journal.stat().st_size, -1, -stride):
        with path.open("r+b") as file:
            file.truncate(size)
        whole = sum(end <= size for end in ends) - 1
        seqs, found = read(tmp_path)
        assert seqs.tolist() == list(range(whole * ROWS)), size
        # Without an index nothing tells a cut from a chunk that is being written; with it what is missing is named.
        lost = [(damage.first_seq, damage.last_seq) for damage in found]
        assert lost == ([(whole * ROWS, len(TICKS) - 1)] if indexed and whole < CHUNKS else []), size


def test_recovery_of_a_journal_cut_at_any_byte_is_idempotent_and_goes_on(journal: Path, tmp_path: Path) -> None:
    size = journal.stat().st_size
    last = int(load_index(journal).entries[-1]["offset"])
    for number, cut in enumerate([*range(0, last, 97), *range(last, size + 1, 7)]):
        data_dir = tmp_path / str(number)
        path = copy_of(journal, data_dir, indexed=bool(number % 2))
        with path.open("r+b") as file:
            file.truncate(cut)
        writer = Journal(data_dir, Schema.TICK, "feed")
        start = writer.next_seq
        writer.close()
        recovered = {item.name: item.read_bytes() for item in path.parent.iterdir()}
        writer = Journal(data_dir, Schema.TICK, "feed")
        assert not writer.found
        assert writer.next_seq == start
        assert {item.name: item.read_bytes() for item in path.parent.iterdir()} == recovered
        writer.append(TICKS[start:])
        writer.close()
        seqs, found = read(data_dir)
        assert (seqs.tolist(), found) == (list(range(len(TICKS))), [])
        report = verify(data_dir)
        assert {problem.kind for problem in report.problems} <= HARMLESS | {"instrument"}


@pytest.mark.parametrize("indexed", [True, False])
def test_every_flipped_byte_of_a_chunk_is_named_and_later_chunks_stay_readable(
    journal: Path, tmp_path: Path, indexed: bool
) -> None:
    path = copy_of(journal, tmp_path, indexed=indexed)
    data = bytearray(path.read_bytes())
    entries = load_index(journal).entries
    for chunk in (4, CHUNKS - 1):
        start = int(entries[chunk]["offset"])
        end = start + int(entries[chunk]["header"]["length_bytes"])
        missing = range(chunk * ROWS, (chunk + 1) * ROWS)
        for place in range(start, end, 5 if indexed else 1):
            data[place] ^= 0xFF
            path.write_bytes(data)
            seqs, found = read(tmp_path)
            data[place] ^= 0xFF
            assert seqs.tolist() == [seq for seq in range(len(TICKS)) if seq not in missing], place
            assert len(found) == 1, place
            assert found[0].length_bytes > 0
            assert found[0].first_seq == missing.start
            assert found[0].last_seq in ({missing.stop - 1, None} if chunk == CHUNKS - 1 else {missing.stop - 1})


@given(st.integers(0, CHUNKS - 1), st.integers(0, CHUNKS))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(0, 1)
@example(CHUNKS - 1, 0)
@example(0, CHUNKS)
def test_a_chunk_that_stands_twice_is_named_and_read_once(journal: Path, tmp_path: Path, one: int, before: int) -> None:
    path = copy_of(journal, tmp_path, indexed=False)
    entries = load_index(journal).entries
    starts = [*(int(offset) for offset in entries["offset"]), journal.stat().st_size]
    data = path.read_bytes()
    path.write_bytes(data[: starts[before]] + data[starts[one] : starts[one + 1]] + data[starts[before] :])
    seqs, found = read(tmp_path)
    assert seqs.tolist() == list(range(len(TICKS)))
    (damage,) = found
    assert damage.length_bytes > 0
    writer = Journal(tmp_path, Schema.TICK, "feed")
    assert writer.next_seq == len(TICKS)
    writer.close()
    assert read(tmp_path)[0].tolist() == list(range(len(TICKS)))


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_harm_is_named_and_never_read(journal: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = copy_of(journal, tmp_path, indexed=data.draw(st.booleans(), "indexed"))
    original = path.read_bytes()
    harmed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3), "wounds")):
        start = data.draw(st.integers(0, len(harmed)), "start")
        stop = min(len(harmed), start + data.draw(st.integers(0, 400), "length"))
        harmed[start:stop] = data.draw(st.sampled_from([b"", b"\0" * (stop - start), original[:300]]), "with")
    path.write_bytes(harmed)
    seqs, found = read(tmp_path)  # checks that each record read is exact
    if found:
        with pytest.raises(DamageError):
            list(Store(tmp_path).read("feed", Schema.TICK, Selection()))
    else:
        # Nothing may be missing in silence, but at the end, where it looks like a chunk that is being written.
        assert seqs.tolist() == list(range(len(seqs)))
