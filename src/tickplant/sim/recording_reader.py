"""Reads a recording for a simulated venue: lines of `<receive time> <frame>`, with frames of any venue.

Only the current piece is held in memory; a first pass over the file finds its streams.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import FeedError
from tickplant.runtime.line_times import split_time, why_not_split
from tickplant.runtime.recorded_lines import LINE_BYTES, CutLine, Recording
from tickplant.sim.dialect import Line, RecordedVenue
from tickplant.sim.frames import Batch, batch_of

PIECE_FRAMES: Final = 512


@dataclass(frozen=True, slots=True)
class Contents:
    """The content of a recording."""

    path: Path
    venue: RecordedVenue
    keys: dict[str, int]  # stream key, see RecordedVenue.key: index
    streams: list[str]  # names as recorded, by index
    frames: int
    begins: int  # line of the first frame
    fetched: dict[int, str]  # lines that a client fetches by REST once they are due, each with its symbol


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive frames."""

    recv_ns: NDArray[np.int64]
    batch: Batch


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer that a client fetches by REST, at its place between the frames."""

    recv_ns: int
    symbol: str
    body: bytes


def read_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield `(line number, receive time in ns, frame)`. Raises FeedError, which names file and line."""
    recording = Recording(path)
    before = 0
    for block in recording.blocks():
        for number, line in enumerate(block, start=before + 1):
            found = None if isinstance(line, CutLine) else split_time(line.removesuffix(b"\r"))
            if found is None:
                why = f"is longer than {LINE_BYTES >> 20} MiB" if isinstance(line, CutLine) else why_not_split(line)
                raise FeedError(f"{path}: line {number} {why}")
            yield number, *found
        before += len(block)
    if recording.damage:
        raise FeedError(f"{recording.damage}, after line {before}")


def scan(path: Path, venue: RecordedVenue) -> Contents:
    """First pass. Raises FeedError if the file or a line is wrong, or nothing in it can be played."""
    keys: dict[str, int] = {}
    streams: list[str] = []
    frames = 0
    begins = 0
    for number, _, frame in read_lines(path):
        line = venue.survey(number, frame)
        if line is None:
            raise FeedError(f"{path}: line {number} is not a message of {venue.venue}")
        if not line.stream or (line.is_greeting and not frames):
            continue
        begins = begins or number
        frames += 1
        key = venue.key(line.stream)
        if key not in keys:
            keys[key] = len(streams)
            streams.append(line.stream)
    if not frames:
        raise FeedError(f"{path}: holds no frame that could be played")
    return Contents(path, venue, keys, streams, frames, begins, venue.fetched())


def pieces(contents: Contents) -> Iterator[Piece | Fetched]:
    """Second pass: frames in pieces of at most PIECE_FRAMES, divided where something is fetched."""
    held: list[tuple[int, bytes, Line]] = []
    for number, recv_ns, frame in read_lines(contents.path):
        if number in contents.fetched:
            if held:
                yield _piece(held, contents)
                held = []
            yield Fetched(recv_ns, contents.fetched[number], frame)
            continue
        line = contents.venue.read(frame)
        if line is None or not line.stream or number < contents.begins:
            continue
        held.append((recv_ns, frame, line))
        if len(held) == PIECE_FRAMES:
            yield _piece(held, contents)
            held = []
    if held:
        yield _piece(held, contents)


def _piece(held: list[tuple[int, bytes, Line]], contents: Contents) -> Piece:
    recv, frames, lines = zip(*held, strict=True)
    key, keys = contents.venue.key, contents.keys
    batch = batch_of(list(frames), [keys[key(line.stream)] for line in lines], [line.id for line in lines])
    if any(line.head for line in lines):
        ((starts, ends),) = batch.forms
        inner = (starts + [line.head for line in lines], ends - [line.tail for line in lines])
        batch = Batch(batch.text, (*batch.forms, inner), batch.stream, batch.id)
    return Piece(np.array(recv, np.int64), batch)
