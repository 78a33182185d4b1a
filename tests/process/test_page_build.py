"""The page's sources: its own tests under Node, and that what is in the repository is what they build."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_sources import npm

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("unmeasured")]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_in_the_repository_is_the_one_that_its_sources_build(page_sources: Path) -> None:
    npm(page_sources, "run", "build")
    built, held = files(page_sources.parent / "gateway" / "page"), files(ROOT / "gateway" / "page")
    assert built.keys() == held.keys(), "run `make page` and commit what it makes"
    assert [name for name in built if built[name] != held[name]] == [], "run `make page` and commit what it makes"


def test_books_streams_candles_and_the_time_machine_of_the_page(page_sources: Path) -> None:
    said = npm(page_sources, "test")
    assert "# fail 0" in said
    assert "# skipped 0" in said
