"""An adapter whose accounts are compared after each event, with an instrument table in memory."""

from __future__ import annotations

import pkgutil
from collections import Counter, defaultdict
from typing import Any

import numpy as np
from folded_book import FoldedBook
from venue_sample import VenueSample

from tickplant.feeds.contract import Adapter, Event, FeedContext, Output, Reject
from tickplant.instruments import FEED_SYMBOL, Instrument
from tickplant.records.layouts import TICK, Kind
from tickplant.venues import VENUES


class Table:
    """An instrument table in memory, by the rule of feeds/feed_process.py."""

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self.rows: list[Instrument] = []

    def resolve(
        self, symbol: str, price_scale: int | None, size_scale: int | None, /, *, exact: bool = False
    ) -> Instrument:
        scales = 8 if price_scale is None else price_scale, 8 if size_scale is None else size_scale
        newest = None if exact or symbol == FEED_SYMBOL else self.known(symbol)
        if newest is not None and newest.covers(*scales):
            return newest
        for row in self.rows:
            if (row.symbol, row.price_scale, row.size_scale) == (symbol, *scales):
                return row
        self.rows.append(Instrument(len(self.rows) + 1, self.venue, symbol, *scales))
        return self.rows[-1]

    def known(self, symbol: str) -> Instrument | None:
        return next((row for row in reversed(self.rows) if row.symbol == symbol), None)

    def ids(self, symbol: str) -> list[int]:
        return [row.id for row in self.rows if row.symbol == symbol]

    def symbol(self, ident: int) -> str:
        return self.rows[ident - 1].symbol


class Checked:
    """An adapter whose accounts are compared after each event; keeps its output."""

    def __init__(
        self,
        sample: VenueSample,
        *,
        live: bool = True,
        discover: bool = False,
        table: Table | None = None,
        use_shapes: bool = True,
        channels: tuple[str, ...] | None = None,
        symbols: tuple[str, ...] | None = None,
        **context: Any,
    ) -> None:
        self.sample = sample
        self.channels = channels or sample.channels
        self.table = table or Table(sample.venue)
        factory = pkgutil.resolve_name(VENUES[sample.venue].factory)
        self.adapter: Adapter = factory(
            FeedContext(
                symbols=None if discover else symbols or sample.symbols,
                channels=self.channels,
                resolve=self.table.resolve,
                known=self.table.known,
                live=live,
                endpoints={"ws": "ws://venue" + sample.ws_path, "rest": "http://venue"},
                **{"secrets": sample.secrets} | context,
            ),
            use_shapes=use_shapes,
        )
        self.rejects: list[Reject] = []
        self.books: dict[int, FoldedBook] = defaultdict(FoldedBook)  # by instrument
        self._batches: list[np.ndarray] = [np.empty(0, TICK)]
        self._kinds: Counter[str] = Counter()

    def start(self, now_ns: int) -> Output:
        self.adapter.start(now_ns)
        return self._take()

    def on(self, event: Event, now_ns: int) -> Output:
        """Pass an event to the adapter; returns its output, with a copy of the ticks. Asserts that accounts balance."""
        self.adapter.on_event(event, now_ns)
        return self._take()

    def _take(self) -> Output:
        output = self.adapter.take()
        ticks = output.ticks.copy()
        self._batches.append(ticks)
        self.rejects += output.rejects
        for ident in np.unique(ticks["instrument"]).tolist():
            self.books[ident].apply_ticks(ticks[ticks["instrument"] == ident])
        self._kinds.update(Kind(kind).name.lower() for kind in ticks["kind"].tolist())
        counters = self.adapter.counters
        assert counters.frames == counters.parsed + counters.ignored + counters.rejected, counters
        assert counters.ticks == sum(self._kinds.values()), counters
        assert counters.kinds == self._kinds
        assert counters.gaps == self._kinds["gap"]
        assert isinstance(self.adapter.trouble, str)
        return Output(ticks, output.effects, output.rejects)

    @property
    def records(self) -> np.ndarray:
        """All records so far, dtype TICK."""
        self._batches = [np.concatenate(self._batches)]
        return self._batches[0]

    def book(self, symbol: str) -> FoldedBook:
        """The folded book of the newest instrument of a symbol."""
        return self.books[self.table.ids(symbol)[-1]]

    def of(self, symbol: str) -> np.ndarray:
        """The records of a symbol, under all its ids."""
        return self.records[np.isin(self.records["instrument"], self.table.ids(symbol))]
