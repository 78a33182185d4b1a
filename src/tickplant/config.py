"""What `supervisor.toml` may say: every key, its type, its default and its meaning. Imports errors only.

A file is read into `Config` or refused as a whole: each unknown or wrong key is named with its file, its dotted path
and what was expected. Sizes and times carry their unit in the name.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tempfile
import tomllib
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec

from tickplant.errors import ConfigError

Channel = Literal["trade", "agg_trade", "quote", "book"]
Transport = Literal["picows", "websockets"]
Positive = Annotated[int, msgspec.Meta(gt=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Scale = Annotated[int, msgspec.Meta(ge=0, le=18)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]

DEFAULT_PUBLISH: Final = "tcp://127.0.0.1:5555"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")
_SYMBOL = re.compile(r"[^\s\x00-\x1f]{1,64}\Z")


class PlantConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[plant]`: what all processes share."""

    data: str = "data"  # folder of the store, relative to the configuration file
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    heartbeat_s: Seconds = 1.0  # how often a process reports
    hang_s: Seconds = 10.0  # a process silent for this long is killed and replaced
    drain_s: Seconds = 20.0  # how long a process may take to finish its work when the plant stops
    restart_backoff_s: Seconds = 0.5  # first pause before a restart; doubles up to restart_cap_s
    restart_cap_s: Seconds = 30.0
    restart_intensity: Positive = 8  # more restarts than this within restart_window_s: FATAL, slow retries
    restart_window_s: Seconds = 60.0
    fatal_retry_s: Seconds = 300.0


class FeedConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[feeds.NAME]`: one feed process, one venue, one ring."""

    venue: str
    symbols: tuple[str, ...]
    channels: tuple[Channel, ...] = ("trade", "quote", "book")
    sim: str = ""  # name of the [sims.NAME] to record instead of the real venue
    ws_url: str = ""  # instead of the venue's own addresses
    rest_url: str = ""
    transport: Transport = "picows"
    ring_records: Positive = 1 << 18  # 16 MiB; a power of two: what the ring holds while the writer is away
    full_wait_ms: Positive = 200  # how long a full ring may hold the feed up before records are dropped into a GAP
    price_scale: Scale | None = None  # decimals, where the venue does not say
    size_scale: Scale | None = None
    capture: bool = False  # also keep every frame as received
    rejects_kept: Positive = 100  # raw frames kept per cause in the reject log
    stall_s: Seconds = 30.0  # a connection without any frame for this long is replaced
    silent_s: Seconds = 60.0  # a book or quote subscription that never delivers for this long is renewed
    instrument_poll_s: Seconds = 3600.0  # how often the venue is asked for its instrument data, without an occasion
    handover_s: Seconds = 85_800.0  # age at which a connection is replaced before the venue cuts it at 24 h
    reconnect_cap_s: Seconds = 60.0


class EngineConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[engines.NAME]`: books, bars and the live stream of some feeds."""

    feeds: tuple[str, ...] = ()  # empty: all
    publish: str = DEFAULT_PUBLISH  # PUB socket
    requests: str = ""  # ROUTER socket: snapshots and recovery; default: the PUB port + 1
    bar_s: tuple[Positive, ...] = (1, 60)
    ring_records: Positive = 1 << 16
    recovery_mib: Positive = 64  # recent messages kept for subscribers that missed some; then the store is read
    high_water_messages: Positive = 10_000  # messages queued for one slow subscriber before it loses some
    max_levels: Positive = 20_000  # per side of one book
    checkpoint_s: NotNegative = 300  # whole books are stored this often; divides an hour; 0: never
    restore_s: Seconds = 60.0  # how long one that comes back waits for stored ticks before it goes on with stale books
    insecure: bool = False  # allow unencrypted sockets beyond loopback


class WriterConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[writers.NAME]`: the journal of some feeds and of the engines that follow them."""

    feeds: tuple[str, ...] = ()  # empty: all
    flush_s: Seconds = 1.0  # most that a power cut can cost
    chunk_records: Positive = 1 << 16  # a chunk is written early when it holds this many
    rotate_mib: Positive = 256  # a journal file is closed at this size, and at every full hour
    compression_level: Annotated[int, msgspec.Meta(ge=1, le=19)] = 3


class SimConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[sims.NAME]`: a simulated venue run beside the plant."""

    venue: str = "binance"
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
    port: Port = 0  # 0: any free port
    seed: int = 1
    messages_per_s: Seconds = 200.0
    recording: str = ""  # play this recording instead of a synthetic market; relative to the configuration file
    speed: float | Literal["max"] = 1.0


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A whole configuration, checked."""

    file: str
    base: Path  # folder that relative paths in the file start from
    plant: PlantConfig
    feeds: dict[str, FeedConfig]
    engines: dict[str, EngineConfig]
    writers: dict[str, WriterConfig]
    sims: dict[str, SimConfig]

    @property
    def data_dir(self) -> Path:
        """Absolute path of the store."""
        return (self.base / self.plant.data).resolve()


def load(file: Path | None = None) -> Config:
    """Read a configuration file; None is the offline demo plant. Raises ConfigError."""
    if file is None:
        text = resources.files("tickplant").joinpath("demo.toml").read_text(encoding="utf-8")
        return parse(text, file="the built-in demo configuration", base=Path.cwd())
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(file)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text: {error.reason} at byte {error.start}", file=str(file)) from None
    return parse(text, file=str(file), base=file.resolve().parent)


def parse(text: str, *, file: str, base: Path) -> Config:
    """Check a configuration text. `file` names it in errors. Raises ConfigError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not valid TOML: {error}", file=file) from None
    reader = _Reader(file)
    reader.known(raw, ("plant", "feeds", "engines", "writers", "sims"), "")
    config = Config(
        file=file,
        base=base,
        plant=reader.table(raw.get("plant", {}), PlantConfig, "plant"),
        feeds=reader.tables(raw, "feeds", FeedConfig),
        engines=reader.tables(raw, "engines", EngineConfig),
        writers=reader.tables(raw, "writers", WriterConfig),
        sims=reader.tables(raw, "sims", SimConfig),
    )
    _check(config)
    return config


T = TypeVar("T")


class _Reader:
    """Turns tables into structs, naming the full key where one is wrong."""

    def __init__(self, file: str) -> None:
        self.file = file

    def known(self, table: dict[str, Any], names: tuple[str, ...], prefix: str) -> None:
        for key in table:
            if key not in names:
                close = difflib.get_close_matches(key, names, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(names)}"
                raise ConfigError(f"is not a known key; {hint}", file=self.file, key=prefix + key)

    def table(self, value: object, kind: type[T], key: str) -> T:
        if not isinstance(value, dict):
            raise ConfigError(f"must be a table, [{key}], not {type(value).__name__}", file=self.file, key=key)
        self.known(value, tuple(field.name for field in msgspec.structs.fields(kind)), f"{key}.")  # type: ignore[arg-type]  # T is always a Struct; a bound would hide it from callers
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            reason, _, path = str(error).partition(" - at `$")
            inner = path.rstrip("`").replace("[...]", "")
            missing = re.match(r"Object missing required field `(\w+)`", reason)
            if missing:
                raise ConfigError("is missing", file=self.file, key=f"{key}.{missing[1]}") from None
            if reason.startswith("Invalid enum value"):
                hint = get_type_hints(kind)[inner.lstrip(".").partition("[")[0]]
                reason = f"{reason.removeprefix('Invalid enum value ')} is not one of {', '.join(_choices(hint))}"
            raise ConfigError(_in_words(reason), file=self.file, key=key + inner) from None

    def tables(self, raw: dict[str, Any], section: str, kind: type[T]) -> dict[str, T]:
        tables = raw.get(section, {})
        if not isinstance(tables, dict) or not all(isinstance(value, dict) for value in tables.values()):
            raise ConfigError(f"must hold tables: write [{section}.NAME]", file=self.file, key=section)
        for name in tables:
            if not _NAME.match(name):
                raise ConfigError(
                    "a name is 1 to 32 of a-z, 0-9, _ and -, and begins with a letter or digit",
                    file=self.file,
                    key=f"{section}.{name}",
                )
        return {name: self.table(value, kind, f"{section}.{name}") for name, value in tables.items()}


_TYPES = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}


def _choices(hint: object) -> list[str]:
    """The texts that a type built from Literals allows."""
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    return [choice for inner in get_args(hint) for choice in _choices(inner)]


def _in_words(reason: str) -> str:
    """What msgspec says of a value, in the words of TOML."""
    if match := re.match(r"Expected `(.+?)`, got `(.+?)`", reason):
        expected, got = (" or ".join(_TYPES.get(name, name) for name in group.split(" | ")) for group in match.groups())
        return f"{expected} is expected, not {got}"
    if match := re.match(r"Expected `(\w+)` (.+)", reason):
        bound = match[2].replace(">= ", "of at least ").replace("<= ", "of at most ").replace("> ", "greater than ")
        return f"{_TYPES.get(match[1], match[1])} {bound} is expected"
    return reason[:1].lower() + reason[1:]


