"""The application of a gateway in this process, over a small store and a small engine, and a client for it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from small_engine import SmallEngine, small_engine

from tickplant.errors import ControlError
from tickplant.gateway.admission import Tokens
from tickplant.gateway.live_hub import LiveHub
from tickplant.gateway.services import Services
from tickplant.gateway.static_pages import StaticPages
from tickplant.gateway.store_readers import StoreReaders
from tickplant.gateway.web_app import make_app
from tickplant.runtime.config import GatewayConfig
from tickplant.runtime.control import Command, ProcessStatus, Restart, RingStatus, Status

STATUS = Status(
    pid=1,
    data_dir="/data",
    uptime_s=12.5,
    healthy=True,
    publish=["tcp://127.0.0.1:5555"],
    processes=[
        ProcessStatus(
            name="feed",
            role="feed",
            state="running",
            pid=2,
            uptime_s=10.0,
            restarts=1,
            cpu_percent=2.5,
            rss_bytes=1 << 20,
            counters={
                "ticks": 7,
                "gap_causes": {"sequence": 3},
                "trouble": "",
                "venue": "binance",
                "clock_offset_s": 0.25,
                "age_received": {"0.0001": 2, "10.0": 1, "inf": 1},
                "age_received_s": 31.5,
            },
        )
    ],
    rings=[RingStatus("feed", "tick", 100, 1024, {"writer": 5}, {"engine": 2}, {"writer": 9})],
    accounts=[],
)


class Supervisor:
    """The answers of a supervisor; tests/process uses a real one."""

    def __init__(self) -> None:
        self.orders: list[Command] = []

    async def status(self) -> Status:
        """Always the same."""
        return STATUS

    async def order(self, command: Command) -> None:
        """Take a command. Raises ControlError for an unknown one."""
        if isinstance(command, Restart) and command.name != "feed":
            raise ControlError(f"no process is named {command.name}; running: feed")
        self.orders.append(command)


class App:
    """One gateway."""

    def __init__(self, services: Services, engine: SmallEngine, supervisor: Supervisor, tokens: Tokens) -> None:
        self.services = services
        self.engine = engine
        self.supervisor = supervisor
        self.asgi = make_app(services, tokens)

    def client(self, token: str = "", **options: object) -> httpx.AsyncClient:
        """A client of this gateway, in this process."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.asgi, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8088", headers=headers, **options)


@contextlib.asynccontextmanager
async def gateway_app(
    folder: Path, data_dir: Path, *, tokens: Tokens | None = None, **config: object
) -> AsyncIterator[App]:
    """A gateway until the block ends. `config`: keys of `[gateways.NAME]`."""
    settings = GatewayConfig(**{"requests_per_s": 1e6, **config})
    async with small_engine(folder) as engine:
        hub = LiveHub([engine.addresses])
        readers = StoreReaders(data_dir, threads=settings.readers, downloads=settings.downloads)
        supervisor = Supervisor()
        services = Services(settings, hub, readers, supervisor, StaticPages(), Counter())
        try:
            yield App(services, engine, supervisor, tokens or Tokens([]))
        finally:
            readers.close()
            hub.close()
