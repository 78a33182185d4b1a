"""Checks of a configuration that types cannot express: bounds, and which keys go together.

`check` needs only the text; `machine_checks` also checks this machine. `tickplant up` starts what both accept. Each
rule raises a ConfigError that names the key at fault.
"""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import urlsplit

from tickplant.runtime.config import COMPACTOR, HISTORY, Config, is_loopback
from tickplant.runtime.endpoints import Wrong, address_of, check_endpoint, check_ports, find_endpoint
from tickplant.venues import VENUES, Venue

LIMITS: Final[dict[str, tuple[float, float]]] = {
    "plant.heartbeat_s": (0.02, 60),
    "plant.hang_s": (0.5, 86_400),
    "plant.drain_s": (0.5, 86_400),
    "plant.restart_backoff_s": (0.01, 3600),
    "plant.restart_cap_s": (0.01, 86_400),
    "plant.restart_intensity": (1, 1000),
    "plant.restart_window_s": (0.1, 86_400),
    "plant.fatal_retry_s": (0.1, 86_400),
    "feeds.ring_records": (1024, 1 << 28),
    "feeds.full_wait_ms": (1, 60_000),
    "feeds.rejects_kept": (1, 1_000_000),
    "feeds.stall_s": (0.5, 86_400),
    "feeds.silent_s": (0.5, 86_400),
    "feeds.handover_s": (1, 30 * 86_400),
    "feeds.reconnect_cap_s": (0.1, 86_400),
    "engines.ring_records": (1024, 1 << 28),
    "engines.recovery_mib": (1, 1 << 16),
    "engines.max_levels": (10, 1 << 20),
    "engines.max_orders": (1000, 1 << 28),
    "engines.restore_s": (0.5, 86_400),
    "writers.flush_s": (0.02, 3600),
    "writers.chunk_records": (1, 1 << 20),
    "writers.rotate_mib": (1, 1 << 16),
    "gateways.port": (1, 65_535),
    "store.compact_every_s": (0, 86_400),
    "store.keep_journal_h": (0, 24 * 366),
    "retention.keep_days": (0, 100 * 366),
    "retention.keep_gib": (0, 1 << 30),
    "sims.seed": (0, (1 << 64) - 1),
    "sims.messages_per_s": (0.001, 1_000_000_000),
    "sims.speed": (0.001, 1_000_000),
}
"""Bounds of keys: beyond them a process would not start, not keep up, or not end."""

BARS: Final = 32
BAR_S: Final = 86_400
NAME_BYTES: Final = 255
PATH_BYTES: Final = 3800  # with what the journal appends, paths stay within the limit of 4,096

DERIVED: Final = ("bbo", "bar", "checkpoint", "value", "state", "trade_bar")
"""Channels that have files of their own."""

_UMASK: Final = re.compile(r"0?[0-7]{1,3}\Z")
_INTERNAL: Final = ("drain", "supervisor", "command", COMPACTOR, HISTORY)


def check(config: Config) -> None:
    """Check bounds and that the keys go together. Raises ConfigError."""
    wrong = Wrong(config)
    _check_limits(config, wrong)
    _check_names(config, wrong)
    _check_plant(config, wrong)
    for name in config.feeds:
        _check_feed(config, name, wrong)
    for name in config.engines:
        _check_engine(config, name, wrong)
    for name in config.gateways:
        _check_gateway(config, name, wrong)
    _check_shares(config, wrong)
    for name in config.retention:
        _check_retention(config, name, wrong)
    for name, sim in config.sims.items():
        _check_symbols(f"sims.{name}", sim.symbols, _venue(f"sims.{name}", sim.venue, wrong), wrong)
        if not all(symbol.isascii() and symbol.replace("/", "").isalnum() for symbol in sim.symbols):
            raise wrong(f"sims.{name}.symbols", "a simulated venue has symbols of letters and digits, such as BTCUSDT")
        if sim.recording and not (config.base / sim.recording).exists():
            raise wrong(f"sims.{name}.recording", f"no such file: {config.base / sim.recording}")
    check_ports(config, wrong)


def _check_limits(config: Config, wrong: Wrong) -> None:
    tables = [("plant", "plant", config.plant), ("store", "store", config.store)]
    for section in ("feeds", "engines", "writers", "gateways", "retention", "sims"):
        tables += [(section, f"{section}.{name}", table) for name, table in getattr(config, section).items()]
    for section, prefix, table in tables:
        for key, (least, most) in LIMITS.items():
            head, _, name = key.partition(".")
            value = getattr(table, name) if head == section else None
            if value is None or isinstance(value, str):
                continue
            if value <= 0 < least:
                raise wrong(f"{prefix}.{name}", f"must be greater than 0, and is {value}")
            if not least <= value <= most:
                bound = f"at least {least:,}" if value < least else f"at most {most:,}"
                raise wrong(f"{prefix}.{name}", f"must be {bound}, and is {value:,}")


