"""The page in a browser, on a real plant: its numbers are the plant's, live and as they were; nobody is shut out."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from folded_book import FoldedBook
from page_browser import ROWS, WATCH, Shown, browser, shown_book, shown_of
from plant_process import DEADLINE_S, DEMO, PlantProcess, free_port, plant, tickplant, wait_for

import tickplant as package
from tickplant.client.follower import Message
from tickplant.records.layouts import Side
from tickplant.times import parse_time

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

INSTANTS = 20
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
MARKET = "#/market/binance/BTCUSDT"
GATEWAY = """
[gateways.web]
port = {gateway}
requests_per_s = 1000.0
"""


class Running:
    """A plant, its gateway, and pages of it."""

    def __init__(self, process: PlantProcess, address: str, chromium: Any) -> None:
        self.plant = process
        self.address = address
        self._chromium = chromium
        self.complaints: list[str] = []

    def get(self, path: str, **parameters: object) -> Any:
        return httpx.get(f"{self.address}/api/v1/{path}", params=parameters, timeout=DEADLINE_S).json()

    def open(self, path: str, size: str = "desktop", scheme: str = "dark") -> Any:
        """A page, whose errors are collected."""
        width, height = SIZES[size]
        context = self._chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=size == "phone"
        )
        page = context.new_page()
        page.set_default_timeout(DEADLINE_S * 1000)
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{self.address}/{path}")
        return page


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with browser(tmp_path_factory.mktemp("chromium")) as chromium:
        port = free_port()
        text = DEMO + GATEWAY.replace("{gateway}", str(port))
        with plant(tmp_path_factory.mktemp("page"), text, rate=400.0) as process:
            one = Running(process, f"http://127.0.0.1:{port}", chromium)
            wait_for("the gateway", lambda: answers(one))
            yield one


def answers(running: Running) -> bool:
    try:
        return bool(running.get("history/bars", venue="binance", symbol="BTCUSDT", limit=1).get("data"))
    except httpx.TransportError:
        return False


@pytest.fixture
def page(running: Running) -> Iterator[Callable[..., Any]]:
    """Opens pages, and holds at the end that none of them had an error."""
    opened: list[Any] = []
    running.complaints.clear()

    def opener(*words: str) -> Any:
        opened.append(running.open(*words))
        return opened[-1]

    yield opener
    for one in opened:
        one.context.close()
    assert running.complaints == []


class Engine:
    """The messages of one book as the engine publishes them, and the book that they make, by our own fold."""

    def __init__(self, address: str) -> None:
        self.messages: list[Message] = []
        self._address = address
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with package.subscribe("binance.BTCUSDT.book", address=self._address) as subscription:
            while not self._over.is_set():
                message = subscription.receive(0.1)
                if message is not None:
                    self.messages.append(message)

    def close(self) -> None:
        self._over.set()
        self._thread.join(DEADLINE_S)

    @property
    def end_seq(self) -> int:
        return self.messages[-1].first_seq + len(self.messages[-1].records) if self.messages else 0

    def books(self, wanted: list[int]) -> Iterator[tuple[int, FoldedBook, int]]:
        """The book just before each of these sequences, ascending, and the scale factor of its numbers."""
        book = FoldedBook()
        seqs = iter(wanted)
        seq = next(seqs)
        for message in self.messages:
            live = message.kind != "snapshot"
            at = message.first_seq
            ticks = message.records
            while live and seq <= at + len(ticks):
                book.apply_ticks(ticks[: seq - at])
                ticks, at = ticks[seq - at :], seq
                yield seq, book, message.price_scale
                try:
                    seq = next(seqs)
                except StopIteration:
                    return
            book.apply_ticks(ticks)


def levels(book: FoldedBook, scale: int, depth: int) -> Shown:
    unit = Decimal(1).scaleb(-scale)
    sides = []
    for side in (Side.BID, Side.ASK):
        prices = sorted(book.levels[side], reverse=side is Side.BID)[:depth]
        sides.append([(price * unit, book.levels[side][price] * unit) for price in prices])
    return Shown(*sides)


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("updates", [100, pytest.param(1_000, marks=pytest.mark.proof)])
def test_the_ladder_is_the_engines_book_at_each_sequence_that_it_shows(
    running: Running, page: Callable[..., Any], updates: int
) -> None:
    engine = Engine(running.plant.publish)
    try:
        wait_for("the engine's book", lambda: engine.messages)
        shown = page(MARKET)
        shown.wait_for_selector("#market[data-state=live]")
        shown.evaluate(WATCH)
        wait_for(f"{updates} updates", lambda: shown.evaluate("seen.length") >= updates, timeout_s=1200)
        seen = shown.evaluate("seen")
        wait_for("the same from the engine", lambda: engine.end_seq >= seen[-1]["seq"])
        live = running.get("book", venue="binance", symbol="BTCUSDT")
        wait_for("the book that the gateway asked for", lambda: engine.end_seq >= live["topic_seq"])
    finally:
        engine.close()
    by_seq = {one["seq"]: one for one in seen}
    assert len(by_seq) >= updates
    assert {one["state"] for one in seen} == {"live"}
    for seq, book, scale in engine.books(sorted({*by_seq, live["topic_seq"]})):
        if seq == live["topic_seq"]:  # so the fold is right
            assert levels(book, scale, 10_000) == shown_book(live, 10_000)
        if seq in by_seq:
            rows = by_seq[seq]["rows"]
            assert shown_of(rows) == levels(book, scale, len(rows) // 2), f"at {seq}"
            by_seq.pop(seq)
    assert by_seq == {}


def stored_span(running: Running) -> tuple[int, int]:
    ends = [
        running.get("history/levels", venue="binance", symbol="BTCUSDT", limit=1, columns="recv_ns,seq", newest=newest)
        for newest in ("false", "true")
    ]
    first, last = (int(end["data"][0]["recv_ns"]) for end in ends)
    return first, last


def stored_book(running: Running, at: int) -> dict[str, Any]:
    """What `tickplant book --at` prints."""
    ended = tickplant(
        "book", "binance", "BTCUSDT", "--data", running.plant.data_dir, "--at", str(at), "--depth", "60", "--json"
    )
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


AT = "document.getElementById('market').dataset.at"


def until(shown: Any, expression: str) -> None:
    """Playwright's own `wait_for_function` is an eval in the page, which the policy of the page forbids."""
    wait_for(expression, lambda: shown.evaluate(expression))


