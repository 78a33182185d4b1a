"""Chunks that were decoded lately: subscribers of many topics ask for the same ones, a topic at a time."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.writer.format.chunk_layout import HEADER, ChunkHeader
from tickplant.writer.format.codec import ChunkDecoder

RECENT_BYTES: Final = 64 << 20

_Decoded = tuple[NDArray[np.void], ChunkHeader, int]


class RecentChunks:
    """Decodes chunks, and remembers what was in the last ones. Not thread-safe.

    Args:
        most_bytes: of records that are remembered; one chunk is, however large.
    """

    def __init__(self, most_bytes: int = RECENT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._decoder = ChunkDecoder()
        self._chunks: OrderedDict[tuple[Path, int, bytes], _Decoded] = OrderedDict()

    def decode(self, buffer: bytes, /, *, path: Path, origin: int) -> _Decoded:
        """As `ChunkDecoder.decode`; the records are not to be written to. Raises DamageError."""
        key = path, origin, buffer[: HEADER.itemsize]
        if (known := self._chunks.get(key)) is not None:
            self._chunks.move_to_end(key)
            return known
        found = self._chunks[key] = self._decoder.decode(buffer, path=path, origin=origin)
        found[0].flags.writeable = False
        self._bytes += found[0].nbytes
        while self._bytes > self._most_bytes and len(self._chunks) > 1:
            self._bytes -= self._chunks.popitem(last=False)[1][0].nbytes
        return found
