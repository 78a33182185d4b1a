"""Records which user's kernel is running where the next engine can read it: for kernels that never return, or crash.

A file in the run folder has one word for the running series and one word per possible series, which counts how often
an engine died in its kernel. The file lives as long as the plant. A thread checks how much CPU the running kernel has
used; beyond the limit it writes the verdict and kills the process, which the supervisor restarts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from tickplant.derive.series import MAX_SERIES

LIMIT_NS: Final = 2_000_000_000
LOOK_S: Final = 0.25
DEATHS: Final = 2
"""This many engines must die in a kernel, from any cause: one may have been killed there by chance."""

_TOO_LONG: Final = 1 << 16  # a verdict; below: deaths


class KernelWatch:
    """See `guarded_kernel.Watch`. Watches the main thread of its process; `start` begins the checks."""

    def __init__(self, path: Path) -> None:
        self._log = structlog.get_logger()
        size = 4 * (1 + MAX_SERIES + 1)
        with path.open("ab") as file:  # whoever comes first creates it
            file.truncate(max(size, file.tell()))
        self._words = np.memmap(path, np.uint32, "r+", shape=(size // 4,))
        self._since_ns = 0
        self._clock = time.pthread_getcpuclockid(threading.main_thread().ident or 0)
        if running := int(self._words[0]):
            self._words[running] += 1
            self._words[0] = 0

    def start(self) -> None:
        """Check the running kernel from now on, as long as the process lives."""
        threading.Thread(target=self._look, name="kernel-watch", daemon=True).start()

    def verdict(self, series: int) -> str:
        """Why a series must not run; empty if it may."""
        word = int(self._words[series])
        if word >= _TOO_LONG:
            return f"took more than {LIMIT_NS / 1e9:g} s of CPU over one batch: the engine was started again without it"
        return f"{word} engines have died in it" if word >= DEATHS else ""

    def enter(self, series: int, cpu_ns: int) -> None:
        """A kernel starts."""
        self._since_ns = cpu_ns
        self._words[0] = series

    def leave(self) -> None:
        """The kernel has returned."""
        self._words[0] = 0

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_S)
            series, since_ns = int(self._words[0]), self._since_ns
            with contextlib.suppress(OSError):  # the main thread has ended
                if series and time.clock_gettime_ns(self._clock) - since_ns > LIMIT_NS:
                    if (int(self._words[0]), self._since_ns) != (series, since_ns):
                        continue
                    self._words[series] = _TOO_LONG
                    self._log.error("a kernel does not return: the engine ends", series=series)
                    os.kill(os.getpid(), signal.SIGKILL)