def _check_names(config: Config, wrong: Wrong) -> None:
    sections = ("feeds", "engines", "writers", "gateways", "sims")
    names = [name for section in sections for name in getattr(config, section)]
    for name in names:
        if names.count(name) > 1:
            where = f"{', '.join(sections[:-1])} and {sections[-1]}"
            raise wrong(name, f"two processes have this name; names are unique across {where}")
    for section in sections:
        for name in getattr(config, section):
            if name in _INTERNAL:
                raise wrong(f"{section}.{name}", "the plant gives this name to a process of its own: choose another")


def _check_plant(config: Config, wrong: Wrong) -> None:
    plant = config.plant
    if not _UMASK.match(plant.umask) or int(plant.umask, 8) & 0o700:
        message = f"{plant.umask!r} is not octal digits that leave the owner all rights, such as 027 or 077"
        raise wrong("plant.umask", message)
    if plant.hang_s < 2 * plant.heartbeat_s:
        message = f"must be at least twice heartbeat_s ({plant.heartbeat_s:g}): else every process counts as hung"
        raise wrong("plant.hang_s", message)
    if plant.restart_cap_s < plant.restart_backoff_s:
        raise wrong("plant.restart_cap_s", f"must not be below restart_backoff_s ({plant.restart_backoff_s:g})")
    parts = plant.data.encode(errors="surrogateescape").split(b"/")
    if not plant.data or not plant.data.isprintable():
        raise wrong("plant.data", f"{plant.data!r} is not a folder: it is empty or has control characters in it")
    if max(map(len, parts)) > NAME_BYTES or len(os.fsencode(str(config.base / plant.data))) > PATH_BYTES:
        raise wrong("plant.data", f"is longer than a path may be: {NAME_BYTES} bytes a name, {PATH_BYTES} in all")


def _venue(key: str, name: str, wrong: Wrong) -> Venue:
    if name not in VENUES:
        raise wrong(f"{key}.venue", f"{name!r} is not one of {', '.join(VENUES)}")
    return VENUES[name]


def _check_symbols(key: str, symbols: tuple[str, ...], venue: Venue, wrong: Wrong) -> None:
    if not symbols:
        raise wrong(f"{key}.symbols", 'is empty: list at least one, such as ["BTCUSDT"]')
    for symbol in symbols:
        if reason := venue.why_not(symbol):
            raise wrong(f"{key}.symbols", reason)
    if len(set(symbols)) < len(symbols):
        twice = next(symbol for symbol in symbols if symbols.count(symbol) > 1)
        raise wrong(key, f"{twice} is listed twice in symbols")


def _check_feed(config: Config, name: str, wrong: Wrong) -> None:
    feed, key = config.feeds[name], f"feeds.{name}"
    venue = _venue(key, feed.venue, wrong)
    _check_symbols(key, feed.symbols, venue, wrong)
    if not feed.channels:
        raise wrong(f"{key}.channels", "is empty")
    if len(set(feed.channels)) < len(feed.channels):
        raise wrong(key, f"a channel is listed twice in {feed.channels}")
    if unknown := [channel for channel in feed.channels if channel not in venue.channels]:
        raise wrong(f"{key}.channels", f"{venue.name} has no {unknown[0]}: it has {', '.join(venue.channels)}")
    if feed.crossed == "match" and "orders" not in feed.channels:
        raise wrong(f"{key}.crossed", "applies to order books, but the feed has no orders channel")
    if feed.book_depth and feed.book_depth not in venue.depths:
        offered = f"one of {', '.join(map(str, venue.depths))}" if venue.depths else "a whole book only"
        raise wrong(f"{key}.book_depth", f"{venue.name} offers {offered}")
    if feed.book_depth and not {*venue.depths_of} & {*feed.channels}:
        offering = " or ".join(channel for channel in venue.depths_of if channel in venue.channels)
        raise wrong(f"{key}.book_depth", f"is about {offering} at {venue.name}: the feed does not take that")
    for group in venue.exclusive:
        if len(same := [channel for channel in group if channel in feed.channels]) > 1:
            raise wrong(f"{key}.channels", f"{' and '.join(same)} carry the same data: choose one")
    if feed.connections > 1 and (reason := venue.why_single(feed.channels)):
        raise wrong(f"{key}.connections", f"must be 1: {reason}")
    if feed.sim and (feed.ws_url or feed.rest_url):
        raise wrong(f"{key}.sim", "cannot be combined with ws_url or rest_url")
    if feed.sim:
        sim = config.sims.get(feed.sim)
        if sim is None:
            raise wrong(f"{key}.sim", f"no table [sims.{feed.sim}]")
        if sim.venue != feed.venue:
            raise wrong(f"{key}.sim", f"simulates {sim.venue}, but the feed records {feed.venue}")
        missing = [] if sim.recording else [symbol for symbol in feed.symbols if symbol not in sim.symbols]
        if missing:
            raise wrong(
                f"{key}.symbols", f"[sims.{feed.sim}] does not have {missing[0]}: it has {', '.join(sim.symbols)}"
            )
    sockets = ("tcp", "tcp") if venue.transport == "tcp" else ("ws", "wss")
    for option, schemes in (("ws_url", sockets), ("rest_url", ("http", "https"))):
        if url := getattr(feed, option):
            _check_url(f"{key}.{option}", url, schemes, wrong)
    _power_of_two(f"{key}.ring_records", feed.ring_records, wrong)


