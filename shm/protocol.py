"""The ring protocol, step by step, as kernels. No I/O, no locks.

`words` is a whole segment as int64 words (`layout`). The process that holds the producer's lock calls the producer's
kernels. A process that holds a consumer's lock calls the consumer's kernels, with the `base` word of its slot. Each
step is a kernel of its own, so that a test can stop, or be killed, between any two; `publish` and `read` run them in
one call.

These invariants hold whichever process is killed, at whatever instant:

1. Positions below `cursor` are published: their records are whole, and never change while they are in the ring.
2. `start` <= `cursor` <= `intent` <= `limit` <= `cursor` + capacity.
3. Only slots of positions in [cursor, intent) are ever written. So the record at a published position p is intact if
   and only if p >= `intent` - capacity: a lossy reader copies first, then looks at `intent`.
4. `intent` never falls. A producer killed between `announce` and `advance` leaves some slots of [cursor, intent) half
   written, over positions below intent - capacity. Its successor continues at `cursor`. If the successor lowered
   `intent` to the end of its own, shorter batch, readers would again trust the ruined slots beyond it. Those slots
   become trustworthy by themselves, once the successor has published new records there.
5. Every gating position is >= `limit` - capacity, and the producer writes below `limit` only. A consumer that joins
   writes its position, then reads `limit`; the producer raises `limit`, then reads the positions again. Each has a
   seq-cst fence between its two steps, so at least one of them sees the other, and gives way.
"""

from __future__ import annotations

from typing import Final

from tickplant.kernels import BOUNDS_CHECKED, brief_kernel, kernel
from tickplant.shm.atomics import (
    Words,
    fence_acquire,
    fence_release,
    fence_seq_cst,
    load_acquire,
    move_words,
    spin_hint,
    store_release,
)
from tickplant.shm.layout import (
    CAPACITY,
    CONSUMER_COUNT,
    CONSUMER_WORDS,
    CONSUMERS,
    CURSOR,
    FREE,
    GATING,
    HEADER_WORDS,
    INTENT,
    JUMP_LOST,
    JUMP_POSITION,
    LIMIT,
    LOSSY,
    LOST,
    MAX_POSITION,
    MODE,
    NAPS,
    NEXT,
    POSITION,
    RECORD_WORDS,
    RUNG,
    START,
)

EVICTED: Final = -1
"""What a consumer's kernel returns once its slot has been taken away."""

COUNT_BITS: Final = 40
"""`publish` returns count | bells << COUNT_BITS."""

READ_ATTEMPTS: Final = 4
"""How often one read may try, when each time the producer overtakes everything that it copied."""


@kernel
def copy_words(target: Words, at: int, source: Words, begin: int, count: int) -> None:
    """Copy `count` words. Within a single array, `at` must not lie beyond `begin`.

    The copy uses the processor's widest moves: numba's loop, which handles negative indices, takes five times as long.
    """
    if BOUNDS_CHECKED:
        for i in range(count):
            target[at + i] = source[begin + i]
    else:
        move_words(target, at, source, begin, count)


# ---------------------------------------------------------------------------------------------------------------
# Producer.


@kernel
def gate(words: Words) -> int:
    """The lowest position that any gating consumer still needs; MAX_POSITION if there is no such consumer.

    Acquire: the consumers have read everything below, so it may be overwritten.
    """
    lowest = MAX_POSITION
    for slot in range(load_acquire(words, CONSUMER_COUNT)):
        base = CONSUMERS + slot * CONSUMER_WORDS
        if load_acquire(words, base + MODE) == GATING:
            lowest = min(lowest, load_acquire(words, base + POSITION))
    return lowest


@kernel
def room(words: Words) -> int:
    """How many records fit now, at most the capacity. A lower bound: room grows as consumers commit."""
    capacity: int = words[CAPACITY]
    cursor: int = words[CURSOR]
    return max(0, min(gate(words) - cursor + capacity, capacity))


@kernel
def grant(words: Words, count: int) -> int:
    """Raise `limit` so that `count` more records may be written, as far as consumers allow; returns how many may be.

    A grant asks for an eighth of the ring, or `count` if larger. So the producer rarely looks at the consumers' lines,
    and a consumer that joins late still finds old records to hold on to.
    """
    capacity: int = words[CAPACITY]
    cursor: int = words[CURSOR]
    granted: int = words[LIMIT]
    wanted = cursor + min(capacity, max(count, capacity >> 3))
    limit = max(granted, min(gate(words) + capacity, wanted))
    if limit > granted:
        # Writer: the producer. Release only keeps it atomic; the fence orders it before the second look (invariant 5).
        store_release(words, LIMIT, limit)
        fence_seq_cst()
        confirmed = max(granted, min(gate(words) + capacity, limit))
        if confirmed < limit:
            limit = confirmed
            store_release(words, LIMIT, limit)
    return limit - cursor


