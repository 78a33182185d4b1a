"""Where the store has the records of a topic that memory has forgotten.

A topic mostly carries a producer's stream unchanged, minus the records that belong to other topics. For such a stretch
a few marks are kept, pairs of a topic sequence and a seq: the records between two marks can be read from the store
again. Anything else that is published, such as a GAP after an overrun or the snapshots after a rebuild, belongs to no
stretch: once forgotten, it is gone.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from itertools import count
from typing import Final, NamedTuple

from tickplant.wire import TopicInfo

STRIDE_RECORDS: Final = 1 << 16
"""Marks are this far apart in the producer's stream, so that little must be read for a record between two marks."""

MARKS: Final = 256
"""Marks per stretch. Beyond that, every other mark of the older half is dropped: older marks are farther apart."""

STRETCHES: Final = 8
"""Stretches per topic. Beyond that, the oldest is dropped."""

_numbers = count(1)


class Origin:
    """A feed's stream for as long as it is published without a hole; `number` is unique, from 1 on."""

    __slots__ = ("feed", "number")

    def __init__(self, feed: str) -> None:
        self.feed = feed
        self.number = next(_numbers)


class Source(NamedTuple):
    """The source of a topic's records for a while: one instrument from one origin."""

    info: TopicInfo
    producer: str  # the producer that numbers the records: the feed or the engine


class Interval(NamedTuple):
    """Records between two marks, both included: topic sequences, and seqs of the producer."""

    source: Source
    first: int
    last: int
    first_seq: int
    last_seq: int


class _Stretch:
    """Marks, oldest first; the last one is the end, and moves until the next mark is due."""

    def __init__(self, source: Source, first: int, first_seq: int) -> None:
        self.source = source
        self.sequences = array("q", (first,))  # of the topic
        self.seqs = array("q", (first_seq,))  # of the producer

    def extend(self, last: int, last_seq: int) -> int:
        """Extend the stretch to there. Returns the seq of the last fixed mark."""
        sequences, seqs = self.sequences, self.seqs
        if len(seqs) > 1 and last_seq - seqs[-2] < STRIDE_RECORDS:
            sequences[-1], seqs[-1] = last, last_seq
            return seqs[-2]
        sequences.append(last)
        seqs.append(last_seq)
        if len(seqs) > MARKS:
            for marks in (sequences, seqs):
                del marks[1 : MARKS // 2 : 2]
        return seqs[-2]


class Past:
    """The forgotten records of one topic."""

    __slots__ = ("_stretches",)

    def __init__(self) -> None:
        self._stretches: deque[_Stretch] = deque(maxlen=STRETCHES)

    def begin(self, source: Source, first: int, first_seq: int) -> None:
        """Begin a stretch with what is forgotten next: its first topic sequence, and the seq there."""
        self._stretches.append(_Stretch(source, first, first_seq))

    def extend(self, last: int, last_seq: int) -> int:
        """Extend the last stretch to there. Returns the seq of its last fixed mark; the end still moves."""
        return self._stretches[-1].extend(last, last_seq)

    def settle(self, last: int, last_seq: int) -> None:
        """Move the end of the last stretch, if there is one, without adding a mark."""
        if self._stretches:
            self._stretches[-1].sequences[-1], self._stretches[-1].seqs[-1] = last, last_seq

    def interval(self, sequence: int) -> Interval | None:
        """The interval that contains this topic sequence; None if the store does not have it."""
        for stretch in self._stretches:
            sequences, seqs = stretch.sequences, stretch.seqs
            if sequences[0] <= sequence <= sequences[-1]:
                end = bisect_right(sequences, sequence, 0, len(sequences) - 1)
                return Interval(stretch.source, sequences[end - 1], sequences[end], seqs[end - 1], seqs[end])
        return None

    def following(self, sequence: int, oldest: int) -> int:
        """The first available topic sequence from this one on; `oldest` is the first one still kept in memory."""
        for stretch in self._stretches:
            if sequence <= stretch.sequences[-1]:
                return max(sequence, stretch.sequences[0])
        return max(sequence, oldest)
