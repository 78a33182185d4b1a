"""Errors as people read them: here every failure becomes a sentence and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import traceback

import click

from tickplant.cli.output import say
from tickplant.errors import TickplantError

NEEDED_FILES = 64
"""How many descriptors a command may need: ZeroMQ aborts the whole process if none is left."""

WANTED_FILES = 1024

TRACEBACK_VARIABLE = "TICKPLANT_TRACEBACK"
"""Environment variable: if set, an error that is not the user's shows where it came from."""


def sentence(error: BaseException) -> str:
    """What went wrong: the file, key or address, and why."""
    reason = getattr(error, "strerror", None)  # of OSError and ZMQError
    if isinstance(error, TickplantError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "not enough memory"
    elif isinstance(error, RecursionError):
        text = "the input is nested too deeply"
    elif isinstance(error, UnicodeError):
        text = f"an argument is not UTF-8 text: {getattr(error, 'object', '')!r:.100}"
    elif isinstance(error, ValueError) and "embedded null" in str(error):  # "byte", or since 3.13 "character in path"
        text = "a path or name contains a NUL character"
    elif reason:
        name = getattr(error, "filename", None)
        text = f"{os.fsdecode(name)}: {reason}" if isinstance(name, str | bytes) else str(reason)
        if getattr(error, "errno", 0) in (errno.EMFILE, errno.ENFILE):
            text += f"; this process may open {_files()} files: raise the limit with ulimit -n"
    else:
        kind = type(error).__name__
        text = f"a bug in tickplant, {kind}: {error} (set {TRACEBACK_VARIABLE}=1 to see where; please report it)"
    return text


def tell(error: Exception) -> int:
    """Print on standard error what went wrong. Returns the exit code."""
    from tickplant.runtime.redaction import redact  # noqa: PLC0415  # slow to import, rarely needed

    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(error)
    with contextlib.suppress(OSError, ValueError):  # if standard error is gone too, nobody can be told
        if isinstance(error, click.exceptions.NoArgsIsHelpError):
            say(error.format_message(), err=True)
        elif isinstance(error, click.ClickException):
            if isinstance(error, click.UsageError) and error.ctx is not None:
                say(error.ctx.get_usage(), err=True)
            say(f"Error: {error.format_message()}".expandtabs(2), err=True)
        else:
            say(redact(f"tickplant: {sentence(error)}"), err=True)
    return error.exit_code if isinstance(error, click.ClickException | TickplantError) else 1


def check_descriptors() -> None:
    """Raise the limit of descriptors if needed. Raises TickplantError if this process may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if 0 <= _files() < NEEDED_FILES:
        raise TickplantError(
            f"this process may open {_files()} files but needs {NEEDED_FILES}: raise the limit with ulimit -n 1024"
        )


def _files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
