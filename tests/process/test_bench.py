"""Every benchmark still runs, and finds what it measures to be right: once, at its smallest. The numbers mean nothing.

Not `latency`, `idle` and `ring`, which take longer, and run what many other tests do.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("unmeasured")

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["books", "codec", "decode", "transport"])
def test_a_benchmark_finds_what_it_measures_to_be_right(name: str) -> None:
    # Not as `python -m bench`, which would write its results over those of the user.
    code = f"from bench import {name}; assert {name}.run(1, True)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    if "FileNotFoundError" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
