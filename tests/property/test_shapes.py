"""The kernel that reads frames by shape equals the plain reader, or leaves the frame to the reference decoder."""

from __future__ import annotations

import functools
import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shape_tools import Pair, new_state

from tickplant.feeds.kit.shapes import (
    Fresh,
    Give,
    Ids,
    Last,
    Row,
    Seen,
    Shape,
    Shapes,
    Stamp,
    each,
    levels,
    one_of,
)
from tickplant.feeds.kit.state_table import LAST_QUOTE, LAST_TRADE, SEEN_BOOK, SEEN_QUOTE, SEEN_TRADE
from tickplant.feeds.venues.binance import shapes as binance
from tickplant.feeds.venues.coinbase import shapes as coinbase
from tickplant.feeds.venues.coinbase_advanced import shapes as advanced
from tickplant.feeds.venues.dxlink import shapes as dxlink
from tickplant.feeds.venues.kraken import shapes as kraken
from tickplant.feeds.venues.okx import shapes as okx
from tickplant.feeds.venues.polygon import shapes as polygon
from tickplant.kernels import JIT_ENABLED
from tickplant.records.layouts import Flag, Kind, Side

pytestmark = pytest.mark.kernels

# Of no venue: what the shapes of venues do not use as yet.
OTHERS: dict[str, Shape] = {
    "nested lists, sides by word, time behind": (
        '{"channel":"l2_data","time":"<time:rfc3339>","events":',
        each(
            '{"type":"update","product":"<symbol>","updates":',
            each(
                '{"side":"<side:bid=1|offer=2>","price":"<price>","size":"<size>"<*>}',
                Row(Kind.LEVEL, side="side", price="price", size="size"),
            ),
            "}",
            Seen(SEEN_BOOK),
            Stamp(time="time"),
            Give(3, 5, "time"),
        ),
        ',"n":<n:int>}',
    ),
    "price before symbol, seconds, the last row flagged": (
        '{"trades":',
        each(
            '{"p":<price+>,"q":<size>,"buy":<side:true=1|false=2>,"i":<id:int>,"t":"<time:seconds>","s":"<symbol>"}',
            Ids(LAST_TRADE, "id", "time"),
            Row(Kind.TRADE, side="side", price="price", size="size", seq="id", time="time"),
        ),
        "<*>}",
        Last(),
    ),
    "levels with a key, any value": (
        '{"s":"<symbol>","x":<_:any>,"bid":',
        levels('{"price":"<price>","qty":"<size>"<*>}', Side.BID),
        ',"seq":<id:int>,"t":<time:epoch>}',
        Seen(SEEN_QUOTE),
        Ids(LAST_QUOTE, "id", "time", by_one=False, drop_repeats=False),
        Stamp(time="time", seq="id", checksum="id"),
    ),
    "a bare quote": (
        '["<symbol>",<price>,<size>,<_:number>]',
        Row(Kind.QUOTE, price="price", size="size", flags=Flag.LAST),
    ),
    "ids with holes, lists as bytes": (
        "[",
        '{"y":"<symbol>","i":<id:int>,"c":<why:bytes!2!60>,"d":<bytes>,"p":<price>,"q":<size>,"t":<time:epoch><*>}',
        "]",
        Seen(SEEN_TRADE),
        Fresh("id", "time"),
        Row(Kind.TRADE, price="price", size="size", seq="id", order="why", time="time", flags=Flag.LAST),
        Row(Kind.TRADE, order="bytes"),
    ),
}
_CHOSEN_TRADE = (
    '{"y":"T","s":"<symbol>","i":<id:int>,"p":<price>,"q":<size>,"t":<time:epoch><*>}',
    Seen(SEEN_TRADE),
    Fresh("id", "time"),
    Row(Kind.TRADE, price="price", size="size", seq="id", time="time", flags=Flag.LAST),
)
_CHOSEN_QUOTE = (
    '{"y":"Q","s":"<symbol>","i":<id:int>,"b":<bid:price+>,"a":<ask:price+>}',
    Ids(LAST_QUOTE, "id", by_one=False),
    Row(Kind.QUOTE, side=Side.BID, price="bid", seq="id"),
    Row(Kind.QUOTE, side=Side.ASK, price="ask", seq="id", flags=Flag.LAST),
)
_CHOSEN_OTHER = ('{"y":"T","s":"<symbol>","i":"<_:text>"}', Row(Kind.TRADE))
OTHERS["elements of several kinds"] = ('{"d":', one_of(_CHOSEN_TRADE, _CHOSEN_QUOTE, _CHOSEN_OTHER), "<*>}", Last())
_QUOTE = "eventType eventSymbol eventTime sequence askTime askPrice askSize bidTime bidPrice bidSize"
_SALE = "index time timeNanoPart exchangeCode size price aggressorSide spreadLeg validTick type eventFlags eventSymbol"
DXLINK = dxlink.texts_of(
    [
        (1, "Quote", _QUOTE.split()),
        (3, "TimeAndSale", _SALE.split()),
        (5, "TimeAndSale", ["eventSymbol", "index", "price", "type"]),
    ]
)
VENUES = {
    "spot": binance.SPOT,
    "usdm": binance.USDM,
    "coinm": binance.COINM,
    "kraken": kraken.SHAPES,
    "stocks": polygon.STOCKS,
    "options": polygon.OPTIONS,
    "pairs": polygon.CRYPTO,
    "dxlink": DXLINK,
    "others": OTHERS,
}
VENUES |= {"coinbase": {"match": coinbase.MATCH, **coinbase.ORDERS}, "coinbase-advanced": advanced.SHAPES}
VENUES |= {"okx": okx.SHAPES}
SYMBOLS = ("BTCUSDT", "A", "BTC/USD", "EIGHTLTR", "SIXTEEN-LETTERS-", "A-SYMBOL-OF-24-LETTERS-X")


