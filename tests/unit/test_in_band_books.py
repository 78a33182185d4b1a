"""Subscriptions that are answered without a number, and times: what Coinbase needed of the kit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickplant.feeds.contract import LinkSpec
from tickplant.feeds.kit.in_band_books import InBandBook
from tickplant.feeds.kit.numbers import rfc3339_ns
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.subscriptions import Stream, Subscriptions
from tickplant.instruments import FEED_SYMBOL
from tickplant.records.layouts import GapCause
from tickplant.times import parse_time

A, B, ALL = Stream("A", "book"), Stream("B", "book"), Stream(FEED_SYMBOL, "status")


class Codec:
    streams_per_request = 10
    busy = frozenset({"book"})

    def name(self, stream: Stream) -> str:
        return stream.symbol

    def group(self, stream: Stream) -> str:
        return ""

    def request(self, streams: list[Stream], request: int, *, subscribe: bool) -> bytes:
        return b" ".join(stream.symbol.encode() for stream in streams)


def subscriptions(**options: object) -> Subscriptions:
    links = [(LinkSpec(name=name, url=""), [A, B, ALL]) for name in ("one", "two")]
    return Subscriptions(links, Codec(), silent_s=10, **options)


def test_an_answer_without_a_number_acknowledges_what_it_lists() -> None:
    those = subscriptions()
    link = those.links["one"]
    those.subscribe(link, 0)
    those.request(link, [B], 0, subscribe=False)
    those.acknowledge_all("one", lambda stream: stream in (A, ALL), 5)
    assert [pending.streams for pending in link.pending.values()] == [[B]]
    assert link.watched.keys() == {A}  # what is about no single symbol may rest
    those.acknowledge_all("one", lambda stream: True, 5)
    assert not link.pending
    those.acknowledge_all("unknown", lambda stream: True, 5)


def test_what_is_refused_is_asked_for_in_halves_where_one_may_cost_all() -> None:
    for halves, expected in ((True, [b"A", b"B *"]), (False, [b"A B *"])):
        those = subscriptions(halves=halves)
        those.subscribe(those.links["one"], 0)
        those.refuse("one", None, 0)
        assert [send.payload for send in those.again(10**9)] == expected


def test_requests_of_a_link_that_holds_a_credential_are_secret() -> None:
    those = subscriptions(secret=["two"])
    assert [those.subscribe(link, 0)[0].secret for link in those.links.values()] == [False, True]


def test_a_book_that_goes_on_from_a_recording_is_live_where_that_was() -> None:
    for live in (True, False):
        book = InBandBook()
        book.go_on(0, live=live, after_snapshot=False)
        assert book.live == live
    assert (book.seen_id, book.counts_ids, book.release()) == (None, False, ())
    book.resume(0, GapCause.RESTART)
    gap, _ = book.on_snapshot([])
    assert gap.cause is GapCause.RESTART
    assert book.give_up(GapCause.DISCONNECT) == ()
    book.give_up(GapCause.DISCONNECT)
    assert len(book.on_snapshot([])) == 2
    book.refresh()
    assert book.live
    assert book.wants_snapshot


TEXTS = st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,10})?(Z|\+00:00)\Z")
NEAR = st.builds(
    "{}-{:02}-{:02}{}{:02}:{:02}:{:02}.{}Z".format,
    st.sampled_from(["1677", "1678", "1970", "2026", "2261", "2262", "0000"]),
    st.integers(0, 13),
    st.integers(0, 32),
    st.sampled_from("T t"),
    st.integers(0, 24),
    st.integers(0, 60),
    st.integers(0, 61),
    st.sampled_from(["", "0", "000001", "123456789", "1234567890", "-1", "+1", "٣", " 1"]),
)


@given(TEXTS | NEAR | st.text(max_size=30))
def test_times_are_those_of_the_plain_reading(text: str) -> None:
    try:
        expected = parse_time(text) if "T" in text else None
    except ValueError:
        expected = None
    if expected is None:
        with pytest.raises(RejectError):
            rfc3339_ns(text)
    else:
        assert rfc3339_ns(text) == expected
