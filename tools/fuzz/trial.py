"""What is done with an input of the search: see target.py, which says what must hold. Needs no search of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from checked_adapter import Checked
from venue_samples import VenueSample

from tickplant.feeds.contract import Answer, Ended, Event, Frames, Request
from tickplant.records.layouts import GapCause, Kind
from tickplant.venues import find_venue

LINES: Final = 16
NOW_NS: Final = 1_788_264_000 * 10**9
ROUND: Final = 500
"""Inputs between two looks at the size of the adapter that lives on."""

GROWTH: Final = 1 << 20
"""Bytes that it may be larger by than after its first round: books differ in how many levels they have."""


def events(content: bytes) -> Iterator[Event]:
    """What happens by an input; see seeds.py. Frames that follow each other come with one read."""
    frames: list[bytes] = []
    for line in content.split(b"\n", LINES - 1):
        if line[:1] == b"=":
            if frames:
                yield Frames("", frames)
                frames = []
            key, _, body = line[1:].partition(b" ")
            yield Answer(Request(key.decode(errors="replace").replace("_", " "), "/"), 200, body)
        else:
            frames.append(line)
    yield Frames("", frames)


def size_of(root: object) -> int:
    """Bytes of all that an object leads to, but for code."""
    seen: set[int] = set()
    left, total = [root], 0
    while left:
        what = left.pop()
        if id(what) in seen or isinstance(what, type) or (callable(what) and not hasattr(what, "__self__")):
            continue
        seen.add(id(what))
        total += sys.getsizeof(what)
        if isinstance(what, dict):
            left += [*what, *what.values()]
        elif isinstance(what, list | tuple | set | frozenset):
            left += what
        elif not isinstance(what, str | bytes | int | float | np.ndarray):
            left += vars(what).values() if hasattr(what, "__dict__") else ()
            slots = [name for kind in type(what).__mro__ for name in getattr(kind, "__slots__", ())]
            left += [getattr(what, name) for name in slots if hasattr(what, name)]
            left += [what.__self__] if hasattr(what, "__self__") else []
    return total


class Trial:
    """What is done with an input."""

    def __init__(self, sample: VenueSample) -> None:
        self.sample = sample
        self.channels = self._channels()
        self.lasting = Checked(sample, channels=self.channels).adapter
        self.lasting.start(NOW_NS)
        self.lasting.take()
        self.inputs = 0
        self.first_bytes = 0

    def _channels(self) -> tuple[str, ...]:
        """All that one feed can take."""
        venue = find_venue(self.sample.venue)
        left_out = {channel for group in venue.exclusive for channel in group[1:]}
        return tuple(channel for channel in venue.channels if channel not in left_out)

    def _read(self, what: Sequence[Event], *, use_shapes: bool) -> tuple[bytes, list[int]]:
        feed = Checked(self.sample, live=False, discover=True, use_shapes=use_shapes, channels=self.channels)
        for event in what:
            feed.on(event, NOW_NS)
        feed.on(Ended(), NOW_NS)
        counters, records = feed.adapter.counters, feed.records
        # Of streams without ids, a good record of one symbol that a shape has taken ends the runs of all.
        told = (records["kind"] == Kind.GAP) & (records["price"] == GapCause.REJECTED)
        return records[~told].tobytes(), [counters.frames, counters.parsed, counters.ignored, counters.rejected]

    def __call__(self, content: bytes) -> None:
        """Raises whatever is found."""
        what = list(events(content))
        by_shapes, by_reference = self._read(what, use_shapes=True), self._read(what, use_shapes=False)
        assert by_shapes == by_reference, "shapes and reference decoder differ"
        self._live_on(what)

    def _live_on(self, what: Sequence[Event]) -> None:
        for event in what:
            self.lasting.on_event(event, NOW_NS + self.inputs)
            self.lasting.take()
        self.inputs += 1
        if self.inputs % ROUND == 0:
            self.lasting.on_event(Ended(), NOW_NS + self.inputs)
            self.lasting.take()
            size = size_of(self.lasting)
            self.first_bytes = self.first_bytes or size
            if self.inputs % (20 * ROUND) == 0:
                sys.stderr.write(
                    f"after {self.inputs} inputs an adapter of {size} bytes, {self.first_bytes} at first\n"
                )
            assert size <= self.first_bytes + GROWTH, f"{size} bytes, {self.first_bytes} at first"