@functools.cache
def compiled(venue: str) -> Shapes:
    return Shapes(VENUES[venue])


def pair(venue: str, scale: int = 8) -> Pair:
    return Pair(VENUES[venue], compiled(venue), SYMBOLS, scale=scale)


ODD_WORDS = "00.5|5.|.5|-1|+1|1e3|1E-2|0.000000001|0.0000000100|NaN|1_0|0x1|null|0|0.0|1|10|12345678|123456789|true"
ODD = ODD_WORDS.split("|")
LONG = ["1" * 16, "1" * 18, "1" * 19, "1" * 20, "9" * 19, "92233720368.54775807", "92233720368.54775808"]
plain_number = st.decimals(0, 10**7, places=5).map(lambda value: format(value, "f"))
number = st.one_of(plain_number, plain_number, plain_number, plain_number, st.sampled_from(ODD + LONG))
ident = st.one_of(st.integers(0, 9), st.sampled_from([2**63 - 1, 2**63, 10**30, -1]))
TIMES = [0, 1_700_000_000_000_123, 9_223_372_036_854, 9_223_372_036_855, 10**14, 10**16, 10**17, 10**18, 2**63]
epoch = st.one_of(st.integers(1_700_000_000_000, 1_700_000_004_000), st.sampled_from(TIMES))
CLOCKS = ["2023-10-06T17:35:55.440295Z", "1970-01-01T00:00:00Z", "2024-02-29T23:59:59.999999999Z"]
CLOCKS += ["2023-02-29T00:00:00Z", "2100-02-28T00:00:00.1Z", "2000-02-29T12:00:00.12345678Z", "2262-01-01T00:00:00Z"]
CLOCKS += ["1969-12-31T23:59:59Z", "2023-13-01T00:00:00Z", "2023-10-06 17:35:55Z", "2023-10-06T17:35:60Z"]
CLOCKS += [
    "2023-10-06T24:00:00Z",
    "2023-10-06T17:35:55+00:00",
    "2023-10-06T17:35:55.1234567891Z",
    "2023-00-10T00:00:00Z",
]
clock = st.one_of(
    st.datetimes().map(lambda time: time.isoformat() + "Z"),
    st.integers(-1, 2**63 // 10**9).map(
        lambda s: (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(0, s)).isoformat()[:-6] + "Z"
    ),
    st.sampled_from(CLOCKS),
)
name = st.sampled_from(SYMBOLS * 2 + ("UNKNOWN", "", "B", "BTCUSD", "测试", "A-SYMBOL-OF-25-LETTERS-XY"))
VALUES = {
    "symbol": name,
    "price": number,
    "price+": number,
    "size": number,
    "size+": number,
    "int": ident.map(str),
    "epoch": epoch.map(str),
    "later": epoch.map(str),
    "nanos": st.sampled_from(["0", "567890", "999999", "1000000", "-1", "1.5", "01"]),
    "seconds": st.one_of(plain_number, st.just("1616663618.123456789"), number),
    "rfc3339": clock,
    "bytes": st.lists(st.sampled_from([0, 1, 2, 12, 37, 60, 62, 63, 254, 255, 256, 10**18]), max_size=9).map(
        lambda numbers: json.dumps(numbers, separators=(",", ":"))
    )
    | st.sampled_from(["[-1]", "[1.5]", "[1e1]", "null", "[1,]", "[", "7", "[true]", "[01]", f"[{2**64}]", '["1"]']),
    "uuid": st.one_of(
        st.uuids().map(str),
        st.uuids().map(lambda one: str(one).upper()),
        st.sampled_from(["", "x", "3f6c0c1e-0000-4000-8000-00000000000g", "3f6c0c1e000040008000000000000001"]),
        st.uuids().map(lambda one: str(one)[:35]),
    ),
    "text": st.sampled_from(["btcusdt", "", "a@b", "limit", "a longer text of plain letters", "é", "\\n", "market"]),
    "number": st.sampled_from(["0", "-1.5e-3", "100.0", "-0", "1e999", "01", "1.", "1" * 40, "1" * 41, '"1"']),
    "any": st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), st.integers(), st.text('a"\\é\n', max_size=3)),
        lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.just("k"), inner)),
        max_leaves=4,
    ).map(lambda value: json.dumps(value, separators=(",", ":"))),
}
FURTHER = ["", "", "", ',"st":1', ',"new":{"a":[1,null],"b":"\\n"}', ',"X":1', ',"e":1', ',"s":"A"', ',"stream":1', ","]


