"""A short chaos run, and proofs that the proof can fail: a store that was tampered with is found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from chaos.proof import prove
from chaos.report import run_text
from chaos.run import Options, run
from chaos.stored_events import Clear, Event, Stored
from chaos.venue_log import Channel, Sent, Stream, VenueLog

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]


def test_a_plant_survives_chaos_and_accounts_for_every_record(tmp_path: Path) -> None:
    said: list[str] = []
    report = run(Options(seconds=10.0, seed=29, every_s=1.2, quiet_s=4.0, messages_per_s=300.0), tmp_path, said.append)
    assert report.ok, "\n".join([*said, run_text(report)])
    assert report.faults["kill engine"]
    assert next(one for one in report.subscribers if one.name == "steady").records > 1000
    assert sum(report.proof.sent.values()) > 1000
    # The same material with a flaw in it must not be proved.
    log, stored = VenueLog(tmp_path / "sent.log"), Tampered(tmp_path / "data", "feed")
    assert prove(log, stored).wrong == {}
    # A late one that came live: all was in order by then, and no rule excuses what others of its stream stand behind.
    stored.change = lambda event: []
    assert prove(log, stored).wrong == {"unexplained": 3}
    stored.change = lambda event: [event, event]
    assert prove(log, stored).wrong == {"doubled": 3}
    stored.change = lambda event: [Event(event.seq, event.id, (0, *event.content[1:]), event.backfill)]
    assert prove(log, stored).wrong == {"altered": 3}
    stored.change = lambda event: [event]
    for channel, event in stored.late.items():
        log.streams["BTCUSDT", channel] = Lacking(log.streams["BTCUSDT", channel], event.id)
    assert prove(log, stored).wrong == {"unsent": 3}


class Tampered(Stored):
    """A store in which one message of each channel of a symbol is another."""

    change: Callable[[Event], list[Event]] = staticmethod(lambda event: [event])

    def __init__(self, data_dir: Path, producer: str) -> None:
        super().__init__(data_dir, producer)
        extents = self.symbols["BTCUSDT"].extents
        self.late = {channel: _a_late_one(self, channel, max(extent.spans)) for channel, extent in extents.items()}

    def load(self, name: str, channel: Channel, bucket: int) -> tuple[list[Event], list[Clear]]:
        events, clears = super().load(name, channel, bucket)
        if name == "BTCUSDT" and hasattr(self, "late"):
            late = self.late[channel]
            events = [one for event in events for one in (self.change(event) if event == late else [event])]
        return events, clears


class Lacking:
    """A stream of the log without one message."""

    def __init__(self, stream: Stream, ident: int) -> None:
        self._stream, self._ident = stream, ident
        self.buckets, self.late = stream.buckets, stream.late

    def load(self, bucket: int) -> dict[int, Sent]:
        messages = self._stream.load(bucket)
        messages.pop(self._ident, None)
        return messages


def _a_late_one(stored: Stored, channel: Channel, bucket: int) -> Event:
    events, _ = stored.load("BTCUSDT", channel, bucket)
    return [event for event in events[:-1] if not event.backfill][-1]
