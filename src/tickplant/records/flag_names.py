"""Names of flags."""

from __future__ import annotations

from enum import IntFlag
from typing import Final

from tickplant.records.layouts import BarFlag, Flag, Kind, OrderFlag, Schema, TradeFlag

_OWN: Final[dict[int, type[IntFlag]]] = {
    Kind.TRADE: TradeFlag,
    **dict.fromkeys((Kind.ORDER_ADD, Kind.ORDER_MODIFY, Kind.ORDER_CANCEL, Kind.ORDER_FILL, Kind.CLEAR), OrderFlag),
}
"""The flags of one kind of tick alone, by that kind; their bits mean other things in other kinds, a BBO or a BAR."""


def flag_names(flags: int, kind: int = 0, schema: Schema = Schema.TICK) -> list[str]:
    """Names of the flags that are set, in lower case. `kind` is that of a tick, or 0 for records of other schemas."""
    own = BarFlag if schema is Schema.TRADE_BAR else _OWN.get(kind, IntFlag)
    names = {int(flag): flag.name for flag in Flag} | {int(flag): flag.name for flag in own}
    return [name.lower() for bit, name in names.items() if flags & bit and name]
