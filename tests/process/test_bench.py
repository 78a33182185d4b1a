"""Benchmarks still run, and find what they measure to be right: once, at their smallest. The numbers mean nothing.

Not `idle` and `ring`, which run what `pipeline` and many other tests do.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name",
    [
        "books",
        "codec",
        "decode",
        "engine",
        "gateway",
        "gateway_memory",
        "peers",
        "pipeline",
        "ranges",
        "ring_peers",
        "sizing",
        "store_peers",
        "transport",
    ],
)
def test_a_benchmark_finds_what_it_measures_to_be_right(name: str) -> None:
    # Not as `python -m bench`, which would write its results over those of the user.
    code = f"from bench import {name}; assert {name}.run(1, True)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    last = (done.stderr.splitlines() or [""])[-1]
    if last.startswith("FileNotFoundError"):
        pytest.skip(last)  # a recording that is not beside the project, or a peer that is not installed
    assert done.returncode == 0, done.stderr
