"""Recordings: lines of `<receive time> <frame>`, read from plain, gzip or zstd files, and written as raw capture.

A capture is a recording, so it can be ingested like any other: `<data>/capture/<feed>/` holds one zstd file for each
hour and each start of the feed. Every second's frames are a zstd frame of their own, so a killed process or a power
cut leaves all but the last second readable.

An answer of the venue's REST often does not say what it answers. So it stands in a capture as
`{"rest":"depth BTCUSDT","data":…}`, named by the key of its request. The bare answer of other people's recordings is
read as well, where it is clear whose it is.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import itertools
import stat
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import structlog
import zstandard

from tickplant.errors import FeedError
from tickplant.feeds.contract import RestRequest, RestResponse
from tickplant.runtime.redaction import redact_bytes

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
CUT: Final = "ends in the middle of a compressed block"
READ_BYTES: Final = 1 << 18
ZSTD_BYTES: Final = 1 << 9
"""Compressed bytes taken at a time: 16 MiB of content at the most."""

LINE_BYTES: Final = 32 << 20
"""Longest line that is read. The instrument data of a whole venue, the longest frame known, has half of that."""

BEGIN_BLOCKS: Final = 256
"""How far a file of a folder is searched for its first receive time."""

EARLIEST_NS: Final = 946_684_800 * 10**9
LATEST_NS: Final = 4_102_444_800 * 10**9
"""Receive times of a recording: from the year 2000 to before 2100."""

_FACTORS: Final = (1, 10**3, 10**6, 10**9)
SUFFIX: Final = ".rec.zst"

ROTATE_NS: Final = 3600 * 10**9
COMPRESSION_LEVEL: Final = 3
BUFFER_BYTES: Final = 64 << 20
"""Most that waits in memory for a slow disk; what comes beyond is counted and not captured."""


class CutLine(bytes):
    """The beginning of a line that is longer than LINE_BYTES, READ_BYTES of it at the most; the rest is not kept."""


class Recording:
    """The lines of one file, or of the files of a folder in the order of their first receive times.

    Iterate over `blocks`. Afterwards `damage` says where a file broke off or was spoilt, empty where none was: all
    whole lines before that have been delivered. Memory is bounded, whatever the files hold.
    """

    def __init__(self, path: Path) -> None:
        """Raises FeedError, which names what is wrong, where there is nothing to read."""
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
        """Lines without their ends, of READ_BYTES of content at a time; empty lists while a line goes on.

        What is longer than LINE_BYTES comes as a CutLine. Raises FeedError where the disk fails.
        """
        self.damage = ""
        for file in self.files:
            try:
                yield from _lines(file)
            except (EOFError, zlib.error, zstandard.ZstdError) as error:
                # The line that is cut off is left out: it is not what the venue sent.
                self.damage += f"{'; ' if self.damage else ''}{file}: {error}"
            except OSError as error:
                raise FeedError(f"{file}: reading failed: {error.strerror}") from None


def parse_line(line: bytes) -> tuple[int, bytes] | None:
    """Receive time in ns and frame of one line, or None where it is not one: `why_not` says why.

    Times in µs, ms and s are told from ns by their size: between EARLIEST_NS and LATEST_NS only one unit can be meant.
    """
    digits, _, frame = line.partition(b" ")
    if not (digits.isdigit() and len(digits) <= 19 and frame):
        return None
    number = int(digits)
    for factor in _FACTORS:
        if EARLIEST_NS <= number * factor < LATEST_NS:
            return number * factor, frame.rstrip(b"\r")
    return None


def why_not(line: bytes) -> str:
    """What keeps a line from being one of a recording, for the reject log."""
    if isinstance(line, CutLine):
        return f"longer than {LINE_BYTES >> 20} MiB"
    digits, _, frame = line.partition(b" ")
    if not digits.isdigit():
        return "does not begin with a receive time in nanoseconds and a space"
    return "the receive time is not between the years 2000 and 2100" if frame.rstrip(b"\r") else "has no frame"


class _Answer(msgspec.Struct):
    rest: str
    data: msgspec.Raw


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_ANSWER_START: Final = b'{"rest":'


def as_recorded(response: RestResponse) -> bytes:
    """An answer of the venue's REST as a line of a capture has it."""
    return msgspec.json.encode(_Answer(response.request.key, msgspec.Raw(response.body)))


def recorded_answer(body: bytes, ts_recv_ns: int) -> RestResponse | None:
    """The inverse of `as_recorded`; None where the body is anything else."""
    if not body.startswith(_ANSWER_START):
        return None
    try:
        answer = _ANSWER.decode(body)
    except msgspec.DecodeError:
        return None
    return RestResponse(RestRequest(answer.rest, ""), 200, bytes(answer.data), ts_recv_ns)


