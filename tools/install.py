"""The virtual environment of a checkout, made from the locks for `make`: completed, or made again from nothing.

Standard library only, because this runs before anything is installed. The locks hold versions and hashes.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

MADE_FROM = {"runtime": "requirements.lock", "project": "pyproject.toml", "development": "requirements-dev.lock"}
"""The parts of an environment in installation order, and the file that each is made from."""

UNFINISHED = ".unfinished"
"""A file that exists in the environment from the first change to the last."""

QUIET_S = 2.0
"""Longest duration of a step that shows no progress."""

LINE_EVERY_S = 10.0
"""Pause between two lines of progress if the output is not a terminal."""


class InstallError(Exception):
    """What went wrong, in words for the user."""


class Environment:
    """A virtual environment with a stamp for each of its parts, which records what that part was made from.

    Args:
        folder: where the environment is, or will be.
        development: whether the development lock is part of it.
        further: additional locks, installed in this order, which may replace versions of the others.
    """

    def __init__(self, folder: Path, *, development: bool, further: Sequence[str] = ()) -> None:
        self.folder = folder.absolute()
        self.python = self.folder / "bin" / "python"
        self.made_from = {part: lock for part, lock in MADE_FROM.items() if development or part != "development"}
        self.made_from |= {Path(lock).stem: lock for lock in further}
        self.parts = list(self.made_from)

    def missing(self, interpreter: str | None = None) -> list[str]:
        """The parts to install: all of them if the environment must be made from nothing.

        That is so if an installation was interrupted, a lock changed (packages that it no longer pins must go), the
        project or the environment was moved, or its base Python is gone or a different one.

        Args:
            interpreter: the Python that the environment must be made with; None accepts its present one.
        """
        python = identity(self.python)
        if python is None or python[0] != str(self.folder.resolve()) or (self.folder / UNFINISHED).exists():
            return self.parts
        if interpreter is not None and (identity(interpreter) or python)[1:] != python[1:]:
            return self.parts
        stamps = {part: path.read_text() for part in self.parts if (path := self._stamp(part)).is_file()}
        missing = [part for part in self.parts if stamps.get(part) != self._wanted(part, python)]
        outdated = stamps.keys() & set(missing) - {"project"}
        return self.parts if "runtime" in missing or outdated else missing

    def make(self, interpreter: str | None = None) -> None:
        """Install what is missing, with the Python that runs this.

        Raises:
            InstallError: a step failed, or the folder holds something else.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with _alone_in(self.folder):
            missing = self.missing(interpreter)
            if not missing:
                return  # another `make` was faster
            if missing == self.parts:
                self._clear()
                # The base Python of the environment that may be running this: the environment's own is gone by now.
                _step(
                    "making the virtual environment",
                    [getattr(sys, "_base_executable", sys.executable), "-m", "venv", self.folder],
                )
            (self.folder / UNFINISHED).touch()
            for part in missing:
                self._install(part)
            _step("checking what is installed", self._pip("check"))
            python = identity(self.python)
            for part in missing:
                self._stamp(part).write_text(self._wanted(part, python))
            (self.folder / UNFINISHED).unlink()

    def _clear(self) -> None:
        held = {path.name for path in self.folder.iterdir()}
        if held and not held & {"pyvenv.cfg", UNFINISHED}:
            raise InstallError(
                f"{self.folder} holds something else than a virtual environment: name a new folder, VENV=…"
            )
        (self.folder / UNFINISHED).touch()  # first, so that an interrupted removal is continued
        for path in (self.folder / name for name in held - {UNFINISHED}):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _install(self, part: str) -> None:
        if part == "project":
            _step(
                "installing tickplant itself",
                self._pip("install", "--no-deps", "--no-build-isolation", "--editable", ROOT),
            )
            return
        lock = ROOT / self.made_from[part]
        pins = sum("==" in line for line in lock.read_text(encoding="utf-8").splitlines())
        # The lock is complete, so pip need not resolve anything. Only wheels, except packages that a further lock names
        # as built here, with what an earlier lock pins.
        words: list[str | Path] = [
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
            "--no-build-isolation",
            "--progress-bar=off",
            "--requirement",
            lock,
        ]
        if pins:
            _step(f"installing the {part} packages", self._pip("install", *words), pins)

    def _pip(self, command: str, *words: str | Path) -> list[str | Path]:
        return [self.python, "-m", "pip", "--disable-pip-version-check", "--no-input", command, *words]

    def _stamp(self, part: str) -> Path:
        return self.folder / f".made-{part}"

    def _wanted(self, part: str, python: tuple[str, str, str] | None) -> str:
        made_from = (*(python or ()), str(ROOT), (ROOT / self.made_from[part]).read_text(encoding="utf-8"))
        return hashlib.sha256("\0".join(made_from).encode()).hexdigest()


