"""The links of a feed and the streams that each carries; two links may carry the same streams. Pure.

Links of a group carry the same streams: `stream` and `stream~2`. Links of a lane share an address and carry the
same channels of different symbols, up to the venue's limit: `stream` and `stream-2`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from tickplant.feeds.contract import LinkSpec, Resubscribe
from tickplant.records.channels import OTHER_CHANNELS

SECOND_NS: Final = 1_000_000_000
LAGGING_FRAMES: Final = 20
"""A link lags only if another one with the same streams has brought at least this many messages, and twice as many."""

NO_SYMBOL: Final = "*"
"""Symbol of a stream that belongs to no instrument, such as the venue's instrument data."""

TWIN: Final = "~"
"""Separates the name of a link from the number of another with the same streams: `stream`, `stream~2`."""


class Stream(msgspec.Struct, frozen=True):
    """One channel of one symbol."""

    symbol: str
    channel: str


class Pending(msgspec.Struct):
    """A request without a complete answer."""

    streams: list[Stream]  # requested and not acknowledged yet; empty for a request to unsubscribe
    deadline_ns: int


class Link:
    """One connection, its streams and their state. While it is replaced with overlap, two sockets share its name."""

    def __init__(self, spec: LinkSpec, streams: Sequence[Stream], channels: Iterable[str] = ()) -> None:
        self.spec = spec
        self.group = group_of(spec.name)  # links of a group carry the same streams
        self.opened_ns = 0  # when its newest socket opened
        self.heard_ns = 0  # when the newest frame came over it
        self.frames = 0  # received since the link was last compared with the others of its group
        self.streams = streams
        self.channels = frozenset(channels) | {stream.channel for stream in streams}
        self.sockets = 0
        self.secret = False  # its requests hold a credential
        self.replacing = False  # a Resubscribe has been asked for
        self.pending: dict[int, Pending] = {}  # by request
        self.refused: list[tuple[Sequence[Stream], int]] = []  # streams, and when to request them again
        self.refusals = 0  # in a row
        self.watched: dict[Stream, int] = {}  # acknowledged stream -> deadline of its next message
        self.patience: dict[Stream, int] = {}  # factor on the usual deadline: grows while replacements do not help


def _address(spec: LinkSpec) -> tuple[object, ...]:
    return spec.url, *sorted(spec.headers.items())


def group_of(name: str) -> str:
    """The common name of links that carry the same streams."""
    return name.partition(TWIN)[0]


def link_name(stem: str, channels: Iterable[str], number: int = 1) -> str:
    """The name of a link: `stem+venue_bar-2`.

    A capture holds only names, so the name of a link states which channels without ids it carries.
    """
    name = "+".join([stem, *(channel for channel in dict.fromkeys(channels) if channel in OTHER_CHANNELS)])
    return name if number == 1 else f"{name}-{number}"


def split_link_name(name: str) -> tuple[str, list[str]]:
    """The stem of a link's name, and the channels without ids named in it."""
    stem, *others = group_of(name).partition("-")[0].split("+")
    return stem, [channel for channel in others if channel in OTHER_CHANNELS]


class LinkGroups:
    """All links of a feed."""

    def __init__(
        self,
        links: Iterable[tuple[LinkSpec, Sequence[Stream]]],
        silent_s: float,
        streams_per_link: int,
        symbols_per_link: int,
        each_link: Sequence[Stream],
    ) -> None:
        """`links`: what each carries at first. A link carries at most these numbers of streams and symbols; 0: no cap.

        `each_link`: what an added link carries besides its symbols.
        """
        self.links: dict[str, Link] = {spec.name: Link(spec, streams) for spec, streams in links}
        self.doubled = False  # some links carry the same streams
        self._silent_ns = int(silent_s * SECOND_NS)
        self._limits = streams_per_link, symbols_per_link
        self._each_link = each_link
        self._lanes: list[tuple[Link, list[str]]] = []  # first link of each lane, and its channels
        self._connections = 1
        self._compared_ns = 0

    def prepare(self, symbols: Iterable[str], connections: int) -> None:
        """Set the symbols of the feed, and how many links carry each of their streams."""
        self._connections = connections
        self.doubled = connections > 1
        known, lanes = frozenset(symbols), dict[tuple[object, ...], tuple[Link, dict[str, None]]]()
        for link in tuple(self.links.values()):
            _, channels = lanes.setdefault(_address(link.spec), (link, {}))
            channels |= dict.fromkeys(stream.channel for stream in link.streams if stream.symbol in known)
            self._double(link)
        self._lanes = [(first, list(channels)) for first, channels in lanes.values() if channels]

    def _double(self, link: Link) -> None:
        for number in range(2, self._connections + 1):
            share = 1 - (number - 1) / (2 * self._connections)
            spec = msgspec.structs.replace(link.spec, name=f"{link.group}{TWIN}{number}", age_share=share)
            self.links[spec.name] = twin = Link(spec, link.streams, link.channels)
            twin.secret = link.secret

    def place(self, symbol: str) -> Iterator[tuple[list[Stream], list[Link], bool]]:
        """Assign a symbol to links. Yields the streams, the links of a group, and whether these links are new."""
        for first, channels in self._lanes:
            streams = [Stream(symbol, channel) for channel in channels]
            lane = [link for link in self.links.values() if _address(link.spec) == _address(first.spec)]
            found = next((link for link in lane if self._has_room(link, len(streams))), None)
            link = found or self._further(first)
            group = [link, *self.twins(link)]
            for each in group:
                each.streams = [*each.streams, *streams]
                each.channels |= set(channels)
            yield streams, group, found is None

    def _further(self, first: Link) -> Link:
        number = next(n for n in itertools.count(2) if f"{first.group}-{n}" not in self.links)
        link = Link(msgspec.structs.replace(first.spec, name=f"{first.group}-{number}"), self._each_link)
        link.secret = first.secret
        self.links[link.spec.name] = link
        self._double(link)
        return link

    def _has_room(self, link: Link, streams: int) -> bool:
        most_streams, most_symbols = self._limits
        symbols = {stream.symbol for stream in link.streams} - {NO_SYMBOL}
        return (not most_streams or len(link.streams) + streams <= most_streams) and (
            not most_symbols or len(symbols) < most_symbols
        )

    def twins(self, link: Link) -> list[Link]:
        """The other links that carry the streams of a link."""
        return [other for other in self.links.values() if other.group == link.group and other is not link]

    def recorded(self, name: str, channels: Iterable[str]) -> Link:
        """A link of the feed that made a recording. It carries these channels; its streams are unknown."""
        return self.links.setdefault(name, Link(LinkSpec(name=name, url=""), (), channels))

    def lagging(self, now_ns: int) -> list[Resubscribe]:
        """Links to replace, since another link with the same streams has brought far more over a whole period."""
        since_ns = self._compared_ns
        if not self.doubled or now_ns < since_ns + self._silent_ns:
            return []
        self._compared_ns = now_ns
        result: list[Resubscribe] = []
        for link in self.links.values():
            most = max((twin.frames for twin in self.twins(link)), default=0)
            was_open = link.sockets == 1 and since_ns and link.opened_ns <= since_ns
            if was_open and not link.replacing and most >= LAGGING_FRAMES and 2 * link.frames < most:
                link.replacing = True
                reason = f"it has brought {link.frames} messages, another one for the same streams {most}"
                result.append(Resubscribe(link.spec.name, reason, overlap=True))
        for link in self.links.values():
            link.frames = 0
        return result
