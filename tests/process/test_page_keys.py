"""The page without a mouse, without movement, and on paper."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_plant import MARKET, PagePlant, page_plant, until

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

VIEWS = {
    "market": (MARKET, "#market[data-state=live]"),
    "past": (f"{MARKET}?at=%d", "#market[data-state=past]"),
    "health": ("#/health", "#health tbody tr td:nth-child(8)"),
    "completeness": ("#/completeness", ".calendar a"),
}
FOCUSABLE = """() => {
  const all = document.querySelectorAll("a[href], button, input, select, textarea, [tabindex='0']");
  const seen = [...all].filter((one) => one.checkVisibility());
  seen.forEach((one, at) => (one.dataset.stop = at));
  return seen.length;
}"""
FOCUSED = """() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  const mark = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
  const there = box.width > 0 && box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight;
  return [one.dataset.stop ?? null, mark, there, one.outerHTML.slice(0, 120)];
}"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagePlant]:
    with page_plant(tmp_path_factory.mktemp("keys"), rate=100.0) as one:
        yield one


def opened(running: PagePlant, page: Callable[..., Any], view: str, **options: Any) -> Any:
    path, ready = VIEWS[view]
    if view == "past":
        path %= sum(running.span()) // 2
    shown = page(path, **options)
    shown.wait_for_selector(ready)
    return shown


@pytest.mark.parametrize("view", list(VIEWS))
def test_tab_comes_to_everything_in_the_order_of_reading_and_shows_where_it_is(
    running: PagePlant, page: Callable[..., Any], view: str
) -> None:
    shown = opened(running, page, view)
    count = shown.evaluate(FOCUSABLE)
    assert count > 8
    stops = []
    for _ in range(count):
        shown.keyboard.press("Tab")
        stop, marked, there, html = shown.evaluate(FOCUSED)
        assert marked and there, f"nobody sees where the focus is: {html}"
        stops.append(stop)
    assert stops == [str(at) for at in range(count)]
    assert shown.evaluate("document.querySelector('[data-stop=\"0\"]').textContent") == "Skip to the content"


@pytest.mark.parametrize("opening", ["/", "?"])
def test_a_dialog_keeps_the_focus_and_gives_it_back(running: PagePlant, page: Callable[..., Any], opening: str) -> None:
    shown = opened(running, page, "market")
    shown.focus("#help")
    shown.keyboard.press(opening)
    shown.wait_for_selector("dialog[open]")
    for _ in range(8):
        shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    shown.keyboard.press("Escape")
    shown.wait_for_selector("dialog:not([open])", state="attached")
    assert shown.evaluate("document.activeElement.id") == "help"


def test_keys_alone_lead_everywhere(running: PagePlant, page: Callable[..., Any]) -> None:
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
    listed = shown.evaluate("[...document.querySelectorAll('#about kbd')].map((key) => key.textContent)")
    assert listed == ["/", "1", "2", "3", "T", "Space", "←", "→", "[", "]", "Esc", "D", "?"]
    shown.keyboard.press("Escape")
    shown.wait_for_selector("#about:not([open])", state="attached")


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_for_who_wants_no_movement(running: PagePlant, page: Callable[..., Any], motion: str) -> None:
    shown = opened(running, page, "market", reduced_motion=motion)
    moves = (
        "[...document.querySelectorAll('*')].some((one) => parseFloat(getComputedStyle(one).transitionDuration) > 0)"
    )
    assert shown.evaluate(moves) == (motion == "no-preference")


def test_what_is_not_live_is_unmistakable_on_the_screen_and_on_paper(running: PagePlant, tmp_path: Path) -> None:
    shown = running.open(MARKET)
    shown.wait_for_selector("#market[data-state=live]")
    shown.route("**/api/v1/stream*", lambda route: route.abort())  # it stays as it is
    os.kill(running.plant.process_named("web")["pid"], signal.SIGKILL)
    shown.wait_for_selector("#market[data-state=down]")
    for media in ("screen", "print"):
        shown.emulate_media(media=media)
        looks = shown.evaluate(
            """() => {
              const hatch = getComputedStyle(document.getElementById("ladder"), "::after");
              const row = getComputedStyle(document.querySelector(".ladder-row"));
              return [hatch.backgroundImage.slice(0, 25), row.filter, hatch.printColorAdjust];
            }"""
        )
        assert looks == ["repeating-linear-gradient", "grayscale(1)", "exact" if media == "print" else "economy"]
        assert "Disconnected for" in shown.inner_text("#banner")
        assert "these are the numbers of" in shown.inner_text("#banner")
        assert shown.is_visible("#banner") and "disconnected" in shown.inner_text("#freshness")
        until(shown, "[...document.querySelectorAll('#ladder .price')].every((cell) => cell.textContent)")
    shown.context.close()
