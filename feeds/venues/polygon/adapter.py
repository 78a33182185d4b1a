"""The Polygon adapter: the specifics of this venue's messages, in the hooks of kit.venue_adapter.

What is recorded where the venue leaves room:

* `venue_seq` of a TRADE is the sequence of a stock or option (`q`), which is unique per symbol and rises with holes;
  for a pair it is the venue's id, or 63 bits of its blake2b if the id is text. So nothing shows what is missing: an
  interruption is a GAP. A repeat of one of the last trades is dropped.
* `order_id` of a TRADE holds its conditions, the venue's codes: the first eight, a byte each, low byte first, 255 for a
  code above 254. Code 0 is a regular trade, so zeros after the last code mean nothing.
* A trade whose conditions exclude it from the market's prices is IRREGULAR.
* The venue names no aggressor. Sizes of quotes are recorded as sent: round lots or shares.
* Bars of a second and of a minute are both recorded on `venue_bar`; their times distinguish them.
* A book of a pair (`XL2`) belongs to one exchange, whose code is the `order_id` of its records, which are PARTIAL.
* One login at a time: each connection logs in with the key of the credential once it is greeted. A refused key ends the
  feed. A link that another connection with this key has displaced rests for longer and longer pauses, and then the
  feed ends.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

import msgspec

from tickplant.feeds.contract import WS, Effect, FeedContext, LinkSpec, Resubscribe
from tickplant.feeds.kit.book_sync import BookSync
from tickplant.feeds.kit.emitter import count_name
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.level_rows import book_rows
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import RequestBudget
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.subscriptions import Link, Stream, Subscriptions
from tickplant.feeds.kit.venue_adapter import VenueAdapter
from tickplant.feeds.venues.polygon import messages, shapes
from tickplant.feeds.venues.polygon import venue as facts
from tickplant.feeds.venues.polygon.attribution import owner
from tickplant.feeds.venues.polygon.login import Login
from tickplant.records.batch import ORDER_ID
from tickplant.records.layouts import Flag, TradeFlag
from tickplant.records.statistics import StatisticCode
from tickplant.venues import VENUES

_SHAPES: Final = {
    facts.STOCKS.venue: Shapes(shapes.STOCKS),
    facts.OPTIONS.venue: Shapes(shapes.OPTIONS),
    facts.CRYPTO.venue: Shapes(shapes.CRYPTO),
}
_LINK: Final = "stream"
_DONE: Final = re.compile(r"(un)?subscribed to:\s*(\S+)", re.IGNORECASE)
_TOPIC: Final = re.compile(r"\b([A-Z][A-Z0-9]{0,3})\.([^\s,\"]+)")


class StreamCodec:
    """See kit.subscriptions.SubscribeCodec."""

    streams_per_request = facts.TOPICS_PER_REQUEST

    def __init__(self, cluster: facts.Cluster) -> None:
        self.busy: Collection[str] = cluster.busy
        self._topics = cluster.topics

    def name(self, stream: Stream) -> str:
        """Such as `T.MSFT`, or `AM.MSFT,A.MSFT`."""
        return ",".join(f"{prefix}.{stream.symbol}" for prefix in self._topics[stream.channel])

    def group(self, stream: Stream) -> str:
        """A request covers one channel: answers name no request."""
        return stream.channel

    def request(self, streams: Sequence[Stream], request: int, *, subscribe: bool) -> bytes:
        """`{"action":"subscribe","params":"T.MSFT,T.AAPL"}`."""
        action = "subscribe" if subscribe else "unsubscribe"
        return msgspec.json.encode({"action": action, "params": ",".join(map(self.name, streams))})


class PolygonAdapter(VenueAdapter):
    """One feed of one cluster."""

    def __init__(self, cluster: facts.Cluster, context: FeedContext, *, use_shapes: bool = True) -> None:
        """No events so far. `use_shapes`: False decodes everything with the reference decoder."""
        self._cluster = cluster
        self._channel_of = cluster.channels
        self._symbols = tuple(dict.fromkeys(context.symbols or ()))
        self._quoted = "quote" in context.channels
        self._has_key = bool(context.secrets.get(facts.KEY))
        self._login = Login(cluster.venue, context.secrets.get(facts.KEY, ""), _LINK)
        url = (context.endpoints.get(WS) or VENUES[cluster.venue].endpoints[WS]).rstrip("/") + cluster.path
        spec = LinkSpec(name=_LINK, url=url, overlap=False, send_interval_s=facts.SEND_INTERVAL_S)
        streams = [Stream(symbol, channel) for channel in context.channels for symbol in self._symbols]
        market = Market(
            context,
            _SHAPES[cluster.venue],
            lambda _: BookSync(chained=False, held_limit=1),
            owner,
            quotes_count=False,
            trades_count=False,
            trades_unique=True,
        )
        super().__init__(
            cluster.venue,
            context,
            market,
            Subscriptions([(spec, streams)] if streams else [], StreamCodec(cluster), silent_s=context.silent_s),
            RequestBudget(1.0, 1),
            carried_by=lambda _: cluster.topics,
            use_shapes=use_shapes,
        )

    def start(self, now_ns: int) -> None:
        """Open the link, unless the configuration cannot work."""
        most = self._cluster.most_quotes
        fail = self._login.fail
        if not self._has_key:
            reason = f"the credential of the feed has no {facts.KEY}: the venue gives nothing without a login"
            self.effects.append(fail(reason))
        elif most is not None and self._quoted and len(self._symbols) > most:
            self.effects.append(fail(f"quotes of {len(self._symbols)} symbols; one connection carries those of {most}"))
        else:
            super().start(now_ns)
        for symbol in self._symbols:
            if symbol in self.market.listings.last:  # so that the cost of a restart is recorded when the link opens
                self.market.listings.get(symbol)

    # The login.

    def opened(self, link: Link, now_ns: int) -> None:
        """Wait for the greeting; subscriptions follow once the login is accepted."""
        link.pending.clear()
        link.watched.clear()
        self._login.opened(now_ns)

    def why_not(self, symbol: str) -> str:
        """A clause if the only connection carries the quotes of its maximum of symbols."""
        symbols = {stream.symbol for link in self.subscriptions.links.values() for stream in link.streams}
        most = self._cluster.most_quotes
        if most is None or not self._quoted or len(symbols) < most:
            return ""
        return f"one connection carries the quotes of {most} symbols"

    def lists(self, symbol: str, answers: int, now_ns: int) -> bool | None:
        """Always True: the venue does not say which symbols exist."""
        return True

    def due(self, link: Link, streams: Sequence[Stream]) -> Sequence[Stream]:
        """No streams before the login."""
        return streams if self._login.since_ns else ()

    def on_second(self, now_ns: int) -> None:
        """Replace a connection whose login was not answered in time."""
        super().on_second(now_ns)
        link = self.subscriptions.links.get(_LINK)
        if link is not None and link.sockets:
            self._do(link, self._login.late(now_ns))

    def _on_status(self, status: messages.Status, ts_recv: int) -> bool:
        word, link = status.status, self.subscriptions.links.get(_LINK)
        if word in ("success", "error"):
            self._on_topics(status, ts_recv)
        elif not self.live or link is None or not link.sockets:
            pass
        elif word == "connected":
            self.effects += self._login.greeted()
        elif self._login.lets_in(word, ts_recv):
            self.effects += self.subscriptions.subscribe(link, ts_recv)
        else:
            self._do(link, self._login.follow(word, status.message, ts_recv))
        return False

    def _do(self, link: Link, effects: list[Effect]) -> None:
        link.replacing |= any(isinstance(effect, Resubscribe) for effect in effects)
        self.effects += effects

    def _on_topics(self, status: messages.Status, ts_recv: int) -> None:
        """Handle the answer to a request for one topic, which names no request."""
        text = status.message
        if status.status == "error":
            found = _TOPIC.search(text)
            channel = self._channel_of.get(found[1], "") if found else ""
            request = self._pending(Stream(found[2], channel)) if found else None
            raise self.refused(request, text[:200], ts_recv, symbol=found[2] if found and request else "")
        if text.lower().startswith("connected") and self.live:
            self.effects += self._login.greeted()
        for undone, topics in _DONE.findall(text):
            for topic in topics.split(","):
                prefix, _, symbol = topic.partition(".")
                stream = None if undone else Stream(symbol, self._channel_of.get(prefix, ""))
                self.subscriptions.acknowledge(self._pending(stream), ts_recv, symbol="" if undone else symbol)

    def _pending(self, stream: Stream | None) -> int | None:
        """The oldest unanswered request for a stream; None as stream: a request that ends subscriptions."""
        link = self.subscriptions.links.get(self.link)
        for number, pending in link.pending.items() if link is not None else ():
            if stream in pending.streams or (stream is None and not pending.streams):
                return number
        return None

    # Market data.

    def read(self, frame: bytes, ts_recv: int) -> bool:
        """Record one frame with the reference decoder. Raises RejectError."""
        events = messages.decode(frame)
        return self.each(events, lambda event: self._take_event(event, ts_recv)) or not events

    def _take_event(self, event: messages.Event, ts_recv: int) -> bool:
        """Record an event, or account for its reject, since other events of the frame may be rejected too."""
        try:
            return self._on_event(event, ts_recv)
        except RejectError as rejected:
            if not rejected.accounted:
                raw = event.raw if isinstance(event, messages.Unread) else b""
                self.market.rejects.add_unread(rejected, raw, ts_recv)
                rejected.accounted = True
            raise

    def _on_event(self, event: messages.Event, ts_recv: int) -> bool:
        match event:
            case messages.Status():
                return self._on_status(event, ts_recv)
            case messages.Ignored(kind):
                count_name(self.counts.ignored_kinds, kind)
                return False
            case messages.Unread():
                raise event.error
        listing = self.market.listings.get(event.symbol)
        if listing is None:
            return False
        match event:
            case messages.Trade() | messages.CryptoTrade():
                self._on_trade(listing, event, ts_recv)
            case messages.Quote() | messages.CryptoQuote() | messages.ForexQuote():
                self._on_quote(listing, event, ts_recv)
            case messages.MinuteBar() | messages.CryptoMinuteBar():
                self._guard(listing, "venue_bar", partial(self._on_bar, listing, event, ts_recv), ts_recv)
            case messages.Limits():
                self._guard(listing, "statistic", partial(self._on_limits, listing, event, ts_recv), ts_recv)
            case messages.CryptoBook():
                self._guard(listing, "partial_book", partial(self._on_book, listing, event, ts_recv), ts_recv)
        return True

    def _guard(self, listing: Listing, channel: str, record: partial[None], ts_recv: int) -> None:
        """Record an event, or account for its reject on its stream. Raises RejectError."""
        try:
            record()
        except RejectError as rejected:
            if not rejected.accounted:
                self.market.rejects.add(rejected, listing, channel, ts_recv)
            raise

    def _on_trade(self, listing: Listing, trade: messages.Trade | messages.CryptoTrade, ts_recv: int) -> None:
        irregular = self._cluster.irregular
        try:
            flags = TradeFlag.IRREGULAR if irregular and not irregular.isdisjoint(trade.conditions) else 0
            event = VenueTrade(
                trade.symbol,
                trade.id,
                messages.time_ns(trade.t),
                messages.decimal(trade.price),
                messages.decimal(trade.size),
                facts.NO_SIDE,
                trade.packed,
                flags,
            )
        except RejectError as rejected:
            self.market.rejects.add(rejected, listing, "trade", ts_recv)
            raise
        self.market.on_trade(listing, event, ts_recv)

    def _on_quote(
        self, listing: Listing, quote: messages.Quote | messages.CryptoQuote | messages.ForexQuote, ts_recv: int
    ) -> None:
        try:
            ident, bid_size, ask_size = 0, 0, 0
            if not isinstance(quote, messages.ForexQuote):
                ident, bid_size, ask_size = quote.id, quote.bid_size, quote.ask_size
            bid, ask = messages.side(quote.bid, bid_size), messages.side(quote.ask, ask_size)
            ts_event = messages.time_ns(quote.t)
        except RejectError as rejected:
            self.market.rejects.add(rejected, listing, "quote", ts_recv)
            raise
        self.market.on_quote(listing, ident, bid, ask, ts_event, ts_recv)

    def _on_bar(self, listing: Listing, bar: messages.MinuteBar | messages.CryptoMinuteBar, ts_recv: int) -> None:
        self.market.others.on_bar(listing, bar.ohlc(), ts_recv)

    def _on_limits(self, listing: Listing, limits: messages.Limits, ts_recv: int) -> None:
        numbers = {
            StatisticCode.LIMIT_UP: messages.decimal(limits.high),
            StatisticCode.LIMIT_DOWN: messages.decimal(limits.low),
        }
        self.market.others.on_statistics(listing, numbers, messages.time_ns(limits.t), ts_recv)

    def _on_book(self, listing: Listing, book: messages.CryptoBook, ts_recv: int) -> None:
        flags = Flag.SNAPSHOT | Flag.PARTIAL
        bids, asks = book.levels
        rows = book_rows(listing.instrument, bids, asks, messages.time_ns(book.t), ts_recv, 0, flags)
        rows[:, ORDER_ID] = messages.id_of(book.exchange)
        self.market.others.on_partial_book(listing, rows, ts_recv)

    def fetch_book(self, symbol: str, now_ns: int) -> None:
        """Does nothing: the adapter keeps no books."""


stocks: Final = partial(PolygonAdapter, facts.STOCKS)
options: Final = partial(PolygonAdapter, facts.OPTIONS)
crypto: Final = partial(PolygonAdapter, facts.CRYPTO)
