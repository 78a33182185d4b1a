"""The names of all metrics: what each counts, in which unit, by which labels. docs/gateway.md has the same table.

A released name never changes. Counters end in `_total`; units are seconds, bytes, records and ratios.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

PREFIX: Final = "tickplant_"

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric."""

    kind: Kind
    labels: tuple[str, ...]
    about: str


_RING: Final = ("producer", "schema")
_READER: Final = (*_RING, "reader")
_PROCESS: Final = ("process", "role")


def _counted(*labels: str) -> tuple[str, ...]:
    return ("process", *labels)


METRICS: Final[dict[str, Metric]] = {
    "supervisor_up": Metric("gauge", (), "Whether the supervisor answers: else nothing is known of its processes."),
    "healthy": Metric("gauge", (), "Whether every process runs and all counts add up."),
    "uptime_seconds": Metric("gauge", (), "Age of the plant."),
    "process_up": Metric("gauge", _PROCESS, "Whether a process runs."),
    "process_uptime_seconds": Metric("gauge", _PROCESS, "Age of a process."),
    "process_restarts_total": Metric("counter", _PROCESS, "Restarts of a process."),
    "process_cpu_ratio": Metric("gauge", _PROCESS, "Share of one core."),
    "process_resident_memory_bytes": Metric("gauge", _PROCESS, "Resident memory."),
    "process_trouble": Metric("gauge", _PROCESS, "Whether a process says that it cannot work."),
    "account_off": Metric("gauge", ("producer", "total"), "By how much a count does not add up."),
    "stage_venue_seconds": Metric(
        "histogram", _counted(), "From the venue's time to the receive time: the clocks of two machines."
    ),
    "stage_plant_seconds": Metric(
        "histogram", _counted(), "From the receive time until the engine has published the record."
    ),
    "stage_durable_seconds": Metric(
        "histogram", _counted(), "From the receive time until the writer has made the record durable."
    ),
    "stage_gateway_seconds": Metric(
        "histogram", (), "From the engine's publication to this gateway, of messages that its clients want."
    ),
    "feed_clock_offset_seconds": Metric(
        "gauge", _counted("venue"), "Estimate: this machine's clock less the venue's, plus the shortest transit time."
    ),
    "feed_frames_total": Metric("counter", _counted(), "Frames received."),
    "feed_records_total": Metric("counter", _counted(), "Records made."),
    "feed_records_by_kind_total": Metric("counter", _counted("kind"), "Records made, by kind."),
    "feed_gaps_total": Metric("counter", _counted(), "Gaps recorded, except those of a full ring."),
    "feed_gaps_by_cause_total": Metric("counter", _counted("cause"), "Gaps recorded, by cause."),
    "feed_statuses_total": Metric("counter", _counted("code"), "Statuses recorded, by code."),
    "feed_rejected_frames_total": Metric("counter", _counted(), "Frames that could not be read."),
    "feed_duplicates_total": Metric("counter", _counted(), "Records that came twice and were dropped."),
    "feed_dropped_records_total": Metric("counter", _counted(), "Records for which the ring had no room."),
    "feed_backfilled_records_total": Metric("counter", _counted(), "Missed records fetched later."),
    "feed_resyncs_total": Metric("counter", _counted(), "Books fetched anew."),
    "feed_slow_decodes_total": Metric("counter", _counted(), "Frames that the reference decoder read."),
    "feed_connections": Metric("gauge", _counted(), "Connections that a feed wants."),
    "feed_connections_open": Metric("gauge", _counted(), "Those of them that are open."),
    "feed_connections_lost_total": Metric("counter", _counted(), "Connections lost."),
    "feed_connections_refused_total": Metric("counter", _counted(), "Connections that could not be opened."),
    "feed_handovers_total": Metric("counter", _counted(), "Connections replaced as planned."),
    "feed_circuits_opened_total": Metric("counter", _counted(), "Times that an address was left alone for a while."),
    "feed_capture_lost_frames_total": Metric("counter", _counted(), "Frames missing from the capture."),
    "engine_records_total": Metric("counter", _counted(), "Ticks consumed."),
    "engine_messages_total": Metric("counter", _counted(), "Messages published."),
    "engine_overruns_total": Metric(
        "counter", _counted(), "Times that the engine was overtaken by a ring; each is a gap of cause overrun."
    ),
    "engine_rebuilds_total": Metric("counter", _counted(), "Recoveries from the store."),
    "engine_rebuilding": Metric("gauge", _counted(), "Feeds whose state is being recovered."),
    "engine_subscriptions": Metric("gauge", _counted(), "Subscriptions of all clients."),
    "engine_requests_total": Metric("counter", _counted(), "Requests answered."),
    "engine_requests_refused_total": Metric("counter", _counted(), "Requests refused."),
    "engine_requests_recalled_total": Metric("counter", _counted(), "Ranges that came from the store."),
    "engine_replies_unread_total": Metric("counter", _counted(), "Replies that nobody took."),
    "engine_recovery_bytes": Metric("gauge", _counted(), "Messages kept for recovery."),
    "engine_checkpoints_total": Metric("counter", _counted(), "Checkpoints stored."),
    "engine_clients_cut_total": Metric("counter", _counted("reason"), "Clients cut off, by reason."),
    "engine_crossed_books_total": Metric("counter", _counted(), "Events that left a book crossed."),
    "engine_own_rows_total": Metric("counter", _counted("series"), "Rows that a user's indicator was given."),
    "engine_own_cpu_ns_total": Metric("counter", _counted("series"), "CPU that a user's indicator took, ns."),
    "engine_own_left_out": Metric("gauge", _counted("series"), "1 if a user's indicator is left out."),
    "engine_calendar_days": Metric(
        "gauge",
        _counted("calendar"),
        "Days until the last session of a calendar; negative after it.",
    ),
    "writer_records_total": Metric("counter", _counted(), "Records made durable."),
    "writer_stored_bytes_total": Metric("counter", _counted(), "Bytes written."),
    "writer_flushes_total": Metric("counter", _counted(), "Writes made durable."),
    "writer_lost_records_total": Metric("counter", _counted(), "Records that the writer has missed."),
    "ring_records_total": Metric("counter", _RING, "Records published into a ring."),
    "ring_capacity_records": Metric("gauge", _RING, "Slots of a ring."),
    "ring_lag_records": Metric("gauge", _READER, "Records that a reader is behind."),
    "ring_lag_high_water_records": Metric("gauge", _READER, "Most records that a reader was behind since it began."),
    "ring_lost_records_total": Metric("counter", _READER, "Records that a reader has missed."),
    "topic_records_total": Metric("counter", ("venue", "symbol", "channel"), "Records published, by topic."),
    "topic_age_seconds": Metric(
        "gauge", ("venue", "symbol", "channel"), "Time since a topic was last seen to grow, as of the last look."
    ),
    "symbol_age_seconds": Metric("gauge", ("venue", "symbol"), "The least age of a symbol's topics of market data."),
    "disk_size_bytes": Metric("gauge", (), "Size of the file system that holds the store."),
    "disk_free_bytes": Metric("gauge", (), "Free space of that file system."),
    "gateway_clients": Metric("gauge", ("kind",), "Clients of streams."),
    "gateway_events_bytes_total": Metric("counter", (), "Bytes of events sent."),
    "gateway_events_dropped_total": Metric("counter", (), "Events dropped for slow clients."),
    "gateway_stalled_total": Metric("counter", (), "Clients cut off because they took nothing."),
    "gateway_orders_total": Metric("counter", (), "Orders of admins carried out."),
    "gateway_refused_total": Metric("counter", (), "Requests refused before they reached a route."),
    "gateway_downloads": Metric("gauge", (), "Ranges of the store that are being read."),
    "gateway_messages_total": Metric("counter", ("engine",), "Messages received from an engine."),
    "gateway_recovered_records_total": Metric("counter", ("engine",), "Records recovered from an engine."),
    "gateway_lost_records_total": Metric("counter", ("engine",), "Records that an engine no longer had."),
}
"""By name, without PREFIX, in output order."""

