"""Layouts and codes of DBN, Databento's binary encoding, versions 1 to 3: what its readers and its writer share.

A record begins with its length in four-byte words, its type, publisher, instrument id and `ts_event`. The length of a
record reveals its version. Times are ns since the epoch, prices integers at scale 9.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tickplant.records.layouts import Flag, Kind, OrderFlag, Side

NO_TIME: Final = 2**64 - 1
NO_VALUE: Final = 2**63 - 1
NO_SIZE: Final = 2**32 - 1

_HEAD: Final = [("head", "<u8", 0), ("ts_event", "<u8", 8)]
_MARKET: Final = [
    *(("price", "<i8", 16), ("size", "<u4", 24), ("action", "u1", 28), ("side", "u1", 29), ("flags", "u1", 30)),
    *(("ts_recv", "<u8", 32), ("sequence", "<u4", 44)),
]
LEVEL: Final = np.dtype([("bid_px", "<i8"), ("ask_px", "<i8"), ("bid_sz", "<u4"), ("ask_sz", "<u4"), ("count", "<u8")])


class RecordType:
    """Types of records."""

    TRADE = 0x00
    MBP_1 = 0x01
    MBP_10 = 0x0A
    STATUS = 0x12
    DEFINITION = 0x13
    IMBALANCE = 0x14
    ERROR = 0x15
    MAPPING = 0x16
    SYSTEM = 0x17
    STATISTICS = 0x18
    BAR_1S = 0x20
    BAR_1M = 0x21
    BAR_1H = 0x22
    BAR_1D = 0x23
    BAR_EOD = 0x24
    MBO = 0xA0
    CMBP_1 = 0xB1
    CBBO_1S = 0xC0
    CBBO_1M = 0xC1
    TCBBO = 0xC2
    BBO_1S = 0xC3
    BBO_1M = 0xC4
    TBBO = 0xC5


R = RecordType

BAR_S: Final = {R.BAR_1S: 1, R.BAR_1M: 60, R.BAR_1H: 3600, R.BAR_1D: 86_400}
QUOTES: Final = (R.MBP_1, R.TBBO, R.CMBP_1, R.TCBBO, R.BBO_1S, R.BBO_1M, R.CBBO_1S, R.CBBO_1M)
SAMPLED: Final = (R.BBO_1S, R.BBO_1M, R.CBBO_1S, R.CBBO_1M)
"""Quotes at fixed intervals: the last trade in them may repeat that of an earlier quote."""

UNCOUNTED: Final = (R.CMBP_1, R.TCBBO, R.CBBO_1S, R.CBBO_1M)
"""Records consolidated from several publishers, without a sequence number."""


def _dtype(size: int, fields: list[tuple[str, str, int]], levels: int = 0) -> np.dtype[np.void]:
    names, formats, offsets = (list(column) for column in zip(*_HEAD, *fields, strict=True))
    if levels:
        names, formats, offsets = [*names, "levels"], [*formats, (LEVEL, (levels,))], [*offsets, 48]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


def _definition(size: int, symbol_bytes: int, symbol: int, action: int) -> np.dtype[np.void]:
    numbers = [
        *(("ts_recv", "<u8", 16), ("increment", "<i8", 24), ("expiration", "<u8", 40)),
        *(("high_limit", "<i8", 56), ("low_limit", "<i8", 64)),
    ]
    return _dtype(size, [*numbers, ("raw_symbol", f"S{symbol_bytes}", symbol), ("action", "u1", action)])


def _statistics(size: int, quantity: str, sequence: int) -> np.dtype[np.void]:
    times = [("ts_recv", "<u8", 16), ("ts_ref", "<u8", 24), ("price", "<i8", 32), ("quantity", quantity, 40)]
    return _dtype(
        size, [*times, ("sequence", "<u4", sequence), ("type", "<u2", sequence + 8), ("action", "u1", sequence + 12)]
    )


_MBP_1: Final = _dtype(80, _MARKET, 1)
LAYOUTS: Final[dict[tuple[int, int], np.dtype[np.void]]] = {
    (R.MBO, 56): _dtype(
        56,
        [
            *(("order_id", "<u8", 16), ("price", "<i8", 24), ("size", "<u4", 32), ("flags", "u1", 36)),
            *(("channel", "u1", 37), ("action", "S1", 38), ("side", "S1", 39), ("ts_recv", "<u8", 40)),
            *(("ts_in_delta", "<i4", 48), ("sequence", "<u4", 52)),
        ],
    ),
    (R.TRADE, 48): _dtype(48, _MARKET),
    (R.MBP_10, 368): _dtype(368, _MARKET, 10),
    **{(kind, 80): _MBP_1 for kind in QUOTES},
    **{
        (kind, 56): _dtype(56, [(name, "<i8", 16 + 8 * place) for place, name in enumerate(("o", "h", "l", "c", "v"))])
        for kind in (*BAR_S, R.BAR_EOD)
    },
    (R.STATUS, 40): _dtype(
        40, [("ts_recv", "<u8", 16), ("action", "<u2", 24), ("word", "<u8", 24), ("trading", "u1", 30)]
    ),
    (R.DEFINITION, 360): _definition(360, 22, 200, 349),
    (R.DEFINITION, 400): _definition(400, 71, 200, 382),
    (R.DEFINITION, 520): _definition(520, 71, 238, 493),
    (R.STATISTICS, 64): _statistics(64, "<i4", 44),
    (R.STATISTICS, 80): _statistics(80, "<i8", 48),
    (R.IMBALANCE, 112): _dtype(112, [("ts_recv", "<u8", 16)]),
    (R.MAPPING, 80): _dtype(80, [("asked", "S22", 16), ("symbol", "S22", 38)]),
    (R.MAPPING, 176): _dtype(176, [("asked", "S71", 17), ("symbol", "S71", 89)]),
    (R.ERROR, 80): _dtype(80, [("text", "S64", 16)]),
    (R.ERROR, 320): _dtype(320, [("text", "S302", 16), ("code", "u1", 318)]),
    (R.SYSTEM, 80): _dtype(80, [("text", "S64", 16)]),
    (R.SYSTEM, 320): _dtype(320, [("text", "S303", 16), ("code", "u1", 319)]),
}
"""By type and length in bytes, without the time of sending that a stream may append (`ts_out`)."""

TYPES: Final = frozenset(kind for kind, _ in LAYOUTS)

F_LAST: Final = 128
F_TOP: Final = 64
F_SNAPSHOT: Final = 32
F_MBP: Final = 16
F_BAD_TIME: Final = 8
F_DOUBTFUL: Final = 4

SIDES: Final = {"A": Side.ASK, "B": Side.BID, "N": Side.NONE}
ACTIONS: Final = {
    "A": Kind.ORDER_ADD,
    "C": Kind.ORDER_CANCEL,
    "M": Kind.ORDER_MODIFY,
    "F": Kind.ORDER_FILL,
    "N": Kind.ORDER_FILL,  # does not change the book, as a fill does not; only its flags matter
    "R": Kind.CLEAR,
    "T": Kind.TRADE,
}

PLAIN_FLAGS: Final = {F_LAST: Flag.LAST, F_SNAPSHOT: Flag.SNAPSHOT}
ORDER_FLAGS: Final = PLAIN_FLAGS | {
    F_TOP: OrderFlag.TOP,
    F_MBP: OrderFlag.AGGREGATED,
    F_BAD_TIME: OrderFlag.BAD_TIME,
    F_DOUBTFUL: OrderFlag.DOUBTFUL,
}
