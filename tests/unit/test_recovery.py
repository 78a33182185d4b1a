"""An engine that comes back from checkpoints, stored ticks and its ring has what one that was never away has."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import structlog
import zmq
from made_past import SETTINGS, Sinks, derive, fill, past_ticks
from remains import ring_name

from tickplant.derive.registry import channels_of
from tickplant.engine.core import Engine
from tickplant.engine.derived_feed import Feed
from tickplant.engine.publisher import Publisher
from tickplant.engine.recovery import Rebuild
from tickplant.errors import StoreError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Kind, Schema
from tickplant.runtime.job_specs import Past as FeedOfVenue
from tickplant.shm.ring import Ring
from tickplant.store.reader import Store
from tickplant.store.restore import Beginning, FeedPast, first_needed, marks

SECOND = 10**9
START_NS = 1_700_000_000 * SECOND
SYMBOLS = ("AAA", "BBB", "CCC")


class Engines:
    """An engine to come back, without a process; `stored` is what it stores then."""

    def __init__(self, folder: Path, table: InstrumentTable) -> None:
        self.folder = folder
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.publisher = Publisher(self.context, f"ipc://{folder}/publish", table.by_id, channels=channels_of(SETTINGS))
        self.sinks = Sinks(SETTINGS)
        self.engine = Engine(table, self.publisher, self.sinks.streams)
        self.feed = self.engine.add_feed("feed", SETTINGS)

    def rebuild(self, live: Ring) -> Rebuild:
        """Of this feed, from the store and its ring."""
        return Rebuild(
            self.engine,
            self.feed,
            live,
            "engine",
            FeedPast(Store(self.folder), "engine", "feed", FeedOfVenue("venue"), list, SETTINGS),
            stored={},
            outlets={schema: kept.store for schema, kept in self.sinks.streams.items()},
        )

    def come_back(self, ticks: np.ndarray, oldest: int) -> Feed:
        """Fold what is stored, then the ring, which holds the ticks from `oldest` on."""
        with (
            Ring.create(ring_name(), Schema.TICK, 4096, start=oldest, epoch=1, doorbell_dir=self.folder) as live,
            live.producer() as feed,
        ):
            feed.publish(ticks[oldest:])
            rebuild = self.rebuild(live)
            while not rebuild.finished:
                assert rebuild.turn(), "it has not got all it needs"
            position = rebuild.live.position if rebuild.live else -1
            self.engine.replace(self.feed, rebuild.feed, rebuild.last(), next_tick=position)
            rebuild.close()
            live.unlink()
        return rebuild.feed

    def close(self) -> None:
        self.publisher.close(0)
        self.context.term()


class Past:
    """Twenty minutes of a feed, and what its engine made of them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.table = InstrumentTable.load(folder / "instruments.jsonl")
        self.ids = [self.table.register("venue", symbol, 2, 8).id for symbol in SYMBOLS]
        self.ticks = past_ticks(
            self.ids,
            12_000,
            seed=seed,
            start_ns=START_NS,
            step_ns=SECOND // 10,
            resyncs=0.002,
            of_orders=frozenset(self.ids[2:]),
        )
        self.derived = derive(self.table, folder, self.ticks)

    def store(self, folder: Path, **upto: int) -> Beginning:
        """Store what was made of the ticks before these seqs, and the ticks themselves; where a fold begins then."""
        shutil.copy(self.folder / "instruments.jsonl", folder)
        fill(folder, Schema.TICK, "feed", self.ticks[: upto["tick"]])
        for schema, records in self.derived.items():
            fill(folder, schema, "engine", records[records["source_seq"] < upto[schema.name.lower()]])
        return self.beginning(folder)

    def beginning(self, folder: Path) -> Beginning:
        store, ids = Store(folder), frozenset(self.ids)
        return first_needed(store, "engine", "feed", ids, marks(store, "engine", ids, SETTINGS), SETTINGS, 0)


