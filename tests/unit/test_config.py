"""A configuration is read whole or refused with file, key and expectation."""

from __future__ import annotations

import contextlib
import math
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickplant.errors import ConfigError
from tickplant.plant.plans import Addresses, live
from tickplant.records.layouts import BAR, BBO, CHECKPOINT, TICK
from tickplant.runtime import config as cfg
from tickplant.runtime.config_reader import Reader
from tickplant.runtime.machine_checks import DERIVED_BYTES, TICK_BYTES, check_machine

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
        ('[feeds.a]\nvenue = "binance"\nsymbols = []\n', "feeds.a.symbols", "is empty"),
        ('[feeds.a]\nvenue = "binance"\nsymbols = ["*"]\n', "feeds.a.symbols", "is not a symbol"),
        (
            FEED + 'channels = ["trades"]\n',
            "feeds.a.channels[0]",
            "'trades' is not one of trade, agg_trade, quote, book",
        ),
        (FEED + 'channels = ["trade", "agg_trade"]\n', "feeds.a.channels", "choose one"),
        (FEED + "connections = 3\n", "feeds.a.connections", "at most 2"),
        (
            '[feeds.a]\nvenue = "kraken"\nsymbols = ["BTC/USD"]\nconnections = 2\n',
            "feeds.a.connections",
            "must be 1: kraken does not number its quote events: nothing would tell what one connection repeats",
        ),
        (FEED + 'channels = ["trade", "trade"]\n', "feeds.a", "listed twice"),
        (FEED + "book_depth = 20\n", "feeds.a.book_depth", "about partial_book at binance: the feed does not take"),
        (FEED + 'crossed = "match"\n', "feeds.a.crossed", "the feed has no orders channel"),
        (FEED + 'crossed = "cross"\n', "feeds.a.crossed", "cross"),
        (FEED + "ring_records = 5000\n", "feeds.a.ring_records", "the next is 8192"),
        (FEED + "ring_records = -1\n", "feeds.a.ring_records", "a whole number of at least 1 is expected"),
        (FEED + 'sim = "x"\n', "feeds.a.sim", "no table [sims.x]"),
        (FEED + 'ws_url = "binance.com"\n', "feeds.a.ws_url", "begins with wss://"),
        (FEED + '[engines.e]\nfeeds = ["b"]\n', "engines.e.feeds", "no table [feeds.b]"),
        (FEED + "[engines.e]\n[engines.f]\n", "engines.f.feeds", "already taken by e"),
        (FEED + "[engines.a]\n", "a", "two processes have this name"),
        (FEED + "[gateways.a]\n", "a", "two processes have this name"),
        (FEED + "[gateways.w]\nport = 0\n", "gateways.w.port", "must be greater than 0"),
        (FEED + '[gateways.w]\nbind = "*"\n', "gateways.w.bind", "is not an address such as 127.0.0.1"),
        (FEED + '[gateways.w]\nbind = "0.0.0.0"\n', "gateways.w.tokens", "name a credential with tokens"),
        (FEED + '[gateways.w]\nbind = "0.0.0.0"\ntokens = ["t"]\n', "gateways.w.bind", "would travel unencrypted"),
        (FEED + '[gateways.w]\ntls_key = "key.pem"\n', "gateways.w.tls_certificate", "must be set together"),
        (FEED + '[gateways.w]\ncors_origins = ["desk"]\n', "gateways.w.cors_origins", "begins with https://"),
        (FEED + '[gateways.w]\ncors_origins = ["https://desk/x"]\n', "gateways.w.cors_origins", "has a path"),
        (FEED + "[gateways.v]\n[gateways.w]\n", "gateways.w.port", "port 8088 is already that of gateways.v.port"),
        (FEED + '[engines.e]\npublish = "tcp://0.0.0.0:5555"\n', "engines.e.publish", "insecure = true"),
        (FEED + '[engines.e]\npublish = "5555"\n', "engines.e.publish", "is not an address"),
        (FEED + "[engines.e]\ncheckpoint_s = 7\n", "engines.e.checkpoint_s", "must divide an hour"),
        (FEED + "[plant]\nhang_s = 0\n", "plant.hang_s", "greater than 0"),
        (FEED + '[sims.s]\nrecording = "none.gz"\n', "sims.s.recording", "no such file"),
    ],
)
def test_a_wrong_key_is_refused_with_its_file_its_path_and_what_was_expected(text: str, key: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.file == "plant.toml"
    assert caught.value.key == key
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


FULL = FEED + "[engines.e]\n[writers.w]\n"
TWO = FULL.replace("[engines.e]", '[feeds.b]\nvenue = "binance"\nsymbols = ["A"]\n[engines.e]\nfeeds = ["a"]')
SIM = '[sims.m]\nsymbols = ["BTCUSDT"]\n'
PUBLISH = 'publish = "tcp://127.0.0.1:7000"\n'


def feed(line: str) -> str:
    return FULL.replace("[engines.e]", f"{line}\n[engines.e]")


def engine(line: str) -> str:
    return FULL.replace("[engines.e]", f"[engines.e]\n{line}")


def symbols(text: str) -> str:
    return FULL.replace('["BTCUSDT"]', text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        *((f"{FULL}[plant]\ndrain_s = {value}\n", "plant.drain_s") for value in ("inf", "nan", "1e300", "1e-9")),
        (f"{FULL}[plant]\nheartbeat_s = 5.0\nhang_s = 5.0\n", "plant.hang_s"),
        (f"{FULL}[plant]\nheartbeat_s = inf\nhang_s = inf\n", "plant.heartbeat_s"),
        (f"{FULL}[plant]\nrestart_intensity = 1025\n", "plant.restart_intensity"),
        (f"{FULL}[plant]\nrestart_cap_s = 0.1\n", "plant.restart_cap_s"),
        (f"{FULL}[plant]\ndrain_s = 1{'0' * 400}\n", "plant.drain_s"),
        *((f'{FULL}[plant]\numask = "{value}"\n', "plant.umask") for value in ("", "8", "0777", "rwx", "27 ")),
        *((f'{FULL}[plant]\ndata = "{value}"\n', "plant.data") for value in (
            "", "a\\u0000b", "a\\nb", "a" * 300, "a/" * 3000,
        )),
        (feed("ring_records = 4611686018427387904"), "feeds.a.ring_records"),
        (feed("ring_records = 512"), "feeds.a.ring_records"),
        (feed("stall_s = 1e-9"), "feeds.a.stall_s"),
        (feed("full_wait_ms = 99999999999"), "feeds.a.full_wait_ms"),
        (feed('ws_url = "ws://[::1"'), "feeds.a.ws_url"),
        (feed('rest_url = "http://a:99999"'), "feeds.a.rest_url"),
        (FULL.replace("binance", "binanse"), "feeds.a.venue"),
        (FULL + '[sims.m]\nvenue = "nyse"\n', "sims.m.venue"),
        *((symbols(value), "feeds.a.symbols") for value in (
            '["../../x"]', '["A.B"]', '["."]', '["btcusdt"]', '["A\\u0085"]', '["A\\u202e"]', '["A B"]', '["a@b/c"]',
            '["A\\""]', '["-A"]', '[""]', f'["{"A" * 65}"]',
        )),
        (symbols('["BTCUSDT", "btcusdt"]'), "feeds.a.symbols"),
        (symbols('["BTCUSDT", "BTCUSDT"]'), "feeds.a"),
        (SIM + feed('sim = "m"').replace('["BTCUSDT"]\nsim', '["ETHUSDT"]\nsim'), "feeds.a.symbols"),
        (FULL + '[sims.m]\nsymbols = ["A_B"]\n', "sims.m.symbols"),
        *((f"{FULL}{SIM}seed = {value}\n", "sims.m.seed") for value in (-1, 1 << 64)),
        *((f"{FULL}{SIM}speed = {value}\n", "sims.m.speed") for value in ("nan", "-1.0", "0.0", '"fast"')),
        *((f"{FULL}{SIM}messages_per_s = {value}\n", "sims.m.messages_per_s") for value in ("inf", "1e-300", "1e10")),
        *((engine(f"bar_s = {value}"), "engines.e.bar_s") for value in ("[1, 1]", "[86401]", str([*range(1, 34)]))),
        (engine("bar_s = [0]"), "engines.e.bar_s[0]"),
        (engine("max_levels = 9223372036854775807"), "engines.e.max_levels"),
        (engine("recovery_mib = 99999999999999"), "engines.e.recovery_mib"),
        (engine("high_water_messages = 99999999999"), "engines.e.high_water_messages"),
        (FULL + "chunk_records = 2000000\n", "writers.w.chunk_records"),
        (FULL + "rotate_mib = 99999999999999\n", "writers.w.rotate_mib"),
        (FULL + "flush_s = 1e300\n", "writers.w.flush_s"),
        (engine(PUBLISH + 'requests = "tcp://127.0.0.1:7000"'), "engines.e.requests"),
        (engine(PUBLISH + 'requests = "tcp://localhost:7000"'), "engines.e.requests"),
        (engine(PUBLISH + 'insecure = true\nrequests = "tcp://0.0.0.0:7000"'), "engines.e.requests"),
        (engine(PUBLISH + 'insecure = true\nrequests = "tcp://*:7000"'), "engines.e.requests"),
        (engine('publish = "tcp://[::1]:7000"\nrequests = "tcp://[0::1]:7000"'), "engines.e.requests"),
        (engine('publish = "ipc:///tmp/x"\nrequests = "ipc:///tmp/y/../x"'), "engines.e.requests"),
        (engine(PUBLISH) + "[sims.m]\nport = 7001\n", "engines.e.requests"),
        (TWO + '[engines.f]\nfeeds = ["b"]\n' + 'publish = "tcp://127.0.0.1:5556"\n', "engines.f.publish"),
        *((engine(f'publish = "{value}"'), "engines.e.publish") for value in (
            "tcp://127.0.0.1:\u0662\u0661", "tcp://127.0.0.1:\u00b2", "tcp://127.0.0.1:0", "tcp://127.0.0.1:65536",
            "tcp://[::1:7000", "tcp://::1:7000", "tcp://[:::]:7000", f"ipc:///{'a' * 108}", "udp://127.0.0.1:7000",
        )),
        (engine('publish = "tcp://127.0.0.1:65535"'), "engines.e.requests"),
        *((f'{FULL}[feeds.{name}]\nvenue = "binance"\nsymbols = ["A"]\n', f"feeds.{name}") for name in (
            "drain", "supervisor", "command", "history", "a" * 32,
        )),
        ("a = " + "[" * 100_000 + "]" * 100_000, ""),
        ("a = " + "9" * 5000, ""),
    ],
)  # fmt: skip
def test_what_no_plant_can_run_with_is_refused_by_key(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.key == key, str(caught.value)
    assert str(caught.value).startswith("plant.toml: ")


def on_this_machine(tmp_path: Path, text: str) -> None:
    check_machine(cfg.parse(text, file="plant.toml", base=tmp_path))


def test_a_configuration_at_its_bounds_is_accepted(tmp_path: Path) -> None:
    bounds = SIM + f"seed = {(1 << 64) - 1}\nspeed = 'max'\nmessages_per_s = 1e9\n" + FULL
    bounds = bounds.replace("[writers.w]", f"bar_s = {[*range(1, 33)]}\n[writers.w]\nflush_s = 1")
    on_this_machine(tmp_path, bounds.replace("BTCUSDT", "1000SATS"))
    on_this_machine(tmp_path, symbols('["BTCUSDT_240628", "\u5e01\u5b89USDT"]'))
    on_this_machine(tmp_path, engine("bar_s = []"))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (FEED + "[engines.e]\n", "writers"),
        (FEED + "[writers.w]\n", "engines"),
        (TWO + 'feeds = ["a"]\n', "feeds.b"),
        *((f'{FULL}[plant]\ndata = "{path}"\n', "plant.data") for path in (
            "/dev/null/x", "/dev/null", "/proc/x", "file/x", "ring",
        )),
        (engine('insecure = true\npublish = "tcp://192.0.2.1:7000"'), "engines.e.publish"),
        (engine('insecure = true\npublish = "tcp://nowhere.invalid:7000"'), "engines.e.publish"),
        (engine('publish = "ipc:///nowhere/x"'), "engines.e.publish"),
        (engine("ring_records = 268435456"), "engines.e.ring_records"),
    ],
)  # fmt: skip
def test_what_this_machine_cannot_run_is_refused_by_key(tmp_path: Path, text: str, key: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "ring").symlink_to("ring")
    with pytest.raises(ConfigError) as caught:
        on_this_machine(tmp_path, text)
    assert caught.value.key == key, str(caught.value)


