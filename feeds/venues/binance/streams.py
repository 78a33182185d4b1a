"""Streams of Binance: their names, the links that carry them, the SUBSCRIBE messages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import msgspec

from tickplant.feeds.contract import LinkSpec
from tickplant.feeds.kit.link_groups import link_name, split_link_name
from tickplant.feeds.kit.subscriptions import BUSY, Stream
from tickplant.feeds.venues.binance.venue import (
    MAX_AGE_S,
    SEND_INTERVAL_S,
    STREAM_OF,
    STREAMS_PER_CONNECTION,
    STREAMS_PER_REQUEST,
    Rules,
)
from tickplant.records.channels import OTHER_CHANNELS
from tickplant.venues import VENUES


class StreamCodec:
    """See kit.subscriptions.SubscribeCodec."""

    streams_per_request = STREAMS_PER_REQUEST
    busy: Collection[str] = BUSY

    def __init__(self, depth: int) -> None:
        """`depth`: levels per side of partial books."""
        self._depth = depth

    def name(self, stream: Stream) -> str:
        """The venue's name; symbols are in lower case."""
        return f"{stream.symbol.lower()}@{STREAM_OF[stream.channel].format(depth=self._depth)}"

    def group(self, stream: Stream) -> str:
        """One group: all streams of a link go in one request."""
        del stream
        return ""

    def request(self, streams: Sequence[Stream], request: int, *, subscribe: bool) -> bytes:
        """`{"method":"SUBSCRIBE","params":[…],"id":…}`."""
        method = "SUBSCRIBE" if subscribe else "UNSUBSCRIBE"
        return msgspec.json.encode({"method": method, "params": [*map(self.name, streams)], "id": request})


def links(
    rules: Rules, symbols: Iterable[str], channels: Iterable[str], ws_url: str
) -> list[tuple[LinkSpec, list[Stream]]]:
    """The links of a feed and the streams of each: one per address, more if the limit of streams requires it.

    All streams go to `ws_url` if it is given.
    """
    base = (ws_url or VENUES[rules.venue].endpoints["ws"]).rstrip("/")
    by_path: dict[str, list[Stream]] = {}
    for channel in dict.fromkeys(channels):
        streams = by_path.setdefault("" if ws_url else rules.paths[channel], [])
        streams += [Stream(symbol, channel) for symbol in dict.fromkeys(symbols)]
    result = []
    for path, streams in by_path.items():
        stem, url = path.strip("/") or "stream", f"{base}{path}/stream{rules.ws_query}"
        for number, start in enumerate(range(0, len(streams), STREAMS_PER_CONNECTION), 1):
            part = streams[start : start + STREAMS_PER_CONNECTION]
            spec = LinkSpec(
                name=link_name(stem, (stream.channel for stream in part), number),
                url=url,
                max_age_s=MAX_AGE_S,
                send_interval_s=SEND_INTERVAL_S,
            )
            result.append((spec, part))
    return result


def channels_of(link: str, rules: Rules) -> list[str]:
    """The channels that a link of this name carries."""
    stem, others = split_link_name(link)
    here = [channel for channel, path in rules.paths.items() if stem in ("stream", path.strip("/"))]
    return [channel for channel in here if channel not in OTHER_CHANNELS or channel in others]
