"""Machine code is kept per module of kernels: what is compiled again after a change, and what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tickplant import kernels

PACKAGE = {
    "kernels.py": "import numba\n",
    "records/layouts.py": "KIND = 1\n",
    "shm/protocol.py": "from tickplant.kernels import kernel\nfrom tickplant.records.layouts import KIND\n",
    "engine/books.py": "from tickplant import kernels\nfrom tickplant.records import (\n    layouts,\n)\n",
    "engine/engine_process.py": "from tickplant.engine.books import fold\nimport tickplant.shm.protocol\n",
    "feeds/venue/__init__.py": "SCALE = 8\n",
    "feeds/venue/scanner.py": "from tickplant.feeds.venue import text\n\ndef f():\n    from tickplant import kernels\n",
    "feeds/venue/text.py": "LETTERS = 26\n",
}
KERNELS = ("tickplant.shm.protocol", "tickplant.engine.books", "tickplant.feeds.venue.scanner")


def digests(folder: Path, package: dict[str, str]) -> list[str]:
    for name, text in package.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return [kernels.source_digest(module, folder) for module in KERNELS]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("engine/engine_process.py", ()),
        ("engine/books.py", ("tickplant.engine.books",)),
        ("shm/protocol.py", ("tickplant.shm.protocol",)),
        ("records/layouts.py", ("tickplant.shm.protocol", "tickplant.engine.books")),
        ("feeds/venue/text.py", ("tickplant.feeds.venue.scanner",)),
        ("feeds/venue/__init__.py", ("tickplant.feeds.venue.scanner",)),
        ("kernels.py", KERNELS),
    ],
)
def test_a_change_compiles_again_what_it_touches_and_nothing_else(
    tmp_path: Path, changed: str, again: tuple[str, ...]
) -> None:
    before = digests(tmp_path / "before", PACKAGE)
    after = digests(tmp_path / "after", PACKAGE | {changed: PACKAGE[changed] + "X = 1\n"})
    assert tuple(module for module, old, new in zip(KERNELS, before, after, strict=True) if old != new) == again


def test_the_sources_of_a_real_kernel_are_found() -> None:
    digest = kernels.source_digest("tickplant.books.level_kernels")
    assert digest == kernels.source_digest("tickplant.books.level_kernels")
    assert digest != kernels.source_digest("tickplant.shm.protocol")
    assert "tickplant.shm.atomics" in kernels._sources("tickplant.shm.protocol", kernels.PACKAGE)
    found = kernels._sources("tickplant.feeds.kit.shape_kernels", kernels.PACKAGE)
    assert {"tickplant.feeds.kit.shape_program", "tickplant.feeds.kit.raw_text"} < set(found)
    assert not any(
        name.startswith("tickplant.feeds") for name in kernels._sources("tickplant.engine.core", kernels.PACKAGE)
    )


@pytest.mark.skipif(not kernels.JIT_ENABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT=1")
def test_a_kernel_is_compiled_once_and_then_read_from_the_folder_of_its_module(tmp_path: Path) -> None:
    program = """
import numpy as np
from tickplant import kernels
from tickplant.shm.protocol import copy_words
told = []
with kernels.compiling(lambda module, name: told.append((module, name))):
    copy_words(np.zeros(1, np.int64), 0, np.ones(1, np.int64), 0, 1)
print(told, kernels.all_cached())
kernels.mark_all_cached()
"""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    )
    assert first == "[('tickplant.shm.protocol', 'copy_words')] False\n"
    assert second == "[] True\n"
    (kept,) = [path for path in tmp_path.glob("tickplant-*") if any(path.rglob("*.nbi"))]
    assert kept.name.startswith("tickplant-shm.protocol-")
