"""The faults that a gateway can have (docs/operations.md): a feed ends with the venue's book, no hole without a GAP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feed_process import FeedProcess, feed_process
from folded_orders import ListedOrders, read_mbo
from made_dbn import orders, write
from sim_process import sim_process

from tickplant.books.market_books import MarketBooks
from tickplant.records.layouts import GapCause, Kind, Side, StatusCode
from tickplant.runtime.job_specs import Live

pytestmark = pytest.mark.usefixtures("unmeasured")

COUNT = 2000
MARKET = (Kind.ORDER_ADD, Kind.ORDER_CANCEL, Kind.TRADE)
FEED: dict[str, Any] = {
    "venue": "databento",
    "symbols": ("GLBX.MDP3/TEST",),
    "channels": ("orders", "trade"),
    "reconnect_cap_s": 0.2,
}
OUT_OF_STEP = {GapCause.REJECTED, GapCause.DISCONNECT}
FAULTS: dict[str, tuple[list[dict[str, Any]], set[GapCause], str]] = {
    "disconnect": ([{"fault": "disconnect"}], {GapCause.DISCONNECT}, "connection lost"),
    "hang-up": ([{"fault": "disconnect", "close_frame": False}], {GapCause.DISCONNECT}, "connection lost"),
    "truncate": ([{"fault": "truncate"}], {GapCause.DISCONNECT}, "connection lost"),
    "garbage": ([{"fault": "garbage"}], OUT_OF_STEP, "replacing the connection"),
    "text": ([{"fault": "garbage", "text": "\n"}], OUT_OF_STEP, "replacing the connection"),
    "drop": ([{"fault": "drop", "count": 7}], {GapCause.SEQUENCE, GapCause.DISCONNECT}, "gap: sequence"),
    "refuse": (
        [{"fault": "refuse-connection", "count": 2}, {"fault": "disconnect"}],
        {GapCause.DISCONNECT},
        "connection lost",
    ),
    "late": ([{"fault": "stall", "for_s": 0.5}], set(), "connected"),
}
"""Faults in one moment, the causes of the GAPs that they leave, and a line of the log."""


def causes(feed: FeedProcess) -> list[GapCause]:
    return [GapCause(cause) for cause in feed.of_kind(Kind.GAP)["price"].tolist()]


def is_whole(feed: FeedProcess) -> bool:
    """A last session has come whole: the file's last record, behind the newest CONNECTED."""
    records = feed.records
    states = np.flatnonzero((records["kind"] == Kind.STATUS) & (records["price"] == StatusCode.CONNECTED))
    return bool(len(states)) and bool((records["venue_seq"][states[-1] :] == COUNT - 1).any())


def expect_runs(feed: FeedProcess) -> None:
    """Between two GAPs, and two begins of a book, no record is missing, nor there twice."""
    records = feed.records
    ends = np.flatnonzero(np.isin(records["kind"], (Kind.GAP, Kind.CLEAR)))
    for run in np.split(records, ends):
        numbers = run["venue_seq"][np.isin(run["kind"], MARKET)].astype(np.int64)
        assert (np.diff(numbers) == 1).all()
    assert [account for account in feed.accounts if account.off] == []


def expect_book(feed: FeedProcess, file: Path) -> None:
    truth, books = ListedOrders(), MarketBooks()
    for record in read_mbo(file):
        truth.take(record)
    books.apply(feed.records.copy())
    ident = feed.instruments.find("databento", "GLBX.MDP3/TEST")[-1].id
    assert not books.is_stale(ident)
    for side in (Side.BID, Side.ASK):
        own = books.of_orders.orders(ident, side)[["order_id", "price", "size"]].tolist()
        assert own == truth.orders(side)
        assert len(own) > 20


def script(*moments: list[dict[str, Any]], first: int = 700, step: int = 1000) -> list[dict[str, Any]]:
    return [
        {"at_message": first + number * step, "fault": fault}
        for number, faults in enumerate(moments)
        for fault in faults
    ]


def run(folder: Path, faults: list[dict[str, Any]], due: set[GapCause], sessions: int) -> FeedProcess:
    file = write(folder / "a.dbn", orders(1, COUNT))
    with sim_process(venue="databento", recording=str(file), recording_per_s=20_000, faults=faults) as sim:
        source = Live(ws_url=f"tcp://{sim.host}:{sim.port}")
        with feed_process(folder, source, **FEED) as feed:

            def over() -> bool:
                return set(causes(feed)) >= due and len(feed.of_kind(Kind.CLEAR)) >= sessions and is_whole(feed)

            feed.wait_for("the file after the last fault", over)
            expect_book(feed, file)
            assert feed.stop() == 0
            assert set(causes(feed)) == due
            expect_runs(feed)
    return feed


@pytest.mark.long
def test_every_fault_of_a_gateway_is_gone_through(tmp_path: Path) -> None:
    moments = [faults for faults, _, _ in FAULTS.values()]
    due = set().union(*(causes for _, causes, _ in FAULTS.values()))
    feed = run(tmp_path, script(*moments), due, len(FAULTS))
    said = {line["event"] for line in feed.log()}
    assert said >= {word for _, _, word in FAULTS.values()}
    assert feed.counters["connections_lost"] >= 5
    assert feed.counters["rejected"] == 2


@pytest.mark.long
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_of_a_gateway_leaves_its_gaps_and_the_book(tmp_path: Path, name: str) -> None:
    faults, due, word = FAULTS[name]
    feed = run(tmp_path, script(faults), due, 2 if due else 1)
    assert word in {line["event"] for line in feed.log()}


def test_a_gateway_that_sends_not_even_heartbeats_is_left(tmp_path: Path) -> None:
    file = write(tmp_path / "a.dbn", orders(1, COUNT))
    faults = script([{"fault": "stall", "pings": False}])
    spec = {"recording": str(file), "recording_per_s": 20_000, "loop": True, "faults": faults}
    with sim_process(venue="databento", **spec) as sim:
        source = Live(ws_url=f"tcp://{sim.host}:{sim.port}")
        with feed_process(tmp_path, source, stall_s=1.0, **FEED) as feed:
            # On a busy machine a session after the first one may seem silent too.
            feed.wait_for("another session", lambda: set(causes(feed)) == {GapCause.DISCONNECT} and is_whole(feed))
            assert feed.stop() == 0
            expect_runs(feed)


def test_a_subscription_that_is_refused_is_said(tmp_path: Path) -> None:
    file = write(tmp_path / "a.dbn", orders(1, COUNT))
    faults = script([{"fault": "refuse-subscription"}], first=0)
    with sim_process(venue="databento", recording=str(file), recording_per_s=20_000, faults=faults) as sim:
        source = Live(ws_url=f"tcp://{sim.host}:{sim.port}")
        with feed_process(tmp_path, source, **FEED) as feed:
            feed.wait_for(
                "the refusal",
                lambda: StatusCode.SUBSCRIPTION_REFUSED in feed.of_kind(Kind.STATUS)["price"].tolist(),
            )
            assert feed.stop() == 0
            assert feed.counters["refused"] == 1
            assert "Invalid subscription: mbo" in feed.errors.read_text()
