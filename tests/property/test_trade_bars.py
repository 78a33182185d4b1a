"""Bars of trades equal the plain reference on any stream of records, however it is cut, and add up to the trades."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.derive.plain_trade_bars import PlainTradeBars
from tickplant.derive.trade_bar_kernels import RULE, RULES, STATE_SIZE, apply_trades
from tickplant.records.layouts import TICK, TRADE_BAR, UNKNOWN_BAR, BarFlag, Flag, Kind, TradeFlag

pytestmark = pytest.mark.kernels

LATER = [Flag.BACKFILL, TradeFlag.CORRECTION, TradeFlag.CANCELLED, TradeFlag.CORRECTION | TradeFlag.CANCELLED]
ROW = st.tuples(
    st.sampled_from([Kind.TRADE] * 6 + [Kind.GAP]),
    st.integers(-1, 60),  # ts_event
    st.integers(-5, 5),  # price
    st.one_of(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.just(2**62)),  # size
    st.integers(0, 2),  # side
    st.sampled_from([0, 0, 0, 0, 0, TradeFlag.IRREGULAR, *LATER]),
    st.one_of(st.integers(0, 99), st.just(2**64 - 1)),  # venue_seq
)
OF = st.tuples(st.sampled_from(RULES), st.integers(1, 12))
SESSIONS = [(5, 9), (9, 14), (20, 22), (23, 24), (40, 58)]


@st.composite
def streams(draw: st.DrawFn) -> np.ndarray:
    rows = draw(st.lists(ROW, max_size=100))
    records = np.zeros(len(rows), TICK)
    for record, row in zip(records, rows, strict=True):
        for name, value in zip(("kind", "ts_event", "price", "size", "side", "flags", "venue_seq"), row, strict=True):
            record[name] = value
    records["flags"][records["kind"] == Kind.GAP] = Flag.ON_TRADE
    records["instrument"], records["seq"] = 3, np.arange(len(records)) + 1000
    records["ts_recv"] = np.arange(len(records)) + 20
    return records


def fold(records: np.ndarray, rule: str, size: float, cuts: list[int] | None = None) -> np.ndarray:
    """What the kernel makes of the records; between the parts its state goes through storage, as float64."""
    vector, made = np.zeros(STATE_SIZE), [np.zeros(0, TRADE_BAR)]
    sessions = np.array([(-1, 99), *SESSIONS, (0, 3)])
    rules, of_id = np.array([(0, RULES.index(rule), size, 1.0, 0, 1, 6)], RULE), np.tile([0, 1], (4, 1))
    for part in np.split(records, sorted(cut for cut in cuts or [] if cut <= len(records))):
        whole, ids = vector.view(np.int64), vector.view(np.uint64)
        position, out = 0, np.ones(5, TRADE_BAR)  # few, so that it stops in between
        while position < len(part):
            arguments = rules, of_id, sessions, whole, ids, vector, out
            position, written, unknown = apply_trades(part.copy(), position, 0, *arguments)
            assert unknown == -1
            made.append(out[:written].copy())
        vector = np.concatenate([vector, [0.0]])[:-1]
    return np.concatenate(made)


@settings(max_examples=100)
@given(streams(), st.lists(st.integers(0, 100), max_size=5), OF)
def test_output_equals_the_reference_for_any_cuts(records: np.ndarray, cuts: list[int], of: tuple[str, int]) -> None:
    found = fold(records, *of, cuts)
    assert found.tobytes() == fold(records, *of).tobytes()
    expected = PlainTradeBars(*of, SESSIONS).apply(records)
    for name in set(TRADE_BAR.names or ()) - {"vwap"}:
        assert found[name].tolist() == expected[name].tolist(), name
    np.testing.assert_allclose(found["vwap"], expected["vwap"], rtol=1e-13, atol=1e-13, equal_nan=True)


@settings(max_examples=40)
@given(streams(), OF)
def test_each_trade_is_in_one_record_and_bars_are_numbered_without_a_hole(
    records: np.ndarray, of: tuple[str, int]
) -> None:
    records["size"] = np.minimum(records["size"], 9)
    found = fold(records, *of)
    corrections = found["flags"] & BarFlag.CORRECTION != 0
    bars = found[~corrections]
    assert bars["number"].tolist() == list(range(len(bars)))
    assert (np.diff(bars["ts_event"]) >= 0).all()
    trades = records[records["kind"] == Kind.TRADE]
    later = trades["flags"] & np.uint16(Flag.BACKFILL | TradeFlag.CORRECTION | TradeFlag.CANCELLED) != 0
    assert np.count_nonzero(corrections) == np.count_nonzero(later)
    given_out = trades[~later][: int(bars["trades"].sum())]
    assert bars["volume"].sum() == given_out["size"].sum()
    assert (bars["volume"] >= bars["buy_volume"] + bars["sell_volume"]).all()
    assert ((bars["low"] <= bars["open"]) & (bars["high"] >= bars["close"])).all()


def test_a_correction_names_its_bar_as_long_as_that_is_remembered() -> None:
    records = np.zeros(43, TICK)
    records["kind"], records["size"], records["price"], records["instrument"] = Kind.TRADE, 1, 7, 1
    records["ts_event"][:40] = 10 * (1 + np.arange(40))
    records["ts_event"][40:] = 375, 401, 85
    records["flags"][40:] = Flag.BACKFILL
    found = fold(records, "tick", 1)
    assert found["number"].tolist() == [*range(40), 37, 40, UNKNOWN_BAR]
    assert found["flags"][40:].tolist() == [BarFlag.CORRECTION | Flag.BACKFILL] * 3


def test_the_mean_price_of_a_long_bar_has_every_digit() -> None:
    random = np.random.default_rng(2)
    records = np.zeros(5_000, TICK)
    records["kind"], records["instrument"] = Kind.TRADE, 1
    records["price"] = 6_000_000_000_000 + random.integers(0, 10**9, len(records))
    records["size"] = random.integers(1, 10**9, len(records))
    (bar,) = fold(records, "tick", len(records))
    exact = sum(int(p) * int(s) for p, s in zip(records["price"], records["size"], strict=True))
    assert bar["vwap"] == pytest.approx(exact / int(records["size"].sum()), rel=2**-52)
