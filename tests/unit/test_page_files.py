"""The page as it lies in the package: whole, small, and such that the Content-Security-Policy lets it work."""

from __future__ import annotations

import re
from pathlib import Path

from tickplant.gateway.static_pages import StaticPages
from tickplant.records.layouts import Flag, GapCause, StatusCode

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "gateway" / "page"


def test_every_file_that_the_page_names_is_served() -> None:
    pages = StaticPages()
    index = pages.find("/")
    assert index is not None
    named = re.findall(r'(?:src|href)="(/[^"#]+)"', index.data.decode())
    assert len(named) >= 3
    scripts = [path for path in named if path.endswith(".js")]
    styles = [path for path in named if path.endswith(".css")]
    assert (len(scripts), len(styles)) == (1, 1)
    for path in [*named, *re.findall(r"url\((/[^)]+)\)", pages.find(styles[0]).data.decode())]:  # type: ignore[union-attr]
        assert pages.find(path) is not None, path
    assert pages.find(scripts[0]).cache.endswith("immutable")  # type: ignore[union-attr]


def test_the_page_has_nothing_inline_and_asks_no_other_host() -> None:
    html = (BUILT / "index.html").read_text()
    assert "<style" not in html
    assert not re.search(r"\s(style|on\w+)=", html)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html))
    for path in BUILT.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//|@import", path.read_text()), path
    assert "http" not in html


def test_the_page_is_small_and_names_whose_work_it_contains() -> None:
    sizes = {path.name: path.stat().st_size for path in BUILT.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 400_000, sizes
    licences = (BUILT / "licences.txt").read_text()
    for name in ("Lightweight Charts", "TradingView, Inc.", "uPlot", "fancy-canvas", "IBM Plex Sans"):
        assert f"{name}" in licences
    assert any("https://www.tradingview.com/" in path.read_text() for path in BUILT.rglob("*.js"))


def test_the_lock_of_the_page_names_no_host_to_install_from() -> None:
    lock = (ROOT / "page" / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') > 10


def test_words_and_bits_of_records_are_those_of_the_plant() -> None:
    sources = {path.name: path.read_text() for path in (ROOT / "page" / "src").glob("*.ts")}
    words = {
        name: re.findall(r'"([^"]*)"', re.search(rf"const {name} = \[(.*?)\];", text, re.DOTALL)[1])  # type: ignore[index]
        for name, text in (("STATUSES", sources["wire.ts"]), ("GAP_CAUSES", sources["book.ts"]))
    }
    assert words["STATUSES"] == [code.name.lower().replace("_", " ") for code in sorted(StatusCode)]
    assert words["GAP_CAUSES"] == ["", *(cause.name.lower() for cause in sorted(GapCause))]
    bits = re.findall(r"^const ([A-Z_]+) = (\d+);", sources["book.ts"] + sources["candles.ts"], re.MULTILINE)
    assert {name: int(value) for name, value in bits if name in Flag.__members__} == {
        name: int(Flag[name]) for name in ("LAST", "PARTIAL", "ON_BOOK", "ON_ORDERS", "BACKFILL")
    }
