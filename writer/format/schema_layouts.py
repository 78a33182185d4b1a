"""What encoding and decoding need to know about each schema, computed once. Does no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tickplant.records.layouts import DTYPES, Schema
from tickplant.writer.format import restoring, together
from tickplant.writer.format.columns import COLUMN_IDS, KEYS, Scratch, type_code
from tickplant.writer.format.sections import SectionLayout

_WORD: Final = np.dtype(np.uint64)

Places: TypeAlias = list[tuple[str, int, np.dtype[Any]]]
"""Columns by name, each with its offset in bytes per row, and its dtype."""


class SchemaLayout:
    """What encoding and decoding need to know about one schema."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.dtype = DTYPES[schema]
        self.ids = COLUMN_IDS[schema]
        self.names = {number: name for name, number in self.ids.items()}
        self.unstored = frozenset(self.dtype.names or ()) - set(self.ids)
        self.sections = SectionLayout(schema)
        self.codes = {number: type_code(self.dtype[name]) for number, name in self.names.items()}
        self.keys = frozenset(name for name, _ in KEYS[schema])
        # Records are words of 8 bytes: a column is a whole word, or a part of one at some bit offset.
        fields = self.dtype.fields
        places = {name: fields[name][1] for name in self.ids} if fields else {}
        self.wholes = {name: place // 8 for name, place in places.items() if self.dtype[name].itemsize == 8}
        self.parts = {name: (place // 8, place % 8 * 8) for name, place in places.items() if name not in self.wholes}
        words = {name: 8 * place for name, place in self.wholes.items()}
        narrow = together.side_by_side(schema, list(self.parts), self.dtype.itemsize)
        self.places = self._placed(words | narrow)
        self.record_plan = together.plan(schema, words | narrow)
        self._plans: dict[tuple[str, ...], tuple[Places, together.Plan]] = {}
        self._needed: dict[tuple[str, ...], NDArray[np.bool_]] = {}

    def separate(self, records: NDArray[np.void], scratch: Scratch) -> dict[str, NDArray[Any]]:
        """The columns of records, in the scratch: the next call overwrites them."""
        rows, width = len(records), self.dtype.itemsize // 8
        words = scratch.words(width, rows)
        restoring.separate(np.ascontiguousarray(records).view(_WORD).reshape(rows, width), words)
        columns = {}
        for name in self.ids:
            if name in self.wholes:
                # A float64 is stored as its bits: nearby numbers have nearby bits.
                kind = np.dtype(np.int64) if self.dtype[name].kind == "f" else self.dtype[name]
                columns[name] = words[self.wholes[name], :rows].view(kind)
            else:
                place, shift = self.parts[name]
                columns[name] = scratch.column(name, self.dtype[name], rows)
                restoring.take_part(words[place, :rows], np.uint64(shift), columns[name])
        return columns

    def _placed(self, places: dict[str, int]) -> Places:
        return [(name, place, self.dtype[name]) for name, place in places.items()]

    def needed(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """By column number, whether the column is one of these, or a key."""
        wanted = tuple(names)
        found = self._needed.get(wanted)
        if found is None:
            found = self._needed[wanted] = np.zeros(256, np.bool_)
            found[[self.ids[name] for name in self.keys.union(wanted).intersection(self.ids)]] = True
        return found

    def plan(self, names: tuple[str, ...]) -> tuple[Places, together.Plan]:
        """Where these columns go in a chunk's memory."""
        found = self._plans.get(names)
        if found is None:
            places = together.side_by_side(self.schema, names)
            found = self._placed({name: places[name] for name in names}), together.plan(self.schema, places)
            self._plans[names] = found
        return found


LAYOUTS: Final = {int(schema): SchemaLayout(schema) for schema in Schema}
