"""What an engine does with the ticks of several feeds, without rings and processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from structlog.testing import capture_logs

from tickplant.derive.derivation import Settings
from tickplant.derive.registry import channels_of
from tickplant.engine.core import Engine
from tickplant.engine.derived_feed import Feed
from tickplant.engine.publisher import Publisher
from tickplant.instruments import InstrumentTable
from tickplant.kernels import JIT_ENABLED
from tickplant.records.layouts import TICK, UNKNOWN, Flag, GapCause, Kind, Schema, Side, StatusCode

BID, LAST = Side.BID, Flag.LAST
SETTINGS = Settings(max_levels=100, bar_s=(1,))


class Bench:
    """An engine with two feeds of one venue, and what it has stored."""

    def __init__(self, folder: Path, settings: Settings = SETTINGS) -> None:
        self.table = InstrumentTable.load(folder / "instruments.jsonl")
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.publisher = Publisher(
            self.context, f"ipc://{folder}/publish", self.table.by_id, channels=channels_of(settings)
        )
        self.stored: list[np.ndarray] = []
        self.room = 1000  # records that are stored of those that follow from one batch
        self.position = 0
        self.engine = Engine(self.table, self.publisher, dict.fromkeys(channels_of(settings), self))
        self.one, self.other = (self.engine.add_feed(name, settings) for name in ("one", "other"))

    def store(self, records: np.ndarray) -> tuple[np.ndarray, int]:
        self.stored.append(records)
        return records, min(len(records), self.room)

    def folded(self, feed: Feed, rows: np.ndarray) -> dict[Schema, np.ndarray]:
        """What a sketch makes of ticks."""
        return dict(self.engine.fold(feed, rows))

    def register(self, *symbols: str, venue: str = "binance") -> list[int]:
        """Ids of new instruments, added by somebody else as the supervisor does."""
        table = InstrumentTable.load(self.table.path)
        return [table.register(venue, symbol, 2, 8).id for symbol in symbols]

    def sequences(self) -> dict[str, int]:
        return {name: topic.next_seq for name, topic in self.publisher.by_name.items()}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.publisher.close(0)
    made.context.term()


def ticks(*rows: tuple[int, Kind, int, int]) -> np.ndarray:
    """TICK records from instrument, kind, price and flags; a price is a bid's."""
    records = np.zeros(len(rows), TICK)
    for record, (instrument, kind, price, flags) in zip(records, rows, strict=True):
        record["instrument"], record["kind"], record["price"], record["flags"] = instrument, kind, price, flags
        record["side"], record["size"] = BID, 1
    return records


def book(instrument: int, price: int) -> np.ndarray:
    return ticks((instrument, Kind.CLEAR, 0, 0), (instrument, Kind.LEVEL, price, LAST))


def disconnected(instrument: int) -> np.ndarray:
    return ticks((instrument, Kind.STATUS, StatusCode.DISCONNECTED, Flag.ON_BOOK | LAST))


def test_an_instrument_that_was_registered_since_is_looked_up(bench: Bench) -> None:
    bench.register("*", "A")
    bench.engine.take(bench.one, book(2, 10))
    bench.register("B")
    bench.engine.take(bench.one, book(3, 11))
    assert bench.sequences() == {
        "binance.A.book": 2,
        "binance.A.bbo": 1,
        "binance.B.book": 2,
        "binance.B.bbo": 1,
    }
    assert [part["bid_price"].tolist() for part in bench.stored] == [[10], [11]]


def test_records_of_instruments_that_nobody_registered_are_counted_and_left_out(bench: Bench) -> None:
    bench.register("A")
    records = np.concatenate([book(7, 10), book(1, 11), book(0, 12), book(2**32 - 1, 13)])
    bench.engine.take(bench.one, records)
    assert bench.engine.counters()["foreign"] == 6
    assert bench.sequences() == {"binance.A.book": 2, "binance.A.bbo": 1}
    bench.engine.take(bench.one, book(9, 1))
    assert bench.engine.counters()["foreign"] == 8
    assert bench.engine.counters()["records"] == 2


def test_a_disconnect_concerns_its_own_instrument_in_its_own_feed(bench: Bench) -> None:
    a, b = bench.register("A", "B")
    bench.engine.take(bench.one, np.concatenate([book(a, 10), book(b, 10)]))
    bench.engine.take(bench.other, book(a, 11))
    bench.engine.take(bench.one, disconnected(a))
    assert bench.stored[-1]["instrument"].tolist() == [a]
    assert (bench.one.books.is_stale(a), bench.one.books.is_stale(b), bench.other.books.is_stale(a)) == (1, 0, 0)
    assert bench.publisher.by_name["binance.A.book"].last_records(1)["kind"] == Kind.STATUS