COUNTED: Final[dict[str, dict[str, str]]] = {
    "feed": {
        "frames": "feed_frames_total",
        "ticks": "feed_records_total",
        "kinds": "feed_records_by_kind_total",
        "gaps": "feed_gaps_total",
        "gap_causes": "feed_gaps_by_cause_total",
        "statuses": "feed_statuses_total",
        "rejected": "feed_rejected_frames_total",
        "duplicates": "feed_duplicates_total",
        "ring_dropped": "feed_dropped_records_total",
        "backfilled": "feed_backfilled_records_total",
        "resyncs": "feed_resyncs_total",
        "fallbacks": "feed_slow_decodes_total",
        "connections": "feed_connections",
        "connections_open": "feed_connections_open",
        "connections_lost": "feed_connections_lost_total",
        "connections_refused": "feed_connections_refused_total",
        "handovers": "feed_handovers_total",
        "circuits_opened": "feed_circuits_opened_total",
        "capture_lost": "feed_capture_lost_frames_total",
        "age_received": "stage_venue_seconds",
    },
    "engine": {
        "records": "engine_records_total",
        "messages": "engine_messages_total",
        "overruns": "engine_overruns_total",
        "rebuilds": "engine_rebuilds_total",
        "rebuilding": "engine_rebuilding",
        "subscriptions": "engine_subscriptions",
        "requests": "engine_requests_total",
        "requests_refused": "engine_requests_refused_total",
        "requests_recalled": "engine_requests_recalled_total",
        "replies_unread": "engine_replies_unread_total",
        "recovery_bytes": "engine_recovery_bytes",
        "checkpoints": "engine_checkpoints_total",
        "clients_cut": "engine_clients_cut_total",
        "crossed": "engine_crossed_books_total",
        "own_rows": "engine_own_rows_total",
        "own_cpu_ns": "engine_own_cpu_ns_total",
        "own_left_out": "engine_own_left_out",
        "calendar_days": "engine_calendar_days",
        "age_published": "stage_plant_seconds",
    },
    "writer": {
        "records": "writer_records_total",
        "bytes": "writer_stored_bytes_total",
        "flushes": "writer_flushes_total",
        "lost": "writer_lost_records_total",
        "age_durable": "stage_durable_seconds",
    },
}
"""The metric for each role and counter of a process's report. A table of counts has its keys as the last label, or is a
histogram (`records/ages.py`), whose sum is in the counter of that name with suffix `_s`."""
