"""A data directory has one holder at a time, and every command can find out which."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tickplant.errors import StoreError
from tickplant.plant.lock_file import NAME, Holder, last_holder, locked


def test_a_holder_is_found_by_others_until_it_lets_go(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert last_holder(data) == (Holder(), False)
    with locked(data) as lock:
        assert lock.predecessor == 0
        lock.say(Holder(os.getpid(), "/run/" + "x" * 500, 12.5))
        lock.say(Holder(os.getpid(), "/run/me", 12.5))
        assert last_holder(data) == (Holder(os.getpid(), "/run/me", 12.5), True)
        with pytest.raises(StoreError, match=f"a plant already writes here, pid {os.getpid()}"), locked(data):
            pass
        assert last_holder(data)[1]
    # As after kill -9: the line is still there, the lock is not.
    assert last_holder(data) == (Holder(os.getpid(), "/run/me", 12.5), False)
    with locked(data) as lock:
        assert lock.predecessor == os.getpid()
        lock.say(Holder(trouble="a ring is kept"))
    assert last_holder(data) == (Holder(trouble="a ring is kept"), False)


@pytest.mark.parametrize("text", [b"", b"4711\n", b"{", b"[]", b"\xff" * 100, b'{"pid":"x"}', b"9" * 5000])
def test_whatever_is_in_the_file_is_read_without_an_error(tmp_path: Path, text: bytes) -> None:
    (tmp_path / NAME).write_bytes(text)
    holder, holds = last_holder(tmp_path)
    assert not holds
    assert holder.pid in (0, 4711, int("9" * 18))
    with locked(tmp_path):
        assert last_holder(tmp_path)[1]


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / ("a" * 300), tmp_path / "nul\0"):
        with pytest.raises(StoreError, match="cannot be used as a data directory"), locked(path):
            pass
        assert last_holder(path) == (Holder(), False)
    (tmp_path / NAME).symlink_to(tmp_path / "file")
    with pytest.raises(StoreError, match="cannot be used as a data directory"), locked(tmp_path):
        pass
