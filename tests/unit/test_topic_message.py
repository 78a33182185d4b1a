"""Messages as Arrow and as frames: what a subscriber has is what the store gives of the same records."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from made_past import fill
from made_records import make_ticks

import tickplant
from tickplant.client.topic_message import Message
from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Schema


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("messages")
    InstrumentTable.load(folder / "instruments.jsonl").register("venue", "AAA", 2, 8)
    fill(folder, Schema.TICK, "feed", make_ticks(400, instruments=1), flush=100)
    return folder


@pytest.fixture(scope="module")
def messages(data: Path) -> list[Message]:
    return [one for one in tickplant.Store(data).play("venue.AAA") if one.schema is Schema.TICK]


def test_a_message_is_the_rows_that_the_store_gives(data: Path, messages: list[Message]) -> None:
    stored = tickplant.Store(data).ticks("venue", "AAA").arrow()
    rows = {row["seq"]: row for row in stored.to_pylist()}
    seen = 0
    for message in messages:
        batch = message.arrow()
        assert batch.schema == stored.schema
        assert batch.to_pylist() == [rows[seq] for seq in message.records["seq"].tolist()]
        seen += batch.num_rows
    assert seen == len(rows) == 400


def test_frames_and_integers_are_those_of_the_store(data: Path, messages: list[Message]) -> None:
    message = max(messages, key=lambda one: len(one.records))
    seqs = message.records["seq"].tolist()
    ticks = tickplant.Store(data).ticks("venue", "AAA").pandas()
    expected = ticks[ticks["seq"].isin(seqs)].reset_index(drop=True)
    assert message.pandas().astype(str).equals(expected.astype(str))
    assert message.polars().to_arrow().cast(message.arrow().schema).to_pylist() == message.arrow().to_pylist()
    exact = message.arrow(prices="integer")
    assert exact.column("price_scale").to_pylist().count(2) > 0
    assert pa.types.is_int64(exact.schema.field("price").type)
