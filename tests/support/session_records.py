"""What tests read from the records of a session, and a replay of the session from its capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from checked_adapter import Checked
from venue_sample import VenueSample
from venue_session import VenueSession

from tickplant.feeds.capture import Capture
from tickplant.feeds.capture_lines import parse_line
from tickplant.feeds.contract import Answer, Closed, Ended, Frames, Opened, Resync, Second, Send, Symbols
from tickplant.records.layouts import TICK, Flag, Kind, StatusCode
from tickplant.runtime.recorded_lines import Recording

FIELDS: Final = [name for name in TICK.names or () if name not in ("seq", "instrument")]


def is_live(session: VenueSession) -> bool:
    """Whether each symbol has a live book or, without books, whether its quotes come."""
    return all(is_followed(session.feed, symbol) for symbol in session.sample.symbols)


def is_followed(feed: Checked, symbol: str) -> bool:
    if not feed.table.ids(symbol):
        return False
    records = feed.of(symbol)
    if feed.sample.has_book:
        # A book that is fetched anew stands still meanwhile.
        whole = (records["kind"] == Kind.CLEAR) & (records["flags"] & Flag.PARTIAL == 0)
        asked = (records["kind"] == Kind.STATUS) & (records["price"] == StatusCode.RESYNC)
        clears, resyncs = np.flatnonzero(whole), np.flatnonzero(asked)
        is_fetched = not len(resyncs) or (len(clears) > 0 and clears[-1] > resyncs[-1])
        return feed.book(symbol).live and is_fetched
    lost = np.flatnonzero((records["kind"] == Kind.STATUS) & (records["price"] == StatusCode.DISCONNECTED))
    kind = Kind.QUOTE if "quote" in feed.channels else Kind.VENUE_BAR
    return bool((records["kind"][lost[-1] if len(lost) else 0 :] == kind).any())


def status(records: np.ndarray, code: StatusCode) -> np.ndarray:
    return records[(records["kind"] == Kind.STATUS) & (records["price"] == code)]


def gaps(records: np.ndarray, on: Flag) -> np.ndarray:
    return records[(records["kind"] == Kind.GAP) & (records["flags"] & on != 0)]


def captured(session: VenueSession, folder: Path) -> list[bytes]:
    """The lines of a session's capture."""
    capture = Capture(folder)
    for now_ns, what in session.happened:
        match what:
            case Frames(link, frames):
                capture.add(link, frames, now_ns)
            case Opened() | Closed() | Answer() | Second() | Resync() | Symbols() | Send():
                capture.add_event(what, now_ns)
            case _:
                pass
    capture.close()
    return [line for block in Recording(folder).blocks() for line in block]


def readable(feed: Checked) -> dict[str, list[tuple[Any, ...]]]:
    """Records by symbol, with the scales instead of the instrument."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for ident, *fields in feed.records[["instrument", *FIELDS]].tolist():
        row = feed.table.rows[ident - 1]
        found.setdefault(row.symbol, []).append((row.price_scale, row.size_scale, *fields))
    return found


def replayed(sample: VenueSample, lines: list[bytes]) -> Checked:
    """A feed that has read all lines of a capture."""
    feed = Checked(sample, live=False, discover=True)
    now_ns = 0
    for line in lines:
        parsed = parse_line(line)
        assert parsed is not None, line
        now_ns, event = parsed
        if event is not None:
            feed.on(event, now_ns)
    feed.on(Ended(), now_ns)
    return feed
