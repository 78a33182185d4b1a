"""The faults of a gateway, each when it is due: those that a stream of bytes over TCP can have.

A message cannot be lost, doubled or changed on its way. So a gateway that leaves records out says so, half a record is
the end of a connection, and two of one record or a wrong digit do not happen.
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
    """What is to befall the sessions of a gateway. Raises FeedError for a fault that cannot."""

    def __init__(self, faults: Sequence[Scripted]) -> None:
        for scripted in faults:
            if not isinstance(scripted.fault, KINDS):
                kind, known = tag_of(type(scripted.fault)), ", ".join(tag_of(one) for one in KINDS)
                raise FeedError(f"simulated venue: {kind!r} cannot befall a gateway of databento; {known} can")
        self._waiting = list(faults)
        self._begin_s = time.monotonic()
        self.connections_to_refuse = 0
        self.requests_to_refuse = 0

    def due(self, sent: int) -> list[Fault]:
        """Those of sessions that are due once so many records were sent; those of the next ones are armed."""
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
        """Whether this one is; one fewer is then left to refuse."""
        refused = self.connections_to_refuse > 0
        self.connections_to_refuse -= refused
        return refused

    def refuses_request(self) -> bool:
        """Likewise of a subscription."""
        refused = self.requests_to_refuse > 0
        self.requests_to_refuse -= refused
        return refused


def tag_of(kind: type[Fault]) -> str:
    """What a fault is called in a script."""
    return str(kind.__struct_config__.tag)
