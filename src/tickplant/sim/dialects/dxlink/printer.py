"""The synthetic market as dxFeed prints it. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tickplant.sim import order_flow
from tickplant.sim.dialect import Events, Printer
from tickplant.sim.dialects.dxlink.words import FRAME, KINDS, LAST, QUOTE, SALE, STYLE, shapes, stream_names, traded
from tickplant.sim.frames import Batch
from tickplant.sim.market import Market
from tickplant.sim.sim_source import Listed
from tickplant.sim.templates import Renderer, decimals_of, templates

UNUSED_NS = 1_000_000_000
"""A market must have a book stream; nobody asks for it here."""

MS_NS = 1_000_000
SECOND_MS = 1_000
SEQUENCE_BITS = 22
_NO_LEVELS: NDArray[np.int64] = np.zeros((0, 2), np.int64)


class DxlinkPrinter(Printer):
    """Sales of one order are one frame; a Trade is the last of them; times of quotes are whole seconds."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.instruments = [traded(symbol) for symbol in symbols]
        self.streams = [name for symbol in symbols for name in stream_names(symbol)]
        self.intervals_ns = [UNUSED_NS]
        self.id_step = 1
        self.decimals = decimals_of(self.instruments)
        self._renderer = Renderer(templates(STYLE, shapes, self.instruments), self.decimals)
        self._quotes: dict[int, NDArray[np.void]] = {}  # the newest quotes, by symbol

    def begin(self, market: Market) -> None:
        """Does nothing: no state."""

    def prepare(self) -> None:
        """Does nothing: `render` calls all kernels."""

    def needs(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Trades and quotes, since the newest quote is kept with or without listeners."""
        kinds = np.zeros(order_flow.DEPTH + len(self.intervals_ns), np.bool_)
        kinds[[order_flow.TRADE, order_flow.TICKER]] = True
        return np.tile(kinds, len(self.instruments))

    def render(
        self, events: Events, wanted: NDArray[np.bool_], variants: set[int]
    ) -> Iterator[tuple[int | None, Batch]]:
        """Sales and quotes, then the last trades; one rendering for all variants."""
        del variants
        rows = self._rows(events)
        for part in (rows, self._last_trades(rows)):
            chosen = part[wanted[part["symbol"] * KINDS + part["kind"]]]
            if chosen.shape[0]:
                yield None, self._batch(chosen)

    def changed(self, one: Listed) -> Batch | None:
        """None: the venue does not announce changes."""
        return None

    def newest_quote(self, symbol: int) -> bytes | None:
        """The first frame for a new subscriber; None before the first quote."""
        row = self._quotes.get(symbol)
        return None if row is None else self._batch(row).payload(0)

    def _batch(self, rows: NDArray[np.void]) -> Batch:
        return self._renderer.batch(rows, _NO_LEVELS, sent_ns=0, origin_ns=0, unit_ns=1)

    def _rows(self, events: Events) -> NDArray[np.void]:
        kept = events.rows[np.isin(events.rows["kind"], (order_flow.TRADE, order_flow.TICKER))]
        rows = np.zeros(kept.shape[0], FRAME)
        for name in order_flow.MESSAGE.names or ():
            rows[name] = kept[name]
        is_sale = kept["kind"] == order_flow.TRADE
        rows["kind"] = np.where(is_sale, SALE, QUOTE)
        rows["levels"] = rows["bids"] = rows["asks"] = 0
        rows["ms"], rows["nanos"] = np.divmod(kept["time"] + events.origin_ns, MS_NS)
        seconds, ms = np.divmod(rows["ms"], SECOND_MS)
        rows["second_ms"] = seconds * SECOND_MS
        sequence = kept["id"] & ((1 << SEQUENCE_BITS) - 1)
        rows["index"] = np.where(is_sale, seconds << 32 | ms << SEQUENCE_BITS | sequence, 0)
        rows["side"] = np.where(kept["id"] % 8 == 0, 2, kept["maker"])
        rows["run"] = 0
        for first, end in _runs(rows):
            rows["run"][first] = end - first
        for row in np.flatnonzero(~is_sale).tolist():
            self._quotes[int(rows["symbol"][row])] = rows[row : row + 1].copy()
        return rows

    @staticmethod
    def _last_trades(rows: NDArray[np.void]) -> NDArray[np.void]:
        last = rows[[end - 1 for _, end in _runs(rows)]].copy()
        last["kind"] = LAST
        return last


def _runs(rows: NDArray[np.void]) -> list[tuple[int, int]]:
    """Begin and end of the sales of each order."""
    if not rows.shape[0]:
        return []
    same = np.ones(rows.shape[0] - 1, np.bool_)
    for name in ("kind", "symbol", "time"):
        same &= rows[name][1:] == rows[name][:-1]
    starts = [0, *(np.flatnonzero(~same) + 1).tolist()]
    runs = zip(starts, [*starts[1:], rows.shape[0]], strict=True)
    return [(first, end) for first, end in runs if rows["kind"][first] == SALE]
