"""The adapter of a venue whose books begin with a snapshot after each subscription: see `in_band_books`."""

from __future__ import annotations

import functools

from tickplant.feeds.contract import Event
from tickplant.feeds.kit.in_band_books import InBandBooks
from tickplant.feeds.kit.subscriptions import Link
from tickplant.feeds.kit.venue_adapter import VenueAdapter


class InBandAdapter(VenueAdapter):
    """Fetches a book with a new subscription once that is due."""

    now_ns = 0
    """Time of the event being handled."""

    @functools.cached_property
    def snapshots(self) -> InBandBooks:
        """Schedules which book to subscribe to again, and when."""
        return InBandBooks(self.market, self.subscriptions)

    def on_event(self, event: Event, now_ns: int) -> None:
        """See the contract."""
        self.now_ns = now_ns
        super().on_event(event, now_ns)

    def opened(self, link: Link, now_ns: int) -> None:
        """Each book comes with a snapshot, so scheduled renewals of this link are moot."""
        self.snapshots.opened(stream.symbol for stream in link.streams)
        super().opened(link, now_ns)

    def fetch_book(self, symbol: str, now_ns: int) -> None:
        """Schedule a new subscription, which brings a snapshot."""
        self.snapshots.fetch(symbol, now_ns)

    def follow_up(self) -> None:
        """Ask for the snapshots that the market wants and that are due."""
        super().follow_up()
        self.effects += self.snapshots.renew(self.now_ns)

    def on_second(self, now_ns: int) -> None:
        """Ask for what had to wait, and for what did not come."""
        super().on_second(now_ns)
        self.snapshots.on_second(now_ns)
        self.follow_up()
