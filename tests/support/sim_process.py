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
