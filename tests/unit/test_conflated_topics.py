"""What a relay of conflated topics holds, publishes and answers, followed by the follower of any subscriber."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tickplant.client.conflated_topics import ConflatedTopics
from tickplant.client.follower import Follower
from tickplant.client.topic_message import Message
from tickplant.records.latest import latest_ones
from tickplant.records.layouts import BBO, DTYPES, TICK, TRADE_BAR, BarFlag, Flag, Kind, Side, TradeFlag
from tickplant.wire import (
    GetHistory,
    GetRange,
    GetSnapshot,
    GetTopics,
    Gone,
    Range,
    Refused,
    Reply,
    Snapshot,
    Topics,
    decode_reply,
    encode,
    unpack_header,
)

EPOCH = 1_800_000_000_000_000
BEST = "venue.S1.bbo"
TRADES = "venue.S1.trade"


def message(topic: str, records: np.ndarray, kind: str = "live", lost: int = 0, instrument: int = 1) -> Message:
    """As a subscription gives it."""
    venue, symbol, channel = topic.split(".")
    schema = next(schema for schema, dtype in DTYPES.items() if dtype == records.dtype)
    return Message(
        kind=kind,  # type: ignore[arg-type]
        topic=topic,
        venue=venue,
        symbol=symbol,
        channel=channel,
        schema=schema,
        records=records,
        instrument=instrument,
        price_scale=2,
        size_scale=3,
        epoch=1,
        first_seq=0,
        lost=lost,
        producer="feed",
    )


def best(*seqs: int) -> np.ndarray:
    """Best offers with these seqs."""
    records = np.zeros(len(seqs), BBO)
    records["seq"] = records["bid_price"] = seqs
    records["instrument"] = 1
    return records


def ticks(*rows: tuple[int, int, int, int]) -> np.ndarray:
    """Records of kind, side, flags and seq."""
    records = np.zeros(len(rows), TICK)
    for name, column in zip(("kind", "side", "flags", "seq"), zip(*rows, strict=True), strict=True):
        records[name] = column
    records["instrument"] = 1
    return records


class Screen:
    """A subscriber of a relay: the real follower, whose requests are answered at once."""

    def __init__(self, topics: ConflatedTopics, topic: str) -> None:
        self._topics = topics
        self.topic = topic
        self._follower = Follower(topic, snapshot=True, recover=True, from_start=True)
        self.given: list[Message] = []

    def take(self, frames: tuple[bytes, bytes, bytes]) -> None:
        """A message that has arrived."""
        self._add(self._follower.on_message(unpack_header(frames[1]), frames[2]))

    def look(self) -> None:
        """Ask twice how far the topic is, as a subscriber does now and then."""
        for _ in range(2):
            reply, _ = ask(self._topics, GetTopics())
            assert isinstance(reply, Topics)
            for info in reply.topics:
                if info.topic == self.topic:
                    self._add(self._follower.on_progress(reply.epoch, info))

    def _add(self, messages: list[Message]) -> None:
        self.given += messages
        while request := self._follower.take_request():
            self.given += self._follower.on_reply(*ask(self._topics, request))

    @property
    def seqs(self) -> list[int]:
        """Of the records that were given."""
        return [seq for one in self.given for seq in one.records["seq"].tolist()]

    @property
    def lost(self) -> int:
        """Records that were said to be lost."""
        return sum(one.lost for one in self.given)


def ask(topics: ConflatedTopics, request: Any) -> tuple[Reply, list[bytes]]:
    """The reply to a request."""
    head, *frames = topics.answer(encode(request))
    return decode_reply(head), frames


def test_of_a_state_the_last_is_published_once() -> None:
    topics = ConflatedTopics(EPOCH)
    topics.add(message(BEST, best(1, 2, 3)))
    topics.add(message(BEST, best(7)))
    ((name, header, payload),) = topics.flush(99)
    head = unpack_header(header)
    assert (name, head.epoch, head.first_seq, head.records, head.publish_ns) == (BEST.encode(), EPOCH, 0, 1, 99)
    assert (head.producer, head.price_scale, head.size_scale) == ("feed", 2, 3)
    assert payload == best(7).tobytes(), "byte for byte"
    assert not topics.waiting
    assert not list(topics.flush(99))


def test_the_last_trade_of_each_side_is_left_and_no_correction_takes_its_place() -> None:
    trade, buy, sell = Kind.TRADE, Side.BUY, Side.SELL
    rows = [(trade, buy, 1, 1), (trade, sell, 1, 2), (trade, buy, 1, 3), (trade, buy, TradeFlag.CANCELLED, 4)]
    assert latest_ones(ticks(*rows))["seq"].tolist() == [2, 3, 4]
    bars = np.zeros(3, TRADE_BAR)
    bars["number"] = [5, 6, 5]
    bars["flags"] = [0, BarFlag.INCOMPLETE, BarFlag.CORRECTION]
    assert latest_ones(bars)["number"].tolist() == [6, 5]


def test_gaps_are_never_conflated_and_a_loss_is_a_hole() -> None:
    topics, gap = ConflatedTopics(EPOCH), int(Kind.GAP)
    screen = Screen(topics, TRADES)
    rows = [(gap, 0, Flag.ON_TRADE, 1), (Kind.TRADE, 1, 1, 2), (gap, 0, Flag.ON_TRADE, 3), (Kind.TRADE, 1, 1, 4)]
    topics.add(message(TRADES, ticks(*rows)))
    topics.add(message(TRADES, ticks(*rows)[:0], "lost", 7))
    for frames in topics.flush(0):
        screen.take(frames)
    assert (screen.seqs, screen.lost) == ([1, 3, 4], 7)
    topics.add(message(TRADES, ticks(*rows)[:0], "lost", 2))
    assert not list(topics.flush(0))
    screen.look()
    assert screen.lost == 9, "a loss with nothing behind it"


def test_books_are_not_carried_and_events_are_carried_whole() -> None:
    topics = ConflatedTopics(EPOCH)
    topics.add(message("venue.S1.book", ticks((Kind.LEVEL, 1, 1, 1))))
    assert not topics.waiting
    reply, _ = ask(topics, GetSnapshot("venue.S1.book"))
    assert isinstance(reply, Refused) and "books are not conflated" in reply.reason
    topics.add(message("venue.S1.statistic", ticks(*[(Kind.STATISTIC, 0, 1, seq) for seq in range(300)])))
    assert [unpack_header(header).records for _, header, _ in topics.flush(0)] == [256, 44]


def test_a_change_of_scales_leaves_of_the_former_instrument_notes_alone() -> None:
    topics = ConflatedTopics(EPOCH)
    topics.add(message(TRADES, ticks((Kind.TRADE, 1, 1, 1), (Kind.GAP, 0, Flag.ON_TRADE, 2))))
    topics.add(message(TRADES, ticks((Kind.TRADE, 1, 1, 3)), instrument=2))
    assert [
        (unpack_header(header).instrument, np.frombuffer(payload, TICK)["seq"].tolist())
        for _, header, payload in topics.flush(0)
    ] == [(1, [2]), (2, [3])]


def test_requests_are_answered_as_an_engine_would() -> None:
    topics = ConflatedTopics(EPOCH)
    for seq in (1, 2):
        topics.add(message(BEST, best(seq)))
        list(topics.flush(0))
    reply, frames = ask(topics, GetSnapshot(BEST, id=4))
    assert isinstance(reply, Snapshot) and reply.id == 4 and reply.info.next_seq == 2
    assert frames == [best(2).tobytes()]
    reply, frames = ask(topics, GetRange(BEST, EPOCH, 1, 1))
    assert isinstance(reply, Range) and frames[1] == best(2).tobytes()
    reply, _ = ask(topics, GetRange(BEST, EPOCH, 0, 1))
    assert isinstance(reply, Gone) and (reply.oldest, reply.next_seq) == (1, 2)
    reply, _ = ask(topics, GetRange(BEST, EPOCH - 1, 0, 1))
    assert isinstance(reply, Gone) and reply.epoch == EPOCH
    for wrong in (GetRange(BEST, EPOCH, 1, 9), GetHistory(BEST, "feed", 0, 1), GetSnapshot("venue.S2.bbo")):
        reply, _ = ask(topics, wrong)
        assert isinstance(reply, Refused)
    for frame in (b"", b"{}", msgspec.json.encode({"type": "topics", "version": 1}), b"\xff" * 40):
        assert isinstance(decode_reply(topics.answer(frame)[0]), Refused)


STEPS = st.lists(st.sampled_from(["add", "flush", "drop", "lose"]), max_size=40)


@given(STEPS)
def test_the_latest_arrives_in_the_end_whatever_is_dropped(steps: list[str]) -> None:
    topics = ConflatedTopics(EPOCH)
    screen, seq, lost, flushed = Screen(topics, BEST), 0, 0, 0
    for step in [*steps, "add", "flush"]:
        if step == "add":
            seq += 1
            topics.add(message(BEST, best(seq)))
        elif step == "lose":
            lost += 3
            topics.add(message(BEST, best(), "lost", 3))
        else:
            frames = list(topics.flush(0))
            assert len(frames) <= 1, "one message a topic and flush"
            flushed += len(frames)
            for one in frames if step == "flush" else []:
                screen.take(one)
    screen.look()
    assert screen.seqs[-1] == seq
    assert screen.seqs == sorted(set(screen.seqs))
    assert len(screen.seqs) + screen.lost == flushed + lost, "each message that was published is given, or said lost"
    assert topics.taken_records == seq and topics.published_records == flushed
