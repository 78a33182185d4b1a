"""How dxLink words subscriptions, and which channel of the connection carries a stream. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from tickplant.feeds.kit.link_groups import split_link_name
from tickplant.feeds.kit.subscriptions import Stream
from tickplant.feeds.venues.dxlink import venue as facts

MS_NS = 1_000_000


class StreamCodec:
    """See kit.subscriptions.SubscribeCodec."""

    streams_per_request = facts.STREAMS_PER_REQUEST
    busy: Collection[str] = frozenset({"quote"})

    def __init__(self) -> None:
        self.now_ns = 0  # of the request

    def name(self, stream: Stream) -> str:
        """Such as `Quote AAPL`."""
        return f"{'+'.join(facts.EVENTS_OF[stream.channel])} {stream.symbol}"

    def group(self, stream: Stream) -> str:
        """A request covers one channel of the connection."""
        return str(number_of(stream))

    def request(self, streams: Sequence[Stream], request: int, *, subscribe: bool) -> bytes:
        """`{"type":"FEED_SUBSCRIPTION","channel":…,"add":[{"type":…,"symbol":…},…]}`."""
        del request  # nothing answers it
        entries = [self._entry(kind, stream.symbol) for stream in streams for kind in facts.EVENTS_OF[stream.channel]]
        message = {"type": "FEED_SUBSCRIPTION", "channel": number_of(streams[0])}
        return msgspec.json.encode(message | {"add" if subscribe else "remove": entries})

    def _entry(self, kind: str, symbol: str) -> dict[str, str | int]:
        if kind != facts.CANDLE:
            return {"type": kind, "symbol": symbol}
        return {"type": kind, "symbol": symbol + facts.BAR, "fromTime": self.now_ns // MS_NS}


def number_of(stream: Stream) -> int:
    """The channel of the connection that carries a stream."""
    return facts.NUMBER_OF[facts.EVENTS_OF[stream.channel][0]]


def carried_by(link: str) -> tuple[str, ...]:
    """The channels that a link of this name may carry."""
    return ("trade", "quote", *split_link_name(link)[1])
