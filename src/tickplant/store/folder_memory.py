"""What a store's folders hold, cached until the folders change: listing them costs more than reading a short range."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from tickplant.records.layouts import Schema
from tickplant.store.segments import Segment, names_in, roots_of, segments_of

_SECOND_NS: Final = 10**9
_COARSE_NS: Final = 2 * _SECOND_NS
_FINE_NS: Final = _SECOND_NS // 10
"""A folder that has just changed may change again without a later time stamp. Of the file systems with whole seconds,
FAT has the longest step, two; others use the kernel's clock, which ticks at least 100 times a second."""

Found = TypeVar("Found")


class FolderMemory:
    """The folders as one reader knows them. Not thread-safe."""

    def __init__(self, data_dir: Path, forget: Callable[[], None]) -> None:
        """`forget` is called whenever segments are listed again."""
        self._data_dir = data_dir
        self._forget = forget
        self._roots = roots_of(data_dir)
        self._known: dict[Hashable, tuple[list[int], Any]] = {}

    def producers(self, schema: Schema) -> list[str]:
        """Names of the producers with stored records of this schema. Raises StoreError."""
        names = self._recall("names", self._roots, partial(names_in, self._roots))
        folders = [f"{root}/{name}" for root in self._roots for name in names]

        def find() -> list[str]:
            of_schema = [Path(folder) for folder in folders if Path(folder, schema.name.lower()).is_dir()]
            return sorted({folder.name for folder in of_schema})

        return self._recall((schema, *names), folders, find)

    def segments(self, producer: str, schema: Schema) -> list[Segment]:
        """Where the records of a producer are: see `segments_of`. Raises StoreError."""

        def find() -> list[Segment]:
            self._forget()
            return segments_of(self._data_dir, producer, schema)

        folders = [f"{root}/{producer}/{schema.name.lower()}" for root in self._roots]
        return self._recall((producer, schema), folders, find)

    def _recall(self, what: Hashable, folders: Sequence[str], find: Callable[[], Found]) -> Found:
        """The result of `find`, cached until one of these folders changes; `find` looks at them alone, not deeper."""
        states = [_changed_ns(folder) for folder in folders]
        known = self._known.get(what)
        if known is not None and known[0] == states:
            remembered: Found = known[1]
            return remembered
        found = find()
        if time.time_ns() > max(map(_settled_ns, states), default=0):
            self._known[what] = states, found
        else:
            self._known.pop(what, None)
        return found


def _settled_ns(changed_ns: int) -> int:
    """The time after which any further change of a folder has a later time stamp than this one."""
    return changed_ns + (_FINE_NS if changed_ns % _SECOND_NS else _COARSE_NS)


def _changed_ns(folder: str) -> int:
    """When the names in a folder or its rights last changed; 0 if that cannot be read."""
    try:
        return os.stat(folder).st_ctime_ns  # noqa: PTH116  # pathlib takes three times as long
    except OSError:
        return 0
