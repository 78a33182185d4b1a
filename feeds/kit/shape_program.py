"""What a shape is compiled to, and the context that the kernel walks it in: words of int64.

The compiler (`shapes.py`) writes a program, the reader (`shape_reader.py`) owns a context, the kernel
(`shape_kernels.py`) reads one and changes the other. Operands that name a field are its offset in bytes, those that say
where to go on are words of the program.
"""

from __future__ import annotations

from typing import Final

# Words of the context.
CODE: Final = 0  # addresses
SYMBOLS: Final = 1
STATE: Final = 2
ROWS: Final = 3
STATE_ROW_BYTES: Final = 4
CAPACITY: Final = 5  # rows that there is room for
COUNTED: Final = 6  # number of the last frame of the connection, NONE before the first one
FRAME: Final = 7  # the next one to read, 0 when all have been
POSITION: Final = 8  # byte of the text where it begins
PARSED: Final = 9  # frames
DUPLICATES: Final = 10
GIVEN: Final = 11  # how many records lie at GIFTS
REFUSED_AT: Final = 12  # of a frame left to the reference: the byte up to which a shape was followed furthest,
REFUSED_BY: Final = 13  # the word of the program that refused it there,
REFUSED_SHAPE: Final = 14  # and that shape
KINDS: Final = 16  # records written, by kind
TAKEN: Final = 32  # frames, by shape
UNDO: Final = 96  # pairs of an address and the word that stood there
GIFTS: Final = 2144
FIELDS: Final = 2336  # pairs of a value and its decimals

MAX_SHAPES: Final = UNDO - TAKEN
MAX_UNDO: Final = (GIFTS - UNDO) // 2
GIFT_WORDS: Final = 12  # number, slot, first row, how many, how many values, values
GIFT_VALUES: Final = GIFT_WORDS - 5
MAX_GIFTS: Final = (FIELDS - GIFTS) // GIFT_WORDS
MAX_FIELDS: Final = 64
CONTEXT_WORDS: Final = FIELDS + 2 * MAX_FIELDS

# Why `walk` returned.
ALL_READ: Final = 0
FOR_REFERENCE: Final = 1  # the frame fits no shape
FRAME_GIVEN: Final = 2  # the frame has been read; the adapter records what it gives
NO_ROOM: Final = 3  # more rows are needed; call again
NOT_SEPARATED: Final = 4  # a frame holds a NUL: nothing was read, each has to come alone

# It returns length << LENGTH_SHIFT | frame << FRAME_SHIFT | outcome.
LENGTH_SHIFT: Final = 32
FRAME_SHIFT: Final = 4
FRAME_MASK: Final = 0xFFFFFFF0
OUTCOME_MASK: Final = 0xF

# Words of a program: the number of shapes; of each, where it begins, and where to go on if it begins as the shape
# before (0: it does not); then operations.
(
    ACCEPT,  # the frame ends here
    LITERAL,  # length, further (0: none), word, mask
    LONG_LITERAL,  # length, further, whole words, last mask, words
    SYMBOL,  # stop
    DECIMAL,  # field, least
    INT,  # field
    TEXT,  # stop
    SHARED,  # up to here the next shape may be the same
    WORD,  # field, how many, then length, word, mask, value, rest, mask of each
    TIME,  # field, which of EPOCH, SECONDS, RFC3339, LATER, NANOS
    NUMBER,
    ANY,
    LEVELS,  # packed, then length, word, mask, word, mask of each of three literals
    EACH,  # where to go on after an empty list
    NEXT,  # where the element begins
    CHOICE,  # where to go on with an element that does not fit what follows; 0: nowhere
    JUMP,  # where to go on
    MARK,
    IDS,  # column, id, time, whether by one, whether repeats are dropped, where to go on after one
    FRESH,  # id, time, where to go on after a repeat
    BYTES,  # field, a bit for each value that is left to the reference
    SEEN,  # column
    COUNT,  # number
    ROW,  # packed, side, price, size, seq, order, time
    STAMP,  # time, seq, packed word of a CHECKSUM (0: none), checksum
    LAST,
    GIVE,  # number, how many, fields
    DONE,  # the shape's number
) = range(28)
