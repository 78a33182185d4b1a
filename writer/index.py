"""Where the chunks of a journal file are: scanning a file, and the index that saves scanning it again.

An index, `NAME.tpx` next to `NAME.tpj`, is an array of `ENTRY` and nothing else: one entry per chunk, in file order.
Everything in it follows from the journal file. An entry is written once its chunk is durable, and never changed in
place, so a reader may map the index while the writer appends. A reader trusts an entry if its checksum is right and its
chunk lies inside the file, and scans every byte of the file that no such entry covers. So a missing, stale or damaged
index costs time, never data.
"""

from __future__ import annotations

import mmap
import os
import stat
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.errors import DamageError, StoreError
from tickplant.records.layouts import Schema
from tickplant.writer.format.chunk_bounds import LAYOUT_OF, SLOTS, Bounds
from tickplant.writer.format.chunk_layout import (
    COLUMN,
    HEAD_BYTES,
    HEADER,
    MAGIC,
    MAX_CHUNK_BYTES,
    MAX_COLUMNS,
    MAX_ROWS,
    TRAILER_BYTES,
    ChunkHeader,
    check_payload,
    check_trailer,
    header_checksum,
    read_head,
)

ENTRY: Final = np.dtype(
    [
        ("offset", "<u8"),  # 0: of the chunk in its file
        ("header", HEADER),  # 8: the chunk's header
        ("bounds", "<i8", (2, SLOTS)),  # 112: bounds of its values, see `format/chunk_bounds.py`
        ("slots", "<u8"),  # 208: LAYOUT_OF the schema, or 0 if the bounds are unknown
        ("checksum", "<u8"),  # 216: of the words before it, see `_checksums`
    ]
)
PLAIN_ENTRY: Final = np.dtype([("offset", "<u8"), ("header", HEADER), ("checksum", "<u8")])
"""The entry of earlier versions, without bounds; it can still be read."""
JOURNAL_SUFFIX: Final = ".tpj"
INDEX_SUFFIX: Final = ".tpx"

LISTED_BEYOND: Final = "the file ends before"
"""How the reason begins when a file ends before chunks that its index lists."""

