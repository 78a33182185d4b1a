"""Whatever happens to a feed comes back from the lines of its capture."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickplant.feeds.capture_lines import line_of, lines_of, parse_line, why_not
from tickplant.feeds.contract import Answer, Closed, Frames, Opened, Request, Resync, Second, Send, Symbols
from tickplant.runtime.line_times import LATEST_NS
from tickplant.runtime.recorded_lines import CutLine

NAMES = st.text(st.characters(categories=("L", "N"), include_characters="-_/.:<>=+!"), min_size=1, max_size=12)
TIMES = st.integers(10**17, LATEST_NS - 1).filter(lambda ns: ns >= 946_684_800 * 10**9)
TEXT_FRAMES = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\n"), min_size=1).map(
    str.encode
)
BINARY_FRAMES = st.binary(min_size=1).filter(lambda frame: frame.decode(errors="ignore").encode() != frame)
FRAMES = TEXT_FRAMES.filter(lambda frame: not frame.endswith(b"\r")) | BINARY_FRAMES
LEAVES = st.none() | st.integers() | st.text(max_size=8)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(NAMES, st.lists(FRAMES, min_size=1), TIMES)
def test_frames_come_back_byte_for_byte_with_their_link_and_time(link: str, frames: list[bytes], now_ns: int) -> None:
    lines = lines_of(link, frames, now_ns).split(b"\n")
    assert [parse_line(line) for line in lines] == [(now_ns, Frames(link, (frame,))) for frame in frames]


@given(NAMES, JSON, TIMES)
def test_a_json_frame_that_was_written_over_many_lines_keeps_its_meaning(link: str, value: object, now_ns: int) -> None:
    (line,) = lines_of(link, [json.dumps(value, indent=1).encode()], now_ns).split(b"\n")
    parsed = parse_line(line)
    assert parsed is not None and isinstance(parsed[1], Frames)
    assert json.loads(parsed[1].frames[0]) == value


@given(NAMES, st.text(st.characters(categories=("L", "P", "N"))), TIMES)
def test_what_happens_to_a_link_comes_back(link: str, reason: str, now_ns: int) -> None:
    for event in (Opened(link), Closed(link, reason), Second(), Resync(link), Resync("")):
        assert parse_line(line_of(event, now_ns)) == (now_ns, event)
    assert parse_line(line_of(Send(link, reason.encode()), now_ns)) == (now_ns, None)


@given(st.lists(st.text(max_size=8)), st.lists(st.text(max_size=8)), TIMES)
def test_changes_of_symbols_come_back(added: list[str], removed: list[str], now_ns: int) -> None:
    event = Symbols(tuple(added), tuple(removed))
    line = line_of(event, now_ns)
    assert b"\n" not in line
    assert parse_line(line) == (now_ns, event)


@given(
    st.builds(
        Request, st.text(min_size=1), st.text(), method=st.sampled_from(["GET", "POST"]), endpoint=st.sampled_from("ab")
    ),
    st.integers(0, 599),
    st.none() | st.floats(0, 1e6),
    JSON.map(lambda value: json.dumps(value).encode())
    | st.text(st.characters(blacklist_categories=("Cs",))).map(str.encode),
    TIMES,
)
def test_answers_come_back_with_their_request(
    request: Request, status: int, wait_s: float | None, body: bytes, now_ns: int
) -> None:
    answer = Answer(request, status, body, wait_s)
    assert parse_line(line_of(answer, now_ns)) == (now_ns, answer)


@given(st.binary())
def test_no_line_is_beyond_reading(line: bytes) -> None:
    if parse_line(line) is None:
        assert why_not(line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1700000000000000000<public", "its time or its content cannot be read"),
        (b"1700000000000000000=public ??", "its time or its content cannot be read"),
        (b"1700000000000000000!{", "its time or its content cannot be read"),
        (b"1700000000000000000?public {}", "does not begin"),
        (b'1700000000000000000&{"added":"BTCUSDT"}', "its time or its content cannot be read"),
        (b"1000000000000000000 {}", ""),
        (b"99 {}", "between the years"),
        (b"1700000000000000000 ", "has no frame"),
        (CutLine(b"17"), "longer than"),
    ],
)
def test_what_is_no_line_is_named(line: bytes, reason: str) -> None:
    if reason:
        assert parse_line(line) is None
        assert reason in why_not(line)
    else:
        assert parse_line(line) is not None
