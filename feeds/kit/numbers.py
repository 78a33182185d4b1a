"""Numbers and times of messages, exactly, for reference decoders."""

from __future__ import annotations

from typing import Final

from tickplant.feeds.kit.rejected import RejectError
from tickplant.instruments import parse_decimal, to_mantissa

_MOST: Final = 2**63 - 1


def price(text: str, scale: int) -> int:
    """Mantissa of a price, exactly. Raises RejectError "scale" where it does not fit, "value" where it is no number."""
    try:
        return to_mantissa(text, scale)
    except ValueError as error:
        raise RejectError("scale" if _is_decimal(text) else "value", str(error)) from None


def size(text: str, scale: int) -> int:
    """Mantissa of a size, exactly. Raises RejectError as `price` does, also where it is negative."""
    mantissa = price(text, scale)
    if mantissa < 0:
        raise RejectError("value", f"the size {text} is negative")
    return mantissa


def _is_decimal(text: str) -> bool:
    try:
        parse_decimal(text)
    except ValueError:
        return False
    return True
