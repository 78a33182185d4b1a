"""Folders are listed again when they have changed, and not before."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from made_records import make_ticks
from plant_process import wait_for

from tickplant.records.layouts import Schema
from tickplant.store import folder_memory
from tickplant.store.folder_memory import FolderMemory
from tickplant.store.reader import Store
from tickplant.writer.journal import Journal, journal_dir

TICKS = make_ticks(300)


def record(folder: Path, producer: str, rows: int = 300) -> None:
    journal = Journal(folder, Schema.TICK, producer)
    journal.append(TICKS[journal.next_seq : rows])
    journal.close()


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders that are listed from now on, by a reader to whom every change is long ago."""
    seen: list[str] = []
    listdir, now = os.listdir, time.time_ns

    def watched(path: Any) -> list[str]:
        seen.append(str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", watched)
    monkeypatch.setattr(folder_memory.time, "time_ns", lambda: now() + 3600 * 10**9)
    return seen


def test_what_has_not_changed_is_not_listed_again(tmp_path: Path, listed: list[str]) -> None:
    record(tmp_path, "feed")
    memory = FolderMemory(tmp_path, lambda: None)
    first = memory.producers(Schema.TICK), memory.segments("feed", Schema.TICK)
    assert listed
    listed.clear()
    assert (memory.producers(Schema.TICK), memory.segments("feed", Schema.TICK)) == first
    assert not listed
    before = (tmp_path / "journal").stat().st_ctime_ns

    def later() -> bool:  # a clock of a file system goes in steps
        (tmp_path / "journal" / "new").mkdir(exist_ok=True)
        (tmp_path / "journal" / "new").rmdir()
        return (tmp_path / "journal").stat().st_ctime_ns != before

    wait_for("the folder's time to go on", later)
    record(tmp_path, "other")
    assert memory.producers(Schema.TICK) == ["feed", "other"]
    assert memory.producers(Schema.BAR) == []


def test_what_has_changed_just_now_is_listed_each_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.producers() == []
    for producer in ("a", "b", "c"):
        record(tmp_path, producer)
        assert store.producers()[-1] == producer
        assert len(store.segments(producer, Schema.TICK)) == 1
    (path,) = journal_dir(tmp_path, "a", Schema.TICK).glob("*.tpj")
    path.rename(path.with_name(f"{300:020d}.tpj"))
    assert [segment.first_seq for segment in store.segments("a", Schema.TICK)] == [300]


@pytest.mark.parametrize(
    ("part_ns", "passed_ms", "trusted"), [(7, 90, False), (7, 110, True), (0, 1900, False), (0, 2100, True)]
)
def test_a_folder_is_trusted_once_a_further_change_would_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_ns: int, passed_ms: int, trusted: bool
) -> None:
    """That is two seconds after a change where a file system keeps whole seconds, a tenth of one where not."""
    changed_ns = 1_700_000_000 * 10**9 + part_ns
    listings = []
    monkeypatch.setattr(folder_memory, "_changed_ns", lambda folder: changed_ns)
    monkeypatch.setattr(folder_memory.time, "time_ns", lambda: changed_ns + passed_ms * 10**6)
    memory = FolderMemory(tmp_path, lambda: listings.append(1))
    memory.segments("feed", Schema.TICK)
    memory.segments("feed", Schema.TICK)
    assert len(listings) == (1 if trusted else 2)
