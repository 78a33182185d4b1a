"""Finds the book of a recorded snapshot that does not name its symbol: a bare REST answer in a recording.

docs/design.md §5 states the rule: a book gets a snapshot on evidence only; an ambiguous snapshot is rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

from tickplant.feeds.kit.book_sync import BookSync
from tickplant.feeds.kit.book_tracker import Diff
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.venues.binance.messages import Snapshot
from tickplant.feeds.venues.binance.snapshot_rows import snapshot_rows
from tickplant.instruments import Instrument
from tickplant.records.batch import PACKED, PRICE, SIDE_SHIFT, SIZE, Rows
from tickplant.records.layouts import Side

WAIT_NS: Final = 10 * 10**9
"""Receive time for which a snapshot waits for the diffs around it."""

DOUBT_NS: Final = 2 * 10**9
"""Receive time for which a small spot book waits for the next one, which may show that it was not the whole book."""

STEPS_AHEAD: Final = 8
"""How far a snapshot may be ahead of the diffs received, in widths of the widest diff of its symbol."""

IDS_AHEAD: Final = 64
"""How far it may be ahead in ids, even if the few diffs received so far are narrow."""

PROOF_LEVELS: Final = 8
"""This many matching levels without a mismatch prove that a snapshot is of this book, whichever others its id fits."""

SMALL: Final = 20
"""Most levels per side in a stream of partial books: a book this small may be a partial or a whole one."""

PARTIAL_DEPTHS: Final = frozenset({5, 10, 20})
MOST_PENDING: Final = 64

Levels = dict[tuple[int, int], int]
"""Size by side and price, as mantissas."""


def _sync(listing: Listing) -> BookSync:
    return cast("BookSync", listing.book)


class Unnamed:
    """A snapshot without a symbol."""

    def __init__(self, snapshot: Snapshot, body: bytes, ts_recv: int) -> None:
        self.id = snapshot.id
        self.body = body
        self.ts_recv = ts_recv
        self.sides = len(snapshot.bids), len(snapshot.asks)
        self.known: tuple[Listing, ...] = ()  # books whose diffs had begun before its arrival
        self._rows: dict[int, Rows] = {}

    @property
    def is_small(self) -> bool:
        """Whether a stream of partial books could have sent it."""
        return max(self.sides) <= SMALL

    def rows(self, instrument: Instrument) -> Rows:
        """Its records for this instrument. Raises RejectError if its numbers do not fit the scales."""
        if instrument.id not in self._rows:
            self._rows[instrument.id] = snapshot_rows(instrument, self.body, self.ts_recv)[1]
        return self._rows[instrument.id]

    def levels(self, instrument: Instrument) -> Levels:
        """Its levels for this instrument. Raises RejectError as `rows` does."""
        return _levels(self.rows(instrument)[1:])


Decide = Callable[[Unnamed, Listing | None, RejectError | None], None]
"""Called once per snapshot, with its book or with the reason for its rejection."""


class UnnamedSnapshots:
    """Snapshots without a symbol, until their books are known."""

    def __init__(self, books: Mapping[str, Listing], decide: Decide, *, futures: bool) -> None:
        """No snapshots so far.

        Args:
            books: all books of the feed; grows while recordings are read.
            decide: called from `add`, `settle` and `finish`.
            futures: whether the venue's diffs chain by `pu`. A partial book then has the shape of a diff.
        """
        self.pending: list[Unnamed] = []
        self._books = books
        self._decide = decide
        self._futures = futures
        self._partials = False  # this recording contains streams of partial books

    def add(self, snapshot: Unnamed) -> None:
        """Take in a snapshot."""
        snapshot.known = tuple(book for book in self._books.values() if _sync(book).low is not None)
        if not self._futures and snapshot.is_small and (self._partials or PARTIAL_DEPTHS & set(snapshot.sides)):
            self._reject_partial(snapshot)
            return
        self.pending.append(snapshot)
        self.settle(snapshot.ts_recv)
        if len(self.pending) > MOST_PENDING:
            self._settle(self.pending[0], final=True)

    def settle(self, now_ns: int) -> None:
        """Decide what can be decided after a diff or a snapshot has arrived."""
        for snapshot in tuple(self.pending):
            if snapshot in self.pending:
                self._settle(snapshot, now_ns)

    def finish(self) -> None:
        """Decide everything: nothing more will arrive."""
        for snapshot in tuple(self.pending):
            if snapshot in self.pending:
                self._settle(snapshot, final=True)

    def _settle(self, snapshot: Unnamed, now_ns: int = 0, *, final: bool = False) -> None:
        try:
            owner = self._owner(snapshot, final=final or now_ns - snapshot.ts_recv > WAIT_NS)
        except RejectError as rejected:
            self._close(snapshot, None, rejected)
            return
        if owner is None:
            return
        doubtful = not self._futures and snapshot.is_small and not _sync(owner).live
        if doubtful and not final and now_ns - snapshot.ts_recv <= DOUBT_NS:
            later = self._successor(snapshot, owner)
            if later is None:
                return
            if not _leads_to(owner, snapshot, later):
                self._partials = True
                for partial in (snapshot, later):
                    self.pending.remove(partial)
                    self._reject_partial(partial)
                return
        self._close(snapshot, owner, None)

    def _close(self, snapshot: Unnamed, owner: Listing | None, rejected: RejectError | None) -> None:
        self.pending.remove(snapshot)
        self._decide(snapshot, owner, rejected)

    def _reject_partial(self, snapshot: Unnamed) -> None:
        bids, asks = snapshot.sides
        self._decide(snapshot, None, RejectError("partial book of no known symbol", f"{bids} bids, {asks} asks"))

    def _owner(self, snapshot: Unnamed, *, final: bool) -> Listing | None:
        # The book of a snapshot; None if it may become clear later. Raises RejectError if it will not.
        ident = snapshot.id
        reached = [book for book in snapshot.known if _sync(book).reaches(ident)]
        near = [book for book in snapshot.known if 0 < ident - _sync(book).high <= _reach(book)]
        coming = near if reached else [book for book in snapshot.known if _sync(book).high < ident]
        if coming and not final:
            return None
        fitting = [book for book in reached if _sync(book).accepts(ident)]
        agreeing = {id(book): agreement for book in fitting if (agreement := _agreement(book, snapshot)) is not None}
        owners = [book for book in fitting if id(book) in agreeing]
        rivals = [book for book in reached if book not in fitting] + (near if reached else [])
        if len(owners) == 1 and not rivals:
            return owners[0]
        proven = [book for book in owners if agreeing[id(book)] >= PROOF_LEVELS]
        if len(proven) == 1:
            return proven[0]
        if not owners and (live := next((book for book in rivals if _sync(book).live), None)) is not None:
            return live  # needs no snapshot
        detail = f"id {ident} is within the diffs of {len(reached)} books, {len(fitting)} of them wait for it"
        raise RejectError("snapshot of no known symbol", f"{detail}, {len(owners)} agree with it")

    def _successor(self, snapshot: Unnamed, owner: Listing) -> Unnamed | None:
        # The next snapshot of the same book.
        for later in self.pending[self.pending.index(snapshot) + 1 :]:
            try:
                if later.id >= snapshot.id and later.is_small and self._owner(later, final=False) is owner:
                    return later
            except RejectError:
                continue  # reported when its own turn comes
        return None


def _reach(book: Listing) -> int:
    return max(STEPS_AHEAD * _sync(book).widest, IDS_AHEAD)


def _agreement(book: Listing, snapshot: Unnamed) -> int | None:
    """Number of levels known from earlier diffs that the snapshot confirms; None if it contradicts one.

    Raises RejectError if the snapshot's numbers do not fit the instrument's scales.
    """
    kept = _folded({}, [diff for diff in _sync(book).held if diff.last <= snapshot.id])
    _forget(kept, _sync(book), snapshot.id)
    if not kept:
        return 0
    levels = snapshot.levels(book.instrument)
    deepest = {}
    for side in {side for side, _ in levels}:
        prices = [price for other, price in levels if other == side]
        if len(prices) > SMALL:
            deepest[side] = min(prices) if side == Side.BID else max(prices)
    agreeing = 0
    for (side, price), size in kept.items():
        if side in deepest and (price < deepest[side] if side == Side.BID else price > deepest[side]):
            continue  # beyond the depth of the snapshot
        if levels.get((side, price), 0) != size:
            return None
        agreeing += size != 0
    return agreeing


def _leads_to(book: Listing, snapshot: Unnamed, later: Unnamed) -> bool:
    """Whether the diffs between two small snapshots lead from one to the other, as they do between whole books."""
    between = [diff for diff in _sync(book).held if snapshot.id < diff.last <= later.id]
    expected = _folded(snapshot.levels(book.instrument), between)
    found = later.levels(book.instrument)
    for levels in (expected, found):
        _forget(levels, _sync(book), later.id)
    return {key: size for key, size in expected.items() if size} == found


def _folded(levels: Levels, diffs: list[Diff]) -> Levels:
    for diff in diffs:
        levels |= _levels(diff.content)
    return levels


def _forget(levels: Levels, sync: BookSync, ident: int) -> None:
    # A diff that spans an id may have changed its levels before or after the id, so these are unknown.
    for diff in sync.held:
        if diff.first <= ident < diff.last:
            for key in _levels(diff.content):
                levels.pop(key, None)


def _levels(rows: Rows) -> Levels:
    sides = rows[:, PACKED] >> SIDE_SHIFT & 0xFF
    return dict(zip(zip(sides.tolist(), rows[:, PRICE].tolist(), strict=True), rows[:, SIZE].tolist(), strict=True))
