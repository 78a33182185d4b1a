"""Sessions of exchanges: those of exchange_calendars, kept in the store, and the bars that trades make of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import exchange_calendars
import numpy as np
import pandas as pd
import pytest

from tickplant.derive.calendars import (
    MISSING,
    Calendar,
    made_calendar,
    parse_calendar,
    path_of,
    sessions_of,
    stored_calendar,
)
from tickplant.derive.derivation import Series
from tickplant.derive.trade_bar_stream import TradeBars
from tickplant.errors import DeriveError, StoreError
from tickplant.instruments import Instrument
from tickplant.plant import planned_calendars
from tickplant.plant.planned_calendars import keep_calendars, merged, plan_calendar
from tickplant.records.layouts import TICK, BarFlag, Kind, Schema
from tickplant.times import format_time, parse_time

pytestmark = pytest.mark.filterwarnings("ignore")  # of exchange_calendars, about pandas

MINUTE_NS = 60 * 10**9
NAMES = ("XNYS", "XLON", "CMES")


def session_of(name: str, day: str) -> tuple[str, ...]:
    """Open and close of the sessions that open on a day of UTC."""
    sessions = made_calendar(name).sessions
    begin = parse_time(f"{day}T00:00:00Z")
    there = sessions[(sessions[:, 0] >= begin) & (sessions[:, 0] < begin + 1440 * MINUTE_NS)]
    return tuple(format_time(time)[11:16] for time in there.reshape(-1).tolist())


@pytest.mark.parametrize(
    ("name", "day", "times"),
    [
        ("XNYS", "2024-03-08", ("14:30", "21:00")),
        ("XNYS", "2024-03-11", ("13:30", "20:00")),  # behind the change of clocks
        ("XNYS", "2024-11-29", ("14:30", "18:00")),  # a half-day
        ("XNYS", "2024-07-03", ("13:30", "17:00")),
        ("XNYS", "2024-12-25", ()),
        ("XNYS", "2025-01-09", ()),  # a day of mourning
        ("XLON", "2024-12-24", ("08:00", "12:30")),
        ("XLON", "2024-03-28", ("08:00", "16:30")),
        ("XLON", "2024-04-02", ("07:00", "15:30")),
    ],
)
def test_holidays_half_days_and_changes_of_clocks_are_known(name: str, day: str, times: tuple[str, ...]) -> None:
    assert session_of(name, day) == times


@pytest.mark.parametrize("name", NAMES)
def test_bars_of_trades_of_three_years_are_the_sessions_of_the_calendar(name: str) -> None:
    minutes = np.arange(parse_time("2023-01-01T00:00:00Z"), parse_time("2026-01-01T00:00:00Z"), 7 * MINUTE_NS)
    trades = np.zeros(len(minutes), TICK)
    trades["kind"], trades["size"], trades["price"] = Kind.TRADE, 1, 5
    trades["ts_event"] = trades["ts_recv"] = minutes
    trades["venue_seq"] = trades["seq"] = np.arange(len(trades))
    sessions = {name: made_calendar(name).sessions, "XALL": np.array([[0, 2**62]])}
    stream = TradeBars([Series(1, f"bars.session-{name}")], lambda id_: Instrument(id_, "v", "S", 0, 0), sessions)
    bars = np.concatenate([stream.apply({Schema.TICK: part}) for part in np.array_split(trades, 9)])
    outside = bars["flags"] & BarFlag.OUTSIDE != 0
    # What the package says of each minute, by another way than its table of sessions.
    theirs = exchange_calendars.get_calendar(name, start="2022-12-01", end="2026-02-01")
    of_trade = np.full(int(bars["trades"].sum()), -1)
    for place in np.flatnonzero(~outside):
        of_trade[int(bars["first_id"][place]) : int(bars["last_id"][place]) + 1] = place
    index = pd.DatetimeIndex(pd.to_datetime(minutes[: len(of_trade)], utc=True))
    inside = index.isin(theirs.minutes)
    np.testing.assert_array_equal(of_trade >= 0, inside)
    labels = theirs.minutes_to_sessions(index[inside]).to_numpy()
    assert (np.diff(of_trade[inside]) > 0).tolist() == (labels[1:] != labels[:-1]).tolist(), "one bar a session"
    assert np.count_nonzero(~outside) == len(np.unique(labels)) > 700
    opens, closes = (
        pd.DatetimeIndex(getattr(theirs.schedule.loc[np.unique(labels)], side)).tz_convert(None)
        for side in ("open", "close")
    )
    assert bars["ts_open"][~outside].tolist() == opens.as_unit("ns").asi8.tolist()
    assert bars["ts_event"][~outside].tolist() == closes.as_unit("ns").asi8.tolist()
    halves = closes.isin(pd.DatetimeIndex(theirs.schedule.loc[theirs.early_closes, "close"]).tz_convert(None))
    assert halves.sum() > 3


@pytest.mark.parametrize(("first", "last"), [((-1, -1), (3, 3)), ((3, 4), (6, 7))])
def test_where_the_calendar_does_not_reach_intervals_end_with_the_day(
    first: tuple[int, int], last: tuple[int, int]
) -> None:
    day = 1440 * MINUTE_NS
    trades = np.zeros(8, TICK)
    trades["kind"], trades["size"], trades["seq"], trades["venue_seq"] = Kind.TRADE, 1, np.arange(8), np.arange(8)
    trades["ts_event"] = np.arange(1, 9) * day + day // 2
    sessions = np.array([first, last]) * day + [0, day // 4]
    series, row = [Series(1, "bars.session-XNYS")], Instrument(0, "v", "S", 0, 0)
    bars = TradeBars(series, lambda _: row, {"XNYS": sessions}).apply({Schema.TICK: trades})
    for bar in bars:
        time = trades["ts_event"][int(bar["first_id"])]
        inside = ((sessions[:, 0] <= time) & (time < sessions[:, 1])).any()
        assert bar["flags"] == (0 if inside else BarFlag.OUTSIDE)
        assert bar["ts_open"] <= time < bar["ts_event"]
        inner = sessions[(sessions > bar["ts_open"]) & (sessions < bar["ts_event"])]
        assert not len(inner)
    assert (bars["ts_open"][1:] >= bars["ts_event"][:-1]).all()
    known = (bars["ts_open"] >= sessions.min()) & (bars["ts_event"] <= sessions.max())
    assert (bars["ts_event"] - bars["ts_open"])[~known].max() <= day


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calendar]:
    """A calendar of six sessions, which the package of release 2 makes here."""
    made = Calendar("XNYS", "2", np.arange(12).reshape(6, 2) * 10)
    monkeypatch.setattr(planned_calendars, "installed_version", lambda: "2")
    monkeypatch.setattr(planned_calendars, "_make", lambda _: made)
    return made


def test_a_plant_keeps_its_calendar_and_makes_it_anew_for_another_release(tmp_path: Path, fewer: Calendar) -> None:
    keep_calendars(tmp_path, ["rsi-3.trade", "sma-3.session-XNYS"])
    assert path_of(tmp_path, "XNYS").read_bytes() == fewer.text()
    assert sessions_of(tmp_path, ["bars.session-XNYS"])["XNYS"].tolist() == fewer.sessions.tolist()
    old = Calendar("XNYS", "1", np.array([[1, 5], [2**62, 2**62 + 1]]))
    path_of(tmp_path, "XNYS").write_bytes(old.text())
    # Of what is past the sessions of the store are left, and nothing of the others has begun.
    assert plan_calendar(tmp_path, "XNYS").sessions.tolist() == [[1, 5]]
    found = merged(old, fewer, 40)
    assert found.version == "2"
    assert found.sessions.tolist() == [[1, 5], [60, 70], [80, 90], [100, 110]]


def test_without_the_package_a_stored_calendar_is_used(
    tmp_path: Path, fewer: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planned_calendars, "installed_version", lambda: "")
    with pytest.raises(DeriveError, match="pip install"):
        plan_calendar(tmp_path, "XNYS")
    path_of(tmp_path, "XNYS").parent.mkdir()
    path_of(tmp_path, "XNYS").write_bytes(fewer.text())
    assert plan_calendar(tmp_path, "XNYS").sessions.tolist() == fewer.sessions.tolist()


@pytest.mark.parametrize(
    "text",
    [b"", b"# of XNYS 1\n1 2\n3", b"# of XNYS 1\n", b"# of XNYS 1\n2 1\n", b"# of XNYS 1\n1 5\n4 9\n", b"\xff\n"],
)
def test_a_damaged_calendar_is_named(tmp_path: Path, text: bytes) -> None:
    path_of(tmp_path, "XNYS").parent.mkdir()
    path_of(tmp_path, "XNYS").write_bytes(text)
    with pytest.raises(StoreError, match=r"calendars/XNYS\.txt.*restore the file"):
        stored_calendar(tmp_path, "XNYS")


def test_a_missing_calendar_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"calendars/XNYS\.txt.*missing"):
        sessions_of(tmp_path, ["bars.session-XNYS"])


def test_a_process_of_its_own_prints_a_calendar_or_says_why_not() -> None:
    command = [sys.executable, "-m", "tickplant.derive.calendars"]
    done = subprocess.run([*command, "XNYS"], capture_output=True, check=True)
    assert parse_calendar("XNYS", done.stdout).text() == made_calendar("XNYS").text()
    done = subprocess.run([*command, "NASDAQ"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"NASDAQ is another name of XNYS: use that one\n")
    without = "import sys; sys.modules['exchange_calendars'] = None\nfrom tickplant.derive import calendars\n"
    without += "sys.argv = ['', 'XNYS']; sys.exit(calendars.main())"
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (1, MISSING + "\n")
