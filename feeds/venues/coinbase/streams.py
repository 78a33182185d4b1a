"""Which streams each link of Coinbase Exchange carries, and how to request them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from tickplant.feeds.contract import WS, FeedContext, LinkSpec
from tickplant.feeds.kit.subscriptions import Stream
from tickplant.feeds.venues.coinbase import messages
from tickplant.feeds.venues.coinbase import venue as facts
from tickplant.feeds.venues.coinbase.signing import Signer
from tickplant.instruments import FEED_SYMBOL
from tickplant.venues import VENUES

STATUS: Final = Stream(FEED_SYMBOL, facts.STATUS)
CHANNELS: Final = ("trade", "quote", "book", "orders")


class StreamCodec:
    """See kit.subscriptions.SubscribeCodec. `now_ns` is the time of the event being handled."""

    streams_per_request = facts.STREAMS_PER_REQUEST
    busy: Collection[str] = frozenset({"book", "orders"})  # a ticker comes with a trade

    def __init__(self, signer: Signer | None, *, orders: bool) -> None:
        self.now_ns = 0
        self._signer = signer
        # The orders contain all matches.
        self._channels: dict[str, tuple[str, ...]] = {
            "trade": (facts.FULL if orders else facts.MATCHES, facts.HEARTBEAT),
            "quote": ("ticker",),
            "book": (facts.LEVEL2_BATCH if signer is None else facts.LEVEL2,),
            "orders": (facts.FULL, facts.HEARTBEAT),
            facts.STATUS: (facts.STATUS,),
        }

    def name(self, stream: Stream) -> str:
        """Such as `matches BTC-USD`."""
        return f"{self._channels[stream.channel][0]} {stream.symbol}"

    def group(self, stream: Stream) -> str:
        """One group: a request may cover all channels."""
        del stream
        return ""

    def request(self, streams: Sequence[Stream], request: int, *, subscribe: bool) -> bytes:
        """`{"type":"subscribe","channels":[{"name":…,"product_ids":[…]},…]}`, signed if there is a key."""
        del request
        wanted: dict[str, dict[str, None]] = {}
        for stream in streams:
            for name in self._channels[stream.channel]:
                products = wanted.setdefault(name, {})
                if stream.symbol != FEED_SYMBOL:
                    products[stream.symbol] = None
        channels = [{"name": name} | ({"product_ids": [*those]} if those else {}) for name, those in wanted.items()]
        message: dict[str, object] = {"type": "subscribe" if subscribe else "unsubscribe", "channels": channels}
        if subscribe and self._signer is not None:
            message |= self._signer.subscription(self.now_ns)
        return msgspec.json.encode(message)

    def is_in(self, stream: Stream, state: Iterable[messages.Subscribed]) -> bool:
        """Whether a stream is among the subscriptions of a connection."""
        found = {facts.CHANNEL_ALIASES.get(each.name, each.name): each.product_ids for each in state}
        names = self._channels[stream.channel]
        return all(name in found and stream.symbol in (FEED_SYMBOL, *found[name]) for name in names)


def links(context: FeedContext) -> list[tuple[LinkSpec, list[Stream]]]:
    """The links of a feed and the streams of each; the first link brings the instrument data."""
    symbols = tuple(dict.fromkeys(context.symbols or ()))
    url = context.endpoints.get(WS) or VENUES["coinbase"].endpoints[WS]
    plan: list[tuple[LinkSpec, list[Stream]]] = []
    for number, start in enumerate(range(0, len(symbols), facts.SYMBOLS_PER_LINK), 1):
        spec = LinkSpec(
            name="feed" if number == 1 else f"feed-{number}",
            url=url,
            compression=context.compression,
            # The book events of two sockets could not be told apart.
            overlap="book" not in context.channels,
            send_interval_s=facts.SEND_INTERVAL_S,
            max_message_bytes=facts.MAX_MESSAGE_BYTES,
        )
        part = symbols[start : start + facts.SYMBOLS_PER_LINK]
        streams = [Stream(symbol, channel) for channel in context.channels for symbol in part]
        plan.append((spec, [STATUS, *streams] if number == 1 else streams))
    return plan
