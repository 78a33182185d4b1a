"""Orders one by one from a venue to a subscriber: the book that a plant shows beside the fold of its store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coinbase_tools import SECRETS
from credential_folder import credential_folder
from folded_orders import FoldedOrders
from independent import recording
from made_dbn import orders, write
from plant_process import PlantProcess, plant, tickplant, wait_for
from sim_process import SimProcess, sim_process

from tickplant import fetch_book, subscribe
from tickplant.instruments import format_decimal
from tickplant.records.layouts import Flag, Kind, Schema, Side, StatusCode
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.verify import verify

pytestmark = pytest.mark.usefixtures("unmeasured")

TEXT = """
[plant]
data = "data"
heartbeat_s = 0.2

[feeds.feed]
{feed}
channels = ["orders", "trade"]

[engines.engine]
publish = "tcp://127.0.0.1:{{port}}"

[writers.writer]
flush_s = 0.1
"""
DATABENTO = 'venue = "databento"\nws_url = "tcp://{sim.host}:{sim.port}"\nsymbols = ["GLBX.MDP3/{symbol}"]'
COINBASE = (
    'venue = "coinbase"\nws_url = "{sim.ws_url}"\nrest_url = "{sim.rest_url}"\nsymbols = ["BTC-USD"]\n'
    'credentials = "venue"'
)
OF_ORDERS = (Kind.ORDER_ADD, Kind.ORDER_MODIFY, Kind.ORDER_CANCEL, Kind.ORDER_FILL)


class Stored:
    """What the store of a plant has of one symbol, and its fold."""

    def __init__(self, running: PlantProcess, symbol: str) -> None:
        self._data, self._symbol = running.data_dir, symbol
        self._next = 0
        self.records = np.empty(0)
        self._batches: list[np.ndarray] = []
        self.fold = FoldedOrders()

    def follow(self) -> FoldedOrders:
        """The fold of all that is stored by now, until the feed was stopped."""
        for batch in Store(self._data).read("feed", Schema.TICK, Selection(), first_seq=self._next):
            self._next = int(batch["seq"][-1]) + 1
            ident = Store(self._data).find(*self._symbol.split(" "))[-1].id
            mine = batch[batch["instrument"] == ident].copy()
            self._batches.append(mine)
            ends = np.flatnonzero((mine["kind"] == Kind.STATUS) & (mine["price"] == StatusCode.DISCONNECTED))
            self.fold.apply(mine[: ends[0] if len(ends) else None])
        self.records = np.concatenate(self._batches) if self._batches else self.records
        return self.fold


def shown(running: PlantProcess, symbol: str) -> list[list[tuple[int, int, int]]]:
    """The orders of each side, from the engine."""
    book = fetch_book(*symbol.split(" "), address=running.publish, orders=True)
    assert book.bid_orders is not None
    assert book.ask_orders is not None
    return [[tuple(order)[:3] for order in side] for side in (book.bid_orders, book.ask_orders)]


def follow(running: PlantProcess, symbol: str, is_over: Callable[[], bool]) -> tuple[list[list[Any]], np.ndarray]:
    """The book of the engine, once it is that of the store; and what a subscriber has been given since its snapshot."""
    stored, given = Stored(running, symbol), []
    name = "{}.{}.orders".format(*symbol.split(" "))
    with subscribe(name, address=running.publish) as messages:
        expected = 0

        def receive() -> bool:
            nonlocal expected
            while message := messages.receive(0.05):
                assert message.kind in (("snapshot", "live") if not given else ("live",)), message.kind
                if message.kind == "snapshot":
                    expected = message.first_seq
                else:
                    assert message.first_seq == expected
                    given.append(np.array(message.records))
                    expected += len(message.records)
            return is_over()

        wait_for("the end of the market", receive)

        def equal() -> list[list[tuple[int, int, int]]]:
            receive()
            found = shown(running, symbol)
            fold = stored.follow()
            return found if fold.live and found == [fold.queue(side) for side in (Side.BID, Side.ASK)] else []

        book = wait_for("the engine's book to be the fold of what is stored", equal)
    return book, np.concatenate(given)


def check(running: PlantProcess, symbol: str, is_over: Callable[[], bool]) -> np.ndarray:
    """Returns what is stored of the symbol."""
    book, given = follow(running, symbol, is_over)
    done = tickplant("book", *symbol.split(" "), "--address", running.publish, "--orders", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    row = Store(running.data_dir).find(*symbol.split(" "))[-1]
    for side, own in zip(("bid_orders", "ask_orders"), book, strict=True):
        assert len(own) > 5
        assert [(order["order_id"], order["price"], order["size"]) for order in printed[side]] == [
            (str(ident), format_decimal(price, row.price_scale), format_decimal(size, row.size_scale))
            for ident, price, size in own
        ]
    assert running.stop() == 0
    stored = Stored(running, symbol)
    fold = stored.follow()
    assert [fold.queue(side) for side in (Side.BID, Side.ASK)] == book
    ours = np.isin(stored.records["kind"], OF_ORDERS) | (stored.records["flags"] & Flag.ON_ORDERS != 0)
    on_topic = stored.records[ours & (stored.records["kind"] != Kind.TRADE)]
    tail = given[np.isin(given["kind"], OF_ORDERS)]
    assert len(tail) > 100
    expected = on_topic[np.isin(on_topic["kind"], OF_ORDERS)][-len(tail) :]
    assert tail["seq"].tolist() == expected["seq"].tolist()
    report = verify(running.data_dir)
    assert report.ok and report.reconciled
    return stored.records


@contextlib.contextmanager
def recorded(folder: Path, feed: str, symbol: str, **spec: Any) -> Iterator[tuple[SimProcess, PlantProcess]]:
    with sim_process(**spec) as sim:
        text = TEXT.format(feed=feed.format(sim=sim, symbol=symbol))
        with plant(folder, text) as running:
            yield sim, running


def expect_played(folder: Path, file: Path, symbol: str, *, rate: float, limit: int, turns: int) -> None:
    """Each record of the file, turn by turn, is stored once."""
    spec = {"venue": "databento", "recording": str(file), "recording_per_s": rate, "loop": True}
    with recorded(folder, DATABENTO, symbol, limit_messages=limit, **spec) as (_, running):

        def is_over() -> bool:
            return bool(running.process_named("feed")["counters"].get("parsed", 0) >= limit + turns)

        records = check(running, f"databento GLBX.MDP3/{symbol}", is_over)
        assert np.count_nonzero(records["kind"] == Kind.GAP) == 0
        assert np.count_nonzero(np.isin(records["kind"], (*OF_ORDERS, Kind.TRADE, Kind.CLEAR))) >= limit + turns


@pytest.mark.long
def test_orders_of_a_gateway_are_the_same_in_engine_store_and_subscription(tmp_path: Path) -> None:
    file = write(tmp_path / "a.dbn", orders(1, 1500))
    expect_played(tmp_path, file, "TEST", rate=3000, limit=4000, turns=3)


@pytest.mark.long
def test_a_future_of_cme_is_the_same_in_engine_store_and_subscription(tmp_path: Path) -> None:
    expect_played(tmp_path, recording("dbn/CLX5_mbo.dbn"), "CLX5", rate=20_000, limit=95_000, turns=3)


@pytest.mark.long
def test_orders_of_coinbase_are_the_same_in_engine_store_and_subscription(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in credential_folder(tmp_path, "venue", SECRETS).items():
        monkeypatch.setenv(name, value)
    spec: dict[str, Any] = {"venue": "coinbase", "symbols": ["BTC-USD"], "messages_per_s": 500, "duration_s": 12}
    with recorded(tmp_path, COINBASE, "BTC-USD", **spec) as (sim, running):

        def is_over() -> bool:
            return bool(sim.ledger()["source"]["ended"])

        records = check(running, "coinbase BTC-USD", is_over)
        assert {Kind.ORDER_ADD, Kind.ORDER_CANCEL, Kind.TRADE} <= {*records["kind"].tolist()}
