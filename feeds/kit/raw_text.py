"""What kernels do with text at an address: load words, read digits eight at a time, find the end of plain text.

Each function here is an ordinary Python function that defines the result; inside a kernel numba replaces the call by
the machine code below. Text must be followed by PADDING, since eight bytes are loaded at a time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_cgutils
from numba.extending import intrinsic, overload

from tickplant.kernels import array_at, inlined, part

_cgutils: Any = untyped_cgutils  # numba's builder helpers carry no types

PADDING: Final = bytes(8)
"""Follows every text, so that loads beyond its end are safe."""

MAX: Final = 2**63 - 1
_WORD: Final = np.dtype(np.uint64)


def word_at(address: int) -> int:
    """The eight bytes at an address as a signed little-endian integer."""
    return ctypes.c_int64.from_address(address).value


def byte_at(address: int) -> int:
    """The byte at an address."""
    return ctypes.c_uint8.from_address(address).value


def put_word(address: int, value: int) -> None:
    """Store a signed integer at an address."""
    ctypes.c_int64.from_address(address).value = value


def digits_at(address: int) -> tuple[int, int]:
    """(number of leading digits among the eight bytes at an address, their value)."""
    count = value = 0
    while count < 8 and 48 <= (digit := byte_at(address + count)) <= 57:
        value = value * 10 + digit - 48
        count += 1
    return count, value


def plain_length(address: int, stop: int) -> int:
    """Number of leading bytes of plain text among the eight bytes at an address.

    Plain text is ASCII without controls, the quotation mark, the backslash and the byte `stop`.
    """
    count = 0
    while count < 8:
        c = byte_at(address + count)
        if c < 32 or c > 126 or c in (34, 92, stop):
            break
        count += 1
    return count


def zero_bytes(word: int) -> int:
    """Number of zero bytes among the eight bytes of a word, signed or not."""
    return (int(word) & 2**64 - 1).to_bytes(8, "little").count(0)


def mix(first: int, second: int, third: int) -> int:
    """A 31-bit hash of three words."""
    code = (first ^ second * 0x9E3779B97F4A7C15 ^ third * 0xC2B2AE3D27D4EB4F) & 0xFFFFFFFFFFFFFFFF
    return ((code ^ code >> 29) * 0xD6E8FEB86659FD93 & 0xFFFFFFFFFFFFFFFF) >> 33


# The code that numba emits instead.
Emitter = Callable[..., Any]


def _emit_load_word(typing_context: Any, address: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)

    return types.int64(types.int64), code


def _emit_load_byte(typing_context: Any, address: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        return builder.zext(builder.load(pointer), ir.IntType(64))

    return types.int64(types.int64), code


def _emit_store_word(typing_context: Any, address: Any, value: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        builder.store(arguments[1], pointer, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


def _emit_first_byte(typing_context: Any, marks: Any) -> Any:
    """Index of the lowest byte with a bit set; 8 if there is none."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))
        return builder.lshr(zeros, ir.Constant(ir.IntType(64), 3))

    return types.int64(types.uint64), code


def _emit_count_bits(typing_context: Any, word: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), code


_load_word: Any = intrinsic(_emit_load_word)
_load_byte: Any = intrinsic(_emit_load_byte)
_store_word: Any = intrinsic(_emit_store_word)
_first_byte: Any = intrinsic(_emit_first_byte)
_count_bits: Any = intrinsic(_emit_count_bits)


@overload(word_at)
def _in_kernel_word_at(address: Any) -> Emitter:
    def load(address: Any) -> Any:
        return _load_word(address)

    return load


@overload(byte_at)
def _in_kernel_byte_at(address: Any) -> Emitter:
    def load(address: Any) -> Any:
        return _load_byte(address)

    return load


@overload(put_word)
def _in_kernel_put_word(address: Any, value: Any) -> Emitter:
    def store(address: Any, value: Any) -> None:
        _store_word(address, value)

    return store


def _each(byte: int) -> np.uint64:
    return np.uint64(byte * 0x0101010101010101)


