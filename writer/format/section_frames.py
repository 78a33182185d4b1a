"""zstd frames of the planes of a section: made quickly for a journal, or small for a file that is written once.

A table of codes serves a block of up to 128 KiB, which holds several planes: the lowest byte of a number is mostly
noise, the highest mostly 0. From THOROUGH_LEVEL on each plane has blocks of its own. The frame stays one of zstd like
any other, and readers see no difference.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import zstandard

THOROUGH_LEVEL: Final = 9
"""From this level on size counts for more than time. A journal is below: blocks of a single plane decode slower."""

_SAMPLE_ROWS: Final = 8192
_PIECES: Final = 16
_COMPARING_LEVEL: Final = 1
"""Level 1 prefers the same way to store a column as all levels above."""


class FrameMaker:
    """Compresses sections, one after another, and keeps its working memory. Not thread-safe."""

    def __init__(self, level: int) -> None:
        """`level` is of zstd, 1 to 19."""
        self.thorough = level >= THOROUGH_LEVEL
        self._compressor = zstandard.ZstdCompressor(level=level)
        self._comparing = zstandard.ZstdCompressor(level=_COMPARING_LEVEL) if self.thorough else self._compressor

    def likely_bytes(self, planes: bytes, width: int, rows: int) -> int:
        """A measure of the frame of a column's planes, of `width` bytes a row, beside those of other ways to store it.

        A sample of the rows tells, but where two ways differ by some percent, as those of prices do.
        """
        return len(self._comparing.compress(planes if self.thorough else sample(planes, width, rows)))

    def frame(self, planes: bytes) -> bytes:
        """A frame of these planes."""
        return self._compressor.compress(planes)

    def frame_of_planes(self, planes: bytes, width: int, rows: int) -> bytes:
        """A frame of a column's `width` planes, each in blocks of its own, and of what stands behind them."""
        starts = [place * rows for place in range(1, width + 1) if place * rows < len(planes)]
        stream = self._compressor.compressobj(size=len(planes))
        made: list[bytes] = []
        done = 0
        for start in starts:
            made += stream.compress(planes[done:start]), stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
            done = start
        made += stream.compress(planes[done:]), stream.flush()
        return b"".join(made)


def sample(planes: bytes, width: int, rows: int) -> bytes:
    """The planes of 8,192 of the rows: pieces from all over the column, since in grouped order its parts differ."""
    piece = min(rows, _SAMPLE_ROWS) // _PIECES
    whole = np.frombuffer(planes, np.uint8, width * rows).reshape(width, rows)
    starts = [place * (rows - piece) // (_PIECES - 1) for place in range(_PIECES)]
    return np.concatenate([whole[:, start : start + piece] for start in starts], axis=1).tobytes()
