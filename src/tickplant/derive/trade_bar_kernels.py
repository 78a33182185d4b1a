"""The kernel that builds bars of trades by a rule, and the layout of its state.

The rules are described in `layouts.TRADE_BAR` and, executable, in `plain_trade_bars`. All state is data, so batches may
be cut anywhere.
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
"""What closes a bar: a number of trades; volume; price * size; the excess of bought over sold volume, or the reverse;
the end of an interval of time; the end or the beginning of an exchange's session."""

BY_TIME: Final = RULES.index("time")
"""From this rule on, a bar is an interval of time, and the first trade after the interval closes the bar."""

REMEMBERED: Final = 32
"""How many bars' ends are remembered, so that a trade that comes later can name the bar that it belongs to."""

# Positions in the state: int64, except ids, which are uint64, and sums, which are float64.
NUMBER: Final = 0  # number of the open or next bar: how many bars have closed
TRADES: Final = 1  # trades in the open bar; 0: no bar is open
FLAGS: Final = 2  # flags of the open or next bar
OPENED: Final = 3
LATEST: Final = 4  # latest time of any trade so far
OPEN: Final = 5
HIGH: Final = 6
LOW: Final = 7
CLOSE: Final = 8
VOLUME: Final = 9
BOUGHT: Final = 10
SOLD: Final = 11
FIRST_ID: Final = 12
LAST_ID: Final = 13
AMOUNT: Final = 14  # sum of price * size
LOST: Final = 15  # what additions to AMOUNT have rounded away
TURNOVER: Final = 16  # sum of |price| * size
ENDS: Final = 17  # the end of bar `n` is at `n % REMEMBERED`
# Interval of the open bar, for bars by time. These come last: in stored states that lack them, they read as 0.
SINCE: Final = ENDS + REMEMBERED
UNTIL: Final = SINCE + 1
MARKS: Final = UNTIL + 1  # see below
STATE_SIZE: Final = MARKS + 1

_GAP_BEHIND: Final = 1  # a GAP followed the last trade: missing trades may belong to this bar or to the next
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
        ("number", "<i8"),  # number of the series
        ("rule", "<i8"),  # index in RULES
        ("size", "<f8"),  # size of a bar, in units of what the rule counts; time in ns
        ("price_unit", "<f8"),  # divisor of `vwap`
        ("state", "<i8"),  # where the state begins
        ("first", "<i8"),  # the first of its sessions
        ("end", "<i8"),  # one past the last of its sessions
    ]
)
"""One series of one instrument."""

# Words of a memory, two for each array (see `kernels.noted`):
OF_ID, SESSIONS, POOL, RULE_ROWS, OUT = range(0, 10, 2)
FROM_SEQ, POSITION, INSTRUMENT = range(10, 13)
"""See `apply_trades`; how far a batch has been folded; and the instrument id that must be looked up, or -1."""
MEMORY_WORDS: Final = 13

_WORD: Final = np.dtype(np.int64)
_UNSIGNED: Final = np.dtype(np.uint64)
_FLOAT: Final = np.dtype(np.float64)

NOT_KNOWN: Final = -1
"""In place of an instrument's first rule: the instrument has not been looked up yet."""


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
        position: index of the first tick to take.
        from_seq: ticks with a lower seq do not count.
        rules: RULE records.
        of_id: by instrument id, the first of its rules and one past the last, shape (ids, 2).
        sessions: open and close of each session of all calendars, ns, shape (sessions, 2); those of one rule are in
            order and do not overlap.
        state: STATE_SIZE numbers for each rule, all zeros before the first tick.
        ids: the same memory as uint64.
        sums: the same memory as float64.
        out: TRADE_BAR records to fill, at least one for each rule of an instrument.

    Returns:
        The position reached; how many records were written; and an instrument id that must be looked up first, or -1.
        The kernel stops early at such an id, and when `out` is full.
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
    """`apply_trades` in the memory at `address`, from the position in the memory on.

    The ticks are contiguous.

    Returns:
        The number n of TRADE_BAR records written, or, if the kernel stopped early, -1 - n.
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
    """Fold a tick into one bar. Returns 1 if this wrote a record, else 0."""
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
                # This bar ends where the next begins: a trade at exactly that time belongs to the next.
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
    """Write a trade that counts in no bar."""
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
    """Write the open bar, with these times; no bar is open afterwards."""
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
    """Enter the interval that contains this time: of the rule's length, a session, or the time between two sessions.

    Outside the calendar's range, intervals end with the UTC day.
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
    """Add a trade to the open bar, or begin a bar with it."""
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
    """Add to a volume, capped at MAX_VOLUME."""
    if state[place] > MAX_VOLUME - size:
        state[place] = MAX_VOLUME
        state[FLAGS] |= _OVERFLOW
    else:
        state[place] += size


@inlined
def _measure(rule: int, state: NDArray[np.int64], sums: NDArray[np.float64]) -> float:
    """The size of the open bar, by the rule."""
    if rule == 0:
        return float(state[TRADES])
    if rule == 1:
        return float(state[VOLUME])
    if rule == 2:  # indices in RULES
        return float(sums[TURNOVER])
    return abs(float(state[BOUGHT] - state[SOLD]))


@kernel
def _bar_of(time: int, state: NDArray[np.int64]) -> int:
    """Number of the first bar that had not ended before this time; UNKNOWN_BAR if no longer remembered."""
    oldest = max(0, state[NUMBER] - REMEMBERED)
    for number in range(oldest, state[NUMBER]):
        if time <= state[ENDS + number % REMEMBERED]:
            return UNKNOWN_BAR if number == oldest and oldest > 0 else number
    return int(state[NUMBER])
