"""Metrics of a plant in the text format of Prometheus, under names that stay.

What a process counts comes from its last report, see `tickplant status --json`; latencies and the age of topics are
what this gateway has seen of the messages that its clients want.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from tickplant.gateway.latencies import BOUNDS_S, STAGES
from tickplant.gateway.services import Services
from tickplant.runtime.control import ProcessStatus, Status
from tickplant.wire import TopicInfo, split_topic

Kind = Literal["counter", "gauge", "histogram"]


class _Known(NamedTuple):
    """How a number that processes of a role report is called."""

    name: str
    kind: Kind
    about: str
    label: str = ""  # of a table: what its keys are


_COUNTERS: Final[dict[str, dict[str, _Known]]] = {
    "feed": {
        "frames": _Known("feed_frames_total", "counter", "Frames received."),
        "bytes": _Known("feed_received_bytes_total", "counter", "Bytes of frames received."),
        "ticks": _Known("feed_records_total", "counter", "Records made."),
        "kinds": _Known("feed_records_by_kind_total", "counter", "Records made, by kind.", "kind"),
        "gaps": _Known("feed_gaps_total", "counter", "Gaps recorded."),
        "gap_causes": _Known("feed_gaps_by_cause_total", "counter", "Gaps recorded, by cause.", "cause"),
        "statuses": _Known("feed_statuses_total", "counter", "Statuses recorded, by code.", "code"),
        "rejected": _Known("feed_rejected_frames_total", "counter", "Frames that could not be read."),
        "duplicates": _Known("feed_duplicates_total", "counter", "Records that came twice and were dropped."),
        "dropped": _Known("feed_dropped_records_total", "counter", "Records for which the ring had no room."),
        "backfilled": _Known("feed_backfilled_records_total", "counter", "Missed records fetched later."),
        "resyncs": _Known("feed_resyncs_total", "counter", "Books fetched anew."),
        "fallbacks": _Known("feed_slow_decodes_total", "counter", "Frames that the reference decoder read."),
        "connections_lost": _Known("feed_connections_lost_total", "counter", "Connections lost."),
        "handovers": _Known("feed_handovers_total", "counter", "Connections replaced as planned."),
        "circuits_opened": _Known("feed_circuits_opened_total", "counter", "Times that an address was left alone."),
        "capture_lost": _Known("feed_capture_lost_frames_total", "counter", "Frames that the capture lacks."),
    },
    "engine": {
        "records": _Known("engine_records_total", "counter", "Ticks consumed."),
        "messages": _Known("engine_messages_total", "counter", "Messages published."),
        "overruns": _Known("engine_overruns_total", "counter", "Times that the engine was overtaken by a ring."),
        "rebuilds": _Known("engine_rebuilds_total", "counter", "Recoveries from the store."),
        "rebuilding": _Known("engine_rebuilding", "gauge", "Feeds whose state is being recovered."),
        "subscriptions": _Known("engine_subscriptions", "gauge", "Subscriptions of all clients."),
        "requests": _Known("engine_requests_total", "counter", "Requests answered."),
        "requests_refused": _Known("engine_requests_refused_total", "counter", "Requests refused."),
        "requests_recalled": _Known("engine_requests_recalled_total", "counter", "Ranges that came from the store."),
        "replies_unread": _Known("engine_replies_unread_total", "counter", "Replies that nobody took."),
        "recovery_bytes": _Known("engine_recovery_bytes", "gauge", "Messages kept for recovery."),
        "checkpoints": _Known("engine_checkpoints_total", "counter", "Checkpoints stored."),
        "clients_cut": _Known("engine_clients_cut_total", "counter", "Clients cut off, by reason.", "reason"),
        "own_rows": _Known("engine_own_rows_total", "counter", "Rows that a user's indicator was given.", "series"),
        "own_cpu_ns": _Known("engine_own_cpu_ns_total", "counter", "CPU that a user's indicator took, ns.", "series"),
        "own_left_out": _Known("engine_own_left_out", "gauge", "A user's indicator that is left out.", "series"),
        "crossed": _Known("engine_crossed_books_total", "counter", "Events that left a book crossed."),
    },
    "writer": {
        "records": _Known("writer_records_total", "counter", "Records made durable."),
        "bytes": _Known("writer_stored_bytes_total", "counter", "Bytes written."),
        "chunks": _Known("writer_chunks_total", "counter", "Chunks written."),
        "flushes": _Known("writer_flushes_total", "counter", "Writes made durable."),
        "lost": _Known("writer_lost_records_total", "counter", "Records that the writer has missed."),
    },
}


class _Text:
    """Metrics by name, each with its HELP and TYPE once."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(
        self, name: str, kind: Kind, about: str, value: float, labels: Mapping[str, str] | None = None, suffix: str = ""
    ) -> None:
        """One sample."""
        lines = self._lines.setdefault(name, [f"# HELP tickplant_{name} {about}", f"# TYPE tickplant_{name} {kind}"])
        words = ",".join(f'{key}="{_escaped(text)}"' for key, text in (labels or {}).items())
        number = str(value) if isinstance(value, int) else repr(float(value))
        lines.append(f"tickplant_{name}{suffix}{{{words}}} {number}" if words else f"tickplant_{name}{suffix} {number}")

    def encode(self) -> bytes:
        """The text."""
        return "".join(f"{line}\n" for lines in self._lines.values() for line in lines).encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def metrics_text(
    services: Services, status: Status | None, topics: Iterable[tuple[TopicInfo, int]], now_s: float
) -> bytes:
    """All metrics. `status` None: the supervisor does not answer. `now_s`: of the loop's clock."""
    text = _Text()
    text.add("supervisor_up", "gauge", "Whether the supervisor answers.", int(status is not None))
    if status is not None:
        _plant(text, status)
    for info, _ in topics:
        venue, symbol, channel = split_topic(info.topic)
        labels = {"venue": venue, "symbol": symbol, "channel": channel}
        text.add("topic_records_total", "counter", "Records published, by topic.", info.next_seq, labels)
        age_s = round(services.hub.age_s(info.topic, now_s), 3)
        about = "Time since a topic was seen to grow; as exact as it is looked at."
        text.add("topic_age_seconds", "gauge", about, age_s, labels)
    for (producer, schema, reader), lag in services.plant.high_water.items():
        labels = {"producer": producer, "schema": schema, "reader": reader}
        about = "Most records that a reader was seen to be behind."
        text.add("ring_lag_high_water_records", "gauge", about, lag, labels)
    _disk(text, services.readers.data_dir)
    _latencies(text, services)
    _gateway(text, services)
    return text.encode()


