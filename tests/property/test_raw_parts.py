"""The parts that kernels read text with: numbers, times and JSON values, each exact or refused."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickplant.feeds.kit.json_values import value_end
from tickplant.feeds.kit.numbers import epoch_ns
from tickplant.feeds.kit.raw_numbers import EPOCH, RFC3339, SECONDS, decimal_at, int_at, time_at
from tickplant.feeds.kit.raw_text import PADDING
from tickplant.feeds.kit.rejected import RejectError
from tickplant.kernels import kernel

pytestmark = pytest.mark.kernels


@kernel
def decimal(at: int) -> tuple[int, int, int]:
    return decimal_at(at)


@kernel
def integer(at: int) -> tuple[int, int]:
    return int_at(at)


@kernel
def time(at: int, form: int) -> tuple[int, int]:
    return time_at(at, form)


@kernel
def value_after(at: int) -> int:
    return value_end(at)


class Placed:
    """Text where a kernel can read it; `length` of what a kernel has read up to an address, -1 where it refused."""

    def __init__(self, text: str | bytes) -> None:
        text = text.encode() if isinstance(text, str) else text
        self._array = np.frombuffer(text + PADDING, np.uint8)
        self.at = self._array.ctypes.data

    def length(self, end: int) -> int:
        return end - self.at if end >= 0 else -1


odd = st.sampled_from(
    ["0", "0.00000000", "00.5", "5.", ".5", "", "-1", "+1", "1e3", "0.0000000000", "1_0", "٣", "92233720368.54775807"]
)
long = st.integers(0, 2**70).map(str)
number = st.one_of(st.decimals(0, 10**9, places=8).map(lambda value: format(value, "f")), odd, long)


@settings(max_examples=300)
@given(number, st.sampled_from(['"', ",", "}", ""]))
def test_a_decimal_is_read_exactly_or_refused(text: str, behind: str) -> None:
    placed = Placed(text + behind)
    end, mantissa, decimals = decimal(placed.at)
    if (length := placed.length(end)) >= 0:
        assert Decimal(text[:length]).scaleb(decimals) == mantissa < 2**63
        assert length == len(text) or text[length] not in ".0123456789"
    end, value = integer(placed.at)
    if (length := placed.length(end)) >= 0:
        assert int(text[:length]) == value < 2**63


@settings(max_examples=200)
@given(st.decimals(0, 10**9, places=8), st.integers(0, 2**63 - 1))
def test_what_venues_send_is_read(value: Decimal, ident: int) -> None:
    placed = Placed(format(value, "f") + '"')
    assert decimal(placed.at) == (placed.at + len(format(value, "f")), int(value.scaleb(8)), 8)
    placed = Placed(f"{ident},")
    assert integer(placed.at) == (placed.at + len(str(ident)), ident)


times = st.sampled_from([0, 1, 1_700_000_000_000_123, 10**13, 10**14, 10**16, 10**17, 10**18, 2**63 - 1, 2**63])


@settings(max_examples=300)
@given(st.one_of(st.integers(0, 2**63 - 1), st.integers(0, 10**14), times))
def test_a_time_equals_the_reference(value: int) -> None:
    placed = Placed(f"{value},")
    try:
        expected = epoch_ns(value) if value < 2**63 else -1
    except RejectError:
        expected = -1
    end, found = time(placed.at, EPOCH)
    assert (found if end >= 0 else -1) == expected


@settings(max_examples=300)
@given(st.datetimes(), st.integers(0, 999), st.integers(0, 9))
def test_a_clock_time_is_exact_to_the_nanosecond(when: object, ns: int, digits: int) -> None:
    fraction = f"{when.microsecond:06}{ns:03}"[:digits]  # type: ignore[attr-defined]
    text = f"{when:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + (f".{fraction}" if fraction else "") + "Z"
    placed = Placed(text)
    end, found = time(placed.at, RFC3339)
    second = int(np.datetime64(text[:19], "s").astype(np.int64))
    year = int(text[:4])
    assert placed.length(end) == (len(text) if 1970 <= year <= 2261 else -1)
    if end >= 0:
        assert found == second * 10**9 + int(fraction.ljust(9, "0"))
    placed = Placed(f'{abs(second)}.{fraction or "0"}"')
    end, found = time(placed.at, SECONDS)
    if abs(second) < 9 * 10**9:
        assert found == abs(second) * 10**9 + int(fraction.ljust(9, "0"))


FURTHER = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text('aZ09 "\\/\n\t\u0001é测\U0001f600', max_size=12),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["e", "", "long key", '"', "\\"]), inner, max_size=3),
    ),
    max_leaves=6,
)


@settings(max_examples=300)
@given(FURTHER, st.booleans(), st.data())
def test_a_value_that_nobody_reads_ends_where_it_ends_or_is_refused(
    value: object, plain: bool, data: st.DataObject
) -> None:
    raw = json.dumps(value, separators=(",", ":"), ensure_ascii=plain).encode()
    placed = Placed(raw + b",]")
    assert placed.length(value_after(placed.at)) in (-1, len(raw))
    spoilt = bytearray(raw)
    spoilt[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.sampled_from(b'0"\\.,:-e{}[]tn \x00'))
    placed = Placed(bytes(spoilt) + b",]")
    if (length := placed.length(value_after(placed.at))) >= 0:
        json.loads(bytes(spoilt)[:length])


def test_plain_values_are_not_refused() -> None:
    for value in (
        '{"a":[1,{"b":"]}\\"\\\\"},[]],"":{}}',
        '[[],[true,false,null],"\\u00e9\\/"]',
        "-0.25e-3",
        "[" * 30 + "]" * 30,
    ):
        placed = Placed(value + "}")
        assert placed.length(value_after(placed.at)) == len(value)
    for value in (
        "[" * 31 + "]" * 31,
        "1" * 41,
        "1e100",
        '"\\ud800"',
        '"é"',
        "tru",
        "nul",
        "-",
        "[1,]",
        '{"a"}',
        "[1 ]",
    ):
        placed = Placed(value + "}")
        assert value_after(placed.at) == -1