@kernel
def announce(words: Words, count: int) -> None:
    """Announce that the slots of the next `count` positions are about to change. Writer: the producer.

    The release fence orders `intent` before the copy: a reader that sees a changed byte, then fences, sees `intent`.
    """
    intent = words[CURSOR] + count
    if intent > words[INTENT]:
        store_release(words, INTENT, intent)
    fence_release()


@kernel
def copy_in(words: Words, source: Words, done: int, count: int) -> None:
    """Copy `count` records of `source`, from record `done` on, into the slots from `cursor` on. Plain stores."""
    record_words = words[RECORD_WORDS]
    capacity = words[CAPACITY]
    slot = words[CURSOR] & (capacity - 1)
    first = min(count, capacity - slot)
    copy_words(words, HEADER_WORDS + slot * record_words, source, done * record_words, first * record_words)
    copy_words(words, HEADER_WORDS, source, (done + first) * record_words, (count - first) * record_words)


@kernel
def advance(words: Words, count: int) -> None:
    """Publish. Release: a reader that sees the new cursor sees the records. Writer: the producer."""
    store_release(words, CURSOR, words[CURSOR] + count)


@kernel
def bells(words: Words) -> int:
    """Bit i is set if consumer i fell asleep and has not been rung since. Writer of `rung`: the producer.

    The seq-cst fence orders `cursor` before the look at `naps`; `fall_asleep` does the reverse. One notices the other.
    """
    fence_seq_cst()
    mask = 0
    for slot in range(load_acquire(words, CONSUMER_COUNT)):
        naps = load_acquire(words, CONSUMERS + slot * CONSUMER_WORDS + NAPS)
        if naps & 1 and naps != words[RUNG + slot]:
            words[RUNG + slot] = naps
            mask |= 1 << slot
    return mask


