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
from itertools import count
from typing import Final, NamedTuple

from tickplant.wire import TopicInfo

STRIDE_RECORDS: Final = 1 << 16
"""Marks are this far apart in the producer's stream, so that little has to be read for a record between two."""

MARKS: Final = 256
"""Of one stretch. Beyond it every other one of the older half goes: the longer ago, the wider apart."""

STRETCHES: Final = 8
"""Of one topic; beyond it the oldest goes."""

_numbers = count(1)


class Origin:
    """A feed's stream for as long as it is published without a hole; `number` is its own, from 1 on."""

    __slots__ = ("feed", "number")

    def __init__(self, feed: str) -> None:
        self.feed = feed
        self.number = next(_numbers)


class Source(NamedTuple):
    """What a topic carries for a while: the records of one instrument from one origin."""

    info: TopicInfo
    producer: str  # whose seqs the records have: the feed, or the engine


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

    def extend(self, last: int, last_seq: int) -> int:
        """It goes on up to there. Returns the seq of the mark before that."""
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
    """What was forgotten of one topic."""

    __slots__ = ("_stretches",)

    def __init__(self) -> None:
        self._stretches: deque[_Stretch] = deque(maxlen=STRETCHES)

    def begin(self, source: Source, first: int, first_seq: int) -> None:
        """What is forgotten next begins a stretch: its first topic sequence, and its seq there."""
        self._stretches.append(_Stretch(source, first, first_seq))

    def extend(self, last: int, last_seq: int) -> int:
        """The stretch goes on up to there. Returns the seq of its last mark that stays; the end moves."""
        return self._stretches[-1].extend(last, last_seq)

    def settle(self, last: int, last_seq: int) -> None:
        """The end of the last stretch, if there is one, has moved there without a mark."""
        if self._stretches:
            self._stretches[-1].sequences[-1], self._stretches[-1].seqs[-1] = last, last_seq

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
