"""What no type can tell of a configuration: bounds, what goes together, and whether this machine can run it.

`check` needs the text alone; `check_machine` looks at this machine as well. What both accept, `tickplant up` starts.
Each rule raises a ConfigError that names the key at fault.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from tickplant.errors import ConfigError
from tickplant.runtime.config import DEFAULT_PUBLISH, Config, EngineConfig, is_loopback, requests_address
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
    "engines.high_water_messages": (1, 10_000_000),
    "engines.max_levels": (10, 1 << 20),
    "engines.restore_s": (0.5, 86_400),
    "writers.flush_s": (0.02, 3600),
    "writers.chunk_records": (1, 1 << 20),
    "writers.rotate_mib": (1, 1 << 16),
    "sims.seed": (0, (1 << 64) - 1),
    "sims.messages_per_s": (0.001, 1_000_000_000),
    "sims.speed": (0.001, 1_000_000),
}
"""Least and most of a key: beyond it a process would not start, not keep up or not end."""

BARS: Final = 32
BAR_S: Final = 86_400
TICK_BYTES: Final = 64
DERIVED_BYTES: Final = 72 + 104 + 88  # one record each of best bid and offer, bars and checkpoints
MARGIN_BYTES: Final = 1 << 20  # of shared memory, for headers and the rings of restore processes
SHM_DIR: Final = "/dev/shm"  # noqa: S108  # the place of POSIX shared memory
SOCKET_PATH_BYTES: Final = 107
NAME_BYTES: Final = 255
PATH_BYTES: Final = 3800  # what the journal adds below stays within the 4,096 of a path

_UMASK: Final = re.compile(r"0?[0-7]{1,3}\Z")
_INTERNAL: Final = ("drain", "supervisor", "command")


class Endpoint(NamedTuple):
    """A TCP address that a process of the plant listens on."""

    key: str
    host: str
    port: int


def check(config: Config) -> None:
    """Whether the keys go together. Raises ConfigError."""
    wrong = _Wrong(config)
    _check_limits(config, wrong)
    _check_names(config, wrong)
    _check_plant(config, wrong)
    for name in config.feeds:
        _check_feed(config, name, wrong)
    for name in config.engines:
        _check_engine(config, name, wrong)
    _check_shares(config, wrong)
    for name, sim in config.sims.items():
        _check_symbols(f"sims.{name}", sim.symbols, _venue(f"sims.{name}", sim.venue, wrong), wrong)
        if not all(symbol.isascii() and symbol.replace("/", "").isalnum() for symbol in sim.symbols):
            raise wrong(f"sims.{name}.symbols", "a simulated venue has symbols of letters and digits, such as BTCUSDT")
        if sim.recording and not (config.base / sim.recording).is_file():
            raise wrong(f"sims.{name}.recording", f"there is no file {config.base / sim.recording}")
    _check_ports(config, wrong)


def check_machine(config: Config) -> None:
    """Whether this machine can run it: where data goes, what is listened on, how much memory. Raises ConfigError."""
    wrong = _Wrong(config)
    stored = {feed for writer in config.writers.values() for feed in writer.feeds or config.feeds}
    if not config.writers:
        raise wrong("writers", "no writer is configured, so nothing would be stored: add a table [writers.writer]")
    if not config.engines:
        raise wrong("engines", "no engine is configured, so nothing would be published: add a table [engines.engine]")
    if left := [feed for feed in config.feeds if feed not in stored]:
        raise wrong(f"feeds.{left[0]}", "no writer stores this feed: name it in the feeds of one")
    _check_data(config, wrong)
    _check_memory(config, wrong)
    for endpoint in _endpoints(config):
        _check_host(endpoint, wrong)
    for name, engine in config.engines.items():
        for option in ("publish", "requests"):
            folder = Path(_address(engine, option).removeprefix("ipc://")).parent
            if _address(engine, option).startswith("ipc:///") and not (folder.is_dir() and os.access(folder, os.W_OK)):
                raise wrong(f"engines.{name}.{option}", f"{folder} is not a folder that this user can write to")


class _Wrong:
    def __init__(self, config: Config) -> None:
        self._file = config.file

    def __call__(self, key: str, message: str) -> ConfigError:
        return ConfigError(message, file=self._file, key=key)


def _check_limits(config: Config, wrong: _Wrong) -> None:
    tables = [("plant", "plant", config.plant)]
    for section in ("feeds", "engines", "writers", "sims"):
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


def _check_names(config: Config, wrong: _Wrong) -> None:
    names = [*config.feeds, *config.engines, *config.writers, *config.sims]
    for name in names:
        if names.count(name) > 1:
            raise wrong(name, "two processes have this name; names are unique across feeds, engines, writers and sims")
    helpers = {f"{engine}-recall" for engine in config.engines}
    helpers |= {f"{engine}-{feed}-restore" for engine in config.engines for feed in config.feeds}
    for section in ("feeds", "engines", "writers", "sims"):
        for name in getattr(config, section):
            if name in _INTERNAL or name in helpers:
                raise wrong(f"{section}.{name}", "the plant gives this name to a process of its own: choose another")


def _check_plant(config: Config, wrong: _Wrong) -> None:
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


def _venue(key: str, name: str, wrong: _Wrong) -> Venue:
    if name not in VENUES:
        raise wrong(f"{key}.venue", f"{name!r} is not one of {', '.join(VENUES)}")
    return VENUES[name]


def _check_symbols(key: str, symbols: tuple[str, ...], venue: Venue, wrong: _Wrong) -> None:
    if not symbols:
        raise wrong(f"{key}.symbols", 'is empty: list at least one, such as ["BTCUSDT"]')
    for symbol in symbols:
        if reason := venue.why_not(symbol):
            raise wrong(f"{key}.symbols", reason)
    if len(set(symbols)) < len(symbols):
        twice = next(symbol for symbol in symbols if symbols.count(symbol) > 1)
        raise wrong(key, f"{twice} is listed twice in symbols")


def _check_feed(config: Config, name: str, wrong: _Wrong) -> None:
    feed, key = config.feeds[name], f"feeds.{name}"
    venue = _venue(key, feed.venue, wrong)
    _check_symbols(key, feed.symbols, venue, wrong)
    if not feed.channels:
        raise wrong(f"{key}.channels", "is empty")
    if len(set(feed.channels)) < len(feed.channels):
        raise wrong(key, f"something is listed twice in {feed.channels}")
    if unknown := [channel for channel in feed.channels if channel not in venue.channels]:
        raise wrong(f"{key}.channels", f"{venue.name} has no {unknown[0]}: it has {', '.join(venue.channels)}")
    if feed.book_depth and feed.book_depth not in venue.depths:
        offered = f"one of {', '.join(map(str, venue.depths))}" if venue.depths else "a whole book only"
        raise wrong(f"{key}.book_depth", f"{venue.name} offers {offered}")
    for group in venue.exclusive:
        if len(same := [channel for channel in group if channel in feed.channels]) > 1:
            raise wrong(f"{key}.channels", f"{' and '.join(same)} carry the same trades: choose one")
    if feed.sim and (feed.ws_url or feed.rest_url):
        raise wrong(f"{key}.sim", "does not go with ws_url or rest_url")
    if feed.sim:
        sim = config.sims.get(feed.sim)
        if sim is None:
            raise wrong(f"{key}.sim", f"there is no [sims.{feed.sim}]")
        if sim.venue != feed.venue:
            raise wrong(f"{key}.sim", f"simulates {sim.venue}, the feed wants {feed.venue}")
        missing = [] if sim.recording else [symbol for symbol in feed.symbols if symbol not in sim.symbols]
        if missing:
            raise wrong(
                f"{key}.symbols", f"[sims.{feed.sim}] does not have {missing[0]}: it has {', '.join(sim.symbols)}"
            )
    for option, schemes in (("ws_url", ("ws", "wss")), ("rest_url", ("http", "https"))):
        if url := getattr(feed, option):
            _check_url(f"{key}.{option}", url, schemes, wrong)
    _power_of_two(f"{key}.ring_records", feed.ring_records, wrong)


def _check_url(key: str, url: str, schemes: tuple[str, str], wrong: _Wrong) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and parts.hostname and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:  # a port or an IPv6 address that is none
        good = None
    if not good:
        raise wrong(key, f"{url!r} is not an address that begins with {schemes[1]}://")


def _check_engine(config: Config, name: str, wrong: _Wrong) -> None:
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
        # Journal files begin at full hours: so each begins with checkpoints.
        raise wrong(f"{key}.checkpoint_s", "must divide an hour (60, 300, 900), or be 0: no checkpoints")
    for option in ("publish", "requests"):
        _check_endpoint(f"{key}.{option}", _address(engine, option), wrong, insecure=engine.insecure)


def _address(engine: EngineConfig, option: str) -> str:
    return engine.publish if option == "publish" else requests_address(engine)


def _check_shares(config: Config, wrong: _Wrong) -> None:
    """Each feed has one engine and one writer at most."""
    if not config.feeds:
        raise wrong("feeds", "no feed is configured: add a table such as [feeds.binance]")
    for section, tables in (("engines", config.engines), ("writers", config.writers)):
        taken: dict[str, str] = {}
        for name, part in tables.items():
            for feed_name in part.feeds or config.feeds:
                if feed_name not in config.feeds:
                    raise wrong(f"{section}.{name}.feeds", f"there is no [feeds.{feed_name}]")
                if feed_name in taken:
                    raise wrong(f"{section}.{name}.feeds", f"{feed_name} is already taken by {taken[feed_name]}")
                taken[feed_name] = name


def _power_of_two(key: str, value: int, wrong: _Wrong) -> None:
    if value & (value - 1):
        raise wrong(key, f"must be a power of two, at least 1024; the next is {1 << (value - 1).bit_length()}")


# ---------------------------------------------------------------------------------------------------------------
# Addresses.


def _check_endpoint(key: str, address: str, wrong: _Wrong, *, insecure: bool) -> None:
    scheme, _, rest = address.partition("://")
    if scheme == "ipc" and rest:
        if len(os.fsencode(rest)) > SOCKET_PATH_BYTES or not rest.isprintable():
            raise wrong(key, f"{address!r}: the path of a socket has at most {SOCKET_PATH_BYTES} bytes")
        return
    endpoint = _endpoint(key, address)
    if endpoint is None:
        raise wrong(key, f"{address!r} is not an address such as {DEFAULT_PUBLISH}")
    if not (insecure or is_loopback(endpoint.host)):
        raise wrong(
            key,
            f"{address} can be reached from other machines, and the stream is not encrypted; "
            "bind 127.0.0.1, or set insecure = true where the network is trusted",
        )


def _endpoint(key: str, address: str) -> Endpoint | None:
    """The parts of a TCP address; None where it is not one."""
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme != "tcp" or not host or not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 65536:
        return None
    if host.startswith("[") != host.endswith("]") or (":" in host and not host.startswith("[")):
        return None
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return None
    return Endpoint(key, host, int(port)) if host.isprintable() and " " not in host and "/" not in host else None


def _endpoints(config: Config) -> Iterator[Endpoint]:
    for name, sim in config.sims.items():
        if sim.port:
            yield Endpoint(f"sims.{name}.port", "127.0.0.1", sim.port)
    for name, engine in config.engines.items():
        for option in ("publish", "requests"):
            if found := _endpoint(f"engines.{name}.{option}", _address(engine, option)):
                yield found


def _check_ports(config: Config, wrong: _Wrong) -> None:
    """No two sockets at one address."""
    seen: list[Endpoint] = []
    for one in _endpoints(config):
        for other in seen:
            if one.port == other.port and _overlap(one.host, other.host):
                raise wrong(one.key, f"port {one.port} is already that of {other.key}")
        seen.append(one)
    paths: dict[str, str] = {}
    for name, engine in config.engines.items():
        for option in ("publish", "requests"):
            key, address = f"engines.{name}.{option}", _address(engine, option)
            if address.startswith("ipc://"):
                path = os.path.normpath(address.removeprefix("ipc://"))
                if path in paths:
                    raise wrong(key, f"{address} is already that of {paths[path]}")
                paths[path] = key


def _overlap(one: str, other: str) -> bool:
    names = {_numeric(one), _numeric(other)}
    return len(names) == 1 or "" in names


def _numeric(host: str) -> str:
    """One spelling for each host; empty for all addresses of the machine."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))  # 127.1, as the system's own parser reads it
        except OSError:
            return "" if host == "*" else host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return "" if address.is_unspecified else str(address)


