"""Acquire loads, release stores, fences, and copies of words, for kernels.

Each function is ordinary Python that says what it does. Inside a kernel, numba replaces the call with one LLVM
instruction. Called from plain Python, or with `NUMBA_DISABLE_JIT=1`, the functions order nothing between processes:
go through a kernel. The orderings are those of C++11.

`words` is always a C-contiguous, aligned array of shape (n,) and dtype int64, so every access is one naturally
aligned 8-byte word, which no x86-64 or arm64 processor tears.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils as untyped_cgutils
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

Words = NDArray[np.int64]

WORD_BYTES: Final = 8

_cgutils: Any = untyped_cgutils  # numba's builder helpers carry no types


def load_acquire(words: Words, index: int) -> int:
    """`words[index]`; no later load or store moves before it."""
    return int(words[index])


def store_release(words: Words, index: int, value: int) -> None:
    """`words[index] = value`; no earlier load or store moves after it."""
    words[index] = value


def fence_acquire() -> None:
    """Loads before the fence stay before all loads and stores after it."""


def fence_release() -> None:
    """Loads and stores before the fence stay before all stores after it."""


def fence_seq_cst() -> None:
    """Both of the above; also, stores before the fence stay before loads after it, as Dekker's handshake needs."""


def spin_hint() -> None:
    """Tell the processor that this loop waits for another core."""


def move_words(target: Words, at: int, source: Words, begin: int, count: int) -> None:
    """`target[at : at + count] = source[begin : begin + count]`; the two may overlap. Bounds are not checked."""
    target[at : at + count] = source[begin : begin + count]


# What numba emits instead. An emitter takes the types of the arguments, and returns the signature and the code.
Emitter = Callable[..., Any]


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    view = context.make_array(array_type)(context, builder, array)
    return _cgutils.get_item_pointer(context, builder, array_type, view, [index], wraparound=False)


def _check(words: Any) -> None:
    if not (isinstance(words, types.Array) and words.dtype == types.int64 and words.layout == "C" and words.ndim == 1):
        raise TypeError(f"an aligned one-dimensional int64 array is needed, not {words}")


def _emit_load(ordering: str) -> Emitter:
    def emit(typing_context: Any, words: Any, index: Any) -> Any:
        _check(words)

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = _pointer(context, builder, signature.args[0], *arguments)
            return builder.load_atomic(pointer, ordering, WORD_BYTES)

        return types.int64(words, types.intp), code

    return emit


def _emit_store(ordering: str) -> Emitter:
    def emit(typing_context: Any, words: Any, index: Any, value: Any) -> Any:
        _check(words)

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array, position, number = arguments
            builder.store_atomic(
                number, _pointer(context, builder, signature.args[0], array, position), ordering, WORD_BYTES
            )
            return context.get_dummy_value()

        return types.void(words, types.intp, types.int64), code

    return emit


def _emit_fence(ordering: str) -> Emitter:
    def emit(typing_context: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.fence(ordering)
            return context.get_dummy_value()

        return types.void(), code

    return emit


def _emit_move(typing_context: Any, target: Any, at: Any, source: Any, begin: Any, count: Any) -> Any:
    """The C library's memmove, through LLVM."""
    for words in (target, source):
        _check(words)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        into, at, of, begin, count = arguments
        to = _pointer(context, builder, signature.args[0], into, at)
        from_ = _pointer(context, builder, signature.args[2], of, begin)
        _cgutils.raw_memmove(builder, to, from_, count, WORD_BYTES)
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp, types.intp), code


def _emit_spin_hint(typing_context: Any) -> Any:
    """`pause` on x86, `yield` on arm64, nothing elsewhere."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        machine = platform.machine()
        if machine == "x86_64":
            pause = ir.FunctionType(ir.VoidType(), [])
            builder.call(_cgutils.get_or_insert_function(builder.module, pause, "llvm.x86.sse2.pause"), [])
        elif machine == "aarch64":
            hint = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            yield_now = ir.Constant(ir.IntType(32), 1)
            builder.call(_cgutils.get_or_insert_function(builder.module, hint, "llvm.aarch64.hint"), [yield_now])
        return context.get_dummy_value()

    return types.void(), code


_load_acquire: Any = intrinsic(_emit_load("acquire"))
_store_release: Any = intrinsic(_emit_store("release"))
_fence_acquire: Any = intrinsic(_emit_fence("acquire"))
_fence_release: Any = intrinsic(_emit_fence("release"))
_fence_seq_cst: Any = intrinsic(_emit_fence("seq_cst"))
_move_words: Any = intrinsic(_emit_move)
_spin_hint: Any = intrinsic(_emit_spin_hint)


@overload(load_acquire)
def _in_kernel_load_acquire(words: Any, index: Any) -> Emitter:
    def load(words: Any, index: Any) -> Any:
        return _load_acquire(words, index)

    return load


@overload(store_release)
def _in_kernel_store_release(words: Any, index: Any, value: Any) -> Emitter:
    def store(words: Any, index: Any, value: Any) -> None:
        _store_release(words, index, value)

    return store


@overload(fence_acquire)
def _in_kernel_fence_acquire() -> Emitter:
    def fence() -> None:
        _fence_acquire()

    return fence


@overload(fence_release)
def _in_kernel_fence_release() -> Emitter:
    def fence() -> None:
        _fence_release()

    return fence


@overload(fence_seq_cst)
def _in_kernel_fence_seq_cst() -> Emitter:
    def fence() -> None:
        _fence_seq_cst()

    return fence


@overload(spin_hint)
def _in_kernel_spin_hint() -> Emitter:
    def hint() -> None:
        _spin_hint()

    return hint


@overload(move_words)
def _in_kernel_move_words(target: Any, at: Any, source: Any, begin: Any, count: Any) -> Emitter:
    def move(target: Any, at: Any, source: Any, begin: Any, count: Any) -> None:
        _move_words(target, at, source, begin, count)

    return move
