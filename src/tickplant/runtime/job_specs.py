"""What each process of a plant is started with: its spec, JSON on stdin (`lineage.read_spec`)."""

from __future__ import annotations

from typing import Literal

import msgspec

from tickplant.runtime.config import (
    EngineConfig,
    FeedConfig,
    GatewayConfig,
    RetentionConfig,
    StoreConfig,
    WriterConfig,
)


class Plant(msgspec.Struct, frozen=True):
    """The places of a plant."""

    data_dir: str
    run_dir: str  # doorbells and the control socket
    control: str  # address of the control socket
    log_level: str = "info"
    heartbeat_s: float = 1.0


class RingRef(msgspec.Struct, frozen=True):
    """One ring: segment name, schema, producer."""

    name: str
    schema: int  # a records.Schema value
    producer: str


class Live(msgspec.Struct, frozen=True, tag="live"):
    """Source: the venue's sockets."""

    ws_url: str = ""  # empty: the venue's own
    rest_url: str = ""


class Recording(msgspec.Struct, frozen=True, tag="recording"):
    """Source: a file of `<receive time, ns> <frame>` lines, read without loss and as fast as possible."""

    path: str
    imported: bool = False  # an external file: the venue's importer reads it


class FeedSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.feeds`."""

    name: str
    plant: Plant
    config: FeedConfig
    ring: RingRef
    source: Live | Recording
    secrets: dict[str, str] = {}  # of its credential, if they came from the environment of `tickplant up`
    discover: bool = False  # record every symbol that occurs, not only the configured ones


class Past(msgspec.Struct, frozen=True):
    """Whose ticks a feed has stored."""

    venue: str
    symbols: tuple[str, ...] = ()  # empty: all symbols of the venue

    def covers(self, venue: str, symbol: str) -> bool:
        """Whether the feed may have stored ticks of this symbol."""
        return venue == self.venue and (not self.symbols or symbol.upper() in map(str.upper, ("*", *self.symbols)))


class SeriesRef(msgspec.Struct, frozen=True):
    """A series of values that an engine makes."""

    number: int  # in the series table of the store
    name: str
    symbols: tuple[str, ...] = ()  # patterns of VENUE.SYMBOL; empty: all
    members: tuple[str, ...] = ()  # of a feature set: the features it samples


class IndicatorRef(msgspec.Struct, frozen=True):
    """A user's own indicator, as it was when the plant was planned."""

    name: str
    place: str
    source: str = ""  # digest of its text, which was tested
    broken: str = ""  # why it is left out


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.engine`. Without `outputs` derived records are published but not stored."""

    name: str
    plant: Plant
    config: EngineConfig
    inputs: list[RingRef]
    outputs: list[RingRef] = []  # one per derived schema
    gating: bool = False  # the source can wait: lose nothing, and drop nothing for a slow subscriber either
    wait_for_subscriber: bool = False  # hold back the first record until someone has subscribed
    pasts: dict[str, Past] = {}  # by feed: stored ticks that the engine reads if it has missed some
    matching: tuple[str, ...] = ()  # feeds whose crossed books of orders are resolved
    series: tuple[SeriesRef, ...] = ()  # of `config.derive`
    indicators: tuple[IndicatorRef, ...] = ()  # users' own indicators that the series use
    history: str = ""  # address of the history service; empty: none

    def is_shared(self, venue: str, symbol: str) -> bool:
        """Whether several feeds of the engine record a symbol."""
        return sum(past.covers(venue, symbol) for past in self.pasts.values()) > 1


class WriterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.writer`."""

    name: str
    plant: Plant
    config: WriterConfig
    inputs: list[RingRef]
    until_drained: bool = False  # store what the rings hold, then exit: for the rings of a dead plant


class GatewaySpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.gateway`: the plant over HTTP."""

    name: str
    plant: Plant
    config: GatewayConfig
    engines: list[tuple[str, str]]  # addresses of their PUB and ROUTER sockets
    base: str  # folder that relative paths in the configuration start from
    secrets: dict[str, dict[str, str]] = {}  # by credential, if they came from the environment of `tickplant up`


class ReplaySpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.store.replay`: a feed whose venue is the store."""

    name: str
    plant: Plant
    ring: RingRef
    venue: str = ""  # empty: all
    symbols: list[str] = []  # empty: all
    start_ns: int | None = None
    end_ns: int | None = None
    clock: Literal["recv", "event"] = "recv"  # for the range, the order of several feeds, and the pace
    speed: float | Literal["max"] = 1.0
    paused: bool = False  # before the first record
    loop: bool = False  # begin again at the end
    skip_damage: bool = False  # leave out unreadable data, and name it in the counters


class HistorySpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.store.history_service`: reads the store for subscribers of engines."""

    name: str
    plant: Plant
    address: str  # where engines ask: see `control.Passage`
    idle_s: float = 30.0  # ends after this long without a request
    writer_s: float = 3.0  # how long to wait for the writer if a record is not stored yet; more than a usual `flush_s`


class CompactSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.store.compactor`: one compaction of the store."""

    name: str
    plant: Plant
    config: StoreConfig
    retention: dict[str, RetentionConfig] = {}


class SurveySpec(msgspec.Struct, frozen=True, kw_only=True):
    """`python -m tickplant.plant.survey`: where the journals behind these rings end."""

    name: str
    plant: Plant
    rings: list[RingRef]