_ZEROS, _TOO_LARGE, _HIGH, _LOW, _ONES = _each(0x30), _each(0x76), _each(0x80), _each(0x7F), _each(1)
_QUOTES, _BACKSLASHES, _SPACES = _each(0x22), _each(0x5C), _each(0x20)
_PAIRS, _FOURS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_TEN, _HUNDRED, _MYRIAD, _EIGHT = np.uint64(10), np.uint64(100), np.uint64(10_000), np.uint64(8)
_SHIFT_16, _SHIFT_32, _SHIFT_29, _SHIFT_33 = np.uint64(16), np.uint64(32), np.uint64(29), np.uint64(33)
_FACTORS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0xD6E8FEB86659FD93)
_FACTOR_1, _FACTOR_2, _FACTOR_3 = _FACTORS


@overload(digits_at, jit_options={"forceinline": True})
def _in_kernel_digits_at(address: Any) -> Emitter:
    def digits(address: Any) -> Any:
        values = np.uint64(_load_word(address)) ^ _ZEROS
        # A carry comes from a byte that is not a digit, and affects only the bytes after it.
        count = _first_byte(((values + _TOO_LARGE) | values) & _HIGH)
        if count == 0:
            return 0, 0
        values <<= np.uint64(8 - count) * _EIGHT
        values = (values * _TEN + (values >> _EIGHT)) & _PAIRS
        values = (values * _HUNDRED + (values >> _SHIFT_16)) & _FOURS
        return count, np.int64((values * _MYRIAD + (values >> _SHIFT_32)) & np.uint64(0xFFFFFFFF))

    return digits


@overload(plain_length, jit_options={"forceinline": True})
def _in_kernel_plain_length(address: Any, stop: Any) -> Emitter:
    def length(address: Any, stop: Any) -> Any:
        word = np.uint64(_load_word(address))
        quote, backslash, other = word ^ _QUOTES, word ^ _BACKSLASHES, word ^ (np.uint64(stop) * _ONES)
        # Each term is exact up to its first hit, so the first of all hits is exact.
        marks = word | ((word + _ONES) & ~word) | ((word - _SPACES) & ~word) | ((quote - _ONES) & ~quote)
        marks |= ((backslash - _ONES) & ~backslash) | ((other - _ONES) & ~other)
        return _first_byte(marks & _HIGH)

    return length


@overload(zero_bytes, jit_options={"forceinline": True})
def _in_kernel_zero_bytes(word: Any) -> Emitter:
    def zeros(word: Any) -> Any:
        unsigned = np.uint64(word)
        return _count_bits(~(((unsigned & _LOW) + _LOW) | unsigned | _LOW))

    return zeros


@overload(mix, jit_options={"forceinline": True})
def _in_kernel_mix(first: Any, second: Any, third: Any) -> Emitter:
    def mixed(first: Any, second: Any, third: Any) -> Any:
        code = np.uint64(first) ^ np.uint64(second) * _FACTOR_1 ^ np.uint64(third) * _FACTOR_2
        return np.int64(((code ^ code >> _SHIFT_29) * _FACTOR_3) >> _SHIFT_33)

    return mixed


@inlined
def add_to_word(address: int, value: int) -> None:
    """Add to the signed integer at an address."""
    put_word(address, word_at(address) + value)


@part
def frame_end(at: int) -> int:
    """Address of the first NUL from `at` on."""
    while zero_bytes(word_at(at)) == 0:
        at += 8
    while byte_at(at) != 0:
        at += 1
    return at


@part
def is_separated(text: int, stop: int, frames: int) -> bool:
    """Whether none of these NUL-separated frames holds a NUL itself."""
    # Expected zeros: those between the frames, and the padding that fills the last word.
    words = array_at(text, ((stop - text + 7) >> 3,), _WORD)
    zeros = 0
    for k in range(len(words)):  # as elements of an array, not by address: LLVM sees that they lie in a row
        zeros += zero_bytes(words[k])
    return zeros == frames - 1 + (text - stop) % 8
