"""A process that writes journals and kills itself, with SIGKILL, at chosen steps. Run by `process/test_journal.py`.

    python journal_victim.py at ROOT          each step once: a fresh journal ROOT/MODE-STEP for every step and mode
    python journal_victim.py chain DIR SEED   one journal, killed at random steps again and again until it is complete

Every journal gets the records of `made_records.make_ticks(RECORDS)`. After each flush, the promised `durable_seq` is
appended to the file `durable` in the data directory before anything else happens. The process forks for each attempt,
so that one start serves all.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from made_records import make_ticks

from tickplant.records.layouts import Schema
from tickplant.writer.format.codec import warm_up
from tickplant.writer.journal import Files, Journal

RECORDS = 450
FLUSH = 90
MODES = ("before", "half", "after")


class DeadlyFiles(Files):
    """Dies at one call: before it, after it, or, for a write, in the middle."""

    def __init__(self, step: int, mode: str) -> None:
        self.left = step
        self.mode = mode

    def _now(self, moment: str) -> bool:
        return self.left == 1 and self.mode == moment

    def _die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _before(self, *, writing: bool = False) -> None:
        # Only a write has a middle; anything else dies before it.
        if self._now("before") or (self._now("half") and not writing):
            self._die()

    def _after(self) -> None:
        if self._now("after"):
            self._die()
        self.left -= 1

    def open(self, path: Path, flags: int) -> int:
        self._before()
        fd = super().open(path, flags)
        self._after()
        return fd

    def write(self, fd: int, data: memoryview) -> int:
        self._before(writing=True)
        if self._now("half"):
            super().write(fd, data[: len(data) // 2])
            self._die()
        written = super().write(fd, data)
        self._after()
        return written

    def sync(self, fd: int) -> None:
        self._before()
        super().sync(fd)
        self._after()

    def truncate(self, fd: int, size: int) -> None:
        self._before()
        super().truncate(fd, size)
        self._after()

    def rename(self, source: Path, target: Path) -> None:
        self._before()
        super().rename(source, target)
        self._after()

    def make_folder(self, path: Path) -> None:
        self._before()
        super().make_folder(path)
        self._after()

    def remove(self, path: Path) -> None:
        self._before()
        super().remove(path)
        self._after()


def write_all(data_dir: Path, files: Files) -> None:
    """Continue the journal to its end, promise by promise."""
    ticks = make_ticks(RECORDS)
    promises = os.open(data_dir / "durable", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    journal = Journal(data_dir, Schema.TICK, "feed", rotate_bytes=3000, chunk_records=50, files=files)
    while journal.next_seq < RECORDS:
        journal.append(ticks[journal.next_seq : journal.next_seq + FLUSH])
        os.write(promises, f"{journal.flush()}\n".encode())
    journal.close()


def survives(work: Callable[[], object], what: str) -> bool:
    """Do work in a child; returns whether the child lived to the end."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(f"{what}: {error!r}", flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    if os.WEXITSTATUS(status):
        sys.exit(f"{what} failed")
    return True


def attempt(data_dir: Path, step: int, mode: str) -> bool:
    """One life of a writer; returns whether it lived to the end."""
    return survives(lambda: write_all(data_dir, DeadlyFiles(step, mode)), f"{data_dir.name}, step {step}, {mode}")


def main() -> None:
    """See the module."""
    warm_up()
    if sys.argv[1] == "at":
        for mode in MODES:
            step, lived = 0, False
            while not lived:
                step += 1
                data_dir = Path(sys.argv[2]) / f"{mode}-{step}"
                data_dir.mkdir()
                lived = attempt(data_dir, step, mode)
    else:
        data_dir, chance = Path(sys.argv[2]), random.Random(int(sys.argv[3]))
        lives = 1
        while not attempt(data_dir, chance.randint(1, 12), chance.choice(MODES)):
            lives += 1
        print(lives)


if __name__ == "__main__":
    main()
