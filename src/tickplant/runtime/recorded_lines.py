"""Reads recordings and captures: plain, gzip or zstd files, or a folder of them, line by line in bounded memory.

The content of a line is for its reader: `feeds/capture_lines.py`, or a simulated venue.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from tickplant.errors import FeedError
from tickplant.runtime.line_times import LATEST_NS, time_of

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
CUT: Final = "ends in the middle of a compressed block"
READ_BYTES: Final = 1 << 18
LINE_BYTES: Final = 32 << 20
"""Longest line read. The instrument data of a whole venue, the longest known frame, is half of that."""

ZSTD_BYTES: Final = 1 << 9
"""Compressed bytes taken at a time: at most 16 MiB of content."""

BEGIN_BLOCKS: Final = 256
"""Number of blocks of a file in a folder that are searched for its first receive time."""


class CutLine(bytes):
    """The beginning of a line longer than LINE_BYTES; the rest is not kept."""


class Recording:
    """The lines of one file, or of the files of a folder in the order of their first receive times.

    Iterate over `blocks`. Afterwards `damage` says where a file was truncated or damaged, empty if all are sound: all
    whole lines before that have been delivered. Memory is bounded, whatever the files hold.
    """

    def __init__(self, path: Path) -> None:
        """Raises FeedError, with the reason, if there is nothing to read."""
        self.path = path
        self.damage = ""
        self.files = [path]
        try:
            if path.is_dir():
                self.files = sorted(file for file in path.iterdir() if not (file.is_dir() or file.name.startswith(".")))
                if not self.files:
                    raise FeedError(f"{path}: the folder holds no recording")
            sizes = [_size_of(file) for file in self.files]
        except OSError as error:
            raise FeedError(f"{error.filename or path}: the recording cannot be read: {error.strerror}") from None
        if not any(sizes):
            raise FeedError(f"{path}: the recording is empty")
        if len(self.files) > 1:
            self.files.sort(key=_begins)

    def blocks(self) -> Iterator[list[bytes]]:
        """Lines without their ends, from READ_BYTES of content at a time; empty lists within a long line.

        A line longer than LINE_BYTES comes as a CutLine. Raises FeedError if the disk fails.
        """
        self.damage = ""
        for file in self.files:
            try:
                yield from _lines(file)
            except (EOFError, zlib.error, zstandard.ZstdError) as error:
                # The truncated line is left out: it is not what the venue sent.
                self.damage += f"{'; ' if self.damage else ''}{file}: {error}"
            except OSError as error:
                raise FeedError(f"{file}: reading failed: {error.strerror}") from None


def _size_of(file: Path) -> int:
    """Size in bytes of a regular file that can be opened. Raises OSError, FeedError."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait, and a recording may be read twice
        raise FeedError(f"{file}: not a regular file: write the recording to a file first")
    file.open("rb").close()
    return status.st_size


def _begins(file: Path) -> tuple[int, str]:
    """First receive time of a file, and its name; a file without a time comes last."""
    with contextlib.suppress(EOFError, zlib.error, zstandard.ZstdError, OSError):
        for lines in itertools.islice(_lines(file), BEGIN_BLOCKS):
            for line in lines:
                if (time_ns := time_of(line)) is not None:
                    return time_ns, file.name
    return LATEST_NS, file.name


def _lines(file: Path) -> Iterator[list[bytes]]:
    """Lines of one file. Raises the errors of `content_pieces`, and FeedError for text that is not UTF-8."""
    parts: list[bytes] = []  # of the present, incomplete line
    held = 0  # their size in bytes, READ_BYTES less if more was dropped
    with file.open("rb") as raw:
        for number, piece in enumerate(content_pieces(raw)):
            data = piece
            if number == 0:
                if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise FeedError(f"{file}: the recording is UTF-16 text: convert it to UTF-8")
                data = data.removeprefix(codecs.BOM_UTF8)
            first, *lines = data.split(b"\n")
            held += len(first)
            if held <= LINE_BYTES:
                parts.append(first)
            elif len(parts) > 1 or not isinstance(parts[0], CutLine):
                parts = [CutLine(b"".join(parts[:2])[:READ_BYTES])]
            if lines:
                lines[:0] = parts if len(parts) == 1 else [b"".join(parts)]
                parts = [lines.pop()]
                held = len(parts[0])
            yield lines
    if held:
        yield parts if len(parts) == 1 else [b"".join(parts)]


def content_pieces(raw: BinaryIO) -> Iterator[bytes]:
    """The content of a file, decompressed, a bounded number of bytes at a time.

    Raises EOFError and the errors of zlib and zstandard for a damaged file.
    """
    magic = raw.read(4)
    raw.seek(0)
    if magic.startswith(GZIP_MAGIC):
        yield from _gunzip(raw)
    elif magic == ZSTD_MAGIC:
        yield from _unzstd(raw)
    else:
        while data := raw.read(READ_BYTES):
            yield data


# Member by member: the readers of both libraries withhold what precedes a truncation, or do not report it at all.


def _gunzip(raw: BinaryIO) -> Iterator[bytes]:
    member = None
    while data := raw.read(READ_BYTES):
        while data:
            if member is None:
                data = data.lstrip(b"\0")  # some archivers pad with zeros after a member
                if not data:
                    break
                member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            yield member.decompress(data, READ_BYTES)
            if member.eof:
                data, member = member.unused_data, None
            else:
                data = member.unconsumed_tail
    while member is not None and not member.eof and (rest := member.decompress(member.unconsumed_tail, READ_BYTES)):
        yield rest
    if member is not None and not member.eof:
        raise EOFError(CUT)


def _unzstd(raw: BinaryIO) -> Iterator[bytes]:
    frame = None
    # Output can only be bounded by input: a block of 128 KiB has at least four bytes.
    while data := raw.read(ZSTD_BYTES):
        while data:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            content = frame.decompress(data)
            for start in range(0, len(content), READ_BYTES):
                yield content[start : start + READ_BYTES]
            data = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError(CUT)
