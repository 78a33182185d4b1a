"""The one way a hot kernel is compiled. May import numba only.

Every kernel in the project is declared with `@kernel`, so compilation options live here alone. Set
`NUMBA_DISABLE_JIT=1` to run all kernels as plain Python, `NUMBA_BOUNDSCHECK=1` to check every index:
the kernel tests run both ways.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")

JIT_ENABLED: Final = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"
STALE_CACHE_S: Final = 86_400.0
"""Machine code of other versions of the sources is removed when it is this old."""


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` on first use, keep the machine code on disk, and release the GIL while it runs."""
    _choose_cache()
    return cast("Callable[P, R]", numba.njit(cache=True, nogil=True)(function))


@functools.cache
def _choose_cache() -> None:
    """Have numba keep machine code in a folder named after the sources.

    numba itself notices only a change of the file that a kernel stands in, not of the kernels and constants that it
    uses from other files: after an update it would run old code. So the folder is named after all of them.
    """
    if not JIT_ENABLED:
        return
    name = f"tickplant-{_source_digest()}"
    for base in (os.environ.get("NUMBA_CACHE_DIR"), Path(__file__).parent / "__pycache__", _user_cache()):
        if base is None:
            continue
        folder = Path(base) / name
        try:
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                _remove_stale(folder)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            vars(numba.config)["CACHE_DIR"] = str(folder)  # made at run time, so no type checker knows it
            return


def _source_digest() -> str:
    """Names every source file that a kernel stands in or takes its constants from, and how numba compiles."""
    digest = hashlib.blake2b(f"{numba.__version__} {os.environ.get('NUMBA_BOUNDSCHECK', '')}".encode(), digest_size=8)
    own = Path(__file__).parent
    for folder in (own, *(own.parent / name for name in ("engine", "feeds", "writer"))):
        for path in sorted(folder.rglob("*.py")):
            text = path.read_bytes()
            if folder == own or b"@kernel" in text:
                digest.update(f"{path.relative_to(own.parent)}\0".encode() + text)
    return digest.hexdigest()


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tickplant"


def _remove_stale(current: Path) -> None:
    for other in current.parent.glob("tickplant-*"):
        with contextlib.suppress(OSError):
            if other != current and time.time() - other.stat().st_mtime > STALE_CACHE_S:
                shutil.rmtree(other)
