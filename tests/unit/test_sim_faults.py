"""Faults of the simulated venue without its sockets: what they do to messages, and random mixtures of them."""

from __future__ import annotations

import itertools
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import pytest

from tickplant.errors import FeedError
from tickplant.sim.conversation import Reply, Session
from tickplant.sim.dialects.binance.venue import WORDS
from tickplant.sim.fault_state import Faults, Piece
from tickplant.sim.faults import Fault, parse_fault, random_faults
from tickplant.sim.frames import Batch, batch_of, frame, frame_header
from tickplant.sim.outlet import Outlet
from tickplant.sim.post import Post
from tickplant.sim.spec import parse_spec

STREAMS = ["a@trade", "a@depth", "b@trade"]


def fault(kind: str, **options: Any) -> Fault:
    return parse_fault(msgspec.json.encode({"fault": kind} | options))


def batch(*messages: tuple[int, int]) -> Batch:
    """Messages as (stream, id); the text of one is its stream and id."""
    texts = [f'{{"{STREAMS[stream]}":{ident}}}'.encode() for stream, ident in messages]
    return batch_of(texts, [stream for stream, _ in messages], [ident for _, ident in messages])


def mangle(faults: Faults, *messages: tuple[int, int], number: int = 1, now_ns: int = 0) -> list[Piece]:
    order = np.arange(len(messages))
    return faults.mangle(number, batch(*messages), order, now_ns=now_ns)


def shown(pieces: list[Piece]) -> list[tuple[str, int]]:
    return [(piece.mark, piece.id) for piece in pieces]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("drop", [("", 1), ("drop", 2), ("", 3), ("", 4)]),
        ("duplicate", [("", 1), ("", 2), ("duplicate", 2), ("", 3), ("", 4)]),
        ("reorder", [("", 1), ("reorder", 2), ("", 3), ("", 2), ("", 4)]),
        ("truncate", [("", 1), ("truncate", 2), ("", 3), ("", 4)]),
        ("corrupt", [("", 1), ("corrupt", 2), ("", 3), ("", 4)]),
        ("garbage", [("", 1), ("garbage", 0), ("", 2), ("", 3), ("", 4)]),
        ("oversize", [("", 1), ("", 2), ("oversize", 0), ("", 3), ("", 4)]),
    ],
)
def test_a_fault_befalls_the_message_it_is_meant_for_and_no_other(kind: str, expected: list[tuple[str, int]]) -> None:
    faults = Faults(STREAMS)
    armed = faults.arm(fault(kind, stream="a@*", skip=1), 0, [1])
    pieces = mangle(faults, (0, 1), (0, 2), (0, 3), (0, 4))
    assert shown(pieces) == expected
    assert (armed.hits, armed.left) == (1, 0)
    assert [(hit.fault, hit.connection, hit.stream, hit.id) for hit in faults.hits] == [(1, 1, "a@trade", 2)]
    assert not faults.concern(1)


def test_what_is_written_is_what_the_mark_says() -> None:
    faults = Faults(STREAMS)
    for kind in ("drop", "duplicate", "truncate", "garbage", "oversize", "corrupt"):
        faults.arm(fault(kind), 0, [1])
    sent = {piece.mark: piece for piece in mangle(faults, *[(0, ident) for ident in range(1, 8)]) if piece.mark}
    assert sent["drop"].sent == b""
    assert sent["duplicate"].sent == frame(b'{"a@trade":2}')
    assert sent["truncate"].sent == frame(b'{"a@tr')
    assert sent["garbage"].sent == frame(sent["garbage"].payload)
    assert sent["corrupt"].sent == frame(b'{"a@trade":7}')
    assert sent["oversize"].sent.startswith(b"\x81\x7f" + ((64 << 20) + 1).to_bytes(8, "big"))
    assert {mark for mark, piece in sent.items() if piece.is_lost} == {"drop", "truncate"}


