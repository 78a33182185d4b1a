"""A client of a gateway's events, which checks their promises while it reads."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


class StreamReader:
    """Events as text in, topics out. `expected` is the next sequence by topic; a jump without a gap is an error."""

    def __init__(self) -> None:
        self.cursor = ""
        self.expected: dict[str, tuple[int, int]] = {}
        self.trades: dict[str, list[int]] = {}  # topic sequences, in order of arrival
        self.books: dict[str, dict[str, dict[Decimal, Decimal]]] = {}
        self.gaps: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.snapshots = 0
        self.resumed = self.conflated = False
        self._rest = b""

    def forget(self) -> None:
        """The connection is lost: discard an incomplete event, but keep the cursor."""
        self.resumed = True
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take bytes of a Server-Sent Events stream."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for block in blocks:
            fields = [line.partition(": ")[::2] for line in block.decode().split("\n") if not line.startswith(":")]
            members = dict(fields)
            if "id" in members:
                self.cursor = members["id"]
            if "data" in members:
                event = json.loads(members["data"])
                assert event["type"] == members["event"]
                self.take(event)

    def take(self, event: dict[str, Any]) -> None:
        """Take one event."""
        self.events.append(event)
        topic, seq, epoch = event["topic"], event["seq"], event["epoch"]
        known_epoch, known = self.expected.get(topic, (epoch, seq))
        if event["type"] == "gap":
            assert event["lost"] is None or event["lost"] > 0, event
            self.gaps.append(event)
            self.expected.pop(topic, None)
            return
        if event["type"] == "snapshot":
            self.snapshots += 1
            self.expected[topic] = (epoch, seq)
            if "bids" in event:
                self.books[topic] = {side: _levels(event[side]) for side in ("bids", "asks")}
            return
        # Behind the last cursor events may come again; what is conflated may begin before its snapshot.
        again = (self.resumed or self.conflated) and (epoch, seq) < (known_epoch, known)
        assert (epoch, seq) == (known_epoch, known) or again, f"{topic}: {seq} came where {known} was expected"
        end = max(known, seq + event["count"]) if epoch == known_epoch else seq + event["count"]
        self.expected[topic] = (epoch, end)
        if topic.endswith(".trade"):
            trades = self.trades.setdefault(topic, [])
            known_ones = set(trades) if self.resumed else set()
            trades += [one for one in range(seq, end) if one not in known_ones]
        if event["type"] == "levels":
            for side in ("bids", "asks"):
                self._apply(topic, side, _levels(event[side]))
        elif topic.endswith(".book"):
            for record in event["records"]:
                if record["kind"] == "clear":
                    self.books[topic] = {"bids": {}, "asks": {}}
                elif record["kind"] == "level":
                    side = "bids" if record["side"] == "bid" else "asks"
                    self._apply(topic, side, {Decimal(record["price"]): Decimal(record["size"])})

    def end(self, topic: str) -> int:
        """The topic sequence up to which everything has come, or is known to be lost."""
        lost = [gap["seq"] + gap["lost"] for gap in self.gaps if gap["topic"] == topic and gap["lost"] is not None]
        return max([*lost, *(seq + 1 for seq in self.trades.get(topic, ())[-1:])], default=0)

    def _apply(self, topic: str, side: str, levels: dict[Decimal, Decimal]) -> None:
        book = self.books.setdefault(topic, {"bids": {}, "asks": {}})[side]
        for price, size in levels.items():
            if size:
                book[price] = size
            else:
                book.pop(price, None)

    def bids(self, topic: str, price_scale: int, size_scale: int) -> list[tuple[int, int]]:
        """Mantissas, best first."""
        book = self.books.get(topic, {"bids": {}})["bids"]
        return [(int(price.scaleb(price_scale)), int(size.scaleb(size_scale))) for price, size in sorted(book.items())][
            ::-1
        ]


def _levels(pairs: list[list[str]]) -> dict[Decimal, Decimal]:
    return {Decimal(price): Decimal(size) for price, size in pairs}