def test_what_is_said_of_a_feed_as_a_whole_makes_no_book_stale(bench: Bench) -> None:
    feed, a = bench.register("*", "A")
    bench.engine.take(bench.one, np.concatenate([book(a, 10), disconnected(feed)]))
    bench.engine.take(bench.one, ticks((feed, Kind.GAP, GapCause.REJECTED, Flag.ON_BOOK | LAST)))
    assert not bench.one.books.is_stale(a)


def test_an_overrun_is_a_gap_on_every_topic_of_every_instrument_of_the_feed(bench: Bench) -> None:
    _, a, b, c = bench.register("*", "A", "B", "C")
    bench.engine.take(bench.one, np.concatenate([book(a, 10), book(b, 11)]))
    bench.engine.take(bench.other, book(c, 12))
    stored = len(bench.stored)
    bench.engine.overrun(bench.one, 500, 777, 99)
    assert len(bench.stored) == stored, "a replay would not give it"
    for symbol in "AB":
        bbo = bench.publisher.by_name[f"binance.{symbol}.bbo"].last_records(1)[0]
        assert bbo[["ts_recv", "source_seq", "flags"]].tolist() == (99, 777, Flag.STALE)
        for channel in ("trade", "quote", "book"):
            gap = bench.publisher.by_name[f"binance.{symbol}.{channel}"].last_records(1)[0]
            assert gap[["kind", "price", "size", "seq"]].tolist() == (Kind.GAP, GapCause.OVERRUN, UNKNOWN, 777)
    assert bench.engine.counters()["lost"] == 500
    assert not bench.other.books.is_stale(c)


def test_what_the_store_has_of_a_topic_is_told_from_what_it_has_not(bench: Bench) -> None:
    _, a = bench.register("*", "A")

    def in_store(channel: str) -> list[bool]:
        return [kept.origin > 0 for kept in bench.publisher.by_name[f"binance.A.{channel}"].messages(0, 99, 1 << 20)]

    bench.engine.take(bench.one, book(a, 10))
    bench.engine.overrun(bench.one, 500, 777, 99)
    bench.engine.take(bench.one, book(a, 11))
    assert in_store("book") == in_store("bbo") == [True, False, True]
    before, _, after = bench.publisher.by_name["binance.A.book"].messages(0, 99, 1 << 20)
    assert before.origin != after.origin, "the store has more between them than was published"
    bench.room = 0
    bench.engine.take(bench.one, book(a, 12))
    assert in_store("book")[3:] == [True]
    assert in_store("bbo")[3:] == [False]


def test_an_overrun_before_anything_was_seen_is_counted(bench: Bench) -> None:
    bench.engine.overrun(bench.one, 5, 5, 1)
    assert bench.engine.counters()["lost"] == 5
    assert bench.sequences() == {}


def test_a_book_is_asked_of_the_feed_that_has_it_in_sync(bench: Bench) -> None:
    (a,) = bench.register("A")

    def best() -> int:
        return int(bench.engine.book(a)[1]["price"])

    assert len(bench.engine.book(a)) == 2, "empty, and a GAP"
    for feed, price in ((bench.one, 10), (bench.other, 11)):
        bench.engine.take(feed, book(a, price))
    assert best() == 10
    bench.engine.take(bench.one, ticks((a, Kind.GAP, GapCause.SEQUENCE, Flag.ON_BOOK | LAST)))
    assert best() == 11


def test_nothing_to_take_is_nothing_to_do(bench: Bench) -> None:
    bench.engine.take(bench.one, np.zeros(0, TICK))
    assert bench.engine.counters()["records"] == 0


def test_the_feeds_memory_follows_the_instrument_table(bench: Bench) -> None:
    ids = bench.register(*(f"S{i}" for i in range(200)))
    bench.engine.take(bench.one, book(ids[-1], 10))
    assert isinstance(bench.one, Feed)
    assert bench.one.seen[ids[-1]]
    assert not bench.one.seen[ids[0]]
    bench.engine.overrun(bench.one, 1, 1, 1)
    assert bench.stored[-1]["instrument"].tolist() == [ids[-1]]