@pytest.mark.parametrize(
    ("key", "sent"),
    [
        ("price", b'{"price":46.50,"checksum":129}'),
        ("checksum", b'{"price":45.50,"checksum":120}'),
        ("none", b'{"price":45.50,"checksum":120}'),
    ],
)
def test_a_corrupt_message_has_one_other_digit(key: str, sent: bytes) -> None:
    faults = Faults(STREAMS)
    faults.arm(fault("corrupt", key=key), 0, [1])
    (piece,) = faults.mangle(1, batch_of([b'{"price":45.50,"checksum":129}'], [0], [1]), np.arange(1), now_ns=0)
    assert (piece.mark, piece.payload, piece.sent) == ("corrupt", b'{"price":45.50,"checksum":129}', frame(sent))
    assert not piece.is_lost


def test_a_fault_has_the_venue_s_words_unless_it_brings_its_own() -> None:
    assert WORDS.complete(fault("garbage")) == fault("garbage", text=WORDS.garbage)
    assert WORDS.complete(fault("halt", symbol="A")) == fault("halt", symbol="A", status="HALT")
    refused = fault("refuse-subscription", code=7)
    assert WORDS.complete(refused) == fault("refuse-subscription", code=7, text=WORDS.refused.text)
    for own in (fault("garbage", text="x"), fault("halt", symbol="A", status="X"), fault("drop")):
        assert WORDS.complete(own) == own


def test_a_held_message_goes_with_its_connection() -> None:
    faults = Faults(STREAMS)
    faults.arm(fault("reorder", stream="a@trade"), 0, [1])
    assert shown(mangle(faults, (0, 1), (1, 7))) == [("reorder", 1), ("", 7)]
    faults.closed(1)
    assert shown(mangle(faults, (0, 2))) == [("", 2)]


def test_a_count_is_shared_by_all_connections_or_kept_for_one() -> None:
    faults = Faults(STREAMS)
    faults.arm(fault("drop", count=2), 0, [1, 2])
    faults.arm(fault("drop", connection=2), 0, [1, 2])
    assert [shown(mangle(faults, (0, 1), number=number)) for number in (1, 2, 1, 2)] == [
        [("drop", 1)],
        [("drop", 1)],
        [("", 1)],
        [("drop", 1)],
    ]


def test_a_stalled_connection_sends_nothing_until_its_time_is_over() -> None:
    faults = Faults(STREAMS)
    faults.arm(fault("stall", for_s=1, pings=False), 0, [1])
    assert shown(mangle(faults, (0, 1), now_ns=999_999_999)) == [("stall", 1)]
    assert shown(mangle(faults, (0, 1), number=2, now_ns=999_999_999)) == [("", 1)]
    assert faults.is_mute(1, 999_999_999)
    assert not faults.is_mute(1, 10**9)
    assert shown(mangle(faults, (0, 2), now_ns=10**9)) == [("", 2)]


def test_a_silent_stream_stays_silent_while_its_connection_lives() -> None:
    faults = Faults(STREAMS)
    faults.arm(fault("silent", stream="a@*"), 0, [1])
    faults.arm(fault("silent", stream="b@*", new_connections=1), 0, [1])
    for number in (2, 3):
        faults.opened(number)
    assert [shown(mangle(faults, (0, 1), (2, 1), number=number)) for number in (1, 2, 3)] == [
        [("silent", 1), ("", 1)],
        [("", 1), ("silent", 1)],
        [("", 1), ("", 1)],
    ]
    faults.closed(1)
    assert not faults.concern(1)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 2**40])
def test_a_frame_header_gives_the_length_in_the_shortest_form(size: int) -> None:
    header = frame_header(size)
    length, more = header[1], int.from_bytes(header[2:], "big")
    assert (length if len(header) == 2 else more) == size
    assert len(header) == (2 if size < 126 else 4 if size < 65_536 else 10)


def test_the_same_seed_makes_the_same_mixture_and_every_kind_comes() -> None:
    first = list(islice(random_faults(7, 2.0, STREAMS, WORDS), 500))
    assert first == list(islice(random_faults(7, 2.0, STREAMS, WORDS), 500))
    assert first != list(islice(random_faults(8, 2.0, STREAMS, WORDS), 500))
    kinds = {msgspec.to_builtins(one)["fault"] for _, one in first}
    assert kinds == set(WORDS.kinds)
    assert 200 < sum(wait_s for wait_s, _ in first) < 300
    for _, one in first:
        assert parse_fault(msgspec.json.encode(one)) == one


