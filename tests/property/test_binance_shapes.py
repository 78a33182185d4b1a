"""Shapes with their fallback equal the reference decoder alone: tick for tick, counter for counter."""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import pytest
from binance_tools import Desk, agg_trade, as_bytes, diff, quote, snapshot, trade, words, wrapped
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.kernels

SYMBOLS = ("BTCUSDT", "A", "1000SHIBUSDT", "ANAMETHATISLONGERTHAN24BYTES", "测试USDT", "UNKNOWN")

plain = st.decimals(0, 10**6, places=4).map(lambda value: format(value, "f"))
ODD = "0|0.00000000|00.5|5.|.5||-1|+1|1e3|1E-2|0.000000001|0.000000010|NaN| 1|1 |1,5|0x1|1_0|٣"
LONG = ["1" * 18, "1" * 19, "1" * 400, "92233720368.54775807", "92233720368.54775808"]
odd = st.sampled_from(ODD.split("|") + LONG)
number = st.one_of(plain, plain, plain, odd)
ident = st.one_of(st.integers(0, 12), st.integers(0, 12), st.sampled_from([10**18, 2**63 - 1, 2**63, 10**30, -1]))
time = st.one_of(
    st.integers(1_700_000_000_000, 1_700_000_003_000),
    st.sampled_from([0, 1, 1_700_000_000_000_123, 10**13, 10**14, 10**16, 10**17, 10**18, 2**63, -5]),
)
symbol = st.sampled_from(SYMBOLS[:2] * 3 + SYMBOLS)
levels = st.lists(st.tuples(number, number), max_size=3)


@st.composite
def payloads(draw: st.DrawFn) -> dict:
    """A message of a hot kind, of spot or futures, mostly in line with the ones before."""
    name, when = draw(symbol), draw(time)
    match draw(st.sampled_from(["trade", "trade", "agg", "quote", "quote", "timed quote", "diff", "diff", "futures"])):
        case "trade":
            fields = trade(draw(ident), symbol=name, price=draw(number), size=draw(number), time=when)
            fields |= {"m": draw(st.booleans())}
            if draw(st.booleans()):
                del fields["M"]
                fields["X"] = draw(st.sampled_from(["MARKET", "MARKET", "ADL", "MARKETS"]))
            return fields
        case "agg":
            return agg_trade(draw(ident), draw(ident), symbol=name, time=when) | {"p": draw(number)}
        case "quote":
            return quote(draw(ident), symbol=name, bid=draw(number), ask=draw(number)) | {"B": draw(number)}
        case "timed quote":
            return {"e": "bookTicker"} | quote(draw(ident), symbol=name) | {"T": when, "E": when}
        case "diff":
            first = draw(ident)
            return diff(first, first + draw(st.integers(0, 3)), draw(levels), draw(levels), symbol=name) | {"E": when}
        case _:
            first, previous = draw(ident), draw(ident)
            fields = diff(
                first, first + draw(st.integers(0, 3)), draw(levels), draw(levels), symbol=name, previous=previous
            )
            return fields | {"T": when}


SPECIAL = [
    {"e": "serverShutdown", "E": 1_700_000_000_000},
    {"e": "kline", "s": "A"},
    {"result": None, "id": 1},
    {"code": 2, "msg": "no", "id": 1},
    wrapped("a@depth5", snapshot(7, [("1", "2")])),
    snapshot(5, [("1", "2")], [("3", "4")]),
    snapshot(-1),
    {},
]
STREAMS = [
    "a@trade",
    "a@depth@100ms",
    "a@depth",
    "a@depth20@100ms",
    "a@depth10",
    "a@depthless",
    "a@rpiDepth@500ms",
    "a@depth@ms",
    "a@aggTrade",
    "a@bookTicker",
    "a@x@trade",
    "!bookTicker",
    "a@depthSnapshot",
    "测试usdt@trade",
    "@",
    "",
]
KEYS = [*"eEstpqTmMXaflUubBA", "pu", "ps", "x", "stream", "data", "lastUpdateId", "result", "st", "a new one", "é", ""]

VALUES = [None, True, 0, -3, 10**30, 0.5, 1e-7, 1e300, "", "A", "é", '\\"]', "\n\u0001", "\U0001f600", [], {}]
VALUES += [[1, [None], {"e": {}}], {"e": "trade", "": [0.5, "}"]}, [["1", "1"]], [["1", "1", []]]]


