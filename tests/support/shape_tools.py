"""Tools for the tests of shapes: the reader with kernels and the one in plain Python, side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from tickplant.feeds.kit.plain_shapes import PlainReader, Reading
from tickplant.feeds.kit.shape_reader import ShapeReader
from tickplant.feeds.kit.shapes import Shape, Shapes
from tickplant.feeds.kit.state_table import (
    INSTRUMENT,
    LAST_AGG,
    LAST_QUOTE,
    LAST_TRADE,
    NONE,
    PRICE_SCALE,
    SIZE_SCALE,
    STATE_COLUMNS,
)
from tickplant.feeds.kit.symbols import SymbolTable
from tickplant.records.batch import TickBatch

_NUMBER = re.compile(rb'"sequence_num":(\d{1,9})\b')
WORDS_COMPARED = 7  # the eighth is set by the ring


def new_state(symbols: Sequence[str], scale: int) -> np.ndarray:
    state = np.zeros((len(symbols), STATE_COLUMNS), np.int64)
    state[:, INSTRUMENT] = np.arange(len(symbols)) + 101
    state[:, [PRICE_SCALE, SIZE_SCALE]] = scale
    state[:, [LAST_TRADE, LAST_AGG, LAST_QUOTE]] = NONE
    return state


class Bench:
    """Passes frames through a ShapeReader, and keeps the result of each."""

    def __init__(self, compiled: Shapes, symbols: Sequence[str], *, scale: int = 8, capacity: int = 1024) -> None:
        self.table = SymbolTable()
        self.state = new_state(symbols, scale)
        for slot, symbol in enumerate(symbols):
            self.table.add(symbol, slot)
        self.batch = TickBatch(capacity)
        self.reader = ShapeReader(compiled, self.table, self.state)
        self.referred: list[bytes] = []
        self.given: list[tuple] = []

    def read(self, *frames: bytes, ts: int = 7) -> list[list[int]]:
        """Read frames; returns the rows recorded. Frames referred and values given are kept separately."""
        self.batch.length = 0
        self.reader.read(frames, ts, self.batch, self._refer, self._give)
        return self.rows()

    def rows(self) -> list[list[int]]:
        return self.batch.rows[: self.batch.length, :WORDS_COMPARED].tolist()

    def _refer(self, frame: bytes, ts: int) -> None:
        self.referred.append(frame)

    def _give(self, number: int, slot: int, rows: np.ndarray, values: list[int], ts: int) -> None:
        self.given.append((number, slot, rows[:, :WORDS_COMPARED].tolist(), values))


class Pair:
    """The kernel and the plain reader, both given each frame in turn."""

    def __init__(
        self, shapes: Mapping[str, Shape], compiled: Shapes, symbols: Sequence[str], *, scale: int = 8
    ) -> None:
        self.bench = Bench(compiled, symbols, scale=scale)
        self.state = new_state(symbols, scale)
        self.plain = PlainReader(shapes, {symbol: slot for slot, symbol in enumerate(symbols)}, self.state)

    def read(self, frame: bytes) -> Reading | None:
        """The reading on which kernel and plain reader agree; None if the kernel leaves the frame to the reference."""
        bench = self.bench
        before = bench.reader.duplicates
        taken = bench.reader.taken
        if (number := _NUMBER.search(frame)) is not None:  # nearly always the next one: else Count takes nothing
            bench.reader.counted = self.plain.counted = int(number[1]) - 1
        counted = bench.reader.counted
        bench.given.clear()
        bench.referred.clear()
        rows = bench.read(frame)
        if bench.referred:
            assert bench.referred == [frame]
            assert not rows
            assert not bench.given
            assert (bench.state == self.state).all(), "not undone"
            assert bench.reader.counted == counted, "not undone"
            return None
        reading = self.plain.read(frame, 7)
        assert reading is not None, f"the kernel takes what does not fit: {frame!r}"
        (shape,) = (name for name, number in bench.reader.taken.items() if number != taken[name])
        assert shape == reading.shape
        assert bench.given == reading.given
        assert rows == ([] if reading.given else reading.rows)
        assert bench.reader.duplicates - before == reading.duplicates
        assert (bench.state == self.state).all()
        assert bench.reader.counted == self.plain.counted
        return reading
