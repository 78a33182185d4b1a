"""`Store.derive` and `tickplant derive`: the kernels over what is stored, and a cache that knows what it depends on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from made_past import derive, past_ticks

from tickplant.cli import run as run_command
from tickplant.derive.bars import Bars
from tickplant.derive.derivation import Series, Settings
from tickplant.derive.indicators.catalogue import INDICATORS
from tickplant.derive.made_rows import run
from tickplant.derive.series import SeriesTable, bar_seconds, parse_series
from tickplant.derive.trade_bar_stream import TradeBars
from tickplant.errors import DeriveError, StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import BBO, NO_PRICE, TICK, BarFlag, Flag, Kind, Schema, Side
from tickplant.store import derived_values
from tickplant.store.reader import Store
from tickplant.writer.journal import Journal

DAY_NS = 86_400 * 10**9
START_NS = 19_700 * DAY_NS + 20 * 3600 * 10**9  # four hours before midnight


def trades(count: int, *, first_seq: int = 0, instrument: int = 1, start_ns: int = START_NS) -> np.ndarray:
    """One a minute or so."""
    random = np.random.default_rng(first_seq + instrument)
    ticks = np.zeros(count, TICK)
    ticks["kind"], ticks["instrument"], ticks["flags"] = Kind.TRADE, instrument, Flag.LAST
    ticks["ts_recv"] = start_ns + np.cumsum(random.integers(1, 60 * 10**9, count))
    ticks["ts_event"] = ticks["ts_recv"] - 10**6
    ticks["price"] = 10_000 + np.cumsum(random.integers(-5, 6, count))
    ticks["size"] = random.integers(1, 1000, count)
    ticks["side"] = random.integers(Side.NONE, Side.SELL + 1, count)
    ticks["seq"] = np.arange(first_seq, first_seq + count)
    return ticks


def append(folder: Path, records: np.ndarray, schema: Schema = Schema.TICK, producer: str = "feed") -> None:
    journal = Journal(folder, schema, producer)
    for start in range(0, len(records), 100):
        journal.append(records[start : start + 100])
        journal.flush()
    journal.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    table.register("venue", "BTC/USD", 2, 3)
    table.register("venue", "ETH/USD", 2, 3)
    append(tmp_path, trades(900))
    append(tmp_path, trades(300, instrument=2), producer="other")
    return tmp_path


def expected(ticks: np.ndarray, seconds: int = 60, period: int = 14) -> np.ndarray:
    """RSI of bars made of all the ticks at once."""
    bars = Bars((seconds,)).apply(ticks)
    indicator = INDICATORS["rsi"]
    return run(indicator, (bars["close"] / 100).reshape(1, -1), indicator.settle({"period": period}))[0]


def test_values_over_days_equal_one_run_over_everything(folder: Path) -> None:
    found = Store(folder).derive("rsi", "venue", "BTC/USD", bars="1m", period=9)
    assert len(found.days) > 1
    assert found.numpy()["rsi"].tobytes() == expected(trades(900), period=9).tobytes()
    assert (np.diff(found.numpy()["ts_event"]) > 0).all()
    # From the cache, the same.
    again = Store(folder).derive("rsi", "venue", "BTC/USD", bars="1m", period=9)
    assert [day.cached for day in found.days] == [False] * len(found.days)
    assert [day.cached for day in again.days] == [True] * len(found.days)
    assert again.numpy()["rsi"].tobytes() == found.numpy()["rsi"].tobytes()


def test_a_range_gives_the_same_values_as_the_whole(folder: Path) -> None:
    whole = Store(folder).derive("rsi", "venue", "BTC/USD").numpy()
    start, end = START_NS + 3600 * 10**9, START_NS + 5 * 3600 * 10**9
    part = Store(folder).derive("rsi", "venue", "BTC/USD", start, end).numpy()
    wanted = (whole["ts_recv"] >= start) & (whole["ts_recv"] < end)
    assert wanted.any()
    assert not wanted.all()
    assert part["rsi"].tobytes() == whole["rsi"][wanted].tobytes()
    by_name = Store(folder).derive("rsi", "venue", "BTC/USD", start=start, end=end, clock="event").numpy()
    assert (by_name["ts_event"] >= start).all()


@pytest.mark.parametrize("room", [1 << 30, 0])
def test_a_day_of_the_cache_is_read_once_where_there_is_room_for_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    made = Store(folder).derive("rsi").numpy()["rsi"]
    read: list[Path] = []
    load = derived_values._load

    def watched(file: Path) -> object:
        read.append(file)
        return load(file)

    monkeypatch.setattr(derived_values, "_load", watched)
    monkeypatch.setattr(derived_values, "HELD_BYTES", room)
    again = Store(folder).derive("rsi")
    assert again.numpy()["rsi"].tobytes() == made.tobytes()
    days = sorted(day.file for day in again.days)
    assert sorted(read) == sorted(days * (1 if room else 2))
    assert again.numpy()["rsi"].tobytes() == made.tobytes()  # from the files: nothing is held for long
    assert len(read) == len(days) * (2 if room else 3)


def test_only_days_whose_input_changed_are_made_again(folder: Path) -> None:
    first = Store(folder).derive("rsi").days
    more = trades(200, first_seq=900, start_ns=int(trades(900)["ts_recv"][-1]))
    append(folder, more)
    found = Store(folder).derive("rsi")
    again = {(day.symbol, day.day): day.cached for day in found.days}
    last = max(day.day for day in first if day.symbol == "BTC/USD")
    # The day that grew, and those behind it; not the days before, and nothing of the other symbol.
    assert {key for key, cached in again.items() if not cached} == {
        ("BTC/USD", day) for symbol, day in again if symbol == "BTC/USD" and day >= last
    }
    own = Store(folder).derive("rsi", "venue", "BTC/USD").numpy()["rsi"]
    assert own.tobytes() == expected(np.concatenate([trades(900), more])).tobytes()
    # Another parameter is another series; a damaged file is made again.
    assert not any(day.cached for day in Store(folder).derive("rsi", period=5).days)
    victims = [found.days[0].file, found.days[1].file]
    victims[0].write_bytes(victims[0].read_bytes()[:-100])
    content = bytearray(victims[1].read_bytes())
    content[len(content) // 2] ^= 1
    victims[1].write_bytes(content)
    mended = Store(folder).derive("rsi")
    assert [day.file for day in mended.days if not day.cached] == victims
    assert mended.numpy()["rsi"].tobytes() == found.numpy()["rsi"].tobytes()


def test_bars_of_the_engine_are_taken_where_it_stored_that_length(folder: Path) -> None:
    bars = Bars((60,)).apply(trades(900))
    bars["seq"] = np.arange(len(bars))
    bars["close"] += 500  # so that these are told apart from those made here
    append(folder, bars, Schema.BAR, "engine")
    found = Store(folder).derive("sma", "venue", "BTC/USD", bars="1m", period=1).numpy()["sma"]
    np.testing.assert_array_equal(found, bars["close"] / 100)
    made = Store(folder).derive("sma", "venue", "BTC/USD", bars="5m", period=1).numpy()["sma"]
    np.testing.assert_array_equal(made, Bars((300,)).apply(trades(900))["close"] / 100)


def test_indicators_over_trades_and_over_bests(folder: Path) -> None:
    ticks = trades(900)
    found = Store(folder).derive("hawkes", "venue", "BTC/USD").numpy()
    indicator = INDICATORS["hawkes"]
    inputs = np.array([(ticks["side"] == Side.BUY) * 1.0 - (ticks["side"] == Side.SELL), ticks["ts_event"] * 1.0])
    own = run(indicator, inputs, indicator.settle({}))
    np.testing.assert_array_equal([found[name] for name in indicator.outputs], own)
    bests = np.zeros(5, BBO)
    bests["instrument"], bests["ts_recv"], bests["ts_event"] = 1, START_NS + np.arange(5), START_NS
    bests["bid_price"], bests["ask_price"], bests["bid_size"], bests["ask_size"] = 10_000, 10_010, 1000, 3000
    bests["ask_price"][2] = NO_PRICE
    bests["seq"] = np.arange(5)
    append(folder, bests, Schema.BBO, "engine")
    spread = Store(folder).derive("spread", "venue", "BTC/USD").numpy()
    np.testing.assert_allclose(spread["spread"], [0.1, 0.1, np.nan, 0.1, 0.1], rtol=1e-12)
    micro = Store(folder).derive("microprice", "venue", "BTC/USD").numpy()["microprice"]
    np.testing.assert_allclose(micro, [100.025, 100.025, np.nan, 100.025, 100.025], rtol=1e-12)


def test_results_come_as_arrow_pandas_and_polars(folder: Path) -> None:
    found = Store(folder).derive("bollinger", period=5)
    table = found.arrow()
    rows = len(found.numpy()["middle"])
    assert table.num_rows == rows == len(found.pandas()) == len(found.polars())
    assert table.column_names == ["ts_event", "ts_recv", "venue", "symbol", "middle", "upper", "lower", "deviation"]
    assert found.polars()["symbol"].cast(pl.String).unique().sort().to_list() == ["BTC/USD", "ETH/USD"]
    np.testing.assert_array_equal(found.polars()["middle"].to_numpy(), found.numpy()["middle"])
    assert set(found.numpy()["instrument"].tolist()) == {1, 2}


def test_a_store_that_cannot_be_written_is_derived_without_a_cache(folder: Path) -> None:
    (folder / "derived").write_text("in the way")
    found = Store(folder).derive("rsi", "venue", "BTC/USD")
    assert found.numpy()["rsi"].tobytes() == expected(trades(900)).tobytes()
    assert not any(day.cached for day in Store(folder).derive("rsi", "venue", "BTC/USD").days)


def test_what_is_asked_for_wrongly_is_named(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = Store(folder)
    with pytest.raises(DeriveError, match="rsj: no such indicator; choose from sma, ema"):
        store.derive("rsj")
    with pytest.raises(DeriveError, match="length: no parameter of rsi; choose from period"):
        store.derive("rsi", length=3)
    with pytest.raises(DeriveError, match="period: 0 must be at least 1"):
        store.derive("rsi", period=0)
    with pytest.raises(DeriveError, match=r"period: 2\.5 must be a whole number"):
        store.derive("rsi", period=2.5)
    with pytest.raises(DeriveError, match="bars: '1x' is not a bar length"):
        store.derive("rsi", bars="1x")
    for name, option, words in (
        ("rsi", {"every": "1s"}, "every: rsi is over bars, not over samples of the book"),
        ("roll", {"bars": "1m"}, "bars: roll is over each trade, not over bars"),
        ("microprice", {"bars": "volume-5"}, "bars: microprice is over each best bid and offer, not over bars"),
        ("depth", {"bars": "1s"}, "bars: depth is over samples of the book, not over bars"),
        ("rsi", {"sessions": "XNYS"}, "sessions: rsi begins with no session; vwap_session does"),
    ):
        with pytest.raises(DeriveError, match=words):
            store.derive(name, **option)
        assert run_command(
            ["derive", name, "--data", str(folder), *(f"--{key}={text}" for key, text in option.items())]
        )
        assert words in capfd.readouterr().err
    with pytest.raises(StoreError, match="the store has no records of venue XRP"):
        store.derive("rsi", "venue", "XRP")
    assert [bar_seconds(text) for text in ("1s", "5m", "2h", "1d")] == [1, 300, 7200, 86_400]
    with pytest.raises(DeriveError, match="longer than a day"):
        bar_seconds("2d")


def test_the_command_writes_says_what_came_from_the_cache_and_lists(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = folder / "rsi.parquet"
    arguments = ["derive", "rsi", "venue", "BTC/USD", "--data", str(folder), "--set", "period=9", "--bars", "1m"]
    assert run_command([*arguments, "-o", str(out)]) == 0
    assert "computed, 0 cached" in capfd.readouterr().out
    assert pl.read_parquet(out)["rsi"].to_numpy().tobytes() == expected(trades(900), period=9).tobytes()
    assert run_command(arguments) == 0
    printed, said = capfd.readouterr()
    assert "days: 0 computed" in said
    lines = printed.splitlines()
    assert lines[0] == "ts_event,ts_recv,venue,symbol,rsi"
    assert lines[1].endswith(",venue,BTC/USD,")  # nothing yet
    assert float(lines[-1].rpartition(",")[2]) == expected(trades(900), period=9)[-1]
    assert run_command([*arguments, "--json"]) == 0
    assert '"symbol":"BTC/USD","rsi":null}' in capfd.readouterr().out.replace(" ", "")
    assert run_command(["derive"]) == 0
    assert "rsi over bars, period=14: 100 * up" in capfd.readouterr().out
    assert run_command(["derive", "rsi", "--data", str(folder), "--set", "period=x"]) == 2
    assert "period: 'x' is not a number" in capfd.readouterr().err


def test_bars_of_trades_are_those_of_the_engine_or_made_from_trades(folder: Path) -> None:
    ticks = trades(900)
    row = Store(folder).find("venue", "BTC/USD")[0]

    def closes(name: str, *cuts: int) -> np.ndarray:
        stream = TradeBars([Series(1, name)], lambda _: row)
        return np.concatenate([stream.apply({Schema.TICK: part}) for part in np.split(ticks, cuts)])

    for rule in ("tick-7", "volume-2.5", "time-60"):
        bars = closes(f"bars.{rule}")
        found = Store(folder).derive("sma", "venue", "BTC/USD", bars=rule, period=1)
        assert len(bars) > 100
        assert len(found.days) > 1  # so that an open bar is carried over midnight
        np.testing.assert_array_equal(found.numpy()["sma"], bars["close"] / 100)
    with pytest.raises(DeriveError, match="sessions: sma begins with no session"):
        Store(folder).derive("sma", "venue", "BTC/USD", sessions="XNYS")
    with pytest.raises(DeriveError, match="session_s: is 0 where"):
        Store(folder).derive("vwap_session", "venue", "BTC/USD", sessions="XNYS", session_s=60)
    # Bars that the engine stored come first, without its corrections.
    stored = closes("bars.tick-7")
    stored["series"], stored["seq"] = 1, np.arange(len(stored))
    stored["close"] += 500
    stored["flags"][3] |= np.uint16(BarFlag.CORRECTION)
    SeriesTable(folder).numbers(["bars.tick-7"], add=True)
    append(folder, stored, Schema.TRADE_BAR, "engine")
    again = Store(folder).derive("sma", "venue", "BTC/USD", bars="tick-7", period=1).numpy()["sma"]
    np.testing.assert_array_equal(again, np.delete(stored["close"], 3) / 100)


BOOK_NAMES = (
    *("depth-3.book_1s", "queue.book_10s", "price_to_buy-2e-08.book_1s", "bid_level-1.book_250ms"),
    *("queue_ahead-7.book_1s", "book_order_flow-2-3.book_1s"),
)


def test_samples_of_books_over_history_are_those_of_the_engine(tmp_path: Path) -> None:
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    ids = [table.register("venue", symbol, 2, 8).id for symbol in ("AAA", "BBB", "CCC")]
    midnight = DAY_NS * 19_700
    orders = frozenset(ids[2:])
    ticks = past_ticks(ids, 4000, start_ns=midnight - 300 * 10**9, step_ns=150 * 10**6, of_orders=orders)
    # Times that step back across midnight are another matter: `docs/derivations.md`, of the cache.
    ticks["ts_recv"] = np.maximum.accumulate(ticks["ts_recv"])
    wanted = tuple(Series(number, name) for number, name in enumerate(BOOK_NAMES, 1))
    values = derive(table, tmp_path, ticks, Settings(checkpoint_s=60, series=wanted))[Schema.VALUE]
    append(tmp_path, ticks)
    for one in wanted:
        said = parse_series(one.name)
        indicator = INDICATORS[said.indicator]
        parameters = dict(zip((part.name for part in indicator.parameters), said.parameters, strict=True))
        every = said.over.removeprefix("book_")
        for id_, symbol in zip(ids, ("AAA", "BBB", "CCC"), strict=True):
            own = values[(values["series"] == one.number) & (values["instrument"] == id_)]
            found = Store(tmp_path).derive(said.indicator, "venue", symbol, every=every, **parameters)
            assert [day.cached for day in found.days] == [False, False], "the books of one day go on in the next"
            columns = found.numpy()
            assert len(own) > 20
            assert columns["ts_event"].tolist() == own["ts_event"].tolist()
            assert columns["ts_recv"].tolist() == own["ts_recv"].tolist()
            for place, name in enumerate(indicator.outputs, 1):
                assert columns[name].tobytes() == own[f"value_{place}"].tobytes(), (one.name, symbol, name)
    with pytest.raises(DeriveError, match="every: '3' is not a sampling interval"):
        Store(tmp_path).derive("depth", every="3")


def test_two_feeds_of_a_symbol_have_a_book_each(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    id_ = table.register("venue", "AAA", 2, 8).id
    series = (Series(1, "depth-3.book_1s"),)
    expected = []
    for producer, seed in (("feed", 1), ("other", 2)):
        ticks = past_ticks([id_], 1500, seed=seed, start_ns=START_NS + seed * 10**8, step_ns=150 * 10**6)
        append(tmp_path, ticks, producer=producer)
        expected.append(derive(table, tmp_path, ticks, Settings(checkpoint_s=60, series=series))[Schema.VALUE])
    found = Store(tmp_path).derive("depth", "venue", "AAA", levels=3).numpy()
    rows = zip(found["ts_recv"].tolist(), found["bid"].tolist(), strict=True)
    values = np.concatenate(expected)
    assert np.isfinite(values["value_1"]).sum() > 50
    # Text, since NaN equals nothing.
    assert sorted(map(str, rows)) == sorted(map(str, values[["ts_recv", "value_1"]].tolist()))
    assert (np.diff(found["ts_recv"]) >= 0).all()
    command = ["derive", "depth", "venue", "AAA", "--every", "1s", "--set", "levels=3", "--data", str(tmp_path)]
    assert run_command(command) == 0
    printed, said = capfd.readouterr()
    assert len(printed.splitlines()) == len(values) + 1
    assert f"depth-3.book_1s: {len(values):,} rows; days: 0 computed" in said
    assert run_command([*command[:5], "ten", *command[6:]]) == 2
    assert "every: 'ten' is not a sampling interval" in capfd.readouterr().err
