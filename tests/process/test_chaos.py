"""A short chaos run, and proofs that the proof can fail: a store that was tampered with is found out."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.proof import prove
from chaos.report import run_text
from chaos.run import Options, run
from chaos.stored_events import Event, Stored
from chaos.venue_log import VenueLog

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]


def test_a_plant_survives_chaos_and_accounts_for_every_record(tmp_path: Path) -> None:
    said: list[str] = []
    report = run(Options(seconds=10.0, seed=29, every_s=1.2, quiet_s=4.0, messages_per_s=300.0), tmp_path, said.append)
    assert report.ok, "\n".join([*said, run_text(report)])
    assert report.faults["kill engine"]
    assert next(one for one in report.subscribers if one.name == "steady").records > 1000
    assert sum(report.proof.sent.values()) > 1000
    # The same material with a flaw in it must not be proved.
    log, stored = VenueLog(tmp_path / "sent.log"), Stored(tmp_path / "data", "feed")
    events = stored.symbols["BTCUSDT"].events
    # A late one that came live: all was in order by then, and no rule excuses what others of its stream stand behind.
    taken = {channel: _take_a_late_one(events[channel]) for channel in events}
    assert prove(log, stored).wrong == {"unexplained": 3}
    for channel, event in taken.items():
        events[channel] += [event, event]
    assert prove(log, stored).wrong == {"doubled": 3}
    for channel, event in taken.items():
        events[channel][-2:] = [Event(event.seq, event.id, (0, *event.content[1:]), event.backfill)]
    assert prove(log, stored).wrong == {"altered": 3}
    for channel, event in taken.items():
        events[channel][-1] = event
        del log.streams["BTCUSDT", channel][event.id]
    assert prove(log, stored).wrong == {"unsent": 3}


def _take_a_late_one(events: list[Event]) -> Event:
    at = max(at for at, event in enumerate(events[:-1]) if not event.backfill)
    return events.pop(at)
