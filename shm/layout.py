"""The bytes of a ring segment: one header page, then the records.

A segment is `HEADER` (4096 bytes) followed by `capacity_records` records; position p lies in slot p & (capacity - 1).
Every mutable field is an 8-byte word that only one process at a time may write, and processes that write at the same
time never share a cache line. Kernels see the whole segment as int64 words and address it by the word numbers below,
which are derived from the dtypes.

Positions count the records of the stream, beginning at `start`: a record keeps its position for ever. Positions stay
below 2**62, so int64 arithmetic on them never overflows.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tickplant.records.layouts import CACHE_LINE_BYTES

VERSION: Final = 1
MAGIC_VALUE: Final = int.from_bytes(b"tickring", "little")

WORD_BYTES: Final = 8
HEADER_BYTES: Final = 4096
MAX_CONSUMERS: Final = 16
MAX_POSITION: Final = 2**62
LABEL_BYTES: Final = 32

# Values of a consumer's `mode`.
FREE: Final = 0  # unused
LOSSY: Final = 1  # the producer overtakes it when it is slow
GATING: Final = 2  # the producer waits for it

CONSUMER: Final = np.dtype(
    {
        # The first cache line changes only when the consumer joins, leaves, falls asleep or wakes up. The producer
        # reads it at every publish, so it must stay in the producer's cache. The second line changes at every read.
        "names": ["mode", "naps", "pid", "label", "position", "next", "lost", "jump_lost", "jump_position"],
        "formats": ["<i8", "<i8", "<i8", f"S{LABEL_BYTES}", "<i8", "<i8", "<i8", "<i8", "<i8"],
        "offsets": [0, 8, 16, 24, 64, 72, 80, 88, 96],
        "itemsize": 2 * CACHE_LINE_BYTES,
    }
)
"""One consumer. Written by the process that holds its lock; `mode` also by a process that evicts the consumer.

`naps` is odd while the consumer sleeps. It needs no record below `position`; `next` is the position of its next read;
`lost` counts the records by which it was overtaken. `jump_lost` and `jump_position` serve to redo a jump that a kill
interrupted (`protocol.jump`).
"""

HEADER: Final = np.dtype(
    {
        "names": [
            "magic",
            "version",
            "record_words",
            "capacity",
            "dtype_hash",
            "epoch",
            "start",
            "consumer_count",
            "intent",
            "cursor",
            "limit",
            "producer_pid",
            "full_waits",
            "dropped",
            "rung",
            "consumers",
        ],
        "formats": [
            "<i8",
            "<i8",
            "<i8",
            "<i8",
            "<u8",
            "<u8",
            "<i8",
            "<i8",
            "<i8",
            "<i8",
            "<i8",
            "<i8",
            "<i8",
            "<i8",
            ("<i8", (MAX_CONSUMERS,)),
            (CONSUMER, (MAX_CONSUMERS,)),
        ],
        # Words that a writer and a reader contend for lie two cache lines apart: processors fetch lines in pairs.
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56, 128, 256, 384, 392, 400, 408, 512, 1024],
        "itemsize": HEADER_BYTES,
    }
)
"""The header.

Written once by the creator, `magic` last: magic, version, record_words, capacity (records), dtype_hash, epoch, start.
Written under the registry lock: `consumer_count`, the number of consumer slots ever used.
Written by the producer alone: `intent`, `cursor`, `limit`, producer_pid, full_waits, dropped, and `rung`, the nap for
which each consumer's doorbell was last rung. `protocol` defines their meaning.
"""


def _word(dtype: np.dtype[np.void], field: str) -> int:
    assert dtype.fields is not None
    number, rest = divmod(int(dtype.fields[field][1]), WORD_BYTES)
    assert rest == 0, field
    return number


HEADER_WORDS: Final = HEADER_BYTES // WORD_BYTES
MAGIC: Final = _word(HEADER, "magic")
RECORD_WORDS: Final = _word(HEADER, "record_words")
CAPACITY: Final = _word(HEADER, "capacity")
START: Final = _word(HEADER, "start")
CONSUMER_COUNT: Final = _word(HEADER, "consumer_count")
INTENT: Final = _word(HEADER, "intent")
CURSOR: Final = _word(HEADER, "cursor")
LIMIT: Final = _word(HEADER, "limit")
FULL_WAITS: Final = _word(HEADER, "full_waits")
DROPPED: Final = _word(HEADER, "dropped")
RUNG: Final = _word(HEADER, "rung")
CONSUMERS: Final = _word(HEADER, "consumers")

CONSUMER_WORDS: Final = CONSUMER.itemsize // WORD_BYTES
MODE: Final = _word(CONSUMER, "mode")
NAPS: Final = _word(CONSUMER, "naps")
POSITION: Final = _word(CONSUMER, "position")
NEXT: Final = _word(CONSUMER, "next")
LOST: Final = _word(CONSUMER, "lost")
JUMP_LOST: Final = _word(CONSUMER, "jump_lost")
JUMP_POSITION: Final = _word(CONSUMER, "jump_position")


def consumer_base(slot: int) -> int:
    """Word number at which consumer `slot` begins."""
    return CONSUMERS + slot * CONSUMER_WORDS


def segment_bytes(capacity_records: int, record_bytes: int) -> int:
    """Size of a segment."""
    return HEADER_BYTES + capacity_records * record_bytes
