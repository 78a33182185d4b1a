"""What the reference decoder reads, refuses and ignores."""

from __future__ import annotations

import pytest

from tickplant.feeds.kit.numbers import epoch_ns, price, size
from tickplant.feeds.kit.rejected import RejectError
from tickplant.feeds.venues.binance.messages import (
    Answer,
    BookTicker,
    Diff,
    ExchangeInfo,
    Ignored,
    Level,
    NamedSnapshot,
    PartialDepth,
    Refusal,
    Shutdown,
    Snapshot,
    Trade,
    decode,
)


def test_times_are_read_as_ms_us_or_ns_by_their_magnitude() -> None:
    assert epoch_ns(1_788_264_000_013) == 1_788_264_000_013_000_000
    assert epoch_ns(1_788_264_000_013_457) == 1_788_264_000_013_457_000
    assert epoch_ns(1_788_264_000_013_457_891) == 1_788_264_000_013_457_891
    assert epoch_ns(0) == 0


@pytest.mark.parametrize("time", [10**13, 10**16])
def test_a_time_of_no_unit_is_rejected(time: int) -> None:
    with pytest.raises(RejectError) as rejected:
        epoch_ns(time)
    assert rejected.value.cause == "time"


def test_prices_are_exact_and_zeros_beyond_the_scale_do_no_harm() -> None:
    assert price("61837.63000000", 2) == 6183763
    assert price("1e-2", 2) == 1
    assert price("-0.5", 1) == -5
    assert size("0.00000000", 0) == 0


@pytest.mark.parametrize(
    ("text", "cause"),
    [("0.001", "scale"), ("92233720368547758.08", "scale"), ("1e99", "scale"), ("", "value"), ("NaN", "value")],
)
def test_a_value_that_does_not_fit_is_rejected_and_never_rounded(text: str, cause: str) -> None:
    with pytest.raises(RejectError) as rejected:
        price(text, 2)
    assert rejected.value.cause == cause


def test_a_negative_size_is_rejected() -> None:
    with pytest.raises(RejectError) as rejected:
        size("-1", 2)
    assert rejected.value.cause == "value"


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"", "not json"),
        (b"{", "not json"),
        (b"\xff\xfe", "not json"),
        (b'{"x":' * 100_000, "not json"),
        (b'{"e":"trade","s":"A"}', "schema"),
        (b'{"e":5}', "schema"),
        (b'{"u":-1,"s":"A","b":"1","B":"1","a":"1","A":"1"}', "schema"),
        (b'{"u":9223372036854775808,"s":"A","b":"1","B":"1","a":"1","A":"1"}', "schema"),
        (b'{"lastUpdateId":1,"bids":[["1","2","3"]],"asks":[]}', "schema"),
        (b'{"lastUpdateId":1,"bids":[["1","2",[],[]]],"asks":[]}', "schema"),
        (b'{"lastUpdateId":1,"bids":[["1","2",[3]]],"asks":[]}', "schema"),
        (b"[]", "schema"),
        (b"[1]", "schema"),
        (b'[{"s":"A"}]', "schema"),
        (b'[{"e":"kline"},{"e":"trade","s":"A"}]', "schema"),
        (b"{}", "unknown message"),
        (b'{"stream":"bnbbtc@trade","data":{"lastUpdateId":1,"bids":[],"asks":[]}}', "unknown message"),
    ],
)
def test_a_frame_that_cannot_be_read_is_rejected_with_a_stable_cause(raw: bytes, cause: str) -> None:
    with pytest.raises(RejectError) as rejected:
        decode(raw)
    assert rejected.value.cause == cause


def test_refusals_are_understood_in_both_forms() -> None:
    assert decode(b'{"code":2,"msg":"no"}') == Refusal(2, "no", None)
    assert decode(b'{"error":{"code":3,"msg":"bad"},"id":7}') == Refusal(3, "bad", 7)
    assert decode(b'{"result":null,"id":"x"}') == Answer("x")


def test_kinds_that_are_not_recorded_are_named() -> None:
    assert decode(b'{"e":"24hrTicker","E":1}') == Ignored("24hrTicker")
    assert decode(b'{"stream":"bnbbtc@ticker_1h@x","data":{"e":"1hTicker","E":1}}') == Ignored("ticker_1h")
    assert decode(b'{"stream":"bnbbtc@novelty","data":{"v":1}}') == Ignored("novelty")
    assert decode(b'{"stream":"!markPrice@arr@1s","data":[{"e":"markPriceUpdate"}]}') == Ignored("!markPrice")
    assert decode(b' [{"e":"24hrTicker","s":"A"},{"e":"24hrTicker","s":"B"}]') == Ignored("24hrTicker")
    assert decode(b'{"e":"serverShutdown","E":5}') == Shutdown(5)


