"""A gateway under load: streams to many clients, history as Arrow and JSON, and what the one costs the other.

    engine (200 messages/s a topic) ──ZeroMQ──> gateway process ──SSE──> 500 clients in one process
    a store of a million trades     ──────────> gateway process ──HTTP─> one client

The gateway is `python -m tickplant.gateway`, as a plant runs it. Each client checks that its topic has no hole. The age
of an event is from the engine's publication to the client. CPU is that of the gateway process, all threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
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
SECONDS: Final = 20
ROWS: Final = 1_000_000
TIMES: Final = 5  # CPU time is counted in hundredths of a second
EVENT: Final = re.compile(rb'"seq":(\d+),"count":(\d+),"published":"([^"Z]+)Z"')
ROW: Final = Instrument(1, "venue", "AAA", 2, 8)


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure."""
    clients, seconds, rows = (50, 2, 50_000) if quick else (CLIENTS, SECONDS, ROWS)
    with tempfile.TemporaryDirectory(prefix="tpb-") as name:
        folder = Path(name)
        fill(folder, rows)
        with engine(folder) as load, gateway(folder) as (process, port):
            url = f"http://127.0.0.1:{port}"
            results = [history(process, url, rows, repeats, form) for form in ("arrow", "arrow, four columns", "json")]
            quiet = streams(load, process, url, clients, seconds)
            busy = streams(load, process, url, clients, seconds, reading=True)
            beside = streams(load, process, url, clients, seconds, stalled=clients // 10)
        label = f"gateway: {clients} SSE clients, {RATE} messages/s each"
        cases = {
            "": quiet,
            ", while history is read without pause": busy,
            ", another tenth of which reads nothing": beside,
        }
        for when, load in cases.items():
            results += [
                Result(name=f"{label}{when}: age of an event, p99", value=load["p99_ms"], unit="ms"),
                Result(name=f"{label}{when}: CPU of one core", value=load["cpu_percent"], unit="%"),
                Result(name=f"{label}{when}: resident memory", value=load["rss_mib"], unit="MiB"),
            ]
        return results


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


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[threading.Event]:
    """An engine in a thread, which publishes at RATE while the event is set."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = Publisher(context, f"ipc://{folder}/publish", lambda _: ROW)
    router = Router(context, f"ipc://{folder}/requests", publisher, {"book": Books().snapshot})
    done = threading.Event()
    wanted = threading.Event()

    def serve() -> None:
        seq, next_s = 0, time.monotonic()
        trade = np.zeros(1, TICK)
        trade["instrument"], trade["kind"], trade["side"], trade["flags"] = ROW.id, Kind.TRADE, Side.BUY, Flag.LAST
        trade["price"], trade["size"] = 6_000_000, 10**8
        publisher.publish_ticks(trade)
        while not done.wait(0.001):
            publisher.read_subscriptions()
            router.serve()
            while wanted.is_set() and time.monotonic() >= next_s:
                next_s = max(next_s + 1 / RATE, time.monotonic() - 1)
                seq += 1
                trade["seq"] = trade["venue_seq"] = seq
                trade["ts_recv"] = trade["ts_event"] = time.time_ns()
                publisher.publish_ticks(trade)
            if not wanted.is_set():
                next_s = time.monotonic()
        router.close(0)
        publisher.close(0)
        context.term()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield wanted
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def gateway(folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    """The process, and its port."""
    port = secrets.randbelow(20_000) + 12_000
    config = GatewayConfig(port=port, connections_per_address=10_000, max_connections=10_000, requests_per_s=1e6)
    place = Plant(data_dir=str(folder), run_dir=str(folder), control=f"ipc://{folder}/control")
    addresses = (f"ipc://{folder}/publish", f"ipc://{folder}/requests")
    spec = GatewaySpec(name="web", plant=place, config=config, engines=[addresses], base=str(folder))
    child = subprocess.Popen(
        [sys.executable, "-m", "tickplant.gateway"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdin is not None
    child.stdin.write(msgspec.json.encode(spec))
    child.stdin.close()
    try:
        deadline_s = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline_s, "the gateway did not start"
            time.sleep(0.05)
        yield psutil.Process(child.pid), port
    finally:
        child.kill()
        child.wait()


def cpu_s(process: psutil.Process) -> float:
    """CPU time of all its threads."""
    times = process.cpu_times()
    return float(times.user + times.system)


ACCEPT: Final = {
    "arrow": "application/vnd.apache.arrow.stream",
    "arrow, four columns": "application/vnd.apache.arrow.stream",
    "json": "application/x-ndjson",
}


def history(process: psutil.Process, url: str, rows: int, repeats: int, form: str) -> Result:
    """Rows a second of CPU of the gateway: the whole store in one answer."""
    columns = "&columns=ts_recv,price,size,side&prices=integer" if "four" in form else "&prices=integer"
    question = f"{url}/api/v1/history/trades?venue=venue&symbol=AAA&limit=0{columns}"

    def once() -> float:
        before = cpu_s(process)
        for _ in range(TIMES):
            body = httpx.get(question, headers={"accept": ACCEPT[form]}, timeout=600).content
        taken = (cpu_s(process) - before) / TIMES
        count = body.count(b"\n") if form == "json" else pa.ipc.open_stream(body).read_all().num_rows
        assert count == rows, f"{count:,} rows came, not {rows:,}"
        return rows / taken

    once()
    return Result(
        name=f"gateway: history as {form}, rows per CPU second", value=median_of(repeats, once), unit="rows/s"
    )


def streams(
    load: threading.Event,
    process: psutil.Process,
    url: str,
    clients: int,
    seconds: float,
    *,
    reading: bool = False,
    stalled: int = 0,
) -> dict[str, float]:
    """Clients that read one topic for some seconds."""
    ages: list[float] = []
    port = int(url.rpartition(":")[2])

    class Client(asyncio.Protocol):
        """Checks that nothing is missing, and notes the age of what comes."""

        def __init__(self) -> None:
            self.rest, self.expected, self.count = b"", -1, 0

        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            transport.write(b"GET /api/v1/stream?topics=venue.AAA.trade HTTP/1.1\r\nhost: localhost\r\n\r\n")

        def data_received(self, data: bytes) -> None:
            now_ns = time.time_ns()
            *events, self.rest = (self.rest + data).split(b"\n\n")
            for event in events:
                found = EVENT.search(event)
                if found:
                    seq, count = int(found[1]), int(found[2])
                    assert self.expected in (-1, seq), "a hole"
                    self.expected = seq + count
                    self.count += count
                    ages.append((now_ns - int(np.datetime64(found[3].decode(), "ns").astype(np.int64))) / 1e6)

    async def everybody() -> list[int]:
        loop = asyncio.get_running_loop()
        made = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(clients)]
        idlers = [(await loop.create_connection(Client, "127.0.0.1", port))[1] for _ in range(stalled)]
        for one in idlers:
            one.transport.pause_reading()
        await asyncio.sleep(1)
        ages.clear()
        nonlocal before, began_s
        before, began_s = cpu_s(process), time.monotonic()
        await asyncio.sleep(seconds)
        for one in (*made, *idlers):
            one.transport.abort()
        return [one.count for one in made]

    stop = threading.Event()

    def download() -> None:
        question = f"{url}/api/v1/history/trades?venue=venue&symbol=AAA&limit=0"
        while not stop.is_set():
            with httpx.stream("GET", question, headers={"accept": ACCEPT["json"]}, timeout=600) as answer:
                for _ in answer.iter_raw():
                    if stop.is_set():
                        break

    downloads = [threading.Thread(target=download) for _ in range(2 if reading else 0)]
    for one in downloads:
        one.start()
    load.set()
    before = began_s = 0.0
    counts = uvloop.run(everybody())
    taken, elapsed_s = cpu_s(process) - before, time.monotonic() - began_s
    rss = process.memory_info().rss
    load.clear()
    stop.set()
    for one in downloads:
        one.join()
    assert min(counts) > 0.9 * RATE * seconds, f"a client got {min(counts)} messages only"
    return {
        "p99_ms": float(np.percentile(ages, 99)),
        "cpu_percent": 100 * taken / elapsed_s,
        "rss_mib": rss / (1 << 20),
    }


if __name__ == "__main__":
    main(run)