@pytest.mark.skipif(not JIT_ENABLED, reason="nothing is compiled")
def test_after_the_warm_up_nothing_is_compiled_any_more(bench: Bench) -> None:
    code = """
import sys
from pathlib import Path
from tickplant.books import fold_kernels, level_kernels, level_runs
from tickplant.derive import bar_kernels, row_kernels, series_sorter, trade_bar_kernels, value_kernels, value_memory
from tickplant.derive.derivation import Series
from tickplant.derive.indicators import averages, best_quotes, liquidity
from tickplant.records import channel_masks, fanout
from tickplant.engine import batch_kernels, message_kernels
from tickplant.engine.core import warm_up
sys.path[:0] = sys.argv[1:3]
from test_engine_core import SETTINGS, Bench, every_size

def compiled():
    modules = bar_kernels, fold_kernels, level_kernels, level_runs, channel_masks, fanout, row_kernels, series_sorter
    modules += trade_bar_kernels, value_kernels, value_memory, averages, best_quotes, liquidity
    modules += batch_kernels, message_kernels
    kernels = [k for module in modules for k in vars(module).values()]
    return {k.__name__: len(k.signatures) for k in kernels if hasattr(k, "signatures")}

names = "sma-3.1s", "hawkes-0.1-0.5-1.trade", "spread.bbo", "bars.tick-1", "ema-2.tick-1"
settings = SETTINGS._replace(series=tuple(Series(number, name) for number, name in enumerate(names, 1)))
warm_up(settings)
before = compiled()
bench = Bench(Path(sys.argv[3]), settings)
every_size(bench)
assert {"binance.A.sma-3_1s", "binance.B.spread_bbo", "binance.A.ema-2_tick-1"} <= set(bench.sequences())
bench.publisher.close(0)
bench.context.term()
assert len(before) > 10
assert before == compiled(), (before, compiled())
"""
    folder = bench.table.path.parent / "again"
    folder.mkdir()
    tests = Path(__file__).parents[1]
    subprocess.run(
        [sys.executable, "-c", code, str(tests / "support"), str(tests / "unit"), str(folder)], check=True, timeout=300
    )


def every_size(bench: Bench) -> None:
    """Whatever an engine does with ticks, in batches of one and of several, as a ring gives them."""
    a, b = bench.register("A", "B")
    second = 10**9
    rows = np.concatenate([book(a, 10), book(b, 10), book(a, 11)[1:], ticks((a, Kind.TRADE, 10, LAST))])
    rows = np.concatenate([rows, rows, disconnected(a)])
    for size in (1, 2, len(rows)):
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            buffer = np.frombuffer(part.tobytes(), np.int64).copy()
            part = np.ndarray(len(part), TICK, buffer)
            part["ts_event"] = second = second + 10**9
            bench.engine.take(bench.one, part)
    bench.engine.overrun(bench.one, 1, 1, 1)
    assert {"binance.A.bar_1s", "binance.A.bbo", "binance.A.trade"} <= set(bench.sequences())


def test_a_feed_whose_room_grows_is_noted_anew_before_a_kernel_deals_with_its_batches(bench: Bench) -> None:
    (a,) = bench.register("A")
    assert not bench.one.is_noted
    bench.engine.take(bench.one, book(a, 10))
    assert bench.one.is_noted
    (b,) = bench.register("B")
    bench.engine.take(bench.other, book(b, 20))  # an id that nobody had room for
    assert (bench.one.is_noted, bench.other.is_noted) == (False, True)
    bench.engine.take(bench.one, book(b, 11))
    assert bench.one.is_noted
    assert bench.one.seen[[a, b]].tolist() == [True, True]


def test_a_sketch_is_seen_by_nobody_until_it_takes_its_feeds_place(bench: Bench) -> None:
    a, b = bench.register("A", "B")
    bench.engine.take(bench.one, np.concatenate([book(a, 10), book(b, 11)]))
    bench.engine.overrun(bench.one, 5, 777, 99)
    sketch = bench.engine.sketch(bench.one)
    before, stored = bench.sequences(), len(bench.stored)
    made = bench.folded(sketch, np.concatenate([book(a, 20), book(b, 21)]))
    bbo = made[Schema.BBO]
    assert (bbo["bid_price"].tolist(), list(made)) == ([20, 21], [Schema.BBO])
    assert (bench.sequences(), len(bench.stored)) == (before, stored)
    assert bench.one.books.is_stale(a)
    assert bench.engine.book(a)[-1]["flags"] & Flag.ON_BOOK, "stale until then"
    bench.folded(sketch, ticks((b, Kind.GAP, GapCause.SEQUENCE, Flag.ON_BOOK | LAST)))
    bench.engine.replace(bench.one, sketch, [(Schema.BBO, bbo[:1])], next_tick=5)
    assert bench.engine.feeds == [sketch, bench.other]
    assert sketch.lost == 5
    snapshot = bench.publisher.by_name["binance.A.book"].last_records(2)
    assert snapshot[["kind", "price", "flags"]].tolist() == [
        (Kind.CLEAR, 0, Flag.SNAPSHOT),
        (Kind.LEVEL, 20, Flag.SNAPSHOT | LAST),
    ]
    assert bench.publisher.by_name["binance.A.bbo"].last_records(1)["bid_price"] == 20
    assert bench.sequences()["binance.B.book"] == before["binance.B.book"], "a stale book is not sent"
    bench.folded(bench.engine.sketch(sketch), disconnected(a))
    assert not sketch.books.is_stale(a)


