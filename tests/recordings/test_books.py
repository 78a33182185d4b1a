"""The engine's books, best bids and offers and bars on real recordings, against a second reading of the same files."""

from __future__ import annotations

import gzip
from decimal import Decimal

import numpy as np
import pytest
from binance_tools import Desk
from checkpoint_proof import expect_as_folded
from folded_book import FoldedBook
from independent import Expected, read, recording

from tickplant.books.level_books import Books
from tickplant.books.plain_books import DictBooks, PlainBars
from tickplant.derive.bars import Bars
from tickplant.derive.book_checkpoints import checkpoint
from tickplant.engine.moments import Schedule
from tickplant.records.layouts import TICK, Flag, Kind, Side

pytestmark = [pytest.mark.long, pytest.mark.no_cover]  # half a million ticks in plain Python; measured in smaller tests

SCALE = 8
FILES = {
    "spot": ("binance_spot_btcusdt_20240808.gz", 564),
    "usdm": ("binance_usdm_btcusdt_20240808.gz", 629),
}


class Recorded:
    """One recording: the adapter's ticks, and what an independent reading expects."""

    def __init__(self, name: str) -> None:
        file, self.touches = FILES[name]
        path = recording(file)
        self.expected: Expected = read(path)
        desk = Desk(futures=name == "usdm", scale=SCALE)
        chunks = []
        with gzip.open(path) as lines:
            for line in lines:
                time_ns, _, body = line.rstrip(b"\n").partition(b" ")
                desk.record(body, int(time_ns))
                chunks.append(desk.take_ticks().copy())
        self.ticks = np.concatenate(chunks)
        self.ticks["seq"] = np.arange(len(self.ticks))


@pytest.fixture(scope="module", params=list(FILES))
def recorded(request: pytest.FixtureRequest) -> Recorded:
    return Recorded(request.param)


def mantissa(value: Decimal) -> int:
    return int(value.scaleb(SCALE))


def as_dict(levels: np.ndarray) -> dict[int, int]:
    return dict(levels.tolist())


def test_after_every_event_the_book_equals_an_independent_one_and_the_venues_own_best(recorded: Recorded) -> None:
    venues_best = {u: best for u, *best in recorded.expected.best}
    events = [event for event in recorded.expected.events if event]
    ends = np.flatnonzero((recorded.ticks["flags"] & Flag.LAST > 0) & (recorded.ticks["kind"] == Kind.LEVEL)) + 1
    assert len(ends) == len(events)
    books, truth = Books(), FoldedBook()
    live, touched, start = False, 0, 0
    for number, (event, end) in enumerate(zip(events, ends.tolist(), strict=True)):
        books.apply(recorded.ticks[start:end])
        start = end
        live = live or event[0][0] == "clear"
        if not live:
            assert books.is_stale(1)
            continue
        truth.apply_event(event)
        best = tuple(map(mantissa, (*truth.best_bid, *truth.best_ask)))
        snapshot = books.levels(1, Side.BID)[0].tolist() + books.levels(1, Side.ASK)[0].tolist()
        assert tuple(snapshot) == best
        update_id = event[0][-1]
        if update_id in venues_best:
            assert tuple(map(mantissa, venues_best[update_id])) == best
            touched += 1
        if number % 50 == 0 or number == len(events) - 1:
            for side, levels in truth.levels.items():
                assert as_dict(books.levels(1, side)) == {mantissa(p): mantissa(q) for p, q in levels.items()}
    assert touched == recorded.touches
    assert books.counters["crossed"] == 0


def test_best_bids_and_offers_equal_the_reference_in_any_batches(recorded: Recorded) -> None:
    ticks = recorded.ticks[:120_000]
    expected = DictBooks().apply(ticks[ticks["kind"] != Kind.QUOTE])
    assert len(expected) > 1000
    for size in (len(ticks), 1000, 7):
        books = Books()
        parts = [books.apply(ticks[i : i + size]).tobytes() for i in range(0, len(ticks), size)]
        assert b"".join(parts) == expected.tobytes()


def test_bars_hold_every_trade_once_and_equal_the_reference(recorded: Recorded) -> None:
    beyond = np.zeros(1, TICK)  # closes what is open, so that every trade is in a bar
    beyond["instrument"], beyond["kind"], beyond["ts_event"] = 1, Kind.QUOTE, 2**62
    ticks = np.concatenate([recorded.ticks, beyond])
    bars = Bars((1, 60)).apply(ticks)
    assert bars.tobytes() == PlainBars((1, 60)).apply(ticks).tobytes()
    trades = recorded.expected.trades
    for interval_s in (1, 60):
        own = bars[bars["interval_s"] == interval_s]
        assert own["trades"].sum() == len(trades)
        assert own["volume"].sum() == sum(mantissa(size) for _, _, _, size, _, _, _ in trades)
        assert own["buy_volume"].sum() == sum(mantissa(size) for _, side, _, size, _, _, _ in trades if side == "buy")
        in_time = {bar["ts_open"]: bar for bar in own if not bar["flags"] & Flag.LATE}
        by_bar: dict[int, list[int]] = {}
        for _, _, price, _, when, _, _ in trades:
            by_bar.setdefault(when // (interval_s * 10**9) * interval_s * 10**9, []).append(mantissa(price))
        compared = 0
        for opened, prices in by_bar.items():
            if opened in in_time and in_time[opened]["trades"] == len(prices):
                bar = in_time[opened]
                assert [bar[name] for name in ("open", "high", "low", "close")] == [
                    prices[0],
                    max(prices),
                    min(prices),
                    prices[-1],
                ]
                compared += 1
        assert compared > 0.8 * len(by_bar)


def test_checkpoints_are_the_fold_of_the_ticks_before_them(recorded: Recorded) -> None:
    ticks, books, schedule, made = recorded.ticks, Books(), Schedule(10), []
    start = 0
    latest_ns = int(ticks["ts_recv"].max())
    while (due := start + schedule.due(ticks[start:], latest_ns)) < len(ticks):
        books.apply(ticks[start:due])
        made += [checkpoint(books.snapshot(id_), ticks[due]) for id_ in books.whole()]
        start = due
    assert expect_as_folded(np.concatenate(made), ticks) > 5
