"""Recently decoded chunks, cached since the next request mostly needs them again.

Subscribers of many topics ask for the same chunks, one topic at a time; and short ranges often follow one another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tickplant.store.segment_index import state_if_there
from tickplant.store.segments import Chunk
from tickplant.writer.format.chunk_layout import HEADER, ChunkHeader
from tickplant.writer.format.codec import ChunkDecoder

RECENT_BYTES: Final = 64 << 20
RECENT_COLUMN_BYTES: Final = 4 << 20
"""Room for six chunks of daily files with two columns, or for one with all columns."""

Found = TypeVar("Found")
Columns = dict[str, NDArray[Any]]
_Decoded = tuple[NDArray[np.void], ChunkHeader, int]


class _Recent(Generic[Found]):
    """A cache of the most recently used items, up to a number of bytes; a single item is kept, however large."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[Hashable, tuple[Found, int]] = OrderedDict()

    def get(self, key: Hashable) -> Found | None:
        """The item under this key, if it is still kept."""
        if (known := self._kept.get(key)) is None:
            return None
        self._kept.move_to_end(key)
        return known[0]

    def keep(self, key: Hashable, found: Found, size_bytes: int) -> None:
        """Keep an item, and drop the least recently used ones."""
        self._kept[key] = found, size_bytes
        self._bytes += size_bytes
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1][1]


class RecentChunks:
    """Decodes chunks, and caches the records of the last ones. Not thread-safe.

    Args:
        most_bytes: the most bytes of records to keep; a single chunk is kept, however large.
    """

    def __init__(self, most_bytes: int = RECENT_BYTES) -> None:
        self._decoder = ChunkDecoder()
        self._recent = _Recent[_Decoded](most_bytes)

    def decode(self, buffer: bytes, /, *, path: Path, origin: int) -> _Decoded:
        """As `ChunkDecoder.decode`, but the records are read-only. Raises DamageError."""
        key = path, origin, buffer[: HEADER.itemsize]
        if (known := self._recent.get(key)) is not None:
            return known
        found = self._decoder.decode(buffer, path=path, origin=origin)
        found[0].flags.writeable = False
        self._recent.keep(key, found, found[0].nbytes)
        return found


class RecentColumns:
    """Columns of the chunks that short ranges were last read from, while the files do not change.

    Not thread-safe.
    """

    def __init__(self, most_bytes: int = RECENT_COLUMN_BYTES) -> None:
        self._recent = _Recent[Columns](most_bytes)

    def key(self, chunk: Chunk, names: Sequence[str]) -> Hashable:
        """The key of these columns of a chunk in the current state of its file. Raises StoreError."""
        return chunk.path, state_if_there(chunk.path), chunk.entry.tobytes(), tuple(names)

    def get(self, key: Hashable) -> Columns | None:
        """The kept columns, which must not be written to."""
        return self._recent.get(key)

    def keep(self, key: Hashable, columns: Columns) -> None:
        """Keep columns that nobody will write to; `key` must be from before they were read."""
        self._recent.keep(key, columns, sum(column.nbytes for column in columns.values()))
