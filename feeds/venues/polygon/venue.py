"""How the clusters of Polygon differ. Data only. Source: the venue's WebSocket and conditions documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from tickplant.records.layouts import Side

TOPICS_PER_REQUEST: Final = 100
SEND_INTERVAL_S: Final = 0.1
KEY: Final = "key"
"""Name of the API key in the credential."""

LOGIN_S: Final = 10.0
"""How long the venue may take to answer the login, and to greet before it."""

PAUSES_S: Final = (60, 120, 300)
"""How long the link rests each time another connection with this key has taken its place; then the feed ends."""

CALM_S: Final = 600
"""A login that lasted this long shows that no other connection uses the key any more."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """One market of the venue, with its own host path and connection."""

    venue: str  # its name in the catalogue
    path: str  # of the WebSocket
    topics: Mapping[str, tuple[str, ...]]  # topic prefixes by channel
    busy: frozenset[str] = frozenset()  # channels that a listed symbol keeps busy at all hours
    irregular: frozenset[int] = frozenset()  # conditions of trades that make no price
    most_quotes: int | None = None  # symbols whose quotes one connection may carry

    @property
    def channels(self) -> dict[str, str]:
        """Channel by topic prefix."""
        return {prefix: channel for channel, prefixes in self.topics.items() for prefix in prefixes}


IRREGULAR: Final = frozenset({2, 7, 13, 20, 32, 33, 52, 53})
"""Average price, cash, out of sequence in extended hours, next day, sold out of sequence, contingent."""

STOCKS: Final = Cluster(
    venue="polygon",
    path="/stocks",
    topics={"trade": ("T",), "quote": ("Q",), "venue_bar": ("AM", "A"), "statistic": ("LULD",)},
    irregular=IRREGULAR,
)
OPTIONS: Final = Cluster(
    venue="polygon-options",
    path="/options",
    topics={"trade": ("T",), "quote": ("Q",), "venue_bar": ("AM", "A")},
    most_quotes=1000,
)
CRYPTO: Final = Cluster(
    venue="polygon-crypto",
    path="/crypto",
    topics={"trade": ("XT",), "quote": ("XQ",), "venue_bar": ("XA", "XAS"), "partial_book": ("XL2",)},
    busy=frozenset({"quote"}),
)
CLUSTERS: Final = {cluster.venue: cluster for cluster in (STOCKS, OPTIONS, CRYPTO)}

NO_SIDE: Final = Side.NONE
"""The venue names no aggressor."""
