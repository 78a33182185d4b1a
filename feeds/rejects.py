"""The reject log: what was not recorded, kept raw so that a parser can be fixed. Bounded; never stops the feed.

One JSON object per line: ts (ns), cause, detail, bytes (length of the whole frame) and the frame as `text` or, if it is
not UTF-8, as `base64`; a long frame is truncated.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from tickplant.feeds.contract import Reject
from tickplant.runtime.redaction import redact, redact_bytes

RAW_BYTES: Final = 256 << 10
"""Limit for the part of a frame that is kept."""

FILE_BYTES: Final = 32 << 20
CAUSES: Final = 256


class RejectLog:
    """Appends the first `kept_per_cause` rejects of each cause, counted over the life of the file."""

    def __init__(self, path: Path, kept_per_cause: int) -> None:
        self.path = path
        self.seen: Counter[str] = Counter()  # received since this process started, by cause
        self.unwritable = 0
        self._kept_per_cause = kept_per_cause
        self._kept: Counter[str] = Counter()
        self._bytes = 0
        self._loaded = False

    def add(self, rejects: Sequence[Reject]) -> None:
        """Count all rejects, keep the first of each cause."""
        if not self._loaded:
            self._loaded = True
            self._load()
        lines = []
        for reject in rejects:
            cause = reject.cause if reject.cause in self.seen or len(self.seen) < CAUSES else "other"
            self.seen[cause] += 1
            if self._kept[cause] < self._kept_per_cause and self._bytes < FILE_BYTES:
                self._kept[cause] += 1
                lines.append(_line(reject))
                self._bytes += len(lines[-1])
        if lines:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("ab") as file:
                    file.write(b"".join(lines))
            except OSError as error:
                if not self.unwritable:
                    structlog.get_logger().error("cannot write rejects", path=str(self.path), reason=error.strerror)
                self.unwritable += len(lines)

    def _load(self) -> None:
        """Count what an earlier process kept, so that restarts do not grow the file."""
        try:
            data = self.path.read_bytes()
        except OSError:
            return
        self._bytes = len(data)
        for line in data.splitlines():
            try:
                self._kept[msgspec.json.decode(line)["cause"]] += 1
            except (msgspec.DecodeError, KeyError, TypeError):
                continue  # the torn last line of a killed process


def _line(reject: Reject) -> bytes:
    raw = redact_bytes(reject.raw[:RAW_BYTES])
    row: dict[str, object] = {
        "ts": reject.ts_recv_ns,
        "cause": reject.cause,
        "detail": redact(reject.detail),
        "bytes": len(reject.raw),
    }
    try:
        row["text"] = raw.decode()
    except UnicodeDecodeError:
        row["base64"] = base64.b64encode(raw).decode()
    return msgspec.json.encode(row) + b"\n"
