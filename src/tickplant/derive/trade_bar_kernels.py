"""The kernel that builds bars of trades by a rule, and the layout of its state.

The rules are in `layouts.TRADE_BAR` and, executable, in `plain_trade_bars`. State is data only, so a batch may be cut
anywhere.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import array_at, borrowed, inlined, kernel, noted
from tickplant.records.layouts import TRADE_BAR, UNKNOWN_BAR, BarFlag, Flag, Kind, Side, TradeFlag
from tickplant.records.tick_arrays import packed

Records = NDArray[np.void]

RULES: Final = ("tick", "volume", "dollar", "imbalance", "time", "session")
"""What closes a bar: trades; volume; price * size; what is bought more than sold, or less; time that is over; a session
of an exchange that is over, or that begins."""

BY_TIME: Final = RULES.index("time")
"""From here on a bar is an interval of time, and the first trade behind closes it."""

REMEMBERED: Final = 32
"""Bars whose ends are remembered, so that a trade which comes later can name the one that it belongs to."""

# Positions in the state: whole numbers, but for ids, which are unsigned, and the sums, which are float64.
NUMBER: Final = 0  # of the bar that is open, or of the next one: how many were given out
TRADES: Final = 1  # 0: none is open
FLAGS: Final = 2  # of the bar that is open, or of the next one
OPENED: Final = 3
LATEST: Final = 4  # time of any trade so far
OPEN: Final = 5
HIGH: Final = 6
LOW: Final = 7
CLOSE: Final = 8
VOLUME: Final = 9
BOUGHT: Final = 10
SOLD: Final = 11
FIRST_ID: Final = 12
LAST_ID: Final = 13
AMOUNT: Final = 14  # sum of price * size, and
LOST: Final = 15  # what additions to it have rounded away
TURNOVER: Final = 16  # sum of |price| * size
ENDS: Final = 17  # of bar `n` at `n % REMEMBERED`
# Of bars by time, the interval that the open bar is of. Behind all others: stored states that lack them read as 0.
SINCE: Final = ENDS + REMEMBERED
UNTIL: Final = SINCE + 1
MARKS: Final = UNTIL + 1  # see below
STATE_SIZE: Final = MARKS + 1

_GAP_BEHIND: Final = 1  # a GAP came behind the last trade: what is missing may be of this bar or of the next one
_BETWEEN: Final = 2  # the interval lies between two sessions

DAY_NS: Final = 86_400 * 10**9

MAX_VOLUME: Final = 2**63 - 1

_TRADE: Final = int(Kind.TRADE)
_GAP: Final = int(Kind.GAP)
_BUY: Final = int(Side.BUY)
_SELL: Final = int(Side.SELL)
_BACKFILL: Final = int(Flag.BACKFILL)
_ON_TRADE: Final = int(Flag.ON_TRADE)
_OVERFLOW: Final = int(Flag.OVERFLOW)
_RESTATES: Final = int(TradeFlag.CORRECTION)
_CANCELLED: Final = int(TradeFlag.CANCELLED)
_CORRECTION: Final = int(BarFlag.CORRECTION)
_INCOMPLETE: Final = int(BarFlag.INCOMPLETE)
_OUTSIDE: Final = int(BarFlag.OUTSIDE)
_LATE: Final = int(Flag.LATE)
_SESSION: Final = RULES.index("session")


RULE: Final = np.dtype(
    [
        ("number", "<i8"),  # of the series
        ("rule", "<i8"),  # place in RULES
        ("size", "<f8"),  # of a bar, in units of what the rule counts; of time, ns
        ("price_unit", "<f8"),  # what divides `vwap`
        ("state", "<i8"),  # where the state begins
        ("first", "<i8"),  # of sessions, the first one
        ("end", "<i8"),  # and the end of them
    ]
)
"""A series of an instrument."""

# Words of a memory. Two of each array, see `kernels.noted`:
OF_ID, SESSIONS, POOL, RULE_ROWS, OUT = range(0, 10, 2)
FROM_SEQ, POSITION, INSTRUMENT = range(10, 13)
"""See `apply_trades`; how far a batch has come; and the instrument id that is to be looked up, or -1."""
MEMORY_WORDS: Final = 13

_WORD: Final = np.dtype(np.int64)
_UNSIGNED: Final = np.dtype(np.uint64)
_FLOAT: Final = np.dtype(np.float64)

NOT_KNOWN: Final = -1
"""As the first rule of an instrument: it was not looked up yet."""


@kernel
def apply_trades(
    ticks: Records,
    position: int,
    from_seq: int,
    rules: Records,
    of_id: NDArray[np.int64],
    sessions: NDArray[np.int64],
    state: NDArray[np.int64],
    ids: NDArray[np.uint64],
    sums: NDArray[np.float64],
    out: Records,
) -> tuple[int, int, int]:
    """Fold `ticks[position:]` into the bars, and write each bar that closes and each correction.

    Args:
        ticks: TICK records in stored order.
        position: the first one to take.
        from_seq: ticks before do not count.
        rules: RULE.
        of_id: by instrument id, the first one of its rules and the end of them, shape (ids, 2).
        sessions: of all calendars, open and close of each session, ns, shape (sessions, 2); those of a rule in order
            and without overlap.
        state: of each rule STATE_SIZE numbers, all zeros before the first tick.
        ids: the same memory as unsigned numbers.
        sums: the same memory as float64.
        out: TRADE_BAR records to fill, at least one for each rule of an instrument.

    Returns:
        The position reached; how many records were written; and the instrument id that is to be looked up first, or -1.
        It stops early there, and where `out` is full.
    """
    written = 0
    ticks, rules, out = borrowed(ticks), borrowed(rules), borrowed(out)
    sessions, state, ids, sums = borrowed(sessions), borrowed(state), borrowed(ids), borrowed(sums)
    for i in range(position, len(ticks)):
        tick = ticks[i]
        if tick["kind"] != _TRADE and (tick["kind"] != _GAP or not tick["flags"] & _ON_TRADE):
            continue
        if tick["seq"] < from_seq:
            continue
        first, end = of_id[tick["instrument"], 0], of_id[tick["instrument"], 1]
        if first == NOT_KNOWN:
            return i, written, int(tick["instrument"])
        if written + end - first > len(out):
            return i, written, -1
        for j in range(first, end):
            begin = rules[j]["state"]
            own = slice(begin, begin + STATE_SIZE)
            written += _take(tick, rules[j], sessions, state[own], ids[own], sums[own], out[written])
    return len(ticks), written, -1


@kernel
def fold_trades(ticks: Any, address: int) -> int:
    """`apply_trades` in the memory at `address`, from the position that stands there on.

    Ticks lie one behind the other.

    Returns:
        How many TRADE_BAR were written; where it stopped early, minus that less 1.
    """
    memory = array_at(address, (MEMORY_WORDS,), _WORD)
    position, written, instrument = apply_trades(
        packed(ticks),
        memory[POSITION],
        memory[FROM_SEQ],
        noted(memory, RULE_ROWS, RULE),
        array_at(memory[OF_ID], (memory[OF_ID + 1] // 2, 2), _WORD),
        array_at(memory[SESSIONS], (memory[SESSIONS + 1] // 2, 2), _WORD),
        noted(memory, POOL, _WORD),
        noted(memory, POOL, _UNSIGNED),
        noted(memory, POOL, _FLOAT),
        noted(memory, OUT, TRADE_BAR),
    )
    memory[INSTRUMENT] = instrument
    if position < len(ticks):
        memory[POSITION] = position
        return -1 - written
    memory[POSITION] = 0
    return written


@inlined
def _take(
    tick: Any,
    rule: Any,
    sessions: NDArray[np.int64],
    state: NDArray[np.int64],
    ids: NDArray[np.uint64],
    sums: NDArray[np.float64],
    bar: Any,
) -> int:
    """Fold a tick into one bar. Returns 1 where that has written a record, else 0."""
    if tick["kind"] != _TRADE:
        state[FLAGS] |= _INCOMPLETE
        if rule["rule"] >= BY_TIME:
            state[MARKS] |= _GAP_BEHIND
        return 0
    time = tick["ts_event"] if tick["ts_event"] > 0 else tick["ts_recv"]
    written = 0
    if tick["flags"] & (_BACKFILL | _RESTATES | _CANCELLED):
        _correct(tick, time, rule, state, bar)
        written = 1
    elif rule["rule"] < BY_TIME:
        _add(tick, time, state, ids, sums)
        if _measure(rule["rule"], state, sums) >= rule["size"]:
            _close(state[OPENED], state[LATEST], rule, state, ids, sums, bar)
            written = 1
    else:
        now = max(state[LATEST], time)
        if now >= state[UNTIL]:
            if state[TRADES] > 0:
                _close(state[SINCE], state[UNTIL], rule, state, ids, sums, bar)
                # A bar that ends where the next one begins: a trade of that very time is of the next one.
                state[ENDS + (state[NUMBER] - 1) % REMEMBERED] = state[UNTIL] - 1
                written = 1
                if state[MARKS] & _GAP_BEHIND:
                    state[FLAGS] = _INCOMPLETE
            _enter(now, rule, sessions, state)
        if time < state[SINCE]:
            state[FLAGS] |= _LATE
        state[MARKS] &= ~_GAP_BEHIND
        _add(tick, time, state, ids, sums)
    if written:
        bar["ts_recv"] = tick["ts_recv"]
        bar["source_seq"] = tick["seq"]
        bar["instrument"] = tick["instrument"]
        bar["series"] = rule["number"]
        bar["seq"] = 0
    return written


@kernel
def _correct(tick: Any, time: int, rule: Any, state: NDArray[np.int64], bar: Any) -> None:
    """Write a trade that counts into no bar."""
    price = tick["price"]
    amount = tick["size"]
    side = tick["side"]
    bar["ts_event"] = time
    bar["ts_open"] = time
    bar["open"] = price
    bar["high"] = price
    bar["low"] = price
    bar["close"] = price
    bar["volume"] = amount
    bar["buy_volume"] = amount if side == _BUY else 0
    bar["sell_volume"] = amount if side == _SELL else 0
    bar["vwap"] = float(price) / rule["price_unit"]
    bar["first_id"] = tick["venue_seq"]
    bar["last_id"] = tick["venue_seq"]
    bar["trades"] = 1
    bar["number"] = _bar_of(time, state)
    bar["flags"] = _CORRECTION | (tick["flags"] & (_BACKFILL | _CANCELLED))


@kernel
def _close(
    since: int,
    until: int,
    rule: Any,
    state: NDArray[np.int64],
    ids: NDArray[np.uint64],
    sums: NDArray[np.float64],
    bar: Any,
) -> None:
    """Write the open bar, with these times, and have none open."""
    bar["ts_event"] = until
    bar["ts_open"] = since
    bar["open"] = state[OPEN]
    bar["high"] = state[HIGH]
    bar["low"] = state[LOW]
    bar["close"] = state[CLOSE]
    bar["volume"] = state[VOLUME]
    bar["buy_volume"] = state[BOUGHT]
    bar["sell_volume"] = state[SOLD]
    bar["vwap"] = np.nan
    if state[VOLUME] > 0 and not state[FLAGS] & _OVERFLOW:
        bar["vwap"] = (sums[AMOUNT] + sums[LOST]) / float(state[VOLUME]) / rule["price_unit"]
    bar["first_id"] = ids[FIRST_ID]
    bar["last_id"] = ids[LAST_ID]
    bar["trades"] = state[TRADES]
    bar["number"] = state[NUMBER]
    bar["flags"] = state[FLAGS]
    if state[MARKS] & _BETWEEN:
        bar["flags"] |= _OUTSIDE
    state[ENDS + state[NUMBER] % REMEMBERED] = state[LATEST]
    state[NUMBER] += 1
    state[TRADES] = 0
    state[FLAGS] = 0


@kernel
def _enter(now: int, rule: Any, sessions: NDArray[np.int64], state: NDArray[np.int64]) -> None:
    """Have the interval that holds this time: of a length from a multiple of it on, a session, or between two.

    Where the calendar does not reach, intervals end with the day of UTC.
    """
    if rule["rule"] != _SESSION:
        length = int(rule["size"])
        state[SINCE] = now // length * length
        state[UNTIL] = state[SINCE] + length
        return
    first, end = rule["first"], rule["end"]
    following = first + np.searchsorted(sessions[first:end, 0], now, side="right")
    state[MARKS] &= ~_BETWEEN
    if following > first and now < sessions[following - 1, 1]:
        state[SINCE] = sessions[following - 1, 0]
        state[UNTIL] = sessions[following - 1, 1]
        return
    state[MARKS] |= _BETWEEN
    midnight = now // DAY_NS * DAY_NS
    state[SINCE] = midnight
    state[UNTIL] = midnight + DAY_NS
    if following > first:
        before = sessions[following - 1, 1]
        state[SINCE] = before if following < end else max(before, midnight)
    if following < end:
        behind = sessions[following, 0]
        state[UNTIL] = behind if following > first else min(behind, midnight + DAY_NS)


@inlined
def _add(tick: Any, time: int, state: NDArray[np.int64], ids: NDArray[np.uint64], sums: NDArray[np.float64]) -> None:
    """Take a trade into the bar that is open, or begin one."""
    price = tick["price"]
    size = tick["size"]
    if state[TRADES] == 0:
        state[OPENED] = time
        state[OPEN] = price
        state[HIGH] = price
        state[LOW] = price
        state[VOLUME] = 0
        state[BOUGHT] = 0
        state[SOLD] = 0
        ids[FIRST_ID] = tick["venue_seq"]
        sums[AMOUNT] = 0.0
        sums[LOST] = 0.0
        sums[TURNOVER] = 0.0
    state[TRADES] += 1
    state[LATEST] = max(state[LATEST], time)
    state[HIGH] = max(state[HIGH], price)
    state[LOW] = min(state[LOW], price)
    state[CLOSE] = price
    ids[LAST_ID] = tick["venue_seq"]
    _count(VOLUME, size, state)
    if tick["side"] == _BUY:
        _count(BOUGHT, size, state)
    elif tick["side"] == _SELL:
        _count(SOLD, size, state)
    product = float(price) * float(size)
    total = sums[AMOUNT] + product
    if abs(sums[AMOUNT]) >= abs(product):
        sums[LOST] += (sums[AMOUNT] - total) + product
    else:
        sums[LOST] += (product - total) + sums[AMOUNT]
    sums[AMOUNT] = total
    sums[TURNOVER] += abs(product)


@inlined
def _count(place: int, size: int, state: NDArray[np.int64]) -> None:
    """Add to a volume, which is capped where it does not fit."""
    if state[place] > MAX_VOLUME - size:
        state[place] = MAX_VOLUME
        state[FLAGS] |= _OVERFLOW
    else:
        state[place] += size


@inlined
def _measure(rule: int, state: NDArray[np.int64], sums: NDArray[np.float64]) -> float:
    """How large the open bar is, by the rule."""
    if rule == 0:
        return float(state[TRADES])
    if rule == 1:
        return float(state[VOLUME])
    if rule == 2:  # places in RULES
        return float(sums[TURNOVER])
    return abs(float(state[BOUGHT] - state[SOLD]))


@kernel
def _bar_of(time: int, state: NDArray[np.int64]) -> int:
    """Number of the first bar that had not ended before this time; UNKNOWN_BAR where that is not remembered."""
    oldest = max(0, state[NUMBER] - REMEMBERED)
    for number in range(oldest, state[NUMBER]):
        if time <= state[ENDS + number % REMEMBERED]:
            return UNKNOWN_BAR if number == oldest and oldest > 0 else number
    return int(state[NUMBER])
