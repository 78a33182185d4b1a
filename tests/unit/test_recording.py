"""Recordings in every compression, whole and damaged; raw capture and what a full disk does to it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from tickplant.errors import FeedError
from tickplant.feeds.adapter import Reject
from tickplant.feeds.recording import Capture, Recording, parse_line
from tickplant.feeds.rejects import FILE_BYTES, RAW_BYTES, RejectLog

LINES = [b'%d {"t":%d}' % (1_700_000_000_000_000_000 + number, number) for number in range(5000)]
TEXT = b"\n".join(LINES) + b"\n"


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


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "20240102").write_bytes(gzip.compress(b"3 c\n"))
    (tmp_path / "20240101").write_bytes(b"1 a\n2 b\n")
    assert read(tmp_path)[0] == [b"1 a", b"2 b", b"3 c"]


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="nowhere"):
        Recording(tmp_path / "nowhere")
    with pytest.raises(FeedError, match="holds no recording"):
        Recording(tmp_path)


def test_a_line_is_a_time_and_a_frame() -> None:
    assert parse_line(b'17 {"a": "b c"}') == (17, b'{"a": "b c"}')
    assert parse_line(b"9223372036854775807 x\r") == (2**63 - 1, b"x")


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"17", b"17 ", b"-1 {}", b"1e9 {}", b"9223372036854775808 {}", b"1" * 40 + b" {}", b"\xff {}"]
)
def test_anything_else_is_no_line(line: bytes) -> None:
    assert parse_line(line) is None


def captured(folder: Path) -> list[tuple[int, bytes]]:
    return [parsed for line in read(folder)[0] if (parsed := parse_line(line)) is not None]


def test_what_is_captured_is_read_back_as_a_recording(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "capture")
    capture.add([b'{"a":1}', b'{"b":2}'], 10)
    capture.flush()
    capture.add([b'{"c":3}'], 20)
    capture.close()
    assert captured(tmp_path / "capture") == [(10, b'{"a":1}'), (10, b'{"b":2}'), (20, b'{"c":3}')]
    assert (capture.written, capture.lost) == (3, 0)


def test_a_frame_with_line_feeds_stays_one_line(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "capture")
    capture.add([b'{\n"a": 1\n}', b"{}"], 10)
    capture.close()
    assert captured(tmp_path / "capture") == [(10, b'{ "a": 1 }'), (10, b"{}")]


def test_a_killed_capture_is_readable_up_to_its_last_flush(tmp_path: Path) -> None:
    capture = Capture(tmp_path)
    capture.add([b"first"], 1)
    capture.flush()
    capture.add([b"second"], 2)
    capture.close()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    lines, damage = read(tmp_path)
    assert lines == [b"1 first"]
    assert damage


def test_every_start_and_every_hour_begin_another_file(tmp_path: Path) -> None:
    for number in range(2):
        capture = Capture(tmp_path)
        capture.add([b"x"], number)
        capture.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert captured(tmp_path) == [(0, b"x"), (1, b"x")]


def test_a_folder_that_cannot_be_written_costs_frames_and_is_counted(tmp_path: Path) -> None:
    (tmp_path / "capture").write_text("a file where the folder should be")
    capture = Capture(tmp_path / "capture")
    capture.add([b"x", b"y"], 1)
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
