"""Checks whether this machine can run a configuration. Each rule raises a ConfigError that names the key at fault."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

from tickplant.runtime import credentials
from tickplant.runtime.config import Config, control_address, plant_id, run_dir
from tickplant.runtime.endpoints import Endpoint, Wrong, address_of, endpoints

TICK_BYTES: Final = 64
DERIVED_BYTES: Final = 72 + 104 + 88  # one record each of best bid and offer, bars and checkpoints
SERIES_BYTES: Final = 72 + 72 + 136  # likewise of values, states and bars of trades, if there are series
MARGIN_BYTES: Final = 1 << 20  # of shared memory, for headers
SHM_DIR: Final = "/dev/shm"  # noqa: S108  # the place of POSIX shared memory


def check_machine(config: Config) -> None:
    """Check data directory, listening addresses and memory for a configuration. Raises ConfigError."""
    wrong = Wrong(config)
    stored = {feed for writer in config.writers.values() for feed in writer.feeds or config.feeds}
    if not config.writers:
        raise wrong("writers", "no writer is configured, so nothing would be stored: add a table [writers.writer]")
    if not config.engines:
        raise wrong("engines", "no engine is configured, so nothing would be published: add a table [engines.engine]")
    if left := [feed for feed in config.feeds if feed not in stored]:
        raise wrong(f"feeds.{left[0]}", "no writer stores this feed: name it in the feeds of one")
    for feed in config.feeds.values():
        if feed.credentials:
            credentials.check(feed.credentials)
    for gateway in config.gateways.values():
        for token in gateway.tokens:
            credentials.check(token)
    _check_data(config, wrong)
    control_address(run_dir(plant_id(config.data_dir)))
    _check_memory(config, wrong)
    for endpoint in endpoints(config):
        _check_host(endpoint, wrong)
    for name, engine in config.engines.items():
        for option in ("publish", "requests"):
            address = address_of(engine, option)
            folder = Path(address.removeprefix("ipc://")).parent
            if address.startswith("ipc:///") and not (folder.is_dir() and os.access(folder, os.W_OK)):
                raise wrong(f"engines.{name}.{option}", f"{folder} is not a folder that this user can write to")


def _check_host(endpoint: Endpoint, wrong: Wrong) -> None:
    """Check that this machine has the address."""
    host = endpoint.host.strip("[]")
    if host == "*" or host in {name for _, name in socket.if_nameindex()}:
        return
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        with socket.socket(found[0][0], socket.SOCK_STREAM) as probe:
            probe.bind(found[0][4])
    except (OSError, UnicodeError):
        raise wrong(endpoint.key, f"{endpoint.host} is not an address of this machine") from None


def _check_data(config: Config, wrong: Wrong) -> None:
    """Check that the data directory is a writable folder, or can be created."""
    try:
        place = config.data_dir
        while not os.path.lexists(place):
            place = place.parent
        if not place.is_dir():
            raise wrong("plant.data", f"{place} is not a folder")
        writable = os.access(place, os.W_OK | os.X_OK) and not _is_kernels(place)
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, a loop of links
        raise wrong("plant.data", f"cannot be used: {getattr(error, 'strerror', None) or error}") from None
    if not writable:
        raise wrong("plant.data", f"{place} cannot be written by this user")


def _is_kernels(place: Path) -> bool:
    """Whether a folder is one of the kernel's own, where no files can be made."""
    return place.is_relative_to("/proc") or place.is_relative_to("/sys") or place == Path("/dev")


def _check_memory(config: Config, wrong: Wrong) -> None:
    """Check that all rings fit into shared memory, and an engine's buffers into the machine's memory."""
    rings = [(f"feeds.{name}.ring_records", TICK_BYTES * feed.ring_records) for name, feed in config.feeds.items()]
    for name, one in config.engines.items():
        record_bytes = DERIVED_BYTES + (SERIES_BYTES if one.derive else 0)
        rings.append((f"engines.{name}.ring_records", record_bytes * one.ring_records))
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
