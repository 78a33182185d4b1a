"""Plays a recording of any venue to its subscribers: frames byte for byte, at their pace.

Playback begins once there is an audience. If the recording holds a snapshot that clients fetch by REST, the player
pauses at its line until a client asks for that book: the client first gets to read what was sent before, then receives
the recorded answer, and only then the play continues. So what a feed stores equals the result of reading the file
itself.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from tickplant.sim.audience import Audience
from tickplant.sim.conversation import Answer
from tickplant.sim.dialect import RecordedVenue
from tickplant.sim.frames import frames
from tickplant.sim.outlet import Outlet
from tickplant.sim.recording_reader import Fetched, Piece, pieces, scan
from tickplant.sim.sim_source import Asker
from tickplant.sim.spec import SimSpec

SLICE_BYTES: Final = 128 << 10  # sent at once at full speed, before the clients' pace is checked
STEP_S: Final = 0.001  # frames due within this time are sent together
CLIENT_TIMEOUT_S: Final = 30.0  # for a client to read further, else it is dropped; to read the snapshot and close


class Player:
    """Source: a recording."""

    def __init__(self, spec: SimSpec, venue: RecordedVenue) -> None:
        """Scan the file. Raises FeedError if it cannot be played."""
        assert spec.recording is not None
        self._spec = spec
        self._venue = venue
        self._contents = scan(Path(spec.recording), venue)
        self.streams = self._contents.streams
        self.listed = venue.listed()
        self._askers: dict[str, list[tuple[Asker, asyncio.Future[Answer]]]] = {symbol: [] for symbol in self.listed}
        self._audience = Audience()  # changes when a client subscribes or asks for a book
        self._started = False
        self.played = 0
        self.ended = False
        self._log = structlog.get_logger("sim")

    def prepare(self) -> None:
        """Compile the kernels, so that nobody waits for them later."""
        piece = next(item for item in pieces(self._contents) if isinstance(item, Piece))
        for form in range(len(piece.batch.forms)):
            frames(piece.batch, np.arange(piece.batch.messages), form)

    def bind(self, outlet: Outlet) -> None:
        """Send through this outlet."""
        self._outlet = outlet

    def find(self, stream: str) -> int | None:
        """Index of the recorded stream that a subscription to this name matches."""
        return self._contents.keys.get(self._venue.key(stream))

    def on_subscriptions(self) -> None:
        """A client has subscribed: perhaps the play can begin."""
        self._audience.changed()

    async def run(self) -> None:
        """Wait for an audience, play to the end, then stay silent."""
        await self._audience.assembled(self._outlet, np.ones(len(self.streams), np.bool_), self._spec)
        self._started = True
        self._log.info("playback begins", recording=str(self._contents.path), frames=self._contents.frames)
        self._start_s = time.monotonic()  # when the first frame was, or would have been, sent
        self._first_ns: int | None = None
        for item in pieces(self._contents):
            if isinstance(item, Fetched):
                held_since_s = time.monotonic()
                await self._hold(item)
                self._start_s += time.monotonic() - held_since_s
            elif self._spec.speed == "max":
                await self._play_fast(item)
            else:
                await self._play_paced(item, self._spec.speed)
        self.ended = True
        self._log.info("playback ended", frames_played=self.played, frames_sent=self._outlet.frames_sent)

    # Frames

    async def _play_fast(self, piece: Piece) -> None:
        first = 0
        starts, ends = piece.batch.forms[0]
        while first < ends.shape[0]:
            last = int(np.searchsorted(ends, starts[first] + SLICE_BYTES, side="right"))
            last = max(last, first + 1)
            await self._send(piece, first, last)
            first = last
            await asyncio.sleep(0)

    async def _play_paced(self, piece: Piece, speed: float) -> None:
        if self._first_ns is None:
            self._first_ns = int(piece.recv_ns[0])
        # A clock that was set back while recording must not delay frames: what came later is due later.
        due_s = np.maximum.accumulate(piece.recv_ns - self._first_ns) / (1e9 * speed)
        first = 0
        while first < due_s.shape[0]:
            passed_s = time.monotonic() - self._start_s
            last = int(np.searchsorted(due_s, passed_s, side="right"))
            if last > first:
                await self._send(piece, first, last)
                first = last
            else:
                await asyncio.sleep(max(STEP_S, float(due_s[first]) - passed_s))

    async def _send(self, piece: Piece, first: int, last: int) -> None:
        batch = piece.batch.part(first, last)
        self._outlet.deliver(batch)
        self.played += last - first
        self._venue.played(batch)
        for receiver in list(self._outlet.receivers.values()):
            try:
                async with asyncio.timeout(CLIENT_TIMEOUT_S):
                    await receiver.until_writable()
            except TimeoutError:
                self._outlet.drop(receiver, "the client stopped reading")

    # The snapshot

    async def _hold(self, snapshot: Fetched) -> None:
        """Wait, within bounds, for a client to ask for the book; answer it between two silences."""
        spec = self._spec
        deadline_s = time.monotonic() + spec.hold_s
        answered = False
        while not answered and self._has_follower(snapshot.symbol) and (left_s := deadline_s - time.monotonic()) > 0:
            if not self._waiting(snapshot.symbol):
                await self._audience.next_change(left_s)
                continue
            await self._let_clients_read()
            for asker, waiting in self._waiting(snapshot.symbol):
                waiting.set_result(Answer(200, snapshot.body, close=True))
                answered = True
                try:
                    async with asyncio.timeout(CLIENT_TIMEOUT_S):
                        await asker.until_closed()
                except TimeoutError:
                    self._log.warning("the client keeps the snapshot's connection open", symbol=snapshot.symbol)
            await asyncio.sleep(spec.quiet_s)
        if not answered:
            self._log.warning("nobody asked for the recorded snapshot", symbol=snapshot.symbol)
        self._venue.start(snapshot.symbol, snapshot.body)
        for _, waiting in self._waiting(snapshot.symbol):  # those that came too late for the recorded answer
            waiting.set_result(Answer(200, snapshot.body))

    def _has_follower(self, symbol: str) -> bool:
        index = self.find(self._venue.book_stream(symbol))
        return index is not None and bool(self._outlet.wanted[index])

    def _waiting(self, symbol: str) -> list[tuple[Asker, asyncio.Future[Answer]]]:
        return [pair for pair in self._askers[symbol] if not pair[1].done()]

    async def _let_clients_read(self) -> None:
        """Wait until every client has read everything sent, and slightly longer."""
        barriers = [asyncio.ensure_future(one.barrier()) for one in self._outlet.receivers.values()]
        if barriers:
            _, late = await asyncio.wait(barriers, timeout=CLIENT_TIMEOUT_S)
            for barrier in late:
                barrier.cancel()
        await asyncio.sleep(self._spec.quiet_s)

    def refine(self, symbol: str, digits: int) -> bool:
        """Unsupported: a recording is played unchanged."""
        return False

    def set_life(self, symbol: str, *, status: str, trades: bool, listed: bool = True) -> bool:
        """Unsupported: a recording is played unchanged."""
        return False

    async def fetch(self, symbol: str, asker: Asker) -> Answer | None:
        """The recorded answer, when its line is due; None without listeners, since the wait would never end."""
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        pair = (asker, waiting)
        self._askers[symbol].append(pair)
        self._audience.changed()
        try:
            if not self._started:
                await asyncio.wait([waiting], timeout=self._spec.hold_s)
                if not (self._started or waiting.done()):
                    return None
            return await waiting
        finally:
            waiting.cancel()
            self._askers[symbol].remove(pair)

    def report(self) -> dict[str, object]:
        """The progress of the play."""
        return {
            "mode": "recording",
            "started": self._started,
            "ended": self.ended,
            "frames_played": self.played,
            "frames_recorded": self._contents.frames,
        }
