"""The adapter of a venue whose books begin with a snapshot behind each subscription: see `in_band_books`."""

from __future__ import annotations

import functools

from tickplant.feeds.contract import Event
from tickplant.feeds.kit.in_band_books import InBandBooks
from tickplant.feeds.kit.subscriptions import Link
from tickplant.feeds.kit.venue_adapter import VenueAdapter


class InBandAdapter(VenueAdapter):
    """Fetches a book by a new subscription, when that is due."""

    now_ns = 0
    """Time of the event that is being taken."""

    @functools.cached_property
    def snapshots(self) -> InBandBooks:
        """When which book is to be subscribed to anew."""
        return InBandBooks(self.market, self.subscriptions)

    def on_event(self, event: Event, now_ns: int) -> None:
        """See the contract."""
        self.now_ns = now_ns
        super().on_event(event, now_ns)

    def opened(self, link: Link, now_ns: int) -> None:
        """Each book comes with a snapshot."""
        self.snapshots.opened(stream.symbol for stream in link.streams)
        super().opened(link, now_ns)

    def fetch_book(self, symbol: str, now_ns: int) -> None:
        """A snapshot comes with a new subscription."""
        self.snapshots.fetch(symbol, now_ns)

    def follow_up(self) -> None:
        """Ask for what the market wants, as far as its time has come."""
        super().follow_up()
        self.effects += self.snapshots.renew(self.now_ns)

    def on_second(self, now_ns: int) -> None:
        """What had to wait, and what did not come."""
        super().on_second(now_ns)
        self.snapshots.on_second(now_ns)
        self.follow_up()
