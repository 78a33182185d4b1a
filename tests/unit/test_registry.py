"""The registry of derivations and the facts of schemas say all that others need, and agree with each other."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import get_args

import pytest

from tickplant.derive.derivation import Derivation, Series, Settings
from tickplant.derive.registry import BY_SCHEMA, DERIVATIONS, STREAMS, channels_of, may_be_channel, schema_of, wanted
from tickplant.records.channels import TICK_CHANNELS
from tickplant.records.layouts import DTYPES, Schema
from tickplant.records.schemas import DERIVED, FACTS, PUBLISHED
from tickplant.runtime import config_checks
from tickplant.runtime.config import Channel, KeptChannel
from tickplant.wire.topics import make_topic, split_topic

SERIES = (Series(2, "rsi-14.1m"), Series(1, "hawkes-0.1-0.5-1.trade"), Series(3, "bars.volume-0.5"))
SETTINGS = Settings(bar_s=(1, 90, 60), series=SERIES)


def test_every_schema_has_its_facts_and_every_derived_one_its_entry() -> None:
    assert set(FACTS) == set(Schema)
    assert set(BY_SCHEMA) == set(DERIVED)
    assert {entry.schema for entry in STREAMS} == set(PUBLISHED)


@pytest.mark.parametrize("schema", list(Schema))
def test_facts_name_each_field_of_the_layout_once(schema: Schema) -> None:
    facts, names = FACTS[schema], set(DTYPES[schema].names or ())
    assert sorted(facts.columns) == sorted(names - {"reserved"})
    assert [name for name, _ in facts.keys] == list(facts.columns[: len(facts.keys)])
    for name, bits in facts.keys:
        assert DTYPES[schema][name].itemsize * 8 == bits
    assert {*facts.shown, "ts_event", "ts_recv", "instrument"} == names - {"reserved"}
    assert not facts.series or facts.series in dict(facts.keys)
    assert facts.table or not facts.published


@pytest.mark.parametrize("entry", DERIVATIONS, ids=lambda entry: entry.schema.name)
def test_an_entry_makes_records_in_one_way_and_has_a_plain_reference(entry: Derivation) -> None:
    assert (entry.make is None) != (entry.moment is None)
    assert FACTS[entry.schema].published == (entry.make is not None)
    module, _, name = entry.reference.rpartition(".")
    assert hasattr(importlib.import_module(f"tickplant.{module}"), name)
    assert entry.numbers(SETTINGS)
    assert FACTS[entry.schema].series or entry.numbers(SETTINGS) == (0,)


def test_what_settings_lead_to() -> None:
    assert wanted(SETTINGS) == [entry.schema for entry in DERIVATIONS]
    assert wanted(Settings(bar_s=(1,))) == [Schema.BBO, Schema.BAR, Schema.CHECKPOINT]
    assert channels_of(SETTINGS) == {
        Schema.BBO: {0: "bbo"},
        Schema.BAR: {1: "bar_1s", 90: "bar_90s", 60: "bar_1m"},
        Schema.TRADE_BAR: {3: "bars_volume-0_5"},
        Schema.VALUE: {2: "rsi-14_1m", 1: "hawkes-0_1-0_5-1_trade"},
    }
    assert channels_of(Settings())[Schema.BAR] == {}


def test_channels_are_told_apart_and_may_stand_in_topics() -> None:
    names = [channel for channels in channels_of(SETTINGS).values() for channel in channels.values()]
    assert len(set(names)) == 7
    for name in names:
        assert may_be_channel(name)
        assert sum(entry.channels.fullmatch(name) is not None for entry in STREAMS) == 1
        assert name in channels_of(SETTINGS)[schema_of(name)].values()
        assert name not in TICK_CHANNELS
        assert split_topic(make_topic("venue", "BRK.B", name)) == ("venue", "BRK.B", name)
    assert [schema_of(name) for name in TICK_CHANNELS] == [Schema.TICK] * len(TICK_CHANNELS)
    with pytest.raises(ValueError, match="'rsi' is not a channel: trade"):
        schema_of("rsi")
    assert not any(map(may_be_channel, (*TICK_CHANNELS, "bar_0s", "rsi", "rsi-14", "bar_1s.", "")))


def test_retention_knows_every_schema() -> None:
    own = {FACTS[schema].name for schema in DERIVED}
    assert set(config_checks.DERIVED) == own
    kept = {name for part in get_args(KeptChannel) for name in (get_args(part) or (part,))}
    assert kept == own | set(get_args(Channel))


def test_a_supervisor_can_read_the_registry_without_numba() -> None:
    code = "import sys, tickplant.derive.registry, tickplant.plant.planned_series; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
