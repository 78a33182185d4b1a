"""zstd frames of a section's planes: made quickly for a journal, or small for a file that is written once.

zstd uses one table of codes per block of up to 128 KiB. Such a block may hold several planes that differ: the lowest
byte of a number is mostly noise, the highest mostly 0. From THOROUGH_LEVEL on, each plane has blocks of its own. The
result is an ordinary zstd frame, and readers see no difference.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import zstandard

THOROUGH_LEVEL: Final = 9
"""From this level on, size matters more than time. Journals use a lower one: blocks of a single plane decode slower."""

_SAMPLE_ROWS: Final = 8192
_PIECES: Final = 16
_COMPARING_LEVEL: Final = 1
"""Level 1 prefers the same way to store a column as all higher levels do."""


class FrameMaker:
    """Compresses sections, and reuses its working memory. Not thread-safe."""

    def __init__(self, level: int) -> None:
        """`level`: zstd level, 1 to 19."""
        self.thorough = level >= THOROUGH_LEVEL
        self._compressor = zstandard.ZstdCompressor(level=level)
        self._comparing = zstandard.ZstdCompressor(level=_COMPARING_LEVEL) if self.thorough else self._compressor

    def likely_bytes(self, planes: bytes, width: int, rows: int) -> int:
        """A relative size of the frame of a column's planes, `width` bytes per row, to compare ways to store a column.

        Below THOROUGH_LEVEL it measures a sample of the rows, which is enough unless two ways differ by only a few
        percent, as they do for prices.
        """
        return len(self._comparing.compress(planes if self.thorough else sample(planes, width, rows)))

    def frame(self, planes: bytes) -> bytes:
        """A frame of these planes."""
        return self._compressor.compress(planes)

    def frame_of_planes(self, planes: bytes, width: int, rows: int) -> bytes:
        """A frame of a column's `width` planes, each in blocks of its own, and of the bytes after them."""
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
    """The planes of 8,192 rows, in pieces from all over the column, since its parts differ in grouped order."""
    piece = min(rows, _SAMPLE_ROWS) // _PIECES
    whole = np.frombuffer(planes, np.uint8, width * rows).reshape(width, rows)
    starts = [place * (rows - piece) // (_PIECES - 1) for place in range(_PIECES)]
    return np.concatenate([whole[:, start : start + piece] for start in starts], axis=1).tobytes()
