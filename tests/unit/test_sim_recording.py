"""Reading a recording, and the book kept of what was played."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from tickplant.errors import FeedError
from tickplant.sim.dialects.binance.recorded import BinanceRecording, frame_id
from tickplant.sim.dialects.binance.session import COMBINED, RAW
from tickplant.sim.kept_book import KeptBook
from tickplant.sim.recording_reader import PIECE_FRAMES, Contents, Fetched, Piece, pieces
from tickplant.sim.recording_reader import scan as scan_for
from tickplant.sim.spec import parse_spec

T0_NS = 1_700_000_000 * 10**9


def trade(symbol: str, ident: int) -> bytes:
    return b'{"stream":"%b@trade","data":{"e":"trade","s":"X","t":%d,"p":"1.0"}}' % (symbol.encode(), ident)


def diff(symbol: str, first: int, last: int) -> bytes:
    body = b'{"e":"depthUpdate","U":%d,"u":%d,"pu":7,"b":[["1.0","2"]],"a":[]}' % (first, last)
    return b'{"stream":"%b@depth@0ms","data":%b}' % (symbol.encode(), body)


def snapshot(ident: int) -> bytes:
    return b'{"lastUpdateId":%d,"bids":[],"asks":[]}' % ident


def scan(path: Path) -> Contents:
    return scan_for(path, BinanceRecording("binance", kept_trades=10))


def write(path: Path, frames: list[bytes]) -> Path:
    with gzip.open(path, "wb") as file:
        file.writelines(b"%d %b\n" % (T0_NS + i, frame) for i, frame in enumerate(frames))
    return path


@pytest.mark.parametrize("frames_a_block", [1, 3])
def test_a_zstd_recording_is_read_block_by_block(tmp_path: Path, frames_a_block: int) -> None:
    frames = [trade("a", ident) for ident in range(9)]
    lines = [b"%d %b\n" % (T0_NS + i, frame) for i, frame in enumerate(frames)]
    blocks = [lines[i : i + frames_a_block] for i in range(0, len(lines), frames_a_block)]
    path = tmp_path / "r.zst"
    path.write_bytes(b"".join(zstandard.compress(b"".join(block)) for block in blocks))
    (piece,) = pieces(scan(path))
    assert isinstance(piece, Piece)
    assert [piece.batch.payload(i) for i in range(9)] == frames
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(FeedError, match=r"ends in the middle of a compressed block, after line \d"):
        scan(path)


def test_streams_symbols_and_snapshots_are_found(tmp_path: Path) -> None:
    ack = b'{"result":null,"id":1}'
    path = write(
        tmp_path / "r.gz",
        [ack, trade("a", 1), diff("a", 10, 20), snapshot(125), diff("b", 100, 120), snapshot(15), diff("b", 121, 130)],
    )
    contents = scan(path)
    assert contents.streams == ["a@trade", "a@depth@0ms", "b@depth@0ms"]
    assert list(contents.venue.listed()) == ["A", "B"]
    assert contents.frames == 4
    assert contents.fetched == {4: "B"}  # 15 lies within no diffs: before 20, the first final id of a


def test_pieces_hold_every_frame_byte_for_byte_and_the_snapshot_at_its_place(tmp_path: Path) -> None:
    frames = [trade("a", 1), diff("a", 10, 20), snapshot(25), diff("a", 21, 30), snapshot(28)]
    frames += [trade("a", i) for i in range(2, PIECE_FRAMES + 9)]
    contents = scan(write(tmp_path / "r.gz", frames))
    played = []
    sizes = []
    for item in pieces(contents):
        if isinstance(item, Fetched):
            assert (item.recv_ns, item.symbol) == (T0_NS + 2, "A")
            played.append(item.body)
            continue
        assert isinstance(item, Piece)
        sizes.append(item.batch.messages)
        for i in range(item.batch.messages):
            played.append(item.batch.payload(i, COMBINED))
            assert json.loads(played[-1])["data"] == json.loads(item.batch.payload(i, RAW))
            assert item.recv_ns[i] == T0_NS + frames.index(played[-1])
        assert item.batch.part(1, 2).payload(0, COMBINED) == item.batch.payload(1, COMBINED)
    assert played == [frame for frame in frames if frame != snapshot(28)]  # later snapshots have no place of their own
    assert sizes == [2, PIECE_FRAMES, 8]


def test_times_in_any_unit_and_the_parts_of_a_folder_are_played_as_one_recording(tmp_path: Path) -> None:
    first, second = tmp_path / "recording" / "b", tmp_path / "recording" / "a"
    first.parent.mkdir()
    first.write_bytes(b"1700000000000 %b\r\n2023-11-14T22:13:20.25Z %b\n" % (trade("a", 1), trade("a", 2)))
    second.write_bytes(gzip.compress(b"1700000000500000 %b\n" % trade("a", 3)))
    (piece,) = pieces(scan(first.parent))
    assert isinstance(piece, Piece)
    assert (piece.recv_ns - T0_NS).tolist() == [0, 250_000_000, 500_000_000]
    assert [piece.batch.payload(i) for i in range(3)] == [trade("a", 1), trade("a", 2), trade("a", 3)]


def test_ids_are_read_without_decoding() -> None:
    assert frame_id(diff("a", 5, 9), "depth") == 9
    assert frame_id(trade("a", 77), "trade") == 77
    assert frame_id(b'{"stream":"x","data":{"u":3,"s":"X"}}', "bookTicker") == 3
    assert frame_id(b"{}", "bookTicker") == 0
    assert frame_id(b'{"t":1}', "kline_1m") == 0


def test_a_recording_that_cannot_be_played_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "r.gz"
    with pytest.raises(FeedError, match=r"r\.gz: the recording cannot be read: No such file"):
        scan(path)
    path.write_bytes(b"1 {}\n")
    with pytest.raises(FeedError, match=r"r\.gz: line 1 has a receive time that is not between the years"):
        scan(path)
    with pytest.raises(FeedError, match="line 2 is not a message of binance"):
        scan(write(path, [trade("a", 1), b'{"type":"l2update"}']))
    path.write_bytes(gzip.compress(b"1700000000.5 " + trade("a", 1) + b"\nabc\n"))
    with pytest.raises(FeedError, match="line 2 does not begin with a receive time"):
        scan(path)
    path.write_bytes(write(path, [trade("a", i) for i in range(5000)]).read_bytes()[:-20])
    with pytest.raises(FeedError, match=r"r\.gz: ends in the middle of a compressed block, after line"):
        scan(path)
    with pytest.raises(FeedError, match="holds no frame"):
        scan(write(path, [snapshot(1)]))


def book(kept: KeptBook, limit: int = 100) -> dict[str, object]:
    shown: dict[str, object] = json.loads(kept.answer(limit))
    return shown


def payload(last: int, bids: list[list[str]], asks: list[list[str]], **more: int) -> bytes:
    return json.dumps({"U": 1, "u": last, "b": bids, "a": asks} | more).encode()


def test_diffs_that_the_snapshot_already_holds_are_not_applied_and_newer_ones_are() -> None:
    kept = KeptBook(expects_snapshot=True)
    kept.apply(payload(5, [["9.0", "1.0"]], []))
    kept.apply(payload(8, [["10.0", "0.000"]], [["11.0", "4.0"]]))
    kept.start(b'{"lastUpdateId":6,"bids":[["10.0","2.0"],["9.5","1.0"]],"asks":[["10.5","1.0"]]}')
    assert book(kept) == {"lastUpdateId": 8, "bids": [["9.5", "1.0"]], "asks": [["10.5", "1.0"], ["11.0", "4.0"]]}
    kept.apply(payload(7, [["1.0", "1.0"]], []))  # old
    kept.apply(payload(9, [["10.1", "3"]], []))
    assert book(kept, 1) == {"lastUpdateId": 9, "bids": [["10.1", "3"]], "asks": [["10.5", "1.0"]]}


def test_a_book_without_a_snapshot_is_what_the_diffs_say() -> None:
    kept = KeptBook(expects_snapshot=False)
    kept.apply(payload(5, [["9.0", "1.0"]], [], E=1, T=2))
    assert book(kept) == {"lastUpdateId": 5, "E": 1, "T": 2, "bids": [["9.0", "1.0"]], "asks": []}


def test_what_was_recorded_as_garbage_does_not_touch_the_book() -> None:
    kept = KeptBook(expects_snapshot=False)
    kept.apply(b"garbage")
    assert book(kept) == {"lastUpdateId": 0, "bids": [], "asks": []}
    with pytest.raises(FeedError, match="depth snapshot cannot be read"):
        kept.start(b'{"lastUpdateId":1}')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "the spec is wrong"),
        ('{"venue":"nowhere"}', "'nowhere' is not a venue; choose from "),
        ('{"speed":0}', "speed"),
        ('{"sped":1}', "sped"),
        ('{"symbols":["btcusdt"]}', "'btcusdt' is not a symbol"),
        ('{"symbols":["A","A"]}', "listed twice"),
    ],
)
def test_a_wrong_spec_is_refused_with_the_key_at_fault(text: str, words: str) -> None:
    with pytest.raises(FeedError, match=words):
        parse_spec(text)