@pytest.fixture(scope="module", params=[1, 2, 3])
def past(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Past:
    return Past(tmp_path_factory.mktemp("past"), request.param)


@pytest.fixture
def engines(past: Past, tmp_path: Path) -> Iterator[Engines]:
    made = Engines(tmp_path, past.table)
    yield made
    made.close()


def rows(*parts: np.ndarray | bytes, dtype: np.dtype[np.void]) -> list[tuple[int, ...]]:
    """Records as rows to compare, but for `seq`."""
    records = np.frombuffer(b"".join(part if isinstance(part, bytes) else part.tobytes() for part in parts), dtype)
    return records[[name for name in dtype.names or () if name != "seq"]].tolist()


@pytest.mark.parametrize(
    "upto",
    [
        {"tick": 11_500, "bbo": 11_400, "bar": 11_400, "checkpoint": 11_400},  # killed
        {"tick": 11_000, "bbo": 10_500, "bar": 10_900, "checkpoint": 11_000},  # the power was cut
        {"tick": 11_000, "bbo": 10_990, "bar": 9_000, "checkpoint": 8_000},
    ],
)
def test_nothing_is_missing_and_nothing_double_after_coming_back(
    past: Past, engines: Engines, upto: dict[str, int]
) -> None:
    past.store(engines.folder, **upto)
    feed = engines.come_back(past.ticks, upto["tick"] - 1000)
    for schema in (Schema.BBO, Schema.BAR):
        made = past.derived[schema]
        before = made[made["source_seq"] < upto[schema.name.lower()]]
        assert rows(before, engines.sinks.kept[schema].records, dtype=made.dtype) == rows(made, dtype=made.dtype)
    never_away = Engine(past.table, engines.publisher, Sinks(SETTINGS).streams)
    whole = never_away.add_feed("feed", SETTINGS)
    assert len(list(never_away.fold(whole, past.ticks))) == 2
    for id_ in past.ids:
        assert feed.books.is_stale(id_) == whole.books.is_stale(id_)
        if not whole.books.is_stale(id_):
            assert feed.books.own_snapshot(id_).tobytes() == whole.books.own_snapshot(id_).tobytes()
            assert len(whole.books.own_snapshot(id_)) > 10


def test_it_begins_with_checkpoints_before_the_bars_that_are_open(past: Past, tmp_path: Path) -> None:
    beginning = past.store(tmp_path, tick=11_500, bbo=11_400, bar=11_400, checkpoint=11_400)
    heads = past.derived[Schema.CHECKPOINT]
    assert len(beginning.checkpoints)
    assert beginning.first_seq in heads["source_seq"]
    assert beginning.first_seq <= 11_400 - 10 * 600
    shutil.rmtree(tmp_path / "journal" / "engine" / "checkpoint")
    plain = past.beginning(tmp_path)
    assert len(plain.checkpoints) == 0
    assert plain.first_seq < beginning.first_seq


def test_no_checkpoint_is_used_that_is_newer_than_every_stored_best(past: Past, tmp_path: Path) -> None:
    """Best bids and offers from before it may be missing."""
    beginning = past.store(tmp_path, tick=11_500, bbo=3_000, bar=11_400, checkpoint=11_400)
    assert beginning.first_seq < 3_000


def test_checkpoints_that_lack_a_book_that_is_needed_are_passed_over(past: Past, tmp_path: Path) -> None:
    found = past.store(tmp_path, tick=11_500, bbo=11_400, bar=11_400, checkpoint=11_400)
    clears = past.ticks[past.ticks["kind"] == Kind.CLEAR]
    in_sync = {
        mark.instrument: mark
        for mark in marks(Store(tmp_path), "engine", frozenset(past.ids), SETTINGS)
        if mark.of_books and not mark.stale
    }
    begins = {
        id_: clears["seq"][(clears["instrument"] == id_) & (clears["seq"] <= mark.source_seq)][-1]
        for id_, mark in in_sync.items()
    }
    needed = [id_ for id_, begin in begins.items() if begin < found.first_seq]
    assert needed
    for id_ in needed:
        shutil.rmtree(tmp_path / "journal" / "engine" / "checkpoint")
        made = past.derived[Schema.CHECKPOINT]
        without = made[made["instrument"] != id_]
        without["seq"] = np.arange(len(without))
        fill(tmp_path, Schema.CHECKPOINT, "engine", without)
        assert past.beginning(tmp_path).first_seq <= begins[id_]


def test_a_store_that_cannot_be_read_is_logged_once_for_each_reason(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = iter(["full", "full", "full", "gone", "full"])

    def fail(*_: object) -> None:
        raise StoreError(next(reasons), path=tmp_path)

    monkeypatch.setattr(FeedPast, "beginning", fail)
    with (
        Ring.create(ring_name(), Schema.TICK, 64, start=0, epoch=1, doorbell_dir=tmp_path) as live,
        structlog.testing.capture_logs() as logged,
    ):
        rebuild = engines.rebuild(live)
        assert not any(rebuild.turn() for _ in range(5))
        rebuild.close()
        live.unlink()
    assert [line["why"].rpartition(": ")[2] for line in logged] == ["full", "gone", "full"]