@st.composite
def example(draw: st.DrawFn, parts: Shape) -> str:
    """A frame, or an element of a list, that mostly fits."""
    frame = ""
    for part in parts:
        if isinstance(part, str):
            text = part
            while "<" in text:
                before, _, rest = text.partition("<")
                hole, _, text = rest.partition(">")
                kind = hole.rpartition(":")[2]
                if kind.startswith("*"):
                    value = st.sampled_from(FURTHER)
                elif "|" in kind:
                    words = [word.partition("=")[0] for word in kind.split("|")]
                    value = st.sampled_from(words * 6 + ["other", "", words[0] + "s"])
                else:
                    value = VALUES[kind.partition("!")[0]]
                frame += before + draw(value)
            frame += text
        elif hasattr(part, "parts"):
            frame += "[" + ",".join(draw(st.lists(st.sampled_from(part.choices).flatmap(example), max_size=4))) + "]"
    return frame


DAMAGE = b'0"\\.,:-e{}[]tn 9@\x00\xff'


@st.composite
def frames(draw: st.DrawFn, venue: str) -> bytes:
    shapes = VENUES[venue]
    frame = draw(example(shapes[draw(st.sampled_from(list(shapes)))])).encode()
    match draw(st.integers(0, 9)):
        case 0:
            frame = frame[: draw(st.integers(0, len(frame)))]
        case 1 if frame:
            spoilt = bytearray(frame)
            spoilt[draw(st.integers(0, len(frame) - 1))] = draw(st.sampled_from(DAMAGE))
            frame = bytes(spoilt)
        case 2:
            place = draw(st.integers(0, len(frame)))
            frame = frame[:place] + bytes([draw(st.sampled_from(DAMAGE))]) + frame[place:]
        case 3:
            frame = frame.replace(b'"BTCUSDT"', b'"A","s":"BTCUSDT"', 1)
    return frame


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=80)
@given(scale=st.sampled_from([8, 8, 5, 0, 18]), data=st.data())
def test_the_kernel_equals_the_plain_reader_or_leaves_the_frame(venue: str, scale: int, data: st.DataObject) -> None:
    both = pair(venue, scale)
    for frame in data.draw(st.lists(frames(venue), min_size=1, max_size=12)):
        both.read(frame)


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=40)
@given(cuts=st.lists(st.integers(0, 10), max_size=4), data=st.data())
def test_how_frames_are_cut_into_reads_does_not_matter(venue: str, cuts: list[int], data: st.DataObject) -> None:
    sequence = data.draw(st.lists(frames(venue), min_size=1, max_size=10))
    outputs = []
    for bounds in ([0, *sorted(cuts), len(sequence)], range(len(sequence) + 1)):
        bench = pair(venue).bench
        rows = [bench.read(*sequence[start:stop]) for start, stop in itertools.pairwise(bounds)]
        state = bench.state.tolist()
        counts = (bench.reader.parsed, bench.reader.duplicates, bench.reader.kinds, bench.reader.taken)
        fallbacks = bench.reader.fallbacks
        outputs.append((list(itertools.chain(*rows)), bench.referred, bench.given, state, counts, fallbacks))
    assert outputs[0] == outputs[1]


