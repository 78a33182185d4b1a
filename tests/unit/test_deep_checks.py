"""Verify --deep: what engines have derived is what the ticks lead to; --repair mends indices and torn tails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_past import SETTINGS, derive, fill, past_ticks
from made_records import START_NS

from tickplant.cli import run
from tickplant.instruments import InstrumentTable
from tickplant.plant.lock_file import locked
from tickplant.plant.repair import repair
from tickplant.records.layouts import Schema
from tickplant.store.compaction import Compaction, Policy
from tickplant.store.deep_checks import DeepCheck, DeepSummary, recorded_of
from tickplant.store.reader import Store
from tickplant.store.verify import verify
from tickplant.writer.index import index_path, load_index


def make_store(folder: Path, of_orders: frozenset[int] = frozenset(), **changed: int) -> Store:
    """A store of two books and what follows from them; of `changed`, by schema, one value is falsified."""
    table = InstrumentTable.load(folder / "instruments.jsonl")
    for symbol in ("AAA", "BBB"):
        table.register("venue", symbol, 8, 8)
    ticks = past_ticks([1, 2], 4000, start_ns=START_NS, step_ns=10**7, of_orders=of_orders)
    derived = derive(table, folder, ticks, SETTINGS._replace(checkpoint_s=5))
    fields = {"bbo": "ask_size", "bar": "volume", "checkpoint": "size"}
    for schema, records in derived.items():
        if (place := changed.get(schema.name.lower())) is not None:
            records[fields[schema.name.lower()]][place] += 1
        fill(folder, schema, "engine", records)
    fill(folder, Schema.TICK, "feed", ticks)
    return Store(folder)


def check(store: Store) -> DeepSummary:
    return DeepCheck(store, "feed", recorded_of(store)).run()


@pytest.mark.parametrize("of_orders", [frozenset(), frozenset({1})])
def test_all_that_an_engine_has_derived_is_proved(tmp_path: Path, of_orders: frozenset[int]) -> None:
    store = make_store(tmp_path, of_orders)
    summary = check(store)
    stored = {schema: sum(map(len, store.scan(schema=schema))) for schema in Schema}
    assert (summary.ticks, summary.wrong, summary.lacking, summary.stopped) == (stored[Schema.TICK], 0, 0, "")
    assert summary.bars == stored[Schema.BAR] > 50
    assert summary.checkpoints > 2
    if not of_orders:
        assert summary.bbo > 0.9 * stored[Schema.BBO] > 100


@pytest.mark.parametrize("schema", ["bbo", "bar", "checkpoint"])
def test_one_wrong_value_is_found(tmp_path: Path, schema: str) -> None:
    store = make_store(tmp_path, **{schema: 20 if schema == "bar" else -3 if schema == "bbo" else 3})
    report = verify(tmp_path, deep=True)
    (summary,) = report.deep
    assert not report.ok
    assert summary.wrong == 1
    (flaw,) = summary.flaws
    assert (flaw.engine, flaw.schema) == ("engine", schema)
    assert "is not" in flaw.text
    assert verify(store.data_dir).ok


def test_what_retention_has_removed_leaves_nothing_that_is_called_wrong(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    whole = check(store)
    oldest, *left = store.files("feed", Schema.TICK)
    assert left
    oldest.unlink()
    index_path(oldest).unlink()
    summary = check(Store(tmp_path))
    assert summary.ticks == whole.ticks - int(left[0].stem) > 0
    assert summary.wrong == 0
    assert summary.unproved > 0
    assert 0 < summary.bbo < whole.bbo
    assert 0 < summary.bars < whole.bars


def test_damage_ends_the_proof_and_is_named(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    path = store.files("feed", Schema.TICK)[1]
    data = bytearray(path.read_bytes())
    data[int(load_index(path).entries[0]["offset"]) + 400] ^= 1
    path.write_bytes(data)
    summary = check(store)
    assert summary.wrong == 0
    assert str(path) in summary.stopped
    assert summary.unproved > 0


def test_the_command_says_what_was_proved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_store(tmp_path, bar=20)
    assert run(["verify", "--deep", "--data", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert " ticks folded again: " in out
    assert "1 do not" in out
    assert "derived: engine bar seq 20: the bar of" in out
    assert ": WRONG, " in out


def test_torn_tails_are_moved_aside_and_indices_made_anew_once_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store(tmp_path)
    before = np.concatenate(list(store.scan()))
    first, *_, last = store.files("feed", Schema.TICK)
    for path in (first, last):
        path.write_bytes(path.read_bytes() + path.read_bytes()[:150])
    index_path(first).unlink()
    assert not verify(tmp_path).ok  # a torn tail in the midst is damage
    assert run(["verify", "--repair", "--data", str(tmp_path)]) == 0
    said = capsys.readouterr().err.splitlines()
    assert sum("a torn tail of 150 bytes is in " in line for line in said) == 2
    assert any(line.startswith(f"mended: {index_path(first)}: was missing") for line in said)
    assert len(list(first.parent.glob("*.torn"))) == 2
    assert (np.concatenate(list(Store(tmp_path).scan())) == before).all()
    assert list(repair(tmp_path)) == []


def test_indices_of_daily_files_are_made_anew_as_well(tmp_path: Path) -> None:
    make_store(tmp_path)
    assert not Compaction(tmp_path, Policy(open_days=True)).run().trouble
    indices = sorted((tmp_path / "daily").rglob("*.tpx"))
    before = [index.read_bytes() for index in indices]
    assert len(indices) > 4
    indices[0].unlink()
    indices[-1].write_bytes(before[-1][:-8])
    assert {(found.kind, found.path) for found in repair(tmp_path)} == {
        ("index", str(index)) for index in (indices[0], indices[-1])
    }
    assert [index.read_bytes() for index in indices] == before
    broken = indices[0].with_suffix(".tpd")
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-10])
    assert {found.kind for found in repair(tmp_path)} == {"left"}
    assert broken.read_bytes() == whole[:-10]
    assert indices[0].read_bytes() == before[0]


def test_what_was_durable_is_never_cut_off_and_an_index_that_lists_it_stays(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    path = store.files("feed", Schema.TICK)[-1]
    whole, index = path.read_bytes(), index_path(path).read_bytes()
    for broken in (whole[:-10], whole[:-60] + bytes(60)):
        path.write_bytes(broken)
        kinds = [found.kind for found in repair(tmp_path)]
        assert set(kinds) == {"left"}
        assert path.read_bytes() == broken
        assert index_path(path).read_bytes() == index


def test_a_store_that_a_plant_writes_to_is_not_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_store(tmp_path)
    with locked(tmp_path):
        assert run(["verify", "--repair", "--data", str(tmp_path)]) == 1
    assert "a plant already writes here" in capsys.readouterr().err
