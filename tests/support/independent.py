"""A second reader of the Binance recordings, with only json and Decimal: the expected contents of the store.

Written differently on purpose: it shares no code with the project, so that an error in a decoder cannot hide in its own
reflection.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2].parent / "shared" / "data"

Row = tuple[str, str | None, Decimal | None, Decimal | None, int | None, int, int]
"""kind, side, price, size, ts_event, ts_recv, venue_seq"""


def recording(name: str) -> Path:
    """Path of a recording; skips the test if the recordings are not available."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the recording {name} is not beside the project")
    return path


def lines(path: Path) -> Iterator[tuple[int, dict]]:
    """`(receive time, message)` of each line, decimals as Decimal."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            time_ns, _, frame = line.partition(" ")
            yield int(time_ns), json.loads(frame, parse_float=Decimal)


@dataclass
class Expected:
    """The expected contents of one recording."""

    trades: list[Row] = field(default_factory=list)
    quotes: list[Row] = field(default_factory=list)
    book: list[Row] = field(default_factory=list)  # CLEAR and LEVEL in the order in which they apply
    events: list[list[Row]] = field(default_factory=list)  # the same, one list per diff or snapshot
    best: list[tuple[int, Decimal, Decimal, Decimal, Decimal]] = field(default_factory=list)  # u, bid, size, ask, size
    frames: int = 0
    skipped_trades: int = 0


def read(path: Path) -> Expected:
    """Read a whole recording."""
    expected = Expected()
    waiting: list[tuple[int, list[Row]]] | None = []  # diffs before the snapshot
    for ts, message in lines(path):
        expected.frames += 1
        data = message.get("data", message)
        event = data.get("e")
        if event == "trade":
            if data.get("X", "MARKET") in ("INSURANCE_FUND", "ADL", "NA"):
                expected.skipped_trades += 1
                continue
            side = "sell" if data["m"] else "buy"
            expected.trades.append(
                ("trade", side, Decimal(data["p"]), Decimal(data["q"]), data["T"] * 10**6, ts, data["t"])
            )
        elif event == "depthUpdate":
            when = data.get("T", data["E"]) * 10**6
            levels = [
                ("level", side, Decimal(price), Decimal(size), when, ts, data["u"])
                for side, key in (("bid", "b"), ("ask", "a"))
                for price, size in data[key]
            ]
            if waiting is None:
                expected.events.append(levels)
            else:
                waiting.append((data["u"], levels))
        elif "b" in data and "B" in data:
            when = data["T"] * 10**6 if "T" in data else None
            bid, bid_size, ask, ask_size = (Decimal(data[key]) for key in "bBaA")
            expected.quotes.append(("quote", "bid", bid, bid_size, when, ts, data["u"]))
            expected.quotes.append(("quote", "ask", ask, ask_size, when, ts, data["u"]))
            expected.best.append((data["u"], bid, bid_size, ask, ask_size))
        elif "lastUpdateId" in data:
            assert waiting is not None, "one snapshot a recording"
            last, when = data["lastUpdateId"], data["T"] * 10**6 if "T" in data else None
            snapshot = [
                ("level", side, Decimal(price), Decimal(size), when, ts, last)
                for side, key in (("bid", "bids"), ("ask", "asks"))
                for price, size in data[key]
            ]
            expected.events += [levels for u, levels in waiting if u <= last]
            expected.events.append([("clear", None, None, None, when, ts, last), *snapshot])
            expected.events += [levels for u, levels in waiting if u > last]
            waiting = None
        else:
            raise AssertionError(f"unknown message {message}")
    expected.book = [row for event in expected.events for row in event]
    return expected
