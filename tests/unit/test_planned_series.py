"""Series are configured, named and numbered; whatever is wrong with one is said with its key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tickplant import cli
from tickplant.derive.series import (
    BARS_CHANNEL,
    CHANNEL,
    SeriesName,
    SeriesTable,
    bar_seconds,
    is_wanted,
    parse_series,
    series_channel,
)
from tickplant.derive.settle import Asked, Settled, settle
from tickplant.errors import ConfigError, DeriveError, StoreError
from tickplant.plant import planned_series, plans, settling
from tickplant.plant.planned_series import numbered, wanted_series
from tickplant.records.layouts import Schema
from tickplant.runtime import config as cfg
from tickplant.runtime.job_specs import EngineSpec, SeriesRef

TEXT = """
[feeds.a]
venue = "binance"
symbols = ["BTCUSDT"]
[writers.writer]
[engines.engine]
publish = "ipc:///tmp/none"
"""


def parse(text: str, head: str = TEXT) -> cfg.Config:
    return cfg.parse(head + text, file="plant.toml", base=Path("/somewhere"))


def derive(*lines: str) -> str:
    return "\n".join(["[[engines.engine.derive]]", *lines, ""])


@pytest.fixture
def settled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own costs a second."""
    monkeypatch.setattr(planned_series, "settle_all", lambda asked: [settle(one) for one in asked])


