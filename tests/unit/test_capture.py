"""Recordings in every compression, whole and damaged; raw capture and what a full disk does to it."""

from __future__ import annotations

import gzip
import json
import os
import socket
import tracemalloc
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tickplant.errors import FeedError
from tickplant.feeds import capture_lines
from tickplant.feeds.capture import Capture
from tickplant.feeds.capture_lines import parse_line, why_not
from tickplant.feeds.contract import Answer, Closed, Frames, Opened, Reject, Request, Second
from tickplant.feeds.rejects import FILE_BYTES, RAW_BYTES, RejectLog
from tickplant.runtime import recorded_lines
from tickplant.runtime.recorded_lines import READ_BYTES, CutLine, Recording

LINES = [b'%d {"t":%d}' % (1_700_000_000_000_000_000 + number, number) for number in range(5000)]
TEXT = b"\n".join(LINES) + b"\n"
NOW_S = 1_760_000_000
T0 = NOW_S * 10**9


def read(path: Path) -> tuple[list[bytes], str]:
    recording = Recording(path)
    lines = [line for block in recording.blocks() for line in block]
    return lines, recording.damage


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain", TEXT),
        ("one.gz", gzip.compress(TEXT)),
        ("members.gz", gzip.compress(TEXT[:777]) + gzip.compress(TEXT[777:])),
        ("one.zst", zstandard.compress(TEXT)),
        ("frames.zst", zstandard.compress(TEXT[:777]) + zstandard.compress(TEXT[777:])),
    ],
)
def test_every_line_is_read_whatever_the_compression(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert read(tmp_path / name) == (LINES, "")


def test_a_last_line_without_its_end_is_read(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(TEXT[:-1])
    assert read(tmp_path / "plain") == (LINES, "")


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_file_cut_anywhere_gives_its_whole_lines_and_says_that_it_is_cut(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    first, second = compress(TEXT), compress(b"2 second\n" * 3)
    for cut in (1, 5, len(second) // 2, len(second) - 1):
        path = tmp_path / f"cut{cut}"
        path.write_bytes(first + second[:cut])
        lines, damage = read(path)
        assert lines[: len(LINES)] == LINES
        assert set(lines[len(LINES) :]) <= {b"2 second"}
        assert str(path) in damage


def test_a_file_spoilt_in_the_middle_says_so(tmp_path: Path) -> None:
    data = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(TEXT))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "bad.zst").write_bytes(data)
    assert read(tmp_path / "bad.zst")[1]


def test_a_folder_is_read_in_the_order_of_its_receive_times(tmp_path: Path) -> None:
    lines = [b"%d frame" % (NOW_S * 10**9 + number) for number in range(4)]
    (tmp_path / "hour9").write_bytes(b"\n".join(lines[:2]) + b"\n")
    (tmp_path / "hour10.gz").write_bytes(gzip.compress(lines[2]))
    (tmp_path / "hour11.zst").write_bytes(zstandard.compress(b"no line\n" + lines[3]))
    (tmp_path / ".hidden").write_bytes(b"1760000000000000000 hidden")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "empty").write_bytes(b"")
    assert read(tmp_path)[0] == [*lines[:3], b"no line", lines[3]]


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="nowhere"):
        Recording(tmp_path / "nowhere")
    with pytest.raises(FeedError, match="holds no recording"):
        Recording(tmp_path)


