"""Resolves records to instruments: publisher, instrument id and day to a symbol, and that to a plant instrument.

Instrument ids are reassigned, some of them daily, so a mapping is valid for some days only. Symbols come from the
metadata of a file, or in band from the gateway; a definition names its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.feeds.venues.databento import venue as facts
from tickplant.feeds.venues.databento.dbn import NO_MAPPINGS, Metadata

DAY_NS: Final = 86_400 * 10**9
ID_BITS: Final = 32

Keys = NDArray[np.uint64]
"""Publisher (16 bits), instrument id (32) and day since the epoch (16) of each record."""


class Symbology:
    """The mappings of one stream. `find` is for the hot path; it calls `resolve` for unknown symbols."""

    def __init__(self, resolve: Callable[[str], int]) -> None:
        """`resolve` gives the instrument of a symbol such as GLBX.MDP3/ESH4; 0 if it is not recorded."""
        self.dataset = ""
        self._resolve = resolve
        self._mappings = NO_MAPPINGS
        self._in_band: dict[int, str] = {}  # overrides the mappings
        self._names: dict[int, str] = {}  # from definitions, for ids without another name
        self._keys: Keys = np.zeros(0, np.uint64)
        self._instruments: NDArray[np.int64] = np.zeros(0, np.int64)
        self._last = (0, 0)  # the newest key that occurred alone, and its instrument

    def begin(self, metadata: Metadata) -> None:
        """Begin a stream: mappings of an earlier one are no longer valid."""
        self.dataset = metadata.dataset
        self._mappings = metadata.mappings
        self._in_band, self._names = {}, {}
        self._forget()

    def map(self, ident: int, symbol: str) -> None:
        """Map an instrument id to this symbol from here on."""
        if self._in_band.get(ident) != symbol:
            self._in_band[ident] = symbol
            self._forget()

    def name(self, ident: int, symbol: str) -> None:
        """Note the symbol that a definition gives an instrument id."""
        if self._names.get(ident) != symbol:
            self._names[ident] = symbol
            self._forget()

    def find(self, heads: NDArray[np.uint64], times: NDArray[np.int64]) -> NDArray[np.int64] | int:
        """The instruments of records; one for all records if they share it.

        Args:
            heads: first eight bytes of each, shape (n,).
            times: in ns since the epoch, which determine the day, shape (n,).
        """
        keys = heads >> np.uint64(16)
        first_day, last_day = int(times.min()) // DAY_NS, int(times.max()) // DAY_NS
        if first_day == last_day:
            keys |= np.uint64((first_day & 0xFFFF) << 48)
        else:
            keys |= (times // DAY_NS).astype(np.uint64) << np.uint64(48)
        first = int(keys[0])
        if first == self._last[0] and bool((keys == keys[0]).all()):
            return self._last[1]
        places = np.searchsorted(self._keys, keys)
        known = places < len(self._keys)
        known[known] = self._keys[places[known]] == keys[known]
        if not known.all():
            self._learn(keys[~known])
            places = np.searchsorted(self._keys, keys)
        found = self._instruments[places]
        if bool((keys == keys[0]).all()):
            self._last = first, int(found[0])
        return found

    def symbol(self, ident: int, day: int) -> str:
        """The symbol of an instrument id on a day."""
        if ident in self._in_band:
            return self._in_band[ident]
        date = int(str(np.datetime64(day, "D")).replace("-", ""))
        return self._mappings.symbol(ident, date) or self._names.get(ident) or f"id:{ident}"

    def _learn(self, unknown: Keys) -> None:
        keys, firsts = np.unique(unknown, return_index=True)
        found = np.zeros(len(keys), np.int64)
        # Number instruments in the order of records, not of keys: else the size of reads would change the numbers.
        for at in np.argsort(firsts).tolist():
            key = int(keys[at])
            publisher, ident, day = key & 0xFFFF, key >> 16 & (1 << ID_BITS) - 1, key >> 48
            symbol = facts.instrument_symbol(self.dataset, self.symbol(ident, day), publisher)
            found[at] = self._resolve(symbol)
        places = np.searchsorted(self._keys, keys)
        self._keys = np.insert(self._keys, places, keys)
        self._instruments = np.insert(self._instruments, places, found)

    def _forget(self) -> None:
        self._keys, self._instruments, self._last = np.zeros(0, np.uint64), np.zeros(0, np.int64), (0, 0)
