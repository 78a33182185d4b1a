"""Every frame and tick is counted once, whatever happens: in the feed as it runs, and in what it leaves in its ring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from binance_tools import Desk, as_bytes, trade
from remains import ring_name

from tickplant.feeds.contract import Frames
from tickplant.feeds.pipeline import ACCOUNT_NS, FeedPipeline
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.ring_publisher import KEPT_RECORDS, FeedPublisher
from tickplant.instruments import Instrument
from tickplant.records.layouts import GapCause, Kind, Schema, StatusCode
from tickplant.runtime import accounts
from tickplant.shm.consumer import Consumer
from tickplant.shm.ring import Mode, Ring
from tickplant.store.reconcile import Reconciliation

CAPACITY = 64
START_NS = 1_700_000_000 * 10**9


class Bench:
    """A pipeline between a real adapter and a real ring."""

    def __init__(self, folder: Path, ring: Ring, publisher: FeedPublisher, consumer: Consumer) -> None:
        self.desk = Desk(use_shapes=False)
        self.publisher = publisher
        self.consumer = consumer
        rejects = RejectLog(folder / "rejects.jsonl", 10)
        self.asked = 0
        self.pipeline = FeedPipeline(self.desk.adapter, publisher, rejects, self.resolve, str)

    def resolve(self, symbol: str, price_scale: int | None, size_scale: int | None) -> Instrument:
        """As the supervisor does it."""
        self.asked += 1
        return self.desk.resolve(symbol, price_scale, size_scale)

    def receive(self, *frames: dict[str, Any] | bytes, ts: int = START_NS) -> None:
        """As a runner does it."""
        if self.pipeline.is_due(ts):
            self.pipeline.write_account()
        self.pipeline.seen(ts)
        self.pipeline.deliver(Frames("", [as_bytes(frame) for frame in frames]), ts)
        self.publisher.publish(self.pipeline.take()[0])

    def read(self) -> np.ndarray[Any, Any]:
        records = self.consumer.read(CAPACITY)
        self.consumer.commit(self.consumer.position)
        return records

    def check(self) -> list[accounts.Account]:
        balances = self.pipeline.accounts("feed")
        assert [account.off for account in balances] == [0, 0, 0], [str(account) for account in balances]
        return balances


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Ring.create(ring_name(), Schema.TICK, CAPACITY, epoch=1, doorbell_dir=tmp_path) as ring:
        try:
            with ring.consumer("test", Mode.GATING) as consumer, ring.producer() as producer:
                yield Bench(tmp_path, ring, FeedPublisher(producer, CAPACITY, full_wait_s=0.0), consumer)
        finally:
            ring.unlink()


def test_an_account_says_what_is_off_and_leaves_out_what_is_nothing() -> None:
    right = accounts.frames("feed", 1200, parsed=1190, ignored=0, rejected=10)
    assert (str(right), right.off) == ("frames received 1,200 = parsed 1,190 + rejected 10", 0)
    wrong = accounts.storing("feed", "tick", 10, stored=7, lost=0, in_ring=1)
    assert (str(wrong), wrong.off) == ("tick published 10 = stored 7 + in ring 1 IS OFF BY 2", 2)
    assert str(accounts.drops("feed", 0, told=0, untold=0)) == "ticks dropped 0 = told 0"


def test_an_account_needs_nobody_to_ask(bench: Bench) -> None:
    """A feed whose supervisor was killed would wait for its answer at the end."""
    bench.receive(trade(1))
    asked = bench.asked
    assert bench.pipeline.write_account()
    assert bench.asked == asked


def test_every_received_frame_is_parsed_ignored_or_rejected(bench: Bench) -> None:
    bench.receive(trade(1), b"{broken", {"result": None, "id": 1})
    bench.pipeline.malformed(b"no line", "has no time")
    bench.receive(trade(2))
    frames, ticks, _ = bench.check()
    assert (frames.count, frames.parts) == (5, {"parsed": 2, "ignored": 1, "rejected": 2})
    assert (ticks.count, ticks.parts["published"]) == (4, 4)


def test_frames_that_an_adapter_failed_on_are_rejected_and_a_gap_tells_of_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = bench.desk.adapter.market
    on_trade = market.on_trade

    def failing(listing: Any, message: Any, ts_recv: int, **options: Any) -> bool:
        if message.id == 3:
            raise ArithmeticError
        return on_trade(listing, message, ts_recv, **options)

    monkeypatch.setattr(market, "on_trade", failing)
    bench.receive(trade(1), trade(2), trade(3), trade(4), trade(5))
    frames, _, _ = bench.check()
    assert frames.parts == {"parsed": 2, "ignored": 0, "rejected": 3}
    records = bench.read()
    assert records["kind"].tolist() == [Kind.TRADE, Kind.TRADE, Kind.GAP]
    assert records[-1]["price"] == GapCause.REJECTED
    assert bench.pipeline.counters()["gaps"] == 1


def test_an_account_comes_before_the_first_frame_of_each_period_and_never_when_nothing_happened(bench: Bench) -> None:
    for count, ts in enumerate((START_NS, START_NS + 1, START_NS + ACCOUNT_NS, START_NS + 5 * ACCOUNT_NS)):
        bench.receive(trade(count), ts=ts)
    for _ in range(3):
        assert bench.pipeline.write_account()
    records = bench.read()
    is_account = records["kind"] == Kind.STATUS
    assert is_account.tolist() == [False, False, True, True, False, True, True, False, True, True]
    pairs = records[is_account]
    assert pairs["price"].tolist() == [StatusCode.ACCOUNT_FRAMES, StatusCode.ACCOUNT_TICKS] * 3
    assert pairs["size"].tolist() == [2, 4, 3, 7, 4, 10]
    assert pairs["ts_recv"].tolist()[::2] == [START_NS + 1, START_NS + ACCOUNT_NS, START_NS + 5 * ACCOUNT_NS]
    bench.check()
    assert list(Reconciliation("feed").add(records)) == []


def test_no_account_is_written_while_the_ring_is_full_and_the_next_one_covers_all(bench: Bench) -> None:
    bench.receive(*(trade(ident) for ident in range(CAPACITY)))
    for ident in range(CAPACITY, CAPACITY + 7):
        bench.receive(trade(ident), b"{broken", ts=START_NS + ACCOUNT_NS)
        bench.check()
    assert not bench.pipeline.write_account()
    _, ticks, drops = bench.check()
    assert ticks.parts == {"published": CAPACITY, "dropped": 7, "waiting": 7}
    assert drops.parts == {"told": 0, "untold": 7}
    first = bench.read()
    assert bench.pipeline.write_account()
    assert bench.check()[2].parts == {"told": 7, "untold": 0}
    reconciliation = Reconciliation("feed")
    assert list(reconciliation.add(np.concatenate([first, bench.read()]))) == []
    (day,) = reconciliation.summary.days
    assert (day.received, day.parsed, day.rejected) == (CAPACITY + 14, CAPACITY + 7, 7)
    assert (day.dropped, day.told) == (7, 7)


def test_status_and_gap_records_beyond_those_that_are_kept_are_told_as_well(bench: Bench) -> None:
    bench.receive(*(trade(ident) for ident in range(CAPACITY)))
    lost = 476
    for _ in range(4):
        bench.pipeline.status(StatusCode.SUBSCRIPTION_SILENT, [1] * ((KEPT_RECORDS + lost) // 4))
        bench.receive()
    _, ticks, drops = bench.check()
    assert (ticks.parts["dropped"], ticks.parts["waiting"]) == (lost, KEPT_RECORDS)
    records = [bench.read()]
    while not bench.pipeline.write_account():
        records.append(bench.read())
    records.append(bench.read())
    assert bench.check()[2].parts == {"told": lost, "untold": 0} != drops.parts
    assert list(Reconciliation("feed").add(np.concatenate(records))) == []
