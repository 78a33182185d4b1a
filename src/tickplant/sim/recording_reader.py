"""Reads a recording: gzip, one `<receive time, ns> <frame>` a line, the frames combined ones or depth snapshots.

Nothing is held in memory but the piece at hand; a first pass over the file finds out which streams it holds.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.errors import FeedError
from tickplant.sim.dialects.binance.session import channel, stream_key
from tickplant.sim.frames import Batch

PIECE_FRAMES: Final = 512

_HEAD: Final = b'{"stream":"'
_DATA: Final = b'","data":'
_SNAPSHOT: Final = b'{"lastUpdateId":'
_IDS: Final = {"trade": b'"t":', "aggTrade": b'"a":', "bookTicker": b'"u":', "depth": b'"u":'}


@dataclass(frozen=True, slots=True)
class Contents:
    """What a recording holds. A stream's key is its name without the speed."""

    path: Path
    keys: dict[str, int]  # stream key: index
    streams: list[str]  # names as recorded, by index
    frames: int
    snapshot_lines: dict[str, int]  # symbol: line of its first depth snapshot

    @property
    def symbols(self) -> list[str]:
        """Upper case, in order of appearance."""
        return list(dict.fromkeys(_symbol(key) for key in self.keys))


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive frames."""

    recv_ns: NDArray[np.int64]
    batch: Batch


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A symbol's first depth snapshot, at its place between the frames."""

    recv_ns: int
    symbol: str
    body: bytes


def read_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield `(line number, receive time, frame)`. Raises FeedError naming file and line."""
    number = 0
    try:
        with gzip.open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                recv, _, frame = line.rstrip(b"\r\n").partition(b" ")
                if not recv.isdigit() or not frame:
                    raise FeedError(f"{path}: line {number} is not `<receive time, ns> <frame>`")
                yield number, int(recv), frame
    except FileNotFoundError:
        raise FeedError(f"{path}: there is no such recording") from None
    except gzip.BadGzipFile:
        raise FeedError(f"{path}: is not a gzip file; compress the recording with gzip") from None
    except (EOFError, zlib.error) as error:
        raise FeedError(f"{path}: is damaged after line {number}: {error}") from None
    except OSError as error:
        raise FeedError(f"{path}: cannot be read: {error.strerror}") from None


def _stream_name(frame: bytes) -> str | None:
    """Name of a combined frame's stream; None where it is no combined frame."""
    end = frame.find(b'"', len(_HEAD))
    if not frame.startswith(_HEAD) or frame[end : end + len(_DATA)] != _DATA or not frame.endswith(b"}"):
        return None
    return frame[len(_HEAD) : end].decode(errors="replace")


def _symbol(stream: str) -> str:
    return stream.partition("@")[0].upper()


def _is_snapshot(frame: bytes) -> bool:
    return frame.startswith(_SNAPSHOT)


def _is_answer(frame: bytes) -> bool:
    """Acknowledgements and errors of the recorded connection are not played: each connection gets its own."""
    return frame.startswith((b'{"result":', b'{"code":', b'{"id":'))


def _number_after(frame: bytes, mark: bytes) -> int:
    """The integer behind a key; 0 where the key does not occur."""
    at = frame.find(mark)
    if at < 0:
        return 0
    digits = frame[at + len(mark) : at + len(mark) + 20]
    end = next((i for i, byte in enumerate(digits) if not 48 <= byte <= 57), len(digits))
    return int(digits[:end] or b"0")


def frame_id(frame: bytes, channel_name: str) -> int:
    """The venue's id in a stream frame; 0 for channels that have none."""
    mark = _IDS.get(channel_name)
    return 0 if mark is None else _number_after(frame, mark)


def scan(path: Path) -> Contents:
    """First pass. Raises FeedError where the file or a line is wrong, or nothing in it can be played."""
    keys: dict[str, int] = {}
    streams: list[str] = []
    frames = 0
    snapshots: list[tuple[int, int]] = []  # line, id
    ranges: dict[str, tuple[int, int]] = {}  # symbol: first and last update id of its diffs
    for number, _, frame in read_lines(path):
        name = _stream_name(frame)
        if name is None:
            if _is_snapshot(frame):
                snapshots.append((number, _number_after(frame, _SNAPSHOT)))
            elif not _is_answer(frame):
                raise FeedError(f"{path}: line {number} is neither a combined stream frame nor a depth snapshot")
            continue
        frames += 1
        key = stream_key(name)
        if key not in keys:
            keys[key] = len(streams)
            streams.append(name)
        if channel(name) == "depth":
            symbol, update = _symbol(name), frame_id(frame, "depth")
            first, _ = ranges.get(symbol, (update, update))
            ranges[symbol] = (first, update)
    if not frames:
        raise FeedError(f"{path}: holds no frame that could be played")
    lines: dict[str, int] = {}
    alone = len(ranges) == 1
    for number, update in snapshots:
        # A snapshot does not name its symbol: it is one among whose diffs its id lies, and that has none yet.
        fits = [one for one, (low, high) in ranges.items() if one not in lines and (alone or low <= update <= high)]
        if fits:
            lines[fits[0]] = number
    return Contents(path, keys, streams, frames, lines)


def pieces(contents: Contents) -> Iterator[Piece | Snapshot]:
    """Second pass: frames in pieces of at most PIECE_FRAMES, cut at the first snapshot of each symbol."""
    snapshot_of = {number: symbol for symbol, number in contents.snapshot_lines.items()}
    held: list[tuple[int, bytes]] = []
    for number, recv_ns, frame in read_lines(contents.path):
        if number in snapshot_of:
            if held:
                yield _piece(held, contents)
                held = []
            yield Snapshot(recv_ns, snapshot_of[number], frame)
        elif frame.startswith(_HEAD):
            held.append((recv_ns, frame))
            if len(held) == PIECE_FRAMES:
                yield _piece(held, contents)
                held = []
    if held:
        yield _piece(held, contents)


def _piece(held: list[tuple[int, bytes]], contents: Contents) -> Piece:
    recv, frames = zip(*held, strict=True)
    ends = np.cumsum([len(frame) for frame in frames])
    starts = np.concatenate([[0], ends[:-1]])
    names = [_stream_name(frame) or "" for frame in frames]
    heads = np.array([len(_HEAD) + len(name.encode()) + len(_DATA) for name in names], np.int64)
    return Piece(
        np.array(recv, np.int64),
        Batch(
            np.frombuffer(b"".join(frames), np.uint8),
            starts,
            starts + heads,
            ends,
            np.array([contents.keys[stream_key(name)] for name in names], np.int64),
            np.array([frame_id(frame, channel(name)) for frame, name in zip(frames, names, strict=True)], np.int64),
        ),
    )
