"""DBN files as frames: raw or zstd, with any number of zstd frames, one file or the files of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import zstandard

from tickplant.errors import FeedError
from tickplant.feeds.contract import Frames
from tickplant.feeds.importers import FILE_LINK, head_of
from tickplant.feeds.venues.databento import dbn
from tickplant.feeds.venues.databento.dbn import DamageError, Metadata, Run
from tickplant.feeds.venues.databento.ticks import time_of
from tickplant.records import dbn_layouts
from tickplant.runtime.recorded_lines import content_pieces

PIECE_RECORDS: Final = 8192
SKIPPABLE: Final = b"P*M\x18"
"""First bytes of the zstd frame that holds the metadata of the format before DBN."""


def is_dbn(head: bytes) -> bool:
    """Whether a file whose content begins like this comes from Databento, readable or not."""
    return head.startswith((dbn.MAGIC, SKIPPABLE)) or _is_fragment(head)


def _is_fragment(head: bytes) -> bool:
    return len(head) >= dbn.HEAD_BYTES and any((head[1], 4 * head[0] - more) in dbn_layouts.LAYOUTS for more in (0, 8))


class _File:
    """One file. Raises FeedError if it cannot be read as DBN."""

    def __init__(self, path: Path) -> None:
        self.path = path
        head = head_of(path)
        if head.startswith(SKIPPABLE):
            raise FeedError(
                f"{path}: a DBZ file, the format before DBN: convert it with Databento's dbn (`dbn old.dbz --dbn`, "
                "a release up to 0.19), or download the data again"
            )
        if not head.startswith(dbn.MAGIC):
            what = "a fragment: records of DBN without their metadata, so without dataset and symbols"
            raise FeedError(f"{path}: {what if _is_fragment(head) else 'not a DBN file'}; ingest the whole file")
        try:
            self.metadata = self._metadata()
        except FeedError as error:
            raise FeedError(f"{path}: {error}") from None

    def _metadata(self) -> Metadata:
        data = b""
        for piece in self._content():
            data += piece
            if len(data) >= 8 and len(data) >= (length := dbn.metadata_bytes(data[:8])):
                return dbn.parse_metadata(data[:length])
        raise FeedError("the file ends in the middle of its metadata: it was cut; download it again")

    def _content(self) -> Iterator[bytes]:
        with self.path.open("rb") as raw:
            yield from content_pieces(raw)

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """The metadata, then pieces of PIECE_RECORDS records, each with the time of its last one.

        For a damaged file, raises DamageError, EOFError or zstandard.ZstdError after all whole records.
        """
        data, place = b"", 0
        spoilt: Exception | None = None
        waiting: list[bytes] = []  # records of the piece being filled, and its last run
        count, last_ns, length = 0, 0, 0
        content = self._content()
        while True:
            try:
                more = next(content, None)
            except (EOFError, zstandard.ZstdError) as error:
                more, spoilt = None, error
            if more is None:
                break
            data += more
            if not length:
                if len(data) < 8 or len(data) < (whole := dbn.metadata_bytes(data[:8])):
                    continue
                length = whole
                yield min(self.metadata.start_ns, dbn_layouts.NO_VALUE), data[:length]
                data, place = data[length:], length
            used = 0
            try:
                for run in dbn.runs(data):
                    for part in _parts(run, PIECE_RECORDS - count):
                        last_ns = max(last_ns, _time_of_last(data, part, ts_out=self.metadata.ts_out))
                        end = part.start + part.size * part.records
                        waiting.append(data[part.start : end])
                        count, used = count + part.records, end
                        if count >= PIECE_RECORDS:
                            yield last_ns, b"".join(waiting)
                            waiting, count = [], 0
            except DamageError as error:
                spoilt = DamageError(f"{error}, {place + used:,} bytes from the beginning")
                data = b""
                break
            place, data = place + used, data[used:]
        if count:
            yield last_ns, b"".join(waiting)
        if spoilt is not None:
            raise spoilt
        if data:
            raise DamageError(f"the file ends {len(data)} bytes into a record: it was cut; download it again")


class DbnFiles:
    """See `importers.Import`."""

    def __init__(self, path: Path) -> None:
        """Raises FeedError, which names the file and the reason."""
        self.path = path
        self.damage = ""
        try:
            paths = [path]
            if path.is_dir():
                paths = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
            self._files = [_File(file) for file in paths]
        except OSError as error:
            raise FeedError(f"{error.filename or path}: the file cannot be read: {error.strerror}") from None
        self._files.sort(key=lambda file: (file.metadata.start_ns, file.path.name))

    def pieces(self) -> Iterator[tuple[int, Frames]]:
        """See `importers.Import`."""
        self.damage = ""
        for file in self._files:
            try:
                for ts_ns, data in file.pieces():
                    yield ts_ns, Frames(FILE_LINK, (data,))
            except (DamageError, EOFError, zstandard.ZstdError) as error:
                self.damage += f"{'; ' if self.damage else ''}{file.path}: {error}"
            except OSError as error:
                raise FeedError(f"{file.path}: reading failed: {error.strerror}") from None


def _parts(run: Run, room: int) -> Iterator[Run]:
    """A run, divided where a piece is full."""
    start, left = run.start, run.records
    while left:
        count = min(left, room)
        yield Run(run.kind, start, run.size, count)
        start, left, room = start + count * run.size, left - count, PIECE_RECORDS


def _time_of_last(data: bytes, run: Run, *, ts_out: bool) -> int:
    """Receive time of the newest record of a run, in ns; 0 if unknown. Raises DamageError."""
    last = Run(run.kind, run.start + run.size * (run.records - 1), run.size, 1)
    rows = dbn.rows_of_run(data, last, ts_out=ts_out)
    if rows is None:
        return 0
    seconds = dbn_layouts.BAR_S.get(run.kind, 0)
    names = rows.dtype.names or ()
    times = [int(time_of(rows[name])[0]) for name in ("ts_recv", "ts_event") if name in names]
    return next((time for time in times if time), 0) + seconds * 10**9
