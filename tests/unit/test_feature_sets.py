"""Feature sets: sampled at their rows, from what was known then, live as over history."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_past import derive, past_ticks

from tickplant.derive.derivation import Series, Settings
from tickplant.derive.feature_sets import FeatureSet, stored_sets
from tickplant.derive.series import SeriesTable
from tickplant.errors import ConfigError
from tickplant.instruments import InstrumentTable
from tickplant.plant.planned_series import numbered, stored_series, wanted_series
from tickplant.records.layouts import Schema
from tickplant.runtime import config as cfg

SECOND = 10**9
START_NS = 1_700_000_000 * SECOND
NAMES = ("rsi-5.1s", "microprice.bbo", "macd-3-6-2.1s", "hawkes-0.1-0.5-1.trade", "ema-3.tick-7")
MEMBERS = ("rsi-5.1s", "microprice.bbo", "macd-3-6-2.1s:1", "macd-3-6-2.1s:3", "hawkes-0.1-0.5-1.trade:2", "ema-3.tick-7")
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
