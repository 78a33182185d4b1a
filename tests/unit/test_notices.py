"""What is told of STATUS and GAP records: counts of all, lines of the first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tickplant.feeds.notices import LINES_PER_S, Anomalies
from tickplant.records.layouts import TICK, UNKNOWN, Flag, GapCause, Kind, StatusCode
from tickplant.records.notes import first_note

pytestmark = pytest.mark.kernels


def records(*kinds: int) -> np.ndarray[Any, Any]:
    made = np.zeros(len(kinds), TICK)
    made["kind"], made["instrument"], made["flags"], made["side"] = kinds, 2**32 - 1, 2**16 - 1, 255
    made["price"] = 1
    return made


@given(st.lists(st.sampled_from([int(kind) for kind in Kind]), max_size=6))
def test_the_first_notice_is_found_where_plain_python_finds_it(kinds: list[int]) -> None:
    found = next((place for place, kind in enumerate(kinds) if kind in (Kind.STATUS, Kind.GAP)), -1)
    assert first_note(records(*kinds).view(np.int64)) == found


def test_every_notice_is_counted_and_told_with_what_it_says() -> None:
    batch = records(Kind.TRADE, Kind.GAP, Kind.QUOTE, Kind.STATUS, Kind.GAP)
    batch["price"] = [0, GapCause.SEQUENCE, 0, StatusCode.CONNECTED, GapCause.DISCONNECT]
    batch["size"] = [0, 3, 0, 0, UNKNOWN]
    batch["order_id"], batch["venue_seq"] = 10, 14
    batch["flags"] = [0, Flag.ON_TRADE, 0, 0, Flag.ON_QUOTE | Flag.ON_BOOK]
    with capture_logs() as lines:
        anomalies = Anomalies(lambda instrument: "BTCUSDT")
        anomalies.note(batch)
    assert lines == [
        {
            "event": "gap: sequence",
            "log_level": "warning",
            "symbol": "BTCUSDT",
            "streams": ["trade"],
            "missing": 3,
            "after": 10,
            "before": 14,
        },
        {"event": "status: connected", "log_level": "info", "symbol": "BTCUSDT"},
        {
            "event": "gap: disconnect",
            "log_level": "warning",
            "symbol": "BTCUSDT",
            "streams": ["quote", "book"],
            "missing": "unknown",
            "after": 10,
            "before": 14,
        },
    ]
    assert anomalies.gap_causes == {"sequence": 1, "disconnect": 1}
    assert anomalies.statuses == {"connected": 1}


def test_a_flood_is_counted_whole_and_told_in_part_each_second() -> None:
    with capture_logs() as lines:
        anomalies = Anomalies(lambda instrument: "BTCUSDT")
        for _ in range(2):
            anomalies.note(records(*[Kind.GAP] * (LINES_PER_S + 7)))
            anomalies.on_second()
        anomalies.on_second()
    assert anomalies.gap_causes["sequence"] == 2 * (LINES_PER_S + 7)
    unwritten = {"event": "too many notices: some are not written", "log_level": "warning", "unwritten": 7}
    assert [line for line in lines if "unwritten" in line] == [unwritten] * 2
    assert len(lines) == 2 * (LINES_PER_S + 1)
