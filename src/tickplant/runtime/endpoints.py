"""The addresses of a configuration: their form, and that no two sockets share one."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import NamedTuple

from tickplant.errors import ConfigError
from tickplant.runtime.config import (
    DEFAULT_PUBLISH,
    SOCKET_PATH_BYTES,
    Config,
    EngineConfig,
    is_loopback,
    requests_address,
)


class Wrong:
    """Makes the error for a key at fault."""

    def __init__(self, config: Config) -> None:
        self._file = config.file

    def __call__(self, key: str, message: str) -> ConfigError:
        """The error, for the caller to raise."""
        return ConfigError(message, file=self._file, key=key)


class Endpoint(NamedTuple):
    """A TCP address that a process of the plant listens on."""

    key: str
    host: str
    port: int


def address_of(engine: EngineConfig, option: str) -> str:
    """Where an engine listens: `publish` or `requests`."""
    return engine.publish if option == "publish" else requests_address(engine)


def check_endpoint(key: str, address: str, wrong: Wrong, *, insecure: bool) -> None:
    """Check that an engine can and may listen there: only on this machine, unless `insecure`. Raises ConfigError."""
    scheme, _, rest = address.partition("://")
    if scheme == "ipc" and rest:
        if len(os.fsencode(rest)) > SOCKET_PATH_BYTES or not rest.isprintable():
            raise wrong(key, f"{address!r}: the path of a socket has at most {SOCKET_PATH_BYTES} bytes")
        return
    endpoint = find_endpoint(key, address)
    if endpoint is None:
        raise wrong(key, f"{address!r} is not an address such as {DEFAULT_PUBLISH}")
    if not (insecure or is_loopback(endpoint.host)):
        raise wrong(
            key,
            f"{address} can be reached from other machines, and the stream is not encrypted; "
            "bind 127.0.0.1, or set insecure = true where the network is trusted",
        )


def find_endpoint(key: str, address: str) -> Endpoint | None:
    """The parts of a TCP address; None if it is not one."""
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


def endpoints(config: Config) -> Iterator[Endpoint]:
    """The TCP addresses of a plant."""
    for name, sim in config.sims.items():
        if sim.port:
            yield Endpoint(f"sims.{name}.port", "127.0.0.1", sim.port)
    for name, gateway in config.gateways.items():
        yield Endpoint(f"gateways.{name}.port", gateway.bind, gateway.port)
    for name, engine in config.engines.items():
        for option in ("publish", "requests"):
            if found := find_endpoint(f"engines.{name}.{option}", address_of(engine, option)):
                yield found


def check_ports(config: Config, wrong: Wrong) -> None:
    """Check that no two sockets share an address. Raises ConfigError."""
    seen: list[Endpoint] = []
    for one in endpoints(config):
        for other in seen:
            if one.port == other.port and _overlap(one.host, other.host):
                raise wrong(one.key, f"port {one.port} is already that of {other.key}")
        seen.append(one)
    paths: dict[str, str] = {}
    for name, engine in config.engines.items():
        for option in ("publish", "requests"):
            key, address = f"engines.{name}.{option}", address_of(engine, option)
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
            address = ipaddress.ip_address(socket.inet_aton(host))  # such as 127.1, as the system's own parser reads it
        except OSError:
            return "" if host == "*" else host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return "" if address.is_unspecified else str(address)
