"""The page's sources: its own tests under Node, and that what is in the repository is what they build."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]


def npm(folder: Path, *words: str) -> str:
    """What a command says. AssertionError where it fails."""
    ended = subprocess.run(["npm", *words], cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, f"npm {' '.join(words)}:\n{ended.stdout[-5000:]}{ended.stderr[-3000:]}"
    return ended.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `page/` with the packages of its lock."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here: the page is neither built nor tested again")
    folder = tmp_path_factory.mktemp("sources") / "page"
    shutil.copytree(ROOT / "page", folder, ignore=shutil.ignore_patterns("node_modules", "build"))
    npm(folder, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_in_the_repository_is_the_one_that_its_sources_build(sources: Path) -> None:
    npm(sources, "run", "build")
    built, held = files(sources.parent / "gateway" / "page"), files(ROOT / "gateway" / "page")
    assert built.keys() == held.keys(), "run `make page` and commit what it makes"
    assert [name for name in built if built[name] != held[name]] == [], "run `make page` and commit what it makes"


def test_books_streams_candles_and_the_time_machine_of_the_page(sources: Path) -> None:
    said = npm(sources, "test")
    assert "# fail 0" in said
    assert "# skipped 0" in said
