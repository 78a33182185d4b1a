"""A run folder is ours, real and closed, or it is refused; one that nobody holds is a dead plant's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tickplant.errors import ControlError
from tickplant.plant import run_folder

STRANGER = 4242
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    base = tmp_path / "base"
    base.mkdir(mode=0o700)
    return base / f"tickplant-{os.geteuid()}" / "12345678"


def made(folder: Path) -> None:
    folder.parent.mkdir(mode=0o700)
    folder.mkdir(mode=0o700)


def loose(part: Callable[[Path], Path], mode: int) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        made(folder)
        part(folder).chmod(mode)

    return spoil


def given(part: Callable[[Path], Path]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        made(folder)
        os.chown(part(folder), STRANGER, STRANGER)

    return spoil


def linked(part: Callable[[Path], Path]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        made(folder)
        elsewhere = folder.parent.parent / "elsewhere"
        part(folder).rename(elsewhere)
        part(folder).symlink_to(elsewhere)

    return spoil


def a_file(folder: Path) -> None:
    folder.parent.write_text("")


def own(folder: Path) -> Path:
    return folder


def parent(folder: Path) -> Path:
    return folder.parent


def base(folder: Path) -> Path:
    return folder.parent.parent


@pytest.mark.parametrize(
    ("spoil", "part", "words"),
    [
        (loose(own, 0o750), own, "open to others"),
        (loose(own, 0o701), own, "open to others"),
        (loose(parent, 0o755), parent, "open to others"),
        (loose(parent, 0o1777), parent, "open to others"),
        (loose(base, 0o777), base, "others may rename"),
        (linked(own), own, "is a link"),
        (linked(parent), parent, "is a link"),
        (a_file, parent, "not a folder"),
        pytest.param(given(own), own, f"belongs to user {STRANGER}", marks=needs_root),
        pytest.param(given(parent), parent, f"belongs to user {STRANGER}", marks=needs_root),
        pytest.param(given(base), base, f"belongs to user {STRANGER}", marks=needs_root),
    ],
)
def test_a_folder_that_others_can_change_is_refused_by_plant_and_command(
    folder: Path, spoil: Callable[[Path], None], part: Callable[[Path], Path], words: str
) -> None:
    spoil(folder)
    for use in (run_folder.exists, lambda where: run_folder.held(where).__enter__()):
        with pytest.raises(ControlError, match=words) as caught:
            use(folder)
        assert str(caught.value).startswith(f"{part(folder)}:")


def test_a_sticky_base_for_all_users_will_do_and_all_is_made_closed_from_the_start(folder: Path) -> None:
    base(folder).chmod(0o1777)
    umask = os.umask(0)
    try:
        assert not run_folder.exists(folder)
        with run_folder.held(folder):
            assert run_folder.exists(folder)
            assert {part.stat().st_mode & 0o7777 for part in (folder, folder.parent)} == {0o700}
            with pytest.raises(ControlError, match="alive uses this run folder"), run_folder.held(folder):
                pass
            assert run_folder.exists(folder)
    finally:
        os.umask(umask)
    assert list(base(folder).iterdir()) == []


def test_a_base_that_is_missing_is_named(folder: Path) -> None:
    base(folder).rmdir()
    with pytest.raises(ControlError, match=f"{base(folder)}: No such file"), run_folder.held(folder):
        pass


HOLD = """
import sys
from pathlib import Path
from tickplant.plant import run_folder
with run_folder.held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_plant_left_is_cleared_and_what_lives_or_is_not_ours_is_not(folder: Path) -> None:
    dead, living = folder.with_name("aaaaaaaar11"), folder.with_name("bbbbbbbbr22")
    processes = [
        subprocess.Popen([sys.executable, "-c", HOLD, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in (dead, living)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait()
    other = folder.with_name("notes")
    other.mkdir()
    (folder.parent / "00000000").symlink_to(other)
    unheld = folder.with_name("cccccccc")
    unheld.mkdir(mode=0o700)
    told: list[str] = []
    with run_folder.held(folder):
        run_folder.clear_dead(folder.parent, told.append)
        assert told == [dead.name]
        assert not dead.exists() and living.exists() and other.exists() and folder.exists()
        assert unheld.exists()
    processes[1].communicate()
    assert not living.exists()
    for process in processes:
        process.communicate()


def test_what_a_dead_plant_left_under_the_same_name_is_replaced(folder: Path) -> None:
    made(folder)
    (folder / "control").write_text("")
    with run_folder.held(folder):
        assert [path.name for path in folder.iterdir()] == ["owner"]
