"""The faults of a gateway, each at its time: those that a byte stream over TCP can have.

A message cannot be lost, doubled or changed in transit. So a gateway that drops records says so, half a record ends the
connection, and duplicate records or wrong digits do not occur.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from tickplant.errors import FeedError
from tickplant.sim.faults import (
    Disconnect,
    Drop,
    Fault,
    Garbage,
    RefuseConnection,
    RefuseSubscription,
    Scripted,
    Stall,
    Truncate,
)

KINDS: Final = (Disconnect, Drop, Garbage, RefuseConnection, RefuseSubscription, Stall, Truncate)
GARBAGE: Final = bytes(16)
"""A record of no length."""


class Script:
    """The planned faults of a gateway's sessions. Raises FeedError for a fault that cannot occur."""

    def __init__(self, faults: Sequence[Scripted]) -> None:
        for scripted in faults:
            if not isinstance(scripted.fault, KINDS):
                kind, known = tag_of(type(scripted.fault)), ", ".join(tag_of(one) for one in KINDS)
                raise FeedError(f"simulated venue: {kind!r} cannot happen to a databento gateway; {known} can")
        self._waiting = list(faults)
        self._begin_s = time.monotonic()
        self.connections_to_refuse = 0
        self.requests_to_refuse = 0

    def due(self, sent: int) -> list[Fault]:
        """The session faults that are due after this many records; faults of future sessions are armed."""
        age_s = time.monotonic() - self._begin_s
        found = [
            one
            for one in self._waiting
            if (sent >= one.at_message if one.at_s is None else age_s >= one.at_s)  # type: ignore[operator]
        ]
        self._waiting = [one for one in self._waiting if one not in found]
        of_sessions: list[Fault] = []
        for one in found:
            match one.fault:
                case RefuseConnection(count=count):
                    self.connections_to_refuse += count
                case RefuseSubscription(count=count):
                    self.requests_to_refuse += count
                case fault:
                    of_sessions.append(fault)
        return of_sessions

    def refuses_connection(self) -> bool:
        """Whether to refuse this connection; uses up one refusal."""
        refused = self.connections_to_refuse > 0
        self.connections_to_refuse -= refused
        return refused

    def refuses_request(self) -> bool:
        """Likewise for a subscription."""
        refused = self.requests_to_refuse > 0
        self.requests_to_refuse -= refused
        return refused


def tag_of(kind: type[Fault]) -> str:
    """The name of a fault in a script."""
    return str(kind.__struct_config__.tag)
