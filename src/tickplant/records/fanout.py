"""The kernels that sort a batch of records into topics. `records.channel_masks` defines the channels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import brief_kernel, direct, kernel
from tickplant.records.layouts import TICK

Records = NDArray[np.void]
Words = NDArray[np.uint64]
Masks = NDArray[np.uint32]


@brief_kernel
def survey(ticks: Records, seen: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Lowest and highest instrument id of one or more TICK records, and their latest receive time in ns.

    Marks in `seen` each id that lies within it.
    """
    lowest = highest = ticks[0]["instrument"]
    latest = ticks[0]["ts_recv"]
    for i in range(len(ticks)):
        instrument = ticks[i]["instrument"]
        lowest = min(lowest, instrument)
        highest = max(highest, instrument)
        latest = max(latest, ticks[i]["ts_recv"])
        if instrument < len(seen):
            seen[instrument] = True
    return lowest, highest, latest


def prepared_survey() -> Callable[[Records, NDArray[np.bool_]], tuple[int, int, int]]:
    """The machine code of `survey`, for arrays of ticks that need not be contiguous."""
    return direct(survey, np.zeros(4, TICK)[::2], np.zeros(1, np.bool_))


@kernel
def order(
    instruments: NDArray[np.uint32], masks: Masks, channels: int, slots: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Order records by topic: instrument and channel. Topics come in order of appearance; within one, order is kept.

    Args:
        instruments: the instrument id of each record.
        masks: the channels of each record, as bits; may be longer than `instruments`.
        channels: how many channels there are.
        slots: scratch of -1, at least `(highest id + 1) * channels` long; left as it was found.

    Returns:
        The indices of the records in this order, one for each channel of a record; the topics,
        `id * channels + channel`; and where each topic's records begin, with the end of the last topic appended.
    """
    total = 0
    for i in range(len(instruments)):
        mask = masks[i]
        while mask:
            total += 1
            mask &= mask - 1
    topics = np.empty(total, np.int64)
    starts = np.zeros(total + 1, np.int64)
    count = 0
    for i in range(len(instruments)):
        for channel in range(channels):
            if (masks[i] >> channel) & 1:
                topic = np.int64(instruments[i]) * channels + channel
                slot = slots[topic]
                if slot < 0:
                    slot = count
                    slots[topic] = slot
                    topics[slot] = topic
                    count += 1
                starts[slot + 1] += 1
    for slot in range(count):
        starts[slot + 1] += starts[slot]
    ends = starts[:count].copy()
    places = np.empty(total, np.int64)
    for i in range(len(instruments)):
        for channel in range(channels):
            if (masks[i] >> channel) & 1:
                slot = slots[np.int64(instruments[i]) * channels + channel]
                places[ends[slot]] = i
                ends[slot] += 1
    for slot in range(count):
        slots[topics[slot]] = -1
    return places, topics[:count], starts[: count + 1]


@kernel
def group(
    words: Words, instruments: NDArray[np.uint32], masks: Masks, channels: int, slots: NDArray[np.int32]
) -> tuple[Words, NDArray[np.int64], NDArray[np.int64]]:
    """Sort records by topic, as `order` does.

    Args:
        words: the records as rows of u8.
        instruments: see `order`.
        masks: see `order`.
        channels: see `order`.
        slots: see `order`.

    Returns:
        The rows sorted; the topics; and where each topic's rows begin.
    """
    places, topics, starts = order(instruments, masks, channels, slots)
    rows = np.empty((len(places), words.shape[1]), np.uint64)
    for i in range(len(places)):
        for j in range(words.shape[1]):
            rows[i, j] = words[places[i], j]
    return rows, topics, starts
