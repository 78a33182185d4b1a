"""The kernel that reads frames by shape: it walks text and program together, and writes rows.

    frames, joined by NULs ──┐
    program (shapes.py) ─────┼──> walk ──> rows behind the batch, ids in the state table, gifts for the adapter
    symbols, state table ────┘

Each frame is tried against one shape after the other. A frame that deviates by one byte, or has a number that does not
fit or an id out of line, is undone and left to the reference decoder. Everything is passed by address, in a context of
words, and as integers, since each array argument costs a call more than reading a quote does; `shape_reader.py` owns
the arrays. Rows, undo log, fields and gifts have a fixed capacity, which the kernel checks. tests/property holds the
kernel equal to a plain reading.
"""

from __future__ import annotations

import numpy as np

from tickplant.feeds.kit import shape_program as prog
from tickplant.feeds.kit.json_values import number_end, plain_end, value_end
from tickplant.feeds.kit.raw_numbers import UUID, bytes_at, decimal_at, int_at, joined, rescale, time_at
from tickplant.feeds.kit.raw_text import PADDING, add_to_word, byte_at, frame_end, is_separated, put_word, word_at
from tickplant.feeds.kit.shape_events import ROW_BYTES, flag_last, put_gift, put_level, stamp, stamp_rows
from tickplant.feeds.kit.shape_literals import literal_end, literal_with_further
from tickplant.feeds.kit.state_table import (
    ID_RESET_NS,
    INSTRUMENT,
    NONE,
    PRICE_SCALE,
    RECENT,
    RECENT_PAIRS,
    SIZE_SCALE,
)
from tickplant.feeds.kit.symbols import SYMBOL_BYTES, find_symbol
from tickplant.feeds.kit.undo_log import change, count_on, undo
from tickplant.kernels import kernel
from tickplant.records.batch import KIND_SHIFT, PACKED, SIDE_SHIFT

_COMMA, _OPEN_LIST, _CLOSE_LIST = (ord(c) for c in ",[]")


