"""Reads DBN files with Databento's own decoder, and turns them into records one by one: the expected import."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import databento_dbn as db

from tickplant.records.layouts import NO_PRICE, Flag, Kind, OrderFlag, Side, StatusCode
from tickplant.records.statistics import StatisticCode
from tickplant.records.venue_bars import BarField

ZSTD = b"\x28\xb5\x2f\xfd"
SIDES = {"A": Side.ASK, "B": Side.BID, "N": Side.NONE}
ORDERS = {
    "A": Kind.ORDER_ADD,
    "C": Kind.ORDER_CANCEL,
    "M": Kind.ORDER_MODIFY,
    "F": Kind.ORDER_FILL,
    "N": Kind.ORDER_FILL,
    "R": Kind.CLEAR,
}
ORDER_FLAGS = {
    db.F_LAST: Flag.LAST,
    db.F_SNAPSHOT: Flag.SNAPSHOT,
    db.F_TOB: OrderFlag.TOP,
    db.F_MBP: OrderFlag.AGGREGATED,
    db.F_BAD_TS_RECV: OrderFlag.BAD_TIME,
    db.F_MAYBE_BAD_BOOK: OrderFlag.DOUBTFUL,
}
BARS = {"OHLCV_1S": 1, "OHLCV_1M": 60, "OHLCV_1H": 3600, "OHLCV_1D": 86_400}
STATISTICS = {
    db.StatType.OPENING_PRICE: (StatisticCode.DAY_OPEN, False),
    db.StatType.SETTLEMENT_PRICE: (StatisticCode.SETTLEMENT_PRICE, False),
    db.StatType.TRADING_SESSION_LOW_PRICE: (StatisticCode.DAY_LOW, False),
    db.StatType.TRADING_SESSION_HIGH_PRICE: (StatisticCode.DAY_HIGH, False),
    db.StatType.CLEARED_VOLUME: (StatisticCode.PREVIOUS_VOLUME, True),
    db.StatType.OPEN_INTEREST: (StatisticCode.OPEN_INTEREST, True),
    db.StatType.CLOSE_PRICE: (StatisticCode.DAY_CLOSE, False),
    db.StatType.VOLATILITY: (StatisticCode.VOLATILITY, False),
    db.StatType.DELTA: (StatisticCode.DELTA, False),
    db.StatType.UPPER_PRICE_LIMIT: (StatisticCode.LIMIT_UP, False),
    db.StatType.LOWER_PRICE_LIMIT: (StatisticCode.LIMIT_DOWN, False),
}


class Said(NamedTuple):
    """A record of the plant."""

    symbol: str
    kind: Kind
    side: Side = Side.NONE
    flags: int = Flag.LAST
    ts_event: int = 0
    ts_recv: int = 0
    price: int = 0
    size: int = 0
    venue_seq: int = 0
    order_id: int = 0


def decode(path: Path) -> tuple[db.Metadata, list[Any]]:
    """Metadata and records; those of older versions are not upgraded."""
    data = path.read_bytes()
    compression = db.Compression.ZSTD if data.startswith(ZSTD) else db.Compression.NONE
    decoder = db.DBNDecoder(compression=compression, upgrade_policy=db.VersionUpgradePolicy.AS_IS)
    decoder.write(data)
    metadata, *records = decoder.decode()
    return metadata, records


def expected(path: Path) -> Iterator[Said]:
    """The records of a file as a plant has them. A file has one instrument per symbol, and its books begin in it."""
    metadata, records = decode(path)
    ids: dict[str, list[tuple[dt.date, dt.date, str]]] = {}
    for symbol, intervals in metadata.mappings.items():
        for one in intervals:
            ids.setdefault(one["symbol"], []).append((one["start_date"], one["end_date"], symbol))
    begun: set[str] = set()
    levels: dict[str, dict[tuple[Side, int], int]] = {}
    for record in records:
        day = dt.datetime.fromtimestamp(record.ts_index // 10**9, dt.UTC).date()
        mapped = [symbol for start, end, symbol in ids.get(str(record.instrument_id), ()) if start <= day < end]
        name = mapped[0] if mapped else getattr(record, "raw_symbol", f"id:{record.instrument_id}")
        symbol = f"{metadata.dataset}/{name}"
        if metadata.dataset == "OPRA.PILLAR":
            symbol += f"#{record.publisher_id}"
        yield from _records(record, symbol, begun, levels.setdefault(symbol, {}))


def _records(record: Any, symbol: str, begun: set[str], levels: dict[tuple[Side, int], int]) -> Iterator[Said]:
    event = 0 if record.ts_event == db.UNDEF_TIMESTAMP else record.ts_event
    recv = getattr(record, "ts_recv", 0)
    recv = event if recv in (0, db.UNDEF_TIMESTAMP) else recv
    match record:
        case db.MBOMsg():
            base = Said(symbol, Kind.TRADE, SIDES[str(record.side)], 0, event, recv, _price(record.price), record.size)
            base = base._replace(venue_seq=record.sequence, order_id=record.order_id)
            flags = int(record.flags)
            if str(record.action) == "T":
                plain = {db.F_LAST: Flag.LAST, db.F_SNAPSHOT: Flag.SNAPSHOT}
                yield base._replace(flags=sum(ours for bit, ours in plain.items() if flags & bit))
                return
            ours = sum(ours for bit, ours in ORDER_FLAGS.items() if flags & bit)
            kind = ORDERS[str(record.action)]
            if kind is Kind.CLEAR:
                ours |= Flag.ON_ORDERS
            elif symbol not in begun:
                how = Flag.SNAPSHOT if flags & db.F_SNAPSHOT else OrderFlag.DOUBTFUL
                clear = Said(symbol, Kind.CLEAR, flags=Flag.ON_ORDERS | how, ts_event=event, ts_recv=recv)
                yield clear._replace(venue_seq=record.sequence)
            begun.add(symbol)
            yield base._replace(kind=kind, flags=ours)
        case db.MBP1Msg() | db.CMBP1Msg() | db.BBOMsg() | db.CBBOMsg():
            (level,) = record.levels
            snapshot = Flag.SNAPSHOT if int(record.flags) & db.F_SNAPSHOT else 0
            sequence = getattr(record, "sequence", 0)
            for side, price, size, last in (
                (Side.BID, level.bid_px, level.bid_sz, 0),
                (Side.ASK, level.ask_px, level.ask_sz, Flag.LAST),
            ):
                yield Said(symbol, Kind.QUOTE, side, snapshot | last, event, recv, _price(price), size, sequence)
            if str(getattr(record, "action", "")) == "T":
                yield _trade(record, symbol, event, recv, sequence)
        case db.MBP10Msg():
            yield from _ten_levels(record, symbol, event, recv, begun, levels)
            if str(record.action) == "T":
                yield _trade(record, symbol, event, recv, record.sequence)
        case db.TradeMsg():
            yield _trade(record, symbol, event, recv, record.sequence)
        case db.OHLCVMsg():
            end = record.ts_event + BARS[record.rtype.name] * 10**9
            for field, price in zip(
                (BarField.OPEN, BarField.HIGH, BarField.LOW, BarField.CLOSE),
                (record.open, record.high, record.low, record.close),
                strict=True,
            ):
                closes = field is BarField.CLOSE
                bar = Said(symbol, Kind.VENUE_BAR, flags=Flag.LAST if closes else 0, ts_event=end, ts_recv=end)
                volume = record.volume if closes else 0
                yield bar._replace(price=price, size=volume, venue_seq=record.ts_event, order_id=field)
        case db.StatMsg() | db.StatMsgV1():
            code, is_quantity = STATISTICS.get(record.stat_type, (None, False))
            if code is not None and record.update_action == db.StatUpdateAction.NEW:
                at = 0 if record.ts_ref == db.UNDEF_TIMESTAMP else record.ts_ref
                one = Said(symbol, Kind.STATISTIC, ts_event=event, ts_recv=recv, venue_seq=at, order_id=code)
                value = record.quantity if is_quantity else record.price
                yield one._replace(price=0 if is_quantity else 9, size=value)
        case db.StatusMsg():
            trading = record.is_trading
            code = StatusCode.TRADING if trading else StatusCode.HALTED
            words = [int(record.action), int(record.reason), int(record.trading_event)]
            packed = sum(word << 16 * place for place, word in enumerate(words))
            packed |= _letter(trading) << 48 | _letter(record.is_quoting) << 56
            assert trading is not None
            yield Said(symbol, Kind.STATUS, ts_event=event, ts_recv=recv, price=code, order_id=packed)
        case db.InstrumentDefMsg() | db.InstrumentDefMsgV1() | db.InstrumentDefMsgV2():
            numbers = {
                StatisticCode.LIMIT_UP: record.high_limit_price,
                StatisticCode.LIMIT_DOWN: record.low_limit_price,
                StatisticCode.TICK_SIZE: record.min_price_increment,
                StatisticCode.EXPIRATION: record.expiration,
            }
            undefined = {db.UNDEF_PRICE, db.UNDEF_TIMESTAMP}
            known = {code: value for code, value in numbers.items() if value not in undefined}
            for code, value in known.items():
                last = Flag.LAST if code == [*known][-1] else 0
                yield Said(symbol, Kind.STATISTIC, Side.NONE, last, event, recv, 9, value, 0, code)
            assert str(record.security_update_action) != "D"
        case db.ImbalanceMsg():
            pass
        case _:
            raise AssertionError(record)


def _trade(record: Any, symbol: str, event: int, recv: int, sequence: int) -> Said:
    flags = Flag.LAST | (Flag.SNAPSHOT if int(record.flags) & db.F_SNAPSHOT else 0)
    side = SIDES[str(record.side)]
    return Said(symbol, Kind.TRADE, side, flags, event, recv, _price(record.price), record.size, sequence)


def _ten_levels(
    record: Any, symbol: str, event: int, recv: int, begun: set[str], before: dict[tuple[Side, int], int]
) -> Iterator[Said]:
    now = {(Side.BID, level.bid_px): level.bid_sz for level in record.levels if level.bid_px != db.UNDEF_PRICE}
    now |= {(Side.ASK, level.ask_px): level.ask_sz for level in record.levels if level.ask_px != db.UNDEF_PRICE}
    changes = [(Kind.LEVEL, *key, 0) for key in before if key not in now]
    changes += [(Kind.LEVEL, *key, size) for key, size in now.items() if before.get(key) != size]
    snapshot = 0
    if symbol not in begun:
        begun.add(symbol)
        changes, snapshot = [(Kind.CLEAR, Side.NONE, 0, 0), *changes], Flag.SNAPSHOT
    before.clear()
    before.update(now)
    for number, (kind, side, price, size) in enumerate(changes, 1):
        last = Flag.LAST if number == len(changes) else 0
        yield Said(symbol, kind, side, snapshot | last, event, recv, price, size, record.sequence)


def _price(price: int) -> int:
    return NO_PRICE if price == db.UNDEF_PRICE else int(price)


def _letter(value: bool | None) -> int:
    return ord("~" if value is None else "Y" if value else "N")
