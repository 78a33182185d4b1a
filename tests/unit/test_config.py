"""A configuration is read whole or refused with file, key and expectation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tickplant import config as cfg
from tickplant.errors import ConfigError

FEED = '[feeds.a]\nvenue = "binance"\nsymbols = ["BTCUSDT"]\n'
ROOT = Path(__file__).parents[2]


def parse(text: str) -> cfg.Config:
    return cfg.parse(text, file="plant.toml", base=Path("/somewhere"))


def test_the_demo_and_the_real_venue_configurations_are_valid() -> None:
    demo = cfg.load(None)
    assert demo.feeds["binance"].sim in demo.sims
    real = cfg.load(ROOT / "deploy" / "binance.toml")
    assert not real.sims
    assert {feed.venue for feed in real.feeds.values()} == {"binance", "binance-usdm"}


def test_the_built_in_demo_is_the_file_at_the_top_of_the_repository() -> None:
    assert cfg.load(None).feeds == cfg.load(ROOT / "supervisor.toml").feeds


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("=", "", "is not valid TOML"),
        ("", "feeds", "no feed is configured"),
        ("[feed.a]\n", "feed", "did you mean feeds?"),
        ("[feeds]\na = 1\n", "feeds", "write [feeds.NAME]"),
        ("[feeds.A]\n", "feeds.A", "a name is"),
        ('[feeds.a]\nsymbols = ["X"]\n', "feeds.a.venue", "is missing"),
        (FEED + "sybmols = 1\n", "feeds.a.sybmols", "did you mean symbols?"),
        ('[feeds.a]\nvenue = 1\nsymbols = ["X"]\n', "feeds.a.venue", "text is expected, not a whole number"),
        ('[feeds.a]\nvenue = "b"\nsymbols = ["X", 3]\n', "feeds.a.symbols[1]", "text is expected, not a whole number"),
        ('[feeds.a]\nvenue = "b"\nsymbols = []\n', "feeds.a.symbols", "is empty"),
        ('[feeds.a]\nvenue = "b"\nsymbols = ["*"]\n', "feeds.a.symbols", "is not a symbol"),
        (
            FEED + 'channels = ["trades"]\n',
            "feeds.a.channels[0]",
            "'trades' is not one of trade, agg_trade, quote, book",
        ),
        (FEED + 'channels = ["trade", "agg_trade"]\n', "feeds.a.channels", "choose one"),
        (FEED + 'channels = ["trade", "trade"]\n', "feeds.a", "listed twice"),
        (FEED + "ring_records = 5000\n", "feeds.a.ring_records", "the next is 8192"),
        (FEED + "ring_records = -1\n", "feeds.a.ring_records", "a whole number of at least 1 is expected"),
        (FEED + 'sim = "x"\n', "feeds.a.sim", "there is no [sims.x]"),
        (FEED + 'ws_url = "binance.com"\n', "feeds.a.ws_url", "begins with wss://"),
        (FEED + '[engines.e]\nfeeds = ["b"]\n', "engines.e.feeds", "there is no [feeds.b]"),
        (FEED + "[engines.e]\n[engines.f]\n", "engines.f.feeds", "already taken by e"),
        (FEED + "[engines.a]\n", "a", "two processes have this name"),
        (FEED + '[engines.e]\npublish = "tcp://0.0.0.0:5555"\n', "engines.e.publish", "insecure = true"),
        (FEED + '[engines.e]\npublish = "5555"\n', "engines.e.publish", "is not an address"),
        (FEED + "[engines.e]\ncheckpoint_s = 7\n", "engines.e.checkpoint_s", "must divide an hour"),
        (FEED + "[plant]\nhang_s = 0\n", "plant.hang_s", "greater than 0"),
        (FEED + '[sims.s]\nrecording = "none.gz"\n', "sims.s.recording", "there is no file"),
    ],
)
def test_a_wrong_key_is_refused_with_its_file_its_path_and_what_was_expected(text: str, key: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.file == "plant.toml"
    assert caught.value.key == key
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing.toml: cannot be read: No such file"):
        cfg.load(tmp_path / "missing.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        cfg.load(binary)


def test_loopback_and_explicitly_insecure_addresses_may_be_bound() -> None:
    for line in ('publish = "tcp://[::1]:7000"', 'publish = "tcp://0.0.0.0:7000"\ninsecure = true'):
        config = parse(f"{FEED}[engines.e]\n{line}\n")
        assert cfg.requests_address(config.engines["e"]).endswith(":7001")


def test_paths_are_relative_to_the_configuration_file() -> None:
    assert parse(FEED + '[plant]\ndata = "store"\n').data_dir == Path("/somewhere/store")


@pytest.mark.parametrize(
    "line",
    [
        "max_connections = 0",
        "max_connections = 10_001",
        "max_subscriptions = 0",
        "subscriptions_per_client = 0",
        "max_topic_bytes = 127",
        "max_topic_bytes = 4097",
        "request_kib = 15",
        "replies_mib = 3",
        "backlog_mib = 0",
        "unread_s = 0",
        "handshake_s = inf",
        "handshake_s = 0.0",
    ],
)
def test_limits_on_clients_have_bounds(line: str) -> None:
    with pytest.raises(ConfigError, match=line.partition(" ")[0]):
        parse(f"{FEED}[engines.e]\n{line}\n")
