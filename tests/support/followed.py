"""Input for tests of the follower."""

from __future__ import annotations

import numpy as np

from tickplant import wire
from tickplant.client.follower import Follower
from tickplant.client.topic_message import Message
from tickplant.records.layouts import TICK

EPOCH = 1000


def records(first: int, count: int) -> np.ndarray:
    made = np.zeros(count, TICK)
    made["seq"] = made["price"] = np.arange(first, first + count)
    return made


def header(first: int, count: int = 1, epoch: int = EPOCH, producer: str = "") -> wire.Header:
    return wire.Header(1, 64, count, epoch, first, 77, 5, 2, 8, producer)


def live(follower: Follower, first: int, count: int = 1, epoch: int = EPOCH) -> list[Message]:
    return follower.on_message(header(first, count, epoch), records(first, count).tobytes())


def given(messages: list[Message]) -> list[tuple[str, int, int]]:
    """Kind, first sequence and number of records of each message; asserts that the records match the numbers."""
    for message in messages:
        if message.kind in ("live", "recovered"):
            numbers = range(message.first_seq, message.first_seq + len(message.records))
            assert message.records["seq"].tolist() == list(numbers)
    return [(m.kind, m.first_seq, m.lost if m.kind == "lost" else len(m.records)) for m in messages]


def info(next_seq: int, topic: str = "binance.X.trade") -> wire.TopicInfo:
    return wire.TopicInfo(topic, 1, 5, 2, 8, next_seq)


def snapshot(next_seq: int, epoch: int = EPOCH, *, stale: bool = False) -> tuple[wire.Snapshot, list[bytes]]:
    reply = wire.Snapshot(1, epoch, info(next_seq, "binance.X.book"), 2, stale)
    return reply, [records(500, 2).tobytes()]


def range_of(*parts: tuple[int, int], epoch: int = EPOCH) -> tuple[wire.Range, list[bytes]]:
    frames = []
    for first, count in parts:
        frames += [wire.pack_header(1, 64, count, epoch, first, 77, 5, 2, 8), records(first, count).tobytes()]
    reply = wire.Range(1, epoch, "binance.X.trade", parts[0][0], sum(parts[-1]) - 1, len(parts))
    return reply, frames


def events(**options: bool) -> Follower:
    return Follower("binance.X.trade", **{"snapshot": True, "recover": True} | options)


def book(**options: bool) -> Follower:
    return Follower("binance.X.book", **{"snapshot": True, "recover": True} | options)
