"""Indicators in an engine: values of a feed, whatever its batches, live as over history, and after a kill."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from made_past import Sinks, derive, fill, past_ticks
from remains import ring_name

from tickplant.derive.derivation import Series, Settings
from tickplant.derive.indicators.catalogue import indicator
from tickplant.derive.plain_trade_bars import PlainTradeBars
from tickplant.derive.registry import channels_of
from tickplant.derive.series_states import pack_states, unpack_states
from tickplant.engine.core import Engine
from tickplant.engine.publisher import Publisher
from tickplant.engine.recovery import Rebuild
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import TICK, VALUE, BarFlag, Flag, Kind, Schema
from tickplant.runtime.job_specs import Past as FeedOfVenue
from tickplant.shm.ring import Ring
from tickplant.store.reader import Store
from tickplant.store.restore import FeedPast
from tickplant.store.stored_states import newest_states

Records = np.ndarray

SECOND = 10**9
START_NS = 1_700_000_000 * SECOND
NAMES = ("rsi-5.1s", "ema-8.1s", "sma-3.1m", "hawkes-0.1-0.5-1.trade", "microprice.bbo", "order_flow-10.bbo")
RULES = {
    "tick-7": 7.0,
    "volume-3e-07": 30.0,
    "dollar-4e-05": 400_000.0,
    "imbalance-8e-08": 8.0,
    "time-5": 5.0 * SECOND,
    "session-XTST": 1.0,
}
SESSIONS = np.arange(7, 800, 20)[:, None] * SECOND + [START_NS, START_NS + 15 * SECOND]
OVER_RULES = (
    *(f"bars.{rule}" for rule in RULES),
    "ema-3.tick-7",
    "vpin-4.volume-3e-07",
    "sma-1.session-XTST",
    "vwap_session-0-2.trade-XTST",
)
BOOKS = (
    *("depth-3.book_1s", "price_to_buy-2e-08.book_5s", "queue.book_5s", "bid_level-1.book_250ms"),
    "queue_ahead-30.book_1s",
)
SETTINGS = Settings(
    bar_s=(1, 60),
    checkpoint_s=30,
    series=(
        *(Series(number, name) for number, name in enumerate(NAMES, 1)),
        Series(9, "roll-6.trade", ("venue.A*",)),
        *(Series(number, name) for number, name in enumerate(OVER_RULES, 10)),
        *(Series(number, name) for number, name in enumerate(BOOKS, 20)),
    ),
    sessions={"XALL": np.array([[0, START_NS], [START_NS, 2**62]]), "XTST": SESSIONS},
)
SYMBOLS = ("AAA", "BBB", "CCC")


class Lived:
    """Fifteen minutes of a feed, and what its engine made of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = InstrumentTable.load(folder / "instruments.jsonl")
        self.ids = [self.table.register("venue", symbol, 2, 8).id for symbol in SYMBOLS]
        self.ticks = past_ticks(
            self.ids,
            6000,
            start_ns=START_NS,
            step_ns=SECOND * 15 // 100,
            resyncs=0.005,
            of_orders=frozenset(self.ids[2:]),
        )
        random, kinds = np.random.default_rng(5), self.ticks["kind"]
        later = (kinds == Kind.TRADE) & (random.random(len(kinds)) < 0.05)
        self.ticks["flags"][later] |= np.uint16(Flag.BACKFILL)
        missing = np.flatnonzero(kinds == Kind.LEVEL)[[1000, 2000]]
        self.ticks["kind"][missing], self.ticks["flags"][missing] = Kind.GAP, Flag.ON_TRADE | Flag.LAST
        self.made = derive(self.table, folder, self.ticks, SETTINGS)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    return Lived(tmp_path_factory.mktemp("lived"))


