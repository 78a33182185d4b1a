"""From a configuration to the processes and rings of a plant: live, ingest and replay are plans for one supervisor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from tickplant.derive.derivation import Series, Settings
from tickplant.derive.registry import wanted
from tickplant.plant.child import ChildPlan
from tickplant.plant.followed_symbols import FollowedSymbols
from tickplant.plant.planned_series import StoredSeries, bars_of, numbered, wanted_series
from tickplant.plant.roles import ROLES
from tickplant.records.layouts import Schema
from tickplant.runtime import config as cfg
from tickplant.runtime import credentials
from tickplant.runtime.config import Config, Crossed, EngineConfig, FeedConfig, PlantConfig, WriterConfig
from tickplant.runtime.job_specs import (
    CompactSpec,
    EngineSpec,
    FeedSpec,
    GatewaySpec,
    HistorySpec,
    IndicatorRef,
    Live,
    Past,
    Plant,
    Recording,
    ReplaySpec,
    RingRef,
    SeriesRef,
    SurveySpec,
    WriterSpec,
)
from tickplant.sim.spec import SimSpec, parse_spec
from tickplant.venues import find_venue


class RingPlan(msgspec.Struct, frozen=True):
    """A ring to create. With `stored`, its first position continues the journal."""

    ref: RingRef
    capacity_records: int
    stored: bool = True


class Plan(msgspec.Struct, frozen=True):
    """Everything a supervisor needs to know. Children are listed in start order; stages start one after another."""

    plant: Plant
    plant_id: str
    settings: PlantConfig
    rings: list[RingPlan]
    children: list[ChildPlan]
    exclusive: bool = True  # it writes: one plant per data directory
    publish: list[str] = []  # where subscribers attach
    gateways: list[str] = []  # where browsers attach
    symbols: FollowedSymbols | None = None  # the symbols of its feeds, if they may change
    compactor: tuple[ChildPlan, float] | None = None  # compacts the store, and its interval in seconds
    history: ChildPlan | None = None  # reads the store for subscribers, when an engine asks for it


class Names(NamedTuple):
    """The names under which an ingest stores, and whether its engine may resume where the last one stopped."""

    feed: str
    engine: str
    restores: bool


class Addresses:
    """Ports of simulated venues, known once these run. Shared by the supervisor and the feeds' specs."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}


def _plant(data_dir: Path, plant_id: str, settings: PlantConfig) -> Plant:
    run = cfg.run_dir(plant_id)
    return Plant(
        data_dir=str(data_dir),
        run_dir=str(run),
        control=cfg.control_address(run),
        log_level=settings.log_level,
        heartbeat_s=settings.heartbeat_s,
    )


def _ring(plant_id: str, producer: str, schema: Schema) -> RingRef:
    name = schema.name.lower()
    return RingRef(name=cfg.ring_name(plant_id, producer, name), schema=int(schema), producer=producer)


def _engine_rings(plant_id: str, name: str, engine: EngineConfig, series: Iterable[str] = ()) -> list[RingRef]:
    """One ring per schema that the engine makes."""
    settings = Settings(bar_s=engine.bar_s, series=tuple(Series(0, one) for one in series))
    return [_ring(plant_id, name, schema) for schema in wanted(settings)]


def _engine(
    plant: Plant,
    name: str,
    engine: EngineConfig,
    inputs: list[RingRef],
    outputs: list[RingRef],
    *,
    waits: bool,
    pasts: Callable[[], dict[str, Past]] = dict,
    history: str = "",
    matching: tuple[str, ...] = (),
    series: Callable[[], tuple[SeriesRef, ...]] = tuple,
    indicators: tuple[IndicatorRef, ...] = (),
) -> ChildPlan:
    """`waits`: the source can wait, so nothing may be lost on the way to the engine and its subscribers.

    `pasts`: of the feeds whose stored ticks the engine reads if it has missed some. `history`: address of the service
    that reads older records from the store. `matching`: feeds whose crossed books of orders are resolved. `series`:
    series to make, and `indicators`: the users' own indicators among them.
    """

    def spec() -> EngineSpec:
        return EngineSpec(
            name=name,
            plant=plant,
            config=engine,
            inputs=inputs,
            outputs=outputs,
            gating=waits,
            wait_for_subscriber=waits and not outputs,
            pasts=pasts(),
            history=history,
            matching=matching,
            series=series(),
            indicators=indicators,
        )

    return ChildPlan(name=name, role="engine", module="tickplant.engine", spec=spec)


