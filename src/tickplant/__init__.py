"""tickplant records exchange market data and serves it live while it records.

    with tickplant.subscribe("binance.BTCUSDT.trade") as messages: ...      # live, from a running plant or a replay
    for records in tickplant.Store("data").query("binance", "BTCUSDT"): ... # stored

Records are numpy arrays of the dtypes below. Importing this module loads neither numba nor pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tickplant.client import Book, Subscription, fetch_book, subscribe
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
from tickplant.follower import Message
from tickplant.instruments import Instrument, format_decimal
from tickplant.shm.records import (
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

if TYPE_CHECKING:
    from tickplant.writer.store import Store

    __version__: str

__all__ = [
    "BAR",
    "BBO",
    "CHECKPOINT",
    "NO_PRICE",
    "TICK",
    "UNKNOWN",
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
    "fetch_book",
    "format_decimal",
    "subscribe",
]


def __getattr__(name: str) -> Any:
    """What is loaded when it is first asked for: `Store` brings the compiled codec with it."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  # slow to import, rarely asked for

        return version("tickplant")
    if name == "Store":
        from tickplant.writer.store import Store  # noqa: PLC0415  # as said above

        return Store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
