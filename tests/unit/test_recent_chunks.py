"""Short ranges beside one another decode a chunk once, answer with arrays of their own, and notice a changed file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decoding_watch import watch_decoding
from made_records import make_ticks

from tickplant.errors import DamageError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Schema
from tickplant.store.reader import INSTRUMENTS_FILE, Store
from tickplant.store.recent_chunks import RecentColumns
from tickplant.writer.journal import Journal

CHUNK = 500
TICKS = make_ticks(3 * CHUNK)
COLUMNS = ("ts_recv", "price")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    table = InstrumentTable.load(tmp_path / INSTRUMENTS_FILE)
    for symbol in ("AAA", "BBB", "CCC"):
        table.register("venue", symbol, 8, 8)
    journal = Journal(tmp_path, Schema.TICK, "feed", chunk_records=CHUNK)
    journal.append(TICKS)
    journal.close()
    return Store(tmp_path)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """First seqs of the chunks that are decoded from now on."""
    return watch_decoding(monkeypatch)


def ask(store: Store, first: int, last: int) -> dict[str, Any]:
    """Columns of the rows from `first` to before `last`, by time, compared with those recorded."""
    times = TICKS["ts_recv"]
    found = store.ticks(None, None, int(times[first]), int(times[last]), columns=COLUMNS, prices="integer").numpy()
    wanted = TICKS[(times >= times[first]) & (times < times[last])]
    for name in COLUMNS:
        assert np.array_equal(found[name], wanted[name])
    return found


def test_ranges_beside_one_another_decode_a_chunk_once(store: Store, decoded: list[int]) -> None:
    for first in range(20, 400, 60):
        ask(store, first, first + 60)
    assert decoded == [0]
    ask(store, CHUNK - 30, CHUNK + 30)
    assert decoded == [0, CHUNK]
    ask(store, CHUNK + 30, CHUNK + 90)
    assert decoded == [0, CHUNK]


def test_an_answer_that_is_written_to_changes_no_other(store: Store) -> None:
    for first, last in ((50, 60), (50, 60), (0, CHUNK), (0, CHUNK), (10, 2 * CHUNK), (40, 70)):
        for column in ask(store, first, last).values():
            column[:] = 7


def test_no_more_than_so_many_bytes_are_remembered(store: Store, decoded: list[int]) -> None:
    store.recent = RecentColumns(1)
    for _ in range(2):
        ask(store, 50, 60)
        ask(store, 60, 70)
        ask(store, CHUNK + 50, CHUNK + 60)
    assert decoded == [0, CHUNK, 0, CHUNK]


def test_a_file_that_has_changed_is_read_again(store: Store) -> None:
    ask(store, 50, 60)
    (path,) = store.files("feed", Schema.TICK)
    data = bytearray(path.read_bytes())
    data[CHUNK // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DamageError, match=path.name):
        ask(store, 60, 70)
