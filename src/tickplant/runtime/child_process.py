"""What every child process of a plant does first and last.

Its spec comes on stdin, its log goes to stderr, SIGTERM asks it to finish, and it never outlives the supervisor that
started it.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
from collections.abc import Iterator
from typing import Final, TextIO, TypeVar, cast

import msgspec
import structlog

from tickplant.errors import TickplantError
from tickplant.runtime.job_specs import (
    CompactSpec,
    EngineSpec,
    FeedSpec,
    GatewaySpec,
    HistorySpec,
    ReplaySpec,
    SurveySpec,
    WriterSpec,
)
from tickplant.runtime.lineage import die_with_parent, read_spec
from tickplant.runtime.log_lines import LogLines
from tickplant.runtime.redaction import redact, redacting
from tickplant.runtime.time_slice import lengthen_slices

Spec = TypeVar("Spec", CompactSpec, EngineSpec, FeedSpec, GatewaySpec, HistorySpec, ReplaySpec, SurveySpec, WriterSpec)

_PATIENT: Final = WriterSpec, CompactSpec
"""Whose processes compute for long and can wait."""


@contextlib.contextmanager
def child_process(kind: type[Spec]) -> Iterator[Spec]:
    """The frame of a child's work, which receives its spec. A TickplantError ends the process with a sentence."""
    try:
        spec = msgspec.json.decode(read_spec(), type=kind)
    except msgspec.DecodeError as error:
        # The place and the type of the error, but not the value.
        sys.exit(f"this process is started by `tickplant up`; its stdin holds no {kind.__name__}: {error}")
    die_with_parent()
    if kind in _PATIENT:
        lengthen_slices()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor ends us in its own order
    configure_logging(spec.plant.log_level, spec.name)
    try:
        yield spec
    except TickplantError as error:
        sys.exit(redact(f"{spec.name}: {error}"))


def settle() -> None:
    """Exclude all present objects from garbage collection, which would cost 60 ms: they live as long as the process."""
    gc.collect()
    gc.freeze()


TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # a local variable may be a credential
)
"""Renders the exception of a log line as data."""


def configure_logging(level: str, process: str) -> None:
    """JSON lines on stderr, which the supervisor collects; each line names its process."""
    levels = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            TRACEBACKS,
            redacting,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(levels[level]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", LogLines(sys.stderr.fileno()))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
