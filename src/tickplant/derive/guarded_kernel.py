"""A user's indicator kernel as an engine runs it for one series: with a CPU budget, and disabled once it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from tickplant.derive.indicator import Floats, Kernel
from tickplant.derive.own_indicators import said
from tickplant.errors import DeriveError

BURST_NS: Final = 50_000_000
"""CPU that a series may take beyond its budget: what a cold cache or a busy machine adds."""


class Watch(Protocol):
    """Learns which series' kernel is running, so that a kernel that never returns is detected."""

    def enter(self, series: int, cpu_ns: int) -> None:
        """A kernel starts; `cpu_ns` is the CPU time that this thread has used so far."""

    def leave(self) -> None:
        """The kernel has returned."""


class GuardedKernel:
    """A kernel, called like any other. Once it fails it never runs again: each call raises DeriveError with the reason.

    CPU time is counted, not elapsed time: a busy machine is not the kernel's fault. Each call adds its CPU time to the
    series' debt, each row takes off `row_ns`, and a series with a debt above `BURST_NS` has failed.

    Args:
        series: name of the series.
        number: number of the series.
        kernel: compiled, with bounds checks.
        row_ns: CPU time that a row may take.
        watch: notified of each call.
        on_failure: called once, with the name and the reason.
    """

    def __init__(
        self,
        series: str,
        number: int,
        kernel: Kernel,
        *,
        row_ns: float,
        watch: Watch,
        on_failure: Callable[[str, str], object],
    ) -> None:
        self.why = ""  # why the kernel no longer runs
        self.rows = 0
        self.cpu_ns = 0
        self._series = series
        self._number = number
        self._kernel = kernel
        self._row_ns = row_ns
        self._behind_ns = 0.0
        self._watch = watch
        self._on_failure = on_failure

    def __call__(self, inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
        """See `indicator.Indicator.kernel`. Raises DeriveError."""
        if self.why:
            raise DeriveError(self.why, key=self._series)
        rows = out.shape[1]
        began_ns = time.thread_time_ns()
        self._watch.enter(self._number, began_ns)
        try:
            self._kernel(inputs, parameters, state, out)
        except Exception as error:
            self._watch.leave()
            self.fail(f"raised {said(error)}")
            raise DeriveError(self.why, key=self._series) from error
        took_ns = time.thread_time_ns() - began_ns
        self._watch.leave()
        self.rows += rows
        self.cpu_ns += took_ns
        self._behind_ns = max(0.0, self._behind_ns + took_ns - rows * self._row_ns)
        if self._behind_ns > BURST_NS:
            row_us = self._row_ns / 1000
            self.fail(
                f"takes {self.cpu_ns / max(self.rows, 1) / 1000:,.1f} us of CPU a row, {took_ns / 1e6:,.1f} ms over its"
                f" last {rows:,} rows: own_row_us allows {row_us:g} us a row"
            )
            raise DeriveError(self.why, key=self._series)

    def fail(self, why: str) -> None:
        """Disable the kernel, for this reason."""
        self.why = why
        self._on_failure(self._series, why)
