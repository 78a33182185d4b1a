"""Publishing and reading as one call from Python, which takes the segment by its address.

numba takes an array argument apart in each call and counts a reference to it, for 25 ns; a view of records as words is
an object that lives for one call, for 150 ns more. Here the segment is an integer, records are handed over as they are,
and the GIL is kept: to give it up and take it back is 40 ns, of a call that takes 100 ns and copies some KiB.

In plain Python a place is the array itself.
"""

from __future__ import annotations

from typing import Any, Final

import numba as untyped_numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from tickplant.kernels import JIT_ENABLED, brief_kernel
from tickplant.shm import protocol
from tickplant.shm.atomics import Words
from tickplant.shm.layout import RECORD_WORDS

numba: Any = untyped_numba  # what is used of it carries no types

Place = Any
"""Where words lie: their address, or without the JIT an array of them."""

Records = NDArray[Any]
"""Shape (n,), contiguous, of any dtype: nobody checks."""

_BYTES: Final = ir.IntType(8).as_pointer()


def place_of(words: Words) -> Place:
    """The place of an array, which the caller holds on to."""
    return words.ctypes.data if JIT_ENABLED else words


def words_at(place: Place, count: int) -> Words:
    """So many words at a place."""
    return place  # type: ignore[no-any-return]  # in plain Python it is what it stands for


def words_of(records: Records, count: int) -> Words:
    """The first `count` words of records."""
    return np.frombuffer(records, np.int64, count)


def _emit_pointer(_: Any, place: Any) -> Any:
    """An address as a pointer."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _BYTES)

    return types.voidptr(types.int64), code


def _emit_data(_: Any, records: Any) -> Any:
    """Where the memory of an array begins."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(context.make_array(records)(context, builder, arguments[0]).data, _BYTES)

    return types.voidptr(records), code


_carray: Any = numba.carray
_pointer: Any = intrinsic(_emit_pointer)
_data: Any = intrinsic(_emit_data)


@overload(words_at)
def _in_kernel_words_at(place: Any, count: Any) -> Any:
    def at(place: Any, count: Any) -> Any:
        return _carray(_pointer(place), count, np.int64)

    return at


@overload(words_of)
def _in_kernel_words_of(records: Any, count: Any) -> Any:
    def of(records: Any, count: Any) -> Any:
        return _carray(_data(records), count, np.int64)

    return of


@brief_kernel
def publish_at(place: Place, size: int, records: Records, count: int, done: int) -> int:
    """`protocol.publish` of `count` records, on the segment of `size` words at a place."""
    words = words_at(place, size)
    return protocol.publish(words, words_of(records, count * words[RECORD_WORDS]), done)


@brief_kernel
def read_at(place: Place, size: int, out: Records, base: int, most: int) -> int:
    """`protocol.read` of `most` records at most, into `out`, on the segment of `size` words at a place."""
    words = words_at(place, size)
    return protocol.read(words, words_of(out, most * words[RECORD_WORDS]), base)


@brief_kernel
def fall_asleep_at(place: Place, size: int, base: int) -> int:
    """`protocol.fall_asleep`, on the segment of `size` words at a place."""
    return protocol.fall_asleep(words_at(place, size), base)


@brief_kernel
def wake_up_at(place: Place, size: int, base: int) -> None:
    """`protocol.wake_up`, likewise."""
    protocol.wake_up(words_at(place, size), base)
