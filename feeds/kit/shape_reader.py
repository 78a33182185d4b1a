"""Reads frames by shape: mediates between the kernel, the reference decoder and the adapter.

frames ──> ShapeReader.read ──> rows of the batch
                 ├────────────> refer: frames that fit no shape, for the reference decoder
                 └────────────> give: events that the adapter records, holds or drops
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.feeds.kit import shape_program as prog
from tickplant.feeds.kit.raw_text import PADDING
from tickplant.feeds.kit.shape_kernels import walk
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.state_table import NONE, STATE_COLUMNS
from tickplant.feeds.kit.symbols import SymbolTable
from tickplant.kernels import direct
from tickplant.records.batch import TickBatch
from tickplant.records.layouts import Kind

Refer = Callable[[bytes, int], object]
"""Takes a frame that fits no shape, and its receive time."""

Give = Callable[[int, int, NDArray[np.int64], list[int], int], object]
"""Takes what `Give` in a shape hands over: its number, the row of the state table (NONE if the shape has no symbol;
that of the last element if symbols occur only in a list), the rows, the values, the receive time. The rows lie behind
`length` of the batch, from where `TickBatch.extend` takes them without a copy; they are valid until something else is
added."""
_HEADER: Final = bytes.__basicsize__ - 1
"""Bytes of a `bytes` object before its content."""

_SEPARATOR: Final = b"\0"
_ROOM: Final = 1024
"""Rows to make room for, at least, when the batch is full."""


def _check_layout() -> None:
    probe = b"content"
    if ctypes.string_at(id(probe) + _HEADER, len(probe)) != probe:
        raise ImportError("this Python does not keep the content of bytes where CPython does")


_check_layout()


class ShapeReader:
    """The fast path of a feed: frames become rows, or go to the reference decoder."""

    def __init__(self, shapes: Shapes, symbols: SymbolTable, state: NDArray[np.int64]) -> None:
        """Read `shapes` of `symbols` into `state`, a table of shape (instruments, columns): see state_table.py."""
        self._symbols = symbols
        self._array = np.zeros(prog.CONTEXT_WORDS, np.int64)
        self._array[prog.SYMBOLS] = symbols.head.ctypes.data
        self._context = self._array.ctypes.data
        self._words = self._array.data
        self.counted = NONE
        self._rows: NDArray[np.int64] | None = None
        self._walk = walk
        self._former: Counter[str] = Counter()  # fallbacks from shapes that are no longer in use
        self._refused: list[int] = []
        self._shapes = shapes
        self.use_shapes(shapes)
        self.use_state(state)

    def use_shapes(self, shapes: Shapes) -> None:
        """Use these shapes from the next frame on; `refer` may call this."""
        self._former = Counter(self.fallbacks)
        self._shapes = shapes
        self._refused = [0] * (len(shapes.names) + 1)
        self._array[prog.CODE] = shapes.code.ctypes.data
        self._array[prog.TAKEN : prog.UNDO] = 0
        self._array[prog.REFUSED_AT : prog.REFUSED_SHAPE + 1] = 0
        self._array[prog.FIELDS :] = shapes.fields.ravel()

    def use_state(self, state: NDArray[np.int64]) -> None:
        """Use this state table from now on, for example a larger one. Raises ValueError for a wrong dtype or layout."""
        if state.dtype != np.int64 or state.ndim != 2 or not state.flags.c_contiguous or state.shape[1] < STATE_COLUMNS:
            raise ValueError(f"a state table has int64 rows of at least {STATE_COLUMNS} words, one behind the other")
        self.state = state
        self._words[prog.STATE] = state.ctypes.data
        self._words[prog.STATE_ROW_BYTES] = state.strides[0]

    def read(self, frames: Sequence[bytes], ts_recv: int, batch: TickBatch, refer: Refer, give: Give) -> None:
        """Record frames in order. Frames that fit no shape go to `refer`, what shapes give goes to `give`."""
        count = len(frames)
        if count == 1:
            text = frames[0] + PADDING
            if type(text) is not bytes:
                text = bytes(text)
            length = len(text) - len(PADDING)
        elif count:
            text = _SEPARATOR.join((*frames, PADDING))
            length = len(text) - len(PADDING) - 1
        else:
            return
        address = id(text) + _HEADER
        while True:
            if batch.rows is not self._rows:
                self._use_rows(batch.rows)
            result = self._walk(self._context, address, length, count, ts_recv, batch.length)
            batch.length = result >> prog.LENGTH_SHIFT
            outcome = result & prog.OUTCOME_MASK
            if outcome == prog.ALL_READ:
                return
            if outcome == prog.NO_ROOM:
                batch.reserve(len(batch.rows) - batch.length + _ROOM)  # this frame's rows are not counted yet
                continue
            if outcome == prog.NOT_SEPARATED:
                for frame in frames:
                    self.read((frame,), ts_recv, batch, refer, give)
                return
            stopped = (result & prog.FRAME_MASK) >> prog.FRAME_SHIFT
            try:
                if outcome == prog.FRAME_GIVEN:
                    self._hand_over(batch, give, ts_recv)
                else:
                    self._refused[self._words[prog.REFUSED_SHAPE] if self._words[prog.REFUSED_AT] else -1] += 1
                    refer(frames[stopped], ts_recv)
            except BaseException:
                self._words[prog.FRAME] = self._words[prog.POSITION] = 0
                raise
            if stopped + 1 == count:
                return

    def _use_rows(self, rows: NDArray[np.int64]) -> None:
        self._rows = rows
        self._walk = direct(walk, 0, 0, 0, 0, 0, 0)
        self._words[prog.ROWS] = rows.ctypes.data
        self._words[prog.CAPACITY] = len(rows)

    def _hand_over(self, batch: TickBatch, give: Give, ts_recv: int) -> None:
        words = self._words
        gifts = words[prog.GIVEN]
        number, slot, start, count, used, *values = words[prog.GIFTS : prog.GIFTS + prog.GIFT_WORDS].tolist()
        if gifts == 1:
            give(number, slot, batch.rows[start : start + count], values[:used], ts_recv)
            return
        handed = []
        for gift in range(prog.GIFTS, prog.GIFTS + gifts * prog.GIFT_WORDS, prog.GIFT_WORDS):
            number, slot, start, count, used, *values = words[gift : gift + prog.GIFT_WORDS].tolist()
            # Copies: recording the rows of one gift may overwrite those of the next.
            handed.append((number, slot, batch.rows[start : start + count].copy(), values[:used]))
        for each in handed:
            give(*each, ts_recv)

    # Counts so far.

    @property
    def counted(self) -> int:
        """Number of the connection's last frame, for shapes with Count; NONE before the first. The adapter sets it."""
        return self._words[prog.COUNTED]

    @counted.setter
    def counted(self, number: int) -> None:
        self._words[prog.COUNTED] = number

    @property
    def parsed(self) -> int:
        """Frames read by shape."""
        return self._words[prog.PARSED]

    @property
    def duplicates(self) -> int:
        """Records dropped because their id was not above the last one."""
        return self._words[prog.DUPLICATES]

    @property
    def kinds(self) -> dict[Kind, int]:
        """Records written, by kind, without those that were given."""
        return {kind: number for kind in Kind if (number := self._words[prog.KINDS + kind])}

    @property
    def taken(self) -> dict[str, int]:
        """Frames read, by shape."""
        return dict(zip(self._shapes.names, self._words[prog.TAKEN :].tolist(), strict=False))

    @property
    def fallbacks(self) -> dict[str, int]:
        """Frames left to the reference, by the shape that matched furthest; "" counts those that matched none."""
        names = (*self._shapes.names, "")
        counts = self._former + Counter(dict(zip(names, self._refused, strict=False)))
        return {name: number for name, number in counts.items() if number}

    @property
    def last_fallback(self) -> tuple[str, int]:
        """(shape, byte) of the last frame left to the reference: which shape it matched, and how far."""
        return self._shapes.names[self._words[prog.REFUSED_SHAPE]], self._words[prog.REFUSED_AT]
