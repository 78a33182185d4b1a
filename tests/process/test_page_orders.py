"""A market whose venue names each order: the page shows its levels, live and as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from coinbase_tools import SECRETS
from credential_folder import credential_folder
from engine_watch import EngineWatch
from page_browser import WATCH, shown_of
from page_plant import AT, PagePlant, at_rest, page_plant, until
from plant_process import wait_for
from sim_process import SimProcess, sim_process

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

VENUE, SYMBOL = "coinbase", "BTC-USD"
MARKET = f"#/market/{VENUE}/{SYMBOL}"
TEXT = """
[plant]
data = "data"
heartbeat_s = 0.2

[feeds.feed]
venue = "coinbase"
ws_url = "{sim.ws_url}"
rest_url = "{sim.rest_url}"
symbols = ["BTC-USD"]
credentials = "venue"
channels = ["orders", "trade"]

[engines.engine]
publish = "tcp://127.0.0.1:{{port}}"

[writers.writer]
flush_s = 0.1
"""


@pytest.fixture(scope="module")
def sim() -> Iterator[SimProcess]:
    with sim_process(venue=VENUE, symbols=[SYMBOL], messages_per_s=200) as process:
        yield process


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, sim: SimProcess) -> Iterator[PagePlant]:
    folder = tmp_path_factory.mktemp("orders")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in credential_folder(folder, "venue", SECRETS).items():
            patch.setenv(name, value)
        with page_plant(folder, TEXT.format(sim=sim)) as one:
            wait_for("a book", lambda: one.get("book", venue=VENUE, symbol=SYMBOL).get("bids"))
            yield one


def test_the_ladder_is_the_levels_of_the_orders_at_each_sequence_that_it_shows(
    running: PagePlant, page: Callable[..., Any]
) -> None:
    engine = EngineWatch(running.plant.publish, f"{VENUE}.{SYMBOL}.orders")
    try:
        wait_for("the engine's orders", lambda: engine.messages)
        shown = page(MARKET)
        shown.wait_for_selector("#market[data-state=live]")
        shown.evaluate(WATCH)
        wait_for("updates", lambda: shown.evaluate("seen.length") >= 15)
        seen = {one["seq"]: one for one in shown.evaluate("seen")}
        wait_for("the same from the engine", lambda: engine.end_seq >= max(seen))
    finally:
        engine.close()
    assert {one["state"] for one in seen.values()} == {"live"}
    assert len({one["epoch"] for one in seen.values()}) == 1
    checked = 0
    for seq, book in engine.books(seen):
        rows = seen[seq]["rows"]
        assert len(rows) > 20
        assert shown_of(rows) == book.best(len(rows) // 2), f"at {seq}"
        checked += 1
    assert checked == len(seen) >= 15


def test_the_time_machine_steps_by_order_and_plays(running: PagePlant, page: Callable[..., Any]) -> None:
    first, last = running.span(VENUE, SYMBOL, "orders")
    shown = page(f"{MARKET}?at={first + (last - first) // 3}")
    shown.wait_for_selector("#market[data-state=past]")
    instants = [at_rest(shown)]
    running.assert_stored(shown, instants[0], VENUE, SYMBOL)
    for key in ("ArrowRight",) * 4 + ("ArrowLeft",) * 2:
        shown.keyboard.press(key)
        until(shown, f"{AT} !== '{instants[-1]}'")
        instants.append(at_rest(shown))
        running.assert_stored(shown, instants[-1], VENUE, SYMBOL)
    assert instants[5:] == [instants[3], instants[2]]
    # Each stop is where a record of an order or a trade came.
    query = {"venue": VENUE, "symbol": SYMBOL, "start": instants[1], "end": instants[4] + 1, "columns": "recv_ns"}
    stored = {row["recv_ns"] for row in running.get("history/ticks", **query)["data"]}
    assert {int(one) for one in stored} == set(instants[1:5])

    shown.select_option("select[aria-label=Speed]", "5")
    shown.keyboard.press("Space")
    until(shown, f"BigInt({AT}) > {instants[-1] + 3 * 10**9}n")
    shown.keyboard.press("Space")
    shown.wait_for_selector("#freshness:has-text('as it was')")
    running.assert_stored(shown, at_rest(shown), VENUE, SYMBOL)


def test_a_book_whose_venue_is_gone_is_stale(running: PagePlant, page: Callable[..., Any], sim: SimProcess) -> None:
    shown = page(MARKET)
    shown.wait_for_selector("#market[data-state=live]")
    sim.process.kill()
    shown.wait_for_selector("#market[data-state=stale]")
    assert "these are the numbers of" in shown.inner_text("#banner")