def _check_host(endpoint: Endpoint, wrong: _Wrong) -> None:
    """Whether this machine has the address."""
    host = endpoint.host.strip("[]")
    if host == "*" or host in {name for _, name in socket.if_nameindex()}:
        return
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        with socket.socket(found[0][0], socket.SOCK_STREAM) as probe:
            probe.bind(found[0][4])
    except (OSError, UnicodeError):
        raise wrong(endpoint.key, f"{endpoint.host} is not an address of this machine") from None


# ---------------------------------------------------------------------------------------------------------------
# This machine.


def _check_data(config: Config, wrong: _Wrong) -> None:
    """Whether the data directory is a folder that can be written, or can be made."""
    try:
        place = config.data_dir
        while not os.path.lexists(place):
            place = place.parent
        if not place.is_dir():
            raise wrong("plant.data", f"{place} is not a folder")
        writable = os.access(place, os.W_OK | os.X_OK) and not _is_kernels(place)
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, links in a ring
        raise wrong("plant.data", f"cannot be used: {getattr(error, 'strerror', None) or error}") from None
    if not writable:
        raise wrong("plant.data", f"{place} cannot be written by this user")


def _is_kernels(place: Path) -> bool:
    """Whether a folder is one of the kernel's own, in which nobody makes files."""
    return place.is_relative_to("/proc") or place.is_relative_to("/sys") or place == Path("/dev")


def _check_memory(config: Config, wrong: _Wrong) -> None:
    """Whether all rings fit into shared memory, and what an engine keeps into the machine's."""
    rings = [(f"feeds.{name}.ring_records", TICK_BYTES * feed.ring_records) for name, feed in config.feeds.items()]
    rings += [
        (f"engines.{name}.ring_records", DERIVED_BYTES * one.ring_records) for name, one in config.engines.items()
    ]
    needed = sum(size_bytes for _, size_bytes in rings) + MARGIN_BYTES
    try:
        shared = os.statvfs(SHM_DIR)
    except OSError as error:
        raise wrong("feeds", f"{SHM_DIR}, the place of the rings, cannot be used: {error.strerror}") from None
    has = shared.f_blocks * shared.f_frsize
    if needed > has:
        key, _ = max(rings, key=lambda ring: ring[1])
        raise wrong(key, f"all rings need {needed >> 20:,} MiB of shared memory, and {SHM_DIR} has {has >> 20:,} MiB")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name, engine in config.engines.items():
        if engine.recovery_mib << 20 > memory // 2:
            message = f"is more than half of this machine's memory, which is {memory >> 20:,} MiB"
            raise wrong(f"engines.{name}.recovery_mib", message)
