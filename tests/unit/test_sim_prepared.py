"""Prepared messages: each turn is the same market with ids that go on and times of now."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode

from tickplant.sim.dialects.binance.session import MICROSECOND_NS, MILLISECOND_NS, Session, Target
from tickplant.sim.dialects.binance.venue import Binance
from tickplant.sim.outlet import Outlet
from tickplant.sim.prepared_market import PreparedMarket, find_numbers, stamp
from tickplant.sim.spec import SimSpec

pytestmark = pytest.mark.kernels


class Client:
    """A connection that is subscribed to everything and keeps its frames; short ones, as all of these are."""

    path = "/stream"
    is_open = True
    queued_bytes = 0

    def __init__(self, number: int, streams: list[str], unit_ns: int) -> None:
        self.number = number
        self.session = Session(Target("", True, tuple(streams), unit_ns), 1024)
        self.mask = np.ones(len(streams), np.bool_)
        self.data = b""

    def send_frames(self, data: bytes) -> None:
        """Keep them."""
        self.data += data

    def messages(self) -> list[dict[str, Any]]:
        """What came."""
        found, data = [], self.data
        while data:
            assert data[0] == 0x80 | Opcode.TEXT and data[1] in range(1, 127)
            size, at = (data[1], 2) if data[1] < 126 else (int.from_bytes(data[2:4], "big"), 4)
            found.append(json.loads(data[at : at + size]))
            data = data[at + size :]
        return found


def prepared(messages: int) -> tuple[PreparedMarket, Outlet]:
    """A source of so many messages, and what it sends through."""
    market = Binance(SimSpec(symbols=("BTCUSDT", "ETHUSDT"), prepared_messages=messages)).source
    assert isinstance(market, PreparedMarket)
    market.prepare()
    outlet = Outlet(market.streams, max_buffer_bytes=1 << 30)
    market.bind(outlet)
    return market, outlet


def test_three_turns_are_one_market_whose_ids_go_on_and_whose_times_are_those_of_sending() -> None:
    market, outlet = prepared(200)
    clients = [Client(1, market.streams, MICROSECOND_NS), Client(2, market.streams, MILLISECOND_NS)]
    for client in clients:
        outlet.opened(client)  # type: ignore[arg-type]  # a client has no more than this needs
    began_ns = time.time_ns()
    for count in (1, 150, 300, 149):
        market.send(count)
    for client in clients:
        ids, unit_ns = defaultdict(list), client.session.variant
        messages = client.messages()
        assert len(messages) == 600
        for message in messages:
            data = message["data"]
            ids[message["stream"]].append(data.get("t") or data["u"])
            if "t" in data:
                assert data["T"] == data["E"] and began_ns // unit_ns <= data["T"] <= time.time_ns() // unit_ns
        for stream, numbers in ids.items():
            steps = np.diff(numbers)
            assert (steps == 1).all() if stream.endswith("@trade") else (steps > 0).all(), stream
        whole = [re.sub(r'"[tuET]":\d+', "", json.dumps(message, separators=(",", ":"))) for message in messages]
        assert whole[:200] == whole[200:400] == whole[400:]
        entry = outlet.entries[client.number].report(market.streams)["streams"]
        assert isinstance(entry, dict)
        assert {name: (one["frames"], one["last_id"]) for name, one in entry.items()} == {
            name: (len(numbers), numbers[-1]) for name, numbers in ids.items()
        }


@given(
    st.lists(st.tuples(st.integers(10**13, 10**14 - 1), st.integers(0, 3)), min_size=1, max_size=20),
    st.integers(10**15, 10**16 - 1),
    st.data(),
)
def test_numbers_are_stamped_where_they_stand_and_nowhere_else(
    messages: list[tuple[int, int]], now: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(messages)))
    last = data.draw(st.integers(first, len(messages)))
    old, times = 1_700_000_000_000_000, [0]
    texts = [b'{"t":%d%b,"p":"12.5"}' % (ident, b',"T":%d' % old * count) for ident, count in messages]
    ids_at, times_at, at = [], [], 0
    for (ident, _), text in zip(messages, texts, strict=True):
        ids_at += [(at + begin, at + end) for begin, end in find_numbers(text, {ident})]
        times_at += [(at + begin, at + end) for begin, end in find_numbers(text, {old})]
        times.append(len(times_at))
        at += len(text)
    new = [ident // 7 + 10**13 for ident, _ in messages]
    out = np.frombuffer(bytearray(b"".join(texts)), np.uint8)
    places = np.array(times_at, np.int64).reshape(-1, 2)
    ids = np.array(new[first:last], np.int64)
    stamp(out, first, last, np.array(ids_at, np.int64), ids, places, np.array(times, np.int64), now)
    expected = [
        text.replace(b"%d" % messages[i][0], b"%d" % new[i]).replace(b"%d" % old, b"%d" % now)
        if first <= i < last
        else text
        for i, text in enumerate(texts)
    ]
    assert out.tobytes() == b"".join(expected)


def test_a_number_is_found_where_it_stands_alone() -> None:
    assert list(find_numbers(b'{"a":123,"b":"1234","c":123}', {123})) == [(5, 8), (24, 27)]