def _plant(text: _Text, status: Status) -> None:
    text.add("healthy", "gauge", "Whether every process runs and all counts add up.", int(status.healthy))
    text.add("uptime_seconds", "gauge", "Age of the plant.", status.uptime_s)
    for process in status.processes:
        labels = {"process": process.name, "role": process.role}
        up = int(process.state in ("running", "done"))
        text.add("process_up", "gauge", "Whether a process runs.", up, labels)
        text.add("process_uptime_seconds", "gauge", "Age of a process.", process.uptime_s, labels)
        text.add("process_restarts_total", "counter", "Restarts of a process.", process.restarts, labels)
        text.add("process_cpu_ratio", "gauge", "Share of one core.", process.cpu_percent / 100, labels)
        about = "Resident memory."
        text.add("process_resident_memory_bytes", "gauge", about, process.rss_bytes, labels)
        trouble = int(bool(process.counters.get("trouble")))
        text.add("process_trouble", "gauge", "Whether a process says that it cannot work.", trouble, labels)
        _counters(text, process)
    for ring in status.rings:
        labels = {"producer": ring.producer, "schema": ring.schema}
        text.add("ring_records_total", "counter", "Records published into a ring.", ring.head, labels)
        text.add("ring_capacity_records", "gauge", "Slots of a ring.", ring.capacity, labels)
        for reader, lag in ring.lag.items():
            text.add("ring_lag_records", "gauge", "Records that a reader is behind.", lag, {**labels, "reader": reader})
        for reader, lost in ring.lost.items():
            about = "Records that a reader has missed."
            text.add("ring_lost_records_total", "counter", about, lost, {**labels, "reader": reader})
    for account in status.accounts:
        labels = {"producer": account.producer, "total": account.total}
        text.add("account_off", "gauge", "By how much a count does not add up.", account.off, labels)


def _counters(text: _Text, process: ProcessStatus) -> None:
    for key, known in _COUNTERS.get(process.role, {}).items():
        value = process.counters.get(key)
        labels = {"process": process.name}
        if isinstance(value, dict) and known.label:
            for word, number in value.items():
                text.add(known.name, known.kind, known.about, number, {**labels, known.label: word})
        elif isinstance(value, int | float) and not isinstance(value, bool):
            text.add(known.name, known.kind, known.about, value, labels)


def _disk(text: _Text, data_dir: Path) -> None:
    with contextlib.suppress(OSError):  # not yet there
        usage = shutil.disk_usage(data_dir)
        text.add("disk_size_bytes", "gauge", "Size of the file system that holds the store.", usage.total)
        text.add("disk_free_bytes", "gauge", "What is free of it.", usage.free)


def _latencies(text: _Text, services: Services) -> None:
    for stage, about in STAGES.items():
        histogram = services.hub.latencies[stage]
        name = f"{stage}_seconds"
        total = 0
        for bound_s, count in zip(BOUNDS_S, histogram.counts, strict=False):
            total += count
            text.add(name, "histogram", about, total, {"le": repr(bound_s)}, "_bucket")
        text.add(name, "histogram", about, histogram.count, {"le": "+Inf"}, "_bucket")
        text.add(name, "histogram", about, histogram.sum_s, suffix="_sum")
        text.add(name, "histogram", about, histogram.count, suffix="_count")


def _gateway(text: _Text, services: Services) -> None:
    counts = services.counts
    for kind in ("sse", "ws"):
        text.add("gateway_clients", "gauge", "Clients of streams.", counts[f"{kind}_clients"], {"kind": kind})
    for key, about in (
        ("events_bytes", "Bytes of events sent."),
        ("events_dropped", "Events dropped for slow clients."),
        ("stalled", "Clients cut off since they took nothing."),
        ("orders", "Orders of admins carried out."),
    ):
        text.add(f"gateway_{key}_total", "counter", about, counts[key])
    refused = services.admission[0].refused if services.admission else 0
    text.add("gateway_refused_total", "counter", "Requests refused before they reached a route.", refused)
    text.add("gateway_downloads", "gauge", "Ranges of the store that are being read.", services.readers.busy)
    for link in services.hub.links:
        labels = {"engine": link.publish}
        text.add("gateway_messages_total", "counter", "Messages received of an engine.", link.messages, labels)
        about = "Records recovered of an engine."
        text.add("gateway_recovered_records_total", "counter", about, link.recovered_records, labels)
        about = "Records that an engine could not give any more."
        text.add("gateway_lost_records_total", "counter", about, link.lost_records, labels)
