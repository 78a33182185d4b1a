"""Signals as something to poll for. Imports only the standard library.

A handler alone ends no wait. Python runs handlers between two instructions of the main thread; a signal leaves that
thread waiting if it comes just before the thread begins to wait for a lock, or if another thread takes it. A descriptor
becomes readable whichever thread takes the signal, and whenever.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def signals_as_fd(*numbers: signal.Signals, handler: Callable[..., None] | None = None) -> Iterator[int]:
    """A descriptor that becomes readable when one of these signals comes.

    Args:
        numbers: the signals. After the context their former handlers are restored, unless `handler` is given.
        handler: called with the number and the frame. A handler stays installed after the context: a process that ends
            because of a signal is not killed in its last steps by the same signal.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.signal(number, handler or (lambda *_: None)) for number in numbers}
    old_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(old_fd)
        if handler is None:
            for number, old_handler in before.items():
                signal.signal(number, old_handler)
        os.close(reader)
        os.close(writer)
