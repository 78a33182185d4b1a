"""Checksums of books: the algorithm of each venue, computed from integers.

    checksum = BookChecksum(ALGORITHMS["kraken"], Digits(price_scale=8, size_scale=8, price=1, size=8))
    checksum.of_book(book) == number      # a `DepthBook`, after `update`
    checksum.of_levels(bids, asks)        # arrays of (price, size), best first

A venue computes its checksum over text, so every digit counts. Most venues print an instrument's numbers with a fixed
number of decimals (`price_precision` and `qty_precision` at Kraken), perhaps fewer than the integers' scale: these
*wire decimals* must be known. OKX prints each number as short as possible, so there they do not matter. No float is
ever involved.
"""

from __future__ import annotations

import functools
import zlib
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.books.depth_book import DepthBook, copy_best_of_both
from tickplant.instruments import MAX_SCALE, Instrument
from tickplant.kernels import kernel

Integers = NDArray[np.int64]
Bytes = NDArray[np.uint8]


class Order(IntEnum):
    """The order of the levels in the text."""

    ASKS_BIDS = 0  # all asks, then all bids, each best first
    INTERLEAVED = 1  # the best bid, the best ask, the next bid, the next ask; levels that a side lacks are left out


class Form(IntEnum):
    """How a number is printed."""

    DIGITS = 0  # with the wire decimals, without the point and without leading zeros
    FIXED = 1  # with the wire decimals
    SHORTEST = 2  # without trailing zeros in the decimals


class Algorithm(NamedTuple):
    """A CRC-32 over the text of the best levels."""

    levels: int  # of each side, or all if there are fewer
    order: Order
    form: Form
    separator: str  # between two numbers
    signed: bool  # the venue sends the number as a signed 32-bit integer


ALGORITHMS: Final = MappingProxyType(
    {
        # Confirmed by recordings of 2021 and 2026.
        "kraken": Algorithm(10, Order.ASKS_BIDS, Form.DIGITS, "", signed=False),
        # Confirmed by a recording of 2022. Announced: from 23 June 2026, 0 for "no checksum", and `prevSeqId` instead.
        "okx": Algorithm(25, Order.INTERLEAVED, Form.SHORTEST, ":", signed=True),
        # From its documentation only.
        "bitget": Algorithm(25, Order.INTERLEAVED, Form.FIXED, ":", signed=True),
    }
)
"""Algorithms for books by level, by venue. Others send no checksums: Binance, Bybit and Coinbase number updates."""


ORDERS_LEVELS: Final = MappingProxyType({"kraken": 10})
"""Venues that also send checksums of books of orders: over the orders of this many levels per side."""


class Digits(NamedTuple):
    """The scales of mantissas, and how many decimals the venue prints."""

    price_scale: int  # decimals of the integers
    size_scale: int
    price: int  # decimals on the wire
    size: int


# Words of `rule`; after them there is room for the best levels of both sides.
LEVELS: Final = 0
ORDER: Final = 1
FORM: Final = 2
SEPARATOR: Final = 3  # its byte; 0 if there is none
PRICE_SCALE: Final = 4
SIZE_SCALE: Final = 5
PRICE_DECIMALS: Final = 6
SIZE_DECIMALS: Final = 7
RULE_WORDS: Final = 8

NUMBER_BYTES: Final = 48  # 19 digits, sign, point, MAX_SCALE zeros, separator
INEXACT: Final = -1

_ASKS_BIDS: Final = int(Order.ASKS_BIDS)
_DIGITS: Final = int(Form.DIGITS)
_SHORTEST: Final = int(Form.SHORTEST)
_MINUS: Final = ord("-")
_POINT: Final = ord(".")
_ZERO: Final = ord("0")


