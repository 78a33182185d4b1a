"""A log line that cannot be written costs the line and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from stuck_pipe import fill

from tickplant.runtime.log_lines import LogLines


def test_a_line_for_a_reader_that_is_gone_is_lost_and_raises_nothing() -> None:
    reader, end = os.pipe()
    lines = LogLines(end)
    os.close(reader)
    try:
        lines.write("nobody reads this\n")
        lines.flush()
    finally:
        os.close(end)
    assert lines.lost == 1


def test_a_reader_that_is_stuck_is_not_waited_for_and_later_reads_how_much_it_missed() -> None:
    reader, end = os.pipe()
    try:
        lines = LogLines(end)
        size = fill(end)
        for _ in range(3):
            lines.write("too late\n")
        assert lines.lost == 3
        assert os.read(reader, size + 1) == b"x" * size
        lines.write("in time\n")
        first, second = os.read(reader, size).decode().splitlines()
    finally:
        os.close(reader)
        os.close(end)
    assert json.loads(first)["lines"] == 3
    assert second == "in time"


@pytest.mark.parametrize("free", [4096, 10 * 4096])
def test_a_line_larger_than_the_room_is_torn_and_the_next_one_begins_a_line(free: int) -> None:
    reader, end = os.pipe()
    try:
        lines = LogLines(end)
        size = fill(end)
        os.read(reader, free)
        lines.write("y" * 100_000 + "\n")
        assert lines.lost == 1
        left = b""
        while len(left) < size - 4096:
            left += os.read(reader, size)
        lines.write("whole\n")
        text = (left + os.read(reader, size)).decode()
    finally:
        os.close(reader)
        os.close(end)
    assert text[: size - free] == "x" * (size - free)
    torn, *rest = text[size - free :].split("\n")
    assert set(torn) <= {"y"}
    assert len(torn) == free
    assert [json.loads(line)["lines"] for line in rest[:-2]] == [1]
    assert rest[-2:] == ["whole", ""]


def test_a_file_takes_every_line(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        lines = LogLines(file.fileno())
        lines.write("one\n")
        lines.write("z" * 100_000 + "\n")
    assert (tmp_path / "log").read_text().splitlines() == ["one", "z" * 100_000]
    assert lines.lost == 0