def _matching(feed: str, crossed: Crossed) -> tuple[str, ...]:
    return (feed,) if crossed == "match" else ()


def _writer(plant: Plant, name: str, writer: WriterConfig, inputs: list[RingRef]) -> ChildPlan:
    spec = WriterSpec(name=name, plant=plant, config=writer, inputs=inputs)
    return ChildPlan(name=name, role="writer", module="tickplant.writer", spec=lambda: spec)


def live(config: Config, addresses: Addresses) -> Plan:
    """The plant of a configuration file.

    Raises ConfigError if the changes of its symbols cannot be read, or its series cannot be made.
    """
    followed = FollowedSymbols(config)
    series = wanted_series(config)
    plant_id = cfg.plant_id(config.data_dir)
    plant = _plant(config.data_dir, plant_id, config.plant)
    ticks = {name: _ring(plant_id, name, Schema.TICK) for name in config.feeds}
    rings = [RingPlan(ticks[name], feed.ring_records) for name, feed in config.feeds.items()]
    derived = {name: _engine_rings(plant_id, name, one, series.by_engine[name]) for name, one in config.engines.items()}
    rings += [RingPlan(ref, config.engines[name].ring_records) for name, refs in derived.items() for ref in refs]

    sims = [
        _sim(config, plant, name, addresses)
        for name in config.sims
        if any(f.sim == name for f in config.feeds.values())
    ]
    history = HistorySpec(name=cfg.HISTORY, plant=plant, address=cfg.socket_in(plant.run_dir, cfg.HISTORY))
    engines = []
    for name, engine in config.engines.items():
        taken = engine.feeds or tuple(config.feeds)
        inputs = [ticks[feed] for feed in taken]
        matching = tuple(feed for feed in taken if config.feeds[feed].crossed == "match")
        engines.append(
            _engine(
                plant,
                name,
                engine,
                inputs,
                derived[name],
                waits=False,
                pasts=partial(_pasts, followed, taken),
                history=history.address,
                matching=matching,
                # Resolved at the engine's start, when this plant is the only writer of the store.
                series=partial(numbered, config.data_dir, series.by_engine[name], add=True, planned=series),
                indicators=series.own_of(engine),
            )
        )
    writers = []
    for name, writer in config.writers.items():
        taken = writer.feeds or tuple(config.feeds)
        inputs = [ticks[feed] for feed in taken]
        # The writer of an engine's first feed stores its output, so that each ring has exactly one writer.
        for engine_name, engine in config.engines.items():
            if (engine.feeds or tuple(config.feeds))[0] in taken:
                inputs += derived[engine_name]
        writers.append(_writer(plant, name, writer, inputs))
    spec = CompactSpec(name=cfg.COMPACTOR, plant=plant, config=config.store, retention=config.retention)
    compactor = ChildPlan(name=spec.name, role="compactor", module="tickplant.store.compactor", spec=lambda: spec)
    feeds = [_feed(plant, name, followed, feed, ticks[name], addresses) for name, feed in config.feeds.items()]
    return Plan(
        plant=plant,
        plant_id=plant_id,
        settings=config.plant,
        rings=rings,
        children=[*sims, *writers, *engines, *feeds, *(_gateway(config, plant, name) for name in config.gateways)],
        publish=[engine.publish for engine in config.engines.values()],
        gateways=[cfg.gateway_address(gateway) for gateway in config.gateways.values()],
        history=ChildPlan(
            name=history.name, role="history", module="tickplant.store.history_service", spec=lambda: history
        ),
        compactor=(compactor, config.store.compact_every_s) if config.store.compact_every_s else None,
        symbols=followed,
    )