@kernel
def write_number(mantissa: int, scale: int, decimals: int, form: int, out: Bytes, at: int) -> int:
    """Write one number so that it ends before `out[at]`: from the last digit on, so that digits need not be counted.

    Returns where it begins, or INEXACT if it has more decimals than the wire. Indices are unsigned, as in `level_runs`,
    which halves the time.
    """
    ten = np.uint64(10)
    rest = np.uint64(-mantissa if mantissa < 0 else mantissa)
    if form == _SHORTEST:
        decimals = 0
    while scale > decimals and rest % ten == 0:
        rest //= ten
        scale -= 1
    if form == _SHORTEST:
        decimals = scale
    elif scale > decimals:
        return INEXACT
    if form == _DIGITS and rest == 0:
        return at
    for _ in range(decimals - scale):
        at -= 1
        out[np.uint64(at)] = _ZERO
    if form != _DIGITS and decimals:
        for _ in range(scale):
            at -= 1
            out[np.uint64(at)] = _ZERO + np.int64(rest % ten)
            rest //= ten
        at -= 1
        out[np.uint64(at)] = _POINT
    if rest == 0:  # never with DIGITS
        at -= 1
        out[np.uint64(at)] = _ZERO
    while rest:
        at -= 1
        out[np.uint64(at)] = _ZERO + np.int64(rest % ten)
        rest //= ten
    if mantissa < 0:
        at -= 1
        out[np.uint64(at)] = _MINUS
    return at


@kernel
def write_level(
    price: int, size: int, form: int, separator: int, decimals: tuple[int, int, int, int], out: Bytes, at: int
) -> int:
    """Write the price and size of one level before `out[at]`. Returns where they begin, or INEXACT."""
    if at < 0:
        return INEXACT
    if separator and at < len(out):
        at -= 1
        out[np.uint64(at)] = separator
    at = write_number(size, decimals[1], decimals[3], form, out, at)
    if at < 0:
        return INEXACT
    if separator:
        at -= 1
        out[np.uint64(at)] = separator
    return write_number(price, decimals[0], decimals[2], form, out, at)


@kernel
def write_levels(bids: Integers, asks: Integers, rule: Integers, out: Bytes) -> int:
    """Write the text of a book, given best first, to the end of `out`. Returns where the text begins, or INEXACT."""
    at = len(out)
    bids_wanted = min(len(bids), rule[LEVELS])
    asks_wanted = min(len(asks), rule[LEVELS])
    # Read once: the compiler must assume that a byte written to `out` may change them.
    form, separator = rule[FORM], rule[SEPARATOR]
    decimals = (rule[PRICE_SCALE], rule[SIZE_SCALE], rule[PRICE_DECIMALS], rule[SIZE_DECIMALS])
    if rule[ORDER] == _ASKS_BIDS:
        for i in range(bids_wanted - 1, -1, -1):
            at = write_level(bids[i, 0], bids[i, 1], form, separator, decimals, out, at)
        for i in range(asks_wanted - 1, -1, -1):
            at = write_level(asks[i, 0], asks[i, 1], form, separator, decimals, out, at)
        return at
    for i in range(max(bids_wanted, asks_wanted) - 1, -1, -1):
        if i < asks_wanted:
            at = write_level(asks[i, 0], asks[i, 1], form, separator, decimals, out, at)
        if i < bids_wanted:
            at = write_level(bids[i, 0], bids[i, 1], form, separator, decimals, out, at)
    return at


@kernel
def write_book(memory: Integers, rule: Integers, out: Bytes) -> int:
    """Write the text of the `DepthBook` with this memory. Returns where it begins, or INEXACT."""
    best = rule[RULE_WORDS:].reshape((2, rule[LEVELS], 2))
    bids, asks = copy_best_of_both(memory, best)
    return write_levels(best[0, :bids], best[1, :asks], rule, out)


