"""An engine's messages as JSON, each written once however many clients receive it.

A record has the same members as in history (`store/row_files.py`, the reference), except venue and symbol, which stand
beside the records. Built by hand: a message has few records, while Arrow costs per column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.client.book_request import book_of
from tickplant.client.topic_message import Message
from tickplant.instruments import format_decimal
from tickplant.records.layouts import DTYPES, NO_PRICE, UNKNOWN, GapCause, Kind, Schema, StatusCode
from tickplant.records.schemas import FACTS, PRICES, REALS, SIZES
from tickplant.records.statistics import StatisticCode
from tickplant.times import format_time
from tickplant.wire import Snapshot

Records = NDArray[np.void]

_KINDS: Final = {int(kind): f'"{kind.name.lower()}"' for kind in Kind}
# Of plain integers: members of enumerations compare slowly.
_PLAIN: Final = frozenset(map(int, (Kind.GAP, Kind.STATUS, Kind.CHECKSUM, Kind.STATISTIC)))  # numbers, not decimals
_NO_PRICE: Final = frozenset(map(int, (Kind.CLEAR, Kind.CHECKSUM)))
_NO_SIZE: Final = frozenset(map(int, (Kind.CLEAR, Kind.STATUS)))
_TRADE: Final = int(Kind.TRADE)
_GAP: Final = int(Kind.GAP)
_STATISTIC: Final = int(Kind.STATISTIC)
_NOTES: Final = {
    int(Kind.GAP): {int(code): code.name.lower() for code in GapCause},
    int(Kind.STATUS): {int(code): code.name.lower() for code in StatusCode},
}
_STATISTICS: Final = {int(code): code.name.lower() for code in StatisticCode}
_SIDES: Final = {True: {1: '"buy"', 2: '"sell"'}, False: {1: '"bid"', 2: '"ask"'}}

_TICK: Final = (
    *("ts_event", "ts_recv", "kind", "side", "price", "size"),
    *("venue_seq", "order_id", "flags", "seq"),
)


class Event:
    """What clients receive of one topic at once: JSON, and its position in the topic.

    Attributes:
        type: `records`, `snapshot`, `levels` or `gap`.
        epoch: the engine life that its sequences belong to.
        first_seq: topic sequence of its first record; for a snapshot, that of the first record after it.
        end_seq: topic sequence after its last record.
    """

    __slots__ = ("_framed", "data", "end_seq", "epoch", "first_seq", "topic", "type")

    def __init__(self, type_: str, topic: str, epoch: int, first_seq: int, end_seq: int, data: bytes) -> None:
        self.type = type_
        self.topic = topic
        self.epoch = epoch
        self.first_seq = first_seq
        self.end_seq = end_seq
        self.data = data
        self._framed: dict[tuple[str, bool], bytes] = {}

    def framed(self, cursor: str, *, websocket: bool) -> bytes:
        """The event in its transport's frame, with its cursor unless empty; made once for all clients of a stream."""
        found = self._framed.get((cursor, websocket))
        if found is None:
            if websocket:
                found = b'{"id":"%s",%s' % (cursor.encode(), self.data[1:]) if cursor else self.data
            else:
                found = b"event: %s\ndata: %s\n\n" % (self.type.encode(), self.data)
                found = sse_id(cursor) + found if cursor else found
            self._framed[cursor, websocket] = found
        return found


def sse_id(cursor: str) -> bytes:
    """The line before a Server-Sent Event; alone, followed by an empty line, it moves the cursor."""
    return b"id: %s\n" % cursor.encode()


def _head(type_: str, topic: str, epoch: int, seq: int) -> str:
    return f'{{"type":"{type_}","topic":{_quoted(topic)},"epoch":{epoch},"seq":{seq}'


def records_event(message: Message, count: int | None = None) -> Event:
    """Records, live or recovered. `count`: the number they stand for, if they are the last ones of more."""
    head = _head("records", message.topic, message.epoch, message.first_seq)
    published = time_text(message.publish_ns) if message.publish_ns else "null"
    count = len(message.records) if count is None else count
    text = f'{head},"count":{count},"published":{published},"records":[{",".join(rows(message))}]}}'
    end_seq = message.first_seq + count
    return Event("records", message.topic, message.epoch, message.first_seq, end_seq, text.encode())


def gap_event(topic: str, epoch: int, seq: int, lost: int | None, reason: str) -> Event:
    """Records that will not come; `lost` is None if their number is unknown."""
    number = "null" if lost is None or lost < 0 else str(lost)
    text = f'{_head("gap", topic, epoch, seq)},"lost":{number},"reason":"{reason}"}}'
    return Event("gap", topic, epoch, seq, seq + max(0, lost or 0), text.encode())