_WEIGHTS: Final = np.cumprod(np.full(ENTRY.itemsize // 8 - 1, 0x9E3779B97F4A7C15, np.uint64)) | np.uint64(1)
_SEARCH_BYTES: Final = 1 << 20
_LAST_SEQ: Final = 2**63  # far beyond what any plant will write; no journal file is named after a larger seq


WhileReading = Callable[[], None]
"""Called repeatedly during long reads: a process reports its progress then, so that it is not taken for hung."""


class Damage(msgspec.Struct, frozen=True):
    """A part of a journal file that is not a valid chunk."""

    path: str
    offset: int
    length_bytes: int
    reason: str
    first_seq: int | None = None  # the first and last missing record, inclusive, if the chunks around it tell
    last_seq: int | None = None
    torn: bool = False  # only the beginning of a chunk: the rest may be being written at this moment

    def __str__(self) -> str:
        lost = "" if self.first_seq is None or self.last_seq is None else f"; seq {self.first_seq} to {self.last_seq}"
        return f"{self.path}: {self.length_bytes} bytes at {self.offset}: {self.reason}{lost}"


class FileIndex(msgspec.Struct, frozen=True):
    """The chunks of one journal file at one moment."""

    path: Path
    entries: NDArray[np.void]  # dtype ENTRY, by offset
    damage: list[Damage]  # stretches that are not chunks, by offset
    size_bytes: int
    indexed: int  # how many entries came from the index file

    @property
    def end(self) -> int:
        """Offset of the end of the last valid chunk."""
        return int(_ends(self.entries)[-1]) if len(self.entries) else 0


def _ends(entries: NDArray[np.void]) -> NDArray[np.int64]:
    """Offsets at which the chunks end."""
    ends: NDArray[np.int64] = entries["offset"].astype(np.int64) + entries["header"]["length_bytes"]
    return ends


def _checksums(entries: NDArray[np.void]) -> NDArray[np.uint64]:
    """Weighted sums of the words before the checksum: fast over a whole index, and good enough to catch bad bytes."""
    words = np.ascontiguousarray(entries).view(np.uint64).reshape(-1, entries.dtype.itemsize // 8)[:, :-1]
    sums: NDArray[np.uint64] = (words * _WEIGHTS[: words.shape[1]]).sum(axis=1, dtype=np.uint64)
    return sums ^ np.uint64(0x74706E6478)  # so that zeros are not a valid entry


def make_entries(chunks: list[tuple[int, ChunkHeader]], bounds: Sequence[Bounds | None] = ()) -> NDArray[np.void]:
    """Entries of `(offset, header)` pairs, with the bounds of each, if known."""
    entries = np.zeros(len(chunks), ENTRY)
    for place, (offset, header) in enumerate(chunks):
        entries[place]["offset"] = offset
        entries[place]["header"] = (header.length_bytes, np.void(header.magic), *header[2:])
    return sealed(entries, bounds)


def sealed(entries: NDArray[np.void], bounds: Sequence[Bounds | None] = ()) -> NDArray[np.void]:
    """The entries with their checksums, and with `bounds`, those of the first entries, if known."""
    for place, known in enumerate(bounds):
        if known is not None:
            entries["bounds"][place] = known
            entries["slots"][place] = LAYOUT_OF[Schema(entries["header"]["schema"][place])]
    entries["checksum"] = _checksums(entries)
    return entries


def index_path(path: Path) -> Path:
    """The index file of a journal file."""
    return path.with_suffix(INDEX_SUFFIX)


def journal_files(directory: Path) -> list[Path]:
    """Journal files of one producer and schema, ordered by their first seq, which is their name."""
    try:
        names = os.listdir(directory)  # noqa: PTH208  # pathlib takes four times as long, and every range needs this
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    suffix = len(JOURNAL_SUFFIX)
    return [directory / name for name in sorted(names) if name.endswith(JOURNAL_SUFFIX) and _is_seq(name[:-suffix])]


def _is_seq(name: str) -> bool:
    return len(name) == 20 and name.isascii() and name.isdecimal() and int(name) < _LAST_SEQ


def open_file(path: Path) -> int:
    """Open a journal file or a daily file; the caller closes the descriptor. Raises OSError, StoreError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe in its place must not block us
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StoreError("is not a file", path=path)
    return fd


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """`open_file` for a `with` block. An OSError inside the block becomes a StoreError that names the file."""
    try:
        fd = open_file(path)
        try:
            yield fd
        finally:
            os.close(fd)
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", path=path) from error


def load_index(
    path: Path,
    *,
    use_index: bool = True,
    while_reading: WhileReading = lambda: None,
    within: tuple[int, int] | None = None,
) -> FileIndex:
    """The chunks of a journal file or a daily file: from its index as far as possible, else by scanning.

    Args:
        path: the file.
        use_index: False scans every byte.
        while_reading: called before scanning each chunk, or each megabyte without one.
        within: for a daily file, the first and the last seq that it may hold: it may lack some in between. None: a
            journal file, whose chunks hold every seq from their first to their last.

    Raises:
        StoreError: the file cannot be read.
    """
    with opened(path) as fd:
        # First the index, then the size: the writer lists a chunk only after it has written the chunk.
        known = _read_entries(index_path(path), dense=within is None) if use_index else np.zeros(0, ENTRY)
        size = os.fstat(fd).st_size
        inside = _ends(known) <= size
        known, beyond = known[inside], known[~inside]
        found: list[tuple[int, ChunkHeader]] = []
        damage: list[Damage] = []
        for start, stop in _uncovered(known, size):
            for item in scan(fd, path, start, stop, while_reading):
                if isinstance(item, Damage):
                    damage.append(item)
                else:
                    found.append(item)
    entries = known
    if found:
        entries = np.concatenate([known, make_entries(found)])
        entries = entries[np.argsort(entries["offset"], kind="stable")]
    entries, astray = _in_line(entries, path)
    damage = [_with_seqs(part, path, entries, within) for part in damage]
    damage = sorted([*damage, *astray], key=lambda part: part.offset)
    if len(beyond):
        # Chunks in the index were durable once: more is missing than a tail that was being written.
        first, last = int(beyond[0]["header"]["first_seq"]), int(beyond[-1]["header"]["last_seq"])
        start = int(_ends(entries)[-1]) if len(entries) else 0
        damage = [part for part in damage if part.offset < start]
        reason = f"{LISTED_BEYOND} {len(beyond)} chunks that its index lists"
        damage.append(Damage(str(path), start, size - start, reason, first, last))
    return FileIndex(path, entries, damage, size, len(known))


def _in_line(entries: NDArray[np.void], path: Path) -> tuple[NDArray[np.void], list[Damage]]:
    """The chunks whose records follow those of the chunks before them; all other chunks are damage, and are not read.

    No writer goes back. Valid chunks out of order come from pages of a file at a wrong place, or twice.
    """
    headers = entries["header"]
    if bool((headers["first_seq"][1:] > headers["last_seq"][:-1]).all()):
        return entries, []
    # Keep as many as possible, the longest rising subsequence. `tails[n]` is the chunk at which a rise of n + 1 chunks
    # ends lowest.
    firsts, lasts = headers["first_seq"].tolist(), headers["last_seq"].tolist()
    tails: list[int] = []
    before = [-1] * len(entries)
    for place, first in enumerate(firsts):
        length = bisect_left(tails, first, key=lasts.__getitem__)
        before[place] = tails[length - 1] if length else -1
        if length == len(tails):
            tails.append(place)
        elif lasts[place] < lasts[tails[length]]:
            tails[length] = place
    kept = np.zeros(len(entries), np.bool_)
    place = tails[-1]
    while place >= 0:
        kept[place] = True
        place = before[place]
    astray = [
        Damage(
            str(path),
            int(entries["offset"][place]),
            int(headers["length_bytes"][place]),
            f"the chunk of seq {firsts[place]} to {lasts[place]} stands at a wrong place, or twice",
        )
        for place in np.flatnonzero(~kept).tolist()
    ]
    return entries[kept], astray


def _uncovered(entries: NDArray[np.void], size: int) -> list[tuple[int, int]]:
    """The stretches `(start, stop)` of a file of `size` bytes that no entry covers."""
    starts = np.concatenate([[0], _ends(entries)])
    stops = np.append(entries["offset"].astype(np.int64), size)
    return [(int(starts[place]), int(stops[place])) for place in np.flatnonzero(starts < stops)]


def _read_entries(path: Path, *, dense: bool) -> NDArray[np.void]:
    """The trustworthy beginning of an index file."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < PLAIN_ENTRY.itemsize:
                return np.zeros(0, ENTRY)
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except OSError:
        return np.zeros(0, ENTRY)
    for dtype in (ENTRY, PLAIN_ENTRY):
        entries: NDArray[np.void] = np.frombuffer(mapped, dtype, size // dtype.itemsize)
        if good := _count_good(entries, dense=dense):
            return entries[:good] if dtype == ENTRY else _with_bounds(entries[:good])
    return np.zeros(0, ENTRY)


def _with_bounds(plain: NDArray[np.void]) -> NDArray[np.void]:
    entries = np.zeros(len(plain), ENTRY)
    entries["offset"], entries["header"] = plain["offset"], plain["header"]
    return sealed(entries)


def _count_good(entries: NDArray[np.void], *, dense: bool) -> int:
    """How many entries, from the first one on, can be trusted."""
    if not len(entries):
        return 0
    headers = entries["header"]
    # The checksum guards only against accidents, so the contents of an entry must be plausible as well.
    good = _checksums(entries) == entries["checksum"]
    good &= entries["offset"] < _LAST_SEQ
    good &= (headers["magic"] == np.void(MAGIC)) & (headers["length_bytes"] <= MAX_CHUNK_BYTES)
    good &= (headers["columns"] >= 1) & (headers["columns"] <= MAX_COLUMNS)
    good &= (headers["rows"] >= 1) & (headers["rows"] <= MAX_ROWS) & (headers["first_seq"] < _LAST_SEQ)
    seqs = headers["last_seq"] - headers["first_seq"]
    good &= (headers["last_seq"] < _LAST_SEQ) & (headers["first_seq"] <= headers["last_seq"])
    good &= (seqs == headers["rows"] - np.uint64(1)) if dense else (seqs >= headers["rows"] - np.uint64(1))
    good &= np.concatenate([[0], _ends(entries)[:-1]]) <= entries["offset"].astype(np.int64)
    return len(entries) if good.all() else int(np.argmin(good))


def _with_seqs(part: Damage, path: Path, entries: NDArray[np.void], within: tuple[int, int] | None) -> Damage:
    """Add which records are missing, as far as the chunks around or the names of this file and the next one tell."""
    place = int(np.searchsorted(entries["offset"], part.offset))
    headers = entries["header"]
    begin = within[0] if within else int(path.stem)
    first = int(headers[place - 1]["last_seq"]) + 1 if place else begin
    if place < len(entries):
        last = int(headers[place]["first_seq"]) - 1
    elif within:
        last = within[1]
    elif later := [other for other in journal_files(path.parent) if other > path]:
        last = int(later[0].stem) - 1
    else:
        return msgspec.structs.replace(part, first_seq=first)
    return part if last < first else msgspec.structs.replace(part, first_seq=first, last_seq=last)


def scan(
    fd: int, path: Path, start: int, stop: int, while_reading: WhileReading
) -> Iterator[tuple[int, ChunkHeader] | Damage]:
    """Walk the bytes from `start` to `stop`: yields each valid chunk, payload checked, and each damaged stretch."""
    offset = start
    while offset < stop:
        while_reading()
        try:
            header = read_chunk(fd, path, offset, stop)[1]
        except DamageError as error:
            following = _next_chunk(fd, path, offset + 1, stop, while_reading)
            reason = str(error).split(f"at byte {offset}: ", 1)[-1]
            torn = following == stop and _is_beginning(fd, offset, stop)
            yield Damage(str(path), offset, following - offset, reason, torn=torn)
            offset = following
        else:
            yield offset, header
            offset += header.length_bytes


def read_chunk(fd: int, path: Path, offset: int, stop: int) -> tuple[bytes, ChunkHeader]:
    """The bytes and the header of the chunk at `offset`, checksums verified. Raises DamageError, StoreError."""
    head = os.pread(fd, min(HEAD_BYTES, stop - offset), offset)
    # Check the head before reading the rest, so that no more is read than a chunk can have.
    header = read_head(head, len(head) if len(head) < HEADER.itemsize else stop - offset, path=path, offset=offset)
    if max(header.first_seq, header.last_seq) >= _LAST_SEQ:
        why = f"the chunk's header makes no sense: seq {header.first_seq} to {header.last_seq}"
        raise DamageError(why, path=path, offset=offset)
    trailer = os.pread(fd, TRAILER_BYTES, offset + header.length_bytes - TRAILER_BYTES)
    check_trailer(trailer, header, path=path, offset=offset)
    data = os.pread(fd, header.length_bytes, offset)
    check_payload(data, 0, header, path=path, origin=offset)
    return data, header


def _is_beginning(fd: int, offset: int, stop: int) -> bool:
    """Whether the bytes up to `stop` may be the beginning of a valid chunk."""
    data = os.pread(fd, min(stop - offset, HEAD_BYTES), offset)
    if data[4:8] != MAGIC[: max(0, len(data) - 4)]:
        return False
    if len(data) < HEADER.itemsize:
        return True
    header = np.frombuffer(data, HEADER, 1)[0]
    if offset + int(header["length_bytes"]) <= stop:
        return False
    directory_bytes = int(header["columns"]) * COLUMN.itemsize
    if len(data) < HEADER.itemsize + directory_bytes:
        return stop - offset == len(data)
    return header_checksum(data) == int(header["header_checksum"])


def _next_chunk(fd: int, path: Path, start: int, stop: int, while_reading: WhileReading) -> int:
    """Offset of the first valid chunk that begins at or after `start`; `stop` if there is none."""
    overlap = len(MAGIC) - 1
    position = start + 4  # of the window, which begins at the first possible magic
    while position < stop:
        window = os.pread(fd, min(_SEARCH_BYTES, stop - position), position)
        found = window.find(MAGIC)
        while_reading()
        while found >= 0:
            candidate = position + found - 4
            try:
                read_chunk(fd, path, candidate, stop)
            except DamageError:
                found = window.find(MAGIC, found + 1)
            else:
                return candidate
        if len(window) <= overlap:
            break
        position += len(window) - overlap
    return stop
