"""Writes the events of a feed as lines (see capture_lines.py), with credentials masked.

A capture is a recording, so it can be ingested like any other: `<data>/capture/<feed>/` holds one zstd file for each
hour and each start of the feed. Each second's lines form a zstd frame of their own, so after a kill or a power cut
everything but the last second is readable.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog
import zstandard

from tickplant.feeds.capture_lines import line_of, lines_of
from tickplant.feeds.contract import Answer, Closed, Opened, Resync, Second, Send, Symbols
from tickplant.runtime.redaction import redact_bytes

SUFFIX: Final = ".rec.zst"

ROTATE_NS: Final = 3600 * 10**9
COMPRESSION_LEVEL: Final = 3
BUFFER_BYTES: Final = 64 << 20
"""Most that waits in memory for a slow disk; frames beyond that are counted and not captured."""


def _without_credentials(lines: bytes) -> bytes:
    """Lines with credentials masked, each by itself, so that a truncated frame spoils no other."""
    if redact_bytes(lines) == lines:
        return lines
    return b"\n".join([redact_bytes(line) for line in lines.split(b"\n")])


class Capture:
    """Writes the lines of one feed. `add` is for the hot path; `flush` runs once a second; a full disk is not fatal."""

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

    def add(self, link: str, frames: Sequence[bytes], ts_recv_ns: int) -> None:
        """Capture the frames of one read."""
        if self._bytes > BUFFER_BYTES:
            self.lost += len(frames)
            return
        self._add(lines_of(link, frames, ts_recv_ns))
        self._frames += len(frames)

    def add_event(self, event: Opened | Closed | Answer | Second | Resync | Symbols | Send, now_ns: int) -> None:
        """Capture an event without frames. A secret message and the answer to a secret request are left out."""
        is_secret = (isinstance(event, Answer) and event.request.secret) or (isinstance(event, Send) and event.secret)
        if is_secret:
            return
        is_frame = isinstance(event, Answer)
        if self._bytes > BUFFER_BYTES:
            self.lost += is_frame
            return
        self._add(line_of(event, now_ns))
        self._frames += is_frame

    def _add(self, lines: bytes) -> None:
        self._parts += (lines, b"\n")
        self._bytes += len(lines)

    def flush(self) -> None:
        """Have another thread write what was added; does nothing while the last flush is still in progress."""
        if self._writing is not None and not self._writing.done():
            return
        if self._parts:
            parts, frames = self._parts, self._frames
            self._parts, self._bytes, self._frames = [], 0, 0
            self._writing = self._worker.submit(self._write, parts, frames, time.time_ns())

    def close(self) -> None:
        """Write the rest and close the file."""
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
            # Half a zstd frame would make everything after it unreadable: remove it, or else begin another file.
            hour, self._hour = self._hour, 0
            file.truncate(start)
            file.seek(start)
            self._hour = hour
            raise

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
