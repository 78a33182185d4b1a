"""The conformance suite's data for Databento: a session of its gateway, and a record of each layout.

A Databento link is a stream of bytes, which a read may cut anywhere. So there are no single frames to lose, double or
spoil. Its gateway is a process; tests/process/test_databento_faults.py covers faults of sessions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

import databento_dbn as db
from made_dbn import ALWAYS, T0_NS, metadata, orders
from venue_sample import VenueSample

from tickplant.feeds.contract import Closed, Event, Frames, Opened
from tickplant.feeds.venues.databento import dbn
from tickplant.records import dbn_layouts

LINK: Final = "GLBX.MDP3"
SYMBOLS: Final = ("GLBX.MDP3/TEST", "GLBX.MDP3/OTHER")
SECRETS: Final = {"key": "db-0123456789abcdefghijABCDE"}
LINES: Final = (b"lsg_version=0.4.2\ncram=abc123\n", b"success=1|session_id=5\n")


def layouts(seed: int) -> list[bytes]:
    """A record of each type and length, with random content."""
    chance = random.Random(seed)
    heads = ((kind, size) for kind, size in dbn_layouts.LAYOUTS)
    return [
        bytes((size // 4, kind)) + b"\1\0\7\0\0\0" + T0_NS.to_bytes(8, "little") + chance.randbytes(size - 16)
        for kind, size in heads
    ]


def metadata_of_mbo() -> bytes:
    """Metadata for two instruments."""
    return metadata(db.Schema.MBO, {"TEST": [(*ALWAYS, 7)], "OTHER": [(*ALWAYS, 8)]}, T0_NS, T0_NS + 1)


def session() -> Iterator[tuple[int, Event]]:
    """A second of a session, and the start of another connection; each event with the time since the start, in ms."""
    own, other = orders(1, 120), orders(2, 120, ident=8)
    records = [record for pair in zip(own, other, strict=True) for record in pair]
    for begin in (0, 1050):
        yield begin, Opened(LINK)
        for line in LINES:
            yield begin, Frames(LINK, [line])
        yield begin, Frames(LINK, [metadata_of_mbo()])
        for number in range(40 if not begin else 5):
            yield begin + 25 * number, Frames(LINK, records[6 * number : 6 * number + 6])
        if not begin:
            yield 1000, Closed(LINK, "cut")


def owner(frame: bytes) -> tuple[str, str] | None:
    """The instrument id and type of a record."""
    if len(frame) < dbn.HEAD_BYTES or frame in LINES or frame.startswith(dbn.MAGIC):
        return None
    return str(frame[4]), str(frame[1])


SAMPLES: Final = (
    VenueSample(
        venue="databento",
        symbols=SYMBOLS,
        further="GLBX.MDP3/NONE",
        owner=owner,
        channels=("orders", "trade"),
        frames=tuple(layouts(1)),
        in_line=False,
        has_life=False,
        secrets=SECRETS,
        told=session,
        stream=True,
    ),
)