def test_on_futures_only_the_streams_name_tells_a_partial_book_from_a_diff() -> None:
    data = b'{"e":"depthUpdate","E":2,"T":1,"s":"BTCUSDT","U":3,"u":4,"pu":2,"b":[],"a":[["1","2"]]}'
    assert isinstance(decode(b'{"stream":"btcusdt@depth@0ms","data":' + data + b"}"), Diff)
    partial = decode(b'{"stream":"btcusdt@depth20@100ms","data":' + data + b"}")
    assert partial == PartialDepth("btcusdt", 4, [], [Level("1", "2")], 1)


DEPTH = '{"e":"depthUpdate","E":2,"s":"BTCUSDT","U":3,"u":4,"b":[],"a":[["1","2"]]}'
TRADE = '{"e":"trade","E":2,"s":"BTCUSDT","t":3,"p":"1","q":"1","T":1,"m":true}'
QUOTE = '{"u":4,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}'
BOOK = '{"lastUpdateId":4,"bids":[],"asks":[["1","2"]]}'


@pytest.mark.parametrize(
    ("stream", "data", "kind"),
    [
        ("btcusdt@trade", TRADE, Trade),
        ("btcusdt@bookTicker", QUOTE, BookTicker),
        ("!bookTicker", QUOTE, BookTicker),
        ("btcusdt@depth", DEPTH, Diff),
        ("btcusdt@depth@100ms", DEPTH, Diff),
        ("btcusdt@depth@500ms", DEPTH, Diff),
        ("测试usdt@depth@0ms", DEPTH, Diff),
        ("btcusdt@depth5", BOOK, PartialDepth),
        ("btcusdt@depth10@100ms", BOOK, PartialDepth),
        ("btcusdt@depth20@250ms", DEPTH, PartialDepth),
        ("btcusdt@depthSnapshot", BOOK, NamedSnapshot),
    ],
)
def test_the_streams_that_are_read_are_known_by_their_whole_name(stream: str, data: str, kind: type) -> None:
    assert type(decode(f'{{"stream":"{stream}","data":{data}}}'.encode())) is kind


OTHER_STREAMS = [
    "rpiDepth",
    "rpiDepth@500ms",
    "rpiDepth5",
    "depthRpi@100ms",
    "depth@rpi",
    "depth@100",
    "depth@100us",
    "depth@ms",
    "depth100",
    "depth50@100ms",
    "depth5@100ms@x",
    "depth@100ms@rpi",
    "Depth",
    "depths",
    "depth5s",
    "depthUpdate",
    "trade2",
    "tradeRpi",
    "trades",
    "aggTrade@100ms",
    "aggtrade",
    "blockTrade",
    "rpiTrade",
    "bookTickerRpi",
    "bookTicker@100ms",
    "depthSnapshots",
    "depth@1٣ms",
    "depth@100ms ",
    "",
]


@pytest.mark.parametrize("name", OTHER_STREAMS)
@pytest.mark.parametrize("data", [DEPTH, TRADE, QUOTE, BOOK, "[]", "null", '"x"'])
def test_every_other_stream_is_ignored_whatever_it_carries(name: str, data: str) -> None:
    assert type(decode(f'{{"stream":"btcusdt@{name}","data":{data}}}'.encode())) is Ignored


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (kind, data)
        for kind, own in (("trade", TRADE), ("aggTrade", None), ("bookTicker", QUOTE), ("depth", DEPTH))
        for data in (DEPTH, TRADE, QUOTE, BOOK)
        if data is not own
    ],
)
def test_what_a_stream_by_its_name_cannot_carry_is_rejected(kind: str, data: str) -> None:
    stream = f"btcusdt@{kind}"
    with pytest.raises(RejectError) as rejected:
        decode(f'{{"stream":"{stream}","data":{data}}}'.encode())
    assert rejected.value.cause == "unknown message"


def test_levels_of_old_messages_have_an_empty_third_element() -> None:
    book = decode(b'{"lastUpdateId":4,"bids":[["1","2",[]]],"asks":[["3","4"]]}')
    assert isinstance(book, Snapshot)
    assert (book.bids, book.asks) == ([Level("1", "2")], [Level("3", "4")])


def test_rest_answers_are_told_apart_by_their_content() -> None:
    assert decode(b'{"lastUpdateId":-1,"bids":[],"asks":[]}') == Snapshot(-1, [], [])
    info = decode(b'{"timezone":"UTC","symbols":[{"symbol":"A","quotePrecision":8,"status":"TRADING"}]}')
    assert isinstance(info, ExchangeInfo)
    assert (info.symbols[0].symbol, info.symbols[0].quotePrecision) == ("A", 8)
