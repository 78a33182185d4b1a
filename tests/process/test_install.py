"""`make` notices an environment that is not complete, or no longer right, and makes it anew.

Proved on a small project that needs no package index: empty locks, and a build backend of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plant_process import wait_for

TOOL = Path(__file__).parents[2] / "tools" / "install.py"

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "small"
version = "1"
"""

BACKEND = """
import pathlib, time, zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    if pathlib.Path("hold").exists():
        pathlib.Path("begun").touch()
        time.sleep(600)
    with zipfile.ZipFile(pathlib.Path(folder, "small-1-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("small.py", "")
        wheel.writestr("small-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: small\\nVersion: 1\\n")
        wheel.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("small-1.dist-info/RECORD", "")
    return "small-1-py3-none-any.whl"
"""


class Checkout:
    """A small project with the tool, and its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.venv = folder / ".venv"

    def write(self) -> None:
        (self.folder / "tools").mkdir(parents=True)
        (self.folder / "tools" / "install.py").write_bytes(TOOL.read_bytes())
        (self.folder / "pyproject.toml").write_text(PROJECT)
        (self.folder / "backend.py").write_text(BACKEND)
        for lock in ("requirements.lock", "requirements-dev.lock"):
            (self.folder / lock).write_text("")

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, self.folder / "tools" / "install.py", self.venv, *words]
        return subprocess.Popen(command, cwd=self.folder, start_new_session=True)

    def run(self, *words: str) -> int:
        return self.start(*words).wait()

    def complete(self, *words: str) -> bool:
        return self.run("--check", *words) == 0

    def interrupt(self, at: Path) -> None:
        """Start an installation and kill it, with all that it started, once a file is there."""
        running = self.start()
        try:
            wait_for(str(at), lambda: running.poll() is not None or at.exists())
        finally:
            os.killpg(running.pid, signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        assert not self.complete()

    def imports(self) -> bool:
        done = subprocess.run([self.venv / "bin" / "python", "-c", "import small, pip"], check=False)
        return done.returncode == 0


@pytest.mark.long
def test_an_environment_is_complete_or_made_anew(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "here")
    checkout.write()
    assert not checkout.complete()
    checkout.interrupt(checkout.venv / "pyvenv.cfg")  # while it is created
    (checkout.folder / "hold").touch()
    checkout.interrupt(checkout.folder / "begun")  # before the project itself is installed
    (checkout.folder / "hold").unlink()
    (checkout.venv / "left").touch()
    assert checkout.run() == 0
    assert checkout.complete() and checkout.imports() and not (checkout.venv / "left").exists()

    assert not checkout.complete("--development")
    assert checkout.run("--development") == 0
    assert checkout.complete("--development") and checkout.complete()

    with changed(checkout.folder / "requirements-dev.lock"):
        assert checkout.complete() and not checkout.complete("--development")
    for name in ("requirements.lock", "pyproject.toml"):
        with changed(checkout.folder / name):
            assert not checkout.complete()
    assert checkout.complete("--development")

    (checkout.folder / "more.lock").write_text("")
    more = ("--also", "more.lock")
    assert not checkout.complete(*more)
    assert checkout.run(*more) == 0
    with changed(checkout.folder / "more.lock"):
        assert checkout.complete() and not checkout.complete(*more)
    assert checkout.complete(*more)

    python = checkout.venv / "bin" / "python"
    behind = python.readlink()
    python.unlink()
    python.symlink_to("/nonexistent/python3")
    assert not checkout.complete()
    python.unlink()
    python.symlink_to(behind)
    assert checkout.complete()

    assert not Checkout(checkout.folder.rename(tmp_path / "there")).complete()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkout = Checkout(tmp_path)
    checkout.write()
    checkout.venv.mkdir()
    (checkout.venv / "letters.txt").write_text("mine")
    assert checkout.run() == 1
    assert "holds something else than a virtual environment" in capfd.readouterr().err
    assert {path.name for path in checkout.venv.iterdir()} == {"letters.txt"}


@contextlib.contextmanager
def changed(file: Path) -> Iterator[None]:
    """The file with a line more, for as long as this lasts."""
    before = file.read_text()
    file.write_text(f"{before}# changed\n")
    yield
    file.write_text(before)
