"""Whatever a store holds, and wherever a compaction of it ends: every reader gets what it got before."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from made_days import MIDNIGHT_NS, everything, make_day_records, parts_of, register, write_journal

from tickplant.records.layouts import Schema
from tickplant.store import daily_file_writer, span_writer
from tickplant.store.compaction import Compaction, Policy
from tickplant.store.daily_files import DAY_NS, daily_dir, spans
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.verify import verify
from tickplant.writer.journal import Files

HOUR_NS = 3600 * 10**9


class Died(BaseException):
    """The process is gone: nothing that it does reaches the disk any more."""


class DyingFiles(Files):
    """Touches the disk so many times."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("open", "write", "sync", "rename", "make_folder", "remove"):
            return found

        def once(*arguments: Any) -> Any:
            self.steps -= 1
            if self.steps < 0:
                raise Died
            return found(*arguments)

        return once


@pytest.fixture(autouse=True)
def small_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_writer, "STRIPE_ROWS", 13)
    monkeypatch.setattr(daily_file_writer, "CHUNK_ROWS", 4)


@st.composite
def journals(draw: st.DrawFn) -> Callable[[Path], None]:
    """A store of a few journals: several days, steps back, holes, epochs, symbols and flushes as they come."""
    steps = st.one_of(
        st.integers(0, 10**9), st.sampled_from([-DAY_NS, -HOUR_NS // 2, -3, HOUR_NS, 7 * HOUR_NS, DAY_NS])
    )
    made = []
    for producer, schema in (("feed", Schema.TICK), ("other", Schema.TICK), ("engine", Schema.CHECKPOINT)):
        gaps = draw(st.lists(steps, min_size=0 if made else 1, max_size=40))
        if not gaps:
            continue
        times = MIDNIGHT_NS - 10**9 + np.cumsum(gaps)
        records = make_day_records(schema, times, instruments=draw(st.integers(1, 5)))
        hole = draw(st.one_of(st.none(), st.integers(0, len(records) - 1)))
        cuts = sorted(draw(st.lists(st.integers(0, len(records)), max_size=6)) + ([] if hole is None else [hole]))
        if hole is not None:
            records["seq"][hole:] += 5
        rotate = draw(st.sampled_from([1, 700, 1 << 20]))
        made.append((producer, schema, parts_of(records, cuts), rotate))

    def write(data_dir: Path) -> None:
        register(data_dir)
        for producer, schema, parts, rotate_bytes in made:
            write_journal(data_dir, producer, schema, parts, rotate_bytes=rotate_bytes)

    return write


def check(data_dir: Path, expected: dict[str, bytes | int], harmless: list[str]) -> None:
    assert everything(data_dir) == expected
    assert sorted({problem.kind for problem in verify(data_dir).problems}) == harmless


def compact_and_compare(write: Callable[[Path], None], data: st.DataObject) -> None:
    """Compact a store, killed a few times, and compare what readers get."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        write(data_dir)
        expected = everything(data_dir)
        problems = sorted({problem.kind for problem in verify(data_dir).problems})
        for _ in range(data.draw(st.integers(0, 2), "kills")):
            files = DyingFiles(data.draw(st.integers(0, 150), "steps"))
            policy = Policy(open_days=data.draw(st.booleans(), "open days"))
            now_ns = data.draw(st.sampled_from([MIDNIGHT_NS, MIDNIGHT_NS + 2 * DAY_NS, 2**62]), "now")
            with contextlib.suppress(Died):
                Compaction(data_dir, policy, files=files, now_ns=lambda now=now_ns: now).run()  # type: ignore[misc]
            check(data_dir, expected, problems)
        Compaction(data_dir, Policy()).run()
        check(data_dir, expected, problems)
        store = Store(data_dir)
        for schema in (Schema.TICK, Schema.CHECKPOINT):
            for producer in store.producers(schema):
                found = spans(daily_dir(data_dir, producer, schema))
                stored = sum(span.last_seq - span.first_seq + 1 for span in found)
                assert stored == sum(len(part) for part in store.read(producer, schema, Selection()))
                seqs = data.draw(st.lists(st.integers(0, 50), max_size=3), "seqs")
                for seq in seqs:
                    record = store.record(producer, schema, seq)
                    parts = list(store.read(producer, schema, Selection(), first_seq=seq, last_seq=seq))
                    assert (record is None) == (not parts)
                    assert record is None or record["seq"] == seq


SETTINGS = settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(write=journals(), data=st.data())
def test_every_reader_gets_the_same_before_during_and_after(write: Callable[[Path], None], data: st.DataObject) -> None:
    compact_and_compare(write, data)


@pytest.mark.long
@settings(SETTINGS, max_examples=100)
@given(write=journals(), data=st.data())
def test_every_reader_gets_the_same_at_length(write: Callable[[Path], None], data: st.DataObject) -> None:
    compact_and_compare(write, data)