def test_each_series_has_a_value_for_each_of_its_rows_and_the_indicators_own(lived: Lived) -> None:
    values, bars = lived.made[Schema.VALUE], lived.made[Schema.BAR]
    for id_ in lived.ids:
        rows = bars[(bars["instrument"] == id_) & (bars["interval_s"] == 1)]
        expected = indicator("rsi").apply({"close": rows["close"] / 100.0}, period=5)["rsi"]
        found = values[(values["instrument"] == id_) & (values["series"] == 1)]
        assert len(expected) > 100
        assert found["value_1"].tobytes() == expected.tobytes()
        assert np.isnan(found["value_2"]).all()
        for name in ("ts_event", "ts_recv", "source_seq"):
            assert (found[name] == rows[name]).all()
    trades = lived.ticks[(lived.ticks["kind"] == Kind.TRADE) & (lived.ticks["flags"] & Flag.BACKFILL == 0)]
    of_trades = values[values["series"] == 4]
    assert of_trades["source_seq"].tolist() == trades["seq"].tolist()
    assert set(values["instrument"][values["series"] == 9].tolist()) == {lived.ids[0]}, "of the symbols that it is for"
    assert (np.diff(values["source_seq"].astype(np.int64)) >= 0).all()


def test_bars_of_trades_are_closed_by_their_rules_and_are_rows_of_indicators(lived: Lived) -> None:
    values, found = lived.made[Schema.VALUE], lived.made[Schema.TRADE_BAR]
    for id_ in lived.ids:
        own = lived.ticks[lived.ticks["instrument"] == id_]
        for number, (rule, size) in enumerate(RULES.items(), 10):
            bars = found[(found["instrument"] == id_) & (found["series"] == number)]
            expected = PlainTradeBars(rule.partition("-")[0], size, SESSIONS.tolist()).apply(own)
            assert len(expected) > 20, rule
            for name in set(bars.dtype.names or ()) - {"vwap", "series", "seq"}:
                assert bars[name].tolist() == expected[name].tolist(), (rule, name)
            np.testing.assert_allclose(bars["vwap"], expected["vwap"] / 100, rtol=1e-13)
        closed = found[(found["instrument"] == id_) & (found["series"] == 10)]
        closed = closed[closed["flags"] & BarFlag.CORRECTION == 0]
        ema = indicator("ema").apply({"close": closed["close"] / 100.0}, period=3)["ema"]
        of_ema = values[(values["instrument"] == id_) & (values["series"] == 10 + len(RULES))]
        assert of_ema["value_1"].tobytes() == ema.tobytes()
        assert of_ema["source_seq"].tolist() == closed["source_seq"].tolist()
        sessions = found[(found["instrument"] == id_) & (found["series"] == 9 + len(RULES))]
        assert (sessions["flags"] & BarFlag.OUTSIDE).any()
        sessions = sessions[sessions["flags"] & (BarFlag.CORRECTION | BarFlag.OUTSIDE) == 0]
        assert set(zip(sessions["ts_open"].tolist(), sessions["ts_event"].tolist(), strict=True)) <= set(
            map(tuple, SESSIONS.tolist())
        )
        of_sessions = values[(values["instrument"] == id_) & (values["series"] == 12 + len(RULES))]
        assert of_sessions["value_1"].tolist() == (sessions["close"] / 100).tolist(), "what lies between is no row"
        # Over trades, VWAP from the open of each session on: at its last trade, that of the bar.
        prices = values[(values["instrument"] == id_) & (values["series"] == 13 + len(RULES))]
        trades = own[(own["kind"] == Kind.TRADE) & (own["flags"] & Flag.BACKFILL == 0)]
        assert prices["source_seq"].tolist() == trades["seq"].tolist()
        inside = np.searchsorted(SESSIONS.reshape(-1), trades["ts_event"], side="right") % 2 == 1
        assert (np.isfinite(prices["value_1"]) == inside).all()
        ends = np.searchsorted(prices["source_seq"], sessions["source_seq"]) - 1
        for bar, end in zip(sessions, ends.tolist(), strict=True):
            if bar["flags"] & Flag.LATE:
                continue  # a trade of before the open, which counts into the bar alone
            last = np.flatnonzero(inside[: end + 1])[-1]
            np.testing.assert_allclose(prices["value_1"][last], bar["vwap"], rtol=1e-12)
    assert (found["flags"] & BarFlag.INCOMPLETE).any()


