"""Polygon by shape records what the reference decoder records, of frames that fit, hardly fit, and do not."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from venue_desk import VenueDesk, words

from tickplant.feeds.venues.polygon import adapter
from tickplant.records.layouts import Kind

pytestmark = pytest.mark.kernels

MAKERS = {"stocks": adapter.stocks, "options": adapter.options, "crypto": adapter.crypto}
TIME = 1_788_267_600_784
number = st.sampled_from([0, 1, 1.5, 414.125, 0.0000001, 1e-9, 1e21, 12345678901234567890, -1, True, None, "1.5", "x"])
plain = st.decimals(0, 10**5, places=4).map(float) | st.integers(1, 1000)
codes = st.lists(st.sampled_from([0, 2, 12, 37, 52, 53, 64, 233, 254, 255, 300, -1]), max_size=10)
ident = st.integers(0, 6) | st.sampled_from([2**63 - 1, 2**63, -1, None])
time = st.integers(TIME, TIME + 2) | st.sampled_from([0, -1, TIME * 1000, TIME * 10**6, 10**14 - 1, 2**63])


def event(*members: tuple[str, Any], **kinds: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Members in this order; now and then one is missing, or of another kind."""

    @st.composite
    def draw_event(draw: st.DrawFn) -> dict[str, Any]:
        found = {}
        for name, value in members:
            way = draw(st.integers(0, 40))
            if way:
                found[name] = draw(number if way == 1 else value) if isinstance(value, st.SearchStrategy) else value
        if draw(st.integers(0, 9)) == 0:
            found["new"] = {"a": [1, None]}
        return found

    return draw_event()


symbol = st.sampled_from(["A", "B", "BRK.B", "NEW"])
EVENTS = {
    "stocks": [
        event(
            *[("ev", "T"), ("sym", symbol), ("x", 4), ("i", st.sampled_from(["7", "é"])), ("z", 3), ("p", plain)],
            *[("s", plain), ("c", codes), ("t", time), ("q", ident), ("trfi", 2)],
        ),
        event(
            *[("ev", "Q"), ("sym", symbol), ("bx", 4), ("bp", plain), ("bs", plain), ("ax", 7), ("ap", plain)],
            *[("as", plain), ("c", 0), ("i", [604]), ("t", time), ("q", ident), ("z", 3)],
        ),
    ],
    "options": [
        event(
            ("ev", "T"), ("sym", symbol), ("x", 65), ("p", plain), ("s", plain), ("c", codes), ("t", time), ("q", ident)
        ),
        event(
            *[("ev", "Q"), ("sym", symbol), ("bx", 3), ("ax", 3), ("bp", plain), ("ap", plain), ("bs", plain)],
            *[("as", plain), ("t", time), ("q", ident)],
        ),
    ],
    "crypto": [
        event(
            *[("ev", "XT"), ("pair", symbol), ("p", plain), ("t", time), ("s", plain), ("c", codes), ("i", ident)],
            *[("x", 1), ("r", 5)],
        ),
        event(
            *[("ev", "XQ"), ("pair", symbol), ("bp", plain), ("bs", plain), ("ap", plain), ("as", plain), ("t", time)],
            *[("x", 1), ("q", ident)],
        ),
    ],
}
OTHER = st.sampled_from([{"ev": "status", "status": "success"}, {"ev": "ZZ"}, {}, 7, None])


@st.composite
def frames(draw: st.DrawFn, cluster: str) -> bytes:
    events = draw(st.lists(st.one_of(*EVENTS[cluster] * 6, OTHER), max_size=5))
    frame = json.dumps(events, separators=(",", ":"), ensure_ascii=draw(st.booleans())).encode()
    if draw(st.integers(0, 15)) == 0:
        return frame[: draw(st.integers(0, len(frame)))]
    return frame


@pytest.mark.parametrize("cluster", MAKERS)
@settings(max_examples=150)
@given(scale=st.sampled_from([8, 4, 0]), data=st.data())
def test_shapes_record_what_the_reference_records(cluster: str, scale: int, data: st.DataObject) -> None:
    sequence = data.draw(st.lists(frames(cluster), max_size=8))
    found = []
    for use_shapes in (True, False):
        desk = VenueDesk("polygon", partial(MAKERS[cluster], use_shapes=use_shapes), None, scale=scale)
        desk.frames("stream", sequence, 9)
        desk.end()
        counters = desk.adapter.counters
        counts = (counters.parsed, counters.ignored, counters.rejected, counters.duplicates)
        # How often a run of rejects is told differs: of streams without ids, a good record of one symbol that a
        # shape has taken ends the runs of all.
        ticks = desk.take_ticks()
        told = words(ticks[ticks["kind"] != Kind.GAP])
        found.append((told, counts, [(each.cause, each.raw) for each in desk.rejects]))
    assert found[0] == found[1]