def _pasts(followed: FollowedSymbols, feeds: Sequence[str]) -> dict[str, Past]:
    """The pasts of these feeds, as far as their instruments identify them."""
    # A derived record names its tick by seq alone: if two feeds carry an instrument, the seq is ambiguous.
    if not followed.are_alone(feeds):
        return {}
    return {feed: Past(followed.config_of(feed).venue, followed.ever(feed)) for feed in feeds}


def _gateway(config: Config, plant: Plant, name: str) -> ChildPlan:
    gateway = config.gateways[name]
    held = {token: credentials.from_environment(token) for token in gateway.tokens}
    spec = GatewaySpec(
        name=name,
        plant=plant,
        config=gateway,
        engines=[(engine.publish, cfg.requests_address(engine)) for engine in config.engines.values()],
        base=str(config.base),
        secrets={token: values for token, values in held.items() if values},
    )
    return ChildPlan(name=name, role="gateway", module="tickplant.gateway", spec=lambda: spec)


def _sim(config: Config, plant: Plant, name: str, addresses: Addresses) -> ChildPlan:
    sim = config.sims[name]

    def spec() -> SimSpec:
        wanted = {
            "venue": sim.venue,
            "port": addresses.ports.get(name, sim.port),  # a restarted venue returns at the same address
            "symbols": sim.symbols,
            "seed": sim.seed,
            "messages_per_s": sim.messages_per_s,
            "recording": str(config.base / sim.recording) if sim.recording else None,
            "speed": sim.speed,
            "log_level": plant.log_level,
        }
        return parse_spec(msgspec.json.encode(wanted))

    return ChildPlan(name=name, role="sim", module="tickplant.sim", spec=spec)


def _feed(
    plant: Plant, name: str, followed: FollowedSymbols, feed: FeedConfig, ring: RingRef, addresses: Addresses
) -> ChildPlan:
    def spec() -> FeedSpec:
        source = Live(ws_url=feed.ws_url, rest_url=feed.rest_url)
        if feed.sim:
            host = f"127.0.0.1:{addresses.ports[feed.sim]}"
            scheme = "tcp" if find_venue(feed.venue).transport == "tcp" else "ws"
            source = Live(ws_url=f"{scheme}://{host}", rest_url=f"http://{host}")
        secrets = credentials.from_environment(feed.credentials) if feed.credentials else {}
        return FeedSpec(
            name=name, plant=plant, config=followed.config_of(name), ring=ring, source=source, secrets=secrets
        )

    warms = (find_venue(feed.venue).kernels,)
    return ChildPlan(name=name, role="feed", module="tickplant.plant.continuation", spec=spec, warms=warms)


