"""OKX's recording of 2022, against a parse with json and dicts: records, books, what one wrong digit costs."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
import zstandard
from independent import recording
from okx_tools import subscribed
from venue_desk import SECOND, Record, VenueDesk

from tickplant.feeds.contract import Send
from tickplant.records.layouts import Flag, GapCause, Kind, Side

SCALE = 8
SYMBOLS = ["BTC-USD-220527", "UNI-USD-SWAP", "BTC-USDT"]
UPDATE = b'"action":"update"'


@cache
def frames(*, chained: bool = False) -> list[bytes]:
    """All that was received; `chained` as the venue sends it since, with a number on each change of a book."""
    body = recording("venues/OKX.ws.1.0.zst").read_bytes()
    lines = zstandard.ZstdDecompressor().stream_reader(body).read().splitlines()
    received = [line.partition(b": ")[2] for line in lines if not line.startswith(b"wss:")]
    return list(with_numbers(received)) if chained else received


def with_numbers(received: list[bytes]) -> Iterator[bytes]:
    last: dict[str, int] = {}
    for number, frame in enumerate(received, 7):
        if b'"channel":"books"' in frame and b'"action"' in frame:
            symbol = json.loads(frame)["arg"]["instId"]
            prev, last[symbol] = last.get(symbol, -1), number
            frame = re.sub(rb'("checksum":-?\d+)', rb'\1,"prevSeqId":%d,"seqId":%d' % (prev, number), frame)  # noqa: PLW2901
        yield frame


def live(**options: Any) -> VenueDesk:
    return subscribed(SYMBOLS, **options)


def mantissa(text: str) -> int:
    return int(Decimal(text).scaleb(SCALE))


Book = dict[Side, dict[int, int]]


def change(book: Book, message: dict[str, Any]) -> None:
    """What a message says of a book."""
    (data,) = message["data"]
    for side, name in ((Side.BID, "bids"), (Side.ASK, "asks")):
        if message["action"] == "snapshot":
            book[side].clear()
        for price, size, *_ in data[name]:
            book[side][mantissa(price)] = mantissa(size)
            if not mantissa(size):
                del book[side][mantissa(price)]


def fold(book: Book, records: list[Record]) -> None:
    """What records say of a book."""
    for record in records:
        if record.kind == Kind.CLEAR:
            book[Side.BID].clear()
            book[Side.ASK].clear()
        elif record.kind == Kind.LEVEL:
            book[record.side][record.price] = record.size
            if not record.size:
                del book[record.side][record.price]


def books() -> dict[str, Book]:
    return {symbol: {Side.BID: {}, Side.ASK: {}} for symbol in SYMBOLS}


@pytest.mark.parametrize("use_shapes", [True, False], ids=["by shape", "by reference"])
@pytest.mark.parametrize("chained", [False, True], ids=["as recorded", "with numbers"])
def test_every_frame_becomes_what_json_reads(*, use_shapes: bool, chained: bool) -> None:
    desk, theirs, ours, updates = live(use_shapes=use_shapes), books(), books(), 0
    for frame in frames(chained=chained):
        message, records = json.loads(frame), desk.feed(frame, ts=SECOND)
        if "event" in message:
            assert records == []
            continue
        channel, symbol = message["arg"]["channel"], message["arg"]["instId"]
        (data,) = message["data"]
        assert {record.symbol for record in records} == {symbol}
        assert {record.ts_event for record in records} == {int(data["ts"]) * 10**6}
        assert [bool(record.flags & Flag.LAST) for record in records] == [False] * (len(records) - 1) + [True]
        if channel == "trades":
            side = Side.BUY if data["side"] == "buy" else Side.SELL
            read = (
                Kind.TRADE,
                int(data["tradeId"]),
                int(data["tradeId"]),
                mantissa(data["px"]),
                mantissa(data["sz"]),
                side,
            )
            (one,) = records
            assert (one.kind, one.venue_seq, one.order_id, one.price, one.size, one.side) == read
            assert one.flags == Flag.LAST | Flag.AGGREGATE
        elif channel == "tickers":
            sides = [
                (side, mantissa(data[f"{name}Px"]), mantissa(data[f"{name}Sz"]))
                for side, name in ((Side.BID, "bid"), (Side.ASK, "ask"))
            ]
            assert [(one.side, one.price, one.size) for one in records] == sides
        else:
            updates += 1
            change(theirs[symbol], message)
            fold(ours[symbol], records)
            assert ours[symbol] == theirs[symbol]
            assert (records[-1].kind, records[-1].size) == (Kind.CHECKSUM, data["checksum"])
    counters = desk.adapter.counters
    assert updates == 290
    assert (counters.checksums_ok, counters.checksums_failed, counters.gaps) == (290, 0, 0)
    assert (counters.rejected, counters.resyncs, counters.duplicates) == (0, 0, 0)
    taken = desk.adapter.market.listings.reader.taken
    if use_shapes and chained:
        assert taken["book"] + taken["book, negative"] == 287


def in_the_text_of_the_checksum(at: int) -> bool:
    """Whether the first level that an update brings is among the best 25 then."""
    book, message = books(), json.loads(frames()[at])
    for frame in frames()[: at + 1]:
        if b'"channel":"books"' in frame and b'"action"' in frame:
            change(book[json.loads(frame)["arg"]["instId"]], json.loads(frame))
    for side, name in ((Side.BID, "bids"), (Side.ASK, "asks")):
        for price, size, *_ in message["data"][0][name][:1]:
            best = sorted(book[message["arg"]["instId"]][side], reverse=side == Side.BID)[:25]
            return mantissa(price) in best and mantissa(size) > 0
    return False


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("where", ["checksum", "size"])
def test_one_wrong_digit_costs_the_book_of_its_pair_alone(seed: int, where: str) -> None:
    chance = random.Random(seed)
    updates = [at for at, frame in enumerate(frames()) if UPDATE in frame]
    at = next(
        at for at in chance.sample(updates, len(updates)) if where == "checksum" or in_the_text_of_the_checksum(at)
    )
    frame, desk = frames()[at], live()
    symbol = json.loads(frame)["arg"]["instId"]
    found = re.search(rb'"checksum":-?(\d)' if where == "checksum" else rb'\["[^"]*","\d*?([1-9])', frame)
    assert found is not None
    digit = b"%d" % (int(found[1]) % 9 + 1)
    damaged = frame[: found.start(1)] + digit + frame[found.end(1) :]
    desk.feed(*frames()[:at], ts=SECOND)
    before = len(desk.actions)
    (gap,) = [one for one in desk.feed(damaged, ts=SECOND) if one.kind == Kind.GAP]
    assert (gap.kind, gap.symbol, gap.price) == (Kind.GAP, symbol, GapCause.CHECKSUM)
    told = [json.loads(action.payload) for action in desk.actions[before:] if isinstance(action, Send)]
    wanted = [{"channel": "books", "instId": symbol}]
    assert [(one["op"], one["args"]) for one in told] == [("unsubscribe", wanted), ("subscribe", wanted)]
    rest = desk.feed(*frames()[at + 1 :], ts=SECOND)
    assert not [one for one in rest if one.kind == Kind.GAP]
    assert (desk.adapter.counters.resyncs, desk.adapter.counters.checksums_failed) == (1, 1)
    others = [each for each in SYMBOLS if each != symbol]
    assert all(desk.adapter.market.listings.by_symbol[each].book.live for each in others)
    assert not desk.adapter.market.listings.by_symbol[symbol].book.live


def test_a_change_that_is_missing_or_comes_twice_shows_in_the_numbers_where_there_are_no_checksums() -> None:
    sent = [re.sub(rb'"checksum":-?\d+', b'"checksum":0', frame) for frame in frames(chained=True)]
    ours = [at for at, frame in enumerate(sent) if UPDATE in frame and b'"BTC-USDT"' in frame]
    desk = live()
    records = desk.feed(*sent[: ours[5]], sent[ours[4]], ts=SECOND)
    assert not [one for one in records if one.kind in (Kind.GAP, Kind.CHECKSUM)]
    assert desk.adapter.counters.duplicates == 1
    records = desk.feed(*sent[ours[5] + 1 :], ts=SECOND)
    gaps = [one for one in records if one.kind == Kind.GAP]
    assert [(one.symbol, one.price) for one in gaps] == [("BTC-USDT", GapCause.SEQUENCE)]
    assert desk.adapter.counters.checksums_ok == 0
