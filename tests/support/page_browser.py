"""The gateway's page in a headless Chromium, and what it shows, as values to compare."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

WATCH = """
() => {
  const ladder = document.getElementById("ladder");
  const rows = () => [...ladder.querySelectorAll("[data-side]")].map((row) =>
    [row.dataset.side, ...["price", "size", "total"].map((name) => row.querySelector("." + name).textContent)]);
  window.seen = [];
  new MutationObserver(() => {
    const { seq, epoch, state } = ladder.dataset;
    const last = window.seen.at(-1);
    if (last && last.seq === +seq && last.state === state) return;
    window.seen.push({ seq: +seq, epoch: +epoch, state, rows: rows() });
  }).observe(ladder, { attributes: true });
}
"""
"""Keeps what the ladder shows at each sequence; a frame writes its texts before its sequence."""

ROWS = """() => [...document.querySelectorAll("#ladder [data-side]")].map((row) =>
  [row.dataset.side, ...["price", "size", "total"].map((name) => row.querySelector("." + name).textContent)])"""

Levels = list[tuple[Decimal, Decimal]]


class Shown(NamedTuple):
    """Levels, best first."""

    bids: Levels
    asks: Levels

    def best(self, depth: int) -> Shown:
        """The best `depth` levels of each side."""
        return Shown(self.bids[:depth], self.asks[:depth])


def chromium() -> str:
    """Path of the browser. Skips the test if there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or pytest.skip("no chromium here: apt-get install chromium")


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Any]:
    """A headless browser with its own files in `folder`. Skips the test without a browser or a driver for it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: make development")
    path = chromium()
    with sync_api.sync_playwright() as playwright:
        flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        home = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)}
        started = playwright.chromium.launch(executable_path=path, args=flags, env=home)
        yield started
        started.close()


def shown_of(rows: list[list[str]]) -> Shown:
    """The levels that the rows of a ladder show. AssertionError if the rows contradict each other."""
    sides: dict[str, Levels] = {"bid": [], "ask": []}
    totals: dict[str, list[Decimal]] = {"bid": [], "ask": []}
    for side, price, size, total in rows:
        if price:
            sides[side].append((Decimal(price), Decimal(size)))
            totals[side].append(Decimal(total))
    sides["ask"].reverse()
    totals["ask"].reverse()
    for side, levels in sides.items():
        assert totals[side] == [sum(size for _, size in levels[: n + 1]) for n in range(len(levels))]
    for texts in ([row[1] for row in rows if row[1]], [text for row in rows for text in row[2:] if text]):
        assert len({len(text.partition(".")[2]) for text in texts}) <= 1, "decimals do not align"
    return Shown(sides["bid"], sides["ask"])


def shown_book(book: dict[str, Any], depth: int) -> Shown:
    """The levels in an answer of the gateway, or of `tickplant book --json`."""
    return Shown(
        *([(Decimal(price), Decimal(size)) for price, size in book[side][:depth]] for side in ("bids", "asks"))
    )
