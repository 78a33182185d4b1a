"""What the opening, the loss and the silence of links mean for the streams that they carry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tickplant.feeds.contract import Effect
from tickplant.feeds.kit import state_table
from tickplant.feeds.kit.link_groups import group_of
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.subscriptions import Link, Stream, Subscriptions
from tickplant.records.channels import ON_CHANNEL, OTHER_CHANNELS
from tickplant.records.layouts import StatusCode

SETTLED_NS: Final = 3_000_000_000
"""After being open this long, a link is assumed to deliver all its streams."""

_SEEN: Final = {
    "quote": state_table.SEEN_QUOTE,
    "book": state_table.SEEN_BOOK,
    "orders": state_table.SEEN_BOOK,
}


class StreamLinks:
    """The links of a feed. Methods return effects for the runner."""

    def __init__(
        self, market: Market, subscriptions: Subscriptions, carried_by: Callable[[str], Iterable[str]], *, live: bool
    ) -> None:
        """`carried_by` gives the channels that a link of this name carries, for recordings."""
        self._market = market
        self._subscriptions = subscriptions
        self._carried_by = carried_by
        self._live = live
        self._seen = dict(_SEEN)  # by channel, the column that says whether something has come
        if state_table.LAST_TRADE in market.uncounted:
            self._seen |= dict.fromkeys(("trade", "agg_trade"), state_table.SEEN_TRADE)
        self.overlapping = False  # two open sockets carry the same streams
        self._marks: dict[Stream, int | None] = {}  # newest trade of a stream at the last check

    def find(self, name: str) -> Link | None:
        """The link of this name; in a recording every name has one."""
        link = self._subscriptions.links.get(name)
        if link is None and not self._live:
            return self._subscriptions.recorded(name, self._carried_by(group_of(name)))
        return link

    def on_open(self, link: Link, now_ns: int) -> None:
        """Handle a socket that is up."""
        link.sockets += 1
        link.opened_ns = now_ns
        self._note_overlap()
        link.replacing = False
        if not self._carrying(link):
            self._clear_seen(link)
        self._market.status(StatusCode.CONNECTED, now_ns, flags=_flags(link))
        self.go_on(link, now_ns)

    def go_on(self, link: Link, now_ns: int, streams: Sequence[Stream] | None = None) -> None:
        """Prepare the streams of a link, or those given: they are about to come, perhaps after an interruption."""
        coming = self.streams_of(link) if streams is None else streams
        # In the same order live and from a capture, which does not state how the feed was configured.
        for stream in sorted(coming, key=lambda stream: stream.channel):
            listing = self._market.listings.by_symbol.get(stream.symbol)
            if listing is not None:
                self._market.go_on(listing, stream.channel, now_ns)

    def on_close(self, link: Link, now_ns: int) -> None:
        """Handle a socket that is gone. If another one carries its streams, nothing is lost."""
        if link.sockets == 0 and self._live:
            return
        link.sockets = max(link.sockets - 1, 0)  # a capture may begin while the link is open
        self._note_overlap()
        if link.sockets:
            if not self._carrying(link):
                self._clear_seen(link)
                self._subscriptions.restart_watch(link, now_ns)
            self._market.status(StatusCode.HANDOVER, now_ns, flags=_flags(link))
            return
        link.replacing = False
        if carrying := self._carrying(link):
            # A link heard from after another one was settled had delivered everything up to that moment.
            if not any(twin.opened_ns + SETTLED_NS <= link.heard_ns for twin in carrying):
                self._doubt(link)
            self._market.status(StatusCode.HANDOVER, now_ns, flags=_flags(link))
            return
        self.cut(link, self.streams_of(link), now_ns)

    def cut(self, link: Link, streams: Iterable[Stream], now_ns: int) -> None:
        """Interrupt these streams of a link, though the link itself may live."""
        lost: dict[Listing, int] = {}
        for stream in streams:
            link.watched.pop(stream, None)
            if (listing := self._market.listings.by_symbol.get(stream.symbol)) is not None:
                self._market.interrupt(listing, stream.channel, now_ns)
                lost[listing] = lost.get(listing, 0) | ON_CHANNEL[stream.channel]
        for listing, flags in lost.items():
            self._market.status(StatusCode.DISCONNECTED, now_ns, listing.instrument, flags=flags)

    def streams_of(self, link: Link) -> Sequence[Stream]:
        """The streams of a link; in a recording, which does not list them, all that the link may have carried."""
        symbols = self._market.listings.by_symbol if not self._live else ()
        return link.streams or [Stream(symbol, channel) for symbol in symbols for channel in sorted(link.channels)]

    def on_second(self, now_ns: int) -> tuple[list[Effect], bool]:
        """Request refused streams again, and replace links whose subscriptions are unanswered or silent.

        Also returns whether a link is being replaced: the venue's instruments may have changed.
        """
        effects: list[Effect] = [*self._subscriptions.again(now_ns), *self._subscriptions.lagging(now_ns)]
        overdue = self._subscriptions.overdue(now_ns, self._delivered)
        for replacement, silent in overdue:
            self.tell_silent(silent, now_ns)
            effects.append(replacement)
        return effects, bool(overdue)

    def tell_silent(self, silent: Sequence[Stream], now_ns: int) -> None:
        """Record that these streams are acknowledged and deliver nothing."""
        for stream in silent:
            listing = self._market.listings.by_symbol.get(stream.symbol)
            if listing is not None:
                code = StatusCode.SUBSCRIPTION_SILENT
                self._market.status(code, now_ns, listing.instrument, flags=ON_CHANNEL[stream.channel])
                self._market.doubt(listing, stream.channel)

    def _carrying(self, link: Link) -> list[Link]:
        # The other open links that carry the same streams.
        return [twin for twin in self._subscriptions.twins(link) if twin.sockets]

    def _doubt(self, link: Link) -> None:
        # The remaining link may not have subscribed to everything when this one broke. Ids show lost trades and books.
        for stream in self.streams_of(link):
            if (listing := self._market.listings.by_symbol.get(stream.symbol)) is not None:
                self._market.doubt(listing, stream.channel)

    def _note_overlap(self) -> None:
        # Computed when a socket opens or closes, since each event of a book reads the result.
        sockets = Counter[str]()
        for link in self._subscriptions.links.values():
            sockets[link.group] += link.sockets
        self.overlapping = max(sockets.values(), default=0) > 1

    def _clear_seen(self, link: Link) -> None:
        for stream in link.streams:
            self._delivered(stream)

    def _delivered(self, stream: Stream) -> bool:
        listing = self._market.listings.by_symbol.get(stream.symbol)
        if listing is None:
            return False
        if stream.channel in OTHER_CHANNELS:
            return self._market.others.take_delivered(stream.symbol, stream.channel)
        if stream.channel not in self._seen:
            before, self._marks[stream] = self._marks.get(stream), self._market.last_trade(stream)
            return before != self._marks[stream]
        row, column = self._market.listings.state[listing.slot], self._seen[stream.channel]
        news, row[column] = int(row[column]), 0
        self._market.rejects.seen(listing, stream.channel, news)
        return bool(news)


def _flags(link: Link) -> int:
    flags = 0
    for channel in link.channels:
        flags |= ON_CHANNEL.get(channel, 0)
    return flags
