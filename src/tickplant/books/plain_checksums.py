"""What the kernels of `checksums` must compute, with strings and Decimals: slow and obvious on purpose."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from decimal import Decimal

from tickplant.books.checksums import Algorithm, Digits, Form, Order

Levels = Sequence[tuple[int, int]]


def number_text(mantissa: int, scale: int, decimals: int, form: Form) -> str:
    """One number as a venue prints it. Raises ValueError if it has more decimals than that."""
    text = f"{abs(Decimal(mantissa)).scaleb(-scale):f}"
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    if form != Form.SHORTEST:
        if len(fraction) > decimals:
            raise ValueError(f"{text} has more than {decimals} decimals")
        fraction = fraction.ljust(decimals, "0")
    sign = "-" if mantissa < 0 else ""
    if form == Form.DIGITS:
        return sign + (whole + fraction).lstrip("0")
    return sign + whole + ("." + fraction if fraction else "")


def book_text(algorithm: Algorithm, digits: Digits, bids: Levels, asks: Levels) -> str:
    """The text over which the checksum of a book, given best first, is computed. Raises ValueError as `number_text`."""

    def numbers(level: tuple[int, int]) -> list[str]:
        return [
            number_text(level[0], digits.price_scale, digits.price, algorithm.form),
            number_text(level[1], digits.size_scale, digits.size, algorithm.form),
        ]

    best_bids, best_asks = bids[: algorithm.levels], asks[: algorithm.levels]
    if algorithm.order == Order.ASKS_BIDS:
        chosen = [*best_asks, *best_bids]
    else:
        pairs = itertools.zip_longest(best_bids, best_asks)
        chosen = [level for pair in pairs for level in pair if level is not None]
    return algorithm.separator.join(text for level in chosen for text in numbers(level))


def book_checksum(algorithm: Algorithm, digits: Digits, bids: Levels, asks: Levels) -> int | None:
    """The checksum; None if a number has more decimals than the venue prints."""
    try:
        number = zlib.crc32(book_text(algorithm, digits, bids, asks).encode("ascii"))
    except ValueError:
        return None
    return number - (1 << 32) if algorithm.signed and number >= 1 << 31 else number