@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9], ids=["s", "ms", "µs", "ns"])
def test_a_line_is_a_time_in_any_usual_unit_and_a_frame(factor: int) -> None:
    line = b'%d {"a": "b c"}' % (NOW_S * factor + factor // 2)
    ts_recv_ns = NOW_S * 10**9 + (5 * 10**8 if factor > 1 else 0)
    assert parse_line(line) == (ts_recv_ns, Frames("", (line.partition(b" ")[2],)))
    assert parse_line(line + b"\r") == parse_line(line)


@pytest.mark.parametrize("edge_s", [946_684_800, 4_102_444_800], ids=["2000", "2100"])
@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9])
def test_no_unit_reaches_into_the_range_of_another(edge_s: int, factor: int) -> None:
    for number in (edge_s * factor - 1, edge_s * factor):
        parsed = parse_line(b"%d x" % number)
        inside = 946_684_800 * factor <= number < 4_102_444_800 * factor
        assert (parsed is not None) == inside
        assert parsed is None or parsed[0] == number * (10**9 // factor)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "does not begin"),
        (b"{}", "does not begin"),
        (b"1760000000000000000", "has no frame"),
        (b"1760000000000000000 ", "has no frame"),
        (b"-1760000000000000000 {}", "does not begin"),
        (b"1.76e9 {}", "does not begin"),
        (b"0 {}", "2000 and 2100"),
        (b"17 {}", "2000 and 2100"),
        (b"9223372036854775807 {}", "2000 and 2100"),
        (b"9223372036854775808 {}", "2000 and 2100"),
        (b"1" * 40 + b" {}", "2000 and 2100"),
        (b"\xff {}", "does not begin"),
    ],
)
def test_anything_else_is_no_line_and_the_reason_is_told(line: bytes, reason: str) -> None:
    assert parse_line(line) is None
    assert reason in why_not(line)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_a_byte_order_mark_is_left_out_and_utf16_is_refused(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    (tmp_path / "marked").write_bytes(pack(b"\xef\xbb\xbf" + TEXT))
    assert read(tmp_path / "marked") == (LINES, "")
    (tmp_path / "wide").write_bytes(pack(TEXT.decode().encode("utf-16")))
    with pytest.raises(FeedError, match="wide: the recording is UTF-16"):
        read(tmp_path / "wide")


def repeated(pack: str, begin: bytes, middle: bytes, times: int, end: bytes) -> Iterable[bytes]:
    """`begin`, many times `middle`, `end`; compressed piece by piece."""
    packer: Any = None
    if pack == "zstd":
        packer = zstandard.ZstdCompressor().compressobj()
    elif pack == "gzip":
        packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    for piece in (begin, *[middle] * times, end):
        yield packer.compress(piece) if packer else piece
    if packer:
        yield packer.flush()


@pytest.mark.parametrize("pack", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("end", [b"\n" + TEXT, b""], ids=["goes on", "ends"])
def test_a_line_that_is_too_long_is_cut_and_the_rest_is_read_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: str, end: bytes
) -> None:
    for each in (capture_lines, recorded_lines):
        monkeypatch.setattr(each, "LINE_BYTES", 4 << 20)
    path = tmp_path / "long"
    with path.open("wb") as file:
        file.writelines(repeated(pack, TEXT + b"1760000000000000000 ", b"\0" * (1 << 20), 96, end))
    tracemalloc.start()
    whole, cut = [], []
    for block in Recording(path).blocks():
        cut += [line for line in block if isinstance(line, CutLine)]
        whole += [line for line in block if not isinstance(line, CutLine)]
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert whole == LINES * (2 if end else 1)
    (line,) = cut
    assert line.startswith(b"1760000000000000000 ")
    assert len(line) <= READ_BYTES
    assert why_not(line) == "longer than 4 MiB"
    assert peak_bytes < 48 << 20


def test_a_long_line_within_the_bound_is_whole_and_others_have_their_turn_meanwhile(tmp_path: Path) -> None:
    line = b"1760000000000000000 " + b"x" * (3 * READ_BYTES)
    (tmp_path / "long").write_bytes(line + b"\n" + LINES[0])
    blocks = list(Recording(tmp_path / "long").blocks())
    assert [found for block in blocks for found in block] == [line, LINES[0]]
    assert blocks[0] == blocks[1] == []


def test_zeros_behind_a_gzip_member_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "padded.gz").write_bytes(gzip.compress(TEXT) + b"\0" * 700)
    assert read(tmp_path / "padded.gz") == (LINES, "")


def test_what_is_no_file_is_refused_by_name_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/null")):
            with pytest.raises(FeedError, match=f"{path}: not a regular file"):
                Recording(path)
    with pytest.raises(FeedError, match="empty: the recording is empty"):
        Recording(tmp_path / "empty")


def captured(folder: Path) -> list[tuple[int, bytes]]:
    parsed = [parse_line(line) for line in read(folder)[0]]
    assert all(each is not None and isinstance(each[1], Frames) and each[1].link == "public" for each in parsed)
    return [(each[0], each[1].frames[0]) for each in parsed]


