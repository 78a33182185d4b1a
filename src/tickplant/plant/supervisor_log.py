"""The log of a supervisor: its own lines, in JSON like those of its children, in a rotating file."""

from __future__ import annotations

import contextlib
import logging.handlers
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from tickplant.errors import StoreError
from tickplant.runtime.redaction import redacting

LOG_FILE_BYTES: Final = 32 << 20
LOG_FILES_KEPT: Final = 4


class _Patient(logging.handlers.RotatingFileHandler):
    """Drops a line that cannot be written, as on a full disk: logging never stops a plant."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name for it
        """Ignore the error: the next line may fit."""


@contextlib.contextmanager
def plant_log(folder: Path) -> Iterator[logging.Logger]:
    """One rotated file for the whole plant, `plant.log`; each log record is one line of the file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = _Patient(folder / "plant.log", maxBytes=LOG_FILE_BYTES, backupCount=LOG_FILES_KEPT, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"the log cannot be written: {error.strerror}", path=folder) from None
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.Logger("tickplant", logging.INFO)  # private: not in the global tree
    log.addHandler(handler)
    try:
        yield log
    finally:
        handler.close()


class SupervisorLog:
    """The supervisor's own lines in that file: JSON with the same keys as its children's, without secrets.

    Not structlog, which the children use: its import takes 0.1 s, and the start waits for the supervisor.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def info(self, event: str, **fields: object) -> None:
        """Log something worth knowing."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log something that may need attention."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Log something that has gone wrong."""
        self._write("error", event, fields)

    def exception(self, event: str) -> None:
        """Log the exception being handled, with its traceback."""
        self._write("error", event, {"exception": traceback.format_exc()})

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        now_s, now_ns = divmod(time.time_ns(), 1_000_000_000)
        timestamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now_s))}.{now_ns // 1000:06}Z"
        line = fields | {"event": event, "process": "supervisor", "level": level, "timestamp": timestamp}
        self._log.info(msgspec.json.encode(redacting(None, level, line), enc_hook=repr).decode())
