"""Starts the simulated venue as a real process: `with sim_process(messages_per_s=500) as sim: … sim.ws_url …`."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from children import start_child
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

START_TIMEOUT_S = 90.0  # the first start on a machine compiles the kernels


@dataclass(frozen=True)
class SimProcess:
    """A running simulated venue."""

    process: subprocess.Popen[bytes]
    host: str
    port: int

    @property
    def ws_url(self) -> str:
        """Base of the WebSocket addresses, such as `ws://127.0.0.1:1234`."""
        return f"ws://{self.host}:{self.port}"

    @property
    def rest_url(self) -> str:
        """Base of the REST addresses, such as `http://127.0.0.1:1234`."""
        return f"http://{self.host}:{self.port}"

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET of a path below `rest_url`."""
        return httpx.get(self.rest_url + path, timeout=START_TIMEOUT_S, trust_env=False, **options)

    def ledger(self) -> dict[str, Any]:
        """What the venue has sent so far."""
        ledger: dict[str, Any] = self.get("/sim/ledger").json()
        return ledger

    def fault(self, fault: str, **options: Any) -> int:
        """Have the venue commit a fault; returns its number in the ledger."""
        answer = httpx.post(
            f"{self.rest_url}/sim/fault", json={"fault": fault} | options, timeout=START_TIMEOUT_S, trust_env=False
        )
        assert answer.status_code == 200, answer.text
        return int(answer.json()["number"])

    def stop(self, timeout_s: float = START_TIMEOUT_S) -> int:
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        return self.process.wait(timeout_s)


def open_ws(sim: SimProcess, path: str, **options: Any) -> ClientConnection:
    """A WebSocket to a path of a simulated venue."""
    options = {"compression": None, "max_size": None, "proxy": None, "close_timeout": 1} | options
    return connect(sim.ws_url + path, open_timeout=START_TIMEOUT_S, **options)


def receive(ws: ClientConnection) -> Any:
    """The next message."""
    return json.loads(ws.recv(timeout=START_TIMEOUT_S))


def ask(ws: ClientConnection, **request: Any) -> Any:
    """Send a request and return its answer, skipping market data."""
    ws.send(json.dumps(request))
    while True:
        message = receive(ws)
        if "stream" not in message and "e" not in message and "u" not in message:
            return message


def closed_with(ws: ClientConnection) -> int:
    """Read to the end; returns the close code."""
    while True:
        try:
            ws.recv(timeout=START_TIMEOUT_S)
        except ConnectionClosed as closed:
            return 1006 if closed.rcvd is None else int(closed.rcvd.code)


@contextmanager
def sim_process(**spec: Any) -> Iterator[SimProcess]:
    """A simulated venue with this spec (fields of SimSpec), killed at the end. It logs to the stderr of the tests."""
    process = start_child("tickplant.sim", spec, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        ready = json.loads(_line(process.stdout.fileno()))
        assert ready["ready"] is True
        yield SimProcess(process, ready["host"], ready["port"])
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _line(fd: int) -> bytes:
    """The first line of a pipe, within START_TIMEOUT_S."""
    deadline = time.monotonic() + START_TIMEOUT_S
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(f"the simulated venue was not ready within {START_TIMEOUT_S:g} s")
        byte = os.read(fd, 1)
        if not byte:
            raise RuntimeError("the simulated venue ended before it was ready")
        line += byte
    return line
