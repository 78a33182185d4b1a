"""The wire, to the byte: golden messages of each version, and the page that describes them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import make_wire
import numpy as np
import pytest

from tickplant import wire
from tickplant.records.channels import BBO_CHANNEL, TICK_CHANNELS
from tickplant.records.layouts import (
    DTYPES,
    BarFlag,
    Flag,
    GapCause,
    Kind,
    OrderFlag,
    Schema,
    Side,
    StatusCode,
    TradeFlag,
)
from tickplant.records.schemas import PUBLISHED

ROOT = Path(__file__).parents[2]

PAGE = (ROOT / "docs" / "wire.md").read_text()


def golden(version: int) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((ROOT / "tests" / "golden" / f"wire-v{version}.json").read_text())
    return read


def test_what_is_sent_today_is_what_the_golden_file_of_this_version_has() -> None:
    assert golden(wire.VERSION) == make_wire.golden()


def test_golden_messages_are_read_as_they_were_made() -> None:
    for message in golden(wire.VERSION)["messages"]:
        fields = wire.unpack_header(bytes.fromhex(message["header"]))
        records = np.frombuffer(bytes.fromhex(message["payload"]), DTYPES[Schema(fields.schema)])
        assert len(records) == fields.records
        assert (records["instrument"] == fields.instrument).all() or not records["seq"].any()
    requests = [wire.decode_request(text.encode()) for text in golden(wire.VERSION)["requests"]]
    assert requests == make_wire.REQUESTS
    assert [wire.decode_reply(text.encode()) for text in golden(wire.VERSION)["replies"]] == make_wire.REPLIES
    assert {type(request) for request in requests} == set(get_args(wire.Request))
    assert {type(reply) for reply in make_wire.REPLIES} == set(get_args(wire.Reply))


@pytest.mark.parametrize("text", golden(1)["requests"])
def test_a_request_of_version_1_is_answered_in_words(text: str) -> None:
    with pytest.raises(wire.OtherVersionError, match=r"wire version 2, .* version 1: your client is the older") as told:
        wire.decode_request(text.encode())
    assert told.value.id == json.loads(text)["id"], "its client awaits an answer to it"


@pytest.mark.parametrize("text", golden(1)["replies"])
def test_a_reply_of_version_1_tells_that_the_engine_is_older(text: str) -> None:
    with pytest.raises(ValueError, match=r"wire version 1, this client version 2: the engine is the older side"):
        wire.decode_reply(text.encode())


def test_a_message_of_another_version_tells_which_side_is_older() -> None:
    (message,) = golden(1)["messages"]
    with pytest.raises(ValueError, match=r"wire version 1, .*: the engine is the older side"):
        wire.unpack_header(bytes.fromhex(message["header"]))
    with pytest.raises(ValueError, match=r"wire version 3, .*: this client is the older side"):
        wire.unpack_header(b"TPWM\x03\x00")
    with pytest.raises(ValueError, match=r"wire version 3, .*: this client is the older side"):
        wire.decode_reply(b'{"type": "refused", "id": 0, "reason": "no", "version": 3}')
    with pytest.raises(wire.OtherVersionError, match="this engine is the older side"):
        wire.decode_request(b'{"type": "topics", "version": 3}')


# ------------------------------------------------------------------------------------------------ docs/wire.md


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/wire.md has no section {title}"
    return found[1]


def layout(dtype: np.dtype[np.void]) -> list[tuple[str, str, str]]:
    assert dtype.fields is not None
    return [
        (str(offset), f"{'char ' if part.kind == 'S' else part.kind}{part.itemsize}", name)
        for name, (part, offset, *_) in dtype.fields.items()
    ]


def fields_of(text: str) -> list[tuple[str, str, str]]:
    return re.findall(r"^\| (\d+) \| ([a-z]+ ?\d+) \| `(\w+)` \|", text, re.MULTILINE)


def test_the_page_has_every_field_of_the_header_where_it_is() -> None:
    assert fields_of(section("Header")) == layout(wire.WIRE_HEADER)
    assert f"{wire.HEADER_BYTES} bytes" in section("Header")


@pytest.mark.parametrize("schema", [Schema.TICK, *PUBLISHED])
def test_the_page_has_every_field_of_a_record_where_it_is(schema: Schema) -> None:
    text = section(f"Schema {int(schema)}: {schema.name}, {DTYPES[schema].itemsize} bytes")
    assert fields_of(text) == layout(DTYPES[schema])


@pytest.mark.parametrize(
    ("title", "members"),
    [
        *[("Kinds", Kind), ("Statuses", StatusCode), ("Causes of a GAP", GapCause), ("Sides", Side)],
        *[("Flags", Flag), ("Flags of a TRADE", TradeFlag), ("Flags of an order", OrderFlag)],
        ("Flags of a bar of trades", BarFlag),
    ],
)
def test_the_page_has_every_number_with_its_name(title: str, members: Any) -> None:
    rows = re.findall(r"^\| (\d+) \| ((?:`\w+`(?:, )?)+) \|", section(title), re.MULTILINE)
    told = {name: int(number) for number, names in rows for name in re.findall(r"\w+", names)}
    assert told == {name: int(member) for name, member in members.__members__.items()}


@pytest.mark.parametrize("message", [*make_wire.REQUESTS, *make_wire.REPLIES, make_wire.INFO])
def test_the_page_has_every_key_of_a_request_and_reply(message: Any) -> None:
    of = type(message)
    side = "Request" if of in get_args(wire.Request) else "Reply"
    title = "A topic's row" if of is wire.TopicInfo else f"{side} `{of.__struct_config__.tag}`"
    keys = re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE)
    assert keys == [name for name in of.__struct_fields__ if name not in ("id", "version")], title


def test_the_page_has_every_channel_and_bound() -> None:
    for channel in (*TICK_CHANNELS, BBO_CHANNEL):
        assert f"`{channel}`" in section("Topics")
    assert f"at most {wire.MESSAGE_RECORDS} records" in section("Messages")
    assert f"wire version {wire.VERSION}" in PAGE
