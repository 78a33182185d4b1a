"""A real Prometheus with this project's rules, on a port of its own, from Debian's package `prometheus`."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from plant_process import DEADLINE_S, free_port, wait_for

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
CONFIG, RULES = DEPLOY / "prometheus.yml", DEPLOY / "tickplant.rules.yml"


def program(name: str) -> str:
    """Path of `prometheus` or `promtool`. Skips the test if it is not installed."""
    return shutil.which(name) or pytest.skip(f"no {name} here: apt-get install prometheus")


class Prometheus:
    """A running Prometheus."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, **parameters: str) -> Any:
        """`data` of an answer of its API. AssertionError if it refuses."""
        answer = httpx.get(f"{self.address}/api/v1/{path}", params=parameters, timeout=90.0, trust_env=False).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def firing(self, name: str, **labels: str) -> list[dict[str, str]]:
        """The labels of each alert of this name, with these labels, that is firing now."""
        return [
            alert["labels"]
            for alert in self.ask("alerts")["alerts"]
            if alert["state"] == "firing" and alert["labels"]["alertname"] == name
            if labels.items() <= alert["labels"].items()
        ]


def quick(rules: str, changes: dict[str, str]) -> str:
    """Rules that fire immediately, with these words replaced. AssertionError if the rules lack one of the words."""
    rules = re.sub(r"^( +)for: \w+$", r"\1for: 0s", rules, flags=re.MULTILINE)
    for old, new in changes.items():
        assert old in rules, old
        rules = rules.replace(old, new)
    return rules


@contextlib.contextmanager
def prometheus(folder: Path, target: str, rules: str, every_s: int) -> Iterator[Prometheus]:
    """Scrape `target`, host and port, with this project's configuration, except for its intervals and these rules."""
    found = program("prometheus")
    config = CONFIG.read_text(encoding="utf-8").replace("127.0.0.1:8088", target)
    for key in ("scrape_interval", "scrape_timeout"):
        config = re.sub(rf"{key}: \w+", f"{key}: {every_s}s", config)
    config = re.sub(r"evaluation_interval: \w+", "evaluation_interval: 1s", config)
    (folder / CONFIG.name).write_text(config, encoding="utf-8")
    (folder / RULES.name).write_text(rules, encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(found, f"--config.file={folder / CONFIG.name}", f"--storage.tsdb.path={folder / 'series'}"),
                *(f"--web.listen-address={address}", "--log.level=warn"),
            ],
            stdout=output,
            stderr=output,
        )
    try:
        one = Prometheus(f"http://{address}")

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{one.address}/-/ready", timeout=5.0, trust_env=False).status_code == 200
            return False

        wait_for("Prometheus", ready)
        yield one
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
