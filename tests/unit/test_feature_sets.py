"""Feature sets: sampled at their rows, from what was known then, live as over history."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from made_past import derive, fill, past_ticks

from tickplant.derive.derivation import Series, Settings
from tickplant.derive.feature_sets import FeatureSet, stored_sets
from tickplant.derive.series import SeriesTable
from tickplant.errors import ConfigError, DeriveError
from tickplant.instruments import InstrumentTable
from tickplant.plant.planned_series import numbered, stored_series, wanted_series
from tickplant.records.layouts import Schema
from tickplant.runtime import config as cfg
from tickplant.store.reader import Store

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "linear_model.py"
SECOND = 10**9
START_NS = 1_700_000_000 * SECOND
NAMES = ("rsi-5.1s", "microprice.bbo", "macd-3-6-2.1s", "hawkes-0.1-0.5-1.trade", "ema-3.tick-7", "depth-2.book_1s")
MEMBERS = (
    "rsi-5.1s",
    "microprice.bbo",
    "macd-3-6-2.1s",
    "macd-3-6-2.1s:3",
    "hawkes-0.1-0.5-1.trade:2",
    "ema-3.tick-7",
    "depth-2.book_1s:2",
)
SETS = tuple(FeatureSet("momentum", 2, on, MEMBERS) for on in ("1s", "bbo", "trade", "tick-7"))
PARTS = {name: members for one in SETS for name, members in one.series().items()}
SETTINGS = Settings(
    bar_s=(1,),
    checkpoint_s=30,
    series=(
        Series(1, "bars.tick-7"),
        *(Series(number, name) for number, name in enumerate(NAMES, 2)),
        *(Series(number, name, (), members) for number, (name, members) in enumerate(PARTS.items(), 10)),
    ),
)


class Lived:
    """Five minutes of two symbols."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = InstrumentTable.load(folder / "instruments.jsonl")
        self.ids = [self.table.register("venue", symbol, 2, 8).id for symbol in ("AAA", "BBB")]
        self.ticks = past_ticks(self.ids, 3000, start_ns=START_NS, step_ns=SECOND // 10, resyncs=0.005)
        self.values = derive(self.table, folder, self.ticks, SETTINGS)[Schema.VALUE]

    def of(self, name: str, id_: int) -> np.ndarray:
        number = next(one.number for one in SETTINGS.series if one.name == name)
        return self.values[(self.values["series"] == number) & (self.values["instrument"] == id_)]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    return Lived(tmp_path_factory.mktemp("lived"))


def test_each_row_has_a_sample_with_the_last_value_of_each_feature(lived: Lived) -> None:
    for name, members in PARTS.items():
        for id_ in lived.ids:
            found = lived.of(name, id_)
            assert len(found) > 20, name
            assert (np.diff(found["source_seq"].astype(np.int64)) > 0).all()
            for place, member in enumerate(members, 1):
                series, _, output = member.partition(":")
                values = lived.of(series, id_)
                at = np.searchsorted(values["source_seq"], found["source_seq"], side="right") - 1
                expected = np.where(at < 0, np.nan, values[f"value_{output or 1}"][at])
                assert found[f"value_{place}"].tobytes() == expected.tobytes(), (name, member)
            assert all(np.isnan(found[f"value_{place}"]).all() for place in range(len(members) + 1, 5))
    of_clock = lived.of("feature_momentum-2-0.1s", lived.ids[0])
    rsi = lived.of("rsi-5.1s", lived.ids[0])
    # Rows of the same bars: the value that a bar leads to is known when it closes.
    assert of_clock["source_seq"].tolist() == rsi["source_seq"].tolist()
    assert of_clock["value_1"].tobytes() == rsi["value_1"].tobytes()


def test_a_feed_that_ends_at_any_instant_has_the_same_samples_until_then(lived: Lived, tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    for end in random.integers(1, len(lived.ticks), 6).tolist():
        part = derive(lived.table, tmp_path, lived.ticks[:end], SETTINGS)[Schema.VALUE]
        assert part.tobytes() == lived.values[: len(part)].tobytes()
        later = lived.values[len(part) :]["source_seq"]
        assert not len(later) or later.min() >= end


def test_samples_do_not_depend_on_where_batches_are_cut(lived: Lived, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    for count in (7, 80):
        cuts = np.sort(random.choice(len(lived.ticks), count, replace=False)).tolist()
        again = derive(lived.table, tmp_path, lived.ticks, SETTINGS, cuts=cuts)
        assert again[Schema.VALUE].tobytes() == lived.values.tobytes()


@pytest.fixture(scope="module")
def stored(lived: Lived) -> Store:
    """What a plant would have kept of it."""
    names = {one.number: one.name for one in SETTINGS.series}
    ordered = [names.get(number, f"unused-{number}.1d") for number in range(1, max(names) + 1)]
    SeriesTable(lived.folder).numbers(ordered, add=True, members=PARTS)
    for schema, records in derive(lived.table, lived.folder, lived.ticks, SETTINGS).items():
        fill(lived.folder, schema, "engine", records)
    fill(lived.folder, Schema.TICK, "feed", lived.ticks)
    return Store(lived.folder)


def test_history_has_the_samples_of_the_engine(lived: Lived, stored: Store) -> None:
    for features in SETS:
        for symbol, id_ in zip(("AAA", "BBB"), lived.ids, strict=True):
            found = stored.features(features, "venue", symbol).numpy()
            place = 0
            for name, members in features.series().items():
                own = lived.of(name, id_)
                assert found["ts_recv"].tolist() == own["ts_recv"].tolist()
                for output, _ in enumerate(members, 1):
                    assert found[MEMBERS[place]].tobytes() == own[f"value_{output}"].tobytes(), (name, output)
                    place += 1
    by_name = stored.features("momentum", "venue", "AAA", version=2)
    assert (by_name.features.name, by_name.features.members) == ("momentum", MEMBERS)


def test_a_range_gives_the_samples_of_the_whole_and_tables_come_in_all_forms(stored: Store, tmp_path: Path) -> None:
    start, end = START_NS + 60 * SECOND, START_NS + 120 * SECOND
    whole, part = (stored.features(SETS[1], "venue", "AAA", *bounds) for bounds in ((), (start, end)))
    times = whole.numpy()["ts_recv"]
    wanted = (times >= start) & (times < end)
    assert 0 < wanted.sum() < len(times)
    for name in MEMBERS:
        assert part.numpy()[name].tobytes() == whole.numpy()[name][wanted].tobytes()
    table = stored.features(SETS[1]).arrow()
    assert table.column_names == ["ts_event", "ts_recv", "venue", "symbol", *MEMBERS]
    assert table.num_rows == stored.features(SETS[1]).write(tmp_path / "all.parquet")


def test_an_unknown_set_or_member_is_named(stored: Store) -> None:
    with pytest.raises(DeriveError, match="other: no such feature set is stored; the store has momentum 2, momentum 2"):
        stored.features("other")
    with pytest.raises(DeriveError, match=r"members: sma-9\.1m is not stored"):
        stored.features(FeatureSet("x", 1, "1s", ("sma-9.1m",)))
    with pytest.raises(DeriveError, match="on: bars of volume-5 are not stored"):
        stored.features(FeatureSet("x", 1, "volume-5", NAMES[:1]))
    for wrong, words in (
        (FeatureSet("X", 1, "1s", NAMES[:1]), "name: 'X' is not a name"),
        (FeatureSet("x", 0, "1s", NAMES[:1]), "version: 0 is not a version"),
        (FeatureSet("x", 1, "1x", NAMES[:1]), "on: '1x' is neither a length"),
        (FeatureSet("x", 1, "1s", ()), "members: lists 0 features"),
        (FeatureSet("x", 1, "1s", ("rsi-5.1s", "rsi-5.1s:1")), "members: a feature is listed twice"),
        (FeatureSet("x", 1, "1s", ("rsi-5.1s:5",)), "members: 'rsi-5.1s:5' is not a feature"),
        (FeatureSet("x", 1, "1s", ("bars.tick-7",)), "members: 'bars.tick-7' is not a feature"),
    ):
        with pytest.raises(DeriveError, match=words):
            stored.features(wrong)


CONFIG = """
[feeds.a]
venue = "binance"
symbols = ["BTCUSDT"]
[writers.writer]
[engines.engine]
publish = "ipc:///tmp/none"
[[engines.engine.derive]]
indicator = "macd"
[[engines.engine.derive]]
indicator = "microprice"
[[engines.engine.features]]
name = "momentum"
on = "1s"
members = ["macd-12-26-9.1m:2", "microprice.bbo"]
symbols = ["*.BTC*"]
"""


def test_a_set_is_configured_numbered_and_made_again_by_a_replay(tmp_path: Path) -> None:
    config = cfg.parse(CONFIG, file="plant.toml", base=tmp_path)
    planned = wanted_series(config)
    name, members = "feature_momentum-1-0.1s", ("macd-12-26-9.1m:2", "microprice.bbo")
    assert planned.by_engine["engine"] == {"macd-12-26-9.1m": (), "microprice.bbo": (), name: ("*.BTC*",)}
    refs = numbered(config.data_dir, planned.by_engine["engine"], add=True, planned=planned)
    assert (refs[2].name, refs[2].members) == (name, members)
    assert stored_series(config.data_dir).series[2].members == members
    assert list(stored_sets(SeriesTable(config.data_dir).members)) == [FeatureSet("momentum", 1, "1s", members)]
    for before, after, words in (
        (
            '"microprice.bbo"]',
            '"sma-3.1m"]',
            r"features\[0\].members: the engine does not make sma-3.1m: it makes",
        ),
        ('on = "1s"', 'on = "5m"', r"features\[0\].on: the engine makes no bars of 5m: add 300 to its bar_s"),
        ('on = "1s"', 'on = "x"', r"features\[0\].on: 'x' is neither"),
        ('on = "1s"', 'on = "trade-XNYS"', r"features\[0\].on: 'trade-XNYS' is neither"),
        ('on = "1s"', 'on = "session-NYSE"', r"features\[0\].on: NYSE is an alias of XNYS: use XNYS"),
        (':2", "micro', '", "micro', r"features\[0\].version: 1 of momentum has other features already"),
        ('name = "mom', 'name = "Mom', r"features\[0\].name: 'Momentum' is not a name"),
    ):
        with pytest.raises(ConfigError, match=words):
            wanted_series(cfg.parse(CONFIG.replace(before, after), file="plant.toml", base=tmp_path))


def test_the_example_predicts_by_weights_of_least_squares(stored: Store) -> None:
    spec = importlib.util.spec_from_file_location("linear_model", EXAMPLE)
    assert spec is not None and spec.loader is not None
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    weights = model.train(str(stored.data_dir), "venue", "AAA")
    table = stored.features("momentum", "venue", "AAA").arrow()
    found = model.predict(weights, table)
    assert found.column_names == ["ts_event", "ts_recv", "venue", "symbol", "change"]
    change = np.diff(table[MEMBERS[0]].to_numpy())
    errors = found["change"].to_numpy()[:-1] - change
    errors = errors[np.isfinite(errors)]
    assert len(errors) > 50
    # Least squares: no other weights do better, and the errors have nothing of a feature left in them.
    assert abs(errors.mean()) < 1e-9
    assert (errors**2).mean() < change[np.isfinite(change)].var()