def _check(config: Config) -> None:
    """What no single key can tell. Raises ConfigError."""

    def wrong(key: str, message: str) -> ConfigError:
        return ConfigError(message, file=config.file, key=key)

    names = [*config.feeds, *config.engines, *config.writers, *config.sims]
    for name in names:
        if names.count(name) > 1:
            raise wrong(name, "two processes have this name; names are unique across feeds, engines, writers and sims")
    if not config.feeds:
        raise wrong("feeds", "no feed is configured: add a table such as [feeds.binance]")
    for name, feed in config.feeds.items():
        key = f"feeds.{name}"
        if not feed.symbols:
            raise wrong(f"{key}.symbols", 'is empty: list at least one, such as ["BTCUSDT"]')
        for symbol in feed.symbols:
            if not _SYMBOL.match(symbol) or symbol == "*":
                raise wrong(f"{key}.symbols", f"{symbol!r} is not a symbol")
        if not feed.channels:
            raise wrong(f"{key}.channels", "is empty")
        for repeated in (feed.symbols, feed.channels):
            if len(set(repeated)) < len(repeated):
                raise wrong(key, f"something is listed twice in {repeated}")
        if {"trade", "agg_trade"} <= set(feed.channels):
            raise wrong(f"{key}.channels", "trade and agg_trade carry the same trades: choose one")
        if feed.sim and (feed.ws_url or feed.rest_url):
            raise wrong(f"{key}.sim", "does not go with ws_url or rest_url")
        if feed.sim and feed.sim not in config.sims:
            raise wrong(f"{key}.sim", f"there is no [sims.{feed.sim}]")
        if feed.sim and config.sims[feed.sim].venue != feed.venue:
            raise wrong(f"{key}.sim", f"simulates {config.sims[feed.sim].venue}, the feed wants {feed.venue}")
        for option, schemes in (("ws_url", ("ws", "wss")), ("rest_url", ("http", "https"))):
            url = getattr(feed, option)
            if url and (urlsplit(url).scheme not in schemes or not urlsplit(url).hostname):
                raise wrong(f"{key}.{option}", f"{url!r} is not an address that begins with {schemes[1]}://")
        _power_of_two(config, f"{key}.ring_records", feed.ring_records)
    for section, tables in (("engines", config.engines), ("writers", config.writers)):
        taken: dict[str, str] = {}
        for name, part in tables.items():
            for feed_name in part.feeds or config.feeds:
                if feed_name not in config.feeds:
                    raise wrong(f"{section}.{name}.feeds", f"there is no [feeds.{feed_name}]")
                if feed_name in taken:
                    raise wrong(f"{section}.{name}.feeds", f"{feed_name} is already taken by {taken[feed_name]}")
                taken[feed_name] = name
    for name, engine in config.engines.items():
        _power_of_two(config, f"engines.{name}.ring_records", engine.ring_records)
        if engine.checkpoint_s and 3600 % engine.checkpoint_s:
            # Journal files begin at full hours: so each begins with checkpoints.
            raise wrong(f"engines.{name}.checkpoint_s", "must divide an hour (60, 300, 900), or be 0: no checkpoints")
        for option, address in (("publish", engine.publish), ("requests", requests_address(engine))):
            _check_endpoint(config, f"engines.{name}.{option}", address, insecure=engine.insecure)
    for name, sim in config.sims.items():
        if sim.recording and not (config.base / sim.recording).is_file():
            raise wrong(f"sims.{name}.recording", f"there is no file {config.base / sim.recording}")


def _power_of_two(config: Config, key: str, value: int) -> None:
    if value & (value - 1) or value < 1024:
        near = max(1024, 1 << (value - 1).bit_length())
        raise ConfigError(f"must be a power of two, at least 1024; the next is {near}", file=config.file, key=key)


def _check_endpoint(config: Config, key: str, address: str, *, insecure: bool) -> None:
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme == "ipc" and rest:
        return
    if scheme != "tcp" or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"{address!r} is not an address such as {DEFAULT_PUBLISH}", file=config.file, key=key)
    if not (insecure or is_loopback(host)):
        raise ConfigError(
            f"{address} can be reached from other machines, and the stream is not encrypted; "
            "bind 127.0.0.1, or set insecure = true where the network is trusted",
            file=config.file,
            key=key,
        )


def is_loopback(host: str) -> bool:
    """Whether a host of an endpoint address can be reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def requests_address(engine: EngineConfig) -> str:
    """Address of the ROUTER socket: as configured, else beside the PUB socket."""
    return engine.requests or beside(engine.publish)


def beside(publish: str) -> str:
    """The ROUTER address that belongs to a PUB address by convention: the next port, or `.requests` for ipc."""
    head, _, port = publish.rpartition(":")
    return f"{head}:{int(port) + 1}" if publish.startswith("tcp://") and port.isdigit() else f"{publish}.requests"


def plant_id(data_dir: Path) -> str:
    """Eight hex digits that name the plant of a data directory on this machine: rings and sockets carry it."""
    return blake2b(str(data_dir.resolve()).encode(), digest_size=4).hexdigest()


def run_dir(plant: str) -> Path:
    """Folder of a plant's control socket and doorbells; short, since a socket path holds only 107 bytes."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"tickplant-{os.getuid()}" / plant


def control_address(run: Path) -> str:
    """Address of the supervisor's control socket."""
    return f"ipc://{run}/control"


RESTORE_RING: Final = "-restore"
"""How the name of a ring ends through which an engine is played stored ticks; it holds nothing that is not stored."""


def restore_ring_name(plant: str, engine: str, feed: str) -> str:
    """Name of such a ring's segment."""
    return f"tickplant-{plant}-{engine}-{feed}{RESTORE_RING}"


def ring_name(plant: str, producer: str, schema: str) -> str:
    """Name of a ring's shared-memory segment."""
    return f"tickplant-{plant}-{producer}-{schema}"
