"""Which streams each link of Coinbase Advanced Trade carries, and how to request them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from tickplant.feeds.contract import WS, FeedContext, LinkSpec
from tickplant.feeds.kit.subscriptions import Stream
from tickplant.feeds.venues.coinbase_advanced import venue as facts
from tickplant.instruments import FEED_SYMBOL
from tickplant.venues import VENUES

HEARTBEATS: Final = Stream(FEED_SYMBOL, facts.HEARTBEATS)
STATUS: Final = Stream(FEED_SYMBOL, facts.STATUS)
FIRST: Final = "public"
"""Name of the link that carries the instrument data."""


class StreamCodec:
    """See kit.subscriptions.SubscribeCodec."""

    streams_per_request = facts.STREAMS_PER_REQUEST
    busy: Collection[str] = frozenset({"book"})  # a ticker comes with a trade

    def __init__(self, symbols: Iterable[str]) -> None:
        """`symbols`: those to request instrument data for."""
        self.symbols = list(symbols)

    def name(self, stream: Stream) -> str:
        """Such as `level2 BTC-USD`."""
        return f"{self.group(stream)} {stream.symbol}"

    def group(self, stream: Stream) -> str:
        """A request covers one channel."""
        return facts.STREAM_OF.get(stream.channel, stream.channel)

    def request(self, streams: Sequence[Stream], request: int, *, subscribe: bool) -> bytes:
        """`{"type":"subscribe","channel":…,"product_ids":[…]}`."""
        del request
        symbols = [stream.symbol for stream in streams if stream.symbol != FEED_SYMBOL]
        if STATUS in streams:
            symbols = [*self.symbols]
        message: dict[str, object] = {
            "type": "subscribe" if subscribe else "unsubscribe",
            "channel": self.group(streams[0]),
        }
        return msgspec.json.encode(message | ({"product_ids": symbols} if symbols else {}))

    def is_in(self, stream: Stream, state: Mapping[str, Iterable[str]]) -> bool:
        """Whether a stream is among a connection's subscriptions, by its own name or by that of its data."""
        products = state.get(self.group(stream))
        if products is None or stream.symbol == FEED_SYMBOL:
            return products is not None
        return stream.symbol in products or label_of(stream.symbol) in products


def label_of(symbol: str) -> str:
    """The name that the venue gives to a product's data."""
    ending, other = facts.ALIAS
    return symbol.removesuffix(ending) + other if symbol.endswith(ending) and symbol not in facts.NO_ALIAS else symbol


def links(context: FeedContext) -> list[tuple[LinkSpec, list[Stream]]]:
    """The links of a feed and the streams of each: as many books as the venue sends, instrument data over the first."""
    symbols = tuple(dict.fromkeys(context.symbols or ()))
    url = context.endpoints.get(WS) or VENUES["coinbase-advanced"].endpoints[WS]
    plan: list[tuple[LinkSpec, list[Stream]]] = []
    for number, start in enumerate(range(0, len(symbols), facts.SYMBOLS_PER_LINK), 1):
        spec = LinkSpec(
            name=FIRST if number == 1 else f"{FIRST}-{number}",
            url=url,
            compression=context.compression,
            overlap=False,  # each connection counts for itself
            send_interval_s=facts.SEND_INTERVAL_S,
            max_message_bytes=facts.MAX_MESSAGE_BYTES,
        )
        part = symbols[start : start + facts.SYMBOLS_PER_LINK]
        streams = [Stream(symbol, channel) for channel in context.channels for symbol in part]
        plan.append((spec, [HEARTBEATS, STATUS, *streams] if number == 1 else [HEARTBEATS, *streams]))
    return plan
