"""The synthetic market as Polygon prints it: one event per frame. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.sim import order_flow
from tickplant.sim.dialect import Events, Printer
from tickplant.sim.dialects.polygon.bars import SECOND_NS, Bars, band
from tickplant.sim.dialects.polygon.prints import (
    KINDS,
    LIMITS,
    MINUTE,
    SECOND,
    STYLE,
    Cluster,
    shapes,
    stream_names,
    traded,
)
from tickplant.sim.frames import Batch, batch_of
from tickplant.sim.market import Market
from tickplant.sim.sim_source import Listed
from tickplant.sim.templates import Renderer, decimals_of, templates

MILLISECOND_NS: Final = 1_000_000


class PolygonPrinter(Printer):
    """Trades and quotes as they come; bars, and a band each minute, when a trade shows that they are due."""

    def __init__(self, cluster: Cluster, symbols: tuple[str, ...]) -> None:
        self._cluster = cluster
        self.instruments = [traded(cluster, symbol) for symbol in symbols]
        self.streams = [name for symbol in symbols for name in stream_names(cluster, symbol)]
        self.intervals_ns = [SECOND_NS]
        self.id_step = 1
        self.decimals = decimals_of(self.instruments)
        self._renderer = Renderer(templates(STYLE, lambda _: shapes(cluster), self.instruments), self.decimals)
        self._bars = {
            SECOND: Bars(SECOND_NS, self.decimals),
            MINUTE: Bars(60 * SECOND_NS, self.decimals),
        }

    def begin(self, market: Market) -> None:
        """Does nothing: no state."""

    def prepare(self) -> None:
        """Does nothing: `render` calls all kernels."""

    def needs(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """All rows of the market, since bars are made from trades with or without listeners."""
        return np.ones(len(self.instruments) * (order_flow.DEPTH + 1), np.bool_)

    def render(
        self, events: Events, wanted: NDArray[np.bool_], variants: set[int]
    ) -> Iterator[tuple[int | None, Batch]]:
        """Trades and quotes, then the bars that they have ended."""
        kind = events.rows["kind"]
        mine = events.rows[(kind == order_flow.TRADE) | (kind == order_flow.TICKER)]
        rows = mine[wanted[mine["symbol"] * KINDS + mine["kind"]]]
        if rows.shape[0]:
            yield (
                None,
                self._renderer.batch(
                    rows, events.levels, sent_ns=0, origin_ns=events.origin_ns, unit_ns=MILLISECOND_NS
                ),
            )
        ended = self._ended(mine[mine["kind"] == order_flow.TRADE], events.origin_ns)
        shown = [(stream, text) for stream, text in ended if wanted[stream]]
        if shown:
            streams, texts = zip(*shown, strict=True)
            yield None, batch_of([*texts], [*streams], [0] * len(shown))

    def changed(self, one: Listed) -> Batch | None:
        """None: the venue does not announce changes."""
        return None

    def _ended(self, trades: NDArray[np.void], origin_ns: int) -> Iterator[tuple[int, bytes]]:
        for symbol, time, tick, lots in trades[["symbol", "time", "price", "size"]].tolist():
            time_ns, name = origin_ns + time, self.instruments[symbol].symbol
            for kind, bars in self._bars.items():
                numbers = bars.add(symbol, time_ns, tick, lots)
                if numbers is None:
                    continue
                text = self._cluster.bar.format(ev=self._cluster.prefixes[kind], symbol=name, **numbers)
                yield symbol * KINDS + kind, text.encode()
                if kind == MINUTE and self._cluster.prefixes[LIMITS]:
                    yield symbol * KINDS + LIMITS, band(self.decimals, symbol, name, tick, time_ns)
