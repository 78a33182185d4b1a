"""The life of the synthetic market: limit order books under random orders, kernels over plain arrays. No I/O.

Each step is one order of one symbol: a limit order, a cancellation, or a market order that walks the book and leaves
trades. Everything is a function of seed and step: the seed draws tables of sizes, distances and waiting times, and the
kernels pick from those with integers. Arrivals cluster: each market order excites the next (Hawkes), and a slow
correction keeps the long-run rate of messages at the requested one.

A book is a ring of price slots on each side, addressed by `tick & mask`. All levels lie less than `window` ticks from
the best price, and the ring is at least four windows wide, so a slot stands for one tick at a time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import kernel

# Message kinds; DEPTH + k is the depth stream of the k-th interval. A stream's index is symbol * kinds + kind.
TRADE: Final = 0
AGGREGATE: Final = 1
TICKER: Final = 2
DEPTH: Final = 3

BID: Final = 0
ASK: Final = 1

UPDATE_ID: Final = 0
TRADE_ID: Final = 1
AGGREGATE_ID: Final = 2

NEXT_STEP: Final = 0  # columns of State.clock, ns since the market opened
NEXT_DUE: Final = 1
MESSAGES: Final = 2  # trades, tickers and diffs of the first interval so far
STEPS: Final = 3

MIN_LEVELS: Final = 8  # minimum of a side: the last ones are neither cancelled nor traded away
MAX_SWEEP: Final = 8  # levels that one market order may empty
MAX_FILLS: Final = 3  # trades at one level of one market order
STEP_ROWS: Final = MAX_SWEEP * (MAX_FILLS + 1) + 1

TABLE: Final = 1 << 14
NEVER: Final = 2**62

MESSAGE: Final = np.dtype(
    [
        ("kind", "i8"),
        ("symbol", "i8"),
        ("time", "i8"),  # ns since the market opened
        ("id", "i8"),  # trade id, aggregate id or final update id
        ("first", "i8"),  # aggregate: first trade id; depth: first update id
        ("last", "i8"),  # aggregate: last trade id; depth: final update id of the diff before
        ("price", "i8"),  # ticks; of the bid in a ticker
        ("size", "i8"),  # lots
        ("ask", "i8"),
        ("ask_size", "i8"),
        ("maker", "i8"),  # 1: the buyer was the maker, the aggressor sold
        ("levels", "i8"),  # depth: where its levels begin, bids best first, then asks best first
        ("bids", "i8"),
        ("asks", "i8"),
    ]
)
"""An event before it becomes text."""

KIND: Final = 0  # columns of MESSAGE, as a table of integers
SYMBOL: Final = 1
ID: Final = 3
LEVELS: Final = 11
LEVELS_BIDS: Final = 12
LEVELS_ASKS: Final = 13


class State(NamedTuple):
    """The whole state of a market: S symbols, W slots, K depth intervals."""

    sizes: NDArray[np.int64]  # [S, 2, W] lots
    ticks: NDArray[np.int64]  # [S, 2, W] the tick that a slot stands for
    changed: NDArray[np.int64]  # [S, 2, W] update id of the last change
    best: NDArray[np.int64]  # [S, 2] ticks
    filled: NDArray[np.int64]  # [S, 2] levels with size
    ids: NDArray[np.int64]  # [S, 3]
    flushed: NDArray[np.int64]  # [S, K] final update id of the last diff
    first: NDArray[np.int64]  # [S, K] first update id after it, 0 if nothing changed
    due: NDArray[np.int64]  # [S, K] time of the next diff
    pressure: NDArray[np.float64]  # [S] -1 .. 1: whether buyers or sellers are more eager
    random: NDArray[np.int64]  # [2]
    clock: NDArray[np.int64]  # [4]
    excitement: NDArray[np.float64]  # [1]
    intervals: NDArray[np.int64]  # [K] ns
    lots: NDArray[np.int64]  # [S, a power of two, TABLE at most] order sizes
    distances: NDArray[np.int64]  # [TABLE] from the best price, ticks
    gaps: NDArray[np.float64]  # [TABLE] waiting times, mean 1
    picks: NDArray[np.int64]  # [TABLE] symbols by weight
    window: int
    levels: int
    id_step: int  # update ids rise by 1 .. id_step per change
    gap_ns: float  # mean time between messages
    burstiness: float


@kernel
def _draw(random: NDArray[np.int64], below: int) -> int:
    """0 .. below-1; combined generator of L'Ecuyer (CACM 31, 1988), period 2.3e18, exact in 64-bit integers."""
    random[0] = random[0] * 40014 % 2147483563
    random[1] = random[1] * 40692 % 2147483399
    return int((random[0] - random[1]) % 2147483562 % below)


