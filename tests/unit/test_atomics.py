"""The atomics: right values everywhere, and the right machine instructions where a kernel is compiled."""

from __future__ import annotations

import platform
import re
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickplant.kernels import JIT_ENABLED
from tickplant.shm import atomics

pytestmark = pytest.mark.kernels

compiled = pytest.mark.skipif(not JIT_ENABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT=1")


def exchange(words: atomics.Words, index: int, value: int) -> int:
    before = atomics.load_acquire(words, index)
    atomics.fence_acquire()
    atomics.spin_hint()
    atomics.fence_release()
    atomics.store_release(words, index, value)
    atomics.fence_seq_cst()
    return before


def move(target: atomics.Words, at: int, source: atomics.Words, begin: int, count: int) -> None:
    atomics.move_words(target, at, source, begin, count)


compiled_move: Any = numba.njit(move)
compiled_exchange: Any = numba.njit(exchange)  # not cached: numba does not show the code of what it loads from disk


def test_a_store_is_seen_by_the_next_load_and_touches_no_other_word() -> None:
    words = np.arange(5)
    assert compiled_exchange(words, 3, -(2**63)) == 3
    assert compiled_exchange(words, 3, 7) == -(2**63)
    assert words.tolist() == [0, 1, 2, 7, 4]


def test_outside_kernels_they_are_plain_functions() -> None:
    words = np.arange(3)
    atomics.store_release(words, 1, 9)
    assert atomics.load_acquire(words, 1) == 9
    assert words.tolist() == [0, 9, 2]


@given(
    words=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40),
    places=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_words_are_moved_as_slices_are_also_within_one_array(
    words: list[int], places: tuple[float, float, float]
) -> None:
    at, begin = (int(place * (len(words) - 1)) for place in places[:2])
    count = int(places[2] * (len(words) - max(at, begin)))
    source, target, own = (np.array(words, np.int64) for _ in range(3))
    expected = list(words)
    expected[at : at + count] = words[begin : begin + count]
    compiled_move(target, at, source, begin, count)
    compiled_move(own, at, own, begin, count)
    assert target.tolist() == own.tolist() == expected and source.tolist() == words


@compiled
def test_each_becomes_the_llvm_instruction_of_its_ordering() -> None:
    compiled_exchange(np.zeros(4, np.int64), 0, 0)
    ir = _ir(compiled_exchange)
    assert re.search(r"load atomic i64, .* acquire, align 8", ir)
    assert re.search(r"store atomic i64 .* release, align 8", ir)
    for ordering in ("acquire", "release", "seq_cst"):
        assert f"fence {ordering}" in ir


@compiled
def test_they_become_the_instructions_that_order_memory_on_this_machine() -> None:
    compiled_exchange(np.zeros(4, np.int64), 0, 0)
    assembly = next(iter(compiled_exchange.inspect_asm().values()))
    wanted = {
        "x86_64": [r"\bpause\b", r"\bmfence\b|\block\s+or"],  # the others order themselves
        "aarch64": [r"\byield\b", r"\bldapr|\bldar", r"\bstlr", r"\bdmb\s+ishld", r"\bdmb\s+ish\b"],
    }
    for instruction in wanted.get(platform.machine(), []):
        assert re.search(instruction, assembly), instruction


@compiled
def test_a_wrong_kind_of_array_does_not_compile() -> None:
    with pytest.raises((TypeError, numba.TypingError), match="int64 array is needed"):
        compiled_exchange(np.zeros(3, np.int32), 0, 0)
    with pytest.raises((TypeError, numba.TypingError), match="int64 array is needed"):
        compiled_exchange(np.zeros(6, np.int64)[::2], 0, 0)


def _ir(function: Any) -> str:
    """Optimised LLVM code of a compiled kernel."""
    return str(next(iter(function.inspect_llvm().values())))
