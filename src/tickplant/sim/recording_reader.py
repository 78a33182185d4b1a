"""Reads a recording: `<receive time, ns> <frame>` a line, compressed by gzip or zstd, the frames of any venue.

Nothing is held in memory but the piece at hand; a first pass over the file finds out which streams it holds.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from tickplant.errors import FeedError
from tickplant.sim.dialect import Line, RecordedVenue
from tickplant.sim.frames import Batch, batch_of

PIECE_FRAMES: Final = 512
READ_BYTES: Final = 1 << 16

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a recording holds."""

    path: Path
    venue: RecordedVenue
    keys: dict[str, int]  # stream key, see RecordedVenue.key: index
    streams: list[str]  # names as recorded, by index
    frames: int
    begins: int  # line of the first frame
    fetched: dict[int, str]  # lines that a client fetches by REST when they are due, each with its symbol


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive frames."""

    recv_ns: NDArray[np.int64]
    batch: Batch


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a client fetches by REST, at its place between the frames."""

    recv_ns: int
    symbol: str
    body: bytes


def read_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield `(line number, receive time, frame)`. Raises FeedError naming file and line."""
    number = 0
    try:
        with path.open("rb") as raw:
            for number, line in enumerate(_lines(path, raw), start=1):
                recv, _, frame = line.rstrip(b"\r\n").partition(b" ")
                if not recv.isdigit() or not frame:
                    raise FeedError(f"{path}: line {number} is not `<receive time, ns> <frame>`")
                yield number, int(recv), frame
    except FileNotFoundError:
        raise FeedError(f"{path}: there is no such recording") from None
    except (EOFError, zlib.error, zstandard.ZstdError) as error:
        raise FeedError(f"{path}: is damaged after line {number}: {error}") from None
    except OSError as error:
        raise FeedError(f"{path}: cannot be read: {error.strerror or error}") from None


def _lines(path: Path, raw: BinaryIO) -> Iterator[bytes]:
    magic = raw.read(4)
    raw.seek(0)
    if magic.startswith(_GZIP):
        return iter(gzip.GzipFile(fileobj=raw, mode="rb"))
    if magic == _ZSTD:
        return _zstd_lines(raw)
    raise FeedError(f"{path}: is neither a gzip nor a zstd file; compress the recording with gzip")


def _zstd_lines(raw: BinaryIO) -> Iterator[bytes]:
    """Lines of any number of zstd frames. Raises EOFError where the last one has no end."""
    inside: zstandard.ZstdDecompressionObj | None = None
    begun = b""
    while data := raw.read(READ_BYTES):
        while data:
            inside = inside or zstandard.ZstdDecompressor().decompressobj()
            *lines, begun = (begun + inside.decompress(data)).split(b"\n")
            yield from lines
            data = inside.unused_data if inside.eof else b""
            inside = None if inside.eof else inside
    if inside is not None:
        raise EOFError("it ends in the middle of a zstd frame")
    if begun:
        yield begun


def scan(path: Path, venue: RecordedVenue) -> Contents:
    """First pass. Raises FeedError where the file or a line is wrong, or nothing in it can be played."""
    keys: dict[str, int] = {}
    streams: list[str] = []
    frames = 0
    begins = 0
    for number, _, frame in read_lines(path):
        line = venue.survey(number, frame)
        if line is None:
            raise FeedError(f"{path}: line {number} is nothing that {venue.venue} sends")
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
    """Second pass: frames in pieces of at most PIECE_FRAMES, cut where something is fetched."""
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
