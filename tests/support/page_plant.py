"""A plant with a gateway, and its pages in a browser, whose errors are collected."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from page_browser import ROWS, browser, shown_book, shown_of
from plant_process import DEADLINE_S, DEMO, PlantProcess, free_port, plant, tickplant, wait_for

SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
MARKET = "#/market/binance/BTCUSDT"
GATEWAY = """
[gateways.web]
port = {gateway}
requests_per_s = 1000.0
"""
AT = "document.getElementById('market').dataset.at"
"""The instant of the time machine."""


class PagePlant:
    """A plant, its gateway, and pages of it.

    Attributes:
        complaints: errors of pages and of their consoles.
    """

    def __init__(self, process: PlantProcess, address: str, chromium: Any) -> None:
        self.plant = process
        self.address = address
        self.complaints: list[str] = []
        self._chromium = chromium

    def get(self, path: str, **parameters: object) -> Any:
        """The answer of a route."""
        return httpx.get(f"{self.address}/api/v1/{path}", params=parameters, timeout=DEADLINE_S).json()

    def open(self, path: str, size: str = "desktop", scheme: str = "dark", **options: Any) -> Any:
        """Open a page in a context of its own; `options` are those of the context."""
        width, height = SIZES[size]
        context = self._chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=size == "phone", **options
        )
        page = context.new_page()
        page.set_default_timeout(DEADLINE_S * 1000)
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{self.address}/{path}")
        return page

    def span(self, venue: str = "binance", symbol: str = "BTCUSDT", table: str = "levels") -> tuple[int, int]:
        """Receive times of the first and the last stored record, ns."""
        ends = [
            self.get(f"history/{table}", venue=venue, symbol=symbol, limit=1, columns="recv_ns,seq", newest=newest)
            for newest in ("false", "true")
        ]
        first, last = (int(end["data"][0]["recv_ns"]) for end in ends)
        return first, last

    def assert_stored(self, page: Any, at: int, venue: str = "binance", symbol: str = "BTCUSDT") -> None:
        """Assert that the ladder shows what `tickplant book --at` prints."""
        question = ("book", venue, symbol, "--data", self.plant.data_dir, "--at", str(at))
        ended = tickplant(*question, "--depth", "60", "--json")
        assert ended.returncode == 0, ended.stderr
        rows = page.evaluate(ROWS)
        assert shown_of(rows) == shown_book(json.loads(ended.stdout), len(rows) // 2), f"at {at}"


@contextlib.contextmanager
def page_plant(folder: Path, text: str = DEMO, *, rate: float = 400.0) -> Iterator[PagePlant]:
    """A plant of this configuration with a gateway `web`, and a browser. Skips the test without chromium."""
    with browser(folder) as chromium:
        port = free_port()
        with plant(folder, text + GATEWAY.replace("{gateway}", str(port)), rate=rate) as process:
            one = PagePlant(process, f"http://127.0.0.1:{port}", chromium)
            wait_for("the gateway", lambda: answers(one))
            yield one


def answers(running: PagePlant) -> bool:
    """Whether the gateway has instruments."""
    try:
        return bool(running.get("instruments").get("instruments"))
    except httpx.TransportError:
        return False


def until(page: Any, expression: str) -> None:
    """Wait for an expression, without Playwright's `wait_for_function`: the page's policy forbids its eval."""
    wait_for(expression, lambda: page.evaluate(expression))


def at_rest(page: Any) -> int:
    """The instant that the time machine shows once it has arrived."""
    until(page, "document.querySelector('#timebar .note').textContent !== 'reading'")
    return int(page.evaluate(AT))