def identity(python: Path | str) -> tuple[str, str, str] | None:
    """A Python's location, that of its base Python, and its version; None if it does not run."""
    code = (
        "import os, sys\n"
        "print(os.path.realpath(sys.prefix), sys.base_prefix, '%d.%d' % sys.version_info[:2], sep='\\n')"
    )
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    lines = done.stdout.splitlines()
    return (lines[0], lines[1], lines[2]) if done.returncode == 0 and len(lines) == 3 else None


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait for any other `make` that works in the folder. A pip that outlives its `make` still counts as one."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.set_inheritable(handle, True)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _step(what: str, command: list[str | Path], pins: int = 0) -> None:
    """Run one command. A slow command shows its progress; a failed one shows its output.

    Raises:
        InstallError: the command failed.
    """
    # Settings that would lead pip or Python away from the environment.
    astray = {"PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"}
    kept = {name: value for name, value in os.environ.items() if name not in astray}
    process = subprocess.Popen(
        command,
        env=kept | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        close_fds=False,  # the child holds the lock on the folder too
    )
    lines: list[str] = []

    def read() -> None:
        for line in process.stdout or ():
            lines.append(line)  # noqa: PERF402 (read by another thread meanwhile)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    progress = _Progress(what, lines, pins)
    try:
        while process.poll() is None:
            progress.show()
            reader.join(0.1)
    finally:
        progress.close()
    reader.join()
    if process.returncode:
        raise InstallError(f"{''.join(lines[-20:])}{what} failed, as said above; the next `make` starts anew")


class _Progress:
    """One line that is rewritten on a terminal; elsewhere, a line now and then."""

    def __init__(self, what: str, lines: list[str], pins: int) -> None:
        self._what = what
        self._lines = lines
        self._pins = pins
        self._terminal = sys.stderr.isatty()
        self._next_s = time.monotonic() + QUIET_S
        self._shown = ""

    def show(self) -> None:
        """Show the progress if it is time."""
        if time.monotonic() < self._next_s:
            return
        self._next_s += 0.2 if self._terminal else LINE_EVERY_S
        text = f"{self._what}{self._how_far()}"
        if text == self._shown:
            return
        self._shown = text
        sys.stderr.write(f"\r\x1b[K{text[:78]}" if self._terminal else f"{text}\n")
        sys.stderr.flush()

    def _how_far(self) -> str:
        if not self._pins:
            return ""
        lines = self._lines[:]
        if any(line.startswith("Installing collected packages") for line in lines):
            return f": unpacking all {self._pins}"
        # "Collecting numpy==2.4.6 (from …)", "Requirement already satisfied: idna==3.20 in …"
        starts = ("Collecting ", "Requirement already satisfied: ")
        found = [line.removeprefix(start).split()[0] for line in lines for start in starts if line.startswith(start)]
        return f": {len(found)} of {self._pins}, {found[-1]}" if found else ""

    def close(self) -> None:
        """Restore the terminal's line."""
        if self._terminal and self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def main() -> int:
    """0: the environment is complete. 1: it is incomplete, and nothing was changed (`--check`) or could be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the virtual environment")
    parser.add_argument("--development", action="store_true", help="with the development lock")
    parser.add_argument("--also", action="append", default=[], metavar="LOCK", help="with this lock on top; repeatable")
    parser.add_argument("--python", help="the Python that the environment has to be made with (default: any)")
    parser.add_argument("--check", action="store_true", help="look only")
    options = parser.parse_args()
    environment = Environment(options.folder, development=options.development, further=options.also)
    try:
        if options.check:
            return 1 if environment.missing(options.python) else 0
        environment.make(options.python)
    except InstallError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the next `make` starts the installation anew\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
