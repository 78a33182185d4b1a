"""What a supervisor holds while it runs, each as a context: the log, the signals."""

from __future__ import annotations

import contextlib
import logging.handlers
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import structlog

from tickplant.errors import StoreError
from tickplant.runtime.redaction import redacting

LOG_FILE_BYTES: Final = 32 << 20
LOG_FILES_KEPT: Final = 4


class _Patient(logging.handlers.RotatingFileHandler):
    """Drops a line that cannot be written, as on a full disk: logging never stops a plant."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name for it
        """Say nothing: the next line may fit."""


@contextlib.contextmanager
def plant_log(folder: Path) -> Iterator[logging.Logger]:
    """One rotated file for the whole plant, `plant.log`; a line as it is given is a line of the file."""
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


def supervisor_log(log: logging.Logger) -> Any:
    """The supervisor's own voice in that file: JSON, like its children's."""
    return structlog.wrap_logger(
        log,
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redacting,
            structlog.processors.JSONRenderer(),
        ],
        process="supervisor",
    )


@contextlib.contextmanager
def signals_as_fd(*numbers: signal.Signals) -> Iterator[int]:
    """A descriptor that becomes readable when one of these signals comes; they do nothing else meanwhile."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    previous = {number: signal.signal(number, lambda *_: None) for number in numbers}
    old_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(old_fd)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
