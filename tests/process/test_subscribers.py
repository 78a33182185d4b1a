"""Subscribers that stop reading, die, flood or come late: the others lose nothing, and nobody loses anything unawares.

At full size, 50 others and 20,000 ticks/s: `make subscribers`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.report import subscribers_text
from chaos.subscribers import SubscribersOptions, disturb

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

# So small a recovery memory that some of what the stalled one asks for comes from the store.
SMALL = SubscribersOptions(
    others=4, stall_s=4.0, symbols=("BTCUSDT", "ETHUSDT"), high_water_messages=100, recovery_mib=1
)


def test_a_subscriber_that_stops_reading_recovers_what_it_missed_and_the_others_miss_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    report = disturb(SMALL, tmp_path, said.append)
    told = "\n".join([*said, subscribers_text(report)])
    assert report.ok, told
    stalled = next(one for one in report.subscribers if one.name == "stalled")
    assert stalled.recovered > 0 and stalled.losses == 0, told
    assert sum(one.records > 0 for one in report.subscribers) == SMALL.others + 2, told
    assert report.engine["replies_unread"] > 0, told
    assert report.engine["requests_recalled"] > 0, told
