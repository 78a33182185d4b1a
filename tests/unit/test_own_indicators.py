"""Indicators of users: where they are found, whose they must be, and what is found out before one runs."""

from __future__ import annotations

import importlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unruly_indicators

from tickplant.cli import run as run_command
from tickplant.derive.indicators.book_levels import BOOK_IMBALANCE, DEPTH
from tickplant.derive.own_indicators import Loaded, find, load
from tickplant.derive.own_places import placed
from tickplant.derive.own_trial import try_out
from tickplant.derive.series import SeriesTable
from tickplant.derive.settle import Asked, settle
from tickplant.errors import ConfigError, DeriveError
from tickplant.instruments import InstrumentTable
from tickplant.plant import settling
from tickplant.plant.planned_series import numbered, stored_series, wanted_series
from tickplant.records.layouts import BBO, Schema
from tickplant.runtime import config as cfg
from tickplant.store.reader import Store
from tickplant.writer.journal import Journal

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "spread_mean.py"
UNRULY = Path(unruly_indicators.__file__)
FEED = '[feeds.a]\nvenue = "binance"\nsymbols = ["BTCUSDT"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return copied(EXAMPLE, tmp_path)


def plain(function: Any) -> Any:
    return getattr(function, "py_func", function)


def copied(source: Path, folder: Path) -> Path:
    """A checkout may be one that others of a group can write to."""
    path = folder / source.name
    shutil.copyfile(source, path)
    path.chmod(0o644)
    return path


def expect_refused(place: object, words: str, name: str = "own") -> None:
    with pytest.raises(DeriveError, match=words):
        load(name, f"{place}:SPREAD_MEAN")


@pytest.mark.kernels
def test_the_example_keeps_its_contract_under_any_name(file: Path) -> None:
    found = load("spreads", f"{file}:SPREAD_MEAN")
    assert found.indicator.label([0.25]) == "spreads-0.25"
    try_out(found.indicator, found.indicator.settle({}))
    try_out(found.indicator, found.indicator.settle({"weight": 0.9}))