def _size_of(file: Path) -> int:
    """Bytes of a regular file that can be opened. Raises OSError, FeedError."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait, and a recording may be read twice
        raise FeedError(f"{file}: not a regular file: write the recording to a file first")
    file.open("rb").close()
    return status.st_size


def _begins(file: Path) -> tuple[int, str]:
    """First receive time of a file, and its name; a file without one comes last."""
    with contextlib.suppress(EOFError, zlib.error, zstandard.ZstdError, OSError):
        for lines in itertools.islice(_lines(file), BEGIN_BLOCKS):
            for line in lines:
                if parsed := parse_line(line):
                    return parsed[0], file.name
    return LATEST_NS, file.name


def _lines(file: Path) -> Iterator[list[bytes]]:
    """Lines of one file. Raises what `_pieces` raises, and FeedError for text that is not UTF-8."""
    parts: list[bytes] = []  # of the line that goes on
    held = 0  # bytes of them, READ_BYTES less where more was dropped
    with file.open("rb") as raw:
        for number, piece in enumerate(_pieces(raw)):
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


def _pieces(raw: BinaryIO) -> Iterator[bytes]:
    """The content of a file, decompressed, a bounded number of bytes at a time.

    Raises EOFError and the errors of zlib and zstandard where it is damaged.
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


# Member by member: the readers of both libraries keep back what precedes a cut, or do not tell of the cut at all.


def _gunzip(raw: BinaryIO) -> Iterator[bytes]:
    member = None
    while data := raw.read(READ_BYTES):
        while data:
            if member is None:
                data = data.lstrip(b"\0")  # some archivers fill up with zeros behind a member
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
    # There is no way to bound what comes out but by what goes in: a block of 128 KiB is four bytes at the least.
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


def _without_credentials(lines: bytes) -> bytes:
    """Lines with credentials masked; each by itself, so that a frame that is cut off spoils no other."""
    if redact_bytes(lines) == lines:
        return lines
    return b"\n".join([redact_bytes(line) for line in lines.split(b"\n")])


class Capture:
    """Writes every frame as received, with credentials masked.

    `add` is for the hot path; `flush` once a second; a full disk is not fatal.
    """

    def __init__(self, folder: Path) -> None:
        self.written = 0  # frames on disk
        self.lost = 0  # frames that were not captured: the disk was full or too slow
        self._folder = folder
        self._parts: list[bytes] = []
        self._bytes = 0
        self._frames = 0
        self._file: io.FileIO | None = None
        self._hour = 0
        self._failing = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="capture")
        self._writing: Future[None] | None = None
        self._log = structlog.get_logger()

    def add(self, frames: Sequence[bytes], ts_recv_ns: int) -> None:
        """Keep the frames of one read. A line feed in a frame (JSON has them between values only) becomes a space."""
        if self._bytes > BUFFER_BYTES:
            self.lost += len(frames)
            return
        stamp = b"%d " % ts_recv_ns
        text = (b"\n" + stamp).join(frames)
        if text.count(b"\n") != len(frames) - 1:
            text = (b"\n" + stamp).join([frame.replace(b"\n", b" ") for frame in frames])
        self._parts += (stamp, text, b"\n")
        self._bytes += len(text)
        self._frames += len(frames)

    def flush(self) -> None:
        """Have what was added written by another thread; does nothing while the last flush is still at it."""
        if self._writing is not None and not self._writing.done():
            return
        if self._parts:
            parts, frames = self._parts, self._frames
            self._parts, self._bytes, self._frames = [], 0, 0
            self._writing = self._worker.submit(self._write, parts, frames, time.time_ns())

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._writing is not None:
            self._writing.result()
        self.flush()
        self._worker.shutdown(wait=True)
        self._close_file()

    # -- in the worker thread

    def _write(self, parts: list[bytes], frames: int, now_ns: int) -> None:
        data = zstandard.ZstdCompressor(COMPRESSION_LEVEL).compress(_without_credentials(b"".join(parts)))
        try:
            if self._file is None or now_ns // ROTATE_NS != self._hour:
                self._open_file(now_ns)
            self._write_whole(data)
        except OSError as error:
            self.lost += frames
            if not self._failing:
                self._log.error("cannot capture frames", folder=str(self._folder), reason=error.strerror)
            self._failing = True
            return
        self.written += frames
        if self._failing:
            self._log.warning("capturing frames again", lost=self.lost)
        self._failing = False

    def _open_file(self, now_ns: int) -> None:
        self._close_file()
        self._folder.mkdir(parents=True, exist_ok=True)
        seconds, rest_ns = divmod(now_ns, 10**9)
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(seconds))}.{rest_ns:09d}Z{SUFFIX}"
        self._file = io.FileIO(self._folder / name, "x")
        self._hour = now_ns // ROTATE_NS

    def _write_whole(self, data: bytes) -> None:
        file = self._file
        if file is None:
            return
        start = file.tell()
        try:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        except OSError:
            # Half a zstd frame would make all that follows unreadable: take it back, or else begin another file.
            hour, self._hour = self._hour, 0
            file.truncate(start)
            file.seek(start)
            self._hour = hour
            raise

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