def test_what_is_captured_is_read_back_as_a_recording(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "capture")
    capture.add("public", [b'{"a":1}', b'{"b":2}'], T0)
    capture.flush()
    capture.add("public", [b'{"c":3}'], T0 + 1)
    capture.close()
    assert captured(tmp_path / "capture") == [(T0, b'{"a":1}'), (T0, b'{"b":2}'), (T0 + 1, b'{"c":3}')]
    assert (capture.written, capture.lost) == (3, 0)


def test_answers_and_links_are_read_back_as_they_were(tmp_path: Path) -> None:
    request = Request("depth BTCUSDT", "/api/v3/depth?symbol=BTCUSDT&limit=5000")
    events = [Opened("public"), Answer(request, 200, b'{"lastUpdateId":7}', 1.5), Second(), Closed("public", "bye")]
    capture = Capture(tmp_path / "capture")
    for number, event in enumerate(events):
        capture.add_event(event, T0 + number)
    capture.close()
    lines = read(tmp_path / "capture")[0]
    assert [parse_line(line) for line in lines] == [(T0 + number, event) for number, event in enumerate(events)]


def test_a_frame_with_line_feeds_stays_one_line(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "capture")
    capture.add("public", [b'{\n"a": 1\n}', b"{}"], T0)
    capture.close()
    assert captured(tmp_path / "capture") == [(T0, b'{ "a": 1 }'), (T0, b"{}")]


def test_a_killed_capture_is_readable_up_to_its_last_flush(tmp_path: Path) -> None:
    capture = Capture(tmp_path)
    capture.add("public", [b"first"], T0)
    capture.flush()
    capture.add("public", [b"second"], T0)
    capture.close()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    lines, damage = read(tmp_path)
    assert lines == [b"%d<public first" % T0]
    assert damage


def test_every_start_and_every_hour_begin_another_file(tmp_path: Path) -> None:
    for number in range(2):
        capture = Capture(tmp_path)
        capture.add("public", [b"x"], T0 + number)
        capture.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert captured(tmp_path) == [(T0, b"x"), (T0 + 1, b"x")]


def test_a_folder_that_cannot_be_written_costs_frames_and_is_counted(tmp_path: Path) -> None:
    (tmp_path / "capture").write_text("a file where the folder should be")
    capture = Capture(tmp_path / "capture")
    capture.add("public", [b"x", b"y"], 1)
    capture.close()
    assert (capture.written, capture.lost) == (0, 2)


def test_the_reject_log_keeps_the_first_of_each_cause_across_restarts(tmp_path: Path) -> None:
    path = tmp_path / "rejects" / "feed.jsonl"
    for _ in range(2):
        log = RejectLog(path, kept_per_cause=3)
        log.add([Reject("not json", b"{bad", 7, "at 1")] * 2 + [Reject("scale", b"\xff", 8)])
        assert log.seen == {"not json": 2, "scale": 1}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["cause"] for row in rows] == ["not json", "not json", "scale", "not json", "scale"]
    assert rows[0] == {"ts": 7, "cause": "not json", "detail": "at 1", "bytes": 4, "text": "{bad"}
    assert rows[2] == {"ts": 8, "cause": "scale", "detail": "", "bytes": 1, "base64": "/w=="}


def test_the_reject_log_is_bounded(tmp_path: Path) -> None:
    log = RejectLog(tmp_path / "feed.jsonl", kept_per_cause=10**9)
    for number in range(FILE_BYTES // RAW_BYTES + 50):
        log.add([Reject(f"cause {number}", b"x" * (RAW_BYTES + 1), 0)] * 2)
    assert FILE_BYTES <= log.path.stat().st_size < FILE_BYTES + 2 * RAW_BYTES
    assert len(log.seen) <= 257


def test_a_reject_log_that_cannot_be_written_only_counts(tmp_path: Path) -> None:
    (tmp_path / "rejects").write_text("")
    log = RejectLog(tmp_path / "rejects" / "feed.jsonl", kept_per_cause=3)
    log.add([Reject("not json", b"{", 0)] * 5)
    assert log.seen["not json"] == 5
    assert log.unwritable == 3
