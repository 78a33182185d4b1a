"""The publisher's kernels beside plain references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.feeds.ring_publisher import STREAMS, count_lost, first_event, note_last, stamp, whole_events
from tickplant.records.layouts import TICK, Flag, Kind

pytestmark = pytest.mark.kernels

INSTRUMENTS = 6
NO_STREAM = STREAMS - 1
Records = np.ndarray[Any, Any]


@st.composite
def records(draw: st.DrawFn) -> Records:
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(1, INSTRUMENTS - 1),
                st.sampled_from(list(Kind)),
                st.sampled_from([0, Flag.LAST, Flag.BACKFILL, Flag.SNAPSHOT | Flag.LAST, Flag.OVERFLOW, 0xFFFF]),
                st.integers(0, 2**62),
            ),
            max_size=30,
        )
    )
    batch = np.zeros(len(rows), TICK)
    for index, (instrument, kind, flags, venue_seq) in enumerate(rows):
        batch[index]["instrument"], batch[index]["kind"] = instrument, kind
        batch[index]["flags"], batch[index]["venue_seq"] = flags, venue_seq
    return batch


def stream_of(record: Any) -> int:
    if record["flags"] & Flag.ON_ORDERS and record["kind"] not in (Kind.STATUS, Kind.GAP):
        return 3
    match Kind(int(record["kind"])):
        case Kind.STATUS | Kind.GAP:
            return NO_STREAM
        case Kind.TRADE:
            return 0
        case Kind.QUOTE:
            return 1
        case Kind.ORDER_ADD | Kind.ORDER_MODIFY | Kind.ORDER_CANCEL | Kind.ORDER_FILL:
            return 3
        case Kind.LEVEL | Kind.CLEAR | Kind.CHECKSUM:
            return 2
        case _:
            return 4


def words(batch: Records) -> np.ndarray[Any, Any]:
    return np.frombuffer(batch, np.int64)


@given(records(), st.integers(0, 2**62))
@settings(max_examples=100)
def test_stamp_numbers_the_records_and_touches_nothing_else(batch: Records, first: int) -> None:
    expected = batch.copy()
    expected["seq"] = np.arange(first, first + len(batch))
    stamp(words(batch), first)
    assert batch.tobytes() == expected.tobytes()


@given(records())
@settings(max_examples=200)
def test_note_last_keeps_the_newest_id_of_each_stream(batch: Records) -> None:
    expected = np.zeros((INSTRUMENTS, STREAMS), np.int64)
    for record in batch:
        stream = stream_of(record)
        if stream != NO_STREAM and not record["flags"] & Flag.BACKFILL:
            expected[record["instrument"], stream] = record["venue_seq"]
    last = np.zeros_like(expected)
    assert note_last(words(batch), last) == 0
    assert (last == expected).all()


@given(records())
@settings(max_examples=200)
def test_count_lost_counts_by_stream_and_gives_the_id_after_the_last_one(batch: Records) -> None:
    expected = np.zeros((INSTRUMENTS, STREAMS), np.int64)
    following = np.zeros_like(expected)
    for record in batch:
        where = int(record["instrument"]), stream_of(record)
        expected[where] += 1
        if where[1] != NO_STREAM:
            following[where] = max(int(following[where]), int(record["venue_seq"]) + 1)
    lost, next_id = np.zeros_like(expected), np.zeros_like(expected)
    assert count_lost(words(batch), lost, next_id) == 0
    assert (lost == expected).all()
    assert (next_id == following).all()


def test_an_instrument_beyond_the_table_is_named_and_counted_once_when_called_again() -> None:
    batch = np.zeros(2, TICK)
    batch["instrument"], batch["kind"], batch["venue_seq"] = [1, 9], Kind.TRADE, [5, 6]
    short, long = np.zeros((2, STREAMS), np.int64), np.zeros((10, STREAMS), np.int64)
    assert note_last(words(batch), short) == 9
    assert count_lost(words(batch), short, short.copy()) == 9
    assert not short[:, 1:].any()
    lost = np.zeros_like(long)
    assert count_lost(words(batch), lost, long) == 0
    assert (lost[1, 0], lost[9, 0]) == (1, 1)


def ends(batch: Records) -> list[int]:
    """How many records there are up to the end of each event."""
    return [index + 1 for index, flags in enumerate(batch["flags"].tolist()) if flags & Flag.LAST]


@given(records(), st.integers(0, 30), st.integers(0, 40))
@settings(max_examples=200)
def test_whole_events_are_those_whose_last_record_fits(batch: Records, first: int, room: int) -> None:
    first = min(first, len(batch))
    fitting = [end - first for end in ends(batch) if first < end <= first + room]
    assert whole_events(words(batch), first, room) == max(fitting, default=0)


@given(records(), st.integers(0, 30))
@settings(max_examples=200)
def test_the_first_event_reaches_to_its_last_record_or_to_the_end(batch: Records, first: int) -> None:
    if first < len(batch):
        assert (
            first_event(words(batch), first)
            == min((end for end in ends(batch) if end > first), default=len(batch)) - first
        )
