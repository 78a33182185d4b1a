"""Exact decimal text of many mantissas at a time.

The reference is `tickplant.instruments.format_decimal`, which formats a single one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import kernel


@kernel
def measure_decimals(
    mantissas: NDArray[np.int64], scales: NDArray[np.uint8], valid: NDArray[np.bool_], offsets: NDArray[np.int32]
) -> None:
    """Compute where each text begins in the joined text: `offsets` has one more element than there are mantissas."""
    ten = np.uint64(10)
    end = 0
    for row in range(len(mantissas)):
        offsets[row] = end
        if not valid[row]:
            continue
        left = np.uint64(mantissas[row])
        if mantissas[row] < 0:
            left = np.uint64(0) - left
            end += 1
        digits = 1
        while left >= ten:
            left = left // ten
            digits += 1
        scale = np.int64(scales[row])
        while digits <= scale:  # zeros in front, up to one before the point
            digits += 1
        end += digits + (1 if scale > 0 else 0)
    offsets[len(mantissas)] = end


@kernel
def write_decimals(
    mantissas: NDArray[np.int64],
    scales: NDArray[np.uint8],
    valid: NDArray[np.bool_],
    offsets: NDArray[np.int32],
    text: NDArray[np.uint8],
) -> None:
    """Write each text in its measured place: fixed point with exactly `scale` decimals."""
    ten = np.uint64(10)
    for row in range(len(mantissas)):
        if not valid[row]:
            continue
        left = np.uint64(mantissas[row])
        start = offsets[row]
        if mantissas[row] < 0:
            left = np.uint64(0) - left
            text[start] = 45  # -
            start += 1
        scale = np.int64(scales[row])
        place = offsets[row + 1] - 1
        point = place - scale if scale > 0 else -1
        while place >= start:
            if place == point:
                text[place] = 46  # .
            else:
                text[place] = 48 + left % ten  # 0 to 9
                left = left // ten
            place -= 1


def format_decimals(
    mantissas: NDArray[np.int64], scales: NDArray[np.uint8], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Texts of `mantissa * 10**-scale`, joined: offsets, shape (n + 1,), and UTF-8. Invalid rows have an empty text."""
    offsets = np.empty(len(mantissas) + 1, np.int32)
    with np.errstate(over="ignore"):
        measure_decimals(mantissas, scales, valid, offsets)
        text = np.empty(int(offsets[-1]), np.uint8)
        write_decimals(mantissas, scales, valid, offsets, text)
    return offsets, text
