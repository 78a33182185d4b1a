"""The adapter of dxLink: the specifics of this protocol, in the hooks of kit.venue_adapter.

What is recorded where the protocol leaves room:

* TimeAndSale is the tape, on `trade`: `index` identifies a trade, so a CORRECTION or CANCEL has the id of the trade
  that it concerns. Trade, the last of perhaps many trades, is for a feed that asks for `agg_trade`.
* Quotes and trades are not counted, so an interruption is a GAP on each stream, and no two sockets carry the same
  streams.
* Nothing acknowledges a subscription or rejects an unknown symbol; an unknown symbol stays silent.
* The protocol has no instrument data: the configured scales apply.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from tickplant.feeds.contract import (
    WS,
    Answer,
    Effect,
    Event,
    FeedContext,
    Frames,
    LinkSpec,
    Notice,
    Open,
    Resubscribe,
)
from tickplant.feeds.kit.book_sync import BookSync
from tickplant.feeds.kit.emitter import count_name
from tickplant.feeds.kit.link_groups import link_name
from tickplant.feeds.kit.listings import Listing
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.kit.request_budget import RequestBudget
from tickplant.feeds.kit.subscriptions import Link, Stream, Subscriptions
from tickplant.feeds.kit.venue_adapter import VenueAdapter
from tickplant.feeds.venues.dxlink import event_values as values
from tickplant.feeds.venues.dxlink import messages
from tickplant.feeds.venues.dxlink import venue as facts
from tickplant.feeds.venues.dxlink.attribution import Owner
from tickplant.feeds.venues.dxlink.event_fields import UNKNOWN_FIELDS, EventFields, Row
from tickplant.feeds.venues.dxlink.handshake import Handshake
from tickplant.feeds.venues.dxlink.login import Login
from tickplant.feeds.venues.dxlink.shapes import shapes_of
from tickplant.feeds.venues.dxlink.stream_codec import StreamCodec, carried_by, number_of
from tickplant.venues import VENUES


class DxlinkAdapter(VenueAdapter):
    """One feed."""

    def __init__(self, venue: str, context: FeedContext, *, use_shapes: bool = True) -> None:
        """No events so far. `use_shapes`: False decodes everything with the reference decoder."""
        self._symbols = tuple(dict.fromkeys(context.symbols or ()))
        self._given_url = context.endpoints.get(WS, "")
        url = self._given_url or VENUES[venue].endpoints[WS]
        streams = [Stream(symbol, channel) for channel in context.channels for symbol in self._symbols]
        spec = LinkSpec(
            name=link_name(facts.LINK, context.channels), url=url, overlap=False, send_interval_s=facts.SEND_INTERVAL_S
        )
        self._fields = EventFields()
        self._codec = StreamCodec()
        self._numbers = sorted({number_of(stream) for stream in streams})
        self._talk = Handshake("", (), 0)
        self._login = Login(venue, context.secrets)
        market = Market(
            context,
            shapes_of(()),
            lambda _: BookSync(chained=False, held_limit=1),
            Owner(self._fields),
            quotes_count=False,
            trades_count=False,
            trades_unique=True,
        )
        super().__init__(
            venue,
            context,
            market,
            Subscriptions([(spec, streams)] if streams else [], self._codec, silent_s=context.silent_s),
            RequestBudget(1.0, 2),
            carried_by=carried_by,
            use_shapes=use_shapes,
        )

    # Beginning.

    def start(self, now_ns: int) -> None:
        """Open the link; at tastytrade, once there is a token."""
        # Symbols recorded earlier continue after a GAP. Others cannot be interrupted before they occur.
        for symbol in self._symbols:
            if symbol in self.market.listings.last:
                self.market.listings.get(symbol)
        super().start(now_ns)
        if self._symbols:
            self._do(self._login.start(now_ns))

    def _open_links(self) -> None:
        if self._login.tokens is None:
            super()._open_links()

    def on_event(self, event: Event, now_ns: int) -> None:
        """See the contract."""
        if isinstance(event, Frames):
            self._talk.heard(now_ns)
        super().on_event(event, now_ns)

    def opened(self, link: Link, now_ns: int) -> None:
        """Send the terms first; subscriptions follow once the channels are open."""
        self._fields.clear()
        self._login.waits = False
        self._talk = Handshake(link.spec.name, self._numbers, now_ns)
        super().opened(link, now_ns)
        self._do([self._talk.begin(now_ns)])

    def lists(self, symbol: str, answers: int, now_ns: int) -> bool | None:
        """Always True: the venue does not say which symbols exist."""
        return True

    def due(self, link: Link, streams: Sequence[Stream]) -> Sequence[Stream]:
        """The streams whose channels are open."""
        del link
        return [stream for stream in streams if number_of(stream) in self._talk.opened]

    def follow(self, symbol: str, now_ns: int) -> None:
        """Acknowledge here: nothing answers the subscription of a symbol."""
        del symbol
        for link in self.subscriptions.links.values():
            self._acknowledge(link, now_ns)

    def _do(self, effects: Iterable[Effect]) -> None:
        if not self.live:
            return
        for effect in effects:
            if isinstance(effect, Resubscribe):
                if effect.link not in self.subscriptions.links:
                    continue  # sent before any link was open
                self.subscriptions.links[effect.link].replacing = True
            self.effects.append(effect)

    def on_second(self, now_ns: int) -> None:
        """Handle signs of life both ways, channels to reopen, a token that expires."""
        self._codec.now_ns = now_ns
        super().on_second(now_ns)
        for link in self.subscriptions.links.values():
            self._acknowledge(link, now_ns)
            if link.sockets and not link.replacing:
                if failure := self._talk.failure(now_ns):
                    self._do([Resubscribe(link.spec.name, failure)])
                else:
                    self._do(self._talk.on_second(now_ns))
        self._do(self._login.on_second(now_ns))

    # Messages.

    def read(self, frame: bytes, ts_recv: int) -> bool:
        """Record one frame with the reference decoder. Raises RejectError."""
        message = messages.decode(frame)
        match message:
            case messages.FeedData(channel, data):
                parts = self._fields.rows(channel, data)
                return self.each(parts, lambda part: self._on_part(channel, part, ts_recv))
            case messages.FeedConfig(channel, fields):
                self._talk.on_fields(channel)
                if self._fields.merge(channel, fields):
                    self.market.use_shapes(shapes_of(self._fields.items()))
            case messages.Setup():
                self._talk.on_setup(message.keepalive_s, message.accepts_s, ts_recv)
            case messages.AuthState(authorized):
                self._on_auth(ts_recv, authorized=authorized)
            case messages.ChannelOpened(channel):
                self._on_channel_opened(channel, ts_recv)
            case messages.ChannelClosed(channel):
                self._on_channel_closed(channel, ts_recv)
            case messages.Error():
                self._on_error(message, ts_recv)
            case messages.Ignored(kind):
                count_name(self.counts.ignored_kinds, kind)
        return False

    def _on_part(self, channel: int, part: tuple[str, Row] | RejectError, ts_recv: int) -> bool:
        if isinstance(part, RejectError):
            if part.cause == UNKNOWN_FIELDS:
                self._talk.lacks_fields(channel, ts_recv)
            raise part
        kind, row = part
        if kind not in facts.CHANNEL_OF:
            count_name(self.counts.ignored_kinds, kind)
            return False
        symbol, length_ns = values.symbol_of(kind, row)
        listing = self.market.listings.get(symbol)
        if listing is None:
            return False
        try:
            return self._on_event_of(listing, kind, row, length_ns, ts_recv)
        except RejectError as rejected:
            if not rejected.accounted:
                self.market.rejects.add(rejected, listing, facts.CHANNEL_OF[kind], ts_recv)
            raise

    def _on_event_of(self, listing: Listing, kind: str, row: Row, length_ns: int, ts_recv: int) -> bool:
        market, symbol = self.market, listing.instrument.symbol
        if values.is_removed(row):
            return False
        match kind:
            case facts.QUOTE:
                market.on_quote(listing, *values.quote_of(row), ts_recv)
                return True
            case facts.SALE | facts.TRADE:
                trade = (values.sale_of if kind == facts.SALE else values.last_trade_of)(symbol, row)
                if trade is not None:
                    market.on_trade(listing, trade, ts_recv)
                elif kind == facts.SALE:
                    count_name(self.counts.ignored_kinds, "TimeAndSale without price")
                return trade is not None
            case facts.CANDLE:
                bar = values.bar_of(row, length_ns, ts_recv)
                if bar is not None:
                    market.others.on_bar(listing, bar, ts_recv)
                return bar is not None
            case _:
                numbers, time_ns, day_ns = values.statistics_of(kind, row)
                if numbers:
                    market.others.on_statistics(listing, numbers, time_ns, ts_recv, at_ns=day_ns)
                return bool(numbers)

    # Token, channels, errors.

    def _on_auth(self, now_ns: int, *, authorized: bool) -> None:
        if authorized:
            self._do(self._talk.on_authorized(now_ns))
        else:
            self._do(self._login.on_unauthorized(self._talk, now_ns))

    def answered(self, answer: Answer, now_ns: int) -> None:
        """Take in an answer of tastytrade's token service."""
        former = self._login.token
        self._do(self._login.on_answer(answer, now_ns, self.budget.next_ns(now_ns)))
        if (token := self._login.token) != former:
            self._use(token, now_ns)

    def _use(self, token: str, now_ns: int) -> None:
        newest = self._login.tokens and self._login.tokens.newest
        url = self._given_url or (newest.url if newest else "")
        for link in self.subscriptions.links.values():
            moved, link.spec = link.spec.url != url, msgspec.structs.replace(link.spec, url=url)
            self.effects.append(Open(link.spec))
            if self._login.waits and not moved:
                self._do([self._talk.authorize(token, now_ns)])
            elif link.sockets:
                self._do([Resubscribe(link.spec.name, "another token")])
        self._login.waits = False

    def _on_channel_opened(self, channel: int, now_ns: int) -> None:
        for link in self.subscriptions.links.values():
            streams = [stream for stream in self.links.streams_of(link) if number_of(stream) == channel]
            self.links.go_on(link, now_ns, streams)
            setup = self._talk.on_opened(channel, now_ns)
            if not (self.live and setup):
                continue
            self._codec.now_ns = now_ns
            self._do([*setup, *self.subscriptions.request(link, streams, now_ns)])
            self._acknowledge(link, now_ns)

    def _acknowledge(self, link: Link, now_ns: int) -> None:
        # The venue does not acknowledge: the data of a subscription show whether it works.
        for request in list(link.pending):
            self.subscriptions.acknowledge(request, now_ns)

    def _on_channel_closed(self, channel: int, now_ns: int) -> None:
        kinds = self._fields.kinds(channel)
        for link in self.subscriptions.links.values():
            carried = self.links.streams_of(link)
            streams = [stream for stream in carried if not kinds.isdisjoint(facts.EVENTS_OF[stream.channel])]
            self.links.cut(link, streams, now_ns)
        self._talk.on_closed(channel, now_ns)

    def _on_error(self, error: messages.Error, now_ns: int) -> None:
        count_name(self.counts.ignored_kinds, f"ERROR {error.code}")
        told: dict[str, str | int] = {"code": error.code[:64], "message": error.text[:200]}
        self._do([Notice("the venue reports an error", told | {"channel": error.channel})])
        if error.code == "UNAUTHORIZED" and self._talk.token_sent and not self._talk.authorized:
            self._on_auth(now_ns, authorized=False)

    def fetch_book(self, symbol: str, now_ns: int) -> None:
        """Does nothing: the venue has no books."""


def dxlink(context: FeedContext, *, use_shapes: bool = True) -> DxlinkAdapter:
    """An adapter for dxFeed or another server: `ws_url` is its address; the credential may have a `token`."""
    return DxlinkAdapter(facts.DXLINK, context, use_shapes=use_shapes)


def tastytrade(context: FeedContext, *, use_shapes: bool = True) -> DxlinkAdapter:
    """An adapter for tastytrade: the credential has `client_secret` and `refresh_token`."""
    return DxlinkAdapter(facts.TASTYTRADE, context, use_shapes=use_shapes)
