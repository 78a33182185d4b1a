"""Each byte of a day's files changed, and each file cut at each byte: readers return exact data or name the damage."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_days import make_day_records, parts_of, register, write_journal

from tickplant.errors import DamageError
from tickplant.records.layouts import Schema
from tickplant.store import daily_file_writer, span_writer
from tickplant.store.compaction import Compaction, Policy
from tickplant.store.daily_files import DAILY_SUFFIX, MANIFEST, daily_dir, spans
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.writer.index import Damage

TICKS = make_day_records(Schema.TICK, 1_702_080_000 * 10**9 + np.arange(40), instruments=2)


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a span of two symbols, three chunks each, in two stripes; the journal is gone."""
    monkeypatch.setattr(span_writer, "STRIPE_ROWS", 24)
    monkeypatch.setattr(daily_file_writer, "CHUNK_ROWS", 8)
    register(tmp_path)
    write_journal(tmp_path, "feed", Schema.TICK, parts_of(TICKS, []))
    Compaction(tmp_path, Policy()).run()
    shutil.rmtree(tmp_path / "journal")
    (span,) = spans(daily_dir(tmp_path, "feed", Schema.TICK))
    assert exact(tmp_path) == []
    return span.path


def exact(data_dir: Path) -> list[Damage]:
    """The damage that a reader names; what it reads besides is exact, and nothing else is missing."""
    found: list[Damage] = []
    blocks = list(Store(data_dir, on_damage=found.append).read("feed", Schema.TICK, Selection()))
    seqs = np.concatenate([np.zeros(0, np.int64), *(block["seq"].astype(np.int64) for block in blocks)])
    assert b"".join(block.tobytes() for block in blocks) == TICKS[seqs].tobytes()
    for seq in set(range(len(TICKS))).difference(seqs.tolist()):
        assert any(
            (part.first_seq or 0) <= seq <= (len(TICKS) if part.last_seq is None else part.last_seq) for part in found
        )
    return found


def harmed(whole: bytes, stride: int) -> Iterator[tuple[int, bytes]]:
    """With a bit of every so many bytes changed, and cut off there."""
    for place in range(0, len(whole), stride):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        yield place, bytes(changed)
        yield place, whole[:place]


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.long)])
def test_each_byte_of_a_daily_file(day: Path, indexed: bool, stride: int) -> None:
    data_dir = day.parents[3]
    path, *_ = sorted(day.glob(f"*{DAILY_SUFFIX}"))
    whole = path.read_bytes()
    if not indexed:
        for index in day.glob("*.tpx"):
            index.unlink()
    for place, content in harmed(whole, stride):
        path.write_bytes(content)
        found = exact(data_dir)
        assert found, place
        assert {part.path for part in found} == {str(path)}
        with pytest.raises(DamageError, match=str(path)):
            list(Store(data_dir).read("feed", Schema.TICK, Selection()))
    path.write_bytes(whole)
    assert exact(data_dir) == []


@pytest.mark.parametrize("what", ["*.tpx", MANIFEST])
@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.long)])
def test_each_byte_of_what_says_what_there_is(day: Path, what: str, stride: int) -> None:
    data_dir = day.parents[3]
    path, *_ = sorted(day.glob(what))
    whole = path.read_bytes()
    for place, content in harmed(whole, stride):
        path.write_bytes(content)
        found = exact(data_dir)
        # An index is a cache: where it lies, the file tells. A manifest ends with a byte that says nothing.
        assert found or what != MANIFEST or place == len(whole) - 1, place
        if what == MANIFEST and found:
            assert {part.path for part in found} == {str(path)}
