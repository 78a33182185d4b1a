"""Books of orders from a store: at any instant, from checkpoints or without them, and on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_past import SETTINGS, derive, fill, past_ticks

from tickplant import cli
from tickplant.books.plain_orders import PlainOrderBooks
from tickplant.errors import StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import CHECKPOINT, Flag, Kind, Schema, Side
from tickplant.store import stored_checkpoints
from tickplant.store.reader import Store

SECOND = 10**9
START_NS = 1_700_000_000 * SECOND
ORDERS, LEVELS = 1, 2


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A store of a book of orders and one by level, with checkpoints, and its ticks."""
    folder = tmp_path_factory.mktemp("past")
    table = InstrumentTable.load(folder / "instruments.jsonl")
    ids = [table.register("venue", symbol, 2, 3).id for symbol in ("AAA", "BBB")]
    ticks = past_ticks(
        ids, 4000, seed=5, start_ns=START_NS, step_ns=SECOND // 10, resyncs=0.06, of_orders=frozenset({ORDERS})
    )
    ticks["ts_recv"] = np.maximum.accumulate(ticks["ts_recv"])  # so that a time says where
    ticks["ts_event"] = ticks["ts_recv"]
    crossing = (ticks["instrument"] == ORDERS) & (ticks["order_id"] > 0)
    ticks["price"] += np.where(crossing, np.where(ticks["side"] == Side.BID, 2, -2), 0)
    fill(folder, Schema.TICK, "feed", ticks)
    derived = derive(table, folder, ticks, SETTINGS._replace(checkpoint_s=15))
    fill(folder, Schema.CHECKPOINT, "engine", derived[Schema.CHECKPOINT])
    return folder, ticks


def truth_at(ticks: np.ndarray, at_ns: int) -> PlainOrderBooks:
    books = PlainOrderBooks()
    books.apply(ticks[ticks["ts_recv"] <= at_ns])
    return books


def last_of_orders(ticks: np.ndarray, at_ns: int) -> np.void:
    """The last record of the book of orders by then."""
    last: np.void = ticks[
        (ticks["ts_recv"] <= at_ns) & (ticks["instrument"] == ORDERS) & (ticks["kind"] != Kind.TRADE)
    ][-1]
    return last


