"""The adapter of the invented venue "example": the specifics of its messages, in the hooks of the kit.

State here what is recorded where the venue leaves room. This venue numbers its trades without holes, states no
decimals, so that the configured scales apply, and has neither books nor past trades.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from tickplant.feeds.contract import WS, FeedContext, LinkSpec
from tickplant.feeds.kit.book_sync import BookSync
from tickplant.feeds.kit.emitter import count_name
from tickplant.feeds.kit.events import VenueTrade
from tickplant.feeds.kit.market_streams import Market
from tickplant.feeds.kit.numbers import rfc3339_ns
from tickplant.feeds.kit.request_budget import RequestBudget
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.subscriptions import BUSY, Stream, Subscriptions
from tickplant.feeds.kit.venue_adapter import VenueAdapter
from tickplant.feeds.venues._template import attribution, messages, shapes
from tickplant.feeds.venues._template import venue as facts
from tickplant.records.layouts import Side

_SHAPES: Final = Shapes(shapes.SHAPES)


class StreamCodec:
    """See kit.subscriptions.SubscribeCodec."""

    streams_per_request = facts.SYMBOLS_PER_REQUEST
    busy: Collection[str] = BUSY

    def name(self, stream: Stream) -> str:
        """Such as `trades BTC-USD`."""
        return f"{self.group(stream)} {stream.symbol}"

    def group(self, stream: Stream) -> str:
        """A request covers one channel."""
        return facts.CHANNEL_OF[stream.channel]

    def request(self, streams: Sequence[Stream], request: int, *, subscribe: bool) -> bytes:
        """`{"op":"subscribe","id":…,"channel":…,"products":[…]}`."""
        op = "subscribe" if subscribe else "unsubscribe"
        products = [stream.symbol for stream in streams]
        return msgspec.json.encode({"op": op, "id": request, "channel": self.group(streams[0]), "products": products})


class ExampleAdapter(VenueAdapter):
    """One feed."""

    def __init__(self, context: FeedContext, *, use_shapes: bool = True) -> None:
        """No events so far. `use_shapes`: False decodes everything with the reference decoder."""
        url = (context.endpoints.get(WS) or facts.ROW.endpoints[WS]).rstrip("/") + facts.WS_PATH
        spec = LinkSpec(name="public", url=url, send_interval_s=facts.SEND_INTERVAL_S)
        streams = [Stream(symbol, channel) for channel in context.channels for symbol in context.symbols or ()]
        links = [(spec, streams)] if streams else []  # a recording asks what a link of this name carried
        super().__init__(
            facts.ROW.name,
            context,
            Market(context, _SHAPES, lambda _: BookSync(chained=False, held_limit=1), attribution.owner),
            Subscriptions(links, StreamCodec(), silent_s=context.silent_s),
            RequestBudget(1.0, 1),
            carried_by=lambda _: facts.CHANNEL_OF,
            use_shapes=use_shapes,
        )

    def read(self, frame: bytes, ts_recv: int) -> bool:
        """Record one frame with the reference decoder. Raises RejectError."""
        message = messages.decode(frame)
        match message:
            case messages.Trade():
                return self._on_trade(message, ts_recv)
            case messages.Answer():
                if message.error:
                    raise self.refused(message.id, message.error, ts_recv)
                self.subscriptions.acknowledge(message.id, ts_recv)
            case messages.Ignored():
                count_name(self.counts.ignored_kinds, message.type)
        return False

    def _on_trade(self, trade: messages.Trade, ts_recv: int) -> bool:
        listing = self.market.listings.get(trade.product)
        if listing is not None:
            side = Side.BUY if trade.side == "buy" else Side.SELL
            event = VenueTrade(trade.product, trade.id, rfc3339_ns(trade.time), trade.price, trade.size, side)
            self.market.on_trade(listing, event, ts_recv)
        return listing is not None

    def fetch_book(self, symbol: str, now_ns: int) -> None:
        """Does nothing: the venue has no books."""
