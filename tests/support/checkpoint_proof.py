"""Compares checkpoints with the definition of a book: the fold of the ticks before the named one."""

from __future__ import annotations

import numpy as np
from folded_book import FoldedBook
from numpy.typing import NDArray

from tickplant.records.layouts import Flag, Kind, Side

Records = NDArray[np.void]


def expect_as_folded(made: Records, ticks: Records) -> int:
    """Assert that each checkpoint is the fold of the ticks before it, and that none is torn; returns their number.

    `ticks` have the seqs 0, 1, 2 ….
    """
    folds: dict[int, FoldedBook] = {}
    taken: dict[int, int] = {}
    ends = np.flatnonzero(made["flags"] & Flag.LAST) + 1
    starts = np.flatnonzero(made["kind"] == Kind.CLEAR)
    assert starts.tolist() == [0, *ends[:-1].tolist()][: len(starts)]
    assert ends[-1] == len(made)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        records = made[start:end]
        instrument, seq = int(records[0]["instrument"]), int(records[0]["source_seq"])
        assert (records["instrument"] == instrument).all()
        assert (records["source_seq"] == seq).all()
        assert ticks[seq][["ts_event", "ts_recv"]] == records[0][["ts_event", "ts_recv"]]
        book = folds.setdefault(instrument, FoldedBook())
        since = ticks[taken.get(instrument, 0) : seq]
        book.apply_ticks(since[since["instrument"] == instrument])
        taken[instrument] = seq
        assert book.live
        for side in (Side.BID, Side.ASK):
            assert records[records["side"] == side][["price", "size"]].tolist() == book.side(side)
        assert {book.times} == set(records[["book_ts_event", "book_ts_recv"]].tolist())
    return len(starts)
