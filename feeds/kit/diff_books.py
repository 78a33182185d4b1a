"""Books of venues that send numbered diffs and serve the whole book over REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from tickplant.feeds.kit import state_table as sc
from tickplant.feeds.kit.book_sync import BookSync
from tickplant.feeds.kit.book_tracker import Diff, Snapshot
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.stream_links import StreamLinks
from tickplant.records.batch import TS_EVENT, TS_RECV, Rows
from tickplant.records.layouts import Kind


class DiffBooks:
    """The books of a market whose listings each have a BookSync."""

    def __init__(self, market: Market, links: StreamLinks, after_diff: Callable[[int], None]) -> None:
        """`after_diff` is called with the receive time after each diff."""
        self._market = market
        self._links = links
        self._after_diff = after_diff

    def on_diff(
        self,
        listing: Listing,
        first: int,
        last: int,
        previous: int,
        rows: Rows,
        ts_event: int,
        ts_recv: int,
        *,
        kind: int | None = Kind.LEVEL,
    ) -> None:
        """Record the LEVELs of a diff, now or once its snapshot has come; rows of several kinds if `kind` is None."""
        market, sync = self._market, cast("BookSync", listing.book)
        market.listings.state[listing.slot, sc.SEEN_BOOK] = 1
        market.rejects.end(listing, market.book_channel)
        if sync.advance(first, last, previous, overlapping=self._links.overlapping):
            market.batch.extend(rows, kind)
        else:
            diff = Diff(first, last, previous, rows.copy(), max(len(rows), 1))
            market.record(listing, sync.on_diff(diff, overlapping=self._links.overlapping), ts_event, ts_recv)
        self._after_diff(ts_recv)

    def on_snapshot(self, listing: Listing, ident: int, rows: Rows) -> bool:
        """Take in a whole book, recorded if it fits the diffs held back. False if the book needs no snapshot."""
        market, sync = self._market, cast("BookSync", listing.book)
        market.rejects.end(listing, "snapshot")
        if sync.live:
            return False
        outputs = sync.on_snapshot(Snapshot(ident, rows))
        market.record(listing, outputs, int(rows[0, TS_EVENT]), int(rows[0, TS_RECV]))
        return True

    def on_rejected_snapshot(self, listing: Listing, rejected: RejectError, ts_recv: int) -> None:
        """Take in a snapshot that cannot be recorded; if the book needs one, another is requested."""
        rejected.accounted = True
        if not listing.book.live:
            self._market.rejects.add(rejected, listing, "snapshot", ts_recv)
        self.retry_snapshot(listing, ts_recv)

    def retry_snapshot(self, listing: Listing, ts_ns: int) -> None:
        """Handle a snapshot that did not come: ask for another if changes still wait for it."""
        if cast("BookSync", listing.book).waiting:
            self._market.want_snapshot(listing, ts_ns)