@kernel
def publish(words: Words, source: Words, done: int) -> int:
    """Publish records of `source`, from record `done` on: as many as fit, but at most a quarter of the ring.

    A step of a whole ring would leave no record intact for lossy readers. Returns count | bells << COUNT_BITS.
    """
    capacity = words[CAPACITY]
    count: int = min(source.size // words[RECORD_WORDS] - done, max(capacity >> 2, 1))
    free: int = words[LIMIT] - words[CURSOR]
    if free < count:
        free = grant(words, count)
    count = min(count, free)
    if count <= 0:
        return 0
    announce(words, count)
    copy_in(words, source, done, count)
    advance(words, count)
    return count | bells(words) << COUNT_BITS


@kernel
def take_over(words: Words) -> int:
    """Make a dead producer's header safe to continue from; returns the bells to ring.

    The predecessor may have died between raising `limit` and its second look. So `limit` falls back to `intent`, which
    never exceeds a confirmed limit. The predecessor may also have died before ringing, so every sleeper is rung again.
    """
    store_release(words, LIMIT, words[INTENT])
    for slot in range(load_acquire(words, CONSUMER_COUNT)):
        words[RUNG + slot] = 0
    return bells(words)


@kernel
def count_up(words: Words, word: int, count: int) -> None:
    """Add to one of the producer's counters. Writer: the producer; ordering does not matter."""
    store_release(words, word, words[word] + count)


# ---------------------------------------------------------------------------------------------------------------
# Consumer.


@kernel
def join(words: Words, base: int, mode: int, position: int) -> int:
    """Start reading at `position`; a gating consumer may start later, at the first position safe from overwriting.

    Returns the position. Writer: the holder of the consumer's lock. Invariant 5 says why the position is safe in time.
    """
    if mode == GATING:
        position = max(position, words[START], load_acquire(words, LIMIT) - words[CAPACITY])
    store_release(words, base + POSITION, position)
    store_release(words, base + NEXT, position)
    store_release(words, base + MODE, mode)
    fence_seq_cst()
    if mode == GATING:
        position = max(position, load_acquire(words, LIMIT) - words[CAPACITY])
        store_release(words, base + POSITION, position)
        store_release(words, base + NEXT, position)
    return position


@kernel
def leave(words: Words, base: int) -> None:
    """Free the slot. Release: earlier reads are complete. Writer: the holder of the consumer's lock, or the evictor."""
    store_release(words, base + MODE, FREE)


@kernel
def available(words: Words, base: int) -> int:
    """How many published records lie ahead. Acquire: those records may be read."""
    ahead: int = load_acquire(words, CURSOR) - words[base + NEXT]
    return ahead


@kernel
def jump(words: Words, base: int, position: int) -> None:
    """Give up the records from `next` to `position`: count them as lost, and continue there. Writer: the consumer.

    Two words must change together, even if the process is killed in between. So the jump is written down first, with
    `jump_position` last, and `resume` repeats it if `position` has not reached that value.
    """
    lost = words[base + LOST] + position - words[base + NEXT]
    store_release(words, base + JUMP_LOST, lost)
    store_release(words, base + JUMP_POSITION, position)
    store_release(words, base + LOST, lost)
    store_release(words, base + NEXT, position)
    store_release(words, base + POSITION, position)


@kernel
def resume(words: Words, base: int) -> int:
    """Finish the jump of a killed predecessor; returns where to continue. Writer: the holder of the consumer's lock."""
    if words[base + MODE] == LOSSY and words[base + JUMP_POSITION] > words[base + POSITION]:
        store_release(words, base + LOST, words[base + JUMP_LOST])
        store_release(words, base + POSITION, words[base + JUMP_POSITION])
    position: int = words[base + POSITION]
    return position


@kernel
def skip_overwritten(words: Words, base: int, head: int) -> None:
    """Lossy: if the next record is already overwritten, continue an eighth of the ring after the oldest intact one.

    Without that distance, the producer would overtake the next copy as well.
    """
    capacity = words[CAPACITY]
    position = words[base + NEXT]
    oldest = load_acquire(words, INTENT) - capacity
    if position < oldest:
        jump(words, base, max(position, min(head, oldest + (capacity >> 3))))


@kernel
def copy_out(words: Words, out: Words, base: int, count: int) -> None:
    """Copy the next `count` records to the front of `out`. Plain loads: they may be torn until `settle` has checked."""
    record_words = words[RECORD_WORDS]
    capacity = words[CAPACITY]
    slot = words[base + NEXT] & (capacity - 1)
    first = min(count, capacity - slot)
    copy_words(out, 0, words, HEADER_WORDS + slot * record_words, first * record_words)
    copy_words(out, first * record_words, words, HEADER_WORDS, (count - first) * record_words)


@kernel
def settle(words: Words, out: Words, base: int, count: int) -> int:
    """Keep the copied records that were not overwritten meanwhile, at the front of `out`; returns how many.

    The acquire fence orders the copy before the look at `mode` and `intent`: if any copied byte came from a later
    record, or from a slot that an eviction had given away, this look reveals it. Writer: the consumer.
    """
    fence_acquire()
    mode = load_acquire(words, base + MODE)
    if mode == FREE:
        return EVICTED
    if mode == LOSSY:
        oldest = load_acquire(words, INTENT) - words[CAPACITY]
        ruined = min(max(oldest - words[base + NEXT], 0), count)
        if ruined > 0:
            jump(words, base, words[base + NEXT] + ruined)
            count -= ruined
            record_words = words[RECORD_WORDS]
            copy_words(out, 0, out, ruined * record_words, count * record_words)
    store_release(words, base + NEXT, words[base + NEXT] + count)
    return count


@kernel
def finish(words: Words, base: int) -> int:
    """Lossy: the consumer asks for more, so it is done with earlier records. Returns its mode. Writer: the consumer."""
    mode = load_acquire(words, base + MODE)
    if mode == LOSSY:
        store_release(words, base + POSITION, words[base + NEXT])
    return mode


@kernel
def read(words: Words, out: Words, base: int) -> int:
    """Copy the next records into `out`, as many as fit; returns how many, or EVICTED."""
    mode = finish(words, base)
    if mode == FREE:
        return EVICTED
    space = out.size // words[RECORD_WORDS]
    for _ in range(READ_ATTEMPTS):
        head = load_acquire(words, CURSOR)
        if mode == LOSSY:
            skip_overwritten(words, base, head)
        count = min(head - words[base + NEXT], space)
        copy_out(words, out, base, count)
        kept = settle(words, out, base, count)
        if kept != 0 or count == 0:
            return kept
    return 0


@brief_kernel
def commit(words: Words, base: int, position: int) -> int:
    """Give the records below `position` back to the producer; returns EVICTED or 0. Writer: the consumer.

    Release: the records have been read before the producer may overwrite them.
    """
    if load_acquire(words, base + MODE) == FREE:
        return EVICTED
    store_release(words, base + POSITION, position)
    return 0


@kernel
def spin(words: Words, base: int, turns: int) -> bool:
    """Look at the cursor up to `turns` times; returns whether there are records to read."""
    for _ in range(turns):
        if load_acquire(words, CURSOR) != words[base + NEXT]:
            return True
        spin_hint()
    return False


@brief_kernel
def fall_asleep(words: Words, base: int) -> int:
    """Ask to be rung. Returns 1 if asleep; 0 if there are records to read; or EVICTED. Writer: the consumer.

    The seq-cst fence orders `naps` before the look at `cursor`; `bells` does the reverse.
    """
    if finish(words, base) == FREE:
        return EVICTED
    store_release(words, base + NAPS, words[base + NAPS] | 1)
    fence_seq_cst()
    if load_acquire(words, CURSOR) == words[base + NEXT]:
        return 1
    wake_up(words, base)
    return 0


@brief_kernel
def wake_up(words: Words, base: int) -> None:
    """Stop being rung. Each sleep has its own odd number, so it is rung for only once. Writer: the consumer."""
    store_release(words, base + NAPS, (words[base + NAPS] + 1) & ~1)
