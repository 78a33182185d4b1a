"""What a store's folders hold, remembered until these change: a short range costs less than listing them."""

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
"""A folder that changed just now may change again without a later time. Of file systems that keep whole seconds, FAT
has the longest step, two; the others take the time of the kernel's clock, which ticks at least 100 times a second."""

Found = TypeVar("Found")


class FolderMemory:
    """Of one reader. Not thread-safe."""

    def __init__(self, data_dir: Path, forget: Callable[[], None]) -> None:
        """`forget` is called where segments are looked for anew."""
        self._data_dir = data_dir
        self._forget = forget
        self._roots = roots_of(data_dir)
        self._known: dict[Hashable, tuple[list[int], Any]] = {}

    def producers(self, schema: Schema) -> list[str]:
        """Names of the processes whose records of this schema are stored. Raises StoreError."""
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
        """What `find` returns, by looking at these folders alone; their subfolders are folders of their own."""
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
    """From when on a further change of a folder has a later time than this one."""
    return changed_ns + (_FINE_NS if changed_ns % _SECOND_NS else _COARSE_NS)


def _changed_ns(folder: str) -> int:
    """When names or rights of a folder changed; 0 where there is none that could be asked."""
    try:
        return os.stat(folder).st_ctime_ns  # noqa: PTH116  # pathlib takes three times as long
    except OSError:
        return 0
