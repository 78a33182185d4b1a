"""Playing the store in Python: the messages of a live subscriber, paced, paused, stepped and sought."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np
import pytest
from made_past import SETTINGS, derive, fill, past_ticks
from made_records import START_NS

from tickplant import Message
from tickplant.books.fold import Fold
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import DTYPES, Kind, Schema
from tickplant.records.merge import join_records
from tickplant.store.reader import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two books, trades, and what an engine derived from them."""
    folder = tmp_path_factory.mktemp("playback")
    table = InstrumentTable.load(folder / "instruments.jsonl")
    for symbol in ("AAA", "BBB"):
        table.register("venue", symbol, 8, 8)
    ticks = past_ticks([1, 2], 3000, start_ns=START_NS, step_ns=10**7)
    for schema, records in derive(table, folder, ticks, SETTINGS._replace(checkpoint_s=5)).items():
        fill(folder, schema, "engine", records)
    fill(folder, Schema.TICK, "feed", ticks)
    return Store(folder)


def by_topic(messages: Iterable[Message]) -> dict[str, np.ndarray]:
    found: dict[str, list[np.ndarray]] = {}
    for message in messages:
        parts = found.setdefault(message.topic, [])
        assert message.first_seq == sum(map(len, parts))
        assert message.records.dtype == DTYPES[message.schema]
        parts.append(message.records)
    return {topic: join_records(parts) for topic, parts in found.items()}


def test_every_record_comes_on_its_topics_in_stored_order(store: Store) -> None:
    played = by_topic(store.play())
    assert {"venue.AAA.trade", "venue.AAA.book", "venue.AAA.bbo", "venue.BBB.bar_1s"} <= set(played)
    for symbol, id_ in (("AAA", 1), ("BBB", 2)):
        ticks = join_records(list(store.scan(ids=[id_])))
        trades = ticks[ticks["kind"] == Kind.TRADE]
        assert played[f"venue.{symbol}.trade"].tobytes() == trades.tobytes()
        assert played[f"venue.{symbol}.book"].tobytes() == ticks[ticks["kind"] != Kind.TRADE].tobytes()
        bbo = join_records(list(store.scan(schema=Schema.BBO, ids=[id_])))
        assert played[f"venue.{symbol}.bbo"].tobytes() == bbo.tobytes()
    assert set(by_topic(store.play("venue.AAA.bar_1s", "venue.BBB.trade"))) == {"venue.AAA.bar_1s", "venue.BBB.trade"}


def test_a_start_in_the_middle_begins_with_the_books(store: Store) -> None:
    at_ns = START_NS + 15 * 10**9
    messages = list(store.play("venue.AAA.book", start_ns=at_ns))
    assert [message.kind for message in messages][:2] == ["snapshot", "live"]
    fold = Fold(1)
    for message in messages:
        fold.apply(message.records)
    (row,) = store.find("venue", "AAA")
    end = store.book("venue", "AAA", START_NS + 10**12)
    book = fold.book(row)
    assert (book.stale, book.bids.tolist(), book.asks.tolist()) == (end.stale, end.bids.tolist(), end.asks.tolist())


@pytest.mark.parametrize("clock", ["recv", "event"])
def test_at_a_speed_the_same_records_come(store: Store, clock: str) -> None:
    played = by_topic(store.play("venue", speed=1000, clock=clock, end_ns=START_NS + 5 * 10**9))  # type: ignore[arg-type]
    at_once = by_topic(store.play("venue", clock=clock, end_ns=START_NS + 5 * 10**9))  # type: ignore[arg-type]
    assert {topic: records.tobytes() for topic, records in played.items()} == {
        topic: records.tobytes() for topic, records in at_once.items()
    }


def test_it_is_paused_stepped_sought_and_looped(store: Store) -> None:
    playback = store.play("venue.AAA.trade", speed=100)
    first = next(playback)
    playback.pause()
    taken: list[Message] = []
    reader = threading.Thread(target=lambda: taken.extend(next(playback) for _ in range(3)))
    reader.start()
    playback.step(2)
    playback.seek(START_NS)
    playback.set_speed("max")
    playback.resume()
    reader.join(90)
    assert not reader.is_alive()
    assert len(taken) == 3
    begun = [message.records[0]["seq"] for message in taken].count(first.records[0]["seq"])
    assert begun == 1  # sought back to the beginning once
    looped = store.play("venue.AAA.trade", loop=True)
    seqs = [int(next(looped).records["seq"][0]) for _ in range(40)]
    assert seqs.count(seqs[0]) > 1
    with pytest.raises(ValueError, match="a factor above 0"):
        playback.set_speed(0)
