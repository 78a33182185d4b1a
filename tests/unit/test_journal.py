"""The journal: what is durable stays readable, a disk that refuses costs nothing, recovery loses nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from journal_writes import TICKS, stored, write
from made_records import START_NS, make_records, make_ticks

from tickplant.errors import StoreError
from tickplant.records.layouts import Schema
from tickplant.store.reader import Store
from tickplant.writer.index import index_path, journal_files, load_index
from tickplant.writer.journal import HOUR_NS, Files, Journal, journal_dir


class BrokenFiles(Files):
    """A disk that refuses: each call is asked for an error first."""

    def __init__(self) -> None:
        self.fail: Callable[[str], int] = lambda _: 0
        self.most_bytes = 1 << 30

    def _ask(self, call: str) -> None:
        if code := self.fail(call):
            raise OSError(code, os.strerror(code))

    def open(self, path: Path, flags: int) -> int:
        self._ask("open")
        return super().open(path, flags)

    def write(self, fd: int, data: memoryview) -> int:
        self._ask("write")
        return super().write(fd, data[: self.most_bytes])

    def sync(self, fd: int) -> None:
        self._ask("sync")
        super().sync(fd)

    def truncate(self, fd: int, size: int) -> None:
        self._ask("truncate")
        super().truncate(fd, size)


@pytest.mark.parametrize("schema", list(Schema))
def test_what_was_flushed_is_read_back_and_continued(tmp_path: Path, schema: Schema) -> None:
    records = make_records(schema, 300)
    for start in (0, 100, 200):
        journal = Journal(tmp_path, schema, "feed")
        assert journal.next_seq == start
        journal.append(records[start : start + 60])
        journal.append(records[start + 60 : start + 100])
        assert journal.next_seq == start + 100
        assert journal.durable_seq == start
        journal.close()
        assert journal.durable_seq == start + 100
    assert stored(tmp_path, schema=schema) == records.tobytes()


def test_nothing_is_visible_before_the_flush(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Schema.TICK, "feed")
    journal.append(TICKS[:10])
    assert stored(tmp_path) == b""
    journal.flush()
    assert stored(tmp_path) == TICKS[:10].tobytes()
    journal.close()


def test_appended_records_are_copied(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Schema.TICK, "feed")
    buffer = TICKS[:10].copy()
    journal.append(buffer)
    buffer["price"] = -1
    journal.close()
    assert stored(tmp_path) == TICKS[:10].tobytes()


def test_a_large_flush_becomes_several_chunks(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Schema.TICK, "feed", chunk_records=300)
    journal.append(TICKS)
    journal.close()
    (path,) = journal_files(journal_dir(tmp_path, "feed", Schema.TICK))
    assert load_index(path).entries["header"]["rows"].tolist() == [300] * 6 + [200]
    assert stored(tmp_path) == TICKS.tobytes()


@pytest.mark.parametrize("seq", [0, 9, 11, 2**40])
def test_a_seq_that_does_not_continue_is_refused(tmp_path: Path, seq: int) -> None:
    journal = Journal(tmp_path, Schema.TICK, "feed")
    journal.append(TICKS[:10])
    with pytest.raises(StoreError, match=f"continues with seq 10, not {seq}"):
        journal.append(make_ticks(5, first_seq=seq))
    hole = TICKS[10:20].copy()
    hole["seq"][5:] += 1
    with pytest.raises(StoreError, match="continues with seq 15, not 16"):
        journal.append(hole)
    journal.append(TICKS[10:20])
    journal.close()
    assert stored(tmp_path) == TICKS[:20].tobytes()


def test_files_rotate_at_a_size_and_are_named_by_their_first_seq(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Schema.TICK, "feed", rotate_bytes=1)
    for start in range(0, 500, 100):
        journal.append(TICKS[start : start + 100])
        journal.flush()
    journal.close()
    paths = journal_files(journal_dir(tmp_path, "feed", Schema.TICK))
    assert [path.name for path in paths] == [f"{seq:020d}.tpj" for seq in range(0, 500, 100)]
    assert stored(tmp_path) == TICKS[:500].tobytes()


def test_files_rotate_at_a_full_hour_across_restarts(tmp_path: Path) -> None:
    last_of_hour = START_NS // HOUR_NS * HOUR_NS + HOUR_NS - 1
    first = make_ticks(10)
    first["ts_recv"] = last_of_hour
    second = make_ticks(20, first_seq=10)
    second["ts_recv"] = last_of_hour + 1
    for part in (first, second[:10], second[10:]):
        journal = Journal(tmp_path, Schema.TICK, "feed")
        journal.append(part)
        journal.close()
    names = [path.stem for path in journal_files(journal_dir(tmp_path, "feed", Schema.TICK))]
    assert [int(name) for name in names] == [0, 10]
    assert stored(tmp_path) == first.tobytes() + second.tobytes()


def test_a_second_writer_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Schema.TICK, "feed")
    with pytest.raises(StoreError, match="another process is writing this journal"):
        Journal(tmp_path, Schema.TICK, "feed")
    journal.close()
    Journal(tmp_path, Schema.TICK, "feed").close()


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_flush_that_the_disk_refuses_can_be_tried_again(tmp_path: Path, call: str, code: int) -> None:
    files = BrokenFiles()
    journal = Journal(tmp_path, Schema.TICK, "feed", files=files)
    journal.append(TICKS[:100])
    journal.flush()
    files.fail = lambda asked: code if asked == call else 0
    for start in (100, 110):
        journal.append(TICKS[start : start + 10])
        with pytest.raises(StoreError, match=f"{0:020d}.tpj: cannot be written: ") as raised:
            journal.flush()
        assert raised.value.path == journal_dir(tmp_path, "feed", Schema.TICK) / f"{0:020d}.tpj"
        assert (journal.durable_seq, journal.next_seq) == (100, start + 10)
        assert stored(tmp_path) == TICKS[:100].tobytes()
    files.fail = lambda _: 0
    assert journal.flush() == 120
    assert stored(tmp_path) == TICKS[:120].tobytes()
    journal.close()


def test_a_disk_that_fills_up_in_the_middle_of_a_write_leaves_no_trace(tmp_path: Path) -> None:
    files = BrokenFiles()
    journal = Journal(tmp_path, Schema.TICK, "feed", files=files)
    journal.append(TICKS[:100])
    journal.flush()
    (path,) = journal_files(journal.directory)
    size = path.stat().st_size
    files.most_bytes = 50
    calls: list[str] = []

    def third_write_fails(asked: str) -> int:
        calls.append(asked)
        return errno.ENOSPC if asked == "write" and calls.count("write") == 3 else 0

    files.fail = third_write_fails
    journal.append(TICKS[100:200])
    with pytest.raises(StoreError, match="No space left"):
        journal.flush()
    assert path.stat().st_size == size
    files.fail = lambda _: 0  # still only 50 bytes at a time
    assert journal.flush() == 200
    journal.close()
    assert stored(tmp_path) == TICKS[:200].tobytes()


def test_a_failed_write_that_cannot_be_taken_back_is_taken_back_later(tmp_path: Path) -> None:
    files = BrokenFiles()
    journal = Journal(tmp_path, Schema.TICK, "feed", files=files)
    journal.append(TICKS[:100])
    journal.flush()
    files.most_bytes = 50
    seen: list[str] = []

    def after_one_write(asked: str) -> int:
        seen.append(asked)
        return errno.EIO if seen.count("write") > 1 or asked == "truncate" else 0

    files.fail = after_one_write
    journal.append(TICKS[100:200])
    for _ in range(2):
        with pytest.raises(StoreError, match="Input/output error"):
            journal.flush()
    assert stored(tmp_path) == TICKS[:100].tobytes()  # readers stop at what is torn
    files.fail = lambda _: 0
    assert journal.flush() == 200
    journal.close()
    assert stored(tmp_path) == TICKS[:200].tobytes()


def test_a_new_file_that_cannot_be_begun_is_begun_later(tmp_path: Path) -> None:
    files = BrokenFiles()
    journal = Journal(tmp_path, Schema.TICK, "feed", rotate_bytes=1, files=files)
    journal.append(TICKS[:100])
    journal.flush()
    journal.append(TICKS[100:200])
    for call in ("open", "sync"):
        files.fail = lambda asked, call=call: errno.ENOSPC if asked == call else 0
        with pytest.raises(StoreError, match="No space left"):
            journal.flush()
    files.fail = lambda _: 0
    assert journal.flush() == 200
    journal.close()
    assert stored(tmp_path) == TICKS[:200].tobytes()


def test_an_index_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    files = BrokenFiles()
    journal = Journal(tmp_path, Schema.TICK, "feed", files=files)
    writes: list[str] = []

    def second_write_fails(asked: str) -> int:
        writes.append(asked)
        return errno.ENOSPC if asked == "write" and writes.count("write") == 2 else 0

    files.fail = second_write_fails
    for start in range(0, 300, 100):
        journal.append(TICKS[start : start + 100])
        assert journal.flush() == start + 100
    journal.close()
    (path,) = journal_files(journal.directory)
    assert not index_path(path).exists()
    assert stored(tmp_path) == TICKS[:300].tobytes()
    Journal(tmp_path, Schema.TICK, "feed").close()
    assert load_index(path).indexed == 3  # the next opening made it anew


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "data"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cannot be opened: Not a directory|cannot be opened: File exists"):
        Journal(blocked, Schema.TICK, "feed")


def test_a_torn_tail_is_moved_aside_once_and_the_journal_goes_on(tmp_path: Path) -> None:
    write(tmp_path, 100, 100)
    (path,) = journal_files(journal_dir(tmp_path, "feed", Schema.TICK))
    index_path(path).unlink()
    whole = path.read_bytes()
    second = int(load_index(path).entries[1]["offset"])
    torn = whole[: second + 200]
    path.write_bytes(torn)
    for attempt in range(2):
        journal = Journal(tmp_path, Schema.TICK, "feed")
        assert journal.next_seq == 100
        assert len(journal.found) == (attempt == 0)
        journal.close()
        assert path.read_bytes() == whole[:second]
        (aside,) = path.parent.glob("*.torn")
        assert aside.read_bytes() == torn[second:]
    write(tmp_path, 50, start=100)
    assert stored(tmp_path) == TICKS[:150].tobytes()


def test_a_different_tail_torn_at_the_same_place_is_kept_as_well(tmp_path: Path) -> None:
    write(tmp_path, 100)
    (path,) = journal_files(journal_dir(tmp_path, "feed", Schema.TICK))
    for tail in (b"first", b"second", b"first"):
        with path.open("ab") as file:
            file.write(tail)
        Journal(tmp_path, Schema.TICK, "feed").close()
    assert sorted(aside.read_bytes() for aside in path.parent.glob("*.torn")) == [b"first", b"second"]
    assert stored(tmp_path) == TICKS[:100].tobytes()


def test_damage_before_good_chunks_stays_where_it_is_and_is_reported(tmp_path: Path) -> None:
    write(tmp_path, 100, 100, 100)
    (path,) = journal_files(journal_dir(tmp_path, "feed", Schema.TICK))
    data = bytearray(path.read_bytes())
    second, third = (int(load_index(path).entries[place]["offset"]) for place in (1, 2))
    data[second + 5] ^= 1
    path.write_bytes(data)
    index_path(path).unlink()
    journal = Journal(tmp_path, Schema.TICK, "feed")
    (damage,) = journal.found
    assert (damage.offset, damage.length_bytes) == (second, third - second)
    assert (damage.first_seq, damage.last_seq) == (100, 199)
    assert str(damage) == f"{path}: {third - second} bytes at {second}: no chunk begins here; seq 100 to 199"
    assert journal.next_seq == 300
    journal.append(TICKS[300:310])
    journal.close()
    assert path.read_bytes()[: len(data)] == data
    assert not list(path.parent.glob("*.torn"))


def test_skipping_leaves_a_hole_between_two_files(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Schema.TICK, "feed")
    journal.append(TICKS[:100])
    with pytest.raises(ValueError, match="cannot skip to 500"):
        journal.skip_to(500)
    journal.flush()
    with pytest.raises(ValueError, match="cannot skip to 100"):
        journal.skip_to(100)
    journal.skip_to(500)
    journal.append(TICKS[500:600])
    journal.close()
    assert Journal(tmp_path, Schema.TICK, "feed").next_seq == 600
    assert stored(tmp_path) == TICKS[:100].tobytes() + TICKS[500:600].tobytes()


def test_a_file_begun_and_never_written_says_where_to_continue(tmp_path: Path) -> None:
    write(tmp_path, 100)
    journal = Journal(tmp_path, Schema.TICK, "feed")
    journal.skip_to(700)
    journal.close()
    journal = Journal(tmp_path, Schema.TICK, "feed")
    assert journal.next_seq == Store(tmp_path).next_seq("feed", Schema.TICK) == 700
    journal.close()
