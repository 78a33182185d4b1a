"""The kernels that say when a book is sampled, and run series over the samples.

A *line* is all ids of a symbol. The rule stands in `sampled_books`; the plain reference is `derive.plain_samples`.
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
        ("since", "<i8"),  # latest time at which a record of the book was received, ns; 0: none yet
        ("due", "<i8"),  # earliest instant after it that a series samples
        ("instrument", "<i8"),  # of the last record
        ("depth", "<i8"),  # levels a side that any of its series looks at
        ("begin", "<i8"),  # to `end`: how often it is sampled, among those of all lines
        ("end", "<i8"),
        ("followers", "<i8"),  # the first one, and how many there are
        ("followed", "<i8"),
    ]
)
"""A symbol whose book is sampled."""

BOOK_SERIES: Final = np.dtype(
    [
        ("number", "<i8"),
        ("every_ns", "<i8"),
        ("depth", "<i8"),
        ("inputs", "<i8"),  # how many, and where their columns stand
        ("columns", "<i8"),
        ("outputs", "<i8"),
        ("parameters", "<i8"),  # how many, and where they stand
        ("parameter", "<i8"),
        ("state_size", "<i8"),
    ]
)

BOOK_RUN: Final = np.dtype([("place", "<i8"), ("state", "<i8"), ("follower", "<i8")])
"""A series of a line: its place among all, its state in the pool, and the number of its follower; -1: it has none."""

NOT_KNOWN: Final = -1
NOBODYS: Final = 0
"""Slots: of an instrument that was not looked up yet; of one whose book nobody samples."""

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
    """Note each tick from `position` on before which a book is to be sampled: instants follow from ticks alone.

    Lines take in the ticks. A line whose `since` is 0 begins with its next record.

    Args:
        ticks: TICK records in stored order.
        position: the first one to look at.
        written: how many samples of the batch were noted before.
        slots: by instrument id, the slot of its line.
        lines: LINE by slot.
        every_ns: see LINE.
        out: SAMPLE records to fill; what a book gives is 0.

    Returns:
        The place reached, and how many samples are noted. Before the end of the batch: `out` is full, or the slot of
        the instrument at that place is NOT_KNOWN and has to be looked up.
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
    """One column of `COLUMNS["book"]`, the place `column`, as far as `out` goes, and NaN behind the last level.

    `first`: the row of the best bid, with the other bids and the asks behind it.
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
    """Columns of several books, places in `COLUMNS["book"]`, to `out`, shape (columns, samples, levels).

    `units`: by instrument id, what divides prices and sizes, shape (ids, 2).
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
    """Run the series of each line over the samples of its book, and write their values.

    Args:
        samples: SAMPLE records.
        levels: of these, shape (n, 3).
        from_seq: samples before ticks before this one do not count.
        begins: by slot, where its runs begin, and where they end, shape (slots, 2).
        runs: BOOK_RUN.
        series: BOOK_SERIES by place.
        columns: the columns of series, each a place in `COLUMNS["book"]`.
        parameters: those of series.
        states: those of series and lines.
        kernels: by place, as `kernel_calls.pointer` gives them.
        units: by instrument id, what divides prices and sizes, shape (ids, 2).
        out: VALUE records to fill, zeros: as many as there are runs of the samples' lines.

    Returns:
        How many were written, and -1 or the place of a series whose kernel has raised.
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