def snapshot_event(reply: Snapshot, frames: list[bytes]) -> Event:
    """The state of a topic as sent by the engine. Raises IndexError, ValueError for frames that hold no state."""
    info = reply.info
    seq = info.next_seq
    head = f"{_head('snapshot', info.topic, reply.epoch, seq)}," + f'"stale":{"true" if reply.stale else "false"}'
    channel = info.topic.rpartition(".")[2]
    if channel == "book":
        shown = book_of(reply, frames).shown()
        members = {name: shown[name] for name in ("ts_event", "ts_recv", "bids", "asks")}
        text = f"{head},{msgspec.json.encode(members).decode()[1:]}"
    else:
        schema = Schema(info.schema)
        records = np.frombuffer(frames[0], DTYPES[schema])
        text = f'{head},"records":[{",".join(_rows(schema, records, info.price_scale, info.size_scale))}]}}'
    return Event("snapshot", info.topic, reply.epoch, seq, seq, text.encode())


def levels_event(last: Message, first_seq: int, sides: Sequence[Mapping[int, int]]) -> Event:
    """Changes of a book from `first_seq` to the message `last`.

    Args:
        last: the message with the last change.
        first_seq: topic sequence of the first change.
        sides: sizes by price, for bids and for asks.
    """
    end_seq = last.first_seq + len(last.records)
    record = last.records[-1]
    members: dict[str, Any] = {
        "count": end_seq - first_seq,
        "ts_event": _time_or_none(int(record["ts_event"])),
        "ts_recv": _time_or_none(int(record["ts_recv"])),
    }
    for name, sizes in zip(("bids", "asks"), sides, strict=True):
        members[name] = [
            (format_decimal(price, last.price_scale), format_decimal(size, last.size_scale))
            for price, size in sizes.items()
        ]
    head = _head("levels", last.topic, last.epoch, first_seq)
    text = f"{head},{msgspec.json.encode(members).decode()[1:]}"
    return Event("levels", last.topic, last.epoch, first_seq, end_seq, text.encode())


def rows(message: Message) -> Iterator[str]:
    """The records of a message as JSON objects."""
    return _rows(message.schema, message.records, message.price_scale, message.size_scale)


def _rows(schema: Schema, records: Records, price_scale: int, size_scale: int) -> Iterator[str]:
    if schema is Schema.TICK:
        return _ticks(records, price_scale, size_scale)
    names = ("ts_event", "ts_recv", *FACTS[schema].shown)
    writers = [_writer(name, price_scale, size_scale) for name in names]
    return (
        f"{{{','.join(write(value) for write, value in zip(writers, row, strict=True))}}}"
        for row in records[list(names)].tolist()
    )


def _ticks(records: Records, price_scale: int, size_scale: int) -> Iterator[str]:
    for event, recv, kind, side, price, size, venue_seq, order_id, flags, seq in records[list(_TICK)].tolist():
        plain = kind in _PLAIN
        no_size = kind in _NO_SIZE or (kind == _GAP and size == UNKNOWN)
        note = ""
        if kind in _NOTES:
            note = f',"note":"{_NOTES[kind].get(price, price)}"'
        elif kind == _STATISTIC:
            note = f',"note":"{_STATISTICS.get(order_id, order_id)}"'
        yield (
            f'{{"ts_event":{time_text(event) if event else "null"},"ts_recv":{time_text(recv)},'
            f'"kind":{_KINDS.get(kind, "null")},"side":{_SIDES[kind == _TRADE].get(side, "null")},'
            f'"price":{"null" if kind in _NO_PRICE else _decimal(price, 0 if plain else price_scale)},'
            f'"size":{"null" if no_size else _decimal(size, 0 if plain else size_scale)},'
            f'"venue_seq":"{venue_seq}","order_id":"{order_id}","flags":{flags},"seq":{seq}{note}}}'
        )


def _writer(name: str, price_scale: int, size_scale: int) -> Callable[[Any], str]:
    """Writes one member of a derived record."""
    if name.startswith("ts_"):
        return lambda value: f'"{name}":{"null" if name == "ts_event" and not value else time_text(value)}'
    if name in PRICES:
        return lambda value: f'"{name}":{_decimal(value, price_scale)}'
    if name in SIZES:
        return lambda value: f'"{name}":{_decimal(value, size_scale)}'
    if name in REALS:
        return lambda value: f'"{name}":{value if math.isfinite(value) else "null"}'
    return lambda value: f'"{name}":{value}'


def _decimal(mantissa: int, scale: int) -> str:
    return "null" if mantissa == NO_PRICE else f'"{format_decimal(mantissa, scale)}"'


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


@lru_cache(maxsize=1024)
def _second(whole_s: int) -> str:
    return f"{datetime.fromtimestamp(whole_s, UTC):%Y-%m-%dT%H:%M:%S}"


def time_text(time_ns: int) -> str:
    """RFC 3339 with nine decimals, in quotes."""
    whole_s, fraction_ns = divmod(time_ns, 10**9)
    return f'"{_second(whole_s)}.{fraction_ns:09d}Z"'


def _time_or_none(time_ns: int) -> str | None:
    return format_time(time_ns) if time_ns else None
