"""Memory of large answers: used again once nobody has it, and not before."""

from __future__ import annotations

import gc
import threading

import numpy as np
from numpy.typing import NDArray

from tickplant.store.answer_memory import LARGE_PAGE, AnswerMemory

WORD = np.dtype(np.int64)
ROWS = LARGE_PAGE // WORD.itemsize


def place_of(array: NDArray[np.int64]) -> int:
    return int(array.ctypes.data)


def test_memory_is_lent_again_when_nothing_refers_to_any_part_of_it_and_not_before() -> None:
    memory = AnswerMemory()
    first = memory.array(ROWS, WORD)
    assert (first.shape, first.dtype, place_of(first) % LARGE_PAGE) == ((ROWS,), WORD, 0)
    first[:] = 7
    place, part = place_of(first), first[5:9].view(np.uint64)
    del first
    second = memory.array(ROWS, WORD)
    second[:] = 1
    assert place_of(second) != place
    assert part.tolist() == [7] * 4
    del part
    gc.collect()
    assert memory.kept_bytes == LARGE_PAGE
    assert place_of(memory.array(ROWS - 1, WORD)) == place


def test_what_is_small_or_of_another_size_takes_new_memory() -> None:
    memory = AnswerMemory()
    large = memory.array(4 * ROWS, WORD)
    place = place_of(large)
    del large
    assert memory.kept_bytes == 4 * LARGE_PAGE
    assert place_of(memory.array(ROWS, WORD)) != place  # three quarters would be left over
    assert place_of(memory.array(3 * ROWS, WORD)) == place
    kept_bytes = memory.kept_bytes
    assert memory.array(8, WORD).shape == (8,)
    assert memory.array(0, WORD).shape == (0,)
    assert memory.kept_bytes == kept_bytes


def test_no_more_is_kept_than_was_agreed() -> None:
    memory = AnswerMemory(most_bytes=2 * LARGE_PAGE)
    answers = [memory.array(ROWS, WORD) for _ in range(5)]
    places = [place_of(answer) for answer in answers]
    while answers:
        answers.pop()
    assert memory.kept_bytes == 2 * LARGE_PAGE
    again = [memory.array(ROWS, WORD) for _ in range(2)]
    assert {place_of(answer) for answer in again} == set(places[:2])  # the last ones that came back
    assert memory.kept_bytes == 0


def test_two_threads_never_have_the_same_memory() -> None:
    memory = AnswerMemory()
    shared: list[int] = []

    def use(number: int) -> None:
        for _ in range(150):
            answer = memory.array(ROWS // 2, WORD)
            answer[:] = number
            held = answer[::1024].copy()
            if not (held == number).all() or int(answer.max()) != number or int(answer.min()) != number:
                shared.append(number)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared == []
    assert 0 < memory.kept_bytes <= 8 * LARGE_PAGE  # each takes the next before it lets go of the last