def at_rest(shown: Any) -> int:
    """The instant that the time machine shows when it has arrived."""
    until(shown, "document.querySelector('#timebar .note').textContent !== 'reading'")
    return int(shown.evaluate(AT))


def assert_stored(running: Running, shown: Any, at: int) -> None:
    rows = shown.evaluate(ROWS)
    assert shown_of(rows) == shown_book(stored_book(running, at), len(rows) // 2), f"at {at}"


def test_the_time_machine_shows_the_book_that_the_store_had_at_any_instant(
    running: Running, page: Callable[..., Any]
) -> None:
    first, last = stored_span(running)
    shown = page(MARKET)
    shown.wait_for_selector("#market[data-state=live]")
    chance = random.Random(20261127)
    for _ in range(INSTANTS):
        at = chance.randrange(first, last)
        shown.evaluate(f"location.hash = '{MARKET}?at={at}'")
        shown.wait_for_selector(f"#market[data-at='{at}'][data-state=past]")
        assert at_rest(shown) == at
        assert_stored(running, shown, at)

    # Stepping on and back, and playing, come to the same books as going there at once.
    middle = (first + last) // 2
    shown.evaluate(f"location.hash = '{MARKET}?at={middle}'")
    shown.wait_for_selector(f"#market[data-at='{middle}']")
    instants = [at_rest(shown)]
    for key in ("ArrowRight",) * 5 + ("ArrowLeft",) * 2:
        shown.keyboard.press(key)
        until(shown, f"{AT} !== '{instants[-1]}'")
        instants.append(at_rest(shown))
        assert_stored(running, shown, instants[-1])
    assert instants[:6] == sorted(set(instants[:6]))
    assert instants[6:] == [instants[4], instants[3]]

    shown.select_option("select[aria-label=Speed]", "10")
    shown.keyboard.press("Space")
    until(shown, f"BigInt({AT}) > {middle + 5 * 10**9}n")
    shown.keyboard.press("Space")
    shown.wait_for_selector("#freshness:has-text('as it was')")
    assert_stored(running, shown, at_rest(shown))
    tape = shown.evaluate("[...document.querySelectorAll('#tape .price')].map((cell) => cell.textContent)")
    query = {"venue": "binance", "symbol": "BTCUSDT", "end": at_rest(shown) + 1, "newest": "true", "limit": len(tape)}
    rows = running.get("history/trades", **query)["data"]
    assert list(map(Decimal, filter(None, tape))) == [Decimal(row["price"]) for row in reversed(rows)]

    shown.keyboard.press("Escape")
    shown.wait_for_selector("#market[data-state=live]")


def test_a_dead_gateway_is_seen_at_once_and_the_page_comes_back_by_itself(running: Running) -> None:
    shown = running.open(MARKET)
    shown.wait_for_selector("#market[data-state=live]")
    shown.evaluate(WATCH)
    wait_for("updates", lambda: shown.evaluate("seen.length") > 20)
    os.kill(running.plant.process_named("web")["pid"], signal.SIGKILL)
    shown.wait_for_selector("#market[data-state=down]")
    assert "Disconnected for" in shown.inner_text("#banner")
    before = shown.evaluate("seen.at(-1).seq")
    shown.wait_for_selector("#market[data-state=live]")
    wait_for("later updates", lambda: shown.evaluate("seen.at(-1).seq") > before)
    # Resumed behind the last event: no snapshot was needed, and the book is the engine's.
    engine = Engine(running.plant.publish)
    try:
        wait_for("the engine's book", lambda: len(engine.messages) > 3)
        began = engine.messages[0].first_seq
        wait_for("updates of both", lambda: shown.evaluate("seen.at(-1).seq") > began + 200)
        seen = {one["seq"]: one for one in shown.evaluate("seen") if one["seq"] > began}
        wait_for("the same from the engine", lambda: engine.end_seq >= max(seen))
    finally:
        engine.close()
    for seq, book, scale in engine.books(sorted(seen)):
        rows = seen[seq]["rows"]
        assert shown_of(rows) == levels(book, scale, len(rows) // 2), f"at {seq}"
    shown.context.close()


def test_a_gap_is_seen_in_the_ladder_the_trades_and_the_calendar_down_to_its_record(
    running: Running, page: Callable[..., Any]
) -> None:
    shown = page(MARKET)
    shown.wait_for_selector("#market[data-state=live]")
    shown.evaluate(WATCH)
    os.kill(running.plant.process_named("binance")["pid"], signal.SIGKILL)
    wait_for("a stale book", lambda: shown.evaluate("seen.some((one) => one.state === 'stale')"))
    wait_for("a live one", lambda: shown.evaluate("seen.at(-1).state === 'live'"))
    shown.wait_for_selector("#market[data-state=live]")

    gaps = wait_for("stored gaps", lambda: running.get("gaps", venue="binance", symbol="BTCUSDT").get("gaps"))
    day = gaps[0]["ts_recv"][:10]
    shown.goto(f"{running.address}/#/completeness")
    shown.wait_for_selector(f".calendar a[data-state=gaps][href$='BTCUSDT/{day}']").click()
    found = shown.locator(".detail tbody button")
    found.first.wait_for()
    assert found.count() >= len(gaps)
    found.first.click()
    record = shown.locator(".around tr[data-gap]")
    record.wait_for()
    assert f"{gaps[0]['seq']:,}" in record.inner_text()
    assert gaps[0]["cause"].replace("_", " ") in record.inner_text()
    shown.locator(".around a").click()
    shown.wait_for_selector(f"#market[data-at='{parse_time(gaps[0]['ts_recv'])}'][data-state=past]")


def test_candles_scroll_back_into_the_store_and_grow_with_trades(running: Running, page: Callable[..., Any]) -> None:
    shown = page(MARKET)
    shown.click("[data-interval='1']")
    candle = "document.getElementById('ohlc').textContent"
    until(shown, f"/^O [\\d.]+ +H /.test({candle})")
    before = shown.evaluate(candle)
    until(shown, f"{candle} !== {json.dumps(before)}")
    asked: list[str] = []
    shown.on("request", lambda request: "history/bars" in request.url and asked.append(request.url))
    box = shown.locator("#candles").bounding_box()
    shown.mouse.move(box["x"] + 100, box["y"] + 100)
    deadline_s = time.monotonic() + DEADLINE_S
    while not any("end=" in url for url in asked):
        assert time.monotonic() < deadline_s
        shown.mouse.wheel(-400, 0)
        shown.wait_for_timeout(50)


VIEWS = {
    "market": (MARKET, "#market[data-state=live]"),
    "past": (f"{MARKET}?at=%d", "#market[data-state=past]"),
    "health": ("#/health", "#health tbody tr td:nth-child(8)"),
    "completeness": ("#/completeness/binance/BTCUSDT/%s", ".detail dd"),
}


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("view", list(VIEWS))
def test_no_view_shuts_anybody_out(
    running: Running, page: Callable[..., Any], page_sources: Path, tmp_path: Path, view: str, size: str, scheme: str
) -> None:
    first, last = stored_span(running)
    path, ready = VIEWS[view]
    if view == "past":
        path %= (first + last) // 2
    elif view == "completeness":
        path %= running.get("coverage", venue="binance", symbol="BTCUSDT")["coverage"][-1]["day"]
    shown = page(path, size, scheme)
    shown.wait_for_selector(ready)
    axe = (page_sources / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    shown.evaluate(f"() => {{ {axe} }}")
    wanted = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
    found = shown.evaluate("(options) => axe.run(document, options)", wanted)
    shown.screenshot(path=str(tmp_path / f"{view}-{size}-{scheme}.png"), full_page=size == "phone")
    serious = [
        (one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than the screen"


def test_keys_alone_lead_everywhere(running: Running, page: Callable[..., Any]) -> None:
    shown = page("")
    shown.wait_for_selector("#market[data-state=live]")
    shown.keyboard.press("/")
    shown.keyboard.type("eth")
    shown.wait_for_selector("#picker li[aria-selected=true]:has-text('ETHUSDT')")
    shown.keyboard.press("Enter")
    shown.wait_for_selector("h1:has-text('ETHUSDT')")
    assert "/ETHUSDT" in shown.url
    for key, view in (("2", "health"), ("3", "completeness"), ("1", "market")):
        shown.keyboard.press(key)
        shown.wait_for_selector(f"#{view}:not([hidden])")
    scheme = "getComputedStyle(document.documentElement).colorScheme"
    before = shown.evaluate(scheme)
    shown.keyboard.press("d")
    assert shown.evaluate(scheme) != before
    shown.keyboard.press("t")
    shown.wait_for_selector("#market[data-state=past]")
    shown.keyboard.press("Escape")
    shown.wait_for_selector("#market[data-state=live]")
    shown.keyboard.press("?")
    shown.wait_for_selector("#about[open]")
    shown.keyboard.press("Escape")
    shown.wait_for_selector("#about:not([open])", state="attached")
