"""What tests follow in a feed process at a venue of the catalogue: its books, and the credential that it uses."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from credential_folder import credential_folder
from feed_process import FeedProcess
from folded_book import FoldedBook
from session_scripts import levels_of
from venue_sample import Levels, VenueSample

from tickplant.records.layouts import Kind, StatusCode


class Books:
    """The books folded from all records that a feed has published so far."""

    def __init__(self, feed: FeedProcess, sample: VenueSample) -> None:
        self._feed, self._sample = feed, sample
        self._books: defaultdict[int, FoldedBook] = defaultdict(FoldedBook)
        self._quoted: dict[int, bool] = {}  # by instrument, whether quotes have come since the link was lost
        self._read = 0

    def are_live(self) -> bool:
        self._follow()
        found = [self._feed.instruments.find(self._sample.venue, symbol) for symbol in self._sample.symbols]
        if not self._sample.has_book:
            return all(rows and self._quoted.get(rows[-1].id) for rows in found)
        return all(rows and self._books[rows[-1].id].live for rows in found)

    def of(self, symbol: str) -> Levels:
        self._follow()
        row = self._feed.instruments.find(self._sample.venue, symbol)[-1]
        return levels_of(self._books[row.id], row)

    def _follow(self) -> None:
        records = self._feed.records[self._read :]
        self._read += len(records)
        for ident in np.unique(records["instrument"]).tolist():
            mine = records[records["instrument"] == ident]
            self._books[ident].apply_ticks(mine)
            lost = np.flatnonzero((mine["kind"] == Kind.STATUS) & (mine["price"] == StatusCode.DISCONNECTED))
            since = mine["kind"][lost[-1] if len(lost) else 0 :]
            before = not len(lost) and self._quoted.get(ident, False)
            self._quoted[ident] = before or bool((since == Kind.QUOTE).any())


def credential(sample: VenueSample, folder: Path) -> dict[str, str] | None:
    """The environment in which a feed finds the values of its credential."""
    return credential_folder(folder, "venue", sample.secrets) if sample.secrets else None