@kernel
def _set_level(state: State, symbol: int, side: int, tick: int, size: int) -> None:
    slot = tick & (state.sizes.shape[2] - 1)
    old = state.sizes[symbol, side, slot]
    step = 1 if state.id_step == 1 else 1 + _draw(state.random, state.id_step)
    state.ids[symbol, UPDATE_ID] += step
    state.sizes[symbol, side, slot] = size
    state.ticks[symbol, side, slot] = tick
    state.changed[symbol, side, slot] = state.ids[symbol, UPDATE_ID]
    for k in range(state.first.shape[1]):
        if state.first[symbol, k] == 0:
            state.first[symbol, k] = state.ids[symbol, UPDATE_ID]
    if size > 0 and old == 0:
        state.filled[symbol, side] += 1
    elif size == 0 and old > 0:
        state.filled[symbol, side] -= 1


@kernel
def _next_level(state: State, symbol: int, side: int, tick: int) -> int:
    """The first tick with size at `tick` or further from the market; -1 beyond the window."""
    outward = -1 if side == BID else 1
    mask = state.sizes.shape[2] - 1
    for _ in range(state.window + 1):
        if state.sizes[symbol, side, tick & mask] > 0:
            return tick
        tick += outward
    return -1


@kernel
def _move_best(state: State, symbol: int, side: int, tick: int) -> None:
    """Make `tick` the best price and drop the levels that are now too far away."""
    outward = -1 if side == BID else 1
    mask = state.sizes.shape[2] - 1
    old = state.best[symbol, side]
    state.best[symbol, side] = tick
    for i in range((old - tick) * outward):  # moved inward by this many ticks
        far = old + outward * (state.window - 1 - i)
        if state.sizes[symbol, side, far & mask] > 0:
            _set_level(state, symbol, side, far, 0)


@kernel
def _is_free(state: State, symbol: int, side: int, tick: int) -> bool:
    """Whether the slot of `tick` is free for it: no diff still owes the last change of another tick."""
    slot = tick & (state.sizes.shape[2] - 1)
    if state.ticks[symbol, side, slot] == tick:
        return True
    return bool((state.flushed[symbol] >= state.changed[symbol, side, slot]).all())


@kernel
def _add(state: State, symbol: int, side: int, distance: int) -> None:
    """Add a limit order; one at the touch prefers the spread if there is room."""
    outward = -1 if side == BID else 1
    mask = state.sizes.shape[2] - 1
    best = state.best[symbol, side]
    spread = state.best[symbol, ASK] - state.best[symbol, BID]
    tick = best + outward * distance
    if distance == 0 and spread > 1 and _draw(state.random, 4) < 3:
        tick = best - outward * (1 + _draw(state.random, spread - 1))
    if tick < 1 or not _is_free(state, symbol, side, tick):
        return
    size = state.sizes[symbol, side, tick & mask] + state.lots[symbol, _draw(state.random, state.lots.shape[1])]
    _set_level(state, symbol, side, tick, size)
    if (tick - best) * outward < 0:
        _move_best(state, symbol, side, tick)


@kernel
def _cancel(state: State, symbol: int, side: int, distance: int) -> None:
    """Cancel an order, or all of them, at the nearest level at or beyond a distance."""
    outward = -1 if side == BID else 1
    tick = _next_level(state, symbol, side, state.best[symbol, side] + outward * distance)
    if tick < 0:
        return
    size = state.sizes[symbol, side, tick & (state.sizes.shape[2] - 1)]
    left = max(0, size - state.lots[symbol, _draw(state.random, state.lots.shape[1])]) if _draw(state.random, 2) else 0
    if left == 0 and state.filled[symbol, side] <= MIN_LEVELS:
        return
    _set_level(state, symbol, side, tick, left)
    if left == 0 and tick == state.best[symbol, side]:
        _move_best(state, symbol, side, _next_level(state, symbol, side, tick))


