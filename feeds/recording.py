"""Recordings: lines of `<receive time, ns> <frame>`, read from plain, gzip or zstd files, and written as raw capture.

Imports errors, secrets and the adapter interface only. A capture is a recording, so it can be ingested like any other:
`<data>/capture/<feed>/` holds one zstd file for each hour and each start of the feed. Every second's frames are a zstd
frame of their own, so a killed process or a power cut leaves all but the last second readable.

An answer of the venue's REST often does not say what it answers. So it stands in a capture as
`{"rest":"depth BTCUSDT","data":…}`, named by the key of its request. The bare answer of other people's recordings is
read as well, where it is clear whose it is.
"""

from __future__ import annotations

import functools
import io
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import structlog
import zstandard

from tickplant.errors import FeedError
from tickplant.feeds.adapter import RestRequest, RestResponse
from tickplant.secrets import redact_bytes

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
READ_BYTES: Final = 1 << 18
SUFFIX: Final = ".rec.zst"

ROTATE_NS: Final = 3600 * 10**9
COMPRESSION_LEVEL: Final = 3
BUFFER_BYTES: Final = 64 << 20
"""Most that waits in memory for a slow disk; what comes beyond is counted and not captured."""


class Recording:
    """The lines of one file, or of the files of a folder in the order of their names.

    Iterate over `blocks`. Afterwards `damage` says where a file broke off or was spoilt, empty where none was: all
    whole lines before that have been delivered.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage = ""
        try:
            self.files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
            for file in self.files:
                file.open("rb").close()
        except OSError as error:
            raise FeedError(f"{path}: the recording cannot be read: {error.strerror}") from None
        if not self.files:
            raise FeedError(f"{path}: the folder holds no recording")

    def blocks(self) -> Iterator[list[bytes]]:
        """Lines without their ends, READ_BYTES of the file at a time. Raises FeedError where the disk fails."""
        for file in self.files:
            rest = b""
            try:
                with file.open("rb") as raw:
                    for data in _pieces(raw):
                        *lines, rest = (rest + data).split(b"\n")
                        if lines:
                            yield lines
                if rest:
                    yield [rest]
            except (EOFError, zlib.error, zstandard.ZstdError) as error:
                # `rest` is left out: a line that is cut off is not what the venue sent.
                self.damage += f"{'; ' if self.damage else ''}{file}: {error}"
            except OSError as error:
                raise FeedError(f"{file}: reading failed: {error.strerror}") from None


def parse_line(line: bytes) -> tuple[int, bytes] | None:
    """Receive time and frame of one line, or None where it is not one."""
    digits, _, frame = line.partition(b" ")
    if not (digits.isdigit() and len(digits) <= 19 and frame):
        return None
    ts_recv_ns = int(digits)
    return (ts_recv_ns, frame.rstrip(b"\r")) if ts_recv_ns < 1 << 63 else None


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


def _pieces(raw: BinaryIO) -> Iterator[bytes]:
    """The content of a file, decompressed. Raises EOFError and the errors of zlib and zstandard where it is damaged."""
    magic = raw.read(4)
    raw.seek(0)
    begin: Callable[[], Any]
    if magic.startswith(GZIP_MAGIC):
        begin = functools.partial(zlib.decompressobj, 16 + zlib.MAX_WBITS)
    elif magic == ZSTD_MAGIC:
        begin = zstandard.ZstdDecompressor().decompressobj
    else:
        while data := raw.read(READ_BYTES):
            yield data
        return
    # Member by member: the readers of both libraries keep back what precedes a cut, or do not tell of the cut at all.
    member = None
    while data := raw.read(READ_BYTES):
        while data:
            member = member or begin()
            yield member.decompress(data)
            data = member.unused_data if member.eof else b""
            member = None if member.eof else member
    if member is not None:
        raise EOFError("ends in the middle of a compressed block")


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
