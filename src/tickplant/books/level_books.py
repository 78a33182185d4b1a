"""Price-level books of many instruments: apply ticks, get best bids and offers.

`Books` owns the memory that the kernels of `level_kernels` work in. The memory grows on demand up to a given bound.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tickplant.books import level_kernels as k
from tickplant.books.book_samples import BookSamples, sample_levels
from tickplant.books.book_states import BookStates
from tickplant.books.fold_kernels import MOST, fold_levels
from tickplant.kernel_methods import method
from tickplant.kernels import direct
from tickplant.records.layouts import Side

Records = NDArray[np.void]


class Books(BookStates):
    """Books by level, see `BookStates`. Records of books of orders are only counted.

    A side with `max_levels` levels gives up its worst level for a better one, counted as `levels_evicted`: of a deeper
    book, the best `max_levels` levels are kept.
    """

    def __init__(self, max_levels: int = 20_000) -> None:
        if max_levels < 1:
            raise ValueError(f"max_levels is {max_levels}; a side holds at least one level")
        self.max_levels = max_levels
        super().__init__(k.TALLY)
        self._words[MOST] = max_levels

    @property
    def elsewhere(self) -> int:
        """How many records concerned books of orders."""
        return int(self._tally[k.ELSEWHERE])

    def levels(self, instrument_id: int, side: Side) -> NDArray[np.int64]:
        """See `BookStates`."""
        if instrument_id >= len(self._books):
            return np.zeros((0, 2), np.int64)
        keys, sizes = self._runs.entries(instrument_id, side - 1)
        return np.stack([keys if side == Side.BID else -keys, sizes], axis=1)

    @cached_property
    def fold(self) -> Callable[[Records], int]:
        """See `BookStates`."""
        return method(fold_levels, self.memory)

    @cached_property
    def fold_and_sample(self) -> Callable[..., int]:
        """See `BookStates`."""
        return direct(sample_levels, 0, 0, *BookSamples().arguments)
