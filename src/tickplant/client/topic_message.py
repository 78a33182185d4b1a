"""`Message`, which a subscriber receives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.instruments import Instrument, format_decimal
from tickplant.records.layouts import NO_PRICE, Schema

if TYPE_CHECKING:
    from pandas import DataFrame as PandasFrame
    from polars import DataFrame as PolarsFrame
    from pyarrow import RecordBatch

    from tickplant.records.arrow_columns import Prices

Records = NDArray[np.void]
MessageKind = Literal["live", "snapshot", "recovered", "lost", "stored"]


class Message(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Records of one topic, in order.

    `kind` says how the records came:

        live        as the engine published them
        snapshot    the state just before topic sequence `first_seq`
        recovered   missed at first, and fetched since
        lost        no records: `lost` of them, from `first_seq` on, are missing for good. UNKNOWN: their number is not
                    known, since the engine was restarted and the store lacks the records between its lives
        stored      read from a store by `Store.play` or `Store.follow`; topic sequences count from 0, `epoch` is 0
    """

    kind: MessageKind
    topic: str
    venue: str
    symbol: str
    channel: str
    schema: Schema
    records: Records
    instrument: int
    price_scale: int
    size_scale: int
    epoch: int  # the life of the engine to which the sequence belongs
    first_seq: int  # topic sequence of the first record
    publish_ns: int = 0  # when the engine sent it; 0 for a snapshot or a loss
    lost: int = 0
    stale: bool = False  # of a snapshot: the book is not in sync with the venue
    producer: str = ""  # feed or engine that counts the records' `seq`; empty if in no store, or read from one

    def prices(self, field: str = "price") -> list[str | None]:
        """A column of prices as exact decimal text, None for no price. For a BBO or BAR, `field` names the column."""
        return decimals(self.records[field], self.price_scale)

    def sizes(self, field: str = "size") -> list[str | None]:
        """A column of sizes as exact decimal text."""
        return decimals(self.records[field], self.size_scale)

    def arrow(self, *, prices: Prices = "decimal") -> RecordBatch:
        """The records with the columns and types that `Store` returns, prices and sizes in the form `prices`.

        A column `series` holds numbers where `Store` has names; `channel` is the name of this message's series.
        """
        from tickplant.records.arrow_columns import ArrowColumns  # noqa: PLC0415  # Arrow takes 0.1 s to import

        row = Instrument(self.instrument, self.venue, self.symbol, self.price_scale, self.size_scale)
        columns = ArrowColumns([row], self.schema, prices=prices)
        return columns.batch(columns.default, {name: self.records[name] for name in self.records.dtype.names or ()})

    def pandas(self, *, prices: Prices = "decimal") -> PandasFrame:
        """The same as a pandas frame. Raises TickplantError if pandas is not installed."""
        from tickplant.records.data_frames import pandas_frame  # noqa: PLC0415

        return pandas_frame(self.arrow(prices=prices))

    def polars(self, *, prices: Prices = "decimal") -> PolarsFrame:
        """The same as a polars frame. Raises TickplantError if polars is not installed."""
        from tickplant.records.data_frames import polars_frame  # noqa: PLC0415

        return polars_frame(self.arrow(prices=prices))


def decimals(mantissas: NDArray[np.int64], scale: int) -> list[str | None]:
    """Exact decimal texts; None for NO_PRICE."""
    return [None if value == NO_PRICE else format_decimal(value, scale) for value in mantissas.tolist()]
