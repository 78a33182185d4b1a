"""What `supervisor.toml` may say: every key, its type, its default and its meaning.

A file is read into `Config` or rejected as a whole: `config_reader` checks types, `config_checks` bounds and which keys
go together. Names of sizes and times contain their unit.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import tempfile
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from tickplant.errors import ConfigError
from tickplant.runtime.config_reader import Reader

Channel = Literal[
    "trade", "agg_trade", "quote", "book", "orders", "partial_book", "venue_bar", "statistic", "liquidation"
]
Transport = Literal["picows", "websockets"]
Positive = Annotated[int, msgspec.Meta(gt=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Scale = Annotated[int, msgspec.Meta(ge=0, le=18)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]

Crossed = Literal["flag", "match"]
"""How crossed books of orders are handled: they are flagged, or resolved by matching in price-time priority."""

SOCKET_PATH_BYTES: Final = 107
DEFAULT_PUBLISH: Final = "tcp://127.0.0.1:5555"

COMPACTOR: Final = "compactor"
"""Name of the process that compacts a plant's store."""

HISTORY: Final = "history"
"""Name of the process that reads the store for engines' subscribers."""

FILE_BYTES: Final = 1 << 20


class PlantConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[plant]`: what all processes share."""

    data: str = "data"  # folder of the store, relative to the configuration file
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    umask: str = "027"  # octal: permissions denied on the plant's files; 027 makes files 0640, folders 0750
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
    book_depth: NotNegative = 0  # levels per side of books, if the venue offers a choice; 0: the venue's default
    connections: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1  # that carry each stream; with 2, either may be lost
    crossed: Crossed = "flag"  # how crossed books of orders are handled
    sim: str = ""  # name of the [sims.NAME] to record instead of the real venue
    ws_url: str = ""  # instead of the venue's own addresses
    rest_url: str = ""
    credentials: str = ""  # name of the file with the keys for this venue; docs/operations.md says where it is
    transport: Transport = "picows"
    ring_records: Positive = 1 << 18  # 16 MiB; a power of two; what the ring holds while the writer is away
    full_wait_ms: Positive = 200  # how long a full ring may block the feed before records are dropped, with a GAP
    price_scale: Scale | None = None  # decimals, if the venue does not give them
    size_scale: Scale | None = None
    capture: bool = False  # also keep every frame as received
    rejects_kept: Positive = 100  # raw frames kept per cause in the reject log
    stall_s: Seconds = 30.0  # a connection without any frame for this long is replaced
    compression: bool = False  # ask the venue to compress what it sends, if its adapter knows that it can
    silent_s: Seconds = 60.0  # a book or quote subscription that delivers nothing for this long is renewed
    instrument_poll_s: Seconds = 3600.0  # how often the venue is asked for its instrument data routinely
    handover_s: Seconds | None = None  # age at which a connection is replaced; default: before the venue closes it
    reconnect_cap_s: Seconds = 60.0


class DeriveConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[[engines.NAME.derive]]`: an indicator, or bars of trades, that an engine makes; see docs/derivations.md."""

    indicator: str = ""  # empty: the bars themselves
    bars: str = ""  # the bars it is over: a length in the engine's `bar_s`, or a rule such as volume-50; default: 1m
    every: str = ""  # how often books are sampled, such as 100ms, if the indicator is over books; default: 1s
    symbols: tuple[str, ...] = ()  # patterns of VENUE.SYMBOL, * for anything; empty: all
    parameters: dict[str, float] = {}  # of the indicator; its defaults for those not given
    sessions: str = ""  # the calendar, such as XNYS, with whose sessions vwap_session restarts


class FeatureConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[[engines.NAME.features]]`: a set of values that an engine samples together; see docs/derivations.md."""

    name: str
    version: int = 1
    on: str  # rows at which it is sampled: a length in the engine's `bar_s`, bbo, trade, or a rule such as volume-50
    members: tuple[str, ...]  # series of the engine, such as rsi-14.1m, or an output: macd-12-26-9.1m:2
    symbols: tuple[str, ...] = ()  # patterns of VENUE.SYMBOL, * for anything; empty: all


