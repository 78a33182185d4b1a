"""Books of a venue that sends neither ids nor checksums: whole books in band, then absolute sizes.

Only the connection vouches for such a book. Signs that something is missing, such as a count of all messages of a
connection, are the adapter's to watch: it calls `suspect`. A snapshot comes with each subscription. A book whose
stream is acknowledged but that is not live after some seconds has lost its snapshot: another is requested. Changes
that arrive meanwhile are recorded as they come, and nobody applies them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tickplant.feeds.contract import Send
from tickplant.feeds.kit import state_table
from tickplant.feeds.kit.book_tracker import UNKNOWN, Output, Snapshot
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.request_budget import SECOND_NS, RequestBudget, SnapshotThrottle
from tickplant.feeds.kit.subscriptions import Subscriptions
from tickplant.feeds.kit.unnumbered_book import UnnumberedBook
from tickplant.records.batch import Rows
from tickplant.records.layouts import GapCause, Kind

OVERDUE_NS: Final = 10 * SECOND_NS
"""A snapshot this late after the acknowledgement of its subscription will not come."""


class InBandBook(UnnumberedBook):
    """State of one book; only the records hold its levels."""

    def on_snapshot(self, rows: Rows) -> list[Output]:
        """Take in CLEAR and LEVEL rows."""
        return [*self._begin(), Snapshot(0, rows)]

    def go_on(self, book_id: int, *, live: bool, after_snapshot: bool) -> None:
        """Continue a recording with changes of a book that its records hold."""
        del book_id, after_snapshot
        self.live = live

    def _forget(self) -> None:
        """No state to forget."""


class InBandBooks:
    """The books of a market whose listings each have an InBandBook."""

    def __init__(self, market: Market, subscriptions: Subscriptions) -> None:
        self._market = market
        self._subscriptions = subscriptions
        self._throttle = SnapshotThrottle(RequestBudget(0.0, 1))
        self._renewals: dict[str, int] = {}  # books to subscribe to again, and when
        self._without_since: dict[str, int] = {}  # acknowledged books that are not live, and since when

    def on_update(self, listing: Listing, rows: Rows) -> None:
        """Record the LEVEL rows of one event; the rows may lie in the buffer of a shape."""
        market = self._market
        market.listings.state[listing.slot, state_table.SEEN_BOOK] = 1
        market.batch.extend(rows, Kind.LEVEL)

    def on_snapshot(self, listing: Listing, book: InBandBook, rows: Rows, ts_event: int, ts_recv: int) -> None:
        """Record a whole book: CLEAR and LEVEL rows."""
        market = self._market
        market.listings.state[listing.slot, state_table.SEEN_BOOK] = 1
        market.rejects.end(listing, "book")
        listing.snapshots_asked = listing.snapshots_asked or 1  # the first one came with the subscription
        self._without_since.pop(listing.instrument.symbol, None)
        market.record(listing, book.on_snapshot(rows), ts_event, ts_recv)

    def suspect(self, listings: Iterable[Listing], ts_recv: int) -> None:
        """Give up the books of these instruments: their connection has lost something. New snapshots are requested."""
        for listing in listings:
            self._market.record(listing, listing.book.reject(UNKNOWN, UNKNOWN, GapCause.SEQUENCE), 0, ts_recv)

    def fetch(self, symbol: str, now_ns: int) -> None:
        """Schedule a snapshot: `renew` asks for it once that is due."""
        self._renewals[symbol] = self._throttle.next_ns(symbol, now_ns)

    def opened(self, symbols: Iterable[str]) -> None:
        """Drop the scheduled renewals of these symbols: their connection has opened and subscribes to their books."""
        for symbol in symbols:
            self._renewals.pop(symbol, None)

    def on_second(self, now_ns: int) -> None:
        """Want again the snapshots that did not come."""
        listings = self._market.listings.by_symbol
        waiting: dict[str, int] = {}
        for link in self._subscriptions.links.values():
            for stream in link.watched:
                listing = listings.get(stream.symbol)
                if stream.channel == "book" and listing is not None and not listing.book.live:
                    waiting[stream.symbol] = self._without_since.get(stream.symbol, now_ns)
        for symbol, since_ns in waiting.items():
            if now_ns - since_ns >= OVERDUE_NS:
                waiting[symbol] = now_ns
                # A RESYNC already stands for this wait. A second one would not be in a recording, which has no clock.
                self._market.snapshots_wanted.append((symbol, now_ns))
        self._without_since = waiting

    def renew(self, now_ns: int) -> list[Send]:
        """Subscribe again to the books that are due, all those of a link at once."""
        sends: list[Send] = []
        if not self._renewals:
            return sends
        due = {symbol for symbol, at_ns in self._renewals.items() if at_ns <= now_ns}
        for link in self._subscriptions.links.values() if due else ():
            streams = [stream for stream in link.streams if stream.channel == "book" and stream.symbol in due]
            if streams and link.sockets:
                sends += self._subscriptions.request(link, streams, now_ns, subscribe=False)
                sends += self._subscriptions.request(link, streams, now_ns)
        for symbol in due:
            del self._renewals[symbol]
        return sends
