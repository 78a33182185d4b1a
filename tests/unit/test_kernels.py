"""Machine code is kept per module of kernels: what is compiled again after a change, and what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from tickplant import kernel_calls, kernels
from tickplant import kernel_methods as methods

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
    assert "tickplant.shm.atomics" in kernels._sources(["tickplant.shm.protocol"], kernels.PACKAGE)
    found = kernels._sources(["tickplant.feeds.kit.shape_kernels"], kernels.PACKAGE)
    assert {"tickplant.feeds.kit.shape_program", "tickplant.feeds.kit.raw_text"} < set(found)
    assert not any(
        name.startswith("tickplant.feeds") for name in kernels._sources(["tickplant.engine.core"], kernels.PACKAGE)
    )


COMPILERS = "numba.misc.cffiimpl"  # one of the modules with numba's own functions, which only a compilation needs
COPY = """
import sys
import numpy as np
from tickplant import kernels
from tickplant.shm import layout, protocol
told = []
with kernels.compiling(lambda module, name: told.append((module, name))):
    protocol.copy_words(np.zeros(1, np.int64), 0, np.ones(1, np.int64), 0, 1)
"""
SAY = f"""
print(told, kernels.all_cached(), {COMPILERS!r} in sys.modules)
kernels.mark_all_cached()
"""
PUBLISH = """
words = np.zeros(layout.HEADER_WORDS + 8, np.int64)
words[layout.RECORD_WORDS] = words[layout.CAPACITY] = words[layout.LIMIT] = 1
with kernels.compiling(lambda module, name: told.append((module, name))):
    published = protocol.publish(words, np.full(1, 7, np.int64), 0)
print(published, words[layout.HEADER_WORDS], ("tickplant.shm.protocol", "publish") in told)
"""
compiled_only = pytest.mark.skipif(not kernels.JIT_ENABLED, reason="nothing is compiled with NUMBA_DISABLE_JIT=1")


def run(program: str, cache: Path) -> str:
    """What a process of its own prints."""
    environment = {"NUMBA_CACHE_DIR": str(cache), "PATH": "", "HOME": str(cache)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout


@compiled_only
def test_a_kernel_is_compiled_once_and_then_read_from_the_folder_of_its_module(tmp_path: Path) -> None:
    told, *rest = run(COPY + SAY, tmp_path).rsplit(maxsplit=2)
    assert told.startswith("[('tickplant.shm.protocol', 'copy_words')") and rest == ["False", "True"]
    assert run(COPY + SAY, tmp_path) == "[] True False\n"  # and without what numba needs to compile
    (kept,) = [path for path in tmp_path.glob("tickplant-*") if any(path.rglob("*.nbi"))]
    assert kept.name.startswith("tickplant-shm.protocol-")


@compiled_only
@pytest.mark.long
def test_what_is_not_in_the_cache_is_compiled_beside_what_is(tmp_path: Path) -> None:
    run(COPY, tmp_path)
    assert run(COPY + PUBLISH, tmp_path) == "1 7 True\n"  # `publish` calls `copy_words`, which was loaded
    assert run(COPY + PUBLISH, tmp_path) == "1 7 False\n"


@compiled_only
def test_a_kernel_that_is_called_by_pointer_writes_its_output_or_is_said_to_have_raised() -> None:
    @numba.njit
    def doubled(inputs: np.ndarray, parameters: np.ndarray, state: np.ndarray, out: np.ndarray) -> None:
        if parameters[0] < 0:
            raise ValueError("below 0")
        out[0] = 2 * inputs[0] + state[0]
        state[0] += 1

    @numba.njit
    def caller(pointers: np.ndarray, *arguments: np.ndarray) -> bool:
        return kernel_calls.call(pointers[0], *arguments)

    inputs, state, out = np.array([[1.0, 2.0]]), np.zeros(1), np.empty((1, 2))
    pointers = np.array([kernel_calls.pointer(doubled, inputs, state, state, out)])
    assert caller(pointers, inputs, np.ones(1), state, out)
    assert caller(pointers, inputs, np.ones(1), state, out)
    assert (out.tolist(), state.tolist()) == ([[3.0, 5.0]], [2.0])
    assert not caller(pointers, inputs, -np.ones(1), state, out)


WORD = np.dtype(np.int64)


@kernels.brief_kernel
def fields(owner: int, array: int) -> int:
    """One digit each: the first items of both arrays, how many there are of the other, and its stride in items."""
    own, given = methods.array_fields(owner), methods.array_fields(array)
    result = 0
    for address in (own[methods.DATA], given[methods.DATA], given[methods.SHAPE], given[methods.STRIDES]):
        result = 10 * result + kernels.array_at(address, (1,), WORD)[0]
    return methods.as_object(result)


@pytest.mark.kernels
def test_a_method_reads_what_numpy_notes_of_its_owner_and_of_what_it_is_handed() -> None:
    take = methods.method(fields, np.array([4, 5]))  # which nothing else holds on to
    assert take(np.arange(9)[1::3]) == 4100 + 30 + 24
    assert take(np.arange(9)[7:]) == 4700 + 20 + 8
    assert take(np.arange(8)[6::-3]) == 4600 + 30 - 24
    given = np.arange(9)
    before = sys.getrefcount(given)
    assert [take(given) for _ in range(1000)] == [4000 + 90 + 8] * 1000
    assert sys.getrefcount(given) == before


@compiled_only
def test_a_kernel_that_is_invoked_by_pointer_gives_its_number_or_raises_in_its_caller() -> None:
    @numba.njit
    def divided(numbers: np.ndarray, by: int) -> int:
        if by == 0:
            raise ValueError("by nothing")
        return numbers[1] // by

    @numba.njit
    def caller(pointer: int, numbers: np.ndarray, by: int) -> int:
        return 1 + kernel_calls.invoke(pointer, (numbers, by))

    numbers = np.array([1, 12])
    pointer = kernel_calls.pointer(divided, numbers, 0)
    assert [caller(pointer, numbers, by) for by in (3, 4)] == [5, 4]
    with pytest.raises(ValueError, match="by nothing"):
        caller(pointer, numbers, 0)
