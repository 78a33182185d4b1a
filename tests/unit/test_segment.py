"""Segments: creation, attachment, refusal; and locks that tell the living from the dead."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from remains import ring_name

from tickplant.errors import RingError
from tickplant.shm import segment as segment_module
from tickplant.shm.segment import SHM_DIR, Segment


@pytest.fixture
def name() -> Iterator[str]:
    name = ring_name()
    yield name
    (SHM_DIR / name).unlink(missing_ok=True)


def test_a_segment_is_zeroed_private_and_of_the_size_asked_for(name: str) -> None:
    segment = Segment.create(name, 10_000)
    status = (SHM_DIR / name).stat()
    assert segment.map[:] == bytes(10_000)
    assert status.st_size == 10_000
    assert status.st_mode & 0o777 == 0o600
    assert status.st_blocks * 512 >= 10_000, "the memory is reserved, not only promised"
    segment.close()


def test_what_one_handle_writes_another_reads(name: str) -> None:
    first = Segment.create(name, 4096)
    second = Segment.attach(name, 4096)
    first.map[100:104] = b"tick"
    assert second.map[100:104] == b"tick"
    first.close()
    second.close()


def test_a_view_outlives_the_segment(name: str) -> None:
    segment = Segment.create(name, 4096)
    view = np.frombuffer(segment.map, np.int64)
    view[7] = 42
    segment.close()
    segment.close()
    segment.unlink()
    assert view[7] == 42


def test_a_taken_name_is_refused(name: str) -> None:
    Segment.create(name, 4096).close()
    with pytest.raises(RingError, match=f"ring {name}: .* already exists: stop the plant"):
        Segment.create(name, 4096)


def test_a_missing_segment_is_named(name: str) -> None:
    with pytest.raises(RingError, match=f"ring {name}: /dev/shm/{name} does not exist: start the plant") as caught:
        Segment.attach(name, 4096)
    assert caught.value.segment == name


def test_a_short_file_is_called_truncated(name: str) -> None:
    (SHM_DIR / name).write_bytes(bytes(100))
    with pytest.raises(RingError, match=r"truncated: .* 100 bytes of at least 4096"):
        Segment.attach(name, 4096)


@pytest.mark.parametrize("bad", ["", "a/b", ".hidden", "a\0b", "x" * 300])
def test_a_name_that_cannot_be_a_file_is_refused(bad: str) -> None:
    with pytest.raises(RingError, match="a name has 1 to 200 bytes"):
        Segment.create(bad, 4096)


def test_a_full_dev_shm_is_an_error_at_creation_that_says_what_to_do(name: str) -> None:
    with pytest.raises(RingError, match=r"needs \d+\.\d MiB .* has \d+\.\d MiB free; lower ring_records"):
        Segment.create(name, 1 << 50)
    assert not (SHM_DIR / name).exists()


def test_another_failure_of_creation_leaves_nothing_behind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINTR, "Interrupted")

    monkeypatch.setattr(segment_module.os, "posix_fallocate", refuse)
    with pytest.raises(RingError, match="cannot be allocated: Interrupted"):
        Segment.create(name, 4096)
    assert not (SHM_DIR / name).exists()


def test_a_lock_excludes_other_handles_byte_by_byte(name: str) -> None:
    segment = Segment.create(name, 4096)
    first, second = segment.lock(), segment.lock()
    assert first.acquire(3)
    assert not second.acquire(3)
    assert not second.acquire(3, timeout_s=0.01)
    assert second.acquire(4)
    assert [segment.is_locked(byte) for byte in (2, 3, 4, 5)] == [False, True, True, False]
    first.release(3)
    assert second.acquire(3)
    for lock in (first, second, second):
        lock.close()
    assert not segment.is_locked(3)
    segment.close()


def test_locks_still_work_after_the_name_is_gone(name: str) -> None:
    segment = Segment.create(name, 4096)
    segment.unlink()
    lock = segment.lock()
    assert lock.acquire(0)
    assert segment.is_locked(0)
    lock.close()
    segment.close()


def test_the_lock_of_a_killed_process_is_free_and_a_child_of_the_owner_does_not_keep_it(name: str) -> None:
    segment = Segment.create(name, 4096)
    # The owner starts a child that outlives it: were the descriptor inherited, the lock would stay.
    program = f"""
import subprocess, sys
from tickplant.shm.segment import Segment
lock = Segment.attach({name!r}, 4096).lock()
assert lock.acquire(0)
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.read()
"""
    owner = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout is not None and owner.stdin is not None
    child_pid = int(owner.stdout.readline())
    assert segment.is_locked(0)
    owner.kill()
    owner.wait()
    assert not segment.is_locked(0)
    owner.stdin.close()
    owner.stdout.close()
    segment.close()
    os.kill(child_pid, 0)  # raises if the child were gone already: it would prove nothing
    os.kill(child_pid, 9)
