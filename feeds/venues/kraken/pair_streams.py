"""Streams of Kraken: the links that carry them, the messages that begin and end subscriptions.

Trades, quotes, bars and instrument data go over the links `market`, or `public` if books of levels are among them.
Books of orders, which need a token, go over links of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from tickplant.feeds.contract import WS, FeedContext, LinkSpec
from tickplant.feeds.kit.link_groups import NO_SYMBOL, link_name, split_link_name
from tickplant.feeds.kit.subscriptions import BUSY, Stream
from tickplant.feeds.venues.kraken import venue as facts
from tickplant.venues import VENUES

INSTRUMENTS: Final = Stream(NO_SYMBOL, facts.INSTRUMENT)
ORDERS: Final = "orders"
_CARRIED: Final = {"public": ("trade", "quote", "book"), "market": ("trade", "quote"), ORDERS: (ORDERS,)}


class StreamCodec:
    """See kit.subscriptions.SubscribeCodec."""

    streams_per_request = facts.SYMBOLS_PER_REQUEST
    busy: Collection[str] = BUSY | {ORDERS}

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.token = ""  # for books of orders

    def name(self, stream: Stream) -> str:
        """Such as `book BTC/USD`."""
        return f"{stream.channel} {stream.symbol}"

    def group(self, stream: Stream) -> str:
        """A request covers one channel."""
        return stream.channel

    def request(self, streams: Sequence[Stream], request: int, *, subscribe: bool) -> bytes:
        """`{"method":"subscribe","params":{"channel":…,"symbol":[…],…},"req_id":…}`."""
        channel = facts.STREAM_OF.get(streams[0].channel, streams[0].channel)
        params: dict[str, object] = {"channel": channel, "snapshot": True}
        if streams[0] != INSTRUMENTS:
            params["symbol"] = [stream.symbol for stream in streams]
        if channel == "book":
            params["depth"] = self.depth
        elif channel == "ticker":
            params["event_trigger"] = "bbo"
        elif channel == "ohlc":
            params["interval"] = facts.BAR_MINUTES
        elif channel == "level3":
            params |= {"depth": order_depth(self.depth), "token": self.token}
        method = "subscribe" if subscribe else "unsubscribe"
        return msgspec.json.encode({"method": method, "params": params, "req_id": request})


def order_depth(depth: int) -> int:
    """Levels of a book of orders: the number wanted, or the next larger one that the venue offers."""
    return next((each for each in facts.ORDER_DEPTHS if each >= depth), facts.ORDER_DEPTHS[-1])


def links(context: FeedContext) -> list[tuple[LinkSpec, list[Stream]]]:
    """The links of a feed and the streams of each; the first link brings the instrument data."""
    symbols = tuple(dict.fromkeys(context.symbols or ()))
    channels = [channel for channel in context.channels if channel != ORDERS]
    stem = "public" if "book" in channels or ORDERS not in context.channels else "market"
    address = _address(context.endpoints, WS)
    result = []
    for number, part in _parts(symbols):
        streams = [Stream(symbol, channel) for channel in channels for symbol in part]
        spec = _spec(link_name(stem, channels, number), address, facts.SEND_INTERVAL_S)
        if number == 1 or streams:
            result.append((spec, [INSTRUMENTS, *streams] if number == 1 else streams))
    for number, part in _parts(symbols) if ORDERS in context.channels else ():
        address = _address(context.endpoints, facts.ORDERS_ENDPOINT)
        spec = _spec(link_name(ORDERS, (), number), address, facts.ORDERS_SEND_INTERVAL_S)
        result.append((spec, [Stream(symbol, ORDERS) for symbol in part]))
    return result


def channels_of(link: str) -> list[str]:
    """The channels that a link of this name carries."""
    stem, others = split_link_name(link)
    return [*_CARRIED.get(stem, _CARRIED["public"]), *others]


def _parts(symbols: Sequence[str]) -> Iterable[tuple[int, Sequence[str]]]:
    most = facts.SYMBOLS_PER_LINK
    return enumerate((symbols[start : start + most] for start in range(0, len(symbols), most)), 1)


def _spec(name: str, url: str, interval_s: float) -> LinkSpec:
    # No overlap: the quotes and book events of two sockets could not be told apart.
    return LinkSpec(name=name, url=url, overlap=False, send_interval_s=interval_s)


def _address(endpoints: Mapping[str, str], name: str) -> str:
    # A replacement of the venue serves everything at one address, unless configured otherwise.
    base = endpoints.get(name) or endpoints.get(WS) or VENUES["kraken"].endpoints[name]
    return base.rstrip("/") + facts.WS_PATH
