"""Where each order is: a hash table from instrument and name to a slot in the pool of orders.

Open addressing with linear probing, at most half full, so a look-up reads one or two neighbouring entries. Removal
moves later entries of the same cluster back instead of leaving tombstones, so a table stays fast for days.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.kernels import inlined, kernel

Records = NDArray[np.void]

ENTRY: Final = np.dtype([("name", "<u8"), ("owner", "<u4"), ("slot", "<u4")])
"""One entry. `owner` is the instrument and the kind of name; `slot` counts from 1; 0: the entry is free."""

_LOW: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)
# Odd, and below 2**32, as both factors are: so nothing overflows (plain Python would warn).
_OF_LOW: Final = np.uint64(0x9E3779B1)
_OF_HIGH: Final = np.uint64(0x85EBCA77)
_OF_OWNER: Final = np.uint64(0xC2B2AE3D)


@inlined
def home_of(name: int, owner: int, mask: int) -> Any:
    """Where the search for a name begins in a table of `mask + 1` entries, a power of two."""
    bits = np.uint64(name)
    mixed = ((bits & _LOW) * _OF_LOW) ^ ((bits >> _HALF) * _OF_HIGH) ^ (np.uint64(owner) * _OF_OWNER)
    return np.int64((mixed ^ (mixed >> _HALF)) & np.uint64(mask))


@inlined
def find(table: Records, name: int, owner: int) -> Any:
    """Place of a name in the table, or of the free entry where it would go: check `slot`."""
    mask = len(table) - 1
    at = home_of(name, owner, mask)
    while table[at]["slot"] != 0 and (table[at]["name"] != name or table[at]["owner"] != owner):
        at = (at + 1) & mask
    return at


@inlined
def remember(table: Records, at: int, name: int, owner: int, slot: int) -> None:
    """Enter a name at the free place that `find` returned."""
    table[at]["name"] = name
    table[at]["owner"] = owner
    table[at]["slot"] = slot


@inlined
def forget(table: Records, at: int) -> None:
    """Remove the entry at a place."""
    mask = len(table) - 1
    hole = at
    at = (hole + 1) & mask
    while table[at]["slot"] != 0:
        home = home_of(table[at]["name"], table[at]["owner"], mask)
        if ((at - home) & mask) >= ((at - hole) & mask):  # a search for it passes the hole
            remember(table, hole, table[at]["name"], table[at]["owner"], table[at]["slot"])
            hole = at
        at = (at + 1) & mask
    table[hole]["slot"] = 0


@kernel
def refill(old: Records, new: Records) -> None:
    """Enter all of `old` into the empty table `new`."""
    for i in range(len(old)):
        if old[i]["slot"] != 0:
            name, owner = old[i]["name"], old[i]["owner"]
            remember(new, find(new, name, owner), name, owner, old[i]["slot"])
