"""Where the store has what memory has forgotten of a topic.

A topic mostly carries a producer's stream as it is, less the records that are not for it. Of such a stretch a few
marks are kept, "topic sequence this, seq that": what lies between two of them can be read from the store again.
Whatever else is published, a GAP after an overrun or the snapshots after a rebuild, is in no stretch: forgotten, it
is gone.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from typing import Final, NamedTuple

from tickplant.wire import TopicInfo

STRIDE_RECORDS: Final = 1 << 16
"""Marks are this far apart in the producer's stream, so that little has to be read for a record between two."""

MARKS: Final = 256
"""Of one stretch. Beyond it every other one of the older half goes: the longer ago, the wider apart."""

STRETCHES: Final = 8
"""Of one topic; beyond it the oldest goes."""

_SEQ_BYTES: Final = 8  # the last field of every record


class Origin:
    """A feed's stream for as long as it is published without a hole; compared by identity."""

    __slots__ = ("feed",)

    def __init__(self, feed: str) -> None:
        self.feed = feed


class Source:
    """What a topic carries for a while: the records of one instrument from one origin; compared by identity."""

    __slots__ = ("info", "origin", "producer")

    def __init__(self, origin: Origin, info: TopicInfo, producer: str) -> None:
        self.origin = origin
        self.info = info
        self.producer = producer.encode("ascii")  # whose seqs the records have: the feed, or the engine


class Interval(NamedTuple):
    """Records between two marks, both included: topic sequences, and seqs of the producer."""

    source: Source
    first: int
    last: int
    first_seq: int
    last_seq: int


class _Stretch:
    """Marks, oldest first; the last one is the end and moves until the next is due."""

    def __init__(self, source: Source, first: int, first_seq: int) -> None:
        self.source = source
        self.sequences = array("q", (first,))  # of the topic
        self.seqs = array("q", (first_seq,))  # of the producer

    def extend(self, last: int, last_seq: int) -> None:
        """It goes on up to there."""
        sequences, seqs = self.sequences, self.seqs
        if len(seqs) > 1 and last_seq - seqs[-2] < STRIDE_RECORDS:
            sequences[-1], seqs[-1] = last, last_seq
            return
        sequences.append(last)
        seqs.append(last_seq)
        if len(seqs) > MARKS:
            for marks in (sequences, seqs):
                del marks[1 : MARKS // 2 : 2]


class Past:
    """What was forgotten of one topic."""

    __slots__ = ("_source", "_stretches")

    def __init__(self) -> None:
        self._stretches: deque[_Stretch] = deque(maxlen=STRETCHES)
        self._source: Source | None = None  # of the last message that was forgotten

    def forget(self, source: Source | None, first: int, last: int, payload: bytes) -> None:
        """A message with the topic sequences `first` to `last` is forgotten; those before it have been."""
        if source is not None:
            if source is not self._source:
                self._stretches.append(_Stretch(source, first, first_seq_of(payload, last - first + 1)))
            self._stretches[-1].extend(last, _seq(payload))
        self._source = source

    def interval(self, sequence: int) -> Interval | None:
        """What holds this topic sequence; None where the store does not."""
        for stretch in self._stretches:
            sequences, seqs = stretch.sequences, stretch.seqs
            if sequences[0] <= sequence <= sequences[-1]:
                end = bisect_right(sequences, sequence, 0, len(sequences) - 1)
                return Interval(stretch.source, sequences[end - 1], sequences[end], seqs[end - 1], seqs[end])
        return None

    def following(self, sequence: int, oldest: int) -> int:
        """The first available topic sequence from this one on; `oldest` is the first that is remembered."""
        for stretch in self._stretches:
            if sequence <= stretch.sequences[-1]:
                return max(sequence, stretch.sequences[0])
        return max(sequence, oldest)


def first_seq_of(payload: bytes, records: int) -> int:
    """The seq of the first of so many records."""
    return _seq(payload[: len(payload) // records])


def _seq(payload: bytes) -> int:
    """The seq of the last record."""
    return int.from_bytes(payload[-_SEQ_BYTES:], "little")
