"""The last record of a topic that its subscriber has, as far as a store has it: from there the store goes on.

By it a subscriber crosses from one life of an engine to the next: topic sequences begin anew, the seqs of a producer
do not. No sockets, no clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tickplant.wire import GetHistory, Gone, Header, unpack_header

_SEQ_BYTES: Final = 8  # the last field of every record


class Anchor:
    """Of one topic, within one epoch."""

    __slots__ = ("_producer", "_record", "_seq", "_shared")

    def __init__(self) -> None:
        self._producer = ""
        self._seq = -1
        self._record = b""
        self._shared = False  # several producers count seqs here: what one of them has says nothing of the other's

    @property
    def holds(self) -> bool:
        """Whether the store can be asked from here on."""
        return bool(self._producer) and not self._shared

    def move(self, header: Header, payload: bytes) -> None:
        """The subscriber has these records, too."""
        if header.producer:
            self._shared |= self._producer not in ("", header.producer)
            self._producer = header.producer
            self._record = payload[-header.record_bytes :]
            self._seq = int.from_bytes(self._record[-_SEQ_BYTES:], "little")

    def question(self, topic: str, gone: Gone) -> GetHistory | None:
        """What to ask the store for up to the beginning of another life of the engine; None where they do not fit.

        It begins with the last record that is here: after a power cut, seqs that were not durable are used again.
        """
        if not self.holds or gone.producer != self._producer or gone.begin_seq <= self._seq:
            return None
        return GetHistory(topic, self._producer, self._seq, gone.begin_seq - 1)

    def behind(self, asked: GetHistory, frames: Sequence[bytes]) -> list[tuple[Header, bytes]] | None:
        """Messages of an answer, less the record that is here; None where the store has another one in its place."""
        known = self._record if asked.first_seq == self._seq else b""
        if not b"".join(frames[1:2]).startswith(known):
            return None
        messages = []
        for head, payload in zip(frames[::2], frames[1::2], strict=True):
            records, known = payload[len(known) :], b""
            if records:
                messages.append((unpack_header(head), records))
        return messages
