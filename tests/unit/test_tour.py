"""The tour leads through code that exists, and its frame becomes its record."""

from __future__ import annotations

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest
from binance_tools import Desk

from tickplant.records.layouts import TICK

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
STATIONS = dict(re.findall(r"^## (\d+\. .+)\n\n((?:- .+\n)+)", PAGE, re.MULTILINE))
STEP = re.compile(r"- `([\w/]+)\.py`: (.+)")
TS_RECV = 1_760_000_000_002_500_000


def block(name: str) -> str:
    """What stands behind a mark, up to the next empty line."""
    return PAGE.partition(f"<!-- test: {name} -->\n")[2].partition("\n\n")[0]


def test_there_are_ten_stations_in_order() -> None:
    assert [int(title.partition(".")[0]) for title in STATIONS] == list(range(1, 11))


@pytest.mark.parametrize("station", STATIONS)
def test_every_function_of_a_station_exists(station: str) -> None:
    for line in STATIONS[station].splitlines():
        path, names = STEP.fullmatch(line).groups()
        dotted = path.removeprefix("src/tickplant/").replace("/", ".")
        module = importlib.import_module(f"tickplant.{dotted}")
        assert Path(module.__file__).resolve() == ROOT / f"{path}.py"
        for name in re.findall(r"`([\w.]+)`", names):
            assert reduce(getattr, name.split("."), module) is not None


def test_the_frame_of_the_tour_becomes_its_record() -> None:
    (frame,) = re.findall(r"^{.+}$", block("frame"), re.MULTILINE)
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", block("record"), re.MULTILINE)
    expected = {name: int(value) for name, value in rows}
    assert set(expected) == set(TICK.names) - {"instrument", "seq"}
    desk = Desk(["BTCUSDT"], channels=["trade"])
    desk.bootstrap()
    desk.frames("stream", [frame.encode()], TS_RECV)
    (tick,) = desk.take_ticks()
    assert {name: int(tick[name]) for name in expected} == expected
    assert desk.adapter.market.listings.reader.parsed == 1, "not read by shape"
