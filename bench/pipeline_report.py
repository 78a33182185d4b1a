"""The results of a pipeline run as a table and a plot: text and SVG, without a library."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

STAGES: Final = (
    "frame to ring",
    "frame to engine's message",
    "message to subscriber",
    "frame to subscriber",
    "age of trades",
    "frame to disk",
)
OUTSIDE: Final = ("venue", "subscriber")
"""Processes that do not belong to the measured system."""

Window = dict[str, tuple[float, ...]]
"""By stage, the p50, p99 and p99.9 of a few seconds, ms."""


class Run(NamedTuple):
    """One system at one rate; dicts of processes are by role."""

    rate: int  # messages/s that were to be offered
    offered_per_s: float
    delivered_per_s: float  # trades and quotes to the subscriber
    windows: list[Window]
    cpu_us: dict[str, float]  # CPU time for each message delivered
    cpu_share: dict[str, float]  # of one core
    switches_per_s: dict[str, float]  # of context
    rss_bytes: dict[str, int]
    losses: dict[str, int]

    def median_ms(self, stage: str) -> tuple[float, ...]:
        """p50, p99 and p99.9 of a stage; empty if it was not measured."""
        found = [window[stage] for window in self.windows if stage in window]
        return tuple(statistics.median(values) for values in zip(*found, strict=True))

    @property
    def own_cpu_us(self) -> float:
        """CPU time per message of all processes except venue and subscriber."""
        return sum(us for name, us in self.cpu_us.items() if name not in OUTSIDE)


def table(runs: Sequence[Run]) -> str:
    """All results, one column per rate."""

    def line(name: str, values: Iterable[str]) -> str:
        return f"{name:<34}" + "".join(f"{value:>22}" for value in values)

    def stage(run: Run, name: str) -> str:
        return " / ".join(f"{value:.3g}" for value in run.median_ms(name)) or "-"

    lines = [
        line("offered, messages/s", (f"{run.offered_per_s:,.0f}" for run in runs)),
        line("delivered, messages/s", (f"{run.delivered_per_s:,.0f}" for run in runs)),
        "p50 / p99 / p99.9, ms",
        *(line(f"  {name}", (stage(run, name) for run in runs)) for name in STAGES),
        "CPU, µs a message",
        line("  plant", (f"{run.own_cpu_us:.3g}" for run in runs)),
    ]
    names = list(dict.fromkeys(name for run in runs for name in run.cpu_us))
    losses = list(dict.fromkeys(name for run in runs for name in run.losses))

    def by_process(title: str, text: Callable[[Run, str], str]) -> list[str]:
        return [title, *(line(f"  {name}", (text(run, name) for run in runs)) for name in names)]

    lines += by_process("", lambda run, name: f"{run.cpu_us.get(name, 0.0):.3g}")[1:]
    lines += by_process("CPU, % of a core", lambda run, name: f"{100 * run.cpu_share.get(name, 0.0):.1f}")
    lines += by_process("context switches a second", lambda run, name: f"{run.switches_per_s.get(name, 0.0):,.0f}")
    lines += by_process("memory, MiB", lambda run, name: f"{run.rss_bytes.get(name, 0) / 2**20:.0f}")
    lines += ["lost", *(line(f"  {name}", (f"{run.losses.get(name, 0):,}" for run in runs)) for name in losses)]
    return "\n".join(lines)


def write(runs: Sequence[Run], folder: Path, host: str) -> None:
    """`pipeline.txt` and `pipeline.svg` into a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "pipeline.txt").write_text(f"{host}\n\n{table(runs)}\n")
    (folder / "pipeline.svg").write_text(plot(runs, host))


WIDTH: Final = 720
PANEL: Final = 300
LEFT: Final = 70
COLOURS: Final = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")


def plot(runs: Sequence[Run], host: str) -> str:
    """Latency above, CPU time per message below, over the offered rate; both axes are logarithmic."""
    if len(runs) < 2:
        return _svg(PANEL, [_text(LEFT, 40, "one rate is no plot")])
    rates = [run.rate for run in runs]
    latency = {
        f"{name}, {quantile}": [run.median_ms(stage)[place] for run in runs]
        for stage, name in (("frame to subscriber", "frame to subscriber"), ("age of trades", "age of trades"))
        for place, quantile in ((0, "p50"), (1, "p99"))
    }
    cpu = {"all processes of the plant": [run.own_cpu_us for run in runs]}
    for role in ("feed", "engine", "writer"):
        cpu[role] = [sum(us for name, us in run.cpu_us.items() if name.startswith(role)) for run in runs]
    parts = _panel(0, "ms", rates, latency) + _panel(PANEL, "µs of CPU a message", rates, cpu)
    return _svg(2 * PANEL + 30, [*parts, _text(LEFT, 2 * PANEL + 20, f"messages a second; {host}")])


def _panel(top: int, unit: str, rates: Sequence[int], series: dict[str, list[float]]) -> list[str]:
    values = [value for line in series.values() for value in line if value > 0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    first, last = math.log10(rates[0]), math.log10(rates[-1])

    def x(rate: float) -> float:
        return LEFT + (WIDTH - LEFT - 20) * (math.log10(rate) - first) / (last - first)

    def y(value: float) -> float:
        return top + 30 + (PANEL - 70) * (high - math.log10(max(value, 10.0**low))) / max(1, high - low)

    parts = [_text(LEFT, top + 18, unit)]
    for power in range(low, high + 1):
        parts.append(_line([(LEFT, y(10.0**power)), (WIDTH - 20, y(10.0**power))], "#ddd"))
        parts.append(_text(8, y(10.0**power) + 4, f"{10.0**power:g}"))
    parts += [_text(x(rate) - 18, top + PANEL - 22, f"{rate:,}") for rate in rates]
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(_line([(x(rate), y(value)) for rate, value in zip(rates, line, strict=True)], colour))
        parts.append(_text(LEFT + 150 * (number + 1) - 100, top + 18, name, colour))
    return parts


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _text(x: float, y: float, text: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-family="sans-serif" font-size="11">{text}</text>'


def _svg(height: int, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])