GOLDEN = {
    ("spot", "quote of stream"): '{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"0.01249000",'
    '"B":"31.21000000","a":"0.01251000","A":"40.66000000"}}',
    ("spot", "trade of stream"): '{"stream":"btcusdt@trade","data":{"e":"trade","E":1788264000051,"s":"BTCUSDT","t":2,'
    '"p":"0.01251000","q":"0.10000000","T":1788264000050,"m":false,"M":true}}',
    ("spot", "diff of stream"): '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1788264000300,'
    '"s":"BTCUSDT","U":161,"u":163,"b":[["0.01249000","7.00000000"]],"a":[["0.01251000","0.00000000"],["2","3"]]}}',
    ("spot", "aggregate trade of stream"): '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1788264001512,'
    '"s":"BTCUSDT","a":901,"p":"0.01249000","q":"1.00000000","f":5006,"l":5006,"T":1788264001510,"m":true,"M":true}}',
    ("spot", "quote of !bookTicker"): '{"stream":"!bookTicker","data":{"u":1,"s":"BTCUSDT","b":"0.01249000",'
    '"B":"31.21000000","a":"0.01251000","A":"40.66000000"}}',
    ("spot", "diff of @depth"): '{"stream":"btcusdt@depth","data":{"e":"depthUpdate","E":1788264000300,'
    '"s":"BTCUSDT","U":161,"u":163,"b":[["0.01249000","7.00000000"]],"a":[]}}',
    ("usdm", "quote of stream"): '{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":5123107839020,'
    '"s":"BTCUSDT","b":"61800.20","B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256313}}',
    ("usdm", "documented quote of stream"): '{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":9041,'
    '"E":1788264000911,"T":1788264000910,"s":"BTCUSDT","b":"60000.10","B":"1.500","a":"60000.30","A":"0.004"}}',
    ("usdm", "trade of stream"): '{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161256322,"T":1723161256322,'
    '"s":"BTCUSDT","t":5266583935,"p":"61800.30","q":"0.006","X":"MARKET","m":false}}',
    ("usdm", "diff of stream"): '{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1788264000805,'
    '"T":1788264000800,"s":"BTCUSDT","U":9010,"u":9020,"pu":9004,"b":[["60000.10","1.500"]],"a":[]}}',
    ("usdm", "aggregate trade of stream"): '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":123456789,'
    '"s":"BTCUSDT","a":5933014,"p":"0.001","q":"100","f":100,"l":105,"T":123456785,"m":true}}',
    ("usdm", "other aggregate trade of stream"): '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":123456789,'
    '"a":5933014,"s":"BTCUSDT","p":"0.001","q":"100","f":100,"l":105,"T":123456785,"m":true}}',
    ("usdm", "quote of !bookTicker"): '{"stream":"!bookTicker","data":{"e":"bookTicker","u":5123107839020,'
    '"s":"BTCUSDT","b":"61800.20","B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256313}}',
    ("usdm", "documented quote of !bookTicker"): '{"stream":"!bookTicker","data":{"e":"bookTicker","u":9041,'
    '"E":1788264000911,"T":1788264000910,"s":"BTCUSDT","b":"60000.10","B":"1.500","a":"60000.30","A":"0.004"}}',
    ("usdm", "diff of @depth"): '{"stream":"btcusdt@depth","data":{"e":"depthUpdate","E":1788264000805,'
    '"T":1788264000800,"s":"BTCUSDT","U":9010,"u":9020,"pu":9004,"b":[],"a":[["60000.10","1.500"]]}}',
    ("kraken", "book"): '{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":'
    '[{"price":45285.2,"qty":0.00000000},{"price":45300.1,"qty":0.50000000}],"checksum":1398182243,'
    '"timestamp":"2026-09-01T12:00:01.000001Z"}]}',
    ("kraken", "trade"): '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":45283.5,'
    '"qty":0.10000000,"ord_type":"limit","trade_id":901,"timestamp":"2026-09-01T11:59:59.500000Z"},{"symbol":"BTC/USD",'
    '"side":"buy","price":45283.6,"qty":2,"ord_type":"market","trade_id":902,"timestamp":"2026-09-01T11:59:59.5Z"}]}',
    (
        "kraken",
        "ticker",
    ): '{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":45283.5,'
    '"bid_qty":0.09,"ask":45286.4,"ask_qty":1.54571953,"last":45284.9,"volume":2300.50000000,"vwap":45100.1,"low":44000.0,'
    '"high":46000.0,"change":-100.0,"change_pct":-0.22,"timestamp":"2026-09-01T12:00:03.300000Z"}]}',
    ("kraken", "ticker without time"): '{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":45283.5,'
    '"bid_qty":0.1,"ask":45286.4,"ask_qty":1.54571953,"last":45284.9,"volume":2300.50000000,"vwap":45100.1,'
    '"low":44000.0,"high":46000.0,"change":100.0,"change_pct":0.22}]}',
    ("others", "nested lists, sides by word, time behind"): '{"channel":"l2_data","time":"2026-09-01T12:00:03.2Z",'
    '"events":[{"type":"update","product":"A","updates":[{"side":"bid","price":"1.5","size":"2"},{"side":"offer",'
    '"price":"2.5","size":"0","new":[]}]},{"type":"update","product":"BTC/USD","updates":[{"side":"bid","price":"1",'
    '"size":"2"}]}],"n":4}',
    ("others", "price before symbol, seconds, the last row flagged"): '{"trades":[{"p":1.5,"q":2,"buy":true,"i":1,'
    '"t":"1616663618.123456","s":"A"},{"p":1.25,"q":2,"buy":false,"i":2,"t":"1616663618.2","s":"A"},{"p":1.25,"q":2,'
    '"buy":false,"i":2,"t":"1616663618.2","s":"A"}]}',
    ("others", "levels with a key, any value"): '{"s":"A","x":{"y":[]},"bid":[{"price":"1","qty":"2","new":1}],"seq":7,'
    '"t":1788264000800}',
    ("others", "a bare quote"): '["A",1.5,0,-1e-3]',
}
GOLDEN["dxlink", "Quote 1"] = (
    '{"type":"FEED_DATA","channel":1,"data":["Quote",["Quote","A",0,7,1788264000000,230.13,200,1788264001000,230.11,300,'
    '"Quote","BTC/USD",null,8,0,1.5,2,0,1.25,0]]}'
)
GOLDEN["dxlink", "TimeAndSale 3"] = (
    '{"type":"FEED_DATA","channel":3,"data":["TimeAndSale",[7680535401890578439,1788264001234,567890,"Q",100.0,230.12,'
    '"BUY",false,true,"NEW",0,"A",7680535401890578440,1788264001234,0,"Q",1,230.12,"UNDEFINED",false,true,"NEW",0,"A"]]}'
)
GOLDEN["dxlink", "TimeAndSale 5"] = (
    '{"type":"FEED_DATA","channel":5,"data":["TimeAndSale",["A",768053540189057843,230.12,"NEW"]]}'
)
GOLDEN["others", "ids with holes, lists as bytes"] = (
    '[{"y":"A","i":3681328,"c":[0,12,37],"d":[255,256,1,2,3,4,5,200],"p":414.125,"q":100,"t":1788267600784,"z":3}]'
)
GOLDEN["stocks", "events"] = (
    '[{"ev":"T","sym":"A","x":4,"i":"12345","z":3,"p":414.125,"s":100,"c":[0,12],"t":1788267600784,"q":3681328},'
    '{"ev":"Q","sym":"A","bx":4,"bp":1.5,"bs":2,"ax":7,"ap":1.75,"as":1,"c":0,"i":[604],"t":1788267600786,"q":5,"z":3},'
    '{"ev":"T","sym":"A","x":4,"i":"7","z":3,"p":1.5,"s":3,"t":1788267600785,"q":3681330,"trfi":202}]'
)
GOLDEN["options", "events"] = (
    '[{"ev":"Q","sym":"A","bx":302,"ax":302,"bp":9.71,"ap":9.81,"bs":17,"as":24,"t":1644506128351,"q":844090872},'
    '{"ev":"T","sym":"A","x":65,"p":1.54,"s":1,"c":[233],"t":1629820676333,"q":651921857}]'
)
GOLDEN["pairs", "events"] = (
    '[{"ev":"XT","pair":"A","p":33021.9,"t":1610462007425,"s":0.01616617,"c":[2],"i":14272084,"x":3,"r":1610462007576},'
    '{"ev":"XQ","pair":"A","bp":1.5,"bs":0.48,"ap":1.75,"as":0.601,"t":1610462411115,"x":1,"r":1610462411128}]'
)
GOLDEN["others", "elements of several kinds"] = (
    '{"d":[{"y":"Q","s":"A","i":7,"b":1.5,"a":1.75},{"y":"T","s":"BTC/USD","i":"x"},'
    '{"y":"T","s":"A","i":9,"p":1.5,"q":3,"t":1788267600784,"z":3}]}'
)
for shape, of_usdm in (
    ("quote of stream", "quote of stream"),
    ("quote of !bookTicker", "quote of !bookTicker"),
    ("trade of stream", "trade of stream"),
    ("diff of stream", "diff of stream"),
    ("diff of @depth", "diff of @depth"),
    ("aggregate trade of stream", "other aggregate trade of stream"),
):
    named = GOLDEN["usdm", of_usdm]
    if shape.startswith(("quote", "diff")):  # which name the pair as well
        named = named.replace('"s":"BTCUSDT"', '"s":"BTCUSDT","ps":"BTCUSD"')
    GOLDEN["coinm", shape] = named.replace('{"e":"bookTicker","u":5123107839020', '{"u":5123107839020,"e":"bookTicker"')
