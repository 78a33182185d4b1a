"""Arrays of ticks with any stride, as arguments of kernels: the type, a check, and a faster view."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tickplant.kernels import array_at, inlined
from tickplant.records.layouts import TICK

SCATTERED_TICKS: Final = np.zeros(4, TICK)[::2]
"""Kernels compiled for the type of this array take ticks of any stride."""

_TICK_BYTES: Final = TICK.itemsize


@inlined
def is_packed(ticks: Any) -> Any:
    """Whether the ticks are contiguous."""
    return len(ticks) < 2 or ticks.strides[0] == _TICK_BYTES


@inlined
def packed(ticks: Any) -> Any:
    """Contiguous ticks as an array of the contiguous type: kernels read it faster, and it has no reference count."""
    return array_at(ticks.ctypes.data, (len(ticks),), TICK)
