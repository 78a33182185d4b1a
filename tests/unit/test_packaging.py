"""The layout holds together: links, package list, wheel contents, and who may import whom."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "tickplant"
LINKED = ("feeds", "shm", "engine", "writer", "gateway")

COMMON = {
    *("errors", "instruments", "kernel_calls", "kernel_methods", "kernels", "line_file", "owned_file", "printable"),
    *("times", "venues"),
}
"""Modules of `tickplant` itself."""

BELOW: dict[str, set[str]] = {
    "records": {"kernels"},
    "shm": {"records", "kernels"},
    "books": {"records", "kernels"},
    "derive": {"records", "books", "kernels", "kernel_calls"},
    "wire": {"records"},
    "runtime": {"venues"},
    "feeds": {"runtime", "shm", "records", "books", "kernels", "venues"},
    "writer": {"runtime", "shm", "records", "kernels"},
    "client": {"runtime", "records", "wire"},
    "store": {"runtime", "shm", "records", "books", "derive", "wire", "writer", "client", "kernels"},
    "engine": {"runtime", "shm", "records", "books", "derive", "wire", "writer", "store", "kernels", "kernel_calls"},
    "sim": {"runtime", "records", "books", "kernels"},
    "gateway": {"runtime", "records", "wire", "client", "store"},
    "plant": {"runtime", "shm", "records", "derive", "feeds", "writer", "store", "sim"},
    "cli": {"runtime", "venues", "records", "derive", "wire", "client", "feeds", "writer", "store", "sim", "plant"},
}
"""What each room may import, beside errors, instruments, printable and times: docs/design.md §1 draws it."""


def modules() -> dict[str, Path]:
    """Dotted name to file of every module of the import package, through the links."""
    found = {}
    for path in sorted(SRC.rglob("*.py", recurse_symlinks=True) if sys.version_info >= (3, 13) else _walk(SRC)):
        parts = ("tickplant", *path.relative_to(SRC).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def _walk(folder: Path) -> list[Path]:
    """`rglob` does not follow links before 3.13."""
    found = list(folder.glob("*.py"))
    for child in folder.iterdir():
        if child.is_dir() and child.name != "__pycache__":
            found += _walk(child)
    return found


def test_the_four_folders_are_reached_through_relative_links() -> None:
    for name in LINKED:
        link = SRC / name
        assert link.is_symlink()
        assert not link.readlink().is_absolute()
        assert link.resolve() == ROOT / name


def test_the_package_list_equals_the_folders_on_disk() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    on_disk = {name for name, path in modules().items() if path.name == "__init__.py"}
    assert listed == on_disk


def test_the_wheel_holds_every_module_and_the_demo(tmp_path: Path) -> None:
    # From a copy: setuptools leaves its build folder beside what it builds.
    copy = tmp_path / "project"
    copy.mkdir()
    for name in ("src", *LINKED):
        shutil.copytree(
            ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE", "supervisor.toml"):
        shutil.copy(ROOT / name, copy)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    expected = {str(Path("tickplant") / path.relative_to(SRC)) for path in modules().values()}
    assert expected <= held
    assert {"tickplant/py.typed", "tickplant/demo.toml", "tickplant/gateway/page/index.html"} <= held
    assert not {name for name in held if name.split("/")[0] in LINKED}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports from the project, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "tickplant" else {node.module}
            )
    return {name for name in names if name == "tickplant" or name.startswith("tickplant.")}


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    allowed = {room} | BELOW[room] | (COMMON - {"kernel_calls", "kernels"})
    for name, path in modules().items():
        if name.split(".")[1:2] == [room]:
            for imported in imports(path):
                assert imported.split(".")[1:2] and imported.split(".")[1] in allowed, f"{name} imports {imported}"


def test_what_lies_below_a_room_does_not_lie_above_it() -> None:
    order = list(BELOW)
    for room, below in BELOW.items():
        assert all(order.index(other) < order.index(room) for other in below & set(order)), room


def test_every_module_is_in_a_room() -> None:
    homes = {name.split(".")[1] for name in modules() if "." in name}
    assert homes == {*BELOW, *COMMON, "__main__"}


def test_the_modules_of_all_rooms_import_each_other_only() -> None:
    for name in COMMON:
        used = {imported.split(".")[1] for imported in imports(SRC / f"{name}.py") if "." in imported}
        assert used <= COMMON, f"tickplant.{name} imports {used - COMMON}"


def test_no_two_modules_share_a_name() -> None:
    # Of the package, the adapters apart: each venue has the same files.
    seen: dict[str, str] = {}
    for name, path in modules().items():
        stem = name.rpartition(".")[2]
        if path.name in ("__init__.py", "__main__.py") or ".venues." in name or ".dialects." in name:
            continue
        assert stem not in seen, f"{name} and {seen[stem]}"
        seen[stem] = name


def test_every_module_can_be_read_in_one_sitting() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {name: count for name, count in lines.items() if count > 400} == {}
