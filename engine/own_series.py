"""The series of users' indicators in an engine: loaded, bounded, metered, and left out if they fail.

No failure of such a series stops the engine for long: the failure is logged once and shown in the status, the series'
topic goes silent, and everything else continues. The series begins anew with the next start of the plant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import structlog

from tickplant.derive.derivation import Series
from tickplant.derive.guarded_kernel import GuardedKernel
from tickplant.derive.indicator import Indicator
from tickplant.derive.indicators.catalogue import INDICATORS
from tickplant.derive.own_indicators import load, said
from tickplant.derive.series import are_bars, parse_series
from tickplant.engine.kernel_watch import KernelWatch
from tickplant.errors import DeriveError
from tickplant.runtime.control import Counters
from tickplant.runtime.job_specs import EngineSpec, IndicatorRef


class OwnSeries:
    """One engine's series of users' indicators. Compiles their kernels."""

    def __init__(self, spec: EngineSpec) -> None:
        self.indicators: dict[str, Indicator] = {}  # by name of the series
        self.why: dict[str, str] = {}  # why a series or indicator is left out, by its name
        self._log = structlog.get_logger()
        self._kernels: dict[str, GuardedKernel] = {}
        for one in spec.indicators:
            if one.broken:
                self._leave_out(one.name, one.broken)
        refs = {one.name: one for one in spec.indicators if not one.broken}
        own = [
            (one.number, one.name)
            for one in spec.series
            if not are_bars(one.name) and not one.members and parse_series(one.name).indicator not in INDICATORS
        ]
        if own:
            watch = KernelWatch(Path(spec.plant.run_dir) / f"{spec.name}.kernels")
            for number, name in own:
                self._add(number, name, refs, watch, spec.config.own_row_us)
            watch.start()

    def _add(self, number: int, name: str, refs: dict[str, IndicatorRef], watch: KernelWatch, row_us: float) -> None:
        try:
            indicator = _loaded(name, refs)
            if why := watch.verdict(number):
                raise DeriveError(why, key=name)
        except DeriveError as error:
            self._leave_out(name, error.why)
            return
        self._kernels[name] = kernel = GuardedKernel(
            name, number, indicator.kernel, row_ns=1000 * row_us, watch=watch, on_failure=self._leave_out
        )
        self.indicators[name] = replace(indicator, kernel=kernel)

    def _leave_out(self, name: str, why: str) -> None:
        self.why[name] = why
        self._log.error("a user's indicator is left out", series=name, why=why)

    def running(self, series: Iterable[Series]) -> tuple[Series, ...]:
        """The series among these that run: all except those that could not be loaded."""
        return tuple(one for one in series if one.name not in self.why)

    def counters(self) -> Counters:
        """What the supervisor shows; empty if there are no such series."""
        if not self.why and not self._kernels:
            return {}
        return {
            "own_rows": {name: kernel.rows for name, kernel in self._kernels.items()},
            "own_cpu_ns": {name: kernel.cpu_ns for name, kernel in self._kernels.items()},
            "own_left_out": dict.fromkeys(self.why, 1),
            "left_out": "; ".join(f"{name}: {why}" for name, why in self.why.items()),
        }


def _loaded(name: str, refs: dict[str, IndicatorRef]) -> Indicator:
    """The indicator of a series, unchanged since it was tried out, with its kernel compiled. Raises DeriveError."""
    parsed = parse_series(name)
    ref = refs.get(parsed.indicator)
    if ref is None:
        raise DeriveError("nobody says where its indicator is", key=name)
    found, source, _ = load(ref.name, ref.place)
    if source != ref.source:
        raise DeriveError(f"{ref.place}: has changed since the plant was started: start it again", key=name)
    parameters = found.settle(dict(zip((one.name for one in found.parameters), parsed.parameters, strict=False)))
    try:
        found.warm_up_kernel(parameters)
    except Exception as error:
        raise DeriveError(f"its kernel cannot be compiled: {said(error)}", key=name) from error
    return found
