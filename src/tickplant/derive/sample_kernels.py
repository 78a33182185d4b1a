"""The kernels that decide when a book is sampled, and run series over the samples.

A *line* is all ids of a symbol. The rule is in `sampled_books`; the plain reference is `derive.plain_samples`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.derive.indicator import Floats
from tickplant.kernel_calls import call
from tickplant.kernels import kernel
from tickplant.records.layouts import Flag, Kind, StatusCode

Records = NDArray[np.void]
Integers = NDArray[np.int64]

LINE: Final = np.dtype(
    [
        ("since", "<i8"),  # latest receive time of a record of the book, ns; 0: none yet
        ("due", "<i8"),  # the earliest instant after that at which a series samples
        ("instrument", "<i8"),  # of the last record
        ("depth", "<i8"),  # the most levels per side that one of its series reads
        ("begin", "<i8"),  # `begin` to `end`: its sampling intervals among those of all lines
        ("end", "<i8"),
        ("followers", "<i8"),  # its first follower, and how many it has
        ("followed", "<i8"),
    ]
)
"""A symbol whose book is sampled."""

BOOK_SERIES: Final = np.dtype(
    [
        ("number", "<i8"),
        ("every_ns", "<i8"),
        ("depth", "<i8"),
        ("inputs", "<i8"),  # how many, and where their columns begin
        ("columns", "<i8"),
        ("outputs", "<i8"),
        ("parameters", "<i8"),  # how many, and where they begin
        ("parameter", "<i8"),
        ("state_size", "<i8"),
    ]
)

BOOK_RUN: Final = np.dtype([("place", "<i8"), ("state", "<i8"), ("follower", "<i8")])
"""A series of a line: its place among all, its state in the pool, and the number of its follower, or -1."""

NOT_KNOWN: Final = -1
NOBODYS: Final = 0
"""Slots of an instrument that has not been looked up yet, and of one whose book no series samples."""

_LEVEL: Final = int(Kind.LEVEL)
_CLEAR: Final = int(Kind.CLEAR)
_CHECKSUM: Final = int(Kind.CHECKSUM)
_GAP: Final = int(Kind.GAP)
_STATUS: Final = int(Kind.STATUS)
_FIRST_ORDER: Final = int(Kind.ORDER_ADD)
_LAST_ORDER: Final = int(Kind.ORDER_FILL)
_PARTIAL: Final = int(Flag.PARTIAL)
_ON_ANY: Final = int(Flag.ON_BOOK | Flag.ON_ORDERS)
_DISCONNECTED: Final = int(StatusCode.DISCONNECTED)


@kernel
def note_samples(
    ticks: Records,
    position: int,
    written: int,
    slots: NDArray[np.int32],
    lines: Records,
    every_ns: Integers,
    out: Records,
) -> tuple[int, int]:
    """Note each tick from `position` on before which a book must be sampled: instants follow from ticks alone.

    Updates the lines by the ticks. A line whose `since` is 0 begins with its next record.

    Args:
        ticks: TICK records in stored order.
        position: index of the first tick to take.
        written: how many samples of the batch were noted earlier.
        slots: the slot of the line, by instrument id.
        lines: LINE by slot.
        every_ns: sampling intervals, see LINE.
        out: SAMPLE records to fill; fields that come from the book are set to 0.

    Returns:
        The position reached, and how many samples are noted. The kernel stops before the end of the batch if `out` is
        full, or if the slot of the instrument at that position is NOT_KNOWN and must be looked up.
    """
    for i in range(position, len(ticks)):
        tick = ticks[i]
        slot = slots[tick["instrument"]]
        if slot == NOBODYS:
            continue
        kind, flags = tick["kind"], tick["flags"]
        if kind in (_LEVEL, _CLEAR, _CHECKSUM) or _FIRST_ORDER <= kind <= _LAST_ORDER:
            if flags & _PARTIAL:
                continue
        elif not flags & _ON_ANY or not (kind == _GAP or (kind == _STATUS and tick["price"] == _DISCONNECTED)):
            continue
        if slot == NOT_KNOWN:
            return i, written
        line = lines[slot]
        time = tick["ts_recv"]
        if line["since"] != 0 and time >= line["due"]:
            if written == len(out):
                return i, written
            sample = out[written]
            written += 1
            sample["since"] = line["since"]
            sample["ts_recv"] = time
            sample["source_seq"] = tick["seq"]
            sample["before"] = i
            sample["depth"] = line["depth"]
            sample["begin"] = 0
            sample["bids"] = 0
            sample["asks"] = 0
            sample["seq"] = 0
            sample["followers"] = line["followers"]
            sample["followed"] = line["followed"]
            sample["queued"] = False
            sample["instrument"] = line["instrument"]
            sample["slot"] = slot
            sample["described"] = False
            sample["live"] = False
            sample["known"] = False
            line["since"] = 0
        if line["since"] == 0:
            line["since"] = time
            line["due"] = 2**63 - 1
            for j in range(line["begin"], line["end"]):
                line["due"] = min(line["due"], (time // every_ns[j] + 1) * every_ns[j])
        line["since"] = max(line["since"], time)
        line["instrument"] = tick["instrument"]
    return len(ticks), written


@kernel
def fill_column(
    levels: Integers, first: int, bids: int, asks: int, column: int, price_unit: float, size_unit: float, out: Floats
) -> None:
    """Fill `out` with the column of `COLUMNS["book"]` at index `column`, with NaN after the last level.

    `first`: the row of the best bid, which the other bids and the asks follow.
    """
    side, field = column // 3, column % 3
    begin = first + (bids if side else 0)
    count = asks if side else bids
    for j in range(len(out)):
        if j >= count or (field == 2 and levels[begin + j, 2] == -1):
            out[j] = np.nan
        elif field == 0:
            out[j] = levels[begin + j, 0] / price_unit
        elif field == 1:
            out[j] = levels[begin + j, 1] / size_unit
        else:
            out[j] = float(levels[begin + j, 2])


@kernel
def fill_books(samples: Records, levels: Integers, columns: Integers, units: Floats, out: Floats) -> None:
    """Fill `out`, shape (columns, samples, levels), with columns of books, given as indices in `COLUMNS["book"]`.

    `units`: divisors of prices and sizes by instrument id, shape (ids, 2).
    """
    for i in range(len(samples)):
        price_unit, size_unit = units[samples[i]["instrument"], 0], units[samples[i]["instrument"], 1]
        first, bids, asks = samples[i]["begin"], samples[i]["bids"], samples[i]["asks"]
        for k in range(len(columns)):
            fill_column(levels, first, bids, asks, columns[k], price_unit, size_unit, out[k, i])


@kernel
def run_samples(
    samples: Records,
    levels: Integers,
    from_seq: int,
    begins: Integers,
    runs: Records,
    series: Records,
    columns: Integers,
    parameters: Floats,
    states: Floats,
    kernels: Any,
    units: Floats,
    out: Records,
) -> tuple[int, int]:
    """Run each line's series over the samples of its book, and write their values.

    Args:
        samples: SAMPLE records.
        levels: the samples' levels, shape (n, 3).
        from_seq: samples taken before earlier ticks than this one do not count.
        begins: by slot, where its runs begin and end, shape (slots, 2).
        runs: BOOK_RUN.
        series: BOOK_SERIES by place.
        columns: the series' columns, each an index in `COLUMNS["book"]`.
        parameters: the series' parameters.
        states: the states of series and lines.
        kernels: pointers by place, from `kernel_calls.pointer`.
        units: divisors of prices and sizes by instrument id, shape (ids, 2).
        out: VALUE records to fill, all zeros: one for each run of the samples' lines.

    Returns:
        How many records were written, and -1 or the place of a series whose kernel raised.
    """
    written = 0
    results = np.empty((4, 1))
    for i in range(len(samples)):
        sample = samples[i]
        if sample["source_seq"] < from_seq:
            continue
        inputs, before, width_before = np.empty(0), -1, 0
        widest = max(1, sample["bids"], sample["asks"])
        for at in range(begins[sample["slot"], 0], begins[sample["slot"], 1]):
            place = runs[at]["place"]
            one = series[place]
            every_ns = one["every_ns"]
            if sample["since"] // every_ns == sample["ts_recv"] // every_ns:
                continue
            outputs = one["outputs"]
            results[:] = np.nan
            follower = runs[at]["follower"]
            if sample["known"] and (follower < 0 or sample["queued"]):
                width = min(one["depth"], widest)
                first, bids, asks = sample["begin"], sample["bids"], sample["asks"]
                if follower >= 0:  # see `book_samples.queues_of`
                    first, bids, asks = first + bids + asks + 2 * follower, 1, 1
                if one["columns"] != before or width != width_before or follower >= 0:
                    before, width_before = -1 if follower >= 0 else one["columns"], width
                    inputs = np.empty(one["inputs"] * width)
                    price_unit, size_unit = units[sample["instrument"], 0], units[sample["instrument"], 1]
                    for k in range(one["inputs"]):
                        column = columns[one["columns"] + k]
                        part = inputs[k * width : (k + 1) * width]
                        fill_column(levels, first, bids, asks, column, price_unit, size_unit, part)
                if not call(
                    kernels[place],
                    inputs.reshape((one["inputs"], 1, width)),
                    parameters[one["parameter"] : one["parameter"] + one["parameters"]],
                    states[runs[at]["state"] : runs[at]["state"] + one["state_size"]],
                    results[:outputs],
                ):
                    return written, place
            value = out[written]
            written += 1
            value["ts_event"] = (sample["since"] // every_ns + 1) * every_ns
            value["ts_recv"] = sample["ts_recv"]
            value["source_seq"] = sample["source_seq"]
            value["instrument"] = sample["instrument"]
            value["series"] = one["number"]
            value["value_1"] = results[0, 0]
            value["value_2"] = results[1, 0]
            value["value_3"] = results[2, 0]
            value["value_4"] = results[3, 0]
    return written, -1
