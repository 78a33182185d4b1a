"""Makes the golden bytes of the current wire version: `python tests/golden/make_wire.py`.

Run it once, when the version changes, and commit what it writes beside those of the older versions, which stay as they
are. `tests/unit/test_wire_golden.py` holds the code equal to them; a client in another language can be tested by them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from made_records import make_records

from tickplant import wire
from tickplant.records.layouts import Schema

EPOCH = 1_700_000_000_000_001
TOPIC = "binance.BTCUSDT.trade"
TOPICS = {
    Schema.TICK: (TOPIC, b"binance"),
    Schema.BBO: ("binance.BTCUSDT.bbo", b"engine"),
    Schema.BAR: ("binance.BTCUSDT.bar_1s", b"engine"),
}
INFO = wire.TopicInfo(TOPIC, 1, 7, 2, 8, 4711)
REQUESTS: list[wire.Request] = [
    wire.GetTopics(1, "binance.BTCUSDT"),
    wire.GetSnapshot("binance.BTCUSDT.book", 2),
    wire.GetRange(TOPIC, EPOCH, 4700, 4710, 3),
    wire.GetHistory(TOPIC, "binance", 90_000, 99_999, 4),
]
REPLIES: list[wire.Reply] = [
    wire.Topics(1, EPOCH, [INFO]),
    wire.Snapshot(2, EPOCH, wire.TopicInfo("binance.BTCUSDT.book", 1, 7, 2, 8, 815), 2001, stale=True),
    wire.Range(3, EPOCH, TOPIC, 4698, 4710, 2),
    wire.Gone(3, EPOCH, TOPIC, 4705, 4711, "binance", 123_456),
    wire.History(4, TOPIC, "binance", 95_000, 95_001, 3),
    wire.Refused(5, "binance.X.trade: no such topic, or it has had no record yet"),
]


def golden() -> dict[str, object]:
    """What the file holds: frames of messages in hexadecimal, requests and replies as they are."""
    messages = []
    for schema, (topic, producer) in TOPICS.items():
        records = make_records(schema, 3, first_seq=5000)
        records["instrument"] = 7
        header = wire.pack_header(
            int(schema), records.dtype.itemsize, len(records), EPOCH, 4711, EPOCH * 1000, 7, 2, 8, producer
        )
        messages.append({"topic": topic, "header": header.hex(), "payload": records.tobytes().hex()})
    # Made for subscribers alone: no producer; and read from the store again: no time of publishing.
    snapshot = np.zeros(1, records.dtype)
    for epoch, publish_ns, producer in ((EPOCH, EPOCH * 1000, b""), (0, 0, b"engine")):
        header = wire.pack_header(3, snapshot.dtype.itemsize, 1, epoch, 0, publish_ns, 7, 2, 8, producer)
        messages.append(
            {"topic": "binance.BTCUSDT.bar_1s", "header": header.hex(), "payload": snapshot.tobytes().hex()}
        )
    return {
        "messages": messages,
        "requests": [wire.encode(request).decode() for request in REQUESTS],
        "replies": [wire.encode(reply).decode() for reply in REPLIES],
    }


def main() -> None:
    """Write them."""
    path = Path(__file__).parent / f"wire-v{wire.VERSION}.json"
    if path.exists():
        sys.exit(f"{path.name} exists already, and is not to be changed")
    path.write_text(json.dumps(golden(), indent=1) + "\n")


if __name__ == "__main__":
    main()
