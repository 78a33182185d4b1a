"""Metrics of a plant in the text format of Prometheus, under the names of the catalogue.

Counts of processes come from their last reports, see `tickplant status --json`; the ages of topics and of messages are
measured by this gateway.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tickplant.gateway.metric_catalogue import COUNTED, METRICS, PREFIX
from tickplant.gateway.services import Services
from tickplant.records.ages import BEYOND
from tickplant.records.layouts import GapCause
from tickplant.runtime.control import ProcessStatus, Status
from tickplant.wire import TICK_CHANNELS, TopicInfo, split_topic

_ZEROS: Final = {"feed_gaps_by_cause_total": {cause.name.lower(): 0 for cause in GapCause}}
"""Samples that exist before anything is counted, so that the first count is seen as an increase."""

_NO_MARKET: Final = "status"
"""The channel of ticks that says nothing about how fresh a market is."""


class _Text:
    """Samples by metric. Every metric of the catalogue has its HELP and TYPE, with or without samples."""

    def __init__(self) -> None:
        self._samples: dict[str, list[str]] = {name: [] for name in METRICS}

    def add(self, name: str, value: float, *labels: str) -> None:
        """Add one sample, with the values of its metric's labels."""
        self._sample(name, "", value, dict(zip(METRICS[name].labels, labels, strict=True)))

    def add_histogram(self, name: str, counts: Mapping[str, int], sum_s: float, *labels: str) -> None:
        """Add one histogram; `counts` are by class, see `records/ages.py`."""
        named = dict(zip(METRICS[name].labels, labels, strict=True))
        total = 0
        for bound, count in counts.items():
            total += count
            self._sample(name, "_bucket", total, {**named, "le": "+Inf" if bound == BEYOND else bound})
        self._sample(name, "_sum", sum_s, named)
        self._sample(name, "_count", total, named)

    def _sample(self, name: str, suffix: str, value: float, labels: Mapping[str, str]) -> None:
        words = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        number = str(value) if isinstance(value, int) else repr(float(value))
        self._samples[name].append(f"{PREFIX}{name}{suffix}{f'{{{words}}}' if words else ''} {number}")

    def encode(self) -> bytes:
        """The encoded text."""
        lines: list[str] = []
        for name, samples in self._samples.items():
            about, kind = METRICS[name].about, METRICS[name].kind
            lines += [f"# HELP {PREFIX}{name} {about}", f"# TYPE {PREFIX}{name} {kind}", *samples]
        return "".join(f"{line}\n" for line in lines).encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def metrics_text(
    services: Services, status: Status | None, topics: Iterable[tuple[TopicInfo, int]], now_s: float
) -> bytes:
    """All metrics. `status` is None if the supervisor does not answer. `now_s` is the loop's clock."""
    text = _Text()
    text.add("supervisor_up", int(status is not None))
    if status is not None:
        _plant(text, status)
    _topics(text, services, topics, now_s)
    _disk(text, services.readers.data_dir)
    _gateway(text, services)
    return text.encode()


def _plant(text: _Text, status: Status) -> None:
    text.add("healthy", int(status.healthy))
    text.add("uptime_seconds", status.uptime_s)
    for process in status.processes:
        whose = process.name, process.role
        text.add("process_up", int(process.state in ("running", "done")), *whose)
        text.add("process_uptime_seconds", process.uptime_s, *whose)
        text.add("process_restarts_total", process.restarts, *whose)
        text.add("process_cpu_ratio", process.cpu_percent / 100, *whose)
        text.add("process_resident_memory_bytes", process.rss_bytes, *whose)
        text.add("process_trouble", int(bool(process.counters.get("trouble"))), *whose)
        _counters(text, process)
    for ring in status.rings:
        which = ring.producer, ring.schema
        text.add("ring_records_total", ring.head, *which)
        text.add("ring_capacity_records", ring.capacity, *which)
        for name, numbers in (
            ("ring_lag_records", ring.lag),
            ("ring_lag_high_water_records", ring.most),
            ("ring_lost_records_total", ring.lost),
        ):
            for reader, number in numbers.items():
                text.add(name, number, *which, reader)
    for account in status.accounts:
        text.add("account_off", account.off, account.producer, account.total)


def _counters(text: _Text, process: ProcessStatus) -> None:
    counters = process.counters
    for key, name in COUNTED.get(process.role, {}).items():
        value = counters.get(key)
        if isinstance(value, dict):
            if METRICS[name].kind == "histogram":
                sum_s = counters.get(f"{key}_s")
                text.add_histogram(name, value, sum_s if isinstance(sum_s, float) else 0.0, process.name)
            else:
                for word, number in {**_ZEROS.get(name, {}), **value}.items():
                    text.add(name, number, process.name, word)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            text.add(name, value, process.name)
    offset_s = counters.get("clock_offset_s")
    if isinstance(offset_s, float):
        text.add("feed_clock_offset_seconds", offset_s, process.name, str(counters.get("venue", "")))


def _topics(text: _Text, services: Services, topics: Iterable[tuple[TopicInfo, int]], now_s: float) -> None:
    ages: dict[tuple[str, str], float] = {}
    for info, _ in topics:
        venue, symbol, channel = split_topic(info.topic)
        text.add("topic_records_total", info.next_seq, venue, symbol, channel)
        age_s = round(services.hub.age_s(info.topic, now_s), 3)
        text.add("topic_age_seconds", age_s, venue, symbol, channel)
        if channel in TICK_CHANNELS and channel != _NO_MARKET:
            ages[venue, symbol] = min(age_s, ages.get((venue, symbol), age_s))
    for (venue, symbol), age_s in ages.items():
        text.add("symbol_age_seconds", age_s, venue, symbol)


def _disk(text: _Text, data_dir: Path) -> None:
    with contextlib.suppress(OSError):  # does not exist yet
        usage = shutil.disk_usage(data_dir)
        text.add("disk_size_bytes", usage.total)
        text.add("disk_free_bytes", usage.free)


def _gateway(text: _Text, services: Services) -> None:
    counts, hub = services.counts, services.hub
    for kind in ("sse", "ws"):
        text.add("gateway_clients", counts[f"{kind}_clients"], kind)
    for key in ("events_bytes", "events_dropped", "stalled", "orders"):
        text.add(f"gateway_{key}_total", counts[key])
    text.add("gateway_refused_total", services.admission[0].refused if services.admission else 0)
    text.add("gateway_downloads", services.readers.busy)
    text.add_histogram("stage_gateway_seconds", hub.deliveries.counts, hub.deliveries.sum_s)
    for link in hub.links:
        text.add("gateway_messages_total", link.messages, link.publish)
        text.add("gateway_recovered_records_total", link.recovered_records, link.publish)
        text.add("gateway_lost_records_total", link.lost_records, link.publish)
