"""The page in a browser, on a real plant: its numbers are the plant's, live and as they were; nobody is shut out."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from engine_watch import EngineWatch
from page_browser import WATCH, shown_book, shown_of
from page_plant import AT, MARKET, SIZES, PagePlant, at_rest, page_plant, until
from plant_process import DEADLINE_S, wait_for

from tickplant.times import parse_time

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

INSTANTS = 20


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagePlant]:
    with page_plant(tmp_path_factory.mktemp("page")) as one:
        question = {"venue": "binance", "symbol": "BTCUSDT", "limit": 1}
        wait_for("stored bars", lambda: one.get("history/bars", **question).get("data"))
        yield one


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("updates", [100, pytest.param(1_000, marks=pytest.mark.proof)])
def test_the_ladder_is_the_engines_book_at_each_sequence_that_it_shows(
    running: PagePlant, page: Callable[..., Any], updates: int
) -> None:
    engine = EngineWatch(running.plant.publish, "binance.BTCUSDT.book")
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
    for seq, book in engine.books({*by_seq, live["topic_seq"]}):
        if seq == live["topic_seq"]:  # so the fold is right
            assert book == shown_book(live, 10_000)
        if seq in by_seq:
            rows = by_seq[seq]["rows"]
            assert shown_of(rows) == book.best(len(rows) // 2), f"at {seq}"
            by_seq.pop(seq)
    assert by_seq == {}


def test_the_time_machine_shows_the_book_that_the_store_had_at_any_instant(
    running: PagePlant, page: Callable[..., Any]
) -> None:
    first, last = running.span()
    shown = page(MARKET)
    shown.wait_for_selector("#market[data-state=live]")
    chance = random.Random(20261127)
    for _ in range(INSTANTS):
        at = chance.randrange(first, last)
        shown.evaluate(f"location.hash = '{MARKET}?at={at}'")
        shown.wait_for_selector(f"#market[data-at='{at}'][data-state=past]")
        assert at_rest(shown) == at
        running.assert_stored(shown, at)

    # Stepping on and back, and playing, come to the same books as going there at once.
    middle = (first + last) // 2
    shown.evaluate(f"location.hash = '{MARKET}?at={middle}'")
    shown.wait_for_selector(f"#market[data-at='{middle}']")
    instants = [at_rest(shown)]
    for key in ("ArrowRight",) * 5 + ("ArrowLeft",) * 2:
        shown.keyboard.press(key)
        until(shown, f"{AT} !== '{instants[-1]}'")
        instants.append(at_rest(shown))
        running.assert_stored(shown, instants[-1])
    assert instants[:6] == sorted(set(instants[:6]))
    assert instants[6:] == [instants[4], instants[3]]

    shown.select_option("select[aria-label=Speed]", "10")
    shown.keyboard.press("Space")
    until(shown, f"BigInt({AT}) > {middle + 5 * 10**9}n")
    shown.keyboard.press("Space")
    shown.wait_for_selector("#freshness:has-text('as it was')")
    running.assert_stored(shown, at_rest(shown))
    tape = shown.evaluate("[...document.querySelectorAll('#tape .price')].map((cell) => cell.textContent)")
    query = {"venue": "binance", "symbol": "BTCUSDT", "end": at_rest(shown) + 1, "newest": "true", "limit": len(tape)}
    rows = running.get("history/trades", **query)["data"]
    assert list(map(Decimal, filter(None, tape))) == [Decimal(row["price"]) for row in reversed(rows)]

    shown.keyboard.press("Escape")
    shown.wait_for_selector("#market[data-state=live]")


def clocks(shown: Any) -> tuple[float, float]:
    """The clock of the page and that of the time machine, ms."""
    now, at = shown.evaluate(f"[performance.now(), {AT}]")
    return now, int(at) / 1e6


@pytest.mark.parametrize(("speed", "data_s"), [(0.1, 0.3), (100, 20)])
def test_the_time_machine_plays_at_the_speed_chosen(
    running: PagePlant, page: Callable[..., Any], speed: float, data_s: float
) -> None:
    wait_for("enough to play", lambda: running.span()[1] - running.span()[0] > 2 * data_s * 1e9)
    first, _ = running.span()
    shown = page(f"{MARKET}?at={first + 10**9}")
    shown.wait_for_selector("#market[data-state=past]")
    at_rest(shown)
    chosen = "document.querySelector('select[aria-label=Speed]').value"
    while shown.evaluate(chosen) != str(speed):
        shown.keyboard.press("[" if speed < 1 else "]")
    began, start = clocks(shown)
    shown.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    shown.keyboard.press("Space")
    shown.wait_for_selector(f"#freshness:has-text('playing \N{MULTIPLICATION SIGN}{speed}')")
    until(shown, f"BigInt({AT}) > {first + 10**9 + round(data_s * 1e9)}n")
    at, now = clocks(shown)[::-1]
    assert at - start <= speed * (now - began)
    if speed > 1:
        assert at - start > now - began, "no faster than it was"
    shown.keyboard.press("Space")
    shown.wait_for_selector("#freshness:has-text('as it was')")
    running.assert_stored(shown, at_rest(shown))


def test_a_dead_gateway_is_seen_at_once_and_the_page_comes_back_by_itself(running: PagePlant) -> None:
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
    engine = EngineWatch(running.plant.publish, "binance.BTCUSDT.book")
    try:
        wait_for("the engine's book", lambda: len(engine.messages) > 3)
        began = engine.messages[0].first_seq
        wait_for("updates of both", lambda: shown.evaluate("seen.at(-1).seq") > began + 200)
        seen = {one["seq"]: one for one in shown.evaluate("seen") if one["seq"] > began}
        wait_for("the same from the engine", lambda: engine.end_seq >= max(seen))
    finally:
        engine.close()
    checked = 0
    for seq, book in engine.books(seen):
        rows = seen[seq]["rows"]
        assert shown_of(rows) == book.best(len(rows) // 2), f"at {seq}"
        checked += 1
    assert checked == len(seen)
    shown.context.close()


def test_a_gap_is_seen_in_the_ladder_the_trades_and_the_calendar_down_to_its_record(
    running: PagePlant, page: Callable[..., Any]
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


def test_candles_scroll_back_into_the_store_and_grow_with_trades(running: PagePlant, page: Callable[..., Any]) -> None:
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
    running: PagePlant, page: Callable[..., Any], page_sources: Path, tmp_path: Path, view: str, size: str, scheme: str
) -> None:
    first, last = running.span()
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
