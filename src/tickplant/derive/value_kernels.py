"""The kernels that run all series of a feed over a batch: choose rows, sort them, make columns, and write values.

A *selection* is a set of rows that a series may be over: trades, best bids and offers, bars of one length, or bars of
one rule. A *lane* is the rows of one selection and one symbol: each row belongs to one lane, and all series of a lane
have a value at each of its rows. The plain reference is `derive.plain_series`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.indicator import Floats
from tickplant.derive.row_kernels import of_bars, of_bests, of_trades
from tickplant.kernel_calls import call
from tickplant.kernels import kernel
from tickplant.records.layouts import BarFlag, Flag, Kind

Records = NDArray[np.void]
Integers = NDArray[np.int64]

TRADES: Final = 0
BESTS: Final = 1
BARS: Final = 2
RULE_BARS: Final = 3
SOURCES: Final = 4
"""The number of kinds of rows; the kinds are indices of the arrays of records."""

SELECTION: Final = np.dtype([("source", "<i8"), ("rows_of", "<i8")])  # for bars: their length or series
LANE: Final = np.dtype([("source", "<i8"), ("begin", "<i8"), ("end", "<i8"), ("outputs", "<i8"), ("rows", "<i8")])
"""The runs from `begin` to `end` are the lane's series, with `outputs` outputs in total. `rows` is scratch, 0."""
RUN: Final = np.dtype([("place", "<i8"), ("rank", "<i8"), ("output", "<i8"), ("state", "<i8")])
"""A series in a lane, in running order: its place among all series, its rank by place within the lane, where its
outputs begin among the lane's, and where its state begins in the pool. Series with the same inputs are adjacent."""
SERIES: Final = np.dtype(
    [
        ("number", "<i8"),
        ("inputs", "<i8"),  # how many, and where their columns begin
        ("columns", "<i8"),
        ("outputs", "<i8"),
        ("parameters", "<i8"),  # how many, and where they begin
        ("parameter", "<i8"),
        ("state_size", "<i8"),
    ]
)
CHOSEN: Final = np.dtype([("seq", "<u8"), ("row", "<i8"), ("lane", "<i8"), ("slot", "<i8")])
"""A chosen row: the seq of the tick that made it, its index, its lane, and its place among the lane's rows."""

NOT_KNOWN: Final = -1
NOBODYS: Final = 0
"""Lanes of a symbol that has not been looked up yet, and of a symbol without series."""

_TRADE: Final = int(Kind.TRADE)
_BACKFILL: Final = int(Flag.BACKFILL)
_NO_ROW: Final = int(BarFlag.CORRECTION | BarFlag.OUTSIDE)


@kernel
def choose(
    ticks: Records,
    bests: Records,
    bars: Records,
    rule_bars: Records,
    from_seq: int,
    selections: Records,
    lane_of: NDArray[np.int32],
    lanes: Records,
    chosen: Records,
    bounds: Integers,
) -> tuple[int, int, int]:
    """Choose the rows at which series have values.

    Args:
        ticks: TICK records.
        bests: BBO records made by these ticks.
        bars: BAR records made by these ticks.
        rule_bars: TRADE_BAR records made by these ticks.
        from_seq: rows made by ticks before this one do not count.
        selections: SELECTION, in the order of their sources.
        lane_of: the lane by instrument id and selection.
        lanes: LANE.
        chosen: CHOSEN to fill, with room for all records of the four.
        bounds: to fill, shape (SOURCES + 1,): where the chosen rows of each source begin.

    Returns:
        How many values there will be; then -1 and 0 or, if an unknown lane must be looked up first, its instrument id
        and selection.
    """
    found = 0
    values = 0
    first = 0  # selection of this source
    for source in range(SOURCES):
        bounds[source] = found
        last = first
        while last < len(selections) and selections[last]["source"] == source:
            last += 1
        count = 0
        if last > first:
            count = (len(ticks), len(bests), len(bars), len(rule_bars))[source]
        for row in range(count):
            selection = first
            if source == TRADES:
                if ticks[row]["kind"] != _TRADE or ticks[row]["flags"] & _BACKFILL:
                    continue
                instrument, seq = ticks[row]["instrument"], ticks[row]["seq"]
            elif source == BESTS:
                instrument, seq = bests[row]["instrument"], bests[row]["source_seq"]
            elif source == BARS:
                instrument, seq = bars[row]["instrument"], bars[row]["source_seq"]
                while selection < last and selections[selection]["rows_of"] != bars[row]["interval_s"]:
                    selection += 1
            else:
                if rule_bars[row]["flags"] & _NO_ROW:
                    continue
                instrument, seq = rule_bars[row]["instrument"], rule_bars[row]["source_seq"]
                while selection < last and selections[selection]["rows_of"] != rule_bars[row]["series"]:
                    selection += 1
            if selection == last or seq < from_seq:
                continue
            lane = lane_of[instrument, selection]
            if lane == NOT_KNOWN:
                return 0, int(instrument), selection
            if lane == NOBODYS:
                continue
            chosen[found]["seq"] = seq
            chosen[found]["row"] = row
            chosen[found]["lane"] = lane
            found += 1
            values += lanes[lane]["end"] - lanes[lane]["begin"]
        first = last
    bounds[SOURCES] = found
    return values, -1, 0


