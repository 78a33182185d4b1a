"""What a shape is compiled to, and the context in which the kernel runs the program: words of int64.

The compiler (`shapes.py`) writes a program, the reader (`shape_reader.py`) owns a context, and the kernel
(`shape_kernels.py`) reads the program and changes the context. An operand that names a field is an offset in bytes; a
jump target is a word of the program.
"""

from __future__ import annotations

from typing import Final

# Words of the context.
CODE: Final = 0  # addresses
SYMBOLS: Final = 1
STATE: Final = 2
ROWS: Final = 3
STATE_ROW_BYTES: Final = 4
CAPACITY: Final = 5  # capacity in rows
COUNTED: Final = 6  # number of the last frame of the connection, NONE before the first
FRAME: Final = 7  # the next frame to read, 0 once all are read
POSITION: Final = 8  # the byte of the text where that frame begins
PARSED: Final = 9  # frames
DUPLICATES: Final = 10
GIVEN: Final = 11  # number of records at GIFTS
REFUSED_AT: Final = 12  # of a frame left to the reference: the furthest byte that a shape matched,
REFUSED_BY: Final = 13  # the word of the program that refused the frame there,
REFUSED_SHAPE: Final = 14  # and that shape
KINDS: Final = 16  # records written, by kind
TAKEN: Final = 32  # frames, by shape
UNDO: Final = 96  # pairs of an address and its former word
GIFTS: Final = 2144
FIELDS: Final = 2336  # pairs of a value and its decimals

MAX_SHAPES: Final = UNDO - TAKEN
MAX_UNDO: Final = (GIFTS - UNDO) // 2
GIFT_WORDS: Final = 12  # number, slot, first row, row count, value count, values
GIFT_VALUES: Final = GIFT_WORDS - 5
MAX_GIFTS: Final = (FIELDS - GIFTS) // GIFT_WORDS
MAX_FIELDS: Final = 64
CONTEXT_WORDS: Final = FIELDS + 2 * MAX_FIELDS

# Why `walk` returned.
ALL_READ: Final = 0
FOR_REFERENCE: Final = 1  # the frame fits no shape
FRAME_GIVEN: Final = 2  # the frame has been read; the adapter records its gifts
NO_ROOM: Final = 3  # more rows are needed; call again
NOT_SEPARATED: Final = 4  # a frame holds a NUL: nothing was read, each frame must come alone

# It returns length << LENGTH_SHIFT | frame << FRAME_SHIFT | outcome.
LENGTH_SHIFT: Final = 32
FRAME_SHIFT: Final = 4
FRAME_MASK: Final = 0xFFFFFFF0
OUTCOME_MASK: Final = 0xF

# Words of a program: the number of shapes; for each, its start, and its start after a beginning that it shares with the
# previous shape (0: it shares none); then operations.
(
    ACCEPT,  # the frame ends here
    LITERAL,  # length, further (0: none), word, mask
    LONG_LITERAL,  # length, further, whole words, last mask, words
    SYMBOL,  # stop
    DECIMAL,  # field, least
    INT,  # field
    TEXT,  # stop
    SHARED,  # the next shape may be the same up to here
    WORD,  # field, word count, then length, word, mask, value, rest, mask of each
    TIME,  # field, one of EPOCH, SECONDS, RFC3339, LATER, NANOS
    NUMBER,
    ANY,
    LEVELS,  # packed, then length, word, mask, word, mask of each of three literals
    EACH,  # target after an empty list
    NEXT,  # start of the element
    CHOICE,  # target for an element that does not fit what follows; 0: none
    JUMP,  # target
    MARK,
    IDS,  # column, id, time, whether by one, whether repeats are dropped, target after a repeat
    FRESH,  # id, time, target after a repeat
    BYTES,  # field, a bit for each value that is left to the reference
    SEEN,  # column
    COUNT,  # number
    ROW,  # packed, side, price, size, seq, order, time
    STAMP,  # time, seq, packed word of a CHECKSUM (0: none), checksum
    LAST,
    GIVE,  # number, value count, fields
    DONE,  # the shape's number
) = range(28)
