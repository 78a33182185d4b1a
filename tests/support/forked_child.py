"""A small child for tests of the fork server: prints what it is and what it was given."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tickplant.kernels import kernel
from tickplant.runtime.lineage import read_spec


@kernel
def add(first: int, second: int) -> int:
    return first + second


def warm_up() -> None:
    add(np.int64(1), np.int64(2))


def opened() -> Iterator[str]:
    """Targets of the open descriptors beyond the standard ones, without the descriptor that lists them."""
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if int(path.name) > 2 and "/proc/" not in (target := str(path.readlink())):
                yield target


def main() -> None:
    me = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "command": Path("/proc/self/cmdline").read_bytes().decode(),
        "name": Path("/proc/self/comm").read_text().strip(),
        "umask": os.umask(0),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "open": sorted(opened()),
        "spec": read_spec().decode(),
    }
    sys.stdout.write(json.dumps(me) + "\n")


if __name__ == "__main__":
    main()