for venue, shape in [(venue, shape) for venue, shape in GOLDEN if venue in ("spot", "usdm", "coinm")]:
    if shape.endswith("of stream"):
        raw = GOLDEN[venue, shape].partition('"data":')[2][:-1]
        GOLDEN[venue, f"raw {shape.removesuffix(' of stream')}"] = raw


def test_every_shape_has_a_golden_frame() -> None:
    # Those of Coinbase and OKX stand in tests/unit/test_coinbase_*.py and test_okx_*.py, by shape and by reference.
    named = {venue: shapes for venue, shapes in VENUES.items() if not venue.startswith(("coinbase", "okx"))}
    assert {(venue, shape) for venue, shapes in named.items() for shape in shapes} == set(GOLDEN)


@pytest.mark.parametrize(("venue", "shape"), GOLDEN)
def test_a_golden_frame_is_taken_by_its_shape_and_by_no_other(venue: str, shape: str) -> None:
    frame = GOLDEN[venue, shape].encode()
    reading = pair(venue).read(frame)
    assert reading is not None
    assert reading.shape == shape
    assert reading.rows
    others = {name: other for name, other in VENUES[venue].items() if name != shape}
    assert Pair(others, Shapes(others), SYMBOLS).read(frame) is None


@pytest.mark.parametrize(("venue", "shape"), GOLDEN)
def test_every_small_damage_to_a_golden_frame_is_read_alike_or_left(venue: str, shape: str) -> None:
    frame = GOLDEN[venue, shape].encode()
    whole = pair(venue)
    taken = 0
    for place in range(0, len(frame), 1 if JIT_ENABLED else 3):
        before, after = frame[:place], frame[place:]
        damaged = [before, before + after[1:], before + after[:1] + after]
        for byte in b'0"\\.,:-e{} \x00' if JIT_ENABLED else (DAMAGE[place % len(DAMAGE)], 0):
            damaged += [before + bytes([byte]) + after, before + bytes([byte]) + after[1:]]
        for each_one in damaged:
            whole.bench.state[:] = whole.state[:] = new_state(SYMBOLS, 8)
            taken += whole.read(each_one) is not None
    assert taken > 0
