"""The grid of `tickplant top` and `tickplant status`: it fits, sorts, filters, and says where its numbers are old."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from tickplant.plant import console
from tickplant.plant.figures import Column, Rates, Row, Table, number_text
from tickplant.plant.text_grid import lines_of
from tickplant.plant.top_view import DOWN, ENTER, ESCAPE, KEYS, RIGHT, Hearing, TopView
from tickplant.runtime.accounts import Account
from tickplant.runtime.control import ProcessStatus, RingStatus, Status

LIVE = Hearing("live", 0.0, "12:00:00")


def process(name: str, number: int, **more: object) -> ProcessStatus:
    counters = {
        "ticks": 10**number,
        "gaps": number,
        "gap_causes": {"sequence": number},
        "statuses": {"connected": 1},
    }
    fields: dict[str, object] = {
        "name": name, "role": "feed", "state": "running", "pid": 4_194_304, "uptime_s": 1.0, "restarts": number,
        "cpu_percent": 10.5 * number, "rss_bytes": number << 27, "counters": counters, **more,
    }  # fmt: skip
    return msgspec.convert(fields, ProcessStatus)


def status(count: int = 4, **more: object) -> Status:
    names = [f"feed-of-a-venue-with-a-long-name-{number:02d}" for number in range(count)]
    rings = [
        RingStatus(
            name, "tick", 10**number, 1 << 16, {"writer": 60_000, "engine": 7}, {"engine": 0}, {"writer": 60_001}
        )
        for number, name in enumerate(names)
    ]
    fields: dict[str, object] = {
        "pid": 1, "data_dir": "/srv/" + "d" * 90, "uptime_s": 200_000.0, "healthy": True, "publish": [],
        "processes": [process(name, number) for number, name in enumerate(names)], "rings": rings, "accounts": [],
        **more,
    }  # fmt: skip
    return msgspec.convert(fields, Status)


def rates_of(before: Status, now: Status, seconds: float) -> Rates:
    rates = Rates()
    rates.see(before, 100.0)
    rates.see(now, 100.0 + seconds)
    return rates


def shown(view: TopView, of: Status | None, hearing: Hearing = LIVE, width: int = 80, height: int = 24) -> list[str]:
    rates = rates_of(of, of, 1.0) if of else Rates()
    lines = view.lines(of, rates, hearing, width, height)
    assert len(lines) == height
    assert all(cell_len(line.plain) <= width for line in lines)
    return [line.plain for line in lines]


def press(view: TopView, *keys: bytes | str) -> None:
    for key in keys:
        view.press(key.encode() if isinstance(key, str) else key)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (132, 43), (40, 10), (20, 4)])
@pytest.mark.parametrize("key", ["1", "2", "3", "?"])
@pytest.mark.parametrize("count", [0, 3, 40])
def test_a_picture_fits_the_screen(width: int, height: int, key: str, count: int) -> None:
    view = TopView()
    shown(view, status(count))
    press(view, key)
    shown(view, status(count), width=width, height=height)
    shown(view, None, width=width, height=height)


def test_at_80_columns_every_number_is_whole() -> None:
    lines = shown(TopView(), status(4))
    row = next(line for line in lines if line.startswith("feed-of") and " 1,000 " in line)
    assert row.split()[1:] == ["feed", "running", "4194304", "31.5", "384", "3", "1,000", "0"]
    assert row.startswith("feed-of-a-")
    assert "  gaps 3" in lines


def test_rows_are_sorted_turned_and_filtered_by_keys() -> None:
    view, plant = TopView(), status(4)
    shown(view, plant)

    def restarts() -> list[str]:
        return [line.split()[6] for line in shown(view, plant) if line.startswith("feed-of")]

    assert restarts() == ["0", "1", "2", "3"]
    press(view, *[RIGHT] * 7)  # restarts
    assert restarts() == ["3", "2", "1", "0"]
    press(view, "r")
    assert restarts() == ["0", "1", "2", "3"]
    press(view, "/", *"NAMF-")  # q and r would be keys elsewhere
    assert restarts() == []
    press(view, b"\x7f", b"\x7f", *"E-02", ENTER[0])
    assert restarts() == ["2"]
    assert any("1 of 4  with 'NAME-02'" in line for line in shown(view, plant))
    press(view, ESCAPE)
    assert len(restarts()) == 4
    assert not view.ended
    press(view, "q")
    assert view.ended


def test_scrolling_reaches_the_last_row_and_no_further() -> None:
    view, plant = TopView(), status(40)
    assert not any("-39" in line for line in shown(view, plant, width=120))
    press(view, *[DOWN] * 100)
    last = shown(view, plant, width=120)
    assert any("-39" in line for line in last)
    press(view, "k")
    assert shown(view, plant, width=120) != last


def test_rings_show_who_is_behind_and_gaps_their_causes() -> None:
    view, plant = TopView(), status(4)
    press(view, "2")
    rows = [line.split() for line in shown(view, plant) if "writer" in line]
    assert [row[2:] for row in rows] == [["writer", "60,000", "91.6", "60,001", "0"]] * 4
    press(view, "3")
    assert "sequence" in " ".join(shown(view, plant))


def test_old_numbers_are_said_to_be_old() -> None:
    view, plant = TopView(), status(2)
    lines = view.lines(plant, Rates(), Hearing("stale", 7.0, "12:00:00"), 80, 24)
    texts = [line.plain for line in lines]
    assert "STALE: the plant does not answer, for 0 min 7 s; these numbers are of 12:00:00" in texts
    assert "healthy" not in texts
    assert {line.style for line in lines if line.plain.startswith("feed-of")} == {"dim"}
    assert shown(view, plant, Hearing("gone", 65.0, "12:00:00"))[3].startswith(
        "THE PLANT HAS ENDED: no answer for 1 min"
    )


def test_what_is_wrong_is_said_first() -> None:
    view = TopView()
    ill = status(2, healthy=False, processes=[process("a", 1, state="backoff")])
    assert "NOT WELL: a is in state backoff" in shown(view, ill)
    off = status(0, healthy=False, accounts=[Account("feed", "ticks made", 3, {"published": 2}, 1)])
    assert "NOT WELL: feed: ticks made 3 = published 2 IS OFF BY 1" in shown(view, off)
    troubled = process("w", 1, role="writer", counters={"trouble": "No space\x1b[2J left"})
    assert r"NOT WELL: w cannot store: No space\x1b[2J left" in shown(
        view, status(2, healthy=False, processes=[troubled])
    )


def test_rates_are_of_the_last_seconds_and_a_restart_has_none() -> None:
    before, after = status(3), status(3)
    after.processes[0].counters["ticks"] = 501
    after.processes[1].counters["ticks"] = 2
    after.rings[2] = msgspec.structs.replace(after.rings[2], head=1100)
    rates = rates_of(before, after, 5.0)
    names = [one.name for one in after.processes]
    assert (rates[names[0]], rates[names[1]], rates[f"{names[2]}.tick"], rates["nobody"]) == (100.0, None, 200.0, None)


def test_latencies_are_bounds_of_the_last_seconds() -> None:
    def aged(ages: dict[str, int]) -> Status:
        return status(1, processes=[process("feed", 1, counters={"age_received": ages})])

    bounds = {"0.001": 1000, "0.03": 0, "1.0": 5, "inf": 7}
    rates = rates_of(aged(bounds), aged(bounds | {"0.001": 1098, "0.03": 1, "1.0": 6}), 5.0)
    assert [rates.latency_text("venue", share) for share in (0.98, 0.99, 1.0)] == ["≤ 1 ms", "≤ 30 ms", "≤ 1 s"]
    assert rates.latency_text("durable", 0.5) == ""
    later = aged(bounds | {"inf": 8})
    assert rates_of(aged(bounds), later, 5.0).latency_text("venue", 0.5) == "> 10 s"
    assert rates_of(later, aged(bounds), 5.0).latency_text("venue", 0.5) == ""
    assert rates_of(later, later, 5.0).latency_text("venue", 0.5) == ""
    lines = TopView().lines(later, rates, LIVE, 80, 24)
    assert lines[2].plain == "p99  venue ≤ 30 ms"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (9_999_999, "9,999,999"), (10_000_000, "10.0 M"), (4_567_000_000, "4.57 G"), (12 * 10**15, "12000.0 T")],
)
def test_numbers_are_short(number: int, text: str) -> None:
    assert number_text(number) == text


def test_cells_of_wide_letters_are_cut_to_their_place() -> None:
    table = Table((Column("name", right=False, least=5), Column("n")), [Row(("交易所交易所", "12"), ("", 12))])
    heading, [[row]] = lines_of(table, 9)
    assert (heading.plain, cell_len(row.plain)) == ("name    n", 9)
    assert row.plain.startswith("交") and row.plain.endswith("12") and "…" in row.plain


def test_status_fits_80_columns_at_a_terminal_and_is_not_cut_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account("feed", "ticks made", 10**9, {"published": 10**9 - 40, "dropped": 40, "waiting": 0})
    plant = status(3, accounts=[account] * 3)

    def printed(*, terminal: bool) -> list[str]:
        file = io.StringIO()
        monkeypatch.setattr(
            console, "Console", lambda: Console(file=file, width=80, force_terminal=terminal, color_system=None)
        )
        console.print_status(plant)
        return file.getvalue().splitlines()

    at_terminal = printed(terminal=True)
    assert all(cell_len(line) <= 80 for line in at_terminal)
    assert "…" in at_terminal[0] and any(line.endswith("1,000") or " 100" in line for line in at_terminal)
    assert at_terminal[-3:] == ["  ticks made 1,000,000,000 = published 999,999,960 + dropped 40"] * 3
    piped = printed(terminal=False)
    assert plant.data_dir in piped[0]
    assert any(line.startswith("feed-of-a-venue-with-a-long-name-02 ") for line in piped)
    assert sum(line.count("ticks made 1,000,000,000 = published 999,999,960 + dropped 40") for line in piped) == 3


def test_the_help_names_every_key() -> None:
    from click.testing import CliRunner

    from tickplant.cli.top import top

    told = CliRunner().invoke(top, ["--help"]).output
    assert all(keys in told and what.split(";")[0] in told for keys, what in KEYS.items())