@kernel
def run(
    ticks: Records,
    bests: Records,
    bars: Records,
    rule_bars: Records,
    chosen: Records,
    bounds: Integers,
    lanes: Records,
    runs: Records,
    series: Records,
    columns: Integers,
    parameters: Floats,
    states: Floats,
    kernels: Any,
    units: Floats,
    out: Records,
) -> int:
    """Run the series over the chosen rows, and write their values, ordered by tick, then by place of the series.

    Args:
        ticks: as given to `choose`; also the next three.
        bests: BBO records made by these ticks.
        bars: BAR records made by these ticks.
        rule_bars: TRADE_BAR records made by these ticks.
        chosen: CHOSEN, as filled by `choose`.
        bounds: as filled by `choose`.
        lanes: LANE.
        runs: RUN of all lanes.
        series: SERIES, by place.
        columns: the series' columns, each an index in `COLUMNS`.
        parameters: the series' parameters.
        states: the states of series and symbols.
        kernels: pointers by place, from `kernel_calls.pointer`.
        units: divisors of prices and sizes by instrument id, shape (ids, 2).
        out: VALUE records to fill, as many as `choose` returned, and one more as scratch.

    Returns:
        -1, or the place of a series whose kernel raised.
    """
    total = bounds[SOURCES]
    used = np.empty(total, np.int64)  # lanes that have rows
    lane_count = 0
    floats = 0
    for i in range(total):
        lane = lanes[chosen[i]["lane"]]
        if lane["rows"] == 0:
            used[lane_count] = chosen[i]["lane"]
            lane_count += 1
        chosen[i]["slot"] = lane["rows"]
        lane["rows"] += 1
        floats += lane["outputs"]
    begins = np.zeros((lane_count + 1, 2), np.int64)  # by used lane: where its rows and its outputs begin
    which = np.empty(total, np.int64)  # the used lane of each row
    for j in range(lane_count):
        lane = lanes[used[j]]
        begins[j + 1, 0] = begins[j, 0] + lane["rows"]
        begins[j + 1, 1] = begins[j, 1] + lane["rows"] * lane["outputs"]
        lane["rows"] = -j  # from here on: its index among the used lanes, negated
    rows = np.empty(total, np.int64)
    for i in range(total):
        which[i] = -lanes[chosen[i]["lane"]]["rows"]
        rows[begins[which[i], 0] + chosen[i]["slot"]] = chosen[i]["row"]
    results = np.empty(floats)
    failed = -1
    for j in range(lane_count):
        lane = lanes[used[j]]
        lane["rows"] = 0
        own = rows[begins[j, 0] : begins[j + 1, 0]]
        length = len(own)
        inputs = np.empty(0)
        before = -1
        for at in range(lane["begin"], lane["end"]):
            one = series[runs[at]["place"]]
            if one["columns"] != before:
                before = one["columns"]
                inputs = np.empty(one["inputs"] * length)
                for k in range(one["inputs"]):
                    column, values = columns[one["columns"] + k], inputs[k * length : (k + 1) * length]
                    if lane["source"] == TRADES:
                        of_trades(ticks, own, column, units, values)
                    elif lane["source"] == BESTS:
                        of_bests(bests, own, column, units, values)
                    elif lane["source"] == BARS:
                        of_bars(bars, own, column, units, values)
                    else:
                        of_bars(rule_bars, own, column, units, values)
            result = begins[j, 1] + runs[at]["output"] * length
            if not call(
                kernels[runs[at]["place"]],
                inputs.reshape((one["inputs"], length)),
                parameters[one["parameter"] : one["parameter"] + one["parameters"]],
                states[runs[at]["state"] : runs[at]["state"] + one["state_size"]],
                results[result : result + one["outputs"] * length].reshape((one["outputs"], length)),
            ):
                failed = runs[at]["place"]
    if failed >= 0:
        return failed
    _write(ticks, bests, bars, rule_bars, chosen, bounds, lanes, runs, series, which, begins, results, out)
    return -1