@kernel
def walk(context: int, text: int, text_bytes: int, frames: int, ts_recv: int, length: int) -> int:
    """Read frames from word FRAME of the context on, until all are read or one needs the adapter.

    Args:
        context: address of CONTEXT_WORDS words, described in `shape_program.py`.
        text: address of the frames, joined by NULs and followed by PADDING.
        text_bytes: length of the frames and the NULs between them.
        frames: number of frames; at least 1.
        ts_recv: their receive time, ns.
        length: number of rows in the batch; new rows are written behind them.

    Returns:
        The new length, the frame that stopped the kernel, and ALL_READ, FOR_REFERENCE, FRAME_GIVEN, NO_ROOM or
        NOT_SEPARATED, encoded as in `shape_program.py`. Rows that are given lie behind the length.
    """
    code = word_at(context + 8 * prog.CODE)
    symbols = word_at(context + 8 * prog.SYMBOLS)
    entries, mask = word_at(symbols), word_at(symbols + 8)
    state, state_row_bytes = word_at(context + 8 * prog.STATE), word_at(context + 8 * prog.STATE_ROW_BYTES)
    rows = word_at(context + 8 * prog.ROWS)
    limit = rows + ROW_BYTES * word_at(context + 8 * prog.CAPACITY)
    fields = context + 8 * prog.FIELDS
    shapes = word_at(code)
    stop = text + text_bytes
    frame = word_at(context + 8 * prog.FRAME)
    start = text + word_at(context + 8 * prog.POSITION)
    done = rows + ROW_BYTES * length
    row = done
    duplicates = given = 0
    outcome = prog.ALL_READ
    if frames > 1 and start == text and not is_separated(text, stop, frames):
        return length << prog.LENGTH_SHIFT | prog.NOT_SEPARATED

    while frame < frames:
        outcome = prog.FOR_REFERENCE
        furthest = start - 1
        shared = 0
        shape = -1
        retry = 0  # next choice for an element that does not fit; below, the state before that element:
        changes = kept_at = kept_row = kept_changes = kept_duplicates = kept_given = 0
        while shape + 1 < shapes or retry != 0:
            if retry != 0:
                undo(context, kept_changes, changes)
                at, row, changes, pc = kept_at, kept_row, kept_changes, retry
                duplicates, given = kept_duplicates, kept_given
            else:
                shape += 1
                pc = word_at(code + 16 + 16 * shape)
                if pc == 0:
                    pc = word_at(code + 8 + 16 * shape)
                    at = start
                    shared = 0
                elif shared == 0:
                    continue  # fails where the previous shape did
                else:
                    at = shared
                row = mark = done
                slot = NONE
                changes = duplicates = given = 0
            pc = code + 8 * pc
            ended = False  # the text has been read: a refusal from here on refuses the frame for every shape
            while True:
                op = word_at(pc)
                if op == prog.LITERAL:
                    if (word_at(at) ^ word_at(pc + 24)) & word_at(pc + 32):
                        cells = word_at(pc + 16)
                        end = literal_with_further(at, code + 8 * cells, code) if cells else -1
                        if end < 0:
                            break
                        at = end
                    else:
                        at += word_at(pc + 8)
                    pc += 40
                elif op == prog.DECIMAL:
                    end, value, decimals = decimal_at(at)
                    if end < 0 or value < word_at(pc + 16):
                        break
                    at = end
                    field = fields + word_at(pc + 8)
                    put_word(field, value)
                    put_word(field + 8, decimals)
                    pc += 24
                elif op == prog.INT:
                    end, value = int_at(at)
                    if end < 0:
                        break
                    at = end
                    put_word(fields + word_at(pc + 8), value)
                    pc += 16
                elif op == prog.LONG_LITERAL:
                    whole = word_at(pc + 24)
                    words = pc + 40
                    k = 0
                    while k < whole and word_at(at + 8 * k) == word_at(words + 8 * k):
                        k += 1
                    if k < whole or (word_at(at + 8 * k) ^ word_at(words + 8 * k)) & word_at(pc + 32):
                        cells = word_at(pc + 16)
                        end = literal_with_further(at, code + 8 * cells, code) if cells else -1
                        if end < 0:
                            break
                        at = end
                    else:
                        at += word_at(pc + 8)
                    pc = words + 8 * whole + 8
                elif op == prog.SYMBOL:
                    end = plain_end(at, word_at(pc + 8))
                    if end == at or end - at > SYMBOL_BYTES:
                        break
                    slot = find_symbol(at, end - at, entries, mask)
                    if slot < 0:
                        break
                    at = end
                    pc += 16
                elif op == prog.TEXT:
                    at = plain_end(at, word_at(pc + 8))
                    pc += 16
                elif op == prog.SHARED:
                    shared = at
                    pc += 8
                elif op == prog.WORD:
                    word = word_at(at)
                    choice = pc + 24
                    k = word_at(pc + 16)
                    while k > 0 and (word ^ word_at(choice + 8)) & word_at(choice + 16):
                        choice += 48
                        k -= 1
                    if k == 0:
                        break
                    if word_at(choice) > 8 and (word_at(at + 8) ^ word_at(choice + 32)) & word_at(choice + 40):
                        break
                    at += word_at(choice)
                    put_word(fields + word_at(pc + 8), word_at(choice + 24))
                    pc += 24 + 48 * word_at(pc + 16)
                elif op == prog.TIME:
                    end, value = time_at(at, word_at(pc + 16))
                    field = fields + word_at(pc + 8)
                    value = joined(word_at(field), value, word_at(pc + 16))
                    if end < 0 or (value < 0 and word_at(pc + 16) != UUID):
                        break
                    at = end
                    put_word(field, value)
                    pc += 24
                elif op == prog.LEVELS:
                    state_row = state + state_row_bytes * slot
                    packed = word_at(pc + 8) | word_at(state_row + 8 * INSTRUMENT)
                    price_scale, size_scale = word_at(state_row + 8 * PRICE_SCALE), word_at(state_row + 8 * SIZE_SCALE)
                    if byte_at(at) != _OPEN_LIST:
                        break
                    at += 1
                    if byte_at(at) == _CLOSE_LIST:
                        at += 1
                        pc += 136
                        continue
                    while True:
                        end = literal_end(at, pc + 16)
                        if end < 0:
                            break
                        end, price, decimals = decimal_at(end)
                        if end < 0:
                            break
                        price = rescale(price, decimals, price_scale)
                        end = literal_end(end, pc + 56) if price >= 0 else -1
                        if end < 0:
                            break
                        end, size, decimals = decimal_at(end)
                        if end < 0:
                            break
                        size = rescale(size, decimals, size_scale)
                        end = literal_end(end, pc + 96) if size >= 0 else -1
                        if end < 0:
                            break
                        if row >= limit:
                            outcome = prog.NO_ROOM
                            break
                        put_level(row, price, size, packed)
                        row += ROW_BYTES
                        at = end + 1
                        if byte_at(end) != _COMMA:
                            break
                    if outcome == prog.NO_ROOM or end < 0 or byte_at(end) != _CLOSE_LIST:
                        break
                    pc += 136
                elif op == prog.ACCEPT:
                    if byte_at(at) != 0 or (frames == 1 and at != stop):
                        break
                    ended = True
                    pc += 8
                elif op == prog.ROW:
                    if row >= limit:
                        outcome = prog.NO_ROOM
                        break
                    state_row = state + state_row_bytes * slot
                    price, size = fields + word_at(pc + 24), fields + word_at(pc + 32)
                    mantissa = rescale(word_at(price), word_at(price + 8), word_at(state_row + 8 * PRICE_SCALE))
                    amount = rescale(word_at(size), word_at(size + 8), word_at(state_row + 8 * SIZE_SCALE))
                    if mantissa < 0 or amount < 0:
                        break
                    side = word_at(fields + word_at(pc + 16))
                    packed = word_at(pc + 8) | side << SIDE_SHIFT | word_at(state_row + 8 * INSTRUMENT)
                    put_level(row, mantissa, amount, packed)
                    seq, order = word_at(fields + word_at(pc + 40)), word_at(fields + word_at(pc + 48))
                    stamp(row, word_at(fields + word_at(pc + 56)), ts_recv, seq, order)
                    row += ROW_BYTES
                    pc += 64
                elif op == prog.IDS:
                    ids = state + state_row_bytes * slot + 8 * word_at(pc + 8)
                    ident, time = word_at(fields + word_at(pc + 16)), word_at(fields + word_at(pc + 24))
                    by_one = word_at(pc + 32) != 0
                    last = word_at(ids)
                    if word_at(ids + 16) != 0 or changes + 2 > prog.MAX_UNDO:
                        break
                    if last != NONE:
                        if ident <= last and (not by_one or time - word_at(ids + 8) <= ID_RESET_NS):
                            if word_at(pc + 40) == 0:
                                break
                            duplicates += 1
                            pc = code + 8 * word_at(pc + 48)
                            continue
                        if by_one and ident - last != 1:
                            break
                    change(context, changes, ids, ident)
                    change(context, changes + 1, ids + 8, time)
                    changes += 2
                    pc += 56
                elif op == prog.FRESH:
                    if changes + 2 > prog.MAX_UNDO:
                        break
                    ident, time = word_at(fields + word_at(pc + 8)), word_at(fields + word_at(pc + 16))
                    if ident != 0:
                        recent = state + state_row_bytes * slot + 8 * RECENT + 16 * (ident & (RECENT_PAIRS - 1))
                        if word_at(recent) == ident and word_at(recent + 8) == time:
                            duplicates += 1
                            pc = code + 8 * word_at(pc + 24)
                            continue
                        change(context, changes, recent, ident)
                        change(context, changes + 1, recent + 8, time)
                        changes += 2
                    pc += 32
                elif op == prog.BYTES:
                    end, value = bytes_at(at, word_at(pc + 16))
                    if end < 0:
                        break
                    at = end
                    put_word(fields + word_at(pc + 8), value)
                    pc += 24
                elif op == prog.SEEN:
                    seen = state + state_row_bytes * slot + 8 * word_at(pc + 8)
                    if word_at(seen) != 1:
                        if changes == prog.MAX_UNDO:
                            break
                        change(context, changes, seen, 1)
                        changes += 1
                    pc += 16
                elif op == prog.COUNT:
                    if not count_on(context, changes, word_at(fields + word_at(pc + 8))):
                        break
                    changes += 1
                    pc += 16
                elif op == prog.STAMP:
                    ts_event, seq = word_at(fields + word_at(pc + 8)), word_at(fields + word_at(pc + 16))
                    if word_at(pc + 24) != 0:
                        if row >= limit:
                            outcome = prog.NO_ROOM
                            break
                        packed = word_at(pc + 24) | word_at(state + state_row_bytes * slot + 8 * INSTRUMENT)
                        put_level(row, 0, word_at(fields + word_at(pc + 32)), packed)
                        row += ROW_BYTES
                    stamp_rows(mark, row, ts_event, ts_recv, seq)
                    pc += 40
                elif op == prog.GIVE:
                    if given == prog.MAX_GIFTS:
                        break
                    gift = context + 8 * prog.GIFTS + 8 * prog.GIFT_WORDS * given
                    put_gift(gift, pc, slot, (mark - rows) // ROW_BYTES, (row - mark) // ROW_BYTES, fields)
                    given += 1
                    pc += 24 + 8 * word_at(pc + 16)
                elif op == prog.EACH:
                    if byte_at(at) != _OPEN_LIST:
                        break
                    at += 1
                    pc += 16
                    if byte_at(at) == _CLOSE_LIST:
                        at += 1
                        pc = code + 8 * word_at(pc - 8)
                elif op == prog.CHOICE:
                    retry = word_at(pc + 8)
                    kept_at, kept_row, kept_changes = at, row, changes
                    kept_duplicates, kept_given = duplicates, given
                    pc += 16
                elif op == prog.JUMP:
                    pc = code + 8 * word_at(pc + 8)
                elif op == prog.NEXT:
                    retry = 0
                    c = byte_at(at)
                    at += 1
                    if c == _COMMA:
                        pc = code + 8 * word_at(pc + 8)
                    elif c == _CLOSE_LIST:
                        pc += 16
                    else:
                        break
                elif op == prog.MARK:
                    mark = row
                    pc += 8
                elif op in (prog.NUMBER, prog.ANY):
                    end = number_end(at) if op == prog.NUMBER else value_end(at)
                    if end < 0:
                        break
                    at = end
                    pc += 8
                elif op == prog.LAST:
                    if row > done:
                        flag_last(row - ROW_BYTES)
                    pc += 8
                else:  # DONE
                    outcome = prog.FRAME_GIVEN if given else prog.ALL_READ
                    add_to_word(context + 8 * prog.TAKEN + 8 * word_at(pc + 8), 1)
                    break
            if outcome == prog.FOR_REFERENCE and at > furthest:
                furthest = at
                put_word(context + 8 * prog.REFUSED_AT, at - start)
                put_word(context + 8 * prog.REFUSED_BY, (pc - code) >> 3)
                put_word(context + 8 * prog.REFUSED_SHAPE, shape)
            if outcome == prog.FOR_REFERENCE and retry != 0:
                continue
            if outcome in (prog.FOR_REFERENCE, prog.NO_ROOM) and changes:
                undo(context, 0, changes)
            if outcome != prog.FOR_REFERENCE or ended:
                break

        if outcome == prog.NO_ROOM:
            break
        if outcome == prog.FOR_REFERENCE:
            start = (frame_end(start) if frames > 1 else stop) + 1
            break
        start = at + 1
        add_to_word(context + 8 * prog.PARSED, 1)
        add_to_word(context + 8 * prog.DUPLICATES, duplicates)
        if given:
            put_word(context + 8 * prog.GIVEN, given)
            break
        while done < row:
            add_to_word(context + 8 * prog.KINDS + 8 * (word_at(done + 8 * PACKED) >> KIND_SHIFT & 0xFF), 1)
            done += ROW_BYTES
        frame += 1
    following = frame + 1 if outcome in (prog.FOR_REFERENCE, prog.FRAME_GIVEN) else frame
    put_word(context + 8 * prog.FRAME, following if following < frames else 0)
    put_word(context + 8 * prog.POSITION, start - text if following < frames else 0)
    return (done - rows) // ROW_BYTES << prog.LENGTH_SHIFT | frame << prog.FRAME_SHIFT | outcome


def warm_up() -> None:
    """Compile the kernel, or load it from the cache, so that the first frame does not wait for it."""
    words = np.zeros(prog.CONTEXT_WORDS + 4, np.int64)
    context = words.ctypes.data
    put_word(context + 8 * prog.CODE, context + 8 * prog.CONTEXT_WORDS)  # a program without shapes
    put_word(context + 8 * prog.SYMBOLS, context + 8 * prog.CONTEXT_WORDS)
    text = np.zeros(len(PADDING) + 2, np.uint8)
    walk(context, text.ctypes.data, 1, 1, 0, 0)