def test_a_mixture_can_be_narrowed_to_some_kinds() -> None:
    mixture = islice(random_faults(1, 1.0, STREAMS, WORDS, ["drop", "rest"]), 50)
    assert {msgspec.to_builtins(one)["fault"] for _, one in mixture} == {"drop", "rest"}


@pytest.mark.parametrize(
    "text", [b"", b"\xff", b"[]", b"{}", b'{"fault":"none"}', b'{"fault":"drop","of":1}', b'{"fault":"drop","count":0}']
)
def test_what_is_no_fault_is_refused(text: bytes) -> None:
    with pytest.raises(FeedError, match="this is not a fault"):
        parse_fault(text)


def test_a_script_says_when_and_a_mixture_names_known_kinds() -> None:
    assert parse_spec(b'{"faults":[{"at_s":1,"fault":{"fault":"drop"}}]}').faults[0].at_s == 1
    for text in (
        b'{"faults":[{"fault":{"fault":"drop"}}]}',
        b'{"faults":[{"at_s":1,"at_message":1,"fault":{"fault":"drop"}}]}',
    ):
        with pytest.raises(FeedError, match="either at_s or at_message"):
            parse_spec(text)
    with pytest.raises(FeedError, match="'none' is not a fault; choose from drop, "):
        parse_spec(b'{"fault_kinds":["none"]}')


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000])
def test_a_post_is_read_whatever_its_pieces(piece_bytes: int) -> None:
    data = b"POST /sim/fault HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    post = Post()
    answers = [post.feed(data[start : start + piece_bytes]) for start in range(0, len(data), piece_bytes)]
    assert answers[-1] == ("/sim/fault", {"Host": "x", "Content-Length": "5"}, b"hello")
    assert not any(answers[:-1])


class Client:
    """A connection that keeps what it is sent; it counts its frames, as some venues do."""

    number, path, is_open, queued_bytes = 1, "/", True, 0
    mask = np.ones(len(STREAMS), np.bool_)

    def __init__(self, *, counts: bool) -> None:
        self.session = Counting() if counts else Plain()
        self.sent = b""

    def send_frames(self, data: bytes) -> None:
        self.sent += data

    def send_text(self, text: bytes) -> None:
        self.sent += frame(text)

    def send_ping(self, payload: bytes) -> None:
        raise NotImplementedError

    def send_close(self, code: int, reason: str) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError

    async def until_writable(self) -> None:
        raise NotImplementedError

    async def barrier(self) -> None:
        raise NotImplementedError


class Plain(Session):
    """Takes the frames as they are."""

    def names(self) -> list[str]:
        return STREAMS

    def on_text(self, text: bytes) -> list[Reply]:
        return []


class Counting(Plain):
    """Takes each frame with its number on this connection."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.own = lambda text: b"%d %b" % (next(self._numbers), text)


@pytest.mark.parametrize("counts", [True, False])
def test_a_connection_may_have_a_text_of_its_own_of_each_frame_whatever_befalls_it(counts: bool) -> None:
    outlet = Outlet(STREAMS, max_buffer_bytes=1 << 20)
    client = Client(counts=counts)
    outlet.opened(client)
    outlet.reply(client, b"hello")
    outlet.deliver(batch((0, 1), (2, 1)))
    outlet.arm(fault("drop", skip=1), 0)
    outlet.deliver(batch((0, 2), (0, 3), (0, 4)))
    outlet.push(client, b"snapshot", 1, 9)
    texts = [
        b"hello",
        b'{"a@trade":1}',
        b'{"b@trade":1}',
        b'{"a@trade":2}',
        b'{"a@trade":3}',
        b'{"a@trade":4}',
        b"snapshot",
    ]
    expected = [b"%d %b" % (i, text) if counts else text for i, text in enumerate(texts, 1)]
    del expected[4]
    assert client.sent == b"".join(map(frame, expected))
    (entry,) = outlet.report()["connections"]  # type: ignore[misc]  # as JSON shows it
    assert entry["streams"]["a@trade"] == {"frames": 3, "last_id": 4, "lost": 1}
    assert entry["streams"]["a@depth"] == {"frames": 1, "last_id": 9, "lost": 0}
    assert (entry["replies"], outlet.frames_sent) == (1, 5)