@kernel
def _write(
    ticks: Records,
    bests: Records,
    bars: Records,
    rule_bars: Records,
    chosen: Records,
    bounds: Integers,
    lanes: Records,
    runs: Records,
    series: Records,
    which: Integers,
    begins: Integers,
    results: Floats,
    out: Records,
) -> None:
    """Merge the rows of all sources by the ticks that made them, and write the values at each."""
    nexts = bounds[:SOURCES].copy()
    written = 0
    group = 0  # where this tick's values begin
    seq = np.uint64(0)
    for _ in range(bounds[SOURCES]):
        source = -1
        for other in range(SOURCES):
            if nexts[other] < bounds[other + 1] and (
                source < 0 or chosen[nexts[other]]["seq"] < chosen[nexts[source]]["seq"]
            ):
                source = other
        at = nexts[source]
        nexts[source] += 1
        row = chosen[at]
        if row["seq"] != seq:
            group = written
            seq = row["seq"]
        lane = lanes[row["lane"]]
        count = lane["end"] - lane["begin"]
        length = begins[which[at] + 1, 0] - begins[which[at], 0]
        if source == TRADES:
            instrument = ticks[row["row"]]["instrument"]
            event, recv = ticks[row["row"]]["ts_event"], ticks[row["row"]]["ts_recv"]
        elif source == BESTS:
            instrument = bests[row["row"]]["instrument"]
            event, recv = bests[row["row"]]["ts_event"], bests[row["row"]]["ts_recv"]
        elif source == BARS:
            instrument = bars[row["row"]]["instrument"]
            event, recv = bars[row["row"]]["ts_event"], bars[row["row"]]["ts_recv"]
        else:
            instrument = rule_bars[row["row"]]["instrument"]
            event, recv = rule_bars[row["row"]]["ts_event"], rule_bars[row["row"]]["ts_recv"]
        for j in range(lane["begin"], lane["end"]):
            run_ = runs[j]
            one = series[run_["place"]]
            value = out[written + run_["rank"]]
            value["ts_event"] = event
            value["ts_recv"] = recv
            result = begins[which[at], 1] + run_["output"] * length + row["slot"]
            outputs = one["outputs"]
            value["value_1"] = results[result]
            value["value_2"] = results[result + length] if outputs > 1 else np.nan
            value["value_3"] = results[result + 2 * length] if outputs > 2 else np.nan
            value["value_4"] = results[result + 3 * length] if outputs > 3 else np.nan
            value["source_seq"] = seq
            value["instrument"] = instrument
            value["series"] = one["number"]
            value["flags"] = run_["place"]  # until this tick's values are sorted
            value["seq"] = 0
        if written > group:
            _insert(out, group, written, written + count)
        written += count
    for i in range(written):
        out[i]["flags"] = 0


@kernel
def _insert(out: Records, begin: int, middle: int, end: int) -> None:
    """Merge records `middle` to `end` into those before, both sorted by place; the last record of `out` is scratch."""
    spare = len(out) - 1
    for i in range(middle, end):
        if out[i - 1]["flags"] <= out[i]["flags"]:
            continue
        out[spare] = out[i]
        j = i
        while j > begin and out[j - 1]["flags"] > out[spare]["flags"]:
            out[j] = out[j - 1]
            j -= 1
        out[j] = out[spare]
