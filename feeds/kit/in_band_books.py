"""Books of a venue that numbers nothing and sends no checksum: whole books in band, then absolute sizes.

Nothing but the connection vouches for such a book. What shows that something is missing, such as a count of all
messages of a connection, is for the adapter to see: it calls `suspect`. A snapshot comes with a subscription, a new
one with a new subscription. A book whose stream is acknowledged and that is not live after some seconds has lost its
snapshot: another one is asked for. Changes that come meanwhile are recorded as they come, and nobody applies them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from tickplant.feeds.contract import Send
from tickplant.feeds.kit import state_table
from tickplant.feeds.kit.book_tracker import UNKNOWN, Gap, Output, Snapshot
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.request_budget import SECOND_NS, RequestBudget, SnapshotThrottle
from tickplant.feeds.kit.subscriptions import Subscriptions
from tickplant.records.batch import Rows
from tickplant.records.layouts import GapCause, Kind

OVERDUE_NS: Final = 10 * SECOND_NS
"""A snapshot that has not come so long after its subscription was acknowledged does not come."""


class InBandBook:
    """State of one book; see book_tracker.BookTracker."""

    def __init__(self) -> None:
        self.live = False
        self.wants_snapshot = False
        self.duplicates = 0
        self._lost: Any = None  # why a Gap comes before the next snapshot

    @property
    def seen_id(self) -> int | None:
        """There are no ids."""
        return None

    @property
    def counts_ids(self) -> bool:
        """There are no ids."""
        return False

    def on_snapshot(self, rows: Rows) -> list[Output]:
        """CLEAR and LEVEL rows."""
        lost, self._lost = self._lost, None
        self.live, self.wants_snapshot = True, False
        snapshot = Snapshot(0, rows)
        return [snapshot] if lost is None else [Gap(0, 0, UNKNOWN, lost), snapshot]

    def reject(self, first: int, last: int, cause: Any) -> Sequence[Output]:
        """An event has come that cannot be recorded, or none where there was one: the book is given up."""
        del first, last
        self.live = False
        self.wants_snapshot = True
        return [Gap(0, 0, UNKNOWN, cause)]

    def give_up(self, cause: Any) -> Sequence[Output]:
        """The stream was interrupted; the next subscription brings a snapshot."""
        if self.live:
            self._lost = cause
        self.live = self.wants_snapshot = False
        return ()

    def hand_over(self) -> Sequence[Output]:
        """The instrument goes on under another id, whose book begins with a snapshot."""
        self.live = False
        self.wants_snapshot = True
        return ()

    def release(self) -> Sequence[Output]:
        """Nothing is ever held."""
        return ()

    def refresh(self) -> None:
        """Ask for another snapshot; the book goes on until it comes."""
        self.wants_snapshot = True

    def resume(self, last_id: int, cause: Any) -> None:
        """An earlier process has followed the book: the next snapshot is preceded by a Gap of this cause."""
        del last_id
        self._lost = cause

    def go_on(self, book_id: int, *, live: bool, after_snapshot: bool) -> None:
        """A recording goes on with changes of a book that its records hold."""
        del book_id, after_snapshot
        self.live = live


class InBandBooks:
    """The books of a market whose listings have an InBandBook each."""

    def __init__(self, market: Market, subscriptions: Subscriptions) -> None:
        self._market = market
        self._subscriptions = subscriptions
        self._throttle = SnapshotThrottle(RequestBudget(0.0, 1))
        self._renewals: dict[str, int] = {}  # books to subscribe to anew, and when
        self._without_since: dict[str, int] = {}  # acknowledged books that are not live, and since when

    def on_update(self, listing: Listing, rows: Rows) -> None:
        """LEVEL rows of one event; they may lie where a shape has left them."""
        market = self._market
        market.listings.state[listing.slot, state_table.SEEN_BOOK] = 1
        market.batch.extend(rows, Kind.LEVEL)

    def on_snapshot(self, listing: Listing, book: InBandBook, rows: Rows, ts_event: int, ts_recv: int) -> None:
        """A whole book: CLEAR and LEVEL rows."""
        market = self._market
        market.listings.state[listing.slot, state_table.SEEN_BOOK] = 1
        market.rejects.end(listing, "book")
        listing.snapshots_asked = listing.snapshots_asked or 1  # the first one came with the subscription
        self._without_since.pop(listing.instrument.symbol, None)
        market.record(listing, book.on_snapshot(rows), ts_event, ts_recv)

    def suspect(self, listings: Iterable[Listing], ts_recv: int) -> None:
        """Something is missing on the connection of these instruments: their books are given up, and asked for."""
        for listing in listings:
            self._market.record(listing, listing.book.reject(UNKNOWN, UNKNOWN, GapCause.SEQUENCE), 0, ts_recv)

    def fetch(self, symbol: str, now_ns: int) -> None:
        """A snapshot is wanted: `renew` asks for it when that is due."""
        self._renewals[symbol] = self._throttle.next_ns(symbol, now_ns)

    def opened(self, symbols: Iterable[str]) -> None:
        """A connection has opened, and its books are subscribed to: those of these symbols need no renewal."""
        for symbol in symbols:
            self._renewals.pop(symbol, None)

    def on_second(self, now_ns: int) -> None:
        """Want the snapshots that did not come."""
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
                self._market.want_snapshot(listings[symbol], now_ns)
        self._without_since = waiting

    def renew(self, now_ns: int) -> list[Send]:
        """Subscribe anew to the books whose time has come, all those of a link at once."""
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
