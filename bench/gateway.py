"""A gateway under load: streams to many clients, history as Arrow and JSON, and the cost of one to the other.

    engine process (20 messages/s) ──ZeroMQ──> gateway process ──SSE──> 500 clients in one process
    a store of a million trades    ──────────> gateway process ──HTTP─> one client

The gateway is `python -m tickplant.gateway`, as in a plant. Each client checks that its topic has no hole and that, in
the end, it has everything that the engine sent: under each load, and when the gateway is killed with SIGKILL in
between. The age of an event is the time from the engine's publication to the client. CPU time is that of the gateway
process, all threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import numpy as np
import psutil
import pyarrow as pa
import uvloop
import zmq

from bench.harness import Result, main, median_of
from bench.stream_clients import Crowd
from tickplant.books.level_books import Books
from tickplant.engine.publisher import Publisher
from tickplant.engine.router import Router
from tickplant.instruments import Instrument, InstrumentTable
from tickplant.records.layouts import TICK, Flag, Kind, Schema, Side
from tickplant.runtime.config import GatewayConfig
from tickplant.runtime.job_specs import GatewaySpec, Plant
from tickplant.store.reader import INSTRUMENTS_FILE
from tickplant.writer.journal import Journal

CLIENTS: Final = 500
RATE: Final = 20  # messages a second and client
SECONDS: Final = 60
ABORTS: Final = 1000
ROWS: Final = 1_000_000
TIMES: Final = 5  # CPU time is counted in hundredths of a second
SETTLE_S: Final = 60.0  # for what is on its way when a load has ended
TOPIC: Final = "venue.AAA.trade"
ROW: Final = Instrument(1, "venue", "AAA", 2, 8)


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure."""
    clients, seconds, rows, aborts = (50, 2, 50_000, 100) if quick else (CLIENTS, SECONDS, ROWS, ABORTS)
    with tempfile.TemporaryDirectory(prefix="tpb-") as name:
        folder = Path(name)
        fill(folder, rows)
        with engine(folder) as load, contextlib.closing(GatewayProcess(folder)) as web:
            results = [history(web, rows, repeats, form) for form in ACCEPT]
            cases = {
                "": streams(load, web, clients, seconds),
                ", while history is read without pause": streams(load, web, clients, seconds, reading=True),
                ", another tenth of which reads nothing": streams(load, web, clients, seconds, stalled=clients // 10),
            }
            churn(web, aborts)
            resumed_s = kill(load, web, clients, seconds / 4)
    label = f"gateway: {clients} SSE clients, {RATE} messages/s each"
    for when, figures in cases.items():
        results += [
            Result(name=f"{label}{when}: age of an event, p99", value=figures["p99_ms"], unit="ms"),
            Result(name=f"{label}{when}: CPU of one core", value=figures["cpu_percent"], unit="%"),
            Result(name=f"{label}{when}: resident memory", value=figures["rss_mib"], unit="MiB"),
        ]
    name = f"{label}, gateway killed with SIGKILL: until all have everything again, no hole"
    return [*results, Result(name=name, value=resumed_s, unit="s")]


def fill(folder: Path, rows: int) -> None:
    """A store of trades, in chunks as a writer cuts them."""
    InstrumentTable.load(folder / INSTRUMENTS_FILE).register(ROW.venue, ROW.symbol, ROW.price_scale, ROW.size_scale)
    chance = np.random.default_rng(1)
    trades = np.zeros(rows, TICK)
    trades["instrument"], trades["kind"], trades["flags"] = ROW.id, Kind.TRADE, Flag.LAST
    trades["ts_recv"] = 1_700_000_000 * 10**9 + np.cumsum(chance.integers(1, 2_000_000, rows))
    trades["ts_event"] = trades["ts_recv"] - 5_000_000
    trades["price"] = 6_000_000 + np.cumsum(chance.integers(-5, 6, rows))
    trades["size"] = chance.integers(1, 10**8, rows)
    trades["side"] = chance.integers(1, 3, rows)
    trades["venue_seq"] = trades["seq"] = np.arange(rows)
    journal = Journal(folder, Schema.TICK, "feed")
    for start in range(0, rows, 1 << 16):
        journal.append(trades[start : start + (1 << 16)])
        journal.flush()
    journal.close()


class Load:
    """Controls an engine process, which publishes at RATE while `wanted` is set."""

    def __init__(self, context: Any) -> None:
        self.wanted = context.Event()
        self.done = context.Event()
        self.published = context.Value("q", 0)  # topic sequence behind the last record

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Publish while the block lasts."""
        self.wanted.set()
        try:
            yield
        finally:
            self.wanted.clear()


def serve(folder: str, load: Load) -> None:
    """The engine process: publisher and router as an engine has them."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = Publisher(context, f"ipc://{folder}/publish", lambda _: ROW)
    router = Router(context, f"ipc://{folder}/requests", publisher, {"book": Books().snapshot})
    trade = np.zeros(1, TICK)
    trade["instrument"], trade["kind"], trade["side"], trade["flags"] = ROW.id, Kind.TRADE, Side.BUY, Flag.LAST
    trade["price"], trade["size"] = 6_000_000, 10**8
    next_s = time.monotonic()

    def publish() -> None:
        trade["seq"] = trade["venue_seq"] = load.published.value
        trade["ts_recv"] = trade["ts_event"] = time.time_ns()
        publisher.publish_ticks(trade)
        load.published.value += 1

    publish()
    while not load.done.wait(0.001):
        publisher.read_subscriptions()
        router.serve()
        now_s = time.monotonic()
        if not load.wanted.is_set():
            next_s = now_s
        while next_s < now_s:
            publish()
            next_s += 1 / RATE
    router.close(0)
    publisher.close(0)
    context.term()


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[Load]:
    """An engine in a process of its own, so that clients take none of its time."""
    context = multiprocessing.get_context("spawn")
    load = Load(context)
    process = context.Process(target=serve, args=(str(folder), load))
    process.start()
    try:
        wait_for("the engine", lambda: load.published.value > 0)
        yield load
    finally:
        load.done.set()
        process.join(10)
        process.kill()


class GatewayProcess:
    """The gateway process, which may be killed and restarted at the same port."""

    def __init__(self, folder: Path, config: GatewayConfig | None = None) -> None:
        self.port = secrets.randbelow(20_000) + 12_000
        config = msgspec.structs.replace(
            config or GatewayConfig(connections_per_address=10_000, max_connections=10_000),
            port=self.port,
            requests_per_s=1e6,
        )
        place = Plant(data_dir=str(folder), run_dir=str(folder), control=f"ipc://{folder}/control")
        addresses = (f"ipc://{folder}/publish", f"ipc://{folder}/requests")
        spec = GatewaySpec(name="web", plant=place, config=config, engines=[addresses], base=str(folder))
        self._spec = msgspec.json.encode(spec)
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start the process, and return once it listens."""
        child = subprocess.Popen(
            [sys.executable, "-m", "tickplant.gateway"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert child.stdin is not None
        child.stdin.write(self._spec)
        child.stdin.close()
        self._child, self.process = child, psutil.Process(child.pid)

        def listens() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            return False

        wait_for("the gateway to start", listens)

    def close(self) -> None:
        """Kill the process with SIGKILL."""
        self._child.kill()
        self._child.wait()


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    """Wait for a condition. AssertionError if it does not become true in time."""
    deadline_s = time.monotonic() + SETTLE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {SETTLE_S:g} s for {what}"
        time.sleep(0.02)


async def reach(crowd: Crowd, load: Load) -> None:
    """Wait until all clients have everything published. AssertionError if they do not get it, or with a hole."""
    deadline_s = time.monotonic() + SETTLE_S
    while not crowd.reached(load.published.value):
        have = sorted(client.expected for client in crowd.clients)
        assert time.monotonic() < deadline_s, f"of {load.published.value} records one client has {have[0]} only"
        await asyncio.sleep(0.02)
    assert (crowd.holes, crowd.gaps) == (0, 0), f"{crowd.holes} holes, {crowd.gaps} gaps"


def cpu_s(process: psutil.Process) -> float:
    """CPU time of all threads of a process."""
    times = process.cpu_times()
    return float(times.user + times.system)


ACCEPT: Final = {
    "arrow": "application/vnd.apache.arrow.stream",
    "arrow, four columns": "application/vnd.apache.arrow.stream",
    "json": "application/x-ndjson",
}


def history(web: GatewayProcess, rows: int, repeats: int, form: str) -> Result:
    """Rows per CPU second of the gateway, for the whole store in one answer."""
    columns = "&columns=ts_recv,price,size,side&prices=integer" if "four" in form else "&prices=integer"
    question = f"{web.url}/api/v1/history/trades?venue=venue&symbol=AAA&limit=0{columns}"

    def once() -> float:
        before = cpu_s(web.process)
        for _ in range(TIMES):
            body = httpx.get(question, headers={"accept": ACCEPT[form]}, timeout=600).content
        taken = (cpu_s(web.process) - before) / TIMES
        count = body.count(b"\n") if form == "json" else pa.ipc.open_stream(body).read_all().num_rows
        assert count == rows, f"{count:,} rows came, not {rows:,}"
        return rows / taken

    once()
    return Result(
        name=f"gateway: history as {form}, rows per CPU second", value=median_of(repeats, once), unit="rows/s"
    )


def streams(
    load: Load, web: GatewayProcess, clients: int, seconds: float, *, reading: bool = False, stalled: int = 0
) -> dict[str, float]:
    """Let clients read one topic for some seconds."""

    async def everybody() -> dict[str, float]:
        crowd = Crowd(web.port, TOPIC)
        await crowd.join(clients)
        await crowd.join(stalled, reading=False)
        with load.on():
            await asyncio.sleep(1)
            crowd.ages_ms.clear()
            before, began_s = cpu_s(web.process), time.monotonic()
            await asyncio.sleep(seconds)
            taken = (cpu_s(web.process) - before) / (time.monotonic() - began_s)
            p99_ms, rss = crowd.p99_ms(), web.process.memory_info().rss
        await reach(crowd, load)
        assert crowd.resumed == 0, f"{crowd.resumed} clients were cut off"
        crowd.end()
        return {"p99_ms": p99_ms, "cpu_percent": 100 * taken, "rss_mib": rss / (1 << 20)}

    stop = threading.Event()

    def download() -> None:
        question = f"{web.url}/api/v1/history/trades?venue=venue&symbol=AAA&limit=0"
        while not stop.is_set():
            with httpx.stream("GET", question, headers={"accept": ACCEPT["json"]}, timeout=600) as answer:
                for _ in answer.iter_raw():
                    if stop.is_set():
                        break

    downloads = [threading.Thread(target=download) for _ in range(2 if reading else 0)]
    for one in downloads:
        one.start()
    try:
        return uvloop.run(everybody())
    finally:
        stop.set()
        for one in downloads:
            one.join()


def churn(web: GatewayProcess, aborts: int) -> None:
    """Let clients connect and break off; the gateway must free what they used."""
    wait_for("the clients before to be gone", lambda: web.process.num_fds() < 100)
    before = web.process.num_fds()

    async def come_and_go() -> None:
        for _ in range(aborts // 50):
            crowd = Crowd(web.port, TOPIC)
            await crowd.join(50)
            crowd.end()

    uvloop.run(come_and_go())
    wait_for(f"{web.process.num_fds() - before} descriptors to be closed", lambda: web.process.num_fds() <= before)


def kill(load: Load, web: GatewayProcess, clients: int, seconds: float) -> float:
    """Kill the gateway under its clients. Seconds from its successor's start until all have everything."""

    async def everybody() -> float:
        crowd = Crowd(web.port, TOPIC)
        await crowd.join(clients)
        with load.on():
            await asyncio.sleep(seconds)
            web.close()
            await asyncio.to_thread(web.start)
            began_s = time.monotonic()
            sent = load.published.value
            while not crowd.reached(sent):
                assert time.monotonic() - began_s < SETTLE_S, "the clients did not come back"
                await asyncio.sleep(0.02)
            took_s = time.monotonic() - began_s
            await asyncio.sleep(seconds)
        await reach(crowd, load)
        assert crowd.resumed >= clients
        crowd.end()
        return took_s

    return uvloop.run(everybody())


if __name__ == "__main__":
    main(run)
