"""The remains of this test process's plants on the machine: shared memory, run folders, processes.

Several test processes may run plants at once, so each must recognise its own. All processes that a test process starts
inherit its XDG_RUNTIME_DIR, which contains run folders and sockets. Its data directories, after which segments are
named, lie in its temporary folder. A ring without a plant gets its name here.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import NamedTuple

from tickplant.runtime import config as cfg

SHARED_MEMORY = Path("/dev/shm")


def ring_name() -> str:
    """A new name for a ring without a plant, which tells which test process made it."""
    return f"tickplant-test-{Path(os.environ['XDG_RUNTIME_DIR']).name}-{uuid.uuid4().hex[:12]}"


class Remains(NamedTuple):
    """The remains, by sort, as sets of names."""

    segments: frozenset[str]
    files: frozenset[str]  # run folders, control sockets, doorbells
    processes: frozenset[tuple[int, str]]


NOTHING = Remains(frozenset(), frozenset(), frozenset())


class Watch:
    """Finds what exists now, and what is new since an earlier look.

    Args:
        runtime_dir: XDG_RUNTIME_DIR of the plants in question.
        temporary: the folder of their data directories.
    """

    def __init__(self, runtime_dir: Path, temporary: Path) -> None:
        self._runtime_dir = runtime_dir
        self._temporary = temporary
        self._plants: dict[str, bool] = {}  # by id: whether it is one of those in question

    def now(self) -> Remains:
        """Everything, other plants' segments included."""
        return Remains(
            frozenset(path.name for path in SHARED_MEMORY.glob("tickplant-*")),
            frozenset(str(path) for path in self._runtime_dir.glob("*/**/*")),
            frozenset(_processes(self._runtime_dir)),
        )

    def since(self, before: Remains) -> Remains:
        """What is new since `before`. Children and sockets of a process that existed before do not count."""
        now, pids = self.now(), {pid for pid, _ in before.processes}
        return Remains(
            frozenset(self._mine(now.segments - before.segments)),
            frozenset(path for path in now.files - before.files if not _comes_and_goes(path, before.files)),
            frozenset(one for one in now.processes - before.processes if _parent(one[0]) not in pids),
        )

    def _mine(self, names: frozenset[str]) -> set[str]:
        made = f"tickplant-test-{self._runtime_dir.name}-"
        return {name for name in names if name.startswith(made) or self._is_mine(name.split("-")[1])}

    def _is_mine(self, plant_id: str) -> bool:
        if plant_id not in self._plants:
            folders = (Path(folder) for folder, _, _ in os.walk(self._temporary))
            # A replay adds its pid.
            self._plants[plant_id] = any(plant_id.startswith(cfg.plant_id(folder)) for folder in folders)
        return self._plants[plant_id]


def _comes_and_goes(path: str, before: frozenset[str]) -> bool:
    folder, _, name = path.rpartition("/")
    return name == cfg.HISTORY and folder in before


def _processes(runtime_dir: Path) -> set[tuple[int, str]]:
    mark = f"XDG_RUNTIME_DIR={runtime_dir}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if command:  # a zombie has none: it has ended, and its parent knows
                    found.add((int(folder.name), command[:200]))
    return found


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