def ingest(
    file: Path,
    venue: str,
    data_dir: Path,
    names: Names,
    *,
    settings: PlantConfig,
    crossed: Crossed = "flag",
    imported: bool = False,
) -> Plan:
    """A recording through feed, ring, engine and writer into a store, without loss, continuing its content.

    `imported`: the file is an external one, for the venue's importer.
    """
    plant_id = cfg.plant_id(data_dir)
    plant = _plant(data_dir, plant_id, settings)
    feed = FeedConfig(venue=venue, symbols=(), crossed=crossed)
    matching = _matching(names.feed, crossed)
    publish, requests = (cfg.socket_in(plant.run_dir, one) for one in ("publish", "requests"))
    engine = EngineConfig(publish=publish, requests=requests)
    ring, derived = _ring(plant_id, names.feed, Schema.TICK), _engine_rings(plant_id, names.engine, engine)
    source = Recording(str(file.resolve()), imported=imported)
    spec = FeedSpec(name=names.feed, plant=plant, config=feed, ring=ring, source=source, discover=True)
    return Plan(
        plant=plant,
        plant_id=plant_id,
        settings=settings,
        rings=[RingPlan(ring, feed.ring_records), *(RingPlan(ref, engine.ring_records) for ref in derived)],
        children=[
            _writer(plant, "writer", WriterConfig(), [ring, *derived]),
            _engine(
                plant,
                names.engine,
                engine,
                [ring],
                derived,
                waits=True,
                pasts=lambda: {names.feed: Past(venue)} if names.restores else {},
                matching=matching,
            ),
            ChildPlan(
                name=names.feed,
                role="feed",
                module="tickplant.plant.ingest",
                spec=lambda: spec,
                finite=True,
                warms=(find_venue(venue).kernels,),
            ),
        ],
    )


def replay(
    spec: ReplaySpec, engine: EngineConfig, stored: StoredSeries, *, plant_id: str, crossed: Crossed = "flag"
) -> Plan:
    """Stored records through a ring and an engine to subscribers; stores nothing. `spec` lacks plant and ring.

    The stored series are made, and the bars that they need.
    """
    settings = PlantConfig()
    plant = _plant(Path(spec.plant.data_dir), plant_id, settings)
    ring = _ring(plant_id, spec.name, Schema.TICK)
    whole = msgspec.structs.replace(spec, plant=plant, ring=ring)
    return Plan(
        plant=plant,
        plant_id=plant_id,
        settings=settings,
        rings=[RingPlan(ring, 1 << 18, stored=False)],
        children=[
            _engine(
                plant,
                "engine",
                msgspec.structs.replace(engine, bar_s=tuple(sorted({*engine.bar_s, *bars_of(stored.series)}))),
                [ring],
                [],
                waits=True,
                matching=_matching(spec.name, crossed),
                series=lambda: stored.series,
                indicators=stored.indicators,
            ),
            ChildPlan(name=spec.name, role="replay", module="tickplant.store.replay", spec=lambda: whole, finite=True),
        ],
        exclusive=False,
        publish=[engine.publish],
    )


def storing_rest(plan: ChildPlan) -> ChildPlan:
    """The same writer, to store what its rings hold now and then end."""

    def spec() -> msgspec.Struct:
        return msgspec.structs.replace(plan.spec(), until_drained=True)

    return msgspec.structs.replace(plan, spec=spec)


def drain(leftover: list[RingRef], plant: Plant) -> ChildPlan:
    """A writer that stores what the rings of a dead plant still hold, and then ends."""
    spec = WriterSpec(name="drain", plant=plant, config=WriterConfig(), inputs=leftover, until_drained=True)
    return ChildPlan(name="drain", role="writer", module="tickplant.writer", spec=lambda: spec, finite=True)


def survey(rings: list[RingRef], plant: Plant) -> ChildPlan:
    """The process that reads where the journals end, so that rings can continue them."""
    spec = SurveySpec(name="survey", plant=plant, rings=rings)
    return ChildPlan(name=spec.name, role="survey", module="tickplant.plant.survey", spec=lambda: spec, finite=True)


def modules(plan: Plan) -> list[str]:
    """The modules of a plan's processes, in the order of need; of the venues, those that have a feed.

    A gateway imports a web server, which no other process needs, so it does that itself.
    """
    children = sorted(
        (child for child in plan.children if child.role != "gateway"), key=lambda child: ROLES[child.role].stage or 0
    )
    warms: dict[str, list[str]] = {"tickplant.plant.survey": []}  # by module: what its processes need in addition
    for child in (*children, *filter(None, [plan.history]), *(plan.compactor or ())[:1]):
        warms.setdefault(child.module, []).extend(child.warms)
    return list(dict.fromkeys(name for module, others in warms.items() for name in (*others, module)))
