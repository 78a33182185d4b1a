"""The last stored record of a topic that a subscriber has: from there, the store can continue.

With it, a subscriber crosses from one life of an engine to the next: topic sequences restart, but a producer's seqs
continue. No sockets, no clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tickplant.wire import GetHistory, Gone, Header, unpack_header

_SEQ_BYTES: Final = 8  # the last field of every record


class Anchor:
    """The anchor of one topic within one epoch."""

    __slots__ = ("_producer", "_record", "_seq", "_shared")

    def __init__(self) -> None:
        self._producer = ""
        self._seq = -1
        self._record = b""
        self._shared = False  # several producers count seqs here: those of one say nothing about those of another

    @property
    def holds(self) -> bool:
        """Whether the store can be asked for what follows."""
        return bool(self._producer) and not self._shared

    def move(self, header: Header, payload: bytes) -> None:
        """Note that the subscriber now has these records too."""
        if header.producer:
            self._shared |= self._producer not in ("", header.producer)
            self._producer = header.producer
            self._record = payload[-header.record_bytes :]
            self._seq = int.from_bytes(self._record[-_SEQ_BYTES:], "little")

    def question(self, topic: str, gone: Gone) -> GetHistory | None:
        """The request for stored records up to the start of the engine's next life; None if the two lives do not fit.

        The request begins with the last record that the subscriber has: after a power cut, seqs that were not durable
        are used again.
        """
        if not self.holds or gone.producer != self._producer or gone.begin_seq <= self._seq:
            return None
        return GetHistory(topic, self._producer, self._seq, gone.begin_seq - 1)

    def behind(self, asked: GetHistory, frames: Sequence[bytes]) -> list[tuple[Header, bytes]] | None:
        """The messages of an answer without the record already here; None if the store has another one in its place."""
        known = self._record if asked.first_seq == self._seq else b""
        if not b"".join(frames[1:2]).startswith(known):
            return None
        messages = []
        for head, payload in zip(frames[::2], frames[1::2], strict=True):
            records, known = payload[len(known) :], b""
            if records:
                messages.append((unpack_header(head), records))
        return messages
