"""A copy of the page's sources with the packages of its lock file, to build and test."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def npm(folder: Path, *words: str) -> str:
    """Run npm; returns its output. AssertionError if it fails."""
    ended = subprocess.run(["npm", *words], cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, f"npm {' '.join(words)}:\n{ended.stdout[-5000:]}{ended.stderr[-3000:]}"
    return ended.stdout


def installed(folder: Path) -> Path:
    """`folder`/page with its packages installed. Skips the test without npm."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here: the page is neither built nor tested again")
    copy = folder / "page"
    shutil.copytree(ROOT / "page", copy, ignore=shutil.ignore_patterns("node_modules", "build"))
    npm(copy, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
    return copy