@pytest.mark.usefixtures("settled_here")
@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (derive(), "derive[0].indicator", "is missing"),
        (derive('bars = "1m"'), "derive[0].bars", "is not a rule for bars of trades, such as volume-50"),
        (derive('bars = "tick-1.5"'), "derive[0].bars", "of ticks a whole one"),
        (derive('bars = "dollar-0"'), "derive[0].bars", "a bar has a size above 0"),
        (derive('bars = "time-1e-4"'), "derive[0].bars", "a bar has from 0.001 to 31,622,400 seconds"),
        (derive('bars = "session-NYSE"'), "derive[0].bars", "NYSE is an alias of XNYS: use XNYS"),
        (derive('bars = "session-FOO"'), "derive[0].bars", "FOO is not a calendar of exchange_calendars"),
        (derive('indicator = "rsi"', 'sessions = "XNYS"'), "derive[0].sessions", "rsi begins with no session"),
        (derive('bars = "tick-5"', 'sessions = "XNYS"'), "derive[0].sessions", "bars begins with no session"),
        (
            derive('indicator = "vwap_session"', 'sessions = "x"'),
            "derive[0].sessions",
            "'x' is not the name of a calendar",
        ),
        (
            derive('indicator = "vwap_session"', "parameters.session_s = 0"),
            "derive[0].parameters.session_s",
            "is 0 where",
        ),
        (
            derive('indicator = "vwap_session"', 'sessions = "XNYS"', "parameters.session_s = 60"),
            "derive[0].parameters.session_s",
            "is 0 where",
        ),
        (derive('bars = "volume-5"', "parameters.period = 3"), "derive[0].parameters", "needs an indicator"),
        (derive('indicator = "roll"', 'bars = "tick-5"'), "derive[0].bars", "roll is over each trade"),
        (derive("indicator = 5"), "derive[0].indicator", "text is expected, not a whole number"),
        (derive('indicator = "rsy"'), "derive[0].indicator", "'rsy' is not one of sma, ema"),
        (derive('indicator = "rsi"', "perod = 3"), "derive[0].perod", "is not a known key"),
        (derive('indicator = "rsi"', "parameters = 3"), "derive[0].parameters", "a table is expected"),
        (derive('indicator = "rsi"', 'parameters.period = "x"'), "derive[0].parameters.period", "a number is expected"),
        (derive('indicator = "rsi"', "parameters.periods = 3"), "derive[0].parameters.periods", "choose from period"),
        (derive('indicator = "rsi"', "parameters.period = 0"), "derive[0].parameters.period", "must be at least 1"),
        (derive('indicator = "sma"', "parameters.period = 99999"), "derive[0].parameters", "at most 40,000 are stored"),
        (derive('indicator = "rsi"', 'bars = "5m"'), "derive[0].bars", "add 300 to its bar_s (1, 60)"),
        (derive('indicator = "rsi"', 'bars = "m"'), "derive[0].bars", "is not a bar length"),
        (derive('indicator = "roll"', 'bars = "1m"'), "derive[0].bars", "roll is over each trade"),
        (derive('indicator = "rsi"') + derive('indicator = "x"'), "derive[1].indicator", "'x' is not one of"),
        (derive('indicator = "rsi"', 'every = "1s"'), "derive[0].every", "rsi is over bars, not over samples"),
        (derive('indicator = "depth"', 'bars = "1s"'), "derive[0].bars", "is over samples of the book, not over bars"),
        (derive('indicator = "depth"', 'every = "2d"'), "derive[0].every", "is not a sampling interval, at most a day"),
        (derive('bars = "volume-5"', 'every = "1s"'), "derive[0].every", "needs an indicator"),
    ],
)
def test_an_error_names_the_key(text: str, key: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        wanted_series(parse(text))
    assert str(error.value).startswith(f"plant.toml: engines.engine.{key}: "), error.value
    assert words in str(error.value)


@pytest.mark.usefixtures("settled_here")
def test_series_need_checkpoints() -> None:
    with pytest.raises(ConfigError, match="checkpoint_s: must not be 0"):
        wanted_series(parse(derive('indicator = "rsi"'), TEXT + "checkpoint_s = 0\n"))


@pytest.mark.usefixtures("settled_here")
def test_names_say_indicator_parameters_and_rows_and_patterns_add_up() -> None:
    text = derive('indicator = "rsi"', 'symbols = ["*.BTC*"]') + derive('indicator = "hawkes"')
    text += derive('indicator = "rsi"', "parameters.period = 14", 'symbols = ["kraken.*"]', 'bars = "1m"')
    text += derive('indicator = "rsi"', "parameters.period = 3", 'bars = "1s"', 'symbols = ["x.*"]')
    text += derive('indicator = "rsi"', "parameters.period = 3", 'bars = "1s"')
    assert wanted_series(parse(text)).by_engine == {
        "engine": {"rsi-14.1m": ("*.BTC*", "kraken.*"), "hawkes-0.1-0.5-1.trade": (), "rsi-3.1s": ()}
    }
    assert wanted_series(parse("")).by_engine == {"engine": {}}
    books = derive('indicator = "depth"') + derive('indicator = "price_to_buy"', 'every = "100ms"')
    assert wanted_series(parse(books)).by_engine == {
        "engine": {"depth-10.book_1s": (), "price_to_buy-1.book_100ms": ()}
    }
    bars = derive('bars = "dollar-1000000.0"', 'symbols = ["a.*"]') + derive(
        'bars = "volume-0.5"', 'indicator = "vpin"'
    )
    names = {"bars.dollar-1000000": ("a.*",), "bars.volume-0.5": (), "vpin-50.volume-0.5": ()}
    assert wanted_series(parse(bars)).by_engine == {"engine": names}


@pytest.mark.usefixtures("settled_here")
def test_a_check_prints_what_reads_back_and_refuses_what_would_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plant.toml"
    file.write_text(TEXT + derive('indicator = "rsi"', "parameters.period = 9"))
    assert cli.run(["config", "check", str(file)]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.endswith("ok")
    assert tomllib.loads("\n".join(rest))["engines"]["engine"]["derive"][0]["parameters"] == {"period": 9.0}
    file.write_text(TEXT + derive('indicator = "rsy"'))
    assert cli.run(["config", "check", str(file)]) == 2
    assert "engines.engine.derive[0].indicator: 'rsy'" in capsys.readouterr().err


def test_a_plan_has_rings_for_values_and_numbers_that_stay(tmp_path: Path) -> None:
    """End to end: the process that settles them, and the spec of the engine."""
    text = TEXT + derive('indicator = "sma"') + derive('indicator = "returns"')
    plan = plans.live(cfg.parse(text, file="plant.toml", base=tmp_path), plans.Addresses())
    schemas = [Schema(ring.ref.schema) for ring in plan.rings if ring.ref.producer == "engine"]
    assert schemas == [Schema.BBO, Schema.BAR, Schema.CHECKPOINT, Schema.VALUE, Schema.STATE]
    SeriesTable(tmp_path / "data").numbers(["rsi-9.1m"], add=True)
    spec = next(child.spec for child in plan.children if child.role == "engine")()
    assert isinstance(spec, EngineSpec)
    names = ("sma-20.1m", "returns-20-1.959963984540054.1m")
    assert spec.series == tuple(SeriesRef(number, name) for number, name in enumerate(names, 2))
    assert SeriesTable(tmp_path / "data").names == ["rsi-9.1m", *names]


def test_what_cannot_be_loaded_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling.sys, "executable", "/bin/false")
    with pytest.raises(ConfigError, match="the indicators cannot be loaded"):
        wanted_series(parse(derive('indicator = "rsi"')))


@pytest.mark.parametrize(
    ("name", "said", "channel"),
    [
        ("obv.1d", SeriesName("obv", (), "1d", 86_400), "obv_1d"),
        ("rsi-14.1m", SeriesName("rsi", (14.0,), "1m", 60), "rsi-14_1m"),
        ("hawkes-0.1-1e-05-1e+16.trade", SeriesName("hawkes", (0.1, 1e-5, 1e16), "trade", 0), None),
        ("order_flow-100.bbo", SeriesName("order_flow", (100.0,), "bbo", 0), "order_flow-100_bbo"),
        ("bars.tick-50", SeriesName("bars", (), "tick-50", 0, "tick", 50.0), "bars_tick-50"),
        ("queue.book_1m", SeriesName("queue", (), "book_1m", 0, every_ns=60 * 10**9), "queue_book_1m"),
        (
            "depth-9.book_250ms",
            SeriesName("depth", (9.0,), "book_250ms", 0, every_ns=250 * 10**6),
            "depth-9_book_250ms",
        ),
        ("vpin-9.volume-0.5", SeriesName("vpin", (9.0,), "volume-0.5", 0, "volume", 0.5), "vpin-9_volume-0_5"),
        (
            "vwap_session-0-2.trade-XNYS",
            SeriesName("vwap_session", (0.0, 2.0), "trade-XNYS", 0, calendar="XNYS"),
            "vwap_session-0-2_trade-XNYS",
        ),
        ("bars.time-0.5", SeriesName("bars", (), "time-0.5", 0, "time", 0.5), "bars_time-0_5"),
        (
            "sma-3.session-XNYS",
            SeriesName("sma", (3.0,), "session-XNYS", 0, "session", calendar="XNYS"),
            "sma-3_session-XNYS",
        ),
    ],
)
def test_a_name_reads_back(name: str, said: SeriesName, channel: str | None) -> None:
    assert parse_series(name) == said
    assert series_channel(name) == (channel or "hawkes-0_1-1e-05-1e+16_trade")
    assert (BARS_CHANNEL if said.indicator == "bars" else CHANNEL).fullmatch(series_channel(name))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "rsi",
        "rsi-14",
        "rsi-.1m",
        "rsi-14.1w",
        "Rsi-14.1m",
        "rsi-14.0m",
        "bars.1m",
        "bars.trade",
        "bars.book_1s",
        "depth-10.book_0s",
        "depth-10.book_2d",
        "depth-10.book",
        "rsi.tick",
        "a" * 99 + ".1m",
    ],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(DeriveError):
        parse_series(name)


