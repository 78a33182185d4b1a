"""Verify --deep: what engines have derived is what the ticks lead to; --repair mends indices and torn tails."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from made_past import SETTINGS, derive, fill, past_ticks
from made_records import START_NS

from tickplant.cli import run
from tickplant.cli.options import max_levels_of
from tickplant.derive.derivation import Series
from tickplant.derive.series import SeriesTable
from tickplant.instruments import InstrumentTable
from tickplant.plant.lock_file import locked
from tickplant.plant.repair import repair
from tickplant.records.layouts import Schema
from tickplant.store.compaction import Compaction, Policy
from tickplant.store.deep_checks import DeepCheck, recorded_of
from tickplant.store.deep_summary import DeepSummary
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.verify import verify
from tickplant.writer.index import index_path, load_index

NAMES = (
    "rsi-5.1s", "ema-3.1m", "hawkes-0.1-0.5-1.trade", "microprice.bbo", "order_flow-10.bbo", "bars.tick-7",
    "ema-3.tick-7", "feature_both-1-0.1s", "depth-3.book_1s", "bars.tick-100000", "queue_ahead-9.book_1s",
)  # fmt: skip
MEMBERS = {"feature_both-1-0.1s": ("rsi-5.1s", "microprice.bbo", "ema-3.tick-7")}
SERIES = tuple(Series(number, name, (), MEMBERS.get(name, ())) for number, name in enumerate(NAMES, 1))
"""Over bars, trades, best bids and offers, bars of trades and books; these bars; a feature set; bars that never end."""


def make_store(
    folder: Path, of_orders: frozenset[int] = frozenset(), max_levels: int = 20_000, **changed: int
) -> Store:
    """A store of two books and what follows from them; of `changed`, by schema, one value is falsified."""
    table = InstrumentTable.load(folder / "instruments.jsonl")
    for symbol in ("AAA", "BBB"):
        table.register("venue", symbol, 8, 8)
    ticks = past_ticks([1, 2], 4000, start_ns=START_NS, step_ns=10**7, of_orders=of_orders)
    SeriesTable(folder).numbers(NAMES, add=True, members=MEMBERS)
    derived = derive(table, folder, ticks, SETTINGS._replace(checkpoint_s=5, series=SERIES, max_levels=max_levels))
    fields = {"bbo": "ask_size", "bar": "volume", "checkpoint": "size"}
    fields |= {"value": "value_1", "trade_bar": "volume", "state": "value_1"}
    for schema, records in derived.items():
        if (place := changed.get(schema.name.lower())) is not None:
            records[fields[schema.name.lower()]][place] += 1
        fill(folder, schema, "engine", records)
    fill(folder, Schema.TICK, "feed", ticks)
    return Store(folder)


def check(store: Store, max_levels: int = 20_000) -> DeepSummary:
    return DeepCheck(store, "feed", recorded_of(store), max_levels).run()


@pytest.mark.parametrize("of_orders", [frozenset(), frozenset({1})])
def test_all_that_an_engine_has_derived_is_proved(tmp_path: Path, of_orders: frozenset[int]) -> None:
    store = make_store(tmp_path, of_orders)
    summary = check(store)
    stored = {schema: sum(map(len, store.scan(schema=schema))) for schema in Schema}
    assert (summary.ticks, summary.wrong, summary.lacking, summary.stopped) == (stored[Schema.TICK], 0, 0, "")
    assert summary.bars == stored[Schema.BAR] > 50
    assert summary.trade_bars == stored[Schema.TRADE_BAR] > 50
    assert summary.states > 50
    assert summary.checkpoints > 2
    if not of_orders:
        assert summary.bbo > 0.9 * stored[Schema.BBO] > 100
        assert summary.values == stored[Schema.VALUE] > 1000


@pytest.mark.parametrize(
    ("schema", "place"), [("bbo", -3), ("bar", 20), ("checkpoint", 3), ("value", 700), ("trade_bar", 30), ("state", -3)]
)
def test_one_wrong_value_is_found(tmp_path: Path, schema: str, place: int) -> None:
    store = make_store(tmp_path, **{schema: place})
    report = verify(tmp_path, deep=True)
    (summary,) = report.deep
    assert not report.ok
    assert summary.wrong == 1
    (flaw,) = summary.flaws
    assert (flaw.engine, flaw.schema) == ("engine", schema)
    assert "is not" in flaw.text
    if schema in ("value", "trade_bar"):
        (row,) = np.concatenate(list(store.scan(schema=Schema[schema.upper()])))[[place]]
        assert flaw.seq == row["seq"]
        assert f"of {NAMES[row['series'] - 1]} of instrument {row['instrument']}" in flaw.text
        assert f"value_1 is {row['value_1']}, not " in flaw.text if schema == "value" else "volume is " in flaw.text
    assert verify(store.data_dir).ok


def test_books_hold_as_many_levels_as_those_of_the_plant(tmp_path: Path) -> None:
    store = make_store(tmp_path, max_levels=2)
    summary = check(store, 2)
    assert summary.wrong == 0
    assert summary.bbo == len(np.concatenate(list(store.read("engine", Schema.BBO, Selection()))))
    # By another bound other books come of the ticks: of those that have given up levels nothing is called wrong.
    assert check(store, 1).wrong == 0
    assert check(store, 1).unproved > summary.unproved
    assert check(store, 3).wrong == 0
    assert check(store).wrong > 0
    # The command takes the bound of the plant.
    file = tmp_path / "plant.toml"
    file.write_text('[feeds.binance]\nvenue = "binance"\nsymbols = ["BTCUSDT"]\n[engines.one]\nmax_levels = 500\n')
    assert max_levels_of(file, None) == 500
    assert max_levels_of(None, tmp_path) == 20_000


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
    assert 0 < summary.values < whole.values
    assert 0 < summary.trade_bars < whole.trade_bars
    assert summary.states > 0


def test_a_value_that_is_missing_and_one_that_is_too_much_are_seen(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    values = np.concatenate(list(store.scan(schema=Schema.VALUE)))
    shutil.rmtree(tmp_path / "journal" / "engine" / "value")
    again = np.concatenate([values[:500], values[501:600], values[599:]])  # without one, and with one twice
    again["seq"] = np.arange(len(again))
    fill(tmp_path, Schema.VALUE, "engine", again)
    summary = check(Store(tmp_path))
    assert (summary.values, summary.lacking, summary.wrong) == (len(values) - 1, 1, 1)
    (flaw,) = summary.flaws
    assert flaw.seq in (598, 599)
    assert "make no such record" in flaw.text


def test_a_series_that_an_engine_began_later_is_proved_from_there_on(tmp_path: Path) -> None:
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    table.register("venue", "AAA", 8, 8)
    SeriesTable(tmp_path).numbers(NAMES, add=True, members=MEMBERS)
    ticks = past_ticks([1], 2000, start_ns=START_NS, step_ns=10**7)
    lives = [
        derive(table, tmp_path, part, SETTINGS._replace(checkpoint_s=5, series=series))
        for part, series in ((ticks[:1000], SERIES[5:6]), (ticks[1000:], (SERIES[2], *SERIES[5:7])))
    ]
    fill(tmp_path, Schema.TICK, "feed", ticks)
    counts = {}
    for schema in (Schema.STATE, Schema.VALUE, Schema.TRADE_BAR):
        records = np.concatenate([life[schema] for life in lives if schema in life])
        records["seq"], counts[schema] = np.arange(len(records)), len(records)
        fill(tmp_path, schema, "engine", records)
    summary = check(Store(tmp_path))
    assert (summary.wrong, summary.lacking, summary.flaws) == (0, 0, [])
    assert summary.values == counts[Schema.VALUE] > 100
    assert summary.trade_bars == counts[Schema.TRADE_BAR] > 50


def test_what_a_user_s_indicator_made_is_called_unproved(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    path = tmp_path / "series.jsonl"
    rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    rows[0]["source"] = "digest"
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    values = np.concatenate(list(store.scan(schema=Schema.VALUE)))
    summary = check(Store(tmp_path))
    own = np.count_nonzero(values["series"] == 1)
    assert (summary.wrong, summary.lacking) == (0, 0)
    assert own < summary.unproved  # and the set that samples it
    assert summary.values + summary.unproved == len(values)


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
