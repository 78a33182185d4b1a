"""`tickplant top` in a terminal of 80 by 24 beside a real plant: keys, a plant that hangs or ends, its own end."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from plant_process import PlantProcess, plant, state_of, tickplant, wait_for
from pty_terminal import Terminal

from tickplant.plant.figures import STAGES

pytestmark = pytest.mark.usefixtures("unmeasured")

SHOWN, HIDDEN = "\x1b[?25h", "\x1b[?25l"  # the cursor
OTHER, OWN = "\x1b[?1049h", "\x1b[?1049l"  # the screen


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantProcess]:
    with plant(tmp_path_factory.mktemp("top"), rate=200.0) as started:
        yield started


@contextlib.contextmanager
def top(running: PlantProcess) -> Iterator[Terminal]:
    with contextlib.closing(Terminal("top", "-c", running.file, "--every", "0.2")) as one:
        wait_for("the first picture", lambda: sees(one, "healthy"))
        yield one


def sees(shown: Terminal, *words: str) -> list[str] | None:
    """The lines of the screen, where each of these begins one."""
    assert shown.process.poll() is None, shown.read()
    lines = shown.screen()
    return lines if lines and all(any(line.startswith(word) for line in lines) for word in words) else None


def expect_left(shown: Terminal) -> None:
    """The terminal is as it was."""
    assert shown.gives_lines
    assert shown.shown.count(OTHER) == shown.shown.count(OWN) > 0
    assert shown.shown.rindex(OWN) > shown.shown.rindex(OTHER)
    assert shown.shown.rindex(SHOWN) > shown.shown.rindex(HIDDEN)


def test_keys_sort_filter_and_change_what_is_shown(running: PlantProcess) -> None:
    with top(running) as shown:
        lines = wait_for("all processes", lambda: sees(shown, "market", "writer", "engine", "binance"))
        assert all(len(line) <= 80 for line in lines)
        wait_for("latencies of each stage", lambda: (at := sees(shown, "p99 ")) and all(one in at[2] for one in STAGES))
        assert not shown.gives_lines
        shown.press(">")
        sorted_lines = wait_for("the rows by name", lambda: sees(shown, "processes, by process"))
        names = [line.split()[0] for line in sorted_lines[6:10]]
        assert names == ["binance", "engine", "market", "writer"]
        shown.press("/eng\r")
        filtered = wait_for("the engine alone", lambda: sees(shown, "processes, by process  1 of 4  with 'eng'"))
        assert not any(line.startswith("binance") for line in filtered)
        shown.press("2")
        wait_for("rings", lambda: sees(shown, "ring ", "engine.bbo"))
        shown.press("?")
        wait_for("the keys", lambda: sees(shown, "Keys"))
        shown.press("xq")
        assert shown.end() == 0
        expect_left(shown)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_the_terminal_as_it_was(running: PlantProcess, how: signal.Signals) -> None:
    with top(running) as shown:
        if how is signal.SIGINT:
            shown.press("\x03")
        else:
            shown.process.send_signal(how)
        assert shown.end() == (130 if how is signal.SIGINT else -how)
        expect_left(shown)


@pytest.mark.long
def test_a_plant_that_hangs_and_one_that_ends_are_said_to_be_so(running: PlantProcess) -> None:
    with top(running) as shown:
        running.process.send_signal(signal.SIGSTOP)
        try:
            wait_for("the numbers to be old", lambda: sees(shown, "STALE: the plant does not answer", "engine"))
            shown.press("2")
            wait_for("a key to be obeyed all the same", lambda: sees(shown, "STALE: ", "binance.tick"))
        finally:
            running.process.send_signal(signal.SIGCONT)
        wait_for("it to be well", lambda: sees(shown, "healthy"))
        assert running.stop() == 0
        wait_for("its end to be seen", lambda: sees(shown, "THE PLANT HAS ENDED: no answer for ", "binance.tick"))
        with contextlib.ExitStack() as stack:
            again = PlantProcess(running.file)
            stack.callback(again.clean_up)
            again.wait_until_up()
            wait_for("the next plant", lambda: sees(shown, "healthy"))
            shown.press("\x1a")  # Ctrl-Z
            wait_for("it to stand still", lambda: state_of(shown.process.pid) == "T")
            shown.read()
            expect_left(shown)
            os.kill(shown.process.pid, signal.SIGCONT)
            wait_for("the picture", lambda: shown.read().count(OTHER) == 2 and sees(shown, "healthy"))
            shown.press("q")
            assert shown.end() == 0
            expect_left(shown)
            assert again.stop() == 0


def test_without_a_terminal_or_a_plant_it_says_so(tmp_path: Path) -> None:
    done = tickplant("top", "--data", tmp_path)
    assert done.returncode == 2
    assert "top needs a terminal" in done.stderr
    with contextlib.closing(Terminal("top", "--data", tmp_path)) as shown:
        assert shown.end() == 1
        assert "no plant is up for" in " ".join(shown.shown.split())
        assert shown.gives_lines
        assert OTHER not in shown.shown
