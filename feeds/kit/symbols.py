"""The symbols of a feed, for the kernel that reads frames: a hash table of words."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.feeds.kit.raw_text import mix, word_at
from tickplant.feeds.kit.state_table import NONE
from tickplant.kernels import inlined

SYMBOL_BYTES: Final = 24
ENTRY_WORDS: Final = 5
"""Words of an entry: 24 bytes of symbol, its length (0: free), its row of the state table."""

ENTRY_BYTES: Final = 8 * ENTRY_WORDS


class SymbolTable:
    """Symbols and their rows of the state table: open addressing, at most half full.

    Attributes:
        head: shape (2,), int64: the address of the entries, and their number minus one. Its address never changes.
    """

    def __init__(self) -> None:
        self.head: NDArray[np.int64] = np.zeros(2, np.int64)
        self._slots: dict[bytes, int] = {}
        self._allocate(16)

    def add(self, symbol: str, slot: int) -> bool:
        """Enter a symbol, or give it another row; False if its frames are left to the reference."""
        text = symbol.encode(errors="surrogatepass")
        if not (symbol.isascii() and symbol.isprintable() and 0 < len(text) <= SYMBOL_BYTES):
            return False
        self._slots[text] = slot
        if 2 * len(self._slots) > len(self._entries):
            self._allocate(2 * len(self._entries))
            for each, row in self._slots.items():
                self._enter(each, row)
        else:
            self._enter(text, slot)
        return True

    def remove(self, symbol: str) -> None:
        """Leave frames of a symbol to the reference. A symbol that is not entered is ignored."""
        if self._slots.pop(symbol.encode(errors="surrogatepass"), None) is not None:
            self._allocate(len(self._entries))
            for each, row in self._slots.items():
                self._enter(each, row)

    def _allocate(self, entries: int) -> None:
        self._entries = np.zeros((entries, ENTRY_WORDS), np.int64)
        self.head[:] = self._entries.ctypes.data, entries - 1

    def _enter(self, text: bytes, slot: int) -> None:
        words = np.frombuffer(text.ljust(SYMBOL_BYTES, b"\0"), np.int64).tolist()
        place = mix(*words) & (len(self._entries) - 1)
        while self._entries[place, 3] != 0 and self._entries[place, :3].tolist() != words:
            place = (place + 1) & (len(self._entries) - 1)
        self._entries[place] = (*words, len(text), slot)


@inlined
def find_symbol(at: int, length: int, entries: int, mask: int) -> int:
    """State table row of the plain text at an address; NONE if it is unknown. `length` is 1 to 24."""
    first = word_at(at)
    second = third = 0
    if length < 8:
        first &= (1 << 8 * length) - 1
    elif length > 8:
        second = word_at(at + 8)
        if length < 16:
            second &= (1 << 8 * (length - 8)) - 1
        elif length > 16:
            third = word_at(at + 16)
            if length < 24:
                third &= (1 << 8 * (length - 16)) - 1
    place = mix(first, second, third) & mask
    while True:
        entry = entries + ENTRY_BYTES * place
        if word_at(entry + 24) == 0:
            return NONE
        if word_at(entry) == first and word_at(entry + 8) == second and word_at(entry + 16) == third:
            return word_at(entry + 32)
        place = (place + 1) & mask
