"""The memory that clients which read nothing cost a gateway. Each has a topic of its own, so none share an event.

    engine process (floods 100 topics) ──ZeroMQ──> gateway process ──SSE, WebSocket──> 100 sockets that nobody reads

Half of them use Server-Sent Events, half WebSockets, of which every second one offers compression. Each topic carries
many times what a queue holds. One more client reads its topic, and gets every round before the next is published.
Raises AssertionError if the gateway grows by more than the bound in docs/gateway.md.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import zmq

from bench.gateway import SETTLE_S, GatewayProcess, wait_for
from bench.harness import Result, main, median_of
from tickplant.books.level_books import Books
from tickplant.engine.publisher import Publisher
from tickplant.engine.router import Router
from tickplant.instruments import Instrument
from tickplant.records.layouts import TICK, Flag, Kind, Side
from tickplant.runtime.config import GatewayConfig

CLIENTS: Final = 50  # of each kind
QUEUES_KIB: Final = (64, 1024)
RECORDS: Final = 50  # of a message, about 12 KiB of JSON
TIMES: Final = 3  # what comes is so many times the queue, and FLOOD_KIB
FLOOD_KIB: Final = 2048
BESIDE_KIB: Final = 256
"""Memory of a client besides its queue: the data being sent, and the compression of a WebSocket."""
WARM: Final = 2  # rounds in which nothing is counted yet
KIB: Final = 1 << 10


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure."""
    results = []
    for queue_kib in QUEUES_KIB[:1] if quick else QUEUES_KIB:
        each_kib = median_of(1 if quick else repeats, lambda queue_kib=queue_kib: growth_kib(queue_kib, CLIENTS))
        name = f"gateway: {CLIENTS} SSE and {CLIENTS} WebSocket clients that take nothing, queue_kib = {queue_kib}"
        results.append(Result(name=f"{name}: memory of each", value=each_kib, unit="KiB"))
    return results


def growth_kib(queue_kib: int, clients: int) -> float:
    """How much the gateway grows per client. AssertionError beyond the bound."""
    rounds = (TIMES * queue_kib + FLOOD_KIB) * KIB // (RECORDS * 240)
    with tempfile.TemporaryDirectory(prefix="tpm-") as name, contextlib.ExitStack() as stack:
        folder, topics = Path(name), 2 * clients
        flood, subscribed = stack.enter_context(engine(folder, topics + 1))
        config = GatewayConfig(queue_kib=queue_kib, stalled_s=3600.0, connections_per_address=1000)
        web = stack.enter_context(contextlib.closing(GatewayProcess(folder, config)))
        for number in range(topics):
            stack.enter_context(stalled(web.port, number, topics))
        question = f"{web.url}/api/v1/stream?topics=venue.A{topics}.trade"
        answer = stack.enter_context(httpx.stream("GET", question, timeout=SETTLE_S))
        lines, before = answer.iter_lines(), 0
        wait_for("every subscription", lambda: subscribed.value > topics)
        # The engine knows of a subscription before the stream begins; the stream says where it does.
        assert any(line.startswith("id: ") for line in lines), "the stream has ended"
        for published in range(1, rounds + WARM + 1):
            flood.value = published
            # The others are not kept from anything; and a backlog would be no cost of these.
            assert any(line == "event: records" for line in lines), "the stream has ended"
            if published == WARM:
                before = web.process.memory_info().rss
        grown_kib = (web.process.memory_info().rss - before) / KIB
        for kind in ("sse", "ws"):
            assert counted(web, f'tickplant_gateway_clients{{kind="{kind}"}}') == clients + (kind == "sse")
    allowed_kib = topics * (queue_kib + BESIDE_KIB)
    assert grown_kib <= allowed_kib, f"{grown_kib:,.0f} KiB for {topics} clients, {allowed_kib:,} KiB are documented"
    return grown_kib / topics


def counted(web: GatewayProcess, beginning: str) -> float:
    """The value of the first metric line with this prefix; 0 if no line has it."""
    text = httpx.get(f"{web.url}/metrics", timeout=60).text
    found = re.search(rf"^{re.escape(beginning)}.* (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@contextlib.contextmanager
def stalled(port: int, number: int, topics: int) -> Iterator[socket.socket]:
    """A client that asks for its topic, and reads only the beginning of the answer."""
    with socket.create_connection(("127.0.0.1", port), 60) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        websocket = number >= topics // 2
        route, headers = "stream", ""
        if websocket:
            route = "ws"
            headers = (
                "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
                "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            )
            if number % 2:
                headers += "sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n"
        request = f"GET /api/v1/{route}?topics=venue.A{number}.trade HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n"
        one.sendall(request.encode())
        answer = one.recv(12)
        assert answer == (b"HTTP/1.1 101" if websocket else b"HTTP/1.1 200"), answer
        yield one


@contextlib.contextmanager
def engine(folder: Path, topics: int) -> Iterator[tuple[Any, Any]]:
    """A process that publishes on all topics. Values: rounds to publish, and how many topics are subscribed."""
    context = multiprocessing.get_context("spawn")
    flood, subscribed, done = context.Value("q", 0), context.Value("q", 0), context.Event()
    process = context.Process(target=serve, args=(str(folder), topics, flood, subscribed, done))
    process.start()
    try:
        yield flood, subscribed
    finally:
        done.set()
        process.join(10)
        process.kill()


def serve(folder: str, topics: int, flood: Any, subscribed: Any, done: Any) -> None:
    """The engine process: publisher and router as an engine has them."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    rows = {number + 1: Instrument(number + 1, "venue", f"A{number}", 2, 8) for number in range(topics)}
    publisher = Publisher(context, f"ipc://{folder}/publish", rows.__getitem__)
    router = Router(context, f"ipc://{folder}/requests", publisher, {"book": Books().snapshot})
    trades = np.zeros(topics * RECORDS, TICK)
    trades["instrument"] = np.repeat(np.arange(1, topics + 1), RECORDS)
    trades["kind"], trades["side"], trades["flags"] = Kind.TRADE, Side.BUY, Flag.LAST
    chance = np.random.default_rng(1)
    rounds = -1  # one before the flood, so that a stream finds its topic, and says at once where it begins
    while not done.wait(0.001):
        publisher.read_subscriptions()
        subscribed.value = publisher.subscriptions
        if rounds < flood.value:
            rounds += 1
            trades["price"] = chance.integers(10**6, 10**8, len(trades))
            trades["size"] = chance.integers(1, 10**9, len(trades))
            trades["seq"] = trades["venue_seq"] = rounds * len(trades) + np.arange(len(trades))
            trades["ts_recv"] = trades["ts_event"] = time.time_ns()
            publisher.publish_ticks(trades)
        router.serve()
    router.close(0)
    publisher.close(0)
    context.term()


if __name__ == "__main__":
    main(run)
