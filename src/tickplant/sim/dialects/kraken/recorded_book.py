"""A player's book of a recorded pair, for clients that subscribe midway. No I/O."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np

from tickplant.books.checksums import ALGORITHMS, BookChecksum, Digits
from tickplant.books.depth_book import DepthBook
from tickplant.instruments import format_decimal, to_mantissa
from tickplant.records.layouts import Side
from tickplant.sim.dialects.kraken.shapes import BOOK_FRAME, LEVEL


class Entry(msgspec.Struct):
    """An entry of a book frame; the numbers are texts, since their digits count."""

    symbol: str
    bids: list[dict[str, Any]]
    asks: list[dict[str, Any]]
    checksum: int = 0
    timestamp: str = ""


_BOOK: Final = msgspec.json.Decoder(list[Entry], float_hook=str)


def book_entries(data: bytes | msgspec.Raw) -> list[Entry]:
    """The entries of a book frame's `data`. Raises msgspec.DecodeError."""
    return _BOOK.decode(data)


class KeptBook:
    """One pair's book as played so far, at its recorded depth and with its recorded digits."""

    def __init__(self, symbol: str, depth: int, price_digits: int, size_digits: int) -> None:
        self._symbol = symbol
        self._digits = (price_digits, size_digits)
        self._checksum = BookChecksum(ALGORITHMS["kraken"], Digits(*self._digits, *self._digits))
        self._timestamp = ""
        self.book = DepthBook(depth)

    def copy(self) -> KeptBook:
        """A copy of the present book, for later."""
        other = KeptBook(self._symbol, 1, *self._digits)
        other.book, other._timestamp = self.book.copy(), self._timestamp
        return other

    def apply(self, entry: Entry, *, is_snapshot: bool) -> None:
        """Apply a snapshot or an update. Raises ValueError if a number has more decimals than the pair."""
        sides = ((Side.BID, entry.bids), (Side.ASK, entry.asks))
        rows = [
            (
                side,
                *(
                    to_mantissa(str(level[name]), digits)
                    for name, digits in zip(("price", "qty"), self._digits, strict=True)
                ),
            )
            for side, levels in sides
            for level in levels
        ]
        levels = np.array(rows, np.int64).reshape(-1, 3)
        (self.book.snapshot if is_snapshot else self.book.update)(levels)
        self._timestamp = entry.timestamp or self._timestamp

    def checksum(self, depth: int) -> int:
        """Checksum of the present book, cut to a depth."""
        number = self._checksum.of_levels(*self.book.top(depth))
        assert number is not None, "the scale of the integers is that of the wire"
        return number

    def snapshot(self, depth: int) -> bytes:
        """The snapshot for a client that subscribes now."""
        bids, asks = (",".join(self._level(*level) for level in side.tolist()) for side in self.book.top(depth))
        text = BOOK_FRAME.replace("<type>", "snapshot").replace("<symbol>", self._symbol)
        text = text.replace("<bids>", bids).replace("<asks>", asks).replace("<checksum>", str(self.checksum(depth)))
        return text.replace("<time>", self._timestamp).replace(',"timestamp":""', "").encode()

    def _level(self, price: int, size: int) -> str:
        before, between, after = LEVEL
        return (
            f"{before}{format_decimal(price, self._digits[0])}{between}{format_decimal(size, self._digits[1])}{after}"
        )