@kernel
def _put(rows: NDArray[np.void], at: int, kind: int, symbol: int, time: int, ident: int) -> None:
    rows[at]["kind"] = kind
    rows[at]["symbol"] = symbol
    rows[at]["time"] = time
    rows[at]["id"] = ident


@kernel
def _market_order(state: State, symbol: int, side: int, time: int, rows: NDArray[np.void], used: int) -> int:
    """Trade against `side` of the book; returns the rows used. One aggregate per level, one to three trades in it."""
    mask = state.sizes.shape[2] - 1
    left = state.lots[symbol, _draw(state.random, state.lots.shape[1])] * (1 + 15 * (_draw(state.random, 12) == 0))
    for _ in range(MAX_SWEEP):
        tick = state.best[symbol, side]
        there = state.sizes[symbol, side, tick & mask]
        size = min(left, there)
        if size == there and state.filled[symbol, side] <= MIN_LEVELS:
            size -= 1
        if size <= 0:
            break
        fills = min(size, 1 + _draw(state.random, MAX_FILLS))
        first = state.ids[symbol, TRADE_ID] + 1
        for fill in range(fills):
            state.ids[symbol, TRADE_ID] += 1
            _put(rows, used, TRADE, symbol, time, state.ids[symbol, TRADE_ID])
            rows[used]["price"] = tick
            rows[used]["size"] = size // fills if fill else size - size // fills * (fills - 1)
            rows[used]["maker"] = side == BID
            used += 1
        state.ids[symbol, AGGREGATE_ID] += 1
        _put(rows, used, AGGREGATE, symbol, time, state.ids[symbol, AGGREGATE_ID])
        rows[used]["first"] = first
        rows[used]["last"] = state.ids[symbol, TRADE_ID]
        rows[used]["price"] = tick
        rows[used]["size"] = size
        rows[used]["maker"] = side == BID
        used += 1
        state.clock[MESSAGES] += fills
        left -= size
        _set_level(state, symbol, side, tick, there - size)
        if there > size:
            break
        _move_best(state, symbol, side, _next_level(state, symbol, side, tick))
    return used


@kernel
def _step(state: State, time: int, rows: NDArray[np.void], used: int) -> int:
    """One order of one symbol; returns the rows used."""
    symbol = state.picks[_draw(state.random, TABLE)]
    mask = state.sizes.shape[2] - 1
    bid = state.best[symbol, BID]
    ask = state.best[symbol, ASK]
    bid_size = state.sizes[symbol, BID, bid & mask]
    ask_size = state.sizes[symbol, ASK, ask & mask]

    pressure = 0.995 * state.pressure[symbol] + (_draw(state.random, 2001) - 1000) * 1e-4
    if bid < 4 * state.window:
        pressure = 1.0  # a price near zero has nowhere to fall
    state.pressure[symbol] = min(1.0, max(-1.0, pressure))

    kind = _draw(state.random, 1000)
    if kind < 40 + int(8 * min(5.0, state.excitement[0])):
        side = ASK if _draw(state.random, 1000) < 500 + 200 * state.pressure[symbol] else BID
        used = _market_order(state, symbol, side, time, rows, used)
        state.excitement[0] += 0.6 * state.burstiness
    else:
        side = ASK if _draw(state.random, 1000) < 500 - 50 * state.pressure[symbol] else BID
        distance = state.distances[_draw(state.random, TABLE)]
        short = (state.levels - state.filled[symbol, side]) / state.levels
        if _draw(state.random, 1000) < 500 + 400 * min(1.0, max(-1.0, short)):
            _add(state, symbol, side, distance)
        else:
            _cancel(state, symbol, side, distance)
    state.excitement[0] *= 0.96

    new_bid = state.best[symbol, BID]
    new_ask = state.best[symbol, ASK]
    new_bid_size = state.sizes[symbol, BID, new_bid & mask]
    new_ask_size = state.sizes[symbol, ASK, new_ask & mask]
    if new_bid != bid or new_ask != ask or new_bid_size != bid_size or new_ask_size != ask_size:
        _put(rows, used, TICKER, symbol, time, state.ids[symbol, UPDATE_ID])
        rows[used]["price"] = new_bid
        rows[used]["size"] = new_bid_size
        rows[used]["ask"] = new_ask
        rows[used]["ask_size"] = new_ask_size
        state.clock[MESSAGES] += 1
        used += 1
    state.clock[STEPS] += 1
    return used


