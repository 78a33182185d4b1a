"""The synthetic market: opens it, runs it, shows its books. `order_flow` defines its life. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.sim.order_flow import (
    ASK,
    BID,
    DEPTH,
    MESSAGE,
    MESSAGES,
    MIN_LEVELS,
    NEVER,
    NEXT_DUE,
    NEXT_STEP,
    TABLE,
    UPDATE_ID,
    State,
    advance,
)
from tickplant.sim.sim_source import Traded

_WHOLE_TABLES: Final = 256
"""Up to this many symbols have order-size tables of TABLE entries each; more share about as many, instead of GiB."""
_LEAST_LOTS: Final = 256


class Market:
    """Several symbols trading, from creation on. Deterministic; the caller provides the time."""

    def __init__(
        self,
        instruments: list[Traded],
        *,
        seed: int,
        messages_per_s: float,
        intervals_ns: list[int],
        id_step: int = 1,
        burstiness: float = 1.0,
        depth_levels: int = 1000,
        limit_messages: int | None = None,
        id_base: int = 0,
    ) -> None:
        """Open the market at time 0. Update ids begin after `id_base` and rise by 1 .. `id_step` per change."""
        self.instruments = instruments
        self.kinds = DEPTH + len(intervals_ns)
        self._limit = NEVER if limit_messages is None else limit_messages
        self.state = _open(
            instruments, seed, 1e9 / messages_per_s, np.array(intervals_ns, np.int64), id_step, burstiness, depth_levels
        )
        self.state.ids[:] += id_base
        self.state.flushed[:] += id_base
        self._picks = self.state.picks.copy()
        slots = self.state.sizes.shape[2]
        self._rows = np.zeros(4096, MESSAGE)
        self._levels = np.zeros((max(1 << 16, 4 * slots), 2), np.int64)

    @property
    def messages(self) -> int:
        """Trades, tickers and diffs of the first interval so far, wanted or not."""
        return int(self.state.clock[MESSAGES])

    @property
    def next_ns(self) -> int:
        """Earliest time of the next event."""
        return int(min(self.state.clock[NEXT_STEP], self.state.clock[NEXT_DUE]))

    def advance(self, until_ns: int, wanted: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.void], NDArray[np.int64]]]:
        """Run up to a time; yields blocks of `(messages, levels)`, views that the next block overwrites."""
        while True:
            used = advance(self.state, until_ns, wanted, self._limit, self._rows, self._levels)
            if used:
                yield self._rows[:used], self._levels
            if self.next_ns > until_ns:
                return

    def freeze(self, symbols: set[int]) -> None:
        """Redirect orders for these symbols to the others, if any; what is under way is still sent."""
        frozen = np.isin(self._picks, list(symbols))
        others = self._picks[~frozen]
        self.state.picks[:] = self._picks
        if len(others):
            self.state.picks[frozen] = np.resize(others, int(frozen.sum()))

    def update_id(self, symbol: int) -> int:
        """Id of the last change of a book."""
        return int(self.state.ids[symbol, UPDATE_ID])

    def book(self, symbol: int, side: int, limit: int) -> list[tuple[int, int]]:
        """The `limit` best levels of a side as `(tick, lots)`, best first."""
        slots = np.flatnonzero(self.state.sizes[symbol, side])
        ticks = self.state.ticks[symbol, side][slots]
        order = np.argsort(-ticks if side == BID else ticks)[:limit]
        sizes = self.state.sizes[symbol, side][slots]
        return list(zip(ticks[order].tolist(), sizes[order].tolist(), strict=True))


def _open(
    instruments: list[Traded],
    seed: int,
    gap_ns: float,
    intervals: NDArray[np.int64],
    id_step: int,
    burstiness: float,
    levels: int,
) -> State:
    """Draw the tables and fill the books."""
    random = np.random.default_rng(seed)
    symbols = len(instruments)
    window = max(4 * MIN_LEVELS, min(4 * levels, min(one.first_tick for one in instruments) // 8))
    levels = min(levels, window // 2)
    slots = 1 << (4 * window - 1).bit_length()
    # Order sizes: log-normal, with one in thirty from a power law. Distances: half at the touch, else a power law.
    shape = (symbols, max(_LEAST_LOTS, TABLE >> (symbols // _WHOLE_TABLES).bit_length()))
    lots = np.exp(random.normal(0.0, 1.2, shape)) * (1.0 + (random.random(shape) < 1 / 30) * random.pareto(1.5, shape))
    typical = np.array([[one.typical_lots] for one in instruments])
    far = np.minimum(1.0 + random.pareto(0.5, TABLE), window - 1.0)
    distances = np.where(random.random(TABLE) < 0.5, 0.0, far)
    weights = 1.0 / np.arange(1, symbols + 1)
    gaps = random.exponential(1.0, TABLE)
    state = State(
        sizes=np.zeros((symbols, 2, slots), np.int64),
        ticks=np.full((symbols, 2, slots), -1, np.int64),
        changed=np.zeros((symbols, 2, slots), np.int64),
        best=np.zeros((symbols, 2), np.int64),
        filled=np.zeros((symbols, 2), np.int64),
        ids=random.integers(10**9, 5 * 10**9, (symbols, 3)),
        flushed=np.zeros((symbols, intervals.shape[0]), np.int64),
        first=np.zeros((symbols, intervals.shape[0]), np.int64),
        # Each book has its own phase, as on the venue.
        due=intervals + (np.arange(symbols, dtype=np.int64) * 7_000_000)[:, None],
        pressure=np.zeros(symbols),
        random=random.integers(1, 2**31 - 1000, 2),
        clock=np.array([0, 0, 0, 0], np.int64),
        excitement=np.zeros(1),
        intervals=intervals,
        lots=np.clip(lots * typical, 1, 10**9).astype(np.int64),
        distances=distances.astype(np.int64),
        gaps=gaps / gaps.mean(),
        picks=random.choice(symbols, TABLE, p=weights / weights.sum()),
        window=window,
        levels=levels,
        id_step=id_step,
        gap_ns=gap_ns,
        burstiness=float(burstiness),
    )
    for symbol, instrument in enumerate(instruments):
        for side in (BID, ASK):
            # Denser towards the market.
            steps = np.unique((window - 1) * random.random(4 * levels) ** 2).astype(np.int64)
            offsets = np.unique(np.concatenate([np.arange(MIN_LEVELS), random.permutation(steps)[:levels]]))
            ticks = instrument.first_tick + (-offsets if side == BID else 1 + offsets)
            state.sizes[symbol, side, ticks & (slots - 1)] = random.choice(state.lots[symbol], ticks.shape[0])
            state.ticks[symbol, side, ticks & (slots - 1)] = ticks
            state.best[symbol, side] = ticks[0]
            state.filled[symbol, side] = np.count_nonzero(state.sizes[symbol, side])
        state.flushed[symbol] = state.ids[symbol, UPDATE_ID]
    state.clock[NEXT_DUE] = state.due.min()
    return state
