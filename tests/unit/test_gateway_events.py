"""Events hold the rows of history: what is written by hand for a stream equals what Arrow writes for a file."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.client.topic_message import Message
from tickplant.gateway.event_text import gap_event, records_event
from tickplant.gateway.stream_cursor import Cursor, Positions, base36, key_of
from tickplant.instruments import Instrument
from tickplant.records.arrow_columns import ArrowColumns
from tickplant.records.layouts import DTYPES, NO_PRICE, Schema
from tickplant.store.row_files import write_text

TIME = st.integers(1, 4 * 10**18)
ANY = st.one_of(st.just(NO_PRICE), st.just(-1), st.integers(-(10**15), 10**15))
FIELDS: dict[str, st.SearchStrategy[int]] = {
    **dict.fromkeys(("ts_recv", "ts_open"), TIME),
    "ts_event": st.one_of(st.just(0), TIME),
    "kind": st.integers(0, 20),
    "side": st.integers(0, 3),
    **dict.fromkeys(("venue_seq", "order_id", "source_seq"), st.integers(0, 2**64 - 1)),
    "seq": st.integers(0, 2**53),
    "flags": st.integers(0, 2**16 - 1),
    **dict.fromkeys(("interval_s", "trades"), st.integers(0, 2**32 - 1)),
    **dict.fromkeys(("price", "bid_price", "ask_price", "open", "high", "low", "close"), ANY),
    **dict.fromkeys(("size", "bid_size", "ask_size", "volume", "buy_volume"), st.integers(-1, 10**15)),
}


@st.composite
def messages(draw: st.DrawFn) -> Message:
    schema = draw(st.sampled_from([Schema.TICK, Schema.BBO, Schema.BAR]))
    count = draw(st.integers(1, 5))
    records = np.zeros(count, DTYPES[schema])
    for name in records.dtype.names or ():
        if name in FIELDS:
            records[name] = draw(st.lists(FIELDS[name], min_size=count, max_size=count))
    records["instrument"] = 1
    return Message(
        kind="live",
        topic="venue.AAA.x",
        venue="venue",
        symbol="AAA",
        channel="x",
        schema=schema,
        records=records,
        instrument=1,
        price_scale=draw(st.integers(0, 18)),
        size_scale=draw(st.integers(0, 18)),
        epoch=7,
        first_seq=draw(st.integers(0, 2**50)),
        publish_ns=draw(st.one_of(st.just(0), TIME)),
    )


def from_history(message: Message) -> list[dict[str, Any]]:
    """The rows as a file of history has them, without venue and symbol."""
    row = Instrument(1, "venue", "AAA", message.price_scale, message.size_scale)
    arrow = ArrowColumns([row], message.schema)
    names = [name for name in arrow.default if name not in ("venue", "symbol")]
    file = io.BytesIO()
    block = {name: message.records[name] for name in message.records.dtype.names or ()}
    write_text(file, "jsonl", arrow, names, [block], lambda _: None, quoted={"venue_seq", "order_id"})
    return [json.loads(line) for line in file.getvalue().splitlines()]


@settings(max_examples=60)
@given(messages())
def test_a_record_of_a_stream_is_a_row_of_history(message: Message) -> None:
    event = json.loads(records_event(message).data)
    notes = [record.pop("note", None) for record in event["records"]]
    assert event["records"] == from_history(message)
    kinds = [record.get("kind") for record in event["records"]]
    assert [note is not None for note in notes] == [kind in ("gap", "status", "statistic") for kind in kinds]
    assert event["count"] == len(message.records)
    assert (event["published"] is None) == (message.publish_ns == 0)


def test_an_event_is_framed_for_both_kinds_of_streams() -> None:
    event = gap_event('a."b".c', 5, 7, None, "slow")
    sse = event.framed("x~y", websocket=False)
    assert sse.startswith(b"id: x~y\nevent: gap\ndata: {")
    assert sse.endswith(b"}\n\n")
    plain = json.loads(event.framed("", websocket=True))
    assert plain == {"type": "gap", "topic": 'a."b".c', "epoch": 5, "seq": 7, "lost": None, "reason": "slow"}
    assert json.loads(event.framed("x~y", websocket=True)) == {"id": "x~y", **plain}
    assert event.framed("x~y", websocket=False) is sse


@given(st.dictionaries(st.text(min_size=1), st.tuples(st.integers(0, 2**52), st.integers(0, 2**52)), min_size=1))
def test_a_cursor_says_where_each_topic_stands(places: dict[str, tuple[int, int]]) -> None:
    positions = Positions()
    for topic, place in places.items():
        positions.move(topic, (place[0] + 1, 0))  # an earlier epoch leaves nothing behind
        positions.move(topic, place)
    cursor = Cursor(positions.text)
    assert positions.text.isascii()
    assert "\n" not in positions.text
    for topic, (epoch, seq) in places.items():
        assert cursor.of(topic, epoch) == (epoch, seq)
    epochs = {epoch for epoch, _ in places.values()}
    assert cursor.of("something else", next(iter(epochs))) == (next(iter(epochs)), 0)
    assert cursor.of("something else", max(epochs) + 1) is None


@given(st.integers(0, 2**64))
def test_numbers_in_cursors_are_short(number: int) -> None:
    assert int(base36(number), 36) == number
    assert len(key_of(str(number))) == 8


@pytest.mark.parametrize(
    "text", ["", "!", "1~short", "1~toolongkey_~", "x" * 20, "1." * 9, "1~AAAAAAAA1~" + "A" * 70_000]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a cursor"):
        Cursor(text)
