"""Which symbols a feed records: configured, added, removed, kept; and how a request to change them is answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tickplant.errors import ConfigError
from tickplant.plant import symbol_requests
from tickplant.plant.followed_symbols import FollowedSymbols
from tickplant.plant.symbol_requests import SymbolRequests
from tickplant.runtime import config as cfg
from tickplant.runtime.control import ChangeSymbols, FeedSymbols, Refused, SymbolChanged, SymbolsChanged

TEXT = """
[feeds.spot]
venue = "binance"
symbols = ["BTCUSDT", "ETHUSDT"]
[feeds.other]
venue = "binance"
symbols = ["BNBUSDT"]
[feeds.kraken]
venue = "kraken"
symbols = ["BTC/USD"]
"""


def config(folder: Path, text: str = TEXT) -> cfg.Config:
    (folder / "data").mkdir(exist_ok=True)
    return cfg.parse(text, file="plant.toml", base=folder)


def test_changes_are_kept_until_they_are_taken_back(tmp_path: Path) -> None:
    followed = FollowedSymbols(config(tmp_path))
    assert followed.of("spot") == ("BTCUSDT", "ETHUSDT")
    followed.keep("spot", "SOLUSDT", added=True)
    followed.keep("spot", "BTCUSDT", added=False)
    again = FollowedSymbols(config(tmp_path))
    for one in (followed, again):
        assert one.of("spot") == one.config_of("spot").symbols == ("ETHUSDT", "SOLUSDT")
        assert one.ever("spot") == ("ETHUSDT", "SOLUSDT", "BTCUSDT")
        assert one.report()["spot"] == FeedSymbols(["ETHUSDT", "SOLUSDT"], ["SOLUSDT"], ["BTCUSDT"])
        assert one.report()["other"] == FeedSymbols(["BNBUSDT"])
    again.keep("spot", "SOLUSDT", added=False)
    again.keep("spot", "BTCUSDT", added=True)
    assert again.report()["spot"] == FeedSymbols(["BTCUSDT", "ETHUSDT"])
    assert FollowedSymbols(config(tmp_path)).of("spot") == ("BTCUSDT", "ETHUSDT")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["symbols.json"]


def test_what_the_configuration_has_learnt_counts_once_and_another_venue_begins_anew(tmp_path: Path) -> None:
    FollowedSymbols(config(tmp_path)).keep("spot", "SOLUSDT", added=True)
    learnt = FollowedSymbols(config(tmp_path, TEXT.replace('"ETHUSDT"]', '"ETHUSDT", "SOLUSDT"]')))
    assert learnt.of("spot") == ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    moved = TEXT.replace('[feeds.spot]\nvenue = "binance"', '[feeds.spot]\nvenue = "binance-usdm"')
    assert FollowedSymbols(config(tmp_path, moved)).of("spot") == ("BTCUSDT", "ETHUSDT")


def test_a_file_that_leaves_no_symbol_or_cannot_be_read_is_named(tmp_path: Path) -> None:
    followed = FollowedSymbols(config(tmp_path))
    followed.keep("spot", "BTCUSDT", added=False)
    file = tmp_path / "data" / "symbols.json"
    with pytest.raises(ConfigError, match=f"{file}: every symbol of feeds.spot was removed while it ran"):
        FollowedSymbols(config(tmp_path, TEXT.replace('"BTCUSDT", "ETHUSDT"', '"BTCUSDT"')))
    file.write_text('{"spot": 3}')
    with pytest.raises(ConfigError, match=f"{file}: is not what `tickplant symbols` has written"):
        FollowedSymbols(config(tmp_path))


@pytest.mark.parametrize(
    ("feed", "added", "removed", "why"),
    [
        ("nobody", ["X"], [], "no feed is named nobody; the feeds are spot, other, kraken"),
        ("spot", ["solusdt"], [], "binance: 'solusdt' is not a symbol: the venue writes 'SOLUSDT'"),
        ("kraken", ["BTCUSD"], [], "kraken: 'BTCUSD' is not a symbol: BASE/QUOTE, such as BTC/USD"),
        ("spot", ["BTCUSDT"], [], "spot records BTCUSDT already"),
        ("spot", [], ["SOLUSDT"], "spot has no symbol SOLUSDT; it has BTCUSDT, ETHUSDT"),
        ("other", [], ["BNBUSDT"], "other would have no symbol left"),
        ("spot", [f"A{n}" for n in range(100_000)], [], "spot would have more than 100,000 symbols"),
        ("spot", ["SOLUSDT"], ["BTCUSDT"], ""),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, feed: str, added: list[str], removed: list[str], why: str) -> None:
    said = FollowedSymbols(config(tmp_path)).why_not(feed, added, removed)
    assert said.startswith(why) if why else said == ""


def test_a_venue_whose_feeds_keep_their_symbols_says_so(tmp_path: Path) -> None:
    text = TEXT + '[feeds.futures]\nvenue = "databento"\nsymbols = ["GLBX.MDP3/ESH4"]\nchannels = ["trade"]\n'
    said = FollowedSymbols(config(tmp_path, text)).why_not("futures", ["GLBX.MDP3/ESM4"], [])
    assert said == "a feed of databento keeps the symbols it begins with: change the configuration"


def test_an_instrument_that_another_feed_of_the_engine_records_is_refused(tmp_path: Path) -> None:
    engine = '[engines.one]\npublish = "tcp://127.0.0.1:5555"\n'
    followed = FollowedSymbols(config(tmp_path, TEXT + engine))
    assert followed.why_not("other", ["BTCUSDT"], []) == "spot, which has the same engine, records BTCUSDT already"
    apart = engine + 'feeds = ["spot", "kraken"]\n'
    assert FollowedSymbols(config(tmp_path, TEXT + apart)).why_not("other", ["BTCUSDT"], []) == ""


class Pool:
    """What SymbolRequests needs of a pool, its board and its children."""

    def __init__(self) -> None:
        self.board = self
        self.children = {"spot": self}
        self.pid = 7
        self.is_up = True
        self.told: list[Any] = []
        self.replies: list[tuple[bytes, Any]] = []

    def tell(self, name: str, message: Any) -> bool:
        if name == "spot":
            self.told.append(message)
        return self.is_up

    def reply(self, line: bytes, message: Any) -> None:
        self.replies.append((line, message))


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def requests(tmp_path: Path, pool: Pool) -> SymbolRequests:
    return SymbolRequests(FollowedSymbols(config(tmp_path)), pool)  # type: ignore[arg-type]


def kept(tmp_path: Path) -> tuple[str, ...]:
    return FollowedSymbols(config(tmp_path)).of("spot")


def test_the_answer_comes_with_the_last_symbol_and_only_what_is_done_is_kept(
    requests: SymbolRequests, pool: Pool, tmp_path: Path
) -> None:
    asked = ChangeSymbols("spot", added=["SOLUSDT", "NOUSDT"])
    assert requests.ask(b"line", asked) is None
    assert pool.told == [asked]
    requests.heard(SymbolChanged("spot", "SOLUSDT", added=True))
    assert pool.replies == []
    requests.heard(SymbolChanged("spot", "NOUSDT", added=True, problem="unknown symbol NOUSDT"))
    assert pool.replies == [(b"line", SymbolsChanged({"SOLUSDT": "", "NOUSDT": "unknown symbol NOUSDT"}))]
    requests.heard(SymbolChanged("spot", "NOUSDT", added=False))
    assert kept(tmp_path) == ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def test_what_the_venue_says_late_is_kept_all_the_same(
    requests: SymbolRequests, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbol_requests, "PATIENCE_S", 0.0)
    requests.ask(b"line", ChangeSymbols("spot", added=["SOLUSDT"]))
    requests.look()
    assert pool.replies == [(b"line", SymbolsChanged({"SOLUSDT": "the venue has not said so yet"}))]
    assert kept(tmp_path) == ("BTCUSDT", "ETHUSDT")
    requests.heard(SymbolChanged("spot", "SOLUSDT", added=True))
    assert kept(tmp_path) == ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def test_a_feed_that_ends_meanwhile_has_done_nothing(requests: SymbolRequests, pool: Pool, tmp_path: Path) -> None:
    requests.ask(b"line", ChangeSymbols("spot", added=["SOLUSDT"]))
    requests.look()
    assert pool.replies == []
    pool.pid = 8
    requests.look()
    assert pool.replies == [(b"line", SymbolsChanged({"SOLUSDT": "spot has ended before it said so"}))]
    requests.heard(SymbolChanged("spot", "SOLUSDT", added=True))
    assert kept(tmp_path) == ("BTCUSDT", "ETHUSDT")


def test_a_feed_that_is_down_and_a_plant_without_feeds_refuse(requests: SymbolRequests, pool: Pool) -> None:
    pool.is_up = False
    refused = requests.ask(b"line", ChangeSymbols("spot", added=["SOLUSDT"]))
    assert isinstance(refused, Refused) and refused.reason.startswith("spot is not running at the moment")
    refused = SymbolRequests(None, pool).ask(b"line", ChangeSymbols("spot"))  # type: ignore[arg-type]
    assert isinstance(refused, Refused) and "no symbols to change" in refused.reason
