"""Whatever was received and not stored leaves a GAP (REJECTED) at once. That rule lives only here. Pure.

Consecutive rejects of a stream form a *run*. The first one gives a GAP of unknown size; the end of the run gives a
second GAP from the last id recorded to the next, with the exact number. So a feed that rejects everything for hours
writes one record per stream. Frames of unknown stream are reported on `*`: each of the first BURST at once; if more
follow, one GAP per second of receive time with the number of frames.
"""

from __future__ import annotations

from typing import Final

import msgspec

UNKNOWN_ID: Final = -1
PAUSE_NS: Final = 1_000_000_000
BURST: Final = 8
TROUBLE_FRAMES: Final = 2
"""This many consecutive rejects are trouble; a single damaged frame on a quiet stream is not."""

Key = tuple[str, str]
"""Symbol and stream: trade, agg_trade, quote, book, partial, or snapshot for answers over REST."""


class Run(msgspec.Struct):
    """Consecutive rejects of one stream."""

    cause: str  # of the first reject; `detail` in words
    detail: str
    frames: int = 0
    first_id: int = UNKNOWN_ID  # lowest and highest id among them
    last_id: int = UNKNOWN_ID
    unread: bool = False  # the id of at least one could not be read
    mark: int = UNKNOWN_ID  # last id of the stream when the run began
    rescaled: bool = False  # the scales have changed since: the rejected values may fit now


class Runs:
    """The open runs of a feed."""

    def __init__(self) -> None:
        self.open: dict[Key, Run] = {}

    def add(self, key: Key, cause: str, detail: str, ident: int = UNKNOWN_ID) -> Run:
        """Add a reject; `frames` of the returned run is 1 if the run has just begun."""
        run = self.open.get(key)
        if run is None:
            run = self.open[key] = Run(cause, detail)
        run.frames += 1
        if ident == UNKNOWN_ID:
            run.unread = True
        else:
            run.first_id = ident if run.first_id == UNKNOWN_ID else min(run.first_id, ident)
            run.last_id = max(run.last_id, ident)
        return run

    def end(self, key: Key) -> Run | None:
        """End the run of a stream: a good record has come, or none will. Returns that run, if any."""
        return self.open.pop(key, None)

    def of(self, symbol: str) -> list[Key]:
        """Streams of a symbol with an open run."""
        return [key for key in self.open if key[0] == symbol]

    def trouble(self) -> str:
        """A sentence if all frames of a stream are being rejected, else empty."""
        troubled = [(key, run) for key, run in self.open.items() if run.frames >= TROUBLE_FRAMES]
        if not troubled:
            return ""
        (symbol, stream), run = troubled[0]
        more = f", and of {len(troubled) - 1} other streams" if len(troubled) > 1 else ""
        return f"every {stream} message of {symbol}{more} is rejected ({run.cause}: {run.detail[:200]})"


class Pacer:
    """When to report frames of no stream, and how many. The first BURST at once, then one GAP a second."""

    def __init__(self) -> None:
        self.waiting = 0  # frames that no GAP has reported
        self._left = BURST
        self._then_ns = 0  # when `_left` was last refilled

    def add(self, ts_ns: int, frames: int = 1) -> int:
        """Add rejects at this time; returns how many frames to report now."""
        self.waiting += frames
        return self.due(ts_ns)

    def due(self, ts_ns: int) -> int:
        """How many frames to report at this time."""
        passed = (ts_ns - self._then_ns) // PAUSE_NS
        if passed:  # backwards too: a clock that was set back must not delay GAPs
            self._left = min(BURST, self._left + abs(passed))
            self._then_ns = ts_ns
        if not self.waiting or not self._left:
            return 0
        self._left -= 1
        return self.rest()

    def rest(self) -> int:
        """How many frames are left to report."""
        frames, self.waiting = self.waiting, 0
        return frames
