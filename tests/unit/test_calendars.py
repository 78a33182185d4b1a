"""Sessions of exchanges: those of exchange_calendars, kept in the store, and the bars that trades make of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import exchange_calendars
import numpy as np
import pandas as pd
import pytest
from made_past import derive, past_ticks
from msgspec.structs import replace
from structlog.testing import capture_logs

from tickplant.cli import run
from tickplant.derive.calendars import (
    MISSING,
    Calendar,
    made_calendar,
    parse_calendar,
    path_of,
    sessions_of,
    stored_calendar,
)
from tickplant.derive.derivation import Series, Settings
from tickplant.derive.trade_bar_stream import TradeBars
from tickplant.engine.calendar_watch import CalendarWatch
from tickplant.errors import DeriveError, StoreError
from tickplant.instruments import Instrument, InstrumentTable
from tickplant.plant import planned_calendars
from tickplant.plant.figures import notes_of
from tickplant.plant.planned_calendars import keep_calendars, merged, plan_calendar
from tickplant.records.layouts import TICK, BarFlag, Kind, Schema
from tickplant.runtime.control import ProcessStatus, Status
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


def test_an_engine_goes_on_where_a_calendar_ends(tmp_path: Path) -> None:
    names = ("bars.session-XSHG", "vwap_session-0-2.trade-XSHG", "sma-1.session-XSHG", "ema-3.1s")
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    table.register("venue", "AAA", 2, 2)
    ticks = past_ticks([1], 4000, start_ns=1_700_000_000 * 10**9, step_ns=80 * 10**9)
    day = 1440 * MINUTE_NS
    first = int(ticks["ts_event"].min()) // day * day
    end = first + day + 6 * 60 * MINUTE_NS
    sessions = {"XSHG": np.array([[first + 1, first + day], [first + day, end]])}
    series = tuple(Series(number, name) for number, name in enumerate(names, 1))
    made = derive(table, tmp_path, ticks, Settings(bar_s=(1,), checkpoint_s=600, series=series, sessions=sessions))
    bars, values = made[Schema.TRADE_BAR], made[Schema.VALUE]
    after = bars["ts_open"] >= end
    assert int(ticks["ts_event"].max()) > end
    assert after.any()
    assert (bars["flags"][after] & BarFlag.OUTSIDE != 0).all()
    assert (bars["flags"][~after & (bars["ts_open"] > first)] & BarFlag.OUTSIDE == 0).all()
    of = {number: values[values["series"] == number] for number in (2, 3, 4)}
    late = of[2]["ts_event"] > end
    assert np.isfinite(of[2]["value_1"][~late]).any()
    assert late.any()
    assert np.isnan(of[2]["value_1"][late]).all()
    assert len(of[3]) > 0
    assert (of[3]["ts_event"] <= end).all()
    assert of[4]["ts_event"].max() > end + day // 4


def test_it_is_said_once_that_a_calendar_ends_soon_and_once_that_it_has_ended() -> None:
    day = 1440 * MINUTE_NS
    now_ns = [0]
    watch = CalendarWatch({"XSHG": np.array([[0, 100 * day]]), "XNYS": np.array([[0, 9000 * day]])}, lambda: now_ns[0])
    with capture_logs() as lines:
        seen = []
        for days in (0, 30, 41, 41.5, 99.5, 100, 101, 200):
            now_ns[0] = int(days * day)
            seen.append(watch.counters()["calendar_days"])
    assert [one["XSHG"] for one in seen] == [100, 70, 59, 58, 0, 0, -1, -100]
    assert [one["XNYS"] for one in seen[:2]] == [9000, 8970]
    soon, over = (line["what"] for line in lines)
    assert soon.startswith("XSHG ends in 59 days: after its last session trades are in bars of a day of UTC")
    assert over.startswith("XSHG has ended: ")
    assert CalendarWatch({}).counters() == {}
    engine = ProcessStatus("engine", "engine", "running", 1, 0.0, 0, 0.0, 0, {})
    status = Status(1, "", 0.0, True, [], [engine], [], [])
    notes = [notes_of(replace(engine, counters={"calendar_days": one}), status) for one in (seen[0], seen[2], seen[-1])]
    assert notes == [[], ["XSHG ends in 59 days"], ["XSHG has ended"]]


def test_checking_a_configuration_warns_of_a_calendar_that_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    path_of(tmp_path / "data", "XSHG").parent.mkdir(parents=True)
    soon = np.array([[now - 1440 * MINUTE_NS, now], [now + 1, now + 30 * 1440 * MINUTE_NS + MINUTE_NS]])
    path_of(tmp_path / "data", "XSHG").write_bytes(Calendar("XSHG", "1", soon).text())
    monkeypatch.setattr(planned_calendars, "installed_version", lambda: "")
    file = tmp_path / "plant.toml"
    text = '[plant]\ndata = "data"\n[writers.writer]\n[feeds.binance]\nvenue = "binance"\nsymbols = ["BTCUSDT"]\n'
    text += "[engines.one]\n"
    file.write_text(text + '[[engines.one.derive]]\nbars = "session-XSHG"\n')
    assert run(["config", "check", str(file)]) == 0
    assert "warning: XSHG ends in 30 days: " in capsys.readouterr().err
    file.write_text(text)
    assert run(["config", "check", str(file)]) == 0
    assert "warning" not in capsys.readouterr().err


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
    assert (done.returncode, done.stderr) == (1, b"NASDAQ is an alias of XNYS: use XNYS\n")
    without = "import sys; sys.modules['exchange_calendars'] = None\nfrom tickplant.derive import calendars\n"
    without += "sys.argv = ['', 'XNYS']; sys.exit(calendars.main())"
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (1, MISSING + "\n")
