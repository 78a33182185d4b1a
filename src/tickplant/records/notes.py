"""Notes: the records that are about the stream, STATUS and GAP. How they are made, and which fields say what.

    GAP       price     why (GapCause)                 STATUS    price     what happened (StatusCode)
              size      how many records are missing             order_id  by code, such as the other instrument
              order_id  the last id before the gap
              venue_seq the next id behind it

Both are atomic events of their own (LAST). The ON_ flags say which streams are concerned; without one, and on the
feed's pseudo-instrument, a note is informational.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tickplant.kernels import brief_kernel, kernel
from tickplant.records.batch import KIND_SHIFT, PACKED, WORDS
from tickplant.records.layouts import TICK, UNKNOWN, Flag, Kind, StatusCode

Records = NDArray[np.void]
Words = NDArray[np.int64]

NOTE_KINDS: Final = (Kind.STATUS, Kind.GAP)
"""A set, not a range: kinds of data may be numbered above them."""

_NOTES: Final = sum(1 << kind for kind in NOTE_KINDS)


def is_note(records: Records) -> NDArray[np.bool_]:
    """Which of these records, dtype TICK, are notes."""
    return np.isin(records["kind"], NOTE_KINDS)


@kernel
def is_note_word(packed: int) -> bool:
    """Whether the record with this packed word (records.batch) is a note."""
    return _NOTES >> (packed >> KIND_SHIFT & 0xFF) & 1 == 1


@brief_kernel
def first_note(words: Words) -> int:
    """Index of the first note among the records of `words`, flat, 8 to a record; -1 where there is none."""
    for start in range(PACKED, len(words), WORDS):
        if is_note_word(words[start]):
            return start // WORDS
    return -1


def make_gaps(
    instruments: ArrayLike,
    cause: int,
    *,
    missing: ArrayLike = UNKNOWN,
    last_id: ArrayLike = 0,
    next_id: ArrayLike = 0,
    ts_event: int = 0,
    ts_recv: int = 0,
    flags: ArrayLike = 0,
    seq: int = 0,
) -> Records:
    """A GAP of each of these instruments, dtype TICK, for a GapCause. What is an array has a value for each."""
    gaps = _make(instruments, Kind.GAP, cause, ts_event, ts_recv, flags, seq)
    gaps["size"], gaps["order_id"], gaps["venue_seq"] = missing, last_id, next_id
    return gaps


def make_statuses(
    instruments: ArrayLike, code: StatusCode, *, ts_event: int = 0, ts_recv: int = 0, flags: ArrayLike = 0
) -> Records:
    """A STATUS of each of these instruments, dtype TICK."""
    return _make(instruments, Kind.STATUS, code, ts_event, ts_recv, flags, 0)


def _make(
    instruments: ArrayLike, kind: Kind, price: int, ts_event: int, ts_recv: int, flags: ArrayLike, seq: int
) -> Records:
    ids = np.atleast_1d(instruments)
    notes: Records = np.zeros(len(ids), TICK)
    notes["instrument"], notes["kind"], notes["price"] = ids, kind, price
    notes["ts_event"], notes["ts_recv"], notes["seq"] = ts_event, ts_recv, seq
    notes["flags"] = np.bitwise_or(np.asarray(flags, np.uint16), np.uint16(Flag.LAST))
    return notes


def prepare_kernels() -> None:
    """Compile, or load, the kernels above for this process."""
    first_note(np.zeros(WORDS, np.int64))
