"""Store.follow over scripted live messages; tests/process/test_follow.py has those of a plant."""

from __future__ import annotations

import time
from collections import deque
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from made_past import fill
from made_records import START_NS, make_ticks

from tickplant.client.subscription import Subscription
from tickplant.client.topic_message import Message
from tickplant.errors import SubscribeError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Kind, Schema
from tickplant.store.following import Following
from tickplant.store.reader import Store
from tickplant.store.selection import Selection
from tickplant.store.topic_split import TopicSplitter

TOPIC = "venue.AAA.trade"


class Live:
    """Stores a part of each feed when it is first asked, and then gives the messages of all of them."""

    def __init__(self, data_dir: Path, parts: dict[str, Any]) -> None:
        self._data_dir = data_dir
        self._parts = parts
        self.stored = parts
        self._messages: deque[Message] | None = None
        self._asked = 0

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def receive(self, timeout_s: float) -> Message | None:
        if self._messages is None:
            splitter = TopicSplitter(Store(self._data_dir), [TOPIC], "live")
            messages: list[list[Message]] = []
            for feed, records in self._parts.items():
                fill(self._data_dir, Schema.TICK, feed, self.stored[feed], flush=50)
                parts = (splitter.split(Schema.TICK, part) for part in np.split(records, 10))
                messages.append([msgspec.structs.replace(one, producer=feed) for part in parts for one in part])
            # As an engine publishes two feeds of a topic: by turns.
            self._messages = deque(one for turn in zip_longest(*messages) for one in turn if one)
        if not self._messages:
            self._asked += 1
            assert self._asked < 1000, "nothing ended the follower"
            time.sleep(timeout_s / 10)  # as a subscription waits
            return None
        return self._messages.popleft()


def prepare(tmp_path: Path, feeds: dict[str, int]) -> tuple[Following, Any]:
    """Feeds by the instrument that each one records, 100 records stored and 100 to come."""
    table = InstrumentTable.load(tmp_path / "instruments.jsonl")
    for symbol in ("AAA", "BBB"):
        table.register("venue", symbol, 8, 8)
    later = {}
    for number, (feed, id_) in enumerate(feeds.items()):
        records = make_ticks(200, instruments=1, start_ns=START_NS + number)
        records["instrument"], records["order_id"] = id_, number
        fill(tmp_path, Schema.TICK, feed, records[:100], flush=50)
        later[feed] = records[100:]
    live = cast("Subscription", Live(tmp_path, later))
    return Following(Store(tmp_path), [TOPIC], live, timeout_s=90), later


def test_each_of_two_feeds_of_a_topic_is_followed_without_hole_or_double(tmp_path: Path) -> None:
    """A live message says whose it is, though both count seqs from 0 on."""
    following, later = prepare(tmp_path, {"one": 1, "two": 1})
    last = [int(later[feed]["seq"][later[feed]["kind"] == Kind.TRADE][-1]) for feed in ("one", "two")]
    got: list[list[np.void]] = [[], []]
    for message in following.messages(None):
        for record in message.records:
            got[record["order_id"]].append(record)
        if [part[-1]["seq"] if part else -1 for part in got] == last:
            break
    for feed, records in zip(("one", "two"), got, strict=True):
        stored = np.concatenate([*Store(tmp_path).read(feed, Schema.TICK, Selection(kinds=frozenset({Kind.TRADE})))])
        assert np.array(records).tobytes() == stored.tobytes()


def test_a_store_that_is_not_that_of_the_plant_is_noticed(tmp_path: Path) -> None:
    following, later = prepare(tmp_path, {"one": 1})
    another = later["one"].copy()
    another["price"] += 1
    cast("Live", following._live).stored = {"one": another}
    with pytest.raises(SubscribeError, match=rf"{TOPIC}: seq \d+ of one is stored, and another record; is {tmp_path}"):
        for _ in following.messages(None):
            pass


def test_a_feed_of_another_symbol_is_no_matter(tmp_path: Path) -> None:
    following, later = prepare(tmp_path, {"one": 1, "two": 2})
    seqs: list[int] = []
    wanted = int(later["one"]["seq"][later["one"]["kind"] == Kind.TRADE][-1])
    for message in following.messages(None):
        seqs += message.records["seq"].tolist()
        if seqs[-1] >= wanted:
            break
    assert seqs == sorted(set(seqs))
    assert seqs[-1] >= wanted > 100
    assert np.all(np.isin(later["one"]["seq"][later["one"]["kind"] == Kind.TRADE], seqs))