@kernel
def _changed_levels(state: State, symbol: int, side: int, since: int, levels: NDArray[np.int64], used: int) -> int:
    """Write the levels of a side that changed after update `since`, best first; returns the levels used."""
    slots = state.sizes.shape[2]
    outward = -1 if side == BID else 1
    top = state.best[symbol, side] - outward * (slots // 2)
    for i in range(slots):
        slot = (top + outward * i) & (slots - 1)
        if state.changed[symbol, side, slot] > since:
            levels[used, 0] = state.ticks[symbol, side, slot]
            levels[used, 1] = state.sizes[symbol, side, slot]
            used += 1
    return used


@kernel
def advance(
    state: State,
    until_ns: int,
    wanted: NDArray[np.bool_],
    limit: int,
    rows: NDArray[np.void],
    levels: NDArray[np.int64],
) -> int:
    """Run the market up to `until_ns`; returns the number of rows written.

    Stops early, to be called again, if `rows` or `levels` might not hold the result of one more step or diff: the next
    step or diff then still lies at or before `until_ns` (see State.clock). Diffs that are not `wanted` count but are
    not written. After `limit` messages no more orders arrive.
    """
    used = 0
    used_levels = 0
    kinds = DEPTH + state.intervals.shape[0]
    room = 2 * state.sizes.shape[2]
    while True:
        step_ns = state.clock[NEXT_STEP]
        if state.clock[MESSAGES] >= limit:
            step_ns = state.clock[NEXT_STEP] = NEVER
        if min(step_ns, state.clock[NEXT_DUE]) > until_ns or used + STEP_ROWS > rows.shape[0]:
            return used
        if state.clock[NEXT_DUE] <= step_ns:
            next_due = NEVER
            for symbol in range(state.due.shape[0]):
                for k in range(state.intervals.shape[0]):
                    if state.due[symbol, k] == state.clock[NEXT_DUE]:
                        since = state.flushed[symbol, k]
                        if state.ids[symbol, UPDATE_ID] > since:
                            if used >= rows.shape[0] or used_levels + room > levels.shape[0]:
                                return used
                            if wanted[symbol * kinds + DEPTH + k]:
                                _put(rows, used, DEPTH + k, symbol, state.due[symbol, k], state.ids[symbol, UPDATE_ID])
                                rows[used]["first"] = state.first[symbol, k] if state.id_step > 1 else since + 1
                                rows[used]["last"] = since
                                rows[used]["levels"] = used_levels
                                end_bids = _changed_levels(state, symbol, BID, since, levels, used_levels)
                                end_asks = _changed_levels(state, symbol, ASK, since, levels, end_bids)
                                rows[used]["bids"] = end_bids - used_levels
                                rows[used]["asks"] = end_asks - end_bids
                                used_levels = end_asks
                                used += 1
                            state.flushed[symbol, k] = state.ids[symbol, UPDATE_ID]
                            state.first[symbol, k] = 0
                            state.clock[MESSAGES] += k == 0
                        state.due[symbol, k] += state.intervals[k]
                    next_due = min(next_due, state.due[symbol, k])
            state.clock[NEXT_DUE] = next_due
            continue
        before = state.clock[MESSAGES]
        used = _step(state, step_ns, rows, used)
        # Each message pays for one mean gap. The correction offsets what chance, bursts and diffs add or take.
        ahead = state.clock[MESSAGES] * state.gap_ns - step_ns
        correction = 1.0 + ahead / max(2.5e8, 20.0 * state.gap_ns)
        mean = 1.0 + 0.75 * state.burstiness
        gap = max(0.25, float(state.clock[MESSAGES] - before)) * state.gap_ns * min(8.0, max(0.125, correction))
        if state.burstiness > 0:
            gap *= state.gaps[_draw(state.random, TABLE)] * mean / (1.0 + state.excitement[0])
        state.clock[NEXT_STEP] = step_ns + int(gap)
