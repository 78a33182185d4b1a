"""What every child process of a plant does first and last. Imports shared modules only.

Its spec is its stdin, its log goes to stderr, SIGTERM asks it to finish, and it never outlives the supervisor that
started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import msgspec
import structlog

from tickplant.control import EngineSpec, FeedSpec, RecallSpec, ReplaySpec, RestoreSpec, SurveySpec, WriterSpec
from tickplant.errors import TickplantError
from tickplant.secrets import redact, redacting

Spec = TypeVar("Spec", EngineSpec, FeedSpec, RecallSpec, ReplaySpec, RestoreSpec, SurveySpec, WriterSpec)


@contextlib.contextmanager
def child_process(kind: type[Spec]) -> Iterator[Spec]:
    """The frame of a child's work, which is given its spec; a TickplantError in it ends the process with a sentence."""
    try:
        spec = msgspec.json.decode(read_spec(), type=kind)
    except msgspec.DecodeError as error:
        # Where and of which type, but not the value.
        sys.exit(f"this process is started by `tickplant up`; its stdin holds no {kind.__name__}: {error}")
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor ends us in its own order
    configure_logging(spec.plant.log_level, spec.name)
    try:
        yield spec
    except TickplantError as error:
        sys.exit(redact(f"{spec.name}: {error}"))


def settle() -> None:
    """What exists now lives as long as the process: have the collector look at it no more, which would cost 60 ms."""
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def sigterm_as_fd(stop: Callable[..., None]) -> Iterator[int]:
    """Have SIGTERM call `stop`; the descriptor becomes readable then, so that a poll over it ends at once."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, stop)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)
        os.close(reader)


def spec_file(spec: msgspec.Struct) -> int:
    """A descriptor from which a child can read its spec as its stdin: no command line and no disk holds it."""
    fd = os.memfd_create("spec", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(msgspec.json.encode(spec))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def read_spec() -> bytes:
    """All of stdin, which is empty from then on; nothing where stdin is a terminal or closed."""
    text = b""
    with contextlib.suppress(OSError):
        if not os.isatty(0):
            with open(0, "rb", closefd=False) as file:
                text = file.read()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    if nothing:
        os.close(nothing)
    return text


TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # a local variable may be a credential
)
"""An exception of a log line as data."""


def configure_logging(level: str, process: str) -> None:
    """JSON lines on stderr, which the supervisor collects; each names its process."""
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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


PARENT_VARIABLE: Final = "TICKPLANT_PARENT"
"""Environment of a child: the pid of the supervisor that started it."""


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends, however that happens (Linux PR_SET_PDEATHSIG).

    The parent may have died before this call; so who it should be is compared afterwards.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.environ.get(PARENT_VARIABLE, str(os.getppid())) != str(os.getppid()):
        sys.exit("the supervisor is gone")


PR_SET_PDEATHSIG: Final = 1
PR_SET_NAME: Final = 15
PR_SET_CHILD_SUBREAPER: Final = 36


def prctl(option: int, argument: int | bytes) -> None:
    """Set an attribute of this process: the system call of that name. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, argument, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
