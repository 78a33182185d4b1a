"""Notes: the records about the stream itself, STATUS and GAP. How they are made, and what their fields mean.

    GAP       price     why (GapCause)                 STATUS    price     what happened (StatusCode)
              size      how many records are missing             order_id  by code, such as the other instrument
              order_id  the last id before the gap
              venue_seq the next id after the gap

Each note is an atomic event of its own (LAST). The ON_ flags name the streams concerned; a note without them, or on the
feed's pseudo-instrument, is informational.
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
"""Listed one by one, not as a range: kinds of data may have higher numbers."""

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
    """Index of the first note among the records in `words`, flat, 8 words each; -1 if there is none."""
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
    """A GAP of `cause`, a GapCause, for each of these instruments, dtype TICK. Array arguments hold a value per GAP."""
    gaps = _make(instruments, Kind.GAP, cause, ts_event, ts_recv, flags, seq)
    gaps["size"], gaps["order_id"], gaps["venue_seq"] = missing, last_id, next_id
    return gaps


def make_statuses(
    instruments: ArrayLike, code: StatusCode, *, ts_event: int = 0, ts_recv: int = 0, flags: ArrayLike = 0
) -> Records:
    """A STATUS for each of these instruments, dtype TICK."""
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
    """Compile the kernels above, or load them from the cache, for this process."""
    first_note(np.zeros(WORDS, np.int64))
