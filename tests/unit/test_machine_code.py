"""Words that lie in a row are loaded and stored in a row by the machine code too: the rule of `kernels.kernel`."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from tickplant.derive.indicators.averages import run_sma
from tickplant.engine.message_kernels import ANY_STRIDED_RECORDS, publish
from tickplant.feeds.kit.raw_text import is_separated
from tickplant.kernels import JIT_ENABLED, direct

# Kernels for a processor with gathers and scatters, which is not that of this machine: compiled, not run.
TARGET = {"NUMBA_CPU_NAME": "znver4", "NUMBA_CPU_FEATURES": "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx2,+fma"}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="gathers and scatters of x86-64 are looked for"),
    pytest.mark.skipif(not JIT_ENABLED, reason="without the JIT there is no machine code"),
]


@numba.njit
def copy_words(source: np.ndarray, target: np.ndarray, begin: int, to: int, count: int) -> None:
    for k in range(count):
        target[to + k] = source[begin + k]


KERNELS: dict[str, Any] = {
    "against the rule": (copy_words, (np.empty(1), np.empty(1), 0, 0, 0)),
    "publish": (publish, (ANY_STRIDED_RECORDS, 0, 0, 0, False, 0)),
    "is_separated": (is_separated, (0, 0, 0)),
    "sma": (run_sma, (np.empty((1, 1)), np.empty(1), np.empty(1), np.empty((1, 1)))),
}


def print_machine_code(name: str) -> None:
    """What a process of its own does, since a process compiles for one processor."""
    kernel, arguments = KERNELS[name]
    direct(kernel, *arguments)
    print(*kernel.inspect_asm().values())


@pytest.mark.parametrize("name", KERNELS)
def test_nothing_is_scattered_that_lies_in_a_row(name: str, tmp_path: Path) -> None:
    environment = os.environ | TARGET | {"NUMBA_CACHE_DIR": str(tmp_path)}
    made = subprocess.run(
        [sys.executable, __file__, name], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert "zmm" in made.stdout
    assert ("scatter" in made.stdout) == (name == "against the rule")


if __name__ == "__main__":
    print_machine_code(sys.argv[1])