def test_the_parameters_of_every_indicator_read_back_from_its_label() -> None:
    for asked in (Asked("returns", {"quantile": 1 / 3}), Asked("hawkes", {"base": 1e-7}), Asked("bollinger")):
        settled = settle(asked)
        parameters = parse_series(f"{settled.label}.1m").parameters
        assert set(asked.parameters.values()) <= set(parameters)
    assert settle(Asked("rsi")) == Settled("rsi-14", "bar", 8)


def test_patterns_are_of_venue_and_symbol() -> None:
    assert is_wanted((), "kraken", "BTC/USD")
    assert is_wanted(("binance.*", "kraken.BTC/*"), "kraken", "BTC/USD")
    assert not is_wanted(("binance.*", "kraken.btc/*"), "kraken", "BTC/USD")
    assert bar_seconds("90s") == 90


def test_numbers_are_never_given_twice(tmp_path: Path) -> None:
    table = SeriesTable(tmp_path)
    assert table.numbers(["a.1m", "b.1m"], add=False) == {"a.1m": 1, "b.1m": 2}
    assert not table.path.exists()
    assert table.numbers(["b.1m", "a.1m", "b.1m"], add=True) == {"b.1m": 1, "a.1m": 2}
    with table.path.open("ab") as file:
        file.write(b'{"id":3,"na')  # torn by a crash
    again = SeriesTable(tmp_path)
    assert again.numbers(["c.1m"], add=True) == {"c.1m": 3}
    assert table.up_to(3) == ["b.1m", "a.1m", "c.1m"]
    assert numbered(tmp_path, {"a.1m": ("x",)}, add=True) == (SeriesRef(2, "a.1m", ("x",)),)
    with pytest.raises(StoreError, match="no series has number 4"):
        table.up_to(4)


@pytest.mark.parametrize("line", ['{"id":2,"name":"a.1m"}', '{"id":1,"name":"a"}', "junk", '{"id":1}'])
def test_a_damaged_table_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "series.jsonl").write_text(line + "\n")
    with pytest.raises(StoreError, match="series.jsonl: row 1"):
        SeriesTable(tmp_path)