def test_a_book_can_be_asked_for_before_it_has_a_record(bench: Bench) -> None:
    (a,) = bench.register("A")
    bench.engine.announce([a])
    assert bench.sequences() == {"binance.A.book": 0}
    assert bench.engine.book(a)[-1]["flags"] & Flag.ON_BOOK


def test_what_is_derived_from_the_ticks_before_a_checkpoint_is_stored_before_it(bench: Bench) -> None:
    a, b = bench.register("A", "B")
    stored = bench.stored

    class Checkpoints:
        def store(self, parts: Iterable[np.ndarray]) -> None:
            stored.extend(parts)

    moments = {Schema.CHECKPOINT: Checkpoints()}
    engine = Engine(bench.table, bench.publisher, {Schema.BBO: bench, Schema.BAR: bench}, moments)
    feed = engine.add_feed("feed", SETTINGS._replace(checkpoint_s=10))
    rows = np.concatenate([book(a, 10), book(b, 20), book(a, 11), book(b, 21), book(a, 12)])
    rows["seq"] = np.arange(len(rows))
    rows["ts_recv"] = (10**9 * 7) * (rows["seq"] // 4).astype(np.int64)
    engine.take(feed, rows)
    bests = [(records.dtype.names[2], records["source_seq"].tolist(), records[-1]["instrument"]) for records in stored]
    assert bests == [
        ("bid_price", [1, 3, 5, 7], b),
        ("price", [8, 8], a),
        ("price", [8, 8], b),
        ("bid_price", [9], a),
    ]
    assert stored[1]["price"].tolist() == [0, 11]


def orders(instrument: int, *kinds: Kind) -> np.ndarray:
    records = ticks(
        (instrument, Kind.CLEAR, 0, LAST | Flag.ON_ORDERS), *((instrument, kind, 10, LAST) for kind in kinds)
    )
    records["order_id"] = 7
    return records


def test_unknown_orders_are_warned_of_once_per_cause_and_instrument(bench: Bench) -> None:
    a, b = bench.register("A", "B")
    with capture_logs() as logs:
        for instrument in (a, a, b):
            bench.engine.take(bench.one, orders(instrument, Kind.ORDER_CANCEL, Kind.ORDER_CANCEL))
        bench.engine.take(bench.one, orders(a, Kind.ORDER_FILL))
        bench.folded(bench.engine.sketch(bench.one), orders(a, Kind.ORDER_CANCEL))
    said = [(entry["instrument"], entry["kind"]) for entry in logs if "unknown order" in entry["event"]]
    assert said == [("binance A", "order_cancel"), ("binance B", "order_cancel"), ("binance A", "order_fill")]
    assert bench.engine.counters()["orders_unknown_cancel"] == 6


def test_a_book_of_orders_has_a_topic_a_best_and_both_snapshots(bench: Bench) -> None:
    (a,) = bench.register("A")
    bench.engine.take(bench.one, orders(a, Kind.ORDER_ADD))
    assert bench.sequences() == {"binance.A.orders": 2, "binance.A.bbo": 2}
    assert bench.stored[-1][["bid_price", "bid_size", "flags"]].tolist() == [(-(2**63), 0, 0), (10, 1, 0)]
    assert bench.engine.book(a)[["kind", "price"]].tolist() == [(Kind.CLEAR, 0), (Kind.LEVEL, 10)]
    assert bench.engine.orders(a)[["kind", "order_id"]].tolist() == [(Kind.CLEAR, 0), (Kind.ORDER_ADD, 7)]
    sketch = bench.engine.sketch(bench.one)
    bench.engine.announce([a])
    assert "binance.A.book" in bench.sequences()
    bench.folded(sketch, orders(a, Kind.ORDER_ADD))
    bench.engine.replace(bench.one, sketch, [], next_tick=0)
    sequences = {"binance.A.orders": 4, "binance.A.bbo": 2}
    assert bench.sequences() == sequences, "the book as orders, after it was made anew; no topic of levels"
    bench.engine.overrun(sketch, 5, 7, 99)
    assert bench.engine.orders(a)[-1][["kind", "flags"]].tolist() == (
        Kind.GAP,
        Flag.ON_ORDERS | Flag.SNAPSHOT | LAST,
    )
