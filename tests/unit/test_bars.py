"""Bars, one rule a test."""

from __future__ import annotations

import numpy as np
import pytest

from tickplant.books.plain_books import PlainBars
from tickplant.derive.bars import Bars
from tickplant.records.layouts import TICK, Flag, Kind, Side

pytestmark = pytest.mark.kernels

S = 10**9
T0 = 1_700_000_000 * S  # not a multiple of a minute: 1_699_999_980 s is


def ticks(*rows: tuple[int, int, int, int] | dict[str, int]) -> np.ndarray:
    """TICK records: trades as (ts_event, price, size, side), anything else as fields."""
    records = np.zeros(len(rows), TICK)
    for i, row in enumerate(rows):
        fields = {"ts_recv": 7 + i, "seq": 100 + i, "instrument": 1, "flags": Flag.LAST, "kind": Kind.TRADE}
        fields |= dict(zip(("ts_event", "price", "size", "side"), row, strict=True)) if isinstance(row, tuple) else row
        for name, value in fields.items():
            records[name][i] = value
    return records


def quote(ts_event: int, instrument: int = 1) -> dict[str, int]:
    return {"kind": Kind.QUOTE, "ts_event": ts_event, "instrument": instrument}


def test_a_bar_holds_the_trades_of_its_interval() -> None:
    out = Bars([1]).apply(
        ticks(
            (T0, 100, 5, Side.BUY),
            (T0 + 1, 90, 2, Side.SELL),
            (T0 + S - 1, 95, 1, Side.NONE),
            (T0 + S, 1, 1, Side.BUY),
        )
    )
    assert len(out) == 1
    bar = dict(zip(out.dtype.names, out[0].tolist(), strict=True))
    expected = {
        "ts_open": T0,
        "ts_event": T0 + S,
        "ts_recv": 10,
        "source_seq": 103,
        "open": 100,
        "high": 100,
        "low": 90,
        "close": 95,
        "volume": 8,
        "buy_volume": 5,
        "trades": 3,
        "interval_s": 1,
        "instrument": 1,
        "flags": 0,
        "seq": 0,
    }
    assert expected.items() <= bar.items()


def test_any_record_of_the_instrument_with_a_venue_time_closes_a_bar_and_no_other_does() -> None:
    bars = Bars([1])
    assert not len(bars.apply(ticks((T0, 1, 1, 1), quote(0), quote(T0 + 5 * S, instrument=2), quote(T0 + S - 1))))
    assert len(bars.apply(ticks(quote(T0 + S)))) == 1


def test_an_interval_without_a_trade_has_no_bar_and_an_open_bar_is_not_given_out() -> None:
    out = Bars([1]).apply(ticks((T0, 1, 1, 1), (T0 + 5 * S, 2, 1, 1), (T0 + 9 * S, 3, 1, 1)))
    assert out["ts_open"].tolist() == [T0, T0 + 5 * S]


def test_several_lengths_close_in_the_order_of_the_list() -> None:
    out = Bars([1, 60]).apply(ticks((T0, 1, 1, 1), (T0 + 2 * S, 2, 1, 1), quote(T0 + 120 * S)))
    assert out["interval_s"].tolist() == [1, 1, 60]
    assert out["ts_open"][2] % (60 * S) == 0
    assert out["trades"].tolist() == [1, 1, 2]


def test_a_late_trade_counts_into_the_open_bar_which_says_so() -> None:
    bars = Bars([1])
    out = bars.apply(ticks((T0, 10, 1, 1), (T0 + S, 11, 1, 1), (T0 + S - 5, 7, 1, 1), quote(T0 + 2 * S)))
    assert out["flags"].tolist() == [0, Flag.LATE]
    assert out["low"].tolist() == [10, 7]
    assert bars.counters == {"bars": 2, "trades_late": 1, "trades_untimed": 0}


def test_a_trade_older_than_the_last_closed_bar_begins_the_one_after_it() -> None:
    out = Bars([1]).apply(ticks((T0, 10, 1, 1), quote(T0 + 3 * S), (T0 + 1, 7, 1, 1), quote(T0 + 4 * S)))
    assert out["ts_open"].tolist() == [T0, T0 + S]
    assert out["flags"].tolist() == [0, Flag.LATE]


def test_a_trade_between_the_last_closed_bar_and_now_is_not_late() -> None:
    out = Bars([1]).apply(ticks((T0, 10, 1, 1), quote(T0 + 5 * S), (T0 + 3 * S, 7, 1, 1), quote(T0 + 5 * S)))
    assert out["ts_open"].tolist() == [T0, T0 + 3 * S]
    assert out["flags"].tolist() == [0, 0]


def test_backfilled_and_untimed_trades_count_nowhere() -> None:
    bars = Bars([1])
    backfill = {"kind": Kind.TRADE, "ts_event": T0, "price": 1, "size": 1, "flags": Flag.BACKFILL}
    out = bars.apply(ticks(backfill, (0, 5, 5, 1), (T0, 2, 1, 1), quote(T0 + S)))
    assert out["trades"].tolist() == [1]
    assert bars.counters["trades_untimed"] == 1


def test_a_volume_beyond_63_bits_is_capped_and_flagged() -> None:
    huge = 2**62
    out = Bars([1]).apply(ticks(*((T0, 1, huge, Side.BUY) for _ in range(3)), quote(T0 + S)))
    assert out["volume"].tolist() == [2**63 - 1]
    assert out["buy_volume"].tolist() == [2**63 - 1]
    assert out["flags"].tolist() == [Flag.OVERFLOW]


def test_more_bars_than_one_buffer_holds_all_come_out() -> None:
    trades = ticks(*((T0 + i * S, i, 1, 1) for i in range(1500)))
    out = Bars([1]).apply(trades)
    assert out["open"].tolist() == list(range(1499))
    assert out.tobytes() == PlainBars((1,)).apply(trades).tobytes()


def test_no_lengths_mean_no_bars_and_impossible_lengths_are_refused() -> None:
    assert not len(Bars([]).apply(ticks((T0, 1, 1, 1), quote(T0 + S))))
    assert not len(Bars([1]).apply(ticks()))
    for wrong in ([1, 1], [0]):
        with pytest.raises(ValueError, match="bar lengths"):
            Bars(wrong)
