"""A replay has the controls of a tape; an engine behind it begins anew where the time jumps."""

from __future__ import annotations

import numpy as np
import pytest
from made_records import START_NS, make_ticks
from numpy.typing import NDArray

from tickplant.derive.derivation import Settings
from tickplant.engine.core import _first_sought
from tickplant.engine.derived_feed import Feed
from tickplant.instruments import Instrument
from tickplant.records.layouts import Flag, Kind, Schema, StatusCode
from tickplant.records.notes import make_statuses
from tickplant.runtime.control import Playback, decode, encode
from tickplant.store.tape import Tape

TIMES = START_NS + np.arange(10) * 10**9
FLAGS = np.array([0, 0, Flag.LAST] * 3 + [Flag.LAST], np.uint16)


def test_a_step_is_an_event_and_a_pause_lets_nothing_pass() -> None:
    tape = Tape("max", paused=True)
    assert tape.due(TIMES, FLAGS) == 0
    assert tape.wait_s(START_NS) == float("inf")
    tape.hear(Playback(step=2))
    assert tape.due(TIMES[:2], FLAGS[:2]) == 2  # the first event is not whole in what is at hand
    assert tape.due(TIMES[2:], FLAGS[2:]) == 4
    assert tape.due(TIMES[6:], FLAGS[6:]) == 0
    tape.hear(Playback(paused=False))
    assert tape.due(TIMES[6:], FLAGS[6:]) == 4
    tape.hear(Playback(step=1))
    assert tape.paused


def test_a_time_is_sought_once_and_a_skip_counts_from_what_was_played() -> None:
    tape = Tape(1.0)
    tape.hear(Playback(skip_ns=5))
    assert tape.sought is None  # nothing was played so far
    tape.time_ns = 100
    tape.hear(Playback(skip_ns=5))
    tape.hear(Playback(skip_ns=-20))
    assert tape.due(TIMES, FLAGS) == 0
    assert tape.wait_s(START_NS) == 0
    assert (tape.take_sought(), tape.take_sought()) == (85, None)
    assert tape.due(TIMES, FLAGS) >= 1  # the first record of what was sought is due at once


def test_speed_is_doubled_and_halved_within_bounds() -> None:
    tape = Tape("max")
    tape.hear(Playback(faster=2.0))
    assert tape.speed == 2.0
    tape.hear(Playback(speed=1e9))
    assert tape.speed == 1e6
    tape.hear(Playback(faster=1e-12))
    assert tape.speed == 1e-3
    tape.hear(Playback(speed="max", loop=True))
    assert (tape.speed, tape.loop) == ("max", True)


def test_the_message_comes_back_and_a_wrong_speed_is_none() -> None:
    message = Playback(paused=True, step=3, seek_ns=5, speed="max", loop=False)
    assert decode(encode(message)) == message
    with pytest.raises(Exception, match="not a control message"):
        decode(b"\x83\xa4type\xa8playback\xa5speed\xa4fast\xa4step\x01")


def test_bars_begin_anew_where_the_time_jumps() -> None:
    ticks = make_ticks(3000)
    ticks["ts_event"] = ticks["ts_recv"]
    highest = int(ticks["instrument"].max())

    def feed() -> Feed:
        def row(number: int) -> Instrument:
            return Instrument(number, "venue", f"S{number}", 2, 2)

        made = Feed("feed", Settings(bar_s=(1,)), row, int)
        made.reserve(highest)
        return made

    def bars(of: Feed, part: NDArray[np.void]) -> bytes:
        return dict(of.apply(part))[Schema.BAR].tobytes()

    fresh, jumped = feed(), feed()
    bars(jumped, ticks)
    origin = jumped.origin
    jumped.begin_anew()
    assert jumped.origin is not origin
    assert bars(jumped, ticks[:1500]) == bars(fresh, ticks[:1500]) != b""


def test_the_first_of_each_run_of_jumps_counts() -> None:
    sought, other = make_statuses([1, 2], StatusCode.SOUGHT), make_statuses([1, 2], StatusCode.DISCONNECTED)
    ticks = np.concatenate([make_ticks(3), sought, other, sought])
    assert _first_sought(ticks).tolist() == [3, 7]
    ticks["kind"][3:] = Kind.TRADE
    assert not len(_first_sought(ticks))
