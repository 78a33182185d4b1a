"""A frame of each shape as the venue prints it, and each small damage to it."""

from __future__ import annotations

import pytest
from all_shapes import DAMAGE, SYMBOLS, VENUES, pair
from shape_tools import Pair, new_state

from tickplant.feeds.kit.shapes import (
    Shapes,
)
from tickplant.kernels import JIT_ENABLED

pytestmark = pytest.mark.kernels

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