def test_a_book_at_any_instant_is_the_fold_of_its_records(past: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    folder, ticks = past
    shutil.copytree(folder / "journal" / "feed", tmp_path / "plain" / "journal" / "feed")
    shutil.copy(folder / "instruments.jsonl", tmp_path / "plain")
    began = int(ticks["ts_recv"][(ticks["instrument"] == ORDERS) & (ticks["kind"] == Kind.CLEAR)][0])
    times = np.random.default_rng(1).integers(began, ticks["ts_recv"][-1], 25).tolist()
    times += ticks["ts_recv"][(ticks["instrument"] == ORDERS) & (ticks["kind"] == Kind.GAP)][:4].tolist()
    states = set()
    for at_ns in times:
        truth = truth_at(ticks, at_ns).order_books[ORDERS]
        truth.derive()
        for store in (Store(folder), Store(tmp_path / "plain")):
            book = store.book("venue", "AAA", at_ns, orders=True)
            assert book.bid_orders is not None and book.ask_orders is not None
            assert book.bid_orders.tolist() == truth.orders(Side.BID)
            assert book.ask_orders.tolist() == truth.orders(Side.ASK)
            assert dict(book.bids.tolist()) == truth.bids
            if last_of_orders(ticks, at_ns)["flags"] & Flag.LAST:  # in a snapshot a fold that begins with it is stale
                assert book.stale == (truth.state != "live")
                states.add(truth.state)
    assert {"live", "stale"} <= states


def test_checkpoints_of_orders_shorten_the_fold_and_keep_the_venues_id(past: tuple[Path, np.ndarray]) -> None:
    folder, ticks = past
    (records,) = [np.concatenate(list(Store(folder).scan(schema=Schema.CHECKPOINT, ids=[ORDERS])))]
    heads = records[records["kind"] == Kind.CLEAR]
    assert records.dtype == CHECKPOINT
    assert len(heads) > 5
    assert (heads["flags"] & Flag.ON_ORDERS != 0).all()
    found = stored_checkpoints.newest(
        Store(folder), "feed", ORDERS, of_orders=True, after_seq=0, after_ns=0, at_ns=int(ticks["ts_recv"][-1])
    )
    assert found is not None
    own = ticks[(ticks["instrument"] == ORDERS) & (ticks["seq"] < found.source_seq)]
    taken = own[(own["kind"] != Kind.TRADE) & (own["kind"] != Kind.GAP)]
    assert set(found.ticks["venue_seq"].tolist()) == {int(taken["venue_seq"][-1])}
    assert (found.ticks["order_id"][1:] > 0).all()
    for of_orders, id_ in ((False, ORDERS), (True, LEVELS)):
        arguments = {"after_seq": 0, "after_ns": 0, "at_ns": int(ticks["ts_recv"][-1])}
        assert stored_checkpoints.newest(Store(folder), "feed", id_, of_orders=of_orders, **arguments) is None


def test_a_crossed_book_is_resolved_on_request(past: tuple[Path, np.ndarray]) -> None:
    folder, ticks = past
    crossed = 0
    for at_ns in ticks["ts_recv"][500::100].tolist():
        flagged = Store(folder).book("venue", "AAA", at_ns)
        resolved = Store(folder).book("venue", "AAA", at_ns, crossed="match")
        crossed += len(flagged.bids) > 0 and len(flagged.asks) > 0 and flagged.bids[0][0] >= flagged.asks[0][0]
        if last_of_orders(ticks, at_ns)["flags"] & Flag.LAST and len(resolved.bids) and len(resolved.asks):
            assert resolved.bids[0][0] < resolved.asks[0][0]
    assert crossed > 3


def test_the_command_prints_orders_with_their_places(
    past: tuple[Path, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, ticks = past
    at_ns = int(ticks["ts_recv"][-1])
    truth = truth_at(ticks, at_ns).order_books[ORDERS]
    command = ["book", "venue", "AAA", "--data", str(folder), "--at", str(at_ns), "--orders"]
    assert cli.run([*command, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    for side, name in ((Side.BID, "bid_orders"), (Side.ASK, "ask_orders")):
        assert [(int(row["order_id"]), row["orders_ahead"]) for row in shown[name]] == [
            (row[0], row[3]) for row in truth.orders(side)
        ]
    first, expected = shown["bid_orders"][-1], truth.orders(Side.BID)[-1]
    assert (first["price"], first["size"], first["size_ahead"]) == (
        f"{expected[1] / 100:.2f}",
        f"{expected[2] / 1000:.3f}",
        f"{expected[4] / 1000:.3f}",
    )
    assert cli.run([*command, "--depth", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    best = sorted({row[1] for row in truth.orders(Side.BID)})[-2:]
    assert sum(line.endswith("bid") for line in lines) == sum(row[1] in best for row in truth.orders(Side.BID))
    assert cli.run(["book", "venue", "BBB", "--data", str(folder), "--orders"]) == 1
    assert "venue BBB has no order book at that time" in capsys.readouterr().err
    assert cli.run(["book", "venue", "AAA", "--crossed", "match"]) == 2


def test_orders_of_a_book_by_level_are_none(past: tuple[Path, np.ndarray]) -> None:
    book = Store(past[0]).book("venue", "BBB", int(past[1]["ts_recv"][-1]), orders=True)
    assert (book.bid_orders, book.ask_orders) == (None, None)
    assert len(book.bids)
    with pytest.raises(StoreError):
        Store(past[0]).book("venue", "CCC", 1)
