"""Publishing and reading as a single call from Python, which passes the segment by address.

numba unpacks an array argument at each call and counts a reference to it, which costs 25 ns; a view of records as words
is an object that lives for one call, which costs another 150 ns. Here the segment is an integer, and records are passed
as they are. The GIL is kept: releasing and retaking it would add 40 ns to a call of 100 ns that copies a few KiB.

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

numba: Any = untyped_numba  # the parts used here carry no types

Place = Any
"""Where words lie: their address, or without the JIT the array itself."""

Records = NDArray[Any]
"""Shape (n,), contiguous, of any dtype: not checked."""

_BYTES: Final = ir.IntType(8).as_pointer()


def place_of(words: Words) -> Place:
    """The place of an array. The caller must keep the array alive."""
    return words.ctypes.data if JIT_ENABLED else words


def words_at(place: Place, count: int) -> Words:
    """The `count` words at a place."""
    return place  # type: ignore[no-any-return]  # in plain Python a place is the array itself


def words_of(records: Records, count: int) -> Words:
    """The first `count` words of records."""
    return np.frombuffer(records, np.int64, count)


def _emit_pointer(_: Any, place: Any) -> Any:
    """An address as a pointer."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _BYTES)

    return types.voidptr(types.int64), code


def _emit_data(_: Any, records: Any) -> Any:
    """A pointer to the start of an array's memory."""

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
    """`protocol.publish` for `count` records, on the segment of `size` words at a place."""
    words = words_at(place, size)
    return protocol.publish(words, words_of(records, count * words[RECORD_WORDS]), done)


@brief_kernel
def read_at(place: Place, size: int, out: Records, base: int, most: int) -> int:
    """`protocol.read` for up to `most` records, into `out`, on the segment of `size` words at a place."""
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