def _check_url(key: str, url: str, schemes: tuple[str, str], wrong: Wrong) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and parts.hostname and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:  # an invalid port or IPv6 address
        good = None
    if not good:
        raise wrong(key, f"{url!r} is not an address that begins with {schemes[1]}://")


def _check_engine(config: Config, name: str, wrong: Wrong) -> None:
    engine, key = config.engines[name], f"engines.{name}"
    _power_of_two(f"{key}.ring_records", engine.ring_records, wrong)
    if len(engine.bar_s) > BARS:
        raise wrong(f"{key}.bar_s", f"lists {len(engine.bar_s)} lengths of bars; at most {BARS} are kept")
    if len(set(engine.bar_s)) < len(engine.bar_s):
        raise wrong(f"{key}.bar_s", f"a length of bars is listed twice in {list(engine.bar_s)}")
    for interval_s in engine.bar_s:
        if interval_s > BAR_S:
            raise wrong(f"{key}.bar_s", f"bars of {interval_s:,} s are longer than a day ({BAR_S:,})")
    if engine.checkpoint_s and (engine.checkpoint_s > 3600 or 3600 % engine.checkpoint_s):
        # Journal files begin at full hours, so each begins with checkpoints.
        raise wrong(f"{key}.checkpoint_s", "must divide an hour (60, 300, 900), or be 0: no checkpoints")
    for option in ("publish", "requests"):
        check_endpoint(f"{key}.{option}", address_of(engine, option), wrong, insecure=engine.insecure)


def _check_gateway(config: Config, name: str, wrong: Wrong) -> None:
    gateway, key = config.gateways[name], f"gateways.{name}"
    if find_endpoint(f"{key}.bind", f"tcp://{gateway.bind}:{gateway.port}") is None or gateway.bind == "*":
        raise wrong(f"{key}.bind", f"{gateway.bind!r} is not an address such as 127.0.0.1, 0.0.0.0 or [::]")
    if bool(gateway.tls_certificate) != bool(gateway.tls_key):
        raise wrong(f"{key}.tls_certificate", "tls_certificate and tls_key must be set together")
    if not is_loopback(gateway.bind):
        if not gateway.tokens:
            message = f"{gateway.bind} can be reached from other machines: name a credential with tokens"
            raise wrong(f"{key}.tokens", f"{message}, or bind 127.0.0.1")
        if not (gateway.tls_certificate or gateway.insecure):
            message = "bind 127.0.0.1, set tls_certificate and tls_key, or, on a trusted network, insecure = true"
            raise wrong(f"{key}.bind", f"the tokens of {gateway.bind} would travel unencrypted: {message}")
    for origin in gateway.cors_origins:
        _check_url(f"{key}.cors_origins", origin, ("http", "https"), wrong)
        if urlsplit(origin).path or origin.endswith("/"):
            raise wrong(f"{key}.cors_origins", f"{origin!r} has a path: an origin is scheme, host and port alone")
    for option in ("tls_certificate", "tls_key"):
        file = getattr(gateway, option)
        if file and not (config.base / file).is_file():
            raise wrong(f"{key}.{option}", f"no such file: {config.base / file}")


def _check_shares(config: Config, wrong: Wrong) -> None:
    """Check that each feed has at most one engine and one writer."""
    if not config.feeds:
        raise wrong("feeds", "no feed is configured: add a table such as [feeds.binance]")
    for section, tables in (("engines", config.engines), ("writers", config.writers)):
        taken: dict[str, str] = {}
        for name, part in tables.items():
            for feed_name in part.feeds or config.feeds:
                if feed_name not in config.feeds:
                    raise wrong(f"{section}.{name}.feeds", f"no table [feeds.{feed_name}]")
                if feed_name in taken:
                    raise wrong(f"{section}.{name}.feeds", f"{feed_name} is already taken by {taken[feed_name]}")
                taken[feed_name] = name


def _check_retention(config: Config, name: str, wrong: Wrong) -> None:
    rule, key = config.retention[name], f"retention.{name}"
    if rule.venue:
        _venue(key, rule.venue, wrong)
    if rule.symbols and not rule.venue:
        raise wrong(f"{key}.symbols", "needs venue: symbols belong to a venue")
    if not rule.keep_days and not rule.keep_gib:
        raise wrong(key, "has no limit: set keep_days or keep_gib")
    if rule.keep_gib and (ticks := [one for one in rule.channels if one not in DERIVED]):
        message = f"does not go with channel {ticks[0]}, which shares the files of its symbol: use keep_days"
        raise wrong(f"{key}.keep_gib", message)


def _power_of_two(key: str, value: int, wrong: Wrong) -> None:
    if value & (value - 1):
        raise wrong(key, f"must be a power of two, at least 1024; the next is {1 << (value - 1).bit_length()}")
