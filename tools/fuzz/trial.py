"""Tries an input of the search; target.py says what must hold. Needs no search of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from checked_adapter import Checked
from dbn_sample import LINES as LOGIN
from venue_sample import VenueSample
from venue_session import Happened

from tickplant.feeds.contract import Answer, Ended, Event, Frames, Opened, Request, Send
from tickplant.feeds.importers import FILE_LINK
from tickplant.feeds.venues.databento.dbn import MAGIC
from tickplant.records.layouts import GapCause, Kind
from tickplant.venues import find_venue

LINES: Final = 16
ROUND: Final = 500
"""Inputs between two checks of the long-lived adapter's size."""

GROWTH: Final = 1 << 20
"""Bytes by which it may grow after its first round: books differ in their number of levels."""


def events(content: bytes, link: str) -> Iterator[Event]:
    """The events of an input; see seeds.py. Consecutive frames come with one read."""
    frames: list[bytes] = []
    for line in content.split(b"\n", LINES - 1):
        if line[:1] == b"=":
            if frames:
                yield Frames(link, frames)
                frames = []
            key, _, body = line[1:].partition(b" ")
            yield Answer(Request(key.decode(errors="replace").replace("_", " "), "/"), 200, body)
        else:
            frames.append(line)
    yield Frames(link, frames)


def size_of(root: object) -> int:
    """Bytes of everything that an object refers to, except code."""
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
    """Tries inputs; `happened` is what the venue's long-lived adapter has seen before."""

    def __init__(self, sample: VenueSample, happened: Sequence[Happened]) -> None:
        self.sample = sample
        self.ways = [sample.channels]  # ways of decoding a book, if there are several
        if {"book", "orders"} <= {*find_venue(sample.venue).channels}:
            self.ways.append(tuple("orders" if channel == "book" else channel for channel in sample.channels))
        self.lasting = Checked(sample).adapter
        self.now_ns = happened[0].now_ns
        self.link = next((what.link for _, what in happened if isinstance(what, Frames)), "")
        self.lasting.start(self.now_ns)
        for self.now_ns, what in happened:
            if not isinstance(what, Send):
                self.lasting.on_event(what, self.now_ns)
                self.lasting.take()
        self.inputs = 0
        self.first_bytes = 0

    def _read(self, what: Sequence[Event], channels: tuple[str, ...], *, use_shapes: bool) -> tuple[bytes, list[int]]:
        feed = Checked(self.sample, live=False, discover=True, use_shapes=use_shapes, channels=channels)
        for event in what:
            feed.on(event, self.now_ns)
        feed.on(Ended(), self.now_ns)
        counters, records = feed.adapter.counters, feed.records
        # For streams without ids, a good record of one symbol that a shape has taken ends the runs of all.
        told = (records["kind"] == Kind.GAP) & (records["price"] == GapCause.REJECTED)
        return records[~told].tobytes(), [counters.frames, counters.parsed, counters.ignored, counters.rejected]

    def __call__(self, content: bytes) -> None:
        """Try an input. Raises whatever is found."""
        if self.sample.stream:
            whole, step = Frames(FILE_LINK, [content]), 1 + len(content) % 97
            pieces = [content[start : start + step] for start in range(0, len(content), step)]
            by_whole, by_pieces = (self._read_stream(what) for what in (whole, Frames(FILE_LINK, pieces)))
            # Input that is not a stream from its first byte on is searched for one, piece by piece.
            assert by_whole == by_pieces or not content.startswith(MAGIC), "where a stream is cut makes a difference"
            self._live_on([Opened(self.link), *(Frames(self.link, [line]) for line in (*LOGIN, *pieces))])
            return
        what = list(events(content, self.link))
        for channels in self.ways:
            by_shapes, by_reference = (self._read(what, channels, use_shapes=shapes) for shapes in (True, False))
            assert by_shapes == by_reference, "shapes and reference decoder differ"
        self._live_on(what)

    def _read_stream(self, what: Frames) -> bytes:
        """The records up to where the stream becomes unreadable."""
        feed = Checked(self.sample, live=False, discover=True)
        feed.on(what, self.now_ns)
        records = feed.records
        spoilt = np.flatnonzero((records["kind"] == Kind.GAP) & (records["price"] == GapCause.REJECTED))
        return records[: spoilt[0] if len(spoilt) else None].tobytes()

    def _live_on(self, what: Sequence[Event]) -> None:
        for event in what:
            self.lasting.on_event(event, self.now_ns + self.inputs)
            self.lasting.take()
        self.inputs += 1
        if self.inputs % ROUND == 0:
            self.lasting.on_event(Ended(), self.now_ns + self.inputs)
            self.lasting.take()
            size = size_of(self.lasting)
            self.first_bytes = self.first_bytes or size
            if self.inputs % (20 * ROUND) == 0:
                sys.stderr.write(
                    f"after {self.inputs} inputs an adapter of {size} bytes, {self.first_bytes} at first\n"
                )
            assert size <= self.first_bytes + GROWTH, f"{size} bytes, {self.first_bytes} at first"
