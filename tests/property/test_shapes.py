"""The kernel that reads frames by shape equals the plain reader, or leaves the frame to the reference decoder."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
from all_shapes import DAMAGE, SYMBOLS, VENUES, pair
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.feeds.kit.shapes import (
    Shape,
)

pytestmark = pytest.mark.kernels

ODD_WORDS = "00.5|5.|.5|-1|+1|1e3|1E-2|0.000000001|0.0000000100|NaN|1_0|0x1|null|0|0.0|1|10|12345678|123456789|true"
ODD = ODD_WORDS.split("|")
LONG = ["1" * 16, "1" * 18, "1" * 19, "1" * 20, "9" * 19, "92233720368.54775807", "92233720368.54775808"]
plain_number = st.decimals(0, 10**7, places=5).map(lambda value: format(value, "f"))
number = st.one_of(plain_number, plain_number, plain_number, plain_number, st.sampled_from(ODD + LONG))
ident = st.one_of(st.integers(0, 9), st.sampled_from([2**63 - 1, 2**63, 10**30, -1]))
TIMES = [0, 1_700_000_000_000_123, 9_223_372_036_854, 9_223_372_036_855, 10**14, 10**16, 10**17, 10**18, 2**63]
epoch = st.one_of(st.integers(1_700_000_000_000, 1_700_000_004_000), st.sampled_from(TIMES))
CLOCKS = ["2023-10-06T17:35:55.440295Z", "1970-01-01T00:00:00Z", "2024-02-29T23:59:59.999999999Z"]
CLOCKS += ["2023-02-29T00:00:00Z", "2100-02-28T00:00:00.1Z", "2000-02-29T12:00:00.12345678Z", "2262-01-01T00:00:00Z"]
CLOCKS += ["1969-12-31T23:59:59Z", "2023-13-01T00:00:00Z", "2023-10-06 17:35:55Z", "2023-10-06T17:35:60Z"]
CLOCKS += [
    "2023-10-06T24:00:00Z",
    "2023-10-06T17:35:55+00:00",
    "2023-10-06T17:35:55.1234567891Z",
    "2023-00-10T00:00:00Z",
]
clock = st.one_of(
    st.datetimes().map(lambda time: time.isoformat() + "Z"),
    st.integers(-1, 2**63 // 10**9).map(
        lambda s: (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(0, s)).isoformat()[:-6] + "Z"
    ),
    st.sampled_from(CLOCKS),
)
name = st.sampled_from(SYMBOLS * 2 + ("UNKNOWN", "", "B", "BTCUSD", "测试", "A-SYMBOL-OF-25-LETTERS-XY"))
VALUES = {
    "symbol": name,
    "price": number,
    "price+": number,
    "size": number,
    "size+": number,
    "int": ident.map(str),
    "epoch": epoch.map(str),
    "later": epoch.map(str),
    "nanos": st.sampled_from(["0", "567890", "999999", "1000000", "-1", "1.5", "01"]),
    "seconds": st.one_of(plain_number, st.just("1616663618.123456789"), number),
    "rfc3339": clock,
    "bytes": st.lists(st.sampled_from([0, 1, 2, 12, 37, 60, 62, 63, 254, 255, 256, 10**18]), max_size=9).map(
        lambda numbers: json.dumps(numbers, separators=(",", ":"))
    )
    | st.sampled_from(["[-1]", "[1.5]", "[1e1]", "null", "[1,]", "[", "7", "[true]", "[01]", f"[{2**64}]", '["1"]']),
    "uuid": st.one_of(
        st.uuids().map(str),
        st.uuids().map(lambda one: str(one).upper()),
        st.sampled_from(["", "x", "3f6c0c1e-0000-4000-8000-00000000000g", "3f6c0c1e000040008000000000000001"]),
        st.uuids().map(lambda one: str(one)[:35]),
    ),
    "text": st.sampled_from(["btcusdt", "", "a@b", "limit", "a longer text of plain letters", "é", "\\n", "market"]),
    "number": st.sampled_from(["0", "-1.5e-3", "100.0", "-0", "1e999", "01", "1.", "1" * 40, "1" * 41, '"1"']),
    "any": st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), st.integers(), st.text('a"\\é\n', max_size=3)),
        lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.just("k"), inner)),
        max_leaves=4,
    ).map(lambda value: json.dumps(value, separators=(",", ":"))),
}
FURTHER = ["", "", "", ',"st":1', ',"new":{"a":[1,null],"b":"\\n"}', ',"X":1', ',"e":1', ',"s":"A"', ',"stream":1', ","]


@st.composite
def example(draw: st.DrawFn, parts: Shape) -> str:
    """A frame, or an element of a list, that mostly fits."""
    frame = ""
    for part in parts:
        if isinstance(part, str):
            text = part
            while "<" in text:
                before, _, rest = text.partition("<")
                hole, _, text = rest.partition(">")
                kind = hole.rpartition(":")[2]
                if kind.startswith("*"):
                    value = st.sampled_from(FURTHER)
                elif "|" in kind:
                    words = [word.partition("=")[0] for word in kind.split("|")]
                    value = st.sampled_from(words * 6 + ["other", "", words[0] + "s"])
                else:
                    value = VALUES[kind.partition("!")[0]]
                frame += before + draw(value)
            frame += text
        elif hasattr(part, "parts"):
            frame += "[" + ",".join(draw(st.lists(st.sampled_from(part.choices).flatmap(example), max_size=4))) + "]"
    return frame


@st.composite
def frames(draw: st.DrawFn, venue: str) -> bytes:
    shapes = VENUES[venue]
    frame = draw(example(shapes[draw(st.sampled_from(list(shapes)))])).encode()
    match draw(st.integers(0, 9)):
        case 0:
            frame = frame[: draw(st.integers(0, len(frame)))]
        case 1 if frame:
            spoilt = bytearray(frame)
            spoilt[draw(st.integers(0, len(frame) - 1))] = draw(st.sampled_from(DAMAGE))
            frame = bytes(spoilt)
        case 2:
            place = draw(st.integers(0, len(frame)))
            frame = frame[:place] + bytes([draw(st.sampled_from(DAMAGE))]) + frame[place:]
        case 3:
            frame = frame.replace(b'"BTCUSDT"', b'"A","s":"BTCUSDT"', 1)
    return frame


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=80)
@given(scale=st.sampled_from([8, 8, 5, 0, 18]), data=st.data())
def test_the_kernel_equals_the_plain_reader_or_leaves_the_frame(venue: str, scale: int, data: st.DataObject) -> None:
    both = pair(venue, scale)
    for frame in data.draw(st.lists(frames(venue), min_size=1, max_size=12)):
        both.read(frame)


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=40)
@given(cuts=st.lists(st.integers(0, 10), max_size=4), data=st.data())
def test_how_frames_are_cut_into_reads_does_not_matter(venue: str, cuts: list[int], data: st.DataObject) -> None:
    sequence = data.draw(st.lists(frames(venue), min_size=1, max_size=10))
    outputs = []
    for bounds in ([0, *sorted(cuts), len(sequence)], range(len(sequence) + 1)):
        bench = pair(venue).bench
        rows = [bench.read(*sequence[start:stop]) for start, stop in itertools.pairwise(bounds)]
        state = bench.state.tolist()
        counts = (bench.reader.parsed, bench.reader.duplicates, bench.reader.kinds, bench.reader.taken)
        fallbacks = bench.reader.fallbacks
        outputs.append((list(itertools.chain(*rows)), bench.referred, bench.given, state, counts, fallbacks))
    assert outputs[0] == outputs[1]