def test_a_file_must_be_the_users_own_and_nobody_else_may_change_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.chmod(0o664)
    expect_refused(file, "may be changed by others: run chmod go-w")
    file.chmod(0o646)
    expect_refused(file, "may be changed by others: run chmod go-w")
    file.chmod(0o644)
    with monkeypatch.context() as patch:
        user = os.geteuid() + 1 if os.geteuid() else 0
        patch.setattr(os, "geteuid", lambda: user)
        if file.stat().st_uid:
            expect_refused(file, "belongs to another user")
    expect_refused(tmp_path / "no.py", "no.py: cannot be read: No such file")
    (tmp_path / "folder.py").mkdir()
    expect_refused(tmp_path / "folder.py", "cannot be read: Is a directory")
    os.mkfifo(tmp_path / "pipe.py")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def", "SyntaxError"),
        ("x = 1\n1 / 0\n", "cannot be loaded: ZeroDivisionError at line 2: division by zero"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit"),
        ("SPREAD_MEAN = 5", "has no Indicator that is called SPREAD_MEAN"),
        ("import no_such_module", "No module named 'no_such_module'"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_named_with_the_reason(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "own.py"
    file.write_text(text)
    file.chmod(0o644)
    expect_refused(file, words)


def test_names_and_places_have_a_form(file: Path) -> None:
    for name, place in (("Own", "a.py:A"), ("bars", "a.py:A"), ("a-b", "a.py:A"), ("own", "a.py"), ("own", ":A")):
        with pytest.raises(DeriveError, match="is not a name|is not the place"):
            load(name, place)
        with pytest.raises(ConfigError, match=rf"plant.toml: indicators\.{name}: "):
            wanted_series(cfg.parse(f"{FEED}[indicators]\n{name} = '{place}'", file="plant.toml", base=Path("/base")))
    assert placed({"a": "x/y.py:A", "b": "pack.age:B"}, Path("/base")) == {"a": "/base/x/y.py:A", "b": "pack.age:B"}


def test_an_installed_package_offers_indicators_by_entry_points(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder := file.parent / "offers-1.dist-info").mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: offers\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[tickplant.indicators]\nspread_mean = spread_mean:SPREAD_MEAN\n")
    monkeypatch.syspath_prepend(str(file.parent))
    importlib.invalidate_caches()
    assert find("spread_mean").indicator.name == "spread_mean"
    with pytest.raises(DeriveError, match="choose from sma, .*, spread_mean, or name a place"):
        find("spread_men")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("BEYOND", "raised IndexError"),
        ("OF_BATCHES", "depend on where rows are cut"),
        ("UNFILLED", "unset or overwritten|depend on where rows are cut"),
        ("INFINITE", "a value is infinite"),
        ("NOTHING", "give no value at all|by the reference"),
        ("INTO_INPUTS", "writes to its inputs"),
        ("OTHER", "by the kernel, .* by the reference"),
        ("SHAPELESS", r"its reference gives the shape \(400,\)"),
        ("NO_SIZE", "is not a count of float64 values"),
    ],
)
def test_what_breaks_the_contract_is_found_out_by_a_trial(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = getattr(unruly_indicators, name)
    # As plain Python: compiling takes a second each.
    for part in ("run_mid", "write"):
        monkeypatch.setattr(unruly_indicators, part, plain(getattr(unruly_indicators, part)))
    found = replace(found, kernel=plain(found.kernel))
    with pytest.raises(DeriveError, match=words):
        try_out(found, found.settle({}))


def test_an_indicator_over_books_is_tried_on_books_of_its_depth() -> None:
    parameters = DEPTH.settle({"levels": 3})
    plainly = replace(DEPTH, kernel=plain(DEPTH.kernel))
    try_out(plainly, parameters)
    with pytest.raises(DeriveError, match="its depth gives 0, which is not a number of levels"):
        try_out(replace(plainly, depth=lambda given: 0), parameters)
    with pytest.raises(DeriveError, match=r"its reference gives the shape \(1, 400\)"):
        try_out(replace(plainly, reference=BOOK_IMBALANCE.reference), parameters)


def test_what_ends_or_stops_its_process_costs_that_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "TRIAL_S", 20.0)
    file = copied(UNRULY, tmp_path)
    own = [Asked(name.lower(), place=f"{file}:{name}") for name in ("ENDING", "NOT_COMPILED", "RAISING")]
    rsi, ending, not_compiled, raising = settling.settle_all([Asked("rsi"), *own])
    assert rsi == settle(Asked("rsi"))
    assert ending.broken == "ended the process that tried it: exit code 7"
    assert "raised TypingError" in not_compiled.broken
    assert (raising.label, raising.broken) == ("raising", "")
    monkeypatch.setattr(settling, "TRIAL_S", 3.0)
    (hanging,) = settling.settle_all([Asked("hanging", place=f"{file}:HANGING")])
    assert hanging.broken == "takes longer than 3 s to be compiled and tried"


CONFIG = f"""
{FEED}
[writers.writer]
[engines.engine]
publish = "ipc:///tmp/none"
[indicators]
spreads = "spread_mean.py:SPREAD_MEAN"
[[engines.engine.derive]]
indicator = "spreads"
[[engines.engine.derive]]
indicator = "ema"
"""


@pytest.fixture
def settled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own costs a second."""
    monkeypatch.setattr("tickplant.plant.planned_series.settle_all", lambda asked: [settle(one) for one in asked])


@pytest.mark.usefixtures("settled_here")
def test_a_broken_one_costs_its_own_series_alone_and_a_check_says_so(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def planned(text: str = CONFIG) -> tuple[list[str], str]:
        found = wanted_series(cfg.parse(text, file="plant.toml", base=file.parent))
        assert list(found.indicators) == ["spreads"]
        return list(found.by_engine["engine"]), found.indicators["spreads"].broken

    assert planned() == (["spreads-0.1.bbo", "ema-20.1m"], "")
    with pytest.raises(ConfigError, match=r"derive\[0\].parameters.wait: no parameter of spreads; choose from weight"):
        planned(CONFIG.replace('"spreads"\n', '"spreads"\nparameters.wait = 1\n'))
    with pytest.raises(ConfigError, match=r"derive\[1\].indicator: ema is an indicator already: choose another"):
        planned(CONFIG.replace("spreads =", 'ema = "x.py:X"\nspreads ='))
    config = file.with_name("plant.toml")
    config.write_text(CONFIG)
    assert run_command(["config", "check", str(config)]) == 0
    file.chmod(0o666)
    made, why = planned()
    assert made == ["ema-20.1m"]
    assert "may be changed by others" in why
    capsys.readouterr()
    assert run_command(["config", "check", str(config)]) == 2
    assert "indicators.spreads: " in capsys.readouterr().err


@pytest.mark.usefixtures("settled_here")
def test_another_source_is_not_stored_under_the_same_name(file: Path) -> None:
    config = cfg.parse(CONFIG, file="plant.toml", base=file.parent)
    wanted = wanted_series(config)
    refs = numbered(config.data_dir, wanted.by_engine["engine"], add=True, planned=wanted)
    assert [ref.name for ref in refs] == ["spreads-0.1.bbo", "ema-20.1m"]
    source = wanted.indicators["spreads"].source
    assert SeriesTable(config.data_dir).sources == {"spreads-0.1.bbo": source}
    assert wanted_series(config).by_engine == wanted.by_engine
    # A replay makes it where it is told where the indicator is, and where that is still the same.
    places = placed(config.indicators, config.base)
    told, untold = stored_series(config.data_dir, places), stored_series(config.data_dir)
    assert ([one.name for one in told.series], told.left_out) == (["spreads-0.1.bbo", "ema-20.1m"], {})
    assert [one.source for one in told.indicators] == [source]
    assert [one.name for one in untold.series] == ["ema-20.1m"]
    assert "nobody says where" in untold.left_out["spreads-0.1.bbo"]
    file.write_text(file.read_text() + "# changed\n")
    found = wanted_series(config)
    assert list(found.by_engine["engine"]) == ["ema-20.1m"]
    assert "give the new one another name in [indicators]" in found.indicators["spreads"].broken
    assert "its source has changed" in stored_series(config.data_dir, places).left_out["spreads-0.1.bbo"]


def test_over_history_it_is_named_by_its_place_and_cached_by_its_source(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = file.parent / "data"
    InstrumentTable.load(data / "instruments.jsonl").register("venue", "AAA", 2, 0)
    bests = np.zeros(50, BBO)
    bests["instrument"], bests["seq"] = 1, np.arange(50)
    bests["ts_recv"] = bests["ts_event"] = 1_700_000_000 * 10**9 + np.arange(50) * 10**9
    bests["bid_price"], bests["ask_price"] = 10_000, 10_000 + np.arange(50) % 7
    journal = Journal(data, Schema.BBO, "engine")
    journal.append(bests)
    journal.flush()
    journal.close()
    found = Store(data).derive(f"{file}:SPREAD_MEAN", weight=0.5)
    own: Loaded = find(f"{file}:SPREAD_MEAN")
    expected = own.indicator.apply({"bid": bests["bid_price"] / 100, "ask": bests["ask_price"] / 100}, weight=0.5)
    assert found.label == "spread_mean-0.5.bbo"
    assert found.numpy()["away"].tobytes() == expected["away"].tobytes()
    assert [day.cached for day in Store(data).derive(f"{file}:SPREAD_MEAN", weight=0.5).days] == [True]
    file.write_text(file.read_text().replace("spread - state[1]\n", "spread - state[1] + 0.0\n"))
    assert [day.cached for day in Store(data).derive(f"{file}:SPREAD_MEAN", weight=0.5).days] == [False]
    (config := file.with_name("plant.toml")).write_text(CONFIG)
    assert run_command(["derive", "spreads", "-c", str(config), "--set", "weight=0.5"]) == 0
    assert "spreads-0.5.bbo: 50 rows" in capfd.readouterr().err
    raising = copied(UNRULY, file.parent)
    with pytest.raises(DeriveError, match="beyond_now.bbo: raised IndexError"):
        _ = Store(data).derive(f"beyond_now={raising}:BEYOND").days
