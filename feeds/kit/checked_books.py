"""Books of venues that send snapshots in band and a checksum with each change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from tickplant.books.checksums import Digits, prepare_kernels
from tickplant.feeds.kit import shape_kernels
from tickplant.feeds.kit import state_table as sc
from tickplant.feeds.kit.book_tracker import Output
from tickplant.feeds.kit.checked_book import CheckedBook
from tickplant.feeds.kit.level_rows import Levels, TextLevel, checked_rows
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.numbers import decimals
from tickplant.feeds.kit.rejected import RejectError
from tickplant.instruments import Instrument
from tickplant.records.batch import Rows


class CheckedBooks:
    """The books of a market whose listings each have an UnnumberedBook, mostly a CheckedBook."""

    def __init__(self, market: Market, *, asks_first: bool = False) -> None:
        """`asks_first`: the venue sends asks before bids."""
        self._market = market
        self._asks_first = asks_first

    def on_event(
        self,
        listing: Listing,
        bids: Levels,
        asks: Levels,
        checksum: int | None,
        ts_event: int,
        ts_recv: int,
        *,
        depth: int,
        snapshot: bool,
    ) -> None:
        """Record what the reference decoder read (see `checked_rows`), cut to `depth` levels. Raises RejectError."""
        instrument = listing.instrument
        try:
            rows = checked_rows(
                instrument, bids, asks, ts_event, ts_recv, checksum, snapshot=snapshot, asks_first=self._asks_first
            )
        except RejectError as rejected:
            self._market.rejects.add(rejected, listing, "book", ts_recv)
            raise
        if snapshot:
            self.on_snapshot(listing, rows, printed_digits(instrument, [*bids, *asks]), depth, ts_event, ts_recv)
        else:
            self.on_update(listing, rows, ts_event, ts_recv)

    def on_snapshot(
        self, listing: Listing, rows: Rows, digits: Digits, depth: int, ts_event: int, ts_recv: int
    ) -> None:
        """Record a whole book of levels, as it comes with a subscription: rows of `level_rows.checked_rows`."""
        outputs = cast("CheckedBook", listing.book).on_snapshot(rows, digits, depth)
        self.record(listing, outputs, ts_event, ts_recv, snapshot=True)

    def on_update(self, listing: Listing, rows: Rows, ts_event: int, ts_recv: int) -> None:
        """Record the LEVELs of one event, then any CHECKSUM. No rows at all are a sign of life."""
        outputs = cast("CheckedBook", listing.book).on_update(rows) if len(rows) else ()
        self.record(listing, outputs, ts_event, ts_recv, snapshot=False)

    def record(
        self, listing: Listing, outputs: Sequence[Output], ts_event: int, ts_recv: int, *, snapshot: bool
    ) -> None:
        """Record what has resulted from an event of a book."""
        market = self._market
        market.rejects.end(listing, market.book_channel)
        if snapshot:
            listing.snapshots_asked = listing.snapshots_asked or 1  # the first one came with the subscription
        else:
            market.listings.state[listing.slot, sc.SEEN_BOOK] = 1
        market.record(listing, outputs, ts_event, ts_recv)


def printed_digits(instrument: Instrument, levels: Iterable[TextLevel]) -> Digits:
    """How a venue prints a book: with as many decimals as its snapshot shows. Raises RejectError."""
    printed = [(decimals(level.price), decimals(level.size)) for level in levels]
    return Digits(
        instrument.price_scale,
        instrument.size_scale,
        max((price for price, _ in printed), default=0),
        max((size for _, size in printed), default=0),
    )


def warm_up() -> None:
    """Compile or load the kernels for a venue with such books: those of shapes and of checksums."""
    shape_kernels.warm_up()
    prepare_kernels()
