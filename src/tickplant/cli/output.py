"""Output of all commands: standard streams that accept any text, and text that is safe for a terminal."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any, Final

import click
import msgspec

from tickplant.printable import printable, printable_json
from tickplant.runtime.lineage import open_standard_streams

QUIET_S: Final = 2.0
"""How long a wait may last without a message."""


class _Named(io.FileIO):
    """Standard output whose errors name it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            raise OSError(error.errno, error.strerror, "standard output") from None


def prepare_streams() -> None:
    """Set up three standard streams that accept any text, whatever this process was started with."""
    open_standard_streams()
    encoding = getattr(sys.stdout, "encoding", "utf-8")
    raw = _Named(1, "wb", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty()
    )
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")


def finish_streams() -> None:
    """Discard output that can no longer be written, about which Python would complain at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(text: str, *, err: bool = False) -> None:
    """Print one or more lines, with control characters from foreign text made visible."""
    click.echo(printable(text, lines=True), err=err)


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Print on standard error what is awaited, if the wait lasts longer than `QUIET_S`."""
    timer = threading.Timer(QUIET_S, say, [text], {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def say_json(value: object) -> None:
    """Print a value as one line of JSON, always in UTF-8."""
    click.echo(printable_json(msgspec.json.encode(value)))


class TerminalText:
    """A file of text lines for a terminal: CSV or JSON as in a file, except for escaped characters."""

    def __init__(self, file: IO[bytes], *, json: bool) -> None:
        self._file = file
        self._json = json

    def write(self, data: bytes | memoryview, /) -> None:
        """Write whole lines of UTF-8."""
        text = bytes(data)
        shown = printable_json(text) if self._json else printable(text.decode(errors="replace"), lines=True).encode()
        self._file.write(shown)