@pytest.mark.kernels
def test_values_do_not_depend_on_where_batches_are_cut(lived: Lived, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    for count in (7, 60):
        cuts = np.sort(random.choice(len(lived.ticks), count, replace=False)).tolist()
        again = derive(lived.table, tmp_path, lived.ticks, SETTINGS, cuts=cuts)
        for schema, records in lived.made.items():
            # Which sequence numbers values had by then depends on nothing else either.
            assert again[schema].tobytes() == records.tobytes(), schema


def test_a_state_comes_back_to_the_bit() -> None:
    random = np.random.default_rng(1)
    vectors = {(3, 1): random.random(9), (3, 7): random.random(4), (5, 1): np.array([np.nan, -0.0, 5e-324])}
    states = [(number, line, vector) for (number, line), vector in vectors.items()]
    packed = pack_states([*states, (6, 1, np.zeros(0))], np.zeros(1, TICK)[0], {Schema.VALUE: 77})
    assert (packed["value_1"][0], packed["value_2"][0], len(packed)) == (5, 77, 6)
    found = unpack_states(packed, {3: 9, 5: 3, 6: 0})
    assert found.keys() == {(3, 1), (3, 7), (5, 1)}
    assert found[3, 1].tobytes() == vectors[3, 1].tobytes()
    assert found[5, 1].tobytes() == vectors[5, 1].tobytes()


class Successor:
    """An engine that comes back on what another one has stored."""

    def __init__(self, lived: Lived, folder: Path, **upto: int) -> None:
        self.folder = folder
        self.ticks = lived.ticks
        self.oldest = upto["tick"] - 500
        shutil.copy(lived.folder / "instruments.jsonl", folder)
        fill(folder, Schema.TICK, "feed", lived.ticks[: upto["tick"]])
        for schema, records in lived.made.items():
            fill(folder, schema, "engine", records[records["source_seq"] < upto.get(schema.name.lower(), upto["rest"])])
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.publisher = Publisher(
            self.context, f"ipc://{folder}/publish", lived.table.by_id, channels=channels_of(SETTINGS)
        )
        self.sinks = Sinks(SETTINGS)
        self.engine = Engine(lived.table, self.publisher, self.sinks.streams)
        self.feed = self.engine.add_feed("feed", SETTINGS)

    def come_back(self) -> dict[Schema, Records]:
        """What is stored besides until the ring's end."""
        with (
            Ring.create(ring_name(), Schema.TICK, 8192, start=self.oldest, epoch=1, doorbell_dir=self.folder) as live,
            live.producer() as feed,
        ):
            feed.publish(self.ticks[self.oldest :])
            past = FeedPast(Store(self.folder), "engine", "feed", FeedOfVenue("venue"), list, SETTINGS)
            outlets = {schema: kept.store for schema, kept in self.sinks.streams.items()}
            rebuild = Rebuild(self.engine, self.feed, live, "engine", past, stored={}, outlets=outlets)
            while not rebuild.finished:
                assert rebuild.turn(), "it has not got all it needs"
            rebuild.close()
            live.unlink()
        return {schema: kept.records for schema, kept in self.sinks.kept.items()}

    def close(self) -> None:
        self.publisher.close(0)
        self.context.term()


@pytest.fixture
def successors(lived: Lived, tmp_path: Path) -> Iterator[list[Successor]]:
    made: list[Successor] = []
    yield made
    for one in made:
        one.close()


@pytest.mark.parametrize(
    "upto",
    [
        {"tick": 5600, "rest": 5500},  # killed
        {"tick": 5600, "rest": 5500, "value": 5100},  # the power was cut, and fewer values are stored than bars
        {"tick": 5600, "rest": 5500, "state": 3000},
        {"tick": 5600, "rest": 5500, "trade_bar": 4800},
        {"tick": 600, "rest": 150},  # soon after its start
    ],
)
def test_after_coming_back_every_value_is_stored_once_and_to_the_bit(
    lived: Lived, tmp_path: Path, successors: list[Successor], upto: dict[str, int]
) -> None:
    successor = Successor(lived, tmp_path, **upto)
    successors.append(successor)
    more = successor.come_back()
    for schema in (Schema.BBO, Schema.BAR, Schema.TRADE_BAR, Schema.VALUE):
        whole = lived.made[schema]
        before = whole[whole["source_seq"] < upto.get(schema.name.lower(), upto["rest"])]
        assert rows(before, more[schema]) == rows(whole), schema


def rows(*parts: Records) -> list[bytes]:
    """Records to compare, but for `seq`: bits, since NaN equals nothing."""
    return [record.tobytes()[:-8] for part in parts for record in part]


def test_a_set_is_not_gone_on_from_that_lacks_values_before_it_or_its_tick_or_its_end(
    lived: Lived, tmp_path: Path
) -> None:
    states, values, made = (lived.made[schema] for schema in (Schema.STATE, Schema.VALUE, Schema.TRADE_BAR))
    heads = states[states["series"] == 0]
    assert len(heads) > 20

    def newest(name: str, ticks: int, kept: Records, stored: Records, bars: Records = made) -> int:
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(lived.folder / "instruments.jsonl", folder)
        fill(folder, Schema.TICK, "feed", lived.ticks[:ticks], flush=3000)
        fill(folder, Schema.STATE, "engine", kept, flush=3000)
        fill(folder, Schema.VALUE, "engine", stored, flush=3000)
        fill(folder, Schema.TRADE_BAR, "engine", bars, flush=3000)
        found = newest_states(Store(folder), "engine", "feed", frozenset(lived.ids))
        assert found is not None
        return int(np.flatnonzero(heads["source_seq"] == found.source_seq)[0])

    last = len(heads) - 1
    assert newest("whole", len(lived.ticks), states, values) == last
    assert newest("torn", len(lived.ticks), states[:-1], values) == last - 1
    fewer = values[: int(heads["value_2"][last - 2])]
    assert newest("fewer values", len(lived.ticks), states, fewer) == last - 2
    bars = made[: int(heads["value_3"][last - 3])]
    assert newest("fewer bars", len(lived.ticks), states, values, bars) == last - 3
    assert newest("no tick", int(heads["source_seq"][last - 3]) + 1, states, values) == last - 3


def test_an_old_id_and_a_new_one_are_one_line_of_rows(tmp_path: Path) -> None:
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    ids = [table.register("venue", "AAA", scale, 8).id for scale in (2, 3)]
    ticks = np.zeros(8, TICK)
    ticks["kind"], ticks["seq"], ticks["flags"] = Kind.TRADE, np.arange(8), Flag.LAST
    ticks["ts_recv"] = ticks["ts_event"] = START_NS + np.arange(8) * SECOND
    ticks["instrument"] = np.where(np.arange(8) < 4, ids[0], ids[1])
    ticks["price"] = np.where(np.arange(8) < 4, 100, 1000) * (1 + np.arange(8))
    ticks["size"] = 1
    settings = Settings(checkpoint_s=30, series=(Series(1, "roll-2.trade"),))
    found = derive(table, tmp_path, ticks, settings)[Schema.VALUE]
    expected = indicator("roll").apply({"price": 1.0 + np.arange(8)}, period=2)["roll"]
    assert found.dtype == VALUE
    assert found["value_1"].tobytes() == expected.tobytes()
    assert not np.isnan(found["value_1"][-1])
