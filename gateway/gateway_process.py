"""The gateway process: the plant over HTTP, from the engines' sockets and the store.

Runs as `python -m tickplant.gateway` with a job_specs.GatewaySpec on stdin. It neither writes nor holds anything that
another process needs, so it may be killed at any moment. Exits 0 when stopped; 1 with a sentence if it cannot work.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections import Counter
from pathlib import Path

import structlog
import uvloop

from tickplant.errors import ConfigError
from tickplant.gateway.admission import SCOPES, Tokens
from tickplant.gateway.live_hub import LiveHub
from tickplant.gateway.plant_line import PlantLine
from tickplant.gateway.services import Services
from tickplant.gateway.static_pages import StaticPages
from tickplant.gateway.store_readers import StoreReaders
from tickplant.gateway.web_app import make_app
from tickplant.gateway.web_server import Connections, listen, serving
from tickplant.runtime import config as cfg
from tickplant.runtime import credentials
from tickplant.runtime.child_process import child_process, settle
from tickplant.runtime.control import Counters
from tickplant.runtime.job_specs import GatewaySpec


def main() -> None:
    """Run one gateway; ends the process."""
    with child_process(GatewaySpec) as spec:
        tokens = tokens_of(spec)
        listener = listen(spec.config, key=spec.name)
        with listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(spec, tokens, listener))


def tokens_of(spec: GatewaySpec) -> Tokens:
    """The tokens of its credentials. Raises ConfigError for a credential with an unknown scope, or without any."""
    held = {
        name: credentials.hold(spec.secrets[name]) if name in spec.secrets else credentials.load(name)
        for name in spec.config.tokens
    }
    for name, values in held.items():
        if unknown := sorted(values.keys() - set(SCOPES)):
            message = (
                f'credential "{name}" has the key {unknown[0]}: its keys are scopes, which are {", ".join(SCOPES)}'
            )
            raise ConfigError(message, key=f"gateways.{spec.name}.tokens")
    return Tokens(held.values())


async def _run(spec: GatewaySpec, tokens: Tokens, listener: socket.socket) -> None:
    counts: dict[str, int] = Counter()
    connections: list[Connections] = []

    def counters() -> Counters:
        own: Counters = dict(counts.items())
        own["connections"] = connections[0].count if connections else 0
        own["connections_refused"] = connections[0].refused if connections else 0
        return own

    with contextlib.ExitStack() as resources:
        plant = PlantLine(spec.plant, spec.name, counters)
        resources.callback(plant.close)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, plant.stopped.set)
        config = spec.config
        readers = StoreReaders(Path(spec.plant.data_dir), threads=config.readers, downloads=config.downloads)
        resources.callback(readers.close)
        hub = LiveHub(spec.engines)
        resources.callback(hub.close)
        services = Services(config, hub, readers, plant, StaticPages(), counts)
        app = make_app(services, tokens)
        async with serving(app, config, listener, Path(spec.base), hub.end_streams) as served:
            connections.append(served)
            plant.hello()
            settle()
            structlog.get_logger().info("listening", address=cfg.gateway_address(config))
            await plant.stopped.wait()