class BookChecksum:
    """Computes the checksums of one instrument's book, as the numbers that the venue sends."""

    def __init__(self, algorithm: Algorithm, digits: Digits) -> None:
        if not all(0 <= number <= MAX_SCALE for number in digits):
            raise ValueError(f"{digits}: decimals are 0 to {MAX_SCALE}")
        self.algorithm = algorithm
        self.digits = digits
        separator = ord(algorithm.separator) if algorithm.separator else 0
        self._rule = np.zeros(RULE_WORDS + 4 * algorithm.levels, np.int64)
        self._rule[:RULE_WORDS] = [algorithm.levels, algorithm.order, algorithm.form, separator, *digits]
        self._text = np.zeros(4 * algorithm.levels * NUMBER_BYTES, np.uint8)
        self._view = self._text.data

    def of_book(self, book: DepthBook) -> int | None:
        """The checksum of a book; None if a number has more decimals than the venue prints."""
        return self._sum(write_book(book.memory, self._rule, self._text))

    def of_levels(self, bids: Integers, asks: Integers) -> int | None:
        """The checksum of bids and asks: C-contiguous arrays of (price, size), best first; extra levels are ignored."""
        return self._sum(write_levels(bids, asks, self._rule, self._text))

    def _sum(self, start: int) -> int | None:
        if start < 0:
            return None
        number = zlib.crc32(self._view[start:])
        return number - (1 << 32) if self.algorithm.signed and number >> 31 else number


def pack_decimals(price: int, size: int) -> int:
    """The wire decimals as stored in `order_id` of a CHECKSUM record."""
    return price << 8 | size


def unpack_decimals(order_id: int) -> tuple[int, int]:
    """The decimals of price and size with which a CHECKSUM record was computed."""
    return order_id >> 8 & 0xFF, order_id & 0xFF


def checks(record: Any, instrument: Instrument, bids: Integers, asks: Integers) -> bool | None:
    """Whether a folded book agrees with the CHECKSUM record that follows it.

    Args:
        record: a TICK of kind CHECKSUM.
        instrument: its row of the instrument table.
        bids: price and size mantissas at the scales of `instrument`, best first, shape (levels, 2), C-contiguous.
        asks: likewise.

    Returns:
        None if unknown: the venue has no algorithm here.
    """
    price, size = unpack_decimals(int(record["order_id"]))
    computer = _computer(instrument.venue, Digits(instrument.price_scale, instrument.size_scale, price, size))
    return None if computer is None else computer.of_levels(bids, asks) == int(record["size"])


def checks_orders(record: Any, instrument: Instrument, bids: Integers, asks: Integers) -> bool | None:
    """`checks` for a book of orders: the checksum is over all orders of the best levels, see `ORDERS_LEVELS`.

    Args:
        record: as in `checks`, with ON_ORDERS.
        instrument: as in `checks`.
        bids: price and size of the orders at the best levels, in price-time priority.
        asks: likewise.

    Returns:
        None if unknown, also if the venue did not print all numbers with the same decimals.
    """
    if instrument.venue not in ORDERS_LEVELS:
        return None
    price, size = unpack_decimals(int(record["order_id"]))
    room = 1 << max(len(bids), len(asks), 1).bit_length()
    computer = _computer(instrument.venue, Digits(instrument.price_scale, instrument.size_scale, price, size), room)
    return None if computer is None else computer.of_levels(bids, asks) == int(record["size"])


@functools.lru_cache(maxsize=1024)
def _computer(venue: str, digits: Digits, levels: int | None = None) -> BookChecksum | None:
    algorithm = ALGORITHMS.get(venue)
    if algorithm is None or not all(number <= MAX_SCALE for number in digits):
        return None
    return BookChecksum(algorithm if levels is None else algorithm._replace(levels=levels), digits)


def prepare_kernels() -> None:
    """Compile or load what a feed needs to keep a `DepthBook` and compare checksums."""
    book = DepthBook(1)
    book.snapshot(np.zeros((0, 3), np.int64))
    book.top(1)
    checksum = BookChecksum(ALGORITHMS["kraken"], Digits(0, 0, 0, 0))
    checksum.of_book(book)
    checksum.of_levels(*book.top(1))
