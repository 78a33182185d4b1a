"""The documents are true: every file that they name exists, and so does every section that the code refers to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tickplant.runtime import config

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")])
CODE = (
    *("bench", "deploy", "docs/examples", "engine", "feeds", "gateway", "shm"),
    *("src/tickplant", "tests", "tools", "writer"),
)

NAMED = re.compile(r"[\w*./<>-]*\w\*?\.(?:py|md|toml|lock|tpj)\b")
LINK = re.compile(r"\]\(([^)\s]+)\)")
REFERENCE = re.compile(r"(docs/\w+\.md)(?: §(\d+)|, \"([^\"]+)\")?")
FIELD = re.compile(r"<\w+>/")
"""A folder that a user names, such as `<data>/`."""


def sources() -> Iterator[Path]:
    """Every file of code once: links to folders are not followed."""
    for folder in CODE:
        yield from (ROOT / folder).rglob("*.py")
        yield from (ROOT / folder).rglob("*.toml")
    yield from (ROOT / name for name in ("Makefile", "pyproject.toml", "supervisor.toml"))


FILES = {path.name for path in [*sources(), *PAGES]}


def test_there_are_pages_and_code() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "design.md", "operations.md", "tour.md", "venues.md"} <= {
        page.name for page in PAGES
    }
    assert len(FILES) > 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    # With a folder: from the root, or from the page. By its name alone: somewhere.
    for name in set(NAMED.findall(page.read_text(encoding="utf-8"))):
        if FIELD.match(name):
            continue
        known = name in FILES or any(any(base.glob(name)) for base in (ROOT, page.parent, ROOT / "src" / "tickplant"))
        assert known, f"{page.name} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """As a forge makes them of headings."""
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings(page)}


def test_every_file_that_a_docstring_or_comment_names_with_its_folder_exists() -> None:
    # From the root, or from a folder that the source is in.
    found = 0
    for source in sources():
        text = source.read_text(encoding="utf-8")
        for name in re.findall(r"[\w/]*\w/\w+\.(?:py|md)\b", " ".join(re.findall(r'""".*?"""|#.*', text, re.DOTALL))):
            bases = (ROOT / "src" / "tickplant", *source.parents[: len(source.relative_to(ROOT).parents)])
            assert any((base / name).is_file() for base in bases), f"{source} names {name}"
            found += 1
    assert found > 30


@pytest.mark.parametrize("file", sorted((ROOT / "deploy").glob("*.toml")), ids=lambda file: file.name)
def test_every_configuration_to_deploy_is_accepted(file: Path) -> None:
    assert config.load(file).feeds


def test_every_page_and_section_that_the_code_refers_to_exists() -> None:
    found = 0
    for source in sources():
        for page, number, title in REFERENCE.findall(source.read_text(encoding="utf-8")):
            assert (ROOT / page).is_file(), f"{source} refers to {page}"
            titles = headings(ROOT / page)
            if number:
                assert any(each.startswith(f"{number}. ") for each in titles), f"{source}: {page} §{number}"
            if title:
                assert any(title in each for each in titles), f"{source}: {page}, {title}"
            found += 1
    assert found > 10