def test_a_run_folder_whose_sockets_have_too_long_a_path_is_refused_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = cfg.plant_id(tmp_path / "data")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/r")
    longest = "/" + "r" * (cfg.SOCKET_PATH_BYTES - len(f"{cfg.run_dir(plant)}/control") + 1)
    monkeypatch.setenv("XDG_RUNTIME_DIR", longest)
    on_this_machine(tmp_path, engine(""))
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{longest}r")
    configured = cfg.parse(engine(""), file="plant.toml", base=tmp_path)
    for start in (partial(check_machine, configured), partial(live, configured, Addresses())):
        with pytest.raises(
            ConfigError, match=f"at most 107 bytes, and {longest}r/.*/control has 108: set XDG_"
        ) as caught:
            start()
        assert caught.value.key == "XDG_RUNTIME_DIR"


def test_the_sizes_of_records_are_those_of_the_rings() -> None:
    assert TICK.itemsize == TICK_BYTES
    assert BBO.itemsize + BAR.itemsize + CHECKPOINT.itemsize == DERIVED_BYTES


@given(st.text(max_size=60) | st.text("[]{}=.\"'\\n#a0e_-", max_size=200))
def test_any_text_is_a_configuration_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
KINDS = (
    *(cfg.PlantConfig, cfg.FeedConfig, cfg.EngineConfig, cfg.WriterConfig, cfg.SimConfig),
    *(cfg.StoreConfig, cfg.RetentionConfig),
)


@given(st.sampled_from(KINDS), st.data())
def test_a_value_is_of_its_type_or_refused_as_msgspec_has_it(kind: type, data: st.DataObject) -> None:
    """The reader says more of what is wrong than msgspec, whose types these are; what they accept is the same."""
    names = [field.name for field in msgspec.structs.fields(kind)]
    table = data.draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=3))
    table = {name: value for name, value in table.items() if value is not None}
    expected, read = None, None
    with contextlib.suppress(msgspec.ValidationError):
        expected = msgspec.convert(table, kind)
    finite = all(math.isfinite(value) for value in table.values() if isinstance(value, float))
    with contextlib.suppress(ConfigError):
        read = Reader("plant.toml").table(dict(table), kind, "t")
    assert read == (expected if finite else None)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing.toml: cannot be read: No such file"):
        cfg.load(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="cannot be read: embedded null byte"):
        cfg.load(tmp_path / "nul\0")
    with pytest.raises(ConfigError, match="is longer than"):
        cfg.load(Path("/dev/zero"))
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