class ClientLimits(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What clients may cost an engine or relay over TCP; docs/operations.md, "Limits". Beyond, they are cut off."""

    max_connections: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 128  # to each of the two sockets
    max_subscriptions: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000  # of all clients together
    subscriptions_per_client: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1_000
    max_topic_bytes: Annotated[int, msgspec.Meta(ge=128, le=4096)] = 128  # of one subscription
    request_kib: Annotated[int, msgspec.Meta(ge=16, le=65_536)] = 32  # of one client, unserved or unfinished
    replies_mib: Annotated[int, msgspec.Meta(ge=4, le=65_536)] = 64  # waiting for all clients together
    backlog_mib: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 64  # published while one subscriber takes nothing
    unread_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 10.0  # how long replies may wait for a client
    handshake_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 5.0  # how long a client may take to say who it is
    high_water_messages: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 10_000  # queued for a slow subscriber


class EngineConfig(ClientLimits, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[engines.NAME]`: books, bars and the live stream of some feeds."""

    feeds: tuple[str, ...] = ()  # empty: all
    publish: str = DEFAULT_PUBLISH  # PUB socket
    requests: str = ""  # ROUTER socket: snapshots and recovery; default: the PUB port + 1
    bar_s: tuple[Positive, ...] = (1, 60)
    derive: tuple[DeriveConfig, ...] = ()  # indicators and bars of trades, which are stored and published
    features: tuple[FeatureConfig, ...] = ()  # sets of these values, sampled together
    own_row_us: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] = 20.0  # CPU per row of a user's indicator
    ring_records: Positive = 1 << 16
    recovery_mib: Positive = 64  # recent messages kept for subscribers that missed some; older ones are in the store
    max_levels: Positive = 20_000  # per side of one book
    max_orders: Positive = 2_000_000  # of all books of orders of one feed; 104 bytes each, doubling as they come
    checkpoint_s: NotNegative = 300  # whole books are stored this often; divides an hour; 0: never
    restore_s: Seconds = 60.0  # how long a recovering engine waits for stored ticks; it then continues with stale books
    insecure: bool = False  # allow unencrypted sockets beyond loopback


class WriterConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[writers.NAME]`: the journal of some feeds and of the engines that follow them."""

    feeds: tuple[str, ...] = ()  # empty: all
    flush_s: Seconds = 1.0  # the most that a power cut can lose
    chunk_records: Positive = 1 << 16  # a chunk is written early when it holds this many
    rotate_mib: Positive = 256  # a journal file is closed at this size, and at every full hour
    compression_level: Annotated[int, msgspec.Meta(ge=1, le=19)] = 1


class GatewayConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[gateways.NAME]`: the plant over HTTP; see docs/gateway.md."""

    bind: str = "127.0.0.1"  # an address of this machine
    port: Port = 8088
    tokens: tuple[str, ...] = ()  # names of credentials, whose keys are scopes; required beyond loopback
    tls_certificate: str = ""  # PEM of the chain, relative to the configuration file
    tls_key: str = ""  # PEM of its key
    insecure: bool = False  # allow tokens on unencrypted connections beyond loopback
    hosts: tuple[str, ...] = ()  # host names by which clients reach it, besides its address
    cors_origins: tuple[str, ...] = ()  # origins whose pages may read it, such as https://desk.example
    # What clients may cost; docs/gateway.md, "Limits".
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000
    connections_per_address: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100
    requests_per_s: Annotated[float, msgspec.Meta(ge=0.1, le=1_000_000)] = 50.0  # per address; bursts of four times
    header_kib: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 32  # of one request, including the URL
    header_s: Annotated[float, msgspec.Meta(ge=0.1, le=600)] = 10.0  # how long a request may take to arrive
    body_kib: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 64  # of one request, or message of a WebSocket
    idle_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 30.0  # of a connection between requests
    stalled_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 30.0  # how long a client may take nothing
    queue_kib: Annotated[int, msgspec.Meta(ge=16, le=1 << 20)] = 1_024  # of unsent events per client
    topics_per_stream: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 2_000
    readers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2  # threads that read the store
    downloads: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8  # ranges read at the same time


class StoreConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[store]`: compaction of the journal into daily files."""

    compact_every_s: NotNegative = 900  # how often finished days are compacted into daily files; 0: never
    compact_level: Annotated[int, msgspec.Meta(ge=1, le=19)] = 15  # of zstd; 9 takes a third of the time
    open_days: bool = False  # also compact the past part of an unfinished day; the rest is joined later
    keep_journal_h: NotNegative = 24  # how long a journal file is kept once it is in daily files


KeptChannel = Channel | Literal["bbo", "bar", "checkpoint", "value", "state", "trade_bar"]


class RetentionConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[retention.NAME]`: which daily files are removed."""

    venue: str = ""  # empty: all
    symbols: tuple[str, ...] = ()  # empty: all
    channels: tuple[KeptChannel, ...] = ()  # empty: all records
    keep_days: NotNegative = 0  # remove what was received more days ago; 0: no limit of age
    keep_gib: Annotated[float, msgspec.Meta(ge=0)] = 0.0  # remove the oldest days beyond this size; 0: no limit
    exported: bool = False  # remove only what is marked as exported


class SimConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`[sims.NAME]`: a simulated venue that runs next to the plant."""

    venue: str = "binance"
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
    port: Port = 0  # 0: any free port
    seed: int = 1  # 0 to 2**64 - 1
    messages_per_s: Seconds = 200.0
    recording: str = ""  # play this recording instead of a synthetic market; relative to the configuration file
    speed: float | Literal["max"] = 1.0


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A complete, checked configuration."""

    file: str
    base: Path  # folder to which paths in the file are relative
    plant: PlantConfig
    feeds: dict[str, FeedConfig]
    engines: dict[str, EngineConfig]
    writers: dict[str, WriterConfig]
    gateways: dict[str, GatewayConfig]
    store: StoreConfig
    retention: dict[str, RetentionConfig]
    sims: dict[str, SimConfig]
    indicators: dict[str, str] = {}  # places of the user's own indicators, by name; see docs/derivations.md

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
        with file.open("rb") as opened:
            data = opened.read(FILE_BYTES + 1)
        text = data.decode("utf-8-sig")  # editors on Windows begin files with a BOM
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text: {error.reason} at byte {error.start}", file=str(file)) from None
    except (OSError, ValueError) as error:  # ValueError: a path that contains NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot be read: {reason}", file=str(file)) from None
    if len(data) > FILE_BYTES:
        raise ConfigError(f"is longer than {FILE_BYTES >> 20} MiB", file=str(file))
    return parse(text, file=str(file), base=file.resolve().parent)


def parse(text: str, *, file: str, base: Path) -> Config:
    """Check a configuration text. `file` names it in errors. Raises ConfigError."""
    from tickplant.runtime.config_checks import check  # noqa: PLC0415  # which needs the types of this module

    reader = Reader(file)
    raw = reader.parse(text)
    sections = ("plant", "feeds", "engines", "writers", "gateways", "store", "retention", "sims", "indicators")
    reader.known(raw, sections, "")
    config = Config(
        file=file,
        base=base,
        plant=reader.table(raw.get("plant", {}), PlantConfig, "plant"),
        feeds=reader.tables(raw, "feeds", FeedConfig),
        engines=reader.tables(raw, "engines", EngineConfig),
        writers=reader.tables(raw, "writers", WriterConfig),
        gateways=reader.tables(raw, "gateways", GatewayConfig),
        store=reader.table(raw.get("store", {}), StoreConfig, "store"),
        retention=reader.tables(raw, "retention", RetentionConfig),
        sims=reader.tables(raw, "sims", SimConfig),
        indicators=reader.texts(raw, "indicators"),
    )
    check(config)
    return config


def is_loopback(host: str) -> bool:
    """Whether an endpoint's host can be reached only from this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def gateway_address(gateway: GatewayConfig) -> str:
    """The URL of a gateway for a browser on this machine."""
    host = gateway.bind.strip("[]")
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            host = "localhost"
    scheme = "https" if gateway.tls_certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{gateway.port}"


def requests_address(engine: EngineConfig) -> str:
    """Address of the ROUTER socket: as configured, else derived from the PUB address."""
    return engine.requests or beside(engine.publish)


def beside(publish: str) -> str:
    """The ROUTER address that by convention belongs to a PUB address: the next port, or `.requests` for ipc."""
    head, _, port = publish.rpartition(":")
    numbered = publish.startswith("tcp://") and port.isascii() and port.isdigit()
    return f"{head}:{int(port) + 1}" if numbered else f"{publish}.requests"


def plant_id(data_dir: Path) -> str:
    """Eight hex digits that identify the plant of a data directory on this machine, in names of rings and sockets."""
    return blake2b(str(data_dir.resolve()).encode(), digest_size=4).hexdigest()


def run_dir(plant: str) -> Path:
    """Folder of a plant's sockets and doorbells; short, since socket paths are limited, see `socket_in`."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if not base.startswith("/"):  # its specification says to ignore a relative path
        base = tempfile.gettempdir()
    return Path(base) / f"tickplant-{os.getuid()}" / plant


def socket_in(run: Path | str, name: str) -> str:
    """Address of a socket in a run folder. Raises ConfigError if its path would be too long."""
    path = f"{run}/{name}"
    if (size := len(os.fsencode(path))) > SOCKET_PATH_BYTES:
        raise ConfigError(
            f"the path of a socket has at most {SOCKET_PATH_BYTES} bytes, and {path} has {size}: "
            "set XDG_RUNTIME_DIR to a folder of your own with a shorter name",
            key="XDG_RUNTIME_DIR",
        )
    return f"ipc://{path}"


def control_address(run: Path) -> str:
    """Address of the supervisor's control socket. Raises ConfigError if its path would be too long."""
    return socket_in(run, "control")


def ring_name(plant: str, producer: str, schema: str) -> str:
    """Name of a ring's shared-memory segment."""
    return f"tickplant-{plant}-{producer}-{schema}"
