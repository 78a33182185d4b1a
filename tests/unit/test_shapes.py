"""The language of shapes, and the reader around the kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shape_tools import Bench

from tickplant.feeds.kit import raw_numbers, raw_text, shape_kernels, shape_program
from tickplant.feeds.kit.shape_reader import ShapeReader
from tickplant.feeds.kit.shapes import Give, Ids, Row, Seen, Shapes, Stamp, each, levels
from tickplant.feeds.kit.state_table import CAUSE_TRADE, LAST_TRADE, LAST_TRADE_NS, NONE, SEEN_BOOK
from tickplant.feeds.kit.symbols import SymbolTable, find_symbol
from tickplant.kernels import kernel
from tickplant.records.batch import PRICE, TS_EVENT, VENUE_SEQ, TickBatch
from tickplant.records.layouts import Flag, Kind, Side

pytestmark = pytest.mark.kernels

TRADE = (
    '{"s":"<symbol>","i":<id:int>,"p":<price>,"t":<time:epoch><* but x>}',
    Seen(SEEN_BOOK),
    Ids(LAST_TRADE, "id", "time"),
    Row(Kind.TRADE, price="price", seq="id", time="time", flags=Flag.LAST),
)
BOOKS = (
    '{"books":',
    each(
        '{"s":"<symbol>","b":',
        levels('["<price>","<size>"]', Side.BID),
        ',"c":<checksum:int>}',
        Stamp(checksum="checksum"),
        Give(4, "checksum", 9),
    ),
    "}",
)
SHAPES = Shapes({"trade": TRADE, "books": BOOKS})
ROOM_ROW = 1024


def trade(ident: int, more: str = "", price: str = "1.5", time: int = 1_700_000_000_000) -> bytes:
    return f'{{"s":"A","i":{ident},"p":{price},"t":{time}{more}}}'.encode()


def books(*names: str) -> bytes:
    entries = (f'{{"s":"{name}","b":[["1","2"],["3","4"]],"c":{number}}}' for number, name in enumerate(names))
    return f'{{"books":[{",".join(entries)}]}}'.encode()


@pytest.fixture
def bench() -> Bench:
    return Bench(SHAPES, ("A", "B"))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (('{"a":<b:float>}',), "no type float"),
        (('{"a":<price',), "ends within|no compact"),
        (('{"a":"<b:text><c:text>"}',), "followed by nothing"),
        (('{"a":1',), "ends within"),
        (('{"a":1}}',), "too many"),
        (('{"a": 1}',), "compact"),
        (('{"a":"é"}',), "compact"),
        (("<*>[]",), "in no object"),
        (('{"a":<b c>}',), "no hole"),
        (('{"a":<b:amuchmuchtoolongword=1|no=2>}',), "longer than 16"),
        (('{"a":<price>}', Row(Kind.TRADE, price="price")), "no <symbol>"),
        (('{"a":"<symbol>"}', Row(Kind.TRADE, price="price")), "no hole named 'price'"),
        (('{"a":"<symbol>","b":"<symbol>"}',), "another symbol"),
        (('{"a":"<symbol>","b":"', each("<price>"), '"}'), "quotation marks"),
        (('{"a":', each('{"b":1'), "}}"), "ends within"),
        (('{"s":"<symbol>","a":', each("<price>", Stamp()), "}", Stamp()), "within another"),
        (
            ('{"s":"<symbol>","a":', each("<price>", Row(Kind.TRADE)), ',"b":', each("<price>", Give(1)), "}"),
            "gives all",
        ),
        (('{"b":', levels('["<price>","<size>"]', Side.BID), ',"s":"<symbol>"}'), "no <symbol>"),
    ],
)
def test_what_is_wrong_with_a_shape_is_said(parts: tuple, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Shapes({"mine": parts})
    assert "mine" in str(caught.value)


def test_a_program_has_room_for_so_many_shapes_and_names() -> None:
    many = {str(number): (f'{{"a{number}":<a{number}:int>}}',) for number in range(shape_program.MAX_SHAPES)}
    with pytest.raises(ValueError, match="names"):
        Shapes(many)
    with pytest.raises(ValueError, match="65 shapes"):
        Shapes({str(number): ("[]",) for number in range(65)})
    assert Shapes({}).names == ()
    with pytest.raises(ValueError, match="no more than 7"):
        Give(0, *range(8))


def test_members_that_nobody_reads_may_stand_anywhere_but_some(bench: Bench) -> None:
    frame = trade(1).decode()
    for number, more in enumerate(('"n":1', '"n":{"a":[true,"\\n"]}', '"averyveryverylongkey":null')):
        for place in range(4):
            members = frame[1:-1].split(",")
            members.insert(place, more)
            bench.state[0, LAST_TRADE] = NONE
            assert len(bench.read(f"{{{','.join(members)}}}".encode())) == 1, (number, place)
    assert not bench.referred
    for key in ("x", "s", "i", "p", "t"):
        bench.state[0, LAST_TRADE] = NONE
        spoilt = trade(1, f',"{key}":1')
        assert not bench.read(spoilt)
        assert bench.referred.pop() == spoilt
        assert bench.state[0, LAST_TRADE] == NONE


def test_ids_out_of_line_are_referred_and_repeats_counted(bench: Bench) -> None:
    assert len(bench.read(trade(5), trade(6), trade(6), trade(3))) == 2
    assert bench.reader.duplicates == 2
    assert not bench.referred
    reset = trade(1, time=1_700_000_002_000)
    gap = trade(8)
    bench.read(reset, gap)
    assert bench.referred == [reset, gap]
    assert bench.state[0, [LAST_TRADE, LAST_TRADE_NS]].tolist() == [6, 1_700_000_000_000_000_000]
    bench.state[0, [CAUSE_TRADE, SEEN_BOOK]] = 1, 0
    bench.read(trade(7))
    assert bench.referred[-1] == trade(7)
    assert bench.state[0, SEEN_BOOK] == 0, "what a frame that is referred did is undone"
    assert bench.reader.kinds == {Kind.TRADE: 2}
    assert bench.reader.fallbacks == {"trade": 3}
    assert bench.reader.last_fallback == ("trade", len(trade(7)))


def test_what_several_events_of_a_frame_give_is_handed_over_one_after_the_other(bench: Bench) -> None:
    rows = bench.read(trade(1), books("A", "B"), trade(2), books("B"), books())
    assert [row[VENUE_SEQ] for row in rows] == [1, 2]
    assert [(number, slot, values) for number, slot, _, values in bench.given] == [
        (4, 0, [0, 9]),
        (4, 1, [1, 9]),
        (4, 1, [0, 9]),
    ]
    for _, _, rows, _ in bench.given:
        assert [row[PRICE] for row in rows] == [100_000_000, 300_000_000, 0]
    assert bench.reader.parsed == 5
    assert bench.reader.taken == {"trade": 2, "books": 3}


def test_more_events_than_there_is_room_for_are_referred(bench: Bench) -> None:
    most = shape_program.MAX_GIFTS
    bench.read(books(*["A"] * most), books(*["A"] * (most + 1)))
    assert len(bench.given) == most
    assert bench.referred == [books(*["A"] * (most + 1))]


def test_a_frame_with_more_ids_than_can_be_undone_is_referred() -> None:
    shapes = Shapes({"many": ('{"s":"<symbol>","d":', each("<id:int>", Ids(LAST_TRADE, "id")), "}")})
    bench = Bench(shapes, ("A",))
    most = shape_program.MAX_UNDO // 2
    long, longer = (f'{{"s":"A","d":[{",".join(map(str, range(n)))}]}}'.encode() for n in (most, most + 1))
    bench.read(longer)
    assert bench.referred == [longer]
    assert bench.state[0, LAST_TRADE] == NONE
    bench.read(long)
    assert bench.state[0, LAST_TRADE] == most - 1
    bench.read(longer[:-1])
    assert bench.state[0, LAST_TRADE] == most - 1


def test_a_full_batch_gets_room_in_the_middle_of_frames() -> None:
    for capacity in (1, 2, 3):
        bench = Bench(SHAPES, ("A", "B"), capacity=capacity)
        rows = bench.read(*map(trade, range(10)), books("A"), *map(trade, range(10, 2000)))
        assert [row[VENUE_SEQ] for row in rows] == list(range(2000))
        assert len(bench.given) == 1
        assert not bench.referred
        assert bench.reader.parsed == 2001


@pytest.mark.parametrize("spoilt", [b"\0", trade(2) + b"\0" + trade(3), b"\0" + trade(2), trade(2) + b"\0"])
def test_a_frame_with_a_nul_is_referred_whole(bench: Bench, spoilt: bytes) -> None:
    for frames in ([trade(1), spoilt, trade(2)], [spoilt], [trade(3), spoilt]):
        bench.referred.clear()
        bench.read(*frames)
        assert bench.referred == [spoilt]


def test_nothing_and_what_is_no_bytes(bench: Bench) -> None:
    bench.read()
    bench.read(b"", b"")
    assert bench.referred == [b"", b""]
    assert bench.read(bytearray(trade(1)))
    assert len(bench.read(memoryview(trade(2)).tobytes(), bytearray(trade(3)))) == 2


def test_what_the_reference_raises_leaves_the_reader_fit_for_the_next_frames(bench: Bench) -> None:
    def refuse(*_: object) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        bench.reader.read((trade(1), b"{}", trade(2)), 1, bench.batch, refuse, refuse)
    assert len(bench.read(trade(2), trade(3))) == 2
    with pytest.raises(KeyError):
        bench.reader.read((trade(4), books("A"), trade(5)), 1, bench.batch, refuse, refuse)
    assert len(bench.read(trade(5))) == 1


def test_the_adapter_may_add_to_the_batch_and_replace_the_state_table(bench: Bench) -> None:
    def refer(frame: bytes, ts: int) -> None:
        for _ in range(3000):
            bench.batch.add(Kind.STATUS, 1)
        bench.state = np.concatenate([bench.state, bench.state])
        bench.table.add("C", 3)
        bench.reader.use_state(bench.state)

    frames = trade(1), b"{}", trade(2), trade(1).replace(b'"A"', b'"C"')
    bench.reader.read(frames, 1, bench.batch, refer, lambda *_: None)
    assert bench.batch.length == 3003
    assert bench.state[:, LAST_TRADE].tolist() == [2, NONE, 1, 1] or bench.state[3, LAST_TRADE] == 1
    with pytest.raises(ValueError, match="state table"):
        bench.reader.use_state(np.zeros((2, 3), np.int64))
    with pytest.raises(ValueError, match="state table"):
        ShapeReader(SHAPES, bench.table, bench.state[:, ::2])


def test_the_symbol_table_grows_and_takes_what_it_can() -> None:
    table = SymbolTable()
    names = [f"{letter}{number}" * length for letter in "AB" for number in range(50) for length in (1, 3, 7)]
    names = [name for name in names if len(name) <= 24]
    for slot, name in enumerate(names):
        assert table.add(name, slot)
    assert table.add(names[0], 7)
    for refused in ("", "é", "A" * 25, "a\n"):
        assert not table.add(refused, 1)
    entries, mask = table.head.tolist()
    assert _find(b"A0" + raw_text.PADDING * 3, 2, entries, mask) == 7
    for slot, name in enumerate(names[1:], 1):
        assert _find(name.encode() + raw_text.PADDING * 3, len(name), entries, mask) == slot
        assert _find(name[:-1].encode() + b"_" + raw_text.PADDING * 3, len(name), entries, mask) == NONE


def _find(text: bytes, length: int, entries: int, mask: int) -> int:
    array = np.frombuffer(text, np.uint8)
    return find(array.ctypes.data, length, entries, mask)


@kernel
def find(at: int, length: int, entries: int, mask: int) -> int:
    return find_symbol(at, length, entries, mask)


@kernel
def parts(at: int, stop: int) -> tuple[int, int, int, int, int, int, int]:
    count, value = raw_text.digits_at(at)
    first = raw_text.word_at(at)
    mixed = raw_text.mix(first, raw_text.word_at(at + 8), 7)
    zeros = raw_text.zero_bytes(first)
    return count, value, raw_text.plain_length(at, stop), zeros, raw_text.byte_at(at), first, mixed


@settings(max_examples=300)
@given(st.one_of(st.binary(min_size=16, max_size=16), st.text('019a"\\~ ', min_size=16, max_size=16).map(str.encode)))
def test_the_parts_compiled_equal_the_parts_in_python(text: bytes) -> None:
    array = np.frombuffer(text, np.uint8)
    at = array.ctypes.data
    assert parts(at, ord("9")) == getattr(parts, "py_func", parts)(at, ord("9"))


@kernel
def rescaled(mantissa: int, decimals: int, scale: int) -> int:
    return raw_numbers.rescale(mantissa, decimals, scale)


@settings(max_examples=200)
@given(st.integers(0, 2**63 - 1), st.integers(0, 18), st.integers(0, 18))
def test_a_number_is_rescaled_exactly_or_not_at_all(mantissa: int, decimals: int, scale: int) -> None:
    value = rescaled(mantissa, decimals, scale)
    if value >= 0:
        assert value * 10**decimals == mantissa * 10**scale
    else:
        assert mantissa * 10**scale % 10**decimals != 0 or mantissa * 10**scale // 10**decimals > 2**63 - 1
    assert rescaled(mantissa, raw_numbers.RAW, scale) == mantissa


def test_a_warmed_up_kernel_is_compiled_once() -> None:
    shape_kernels.warm_up()
    assert len(getattr(shape_kernels.walk, "signatures", [None])) == 1


def test_a_batch_is_not_kept_alive_for_its_rows(bench: Bench) -> None:
    other = TickBatch()
    bench.read(trade(1))
    bench.reader.read((trade(2),), 1, other, lambda *_: None, lambda *_: None)
    assert other.length == 1
    assert len(bench.read(trade(3))) == 1


def test_shapes_are_exchanged_between_two_frames_of_one_read() -> None:
    def shape(key: str) -> Shapes:
        return Shapes({key: (f'{{"{key}":"<symbol>","p":<price>}}', Row(Kind.TRADE, price="price"))})

    def frame(key: str) -> bytes:
        return f'{{"{key}":"A","p":1.5}}'.encode()

    class Exchanging(Bench):
        def _refer(self, frame: bytes, ts: int) -> None:
            super()._refer(frame, ts)
            if frame == b"exchange":
                self.reader.use_shapes(shape("second"))

    bench = Exchanging(shape("first"), ("A",))
    rows = bench.read(frame("first"), frame("second"), b"exchange", frame("first"), frame("second"), frame("second"))
    assert len(rows) == 3
    assert bench.referred == [frame("second"), b"exchange", frame("first")]
    assert bench.reader.taken == {"second": 2}
    assert bench.reader.parsed == 3
    assert sum(bench.reader.fallbacks.values()) == 3


def test_an_element_may_be_several_values_of_the_list() -> None:
    rows = each('"<symbol>",<price>,<size>', Row(Kind.TRADE, price="price", size="size"))
    bench = Bench(Shapes({"rows": ('{"n":3,"rows":', rows, "}")}), ("A", "B"))
    assert [row[PRICE] for row in bench.read(b'{"n":3,"rows":["A",1,2,"B",3,4]}')] == [10**8, 3 * 10**8]
    assert bench.read(b'{"n":3,"rows":[]}') == []
    assert not bench.referred
    for spoilt in (b'{"n":3,"rows":["A",1,2,"B",3]}', b'{"n":3,"rows":["A",1]}', b'{"n":4,"rows":["A",1,2]}'):
        assert bench.read(spoilt) == []
        assert bench.referred.pop() == spoilt


@pytest.mark.parametrize("times", ["1788264000000,1788264001000", "1788264001000,0"])
def test_the_later_of_two_times_and_a_part_of_the_ms_are_the_time_of_the_row(times: str) -> None:
    text = '{"s":"<symbol>","t":[<time:epoch>,<time:later>],"n":<time:nanos>}'
    bench = Bench(Shapes({"one": (text, Row(Kind.TRADE, time="time"))}), ("A",))
    frame = f'{{"s":"A","t":[{times}],"n":999999}}'
    (row,) = bench.read(frame.encode())
    assert row[TS_EVENT] == 1_788_264_001_000_999_999
    for wrong in ("1000000", "-1", "1.5", "9223372036854775807"):
        assert bench.read(frame.replace("999999", wrong).encode()) == []


@pytest.mark.parametrize("hole", ["<other:later>", "<other:nanos>", "<w:UNDEFINED=0|UNDEFINEDTOO=1>"])
def test_a_time_without_one_before_and_words_that_begin_alike_are_errors(hole: str) -> None:
    with pytest.raises(ValueError, match="no time before|same 8 bytes"):
        Shapes({"one": (f'{{"s":"<symbol>","t":<time:epoch>,"n":{hole}}}', Row(Kind.TRADE, time="time"))})


def test_words_of_up_to_16_bytes_are_told_apart() -> None:
    text = '{"s":"<symbol>","w":"<w:BUY=1|UNDEFINED=2|SIXTEENLETTERSXY=3>"}'
    bench = Bench(Shapes({"one": (text, Row(Kind.TRADE, seq="w"))}), ("A",))
    words = ["BUY", "UNDEFINED", "SIXTEENLETTERSXY", "UNDEFINEX", "SIXTEENLETTERSXZ", "UNDEFINE", "BUYS"]
    found = [[row[VENUE_SEQ] for row in bench.read(f'{{"s":"A","w":"{word}"}}'.encode())] for word in words]
    assert found == [[1], [2], [3], [], [], [], []]