def with_further(draw: st.DrawFn, fields: dict) -> dict:
    """The same message with keys that nobody reads, or reads otherwise, anywhere in it."""
    items = list(fields.items())
    for key in draw(st.lists(st.sampled_from(KEYS), max_size=3)):
        items.insert(draw(st.integers(0, len(items))), (key, draw(st.sampled_from(VALUES))))
    return dict(items)


def stream_of(payload: dict) -> st.SearchStrategy[str]:
    """Mostly the name of the stream that would bring a message."""
    own = str(payload.get("e", "bookTicker")).replace("depthUpdate", "depth@100ms")
    return st.one_of(st.just(f"a@{own}"), st.sampled_from(STREAMS))


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame: sound, or spoilt in one of many ways."""
    payload = draw(st.one_of(payloads(), payloads(), payloads(), st.sampled_from(SPECIAL)))
    if draw(st.integers(0, 4)) == 0:
        payload = dict(draw(st.permutations(list(payload.items()))))
    if draw(st.integers(0, 5)) == 0:
        payload = payload | {
            draw(st.sampled_from(KEYS)): draw(st.sampled_from([0, 1, "1", "A", None, True, [], [["1", "1"]], {}]))
        }
    if draw(st.integers(0, 3)) == 0:
        payload = with_further(draw, payload)
    if draw(st.booleans()):
        payload = wrapped(draw(stream_of(payload)), payload)
        if draw(st.integers(0, 5)) == 0:
            payload = with_further(draw, payload)
    raw = json.dumps(payload, separators=(",", ":"), ensure_ascii=draw(st.booleans())).encode()
    match draw(st.integers(0, 15)):
        case 0:
            raw = raw[: draw(st.integers(0, len(raw)))]
        case 1 if raw:
            flipped = bytearray(raw)
            flipped[draw(st.integers(0, len(raw) - 1))] ^= 1 << draw(st.integers(0, 7))
            raw = bytes(flipped)
        case 2:
            place = draw(st.integers(0, len(raw)))
            raw = (
                raw[:place]
                + draw(st.sampled_from([b" ", b"\n", b",", b'"', b"}", b"\\u0041", b"0", b"-", b".", b"\xff"]))
                + raw[place:]
            )
        case 3:
            raw = json.dumps(json.loads(raw), indent=1).encode()
        case 4:
            place = raw.rfind(b'"')
            raw = raw[:place] + raw[place + 1 :]
        case 5:
            raw = raw.replace(
                b":1", draw(st.sampled_from([b":01", b":-1", b":1.0", b":1e3", b":1111111111111111111"])), 1
            )
        case 6:
            # A key twice: the last one counts.
            raw = raw.replace(b'"s":"A"', b'"s":"A","s":"BTCUSDT"', 1)
    return raw


@settings(max_examples=200)
@given(
    batches=st.lists(st.lists(frames(), max_size=12), min_size=1, max_size=4),
    configured=st.booleans(),
    futures=st.booleans(),
    scale=st.sampled_from([8, 8, 4, 0]),
)
def test_shapes_and_fallback_equal_the_reference_alone(
    batches: list[list[bytes]], configured: bool, futures: bool, scale: int
) -> None:
    symbols = SYMBOLS[:-1] if configured else None
    desks = []
    for use_shapes in (True, False):
        desk = Desk(symbols, futures=futures, scale=scale, use_shapes=use_shapes)
        output = []
        for ts, batch in enumerate(batches):
            desk.frames("", batch, ts)
            output.append(words(desk.take_ticks()))
        desk.take()
        counters = msgspec.structs.replace(desk.adapter.counters, fallbacks=0)
        assert counters.frames == counters.parsed + counters.ignored + counters.rejected
        assert counters.ticks == sum(counters.kinds.values()) == sum(map(len, output))
        desks.append((output, counters, desk.rejects, desk.requests, desk.actions, desk.instruments))
    assert desks[0] == desks[1]


def in_order(fields: dict, keys: str) -> dict:
    return {key: fields[key] for key in keys}


SOUND = {
    "trade": lambda n: wrapped("a@trade", trade(n, symbol="A", price="12.50", size="0.75")),
    "futures trade": lambda n: in_order(trade(n, symbol="A", X="MARKET"), "eETstpqXm"),
    "aggregate trade": lambda n: agg_trade(n, 10 * n, symbol="A"),
    "quote": lambda n: wrapped("a@bookTicker", quote(n, symbol="A")),
    "futures quote": lambda n: {"e": "bookTicker"} | quote(n, symbol="A") | {"T": 1_700_000_000_000, "E": 1},
    "diff": lambda n: wrapped("a@depth@100ms", diff(n, n, [("1.5", "2"), ("1", "0")], [("2", "3")], symbol="A")),
    "futures diff": lambda n: diff(n, n, [("1.5", "2")], [], symbol="A", previous=n - 1),
}
FIRST = 100_000
FURTHER = (
    '"st":1',
    '"ps":"BTCUSDT"',
    '"V":-0.25e-3',
    '"n":null',
    '"nested":{"a":[1,{"b":"]}\\"\\\\"},[]],"":{}}',
    '"list":[[],[true,false,null],"\\u00e9\\/"]',
)


@pytest.mark.parametrize("kind", SOUND)
@pytest.mark.parametrize("more", FURTHER)
def test_fields_that_nobody_reads_keep_no_frame_from_the_kernel(kind: str, more: str) -> None:
    wrap = SOUND[kind](FIRST)
    places = len(wrap.get("data", wrap)) + 1
    plain = [SOUND[kind](FIRST + n) for n in range(places + 1)]
    extended = []
    for n, frame in enumerate(plain):
        items = list(frame.get("data", frame).items())
        items.insert(n, ("?", 0))
        extended.append(frame | {"data": dict(items)} if "data" in frame else dict(items))
    if "data" in wrap:
        extended[-1] = {"stream": wrap["stream"], "?": 0, "data": plain[-1]["data"], "??": 0}
    outputs = []
    for sequence in (plain, extended):
        desk = Desk(("A",), futures="futures" in kind)
        desk.feed(SOUND[kind](FIRST - 1))  # the symbol becomes known
        before = desk.adapter.counters.fallbacks
        raw = [as_bytes(frame).replace(b'"?":0', more.encode()).replace(b'"??":0', more.encode()) for frame in sequence]
        desk.frames("", raw, 1)
        assert desk.adapter.counters.fallbacks == before
        desk.end()
        outputs.append(words(desk.take_ticks()))
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) >= places


@pytest.mark.parametrize(
    "kind", ["trade", *(pytest.param(kind, marks=pytest.mark.long) for kind in SOUND if kind != "trade")]
)
def test_every_small_damage_to_a_sound_frame_is_read_alike(kind: str) -> None:
    make = SOUND[kind]
    spoilt: list[bytes] = []

    def fresh() -> bytes:
        # Damaged and sound frames alternate, so that a rejected one leaves the next damaged one in line again.
        return as_bytes(make(FIRST + 2 * len(spoilt)))

    for place in range(len(fresh())):
        spoilt.append(fresh()[:place])
        for byte in b'0"\\.,:-e{} ':
            spoilt.append(fresh()[:place] + bytes([byte]) + fresh()[place:])
            spoilt.append(fresh()[:place] + bytes([byte]) + fresh()[place + 1 :])
        spoilt.append(fresh()[:place] + fresh()[place + 1 :])
    payload = make(FIRST).get("data", make(FIRST))
    for key in (*payload, "stream", "data", "z"):
        for value in ("0", '"0"', '"A"', "true", "null", "[]", '[["1","1"]]', "01"):
            # A key once more: the last one counts.
            more = f',"{key}":{value}'.encode()
            spoilt.append(fresh()[:-1] + more + fresh()[-1:])
            spoilt.append(fresh()[:-2] + more + fresh()[-2:])
    outputs = []
    for use_shapes in (True, False):
        desk = Desk(("A",), use_shapes=use_shapes, futures="futures" in kind)
        sequence = [as_bytes(make(FIRST - 1))]
        for number, frame in enumerate(spoilt):
            sequence += [frame, as_bytes(make(FIRST + 2 * number + 1))]
        desk.frames("", sequence, 1)
        desk.end()  # diffs were held back: no snapshot came
        outputs.append((words(desk.take_ticks()), desk.rejects))
        counters = desk.adapter.counters
        assert counters.frames == len(sequence) > 1000
        assert counters.fallbacks < 0.9 * len(sequence)
    assert outputs[0] == outputs[1]


@settings(max_examples=100)
@given(st.lists(frames(), min_size=1, max_size=20), st.data())
def test_how_frames_are_cut_into_batches_does_not_matter(sequence: list[bytes], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sequence)), max_size=5)))
    outputs = []
    for bounds in ([0, len(sequence)], [0, *cuts, len(sequence)]):
        desk = Desk()
        output: list[list[int]] = []
        for start, stop in pairwise(bounds):
            desk.frames("", sequence[start:stop], 1)
            output += words(desk.take_ticks())
        outputs.append(output)
    assert outputs[0] == outputs[1]
