"""All series of a feed in one call: the values of the plain reference, wherever batches are cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.derive.derivation import Series
from tickplant.derive.plain_series import plain_values
from tickplant.derive.running_series import running
from tickplant.derive.series_states import pack_states
from tickplant.derive.value_stream import ValueStream
from tickplant.instruments import Instrument
from tickplant.records.layouts import DTYPES, NO_PRICE, BarFlag, Flag, Kind, Schema

pytestmark = pytest.mark.kernels

Records = np.ndarray

SCHEMAS = (Schema.TICK, Schema.BBO, Schema.BAR, Schema.TRADE_BAR)
INSTRUMENTS = {
    id_: Instrument(id_, "venue", symbol, 2 + id_ % 3, id_ % 4)
    for id_, symbol in enumerate(("AAA", "BBB", "CCC", "AAA", "ABC"), 1)
}
LINE = {1: 1, 2: 2, 3: 3, 4: 1, 5: 5}
"""AAA has had two ids."""
RULES = {40: "tick-7", 41: "volume-3"}
NAMES = (
    *("sma-3.1s", "rsi-2.1s", "atr-2.1m", "bollinger-3-2.1m", "donchian-2.1s", "kyle-3.1s", "vwap-2-2.1s", "obv.1m"),
    *("hawkes-0.1-0.5-1.trade", "roll-3.trade", "vwap_session-60-2.trade"),
    *("spread.bbo", "microprice.bbo", "order_flow-2.bbo", "ema-3.tick-7", "vpin-2.volume-3", "stochastic-3-2-2.tick-7"),
)
PATTERNS = ((), ("venue.A*",), ("venue.BBB", "venue.CCC"), ("other.*",))


def made_rows(random: np.random.Generator, ticks: int) -> dict[Schema, Records]:
    """Records of a feed that need not fit each other; of one tick there are up to two of a kind, and of all kinds."""
    made = {}
    for schema in SCHEMAS:
        seqs = np.sort(random.integers(0, ticks, ticks))
        rows = np.zeros(len(seqs), DTYPES[schema])
        for name in rows.dtype.names or ():
            if rows.dtype[name] == np.int64:
                rows[name] = random.integers(1, 1000, len(rows))
        # A tick is of one instrument, and so is what it makes.
        rows["instrument"] = 1 + seqs * 7919 % 11 % len(INSTRUMENTS)
        rows["seq" if schema is Schema.TICK else "source_seq"] = seqs
        made[schema] = rows
    trades, bests, bars, rule_bars = made.values()
    trades["kind"] = random.choice([Kind.TRADE, Kind.LEVEL], ticks)
    trades["flags"] = random.choice([Flag.LAST, Flag.BACKFILL], ticks, p=[0.8, 0.2])
    trades["side"] = random.integers(0, 3, ticks)
    trades["ts_event"][random.random(ticks) < 0.2] = 0
    bests["ask_price"][random.random(ticks) < 0.2] = NO_PRICE
    bars["interval_s"] = random.choice([1, 60, 300], ticks)
    rule_bars["series"] = random.choice([*RULES, 42], ticks)
    rule_bars["flags"] = random.choice([0, BarFlag.CORRECTION], ticks, p=[0.8, 0.2])
    return made


@settings(max_examples=60)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), ticks=st.integers(0, 80))
def test_all_series_in_one_call_have_the_values_of_each_by_itself(data: st.DataObject, seed: int, ticks: int) -> None:
    names = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    series = [Series(number, name, data.draw(st.sampled_from(PATTERNS))) for number, name in enumerate(names, 1)]
    series += [Series(number, f"bars.{rule}") for number, rule in RULES.items()]
    made = made_rows(np.random.default_rng(seed), ticks)
    stream = ValueStream(series, INSTRUMENTS.__getitem__, LINE.__getitem__)
    cuts = sorted(data.draw(st.lists(st.integers(0, ticks), max_size=4)))
    parts = []
    for begin, end in zip([0, *cuts], [*cuts, ticks], strict=True):
        part = {}
        for schema, rows in made.items():
            seqs = rows["seq" if schema is Schema.TICK else "source_seq"]
            found = rows[(seqs >= begin) & (seqs < end)]
            if schema is Schema.TICK or len(found):
                part[schema] = found
        parts.append(stream.apply(part).copy())
    expected = plain_values(running(series), made, INSTRUMENTS, LINE.__getitem__)
    assert np.concatenate(parts).tobytes() == expected.tobytes()


def test_memory_that_grows_while_a_stream_runs_changes_no_value() -> None:
    """Ids, lanes, series of lanes, states, rows of a batch and values: each outgrows the room that it began with."""
    instruments = {id_: Instrument(id_, "venue", f"S{id_}", 2, 1) for id_ in range(1, 151)}
    series = [Series(number, name) for number, name in enumerate(("hawkes-0.1-0.5-1.trade", "roll-40.trade"), 1)]
    random, ticks = np.random.default_rng(1), np.zeros(3_000, DTYPES[Schema.TICK])
    ticks["kind"], ticks["seq"] = Kind.TRADE, np.arange(len(ticks))
    ticks["price"], ticks["size"] = random.integers(1, 1000, (2, len(ticks)))
    ticks["ts_event"] = ticks["ts_recv"] = 10**9 * np.arange(len(ticks))
    ticks["instrument"] = np.minimum(1 + np.arange(len(ticks)) // 4, random.integers(1, 151, len(ticks)))
    stream = ValueStream(series, instruments.__getitem__, lambda id_: id_)
    parts = []
    for part in np.split(ticks, [1, 2, 5, 200, 1_500]):  # the last two have more rows and values than there is room for
        stream.reserve(int(part["instrument"].max()))
        apart = np.repeat(part, 2)[::2]  # which a kernel does not read
        parts.append(stream.apply({Schema.TICK: apart}))
        kept = pack_states(stream.states(), part[-1], {})
        stream = ValueStream(series, instruments.__getitem__, lambda id_: id_)
        stream.restore(kept, int(part[-1]["seq"]) + 1)  # more than there is room for, before any row
    expected = plain_values(running(series), {Schema.TICK: ticks}, instruments, lambda id_: id_)
    assert len(expected) == 2 * len(ticks)
    assert np.concatenate(parts).tobytes() == expected.tobytes()
    assert all(not np.shares_memory(one, other) for one, other in pairwise(parts))
