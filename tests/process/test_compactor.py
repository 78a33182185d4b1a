"""A plant compacts its store by itself, and `tickplant compact` beside it or without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_days import MIDNIGHT_NS, everything, make_day_records, parts_of, register, write_journal
from plant_process import DEMO, PlantProcess, plant, tickplant, wait_for

from tickplant.records.layouts import Schema
from tickplant.store.daily_files import daily_dir, daily_root, spans
from tickplant.store.reader import Store
from tickplant.writer.journal import Files

pytestmark = pytest.mark.usefixtures("unmeasured")

EVERY_SECOND = "\n[store]\ncompact_every_s = 1\nopen_days = true\nkeep_journal_h = 0\n"

IDLE_S = 300.0
"""A compactor works at the lowest priority: on a busy machine, when nobody else does."""


def compacted(running: PlantProcess) -> int:
    """Ticks of the plant in daily files."""
    found = spans(daily_dir(running.data_dir, "binance", Schema.TICK))
    return sum(span.last_seq + 1 - span.first_seq for span in found)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_plant_that_records_compacts_what_it_has_recorded_before(tmp_path: Path) -> None:
    with plant(tmp_path, DEMO + "\n[store]\ncompact_every_s = 0\n", rate=2000) as running:
        wait_for("records on disk", lambda: running.process_named("writer")["counters"].get("records", 0) > 5000)
    first = Store(running.data_dir).next_seq("binance", Schema.TICK)
    in_the_way = daily_root(running.data_dir) / "lock"
    in_the_way.mkdir(parents=True)
    with plant(tmp_path, DEMO + "rotate_mib = 1" + EVERY_SECOND, rate=2000) as running:
        wait_for("trouble", lambda: "compactor ended with" in running.errors.read_text(), timeout_s=IDLE_S)
        assert f"{in_the_way}" in running.errors.read_text()
        assert running.status()["healthy"]  # it records
        in_the_way.rmdir()
        wait_for("daily files", lambda: compacted(running) >= first, timeout_s=IDLE_S)
        wait_for(
            "the old journal to go",
            lambda: Store(running.data_dir).files("binance", Schema.TICK)[0].stem > "0" * 20,
            timeout_s=IDLE_S,
        )
        wait_for("live books", lambda: running.process_named("engine")["counters"].get("books_live") == 2)
        assert running.status()["healthy"]
        done = tickplant("compact", "--json", "-c", running.file)
        assert done.returncode == 0 or "another process compacts" in done.stderr, done.stderr
        assert running.stop() == 0
    verified = tickplant("verify", "--data", running.data_dir)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    with plant(tmp_path, DEMO, rate=500) as running:
        wait_for("live books", lambda: running.process_named("engine")["counters"].get("books_live") == 2)


def test_the_command_says_what_it_has_done_and_what_it_cannot_do(tmp_path: Path) -> None:
    register(tmp_path)
    ticks = make_day_records(Schema.TICK, [MIDNIGHT_NS + second * 10**9 for second in range(100)])
    write_journal(tmp_path, "feed", Schema.TICK, parts_of(ticks, [50]), rotate_bytes=1)
    before = everything(tmp_path)
    done = tickplant("compact", "--data", tmp_path, "--keep-journal", "0", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["spans"], said["records"], said["journal_files"]) == (1, 100, 1)
    assert everything(tmp_path) == before
    (daily_root(tmp_path) / "lock").unlink()
    (daily_root(tmp_path) / "lock").mkdir()
    refused = tickplant("compact", "--data", tmp_path)
    assert refused.returncode == 1
    assert "cannot be written" in refused.stderr
    assert "Traceback" not in refused.stderr
    Files().remove(daily_root(tmp_path) / "lock")
