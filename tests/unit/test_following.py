"""Store.follow over scripted live messages; tests/process/test_follow.py has those of a plant."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from made_past import fill
from made_records import START_NS, make_ticks

from tickplant.client.follower import Message
from tickplant.client.subscription import Subscription
from tickplant.errors import SubscribeError
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Kind, Schema
from tickplant.store.following import Following
from tickplant.store.reader import Store
from tickplant.store.topic_split import TopicSplitter

TOPIC = "venue.AAA.trade"


class Live:
    """Stores a part of each feed when it is first asked, and then gives the messages of all of them."""

    def __init__(self, data_dir: Path, parts: dict[str, Any]) -> None:
        self._data_dir = data_dir
        self._parts = parts
        self._messages: deque[Message] | None = None
        self._asked = 0

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def receive(self, timeout_s: float) -> Message | None:
        del timeout_s
        if self._messages is None:
            splitter = TopicSplitter(Store(self._data_dir), [TOPIC], "live")
            self._messages = deque()
            for feed, records in self._parts.items():
                fill(self._data_dir, Schema.TICK, feed, records, flush=50)
                self._messages.extend(splitter.split(Schema.TICK, records))
        if not self._messages:
            self._asked += 1
            assert self._asked < 10_000, "nothing ended the follower"
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
        records["instrument"] = id_
        fill(tmp_path, Schema.TICK, feed, records[:100], flush=50)
        later[feed] = records[100:]
    live = cast("Subscription", Live(tmp_path, later))
    return Following(Store(tmp_path), [TOPIC], live, timeout_s=5), later


def test_two_feeds_of_a_topic_are_refused_by_their_names(tmp_path: Path) -> None:
    following, _ = prepare(tmp_path, {"one": 1, "two": 1})
    with pytest.raises(SubscribeError, match=f"^{TOPIC}: feeds one and two both record venue AAA, and a live message"):
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
