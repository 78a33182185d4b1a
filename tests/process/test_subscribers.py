"""Subscribers that stop reading, die, flood or come late: the others lose nothing, and nobody loses anything unawares.

At full size, 50 others and 20,000 ticks/s: `make subscribers`.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from chaos.crowd import Verdict
from chaos.report import subscribers_text
from chaos.subscribers import SubscribersOptions, SubscribersReport, disturb

pytestmark = pytest.mark.timeout(300)

SMALL = SubscribersOptions(others=4, stall_s=4.0, symbols=("BTCUSDT", "ETHUSDT"), high_water_messages=100)


def told(report: SubscribersReport, said: list[str]) -> str:
    return "\n".join([*said, subscribers_text(report)])


def stalled(report: SubscribersReport) -> Verdict:
    return next(one for one in report.subscribers if one.name == "stalled")


def test_a_subscriber_that_stops_reading_recovers_what_it_missed_and_the_others_miss_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    report = disturb(SMALL, tmp_path, said.append)
    assert report.ok, told(report, said)
    assert stalled(report).recovered > 0 and stalled(report).losses == 0, told(report, said)
    assert sum(one.records > 0 for one in report.subscribers) == SMALL.others + 2
    assert report.engine["replies_unread"] > 0


def test_what_the_engine_does_not_remember_comes_from_the_store(tmp_path: Path) -> None:
    said: list[str] = []
    report = disturb(msgspec.structs.replace(SMALL, others=1, recovery_mib=1), tmp_path, said.append)
    assert report.ok, told(report, said)
    assert stalled(report).recovered > 0 and stalled(report).losses == 0, told(report, said)
    assert report.engine["requests_recalled"] > 0
