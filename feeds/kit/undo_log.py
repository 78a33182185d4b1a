"""A frame's changes of the state table, kept so that a frame that fits no shape leaves no trace."""

from __future__ import annotations

from tickplant.feeds.kit import shape_program as prog
from tickplant.feeds.kit.raw_text import put_word, word_at
from tickplant.kernels import inlined, part


@part
def undo(context: int, first: int, changes: int) -> None:
    """Undo the changes `first` … `changes - 1` of a frame, newest first."""
    for k in range(changes - 1, first - 1, -1):
        entry = context + 8 * prog.UNDO + 16 * k
        put_word(word_at(entry), word_at(entry + 8))


@inlined
def change(context: int, changes: int, address: int, value: int) -> None:
    """Store a word as change number `changes` of the frame; the caller checks the capacity."""
    entry = context + 8 * prog.UNDO + 16 * changes
    put_word(entry, address)
    put_word(entry + 8, word_at(address))
    put_word(address, value)


@inlined
def count_on(context: int, changes: int, number: int) -> bool:
    """Whether the frame is its connection's next, and then count it as change `changes`. False if the log is full."""
    counted = context + 8 * prog.COUNTED
    if number != word_at(counted) + 1 or changes == prog.MAX_UNDO:
        return False
    change(context, changes, counted, number)
    return True
