"""tickplant records exchange market data and serves it live while it records.

    with tickplant.subscribe("binance.BTCUSDT.trade") as messages: ...      # live, from a running plant or a replay
    for records in tickplant.Store("data").query("binance", "BTCUSDT"): ... # stored

Records are numpy arrays of the dtypes below. Importing this module loads nothing else: each name loads on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tickplant.client.async_subscription import AsyncSubscription, subscribe_async
    from tickplant.client.book_request import Book, fetch_book
    from tickplant.client.replay_control import ReplayControl
    from tickplant.client.subscription import Subscription, subscribe
    from tickplant.client.topic_message import Message
    from tickplant.errors import (
        ConfigError,
        ControlError,
        DamageError,
        FeedError,
        RingError,
        StoreError,
        SubscribeError,
        TickplantError,
    )
    from tickplant.instruments import Instrument, format_decimal
    from tickplant.records.layouts import (
        BAR,
        BBO,
        CHECKPOINT,
        NO_PRICE,
        TICK,
        UNKNOWN,
        Flag,
        GapCause,
        Kind,
        Schema,
        Side,
        StatusCode,
    )
    from tickplant.store.reader import Store
    from tickplant.store.tables import duckdb, polars

    __version__: str

__all__ = [
    "BAR",
    "BBO",
    "CHECKPOINT",
    "NO_PRICE",
    "TICK",
    "UNKNOWN",
    "AsyncSubscription",
    "Book",
    "ConfigError",
    "ControlError",
    "DamageError",
    "FeedError",
    "Flag",
    "GapCause",
    "Instrument",
    "Kind",
    "Message",
    "ReplayControl",
    "RingError",
    "Schema",
    "Side",
    "StatusCode",
    "Store",
    "StoreError",
    "SubscribeError",
    "Subscription",
    "TickplantError",
    "__version__",
    "duckdb",
    "fetch_book",
    "format_decimal",
    "polars",
    "subscribe",
    "subscribe_async",
]


_HOMES = {
    "client.async_subscription": ("AsyncSubscription", "subscribe_async"),
    "client.subscription": ("Subscription", "subscribe"),
    "client.book_request": ("Book", "fetch_book"),
    "client.follower": ("Message",),
    "client.replay_control": ("ReplayControl",),
    "instruments": ("Instrument", "format_decimal"),
    "store.reader": ("Store",),
    "store.tables": ("duckdb", "polars"),
    "errors": (
        "ConfigError",
        "ControlError",
        "DamageError",
        "FeedError",
        "RingError",
        "StoreError",
        "SubscribeError",
        "TickplantError",
    ),
}
"""Which module defines which of the names above; the rest come from `records.layouts`."""


def __getattr__(name: str) -> Any:
    """Load a name on first use: every process of a plant imports this package, and few need all of it."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  # slow to import, rarely asked for

        return version("tickplant")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "records.layouts")
    value = globals()[name] = getattr(import_module(f"tickplant.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
