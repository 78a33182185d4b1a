"""What holds for every venue of the catalogue, whatever it is given.

a. Any bytes, any documented frame with something spoilt, any order of events, those of unknown links and requests too,
   live and from a recording: the adapter never raises, and its accounts balance after each event.
c. What is rejected leaves a GAP (REJECTED) at once: on its stream where the frame says whose it is, else on `*`.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
from checked_adapter import Checked
from hypothesis import given, settings
from hypothesis import strategies as st
from venue_sample import VenueSample
from venue_samples import SAMPLES, WITH_FRAMES, WITH_LINKS
from venue_session import SECOND, Happened, short_session

from tickplant.feeds.contract import (
    Answer,
    Closed,
    Continued,
    Ended,
    Event,
    Frames,
    Opened,
    Request,
    Resumed,
    Resync,
    Second,
    Send,
    Symbols,
)
from tickplant.feeds.last_ids import LastIds
from tickplant.instruments import FEED_SYMBOL
from tickplant.records.channels import ON_CHANNEL
from tickplant.records.layouts import Flag, GapCause, Kind

VENUE: Final = pytest.mark.parametrize("venue", SAMPLES)
EXAMPLES: Final = pytest.mark.parametrize("examples", [10, pytest.param(400, marks=pytest.mark.long)])
STEADY_NS: Final = 6 * SECOND // 10
REFUSED: Final = "subscription refused"

ODD_VALUES: Final = [None, True, 0, -1, 10**30, 0.5, 1e-7, 1e300, "", "A", "é", "1.5", [], {}, [[]], [["1", "2"]]]
ODD_NUMBERS: Final = [b"0", b"-1", b"1e400", b"1E-30", b"9" * 30, b"18446744073709551615", b"1e-11", b"00", b"NaN"]
PIECES: Final = [b" ", b"\n", b",", b'"', b"}", b"]", b"\\u0041", b"0", b"-", b".", b"\xff", b"\x00", b"{", b"null"]
WAYS: Final = ["sound", "cut", "bit", "piece", "number", "number", "without", "twice", "json", "json"]
UNKNOWN: Final = [
    "",
    "depth",
    "depth *",
    "trades",
    "trades A trade x 2",
    "trades * b 1 2",
    "newest A b",
    "exchangeInfo x",
]
_NUMBER: Final = re.compile(rb"\d+(?:\.\d+)?")


class Pool(NamedTuple):
    """What a venue has been seen to send, and what else it may."""

    happened: list[Happened]  # the session that it is taken from
    frames: list[bytes]  # some of each kind, and the documented ones
    late: list[bytes]  # likewise, of the last part of the session
    answers: list[Answer]
    links: list[str]
    symbols: list[str]


@functools.cache
def pool(venue: str) -> Pool:
    sample = SAMPLES[venue]
    happened = short_session(sample)
    kinds: dict[Any, list[bytes]] = {}
    late: dict[Any, list[bytes]] = {}
    answers = []
    for now_ns, what in happened:
        for frame in what.frames if isinstance(what, Frames) else ():
            kind = sample.owner(frame), b'"snapshot"' in frame
            (kinds if now_ns < happened[0].now_ns + STEADY_NS else late).setdefault(kind, []).append(frame)
        answers += [what] if isinstance(what, Answer) else []
    answers += [Answer(Request(key, "/x"), 200, b"[]") for key in UNKNOWN]
    return Pool(
        happened,
        [*(frame for kind in kinds.values() for frame in kind[:3]), *sample.frames],
        [*(sample.fresh(frame) for kind in late.values() for frame in kind[-3:]), *sample.frames],
        answers,
        [*dict.fromkeys(what.link for _, what in happened if isinstance(what, Opened | Frames)), "unknown", ""],
        [*sample.symbols, "", "*", "NONE"],
    )


@st.composite
def spoilt(draw: st.DrawFn, frame: bytes) -> bytes:
    """A frame, or what is left of it."""
    place = draw(st.integers(0, len(frame)))
    match draw(st.sampled_from(WAYS)):
        case "cut":
            return frame[:place]
        case "bit" if frame:
            other = bytearray(frame)
            other[place - 1] ^= 1 << draw(st.integers(0, 7))
            return bytes(other)
        case "piece":
            return frame[:place] + draw(st.sampled_from(PIECES)) + frame[place:]
        case "without":
            return frame[:place] + frame[place + draw(st.integers(1, 40)) :]
        case "twice":
            return frame[:place] + frame[max(place - draw(st.integers(1, 40)), 0) :]
        case "number" if numbers := list(_NUMBER.finditer(frame)):
            which = draw(st.sampled_from(numbers))
            return frame[: which.start()] + draw(st.sampled_from(ODD_NUMBERS)) + frame[which.end() :]
        case "json":
            try:
                tree = json.loads(frame)
            except ValueError:
                return frame
            return json.dumps(draw(exchanged(tree)), separators=(",", ":"), ensure_ascii=draw(st.booleans())).encode()
        case _:
            return frame


@st.composite
def exchanged(draw: st.DrawFn, tree: Any) -> Any:
    """A structure with one value exchanged, or one key missing."""
    if draw(st.integers(0, 5)) == 0 or not isinstance(tree, dict | list) or not tree:
        return draw(st.sampled_from(ODD_VALUES))
    place = draw(st.sampled_from(list(tree) if isinstance(tree, dict) else range(len(tree))))
    other = tree.copy()
    if draw(st.integers(0, 5)) == 0:
        del other[place]
    else:
        other[place] = draw(exchanged(tree[place]))
    return other


@st.composite
def events(draw: st.DrawFn, found: Pool) -> Event:
    """Anything that may happen to a feed."""
    link, symbol = draw(st.sampled_from(found.links)), draw(st.sampled_from(found.symbols))
    others = ["opened", "closed", "second", "resync", "symbols", "ended"]
    match draw(st.sampled_from(["frames"] * 4 + ["answer"] * 2 + others)):
        case "frames":
            frames = draw(st.lists(st.sampled_from(found.frames).flatmap(spoilt) | st.binary(max_size=40), max_size=4))
            return Frames(link, frames)
        case "answer":
            known, given = draw(st.sampled_from(found.answers)), draw(st.sampled_from(found.answers))
            body = draw(spoilt(draw(st.sampled_from([given.body, b"", *found.frames]))))
            return Answer(known.request, draw(st.sampled_from([200, 200, 200, 0, 400, 429, 503])), body, draw(RETRY))
        case "opened":
            return Opened(link)
        case "closed":
            return Closed(link, "test")
        case "second":
            return Second()
        case "resync":
            return Resync(symbol)
        case "symbols":
            some = st.lists(st.sampled_from(found.symbols), max_size=2).map(tuple)
            return Symbols(draw(some), draw(some))
        case _:
            return Ended()


RETRY: Final = st.sampled_from([None, 0.0, 1.5, 1e6])
IDS: Final = st.none() | st.tuples(st.sampled_from([0, 5, 2**62]), st.integers(0, 2**62))
LAST: Final = st.builds(LastIds, IDS, IDS, IDS, IDS, st.sampled_from([None, True, False]), st.booleans())


def replay(feed: Checked, happened: list[Happened]) -> int:
    """Bring an adapter to where these events lead; returns the time then."""
    now_ns = 0
    for now_ns, what in happened:
        if not isinstance(what, Send):
            feed.on(what, now_ns)
    return now_ns


@VENUE
@EXAMPLES
@pytest.mark.parametrize("live", [True, False], ids=["live", "recorded"])
def test_nothing_that_happens_makes_an_adapter_raise(venue: str, live: bool, examples: int) -> None:
    found, sample = pool(venue), SAMPLES[venue]

    @settings(max_examples=examples)
    @given(
        st.integers(0, len(found.happened)),
        st.lists(st.tuples(events(found), st.sampled_from([0, 0, 10**6, SECOND, 70 * SECOND, -SECOND])), max_size=12),
        st.none() | st.dictionaries(st.sampled_from(found.symbols), LAST, max_size=2),
        st.booleans(),
    )
    def check(before: int, what: list[tuple[Event, int]], last: dict[str, LastIds] | None, use_shapes: bool) -> None:
        feed = Checked(sample, live=live, discover=not live, use_shapes=use_shapes)
        now_ns = found.happened[0].now_ns
        if last is not None:
            feed.on(Resumed(last) if live else Continued({name: (1, ids) for name, ids in last.items()}), now_ns)
        if live:
            feed.start(now_ns)
        now_ns = replay(feed, found.happened[:before]) or now_ns
        for event, passed_ns in what:
            now_ns += passed_ns
            feed.on(event, now_ns)
        feed.on(Ended(), now_ns)

    check()


# c.


def steady(sample: VenueSample) -> tuple[Checked, int]:
    """An adapter with live books, and the time."""
    happened = pool(sample.venue).happened
    feed = Checked(sample)
    feed.start(happened[0].now_ns)
    return feed, replay(feed, [each for each in happened if each.now_ns < happened[0].now_ns + STEADY_NS])


def rejected_gaps(ticks: np.ndarray) -> np.ndarray:
    return ticks[(ticks["kind"] == Kind.GAP) & (ticks["price"] == GapCause.REJECTED)]


def newest(sample: VenueSample, symbol: str, channel: str) -> bytes:
    """The newest frame of a stream that a steady adapter has not had yet."""
    (*_, frame) = (
        frame
        for _, what in pool(sample.venue).happened
        if isinstance(what, Frames)
        for frame in what.frames
        if sample.owner(frame) == (symbol, channel) and b'"snapshot"' not in frame
    )
    return sample.fresh(frame)


SPOILT: Final = {
    "cut": lambda frame: frame[: len(frame) * 7 // 8],  # behind the symbol, wherever the venue has it
    "no value": lambda frame: re.sub(rb"\d+\.\d+", b"null", frame),
    "too large": lambda frame: re.sub(rb"\d+\.\d+", b"9" * 30, frame),
    "too fine": lambda frame: re.sub(rb"\d+\.\d+", b"0.00000000000001", frame),
    "not json": lambda frame: frame.replace(b"}", b"", 1),
}


@pytest.mark.parametrize(
    ("venue", "channel", "how"),
    [
        (name, channel, how)
        for name, sample in WITH_LINKS.items()
        for channel in sample.channels
        for how in SPOILT
        if (channel, how) != ("statistic", "too fine")  # each statistic has its own decimals
    ],
)
def test_a_rejected_frame_is_a_gap_on_its_stream_at_once(venue: str, channel: str, how: str) -> None:
    sample = SAMPLES[venue]
    feed, now_ns = steady(sample)
    symbol = sample.symbols[0]
    frame = newest(sample, symbol, channel)
    begin = frame.find(sample.read_from.get(channel, b""))
    spoilt_frame = frame[:begin] + SPOILT[how](frame[begin:])
    output = feed.on(Frames(pool(venue).links[0], [spoilt_frame]), now_ns)
    (reject,) = output.rejects
    gap = rejected_gaps(output.ticks)[0]  # a good trade in the same frame may follow, behind a GAP with its ids
    assert gap["instrument"] == feed.table.ids(symbol)[-1], reject
    assert Flag(int(gap["flags"])) & ON_CHANNEL[channel]
    assert feed.adapter.counters.rejected == 1


@pytest.mark.parametrize("venue", WITH_FRAMES)
@pytest.mark.parametrize("frame", [b"", b"\xff\x00", b"<html>", b"[]", b"{}", b'{"data":[{"symbol":"A"}]}', b"null"])
def test_a_frame_that_names_no_stream_is_a_gap_of_the_feed_at_once(venue: str, frame: bytes) -> None:
    feed, now_ns = steady(SAMPLES[venue])
    output = feed.on(Frames(pool(venue).links[0], [frame]), now_ns)
    if frame in SAMPLES[venue].nothing:
        assert not len(output.ticks)
        assert not output.rejects
        return
    (gap,) = rejected_gaps(output.ticks)
    assert gap["instrument"] == feed.table.ids(FEED_SYMBOL)[-1]


@VENUE
@EXAMPLES
def test_no_frame_is_rejected_in_silence(venue: str, examples: int) -> None:
    found, sample = pool(venue), SAMPLES[venue]

    @settings(max_examples=examples)
    @given(st.sampled_from(found.late).flatmap(spoilt))
    def check(frame: bytes) -> None:
        feed, now_ns = steady(sample)
        output = feed.on(Frames(found.links[0], [frame]), now_ns)
        told = [reject for reject in output.rejects if reject.cause != REFUSED]
        assert bool(told) == bool(len(rejected_gaps(output.ticks))), output

    check()
