"""Store.follow joins history and the live stream of a real plant without hole or double, whatever is killed."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from plant_process import DEADLINE_S, plant, wait_for

from tickplant.client.topic_message import Message
from tickplant.records.layouts import Flag, Kind, Schema, StatusCode
from tickplant.records.merge import join_records
from tickplant.store.reader import Store

pytestmark = [pytest.mark.usefixtures("unmeasured"), pytest.mark.long]

TOPICS = ("binance.BTCUSDT.trade", "binance.ETHUSDT.book", "binance.BTCUSDT.bbo")


class Follower:
    """Follows in a thread until `enough` says so."""

    def __init__(self, data_dir: Path, address: str) -> None:
        self.messages: list[Message] = []
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(data_dir, address), daemon=True)
        self._thread.start()

    def _run(self, data_dir: Path, address: str) -> None:
        try:
            for message in Store(data_dir).follow(*TOPICS, address=address):
                self.messages.append(message)
                if self.ended.is_set():
                    return
        except BaseException as error:
            self.error = error

    def newest(self, topic: str) -> int:
        assert self.error is None, self.error
        return max((int(m.records["seq"][-1]) for m in list(self.messages) if m.topic == topic), default=-1)

    def close(self) -> dict[str, np.ndarray]:
        self.ended.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        assert self.error is None, self.error
        topics = {message.topic for message in self.messages}
        return {t: join_records([m.records for m in self.messages if m.topic == t]) for t in topics}


@pytest.mark.parametrize("killed", ["", "engine", "writer", "binance"])
def test_history_and_the_live_stream_make_one(tmp_path: Path, killed: str) -> None:
    with plant(tmp_path, rate=2000) as running:
        store = Store(running.data_dir)
        wait_for("history", lambda: store.producers() and store.next_seq("binance", Schema.TICK) > 2000)
        follower = Follower(running.data_dir, running.publish)
        wait_for("live messages", lambda: {m.topic for m in list(follower.messages) if m.kind == "live"} >= set(TOPICS))
        if killed:
            name = next(p["name"] for p in running.status()["processes"] if p["name"].startswith(killed))
            pid = running.process_named(name)["pid"]
            os.kill(pid, signal.SIGKILL)
            wait_for("a new process", lambda: running.process_named(name)["pid"] not in (0, pid))
        mark = store.next_seq("binance", Schema.TICK) + 4000
        wait_for("records behind the fault", lambda: follower.newest(TOPICS[0]) > mark)
        wait_for("books behind the fault", lambda: follower.newest(TOPICS[1]) > mark)
        followed = follower.close()
        assert running.stop() == 0
    ids = {row.symbol: row.id for row in store.instruments}
    for topic in TOPICS:
        seen = followed[topic]
        schema = Schema.BBO if topic.endswith("bbo") else Schema.TICK
        stored = join_records(list(store.scan(schema=schema, ids=[ids[topic.split(".")[1]]])))
        if topic.endswith("trade"):
            stored = stored[
                (stored["kind"] == Kind.TRADE) | ((stored["kind"] == Kind.GAP) & (stored["flags"] & 32 != 0))
            ]
        elif topic.endswith("book"):
            keep = np.isin(stored["kind"], [Kind.CLEAR, Kind.LEVEL, Kind.CHECKSUM])
            keep |= np.isin(stored["kind"], [Kind.GAP, Kind.STATUS]) & (stored["flags"] & Flag.ON_BOOK != 0)
            keep &= (stored["kind"] != Kind.STATUS) | (stored["price"] == StatusCode.DISCONNECTED)
            stored = stored[keep]
        stored = stored[stored["seq"] <= seen["seq"][-1]]
        assert seen["seq"].tolist() == stored["seq"].tolist(), topic
        assert seen.tobytes() == stored.tobytes(), topic
