"""Both locks are closed: what they pin needs nothing but what they pin, whatever is released later."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
DEVELOPMENT = PROJECT["project"]["optional-dependencies"]["dev"]

LOCKS = {"requirements.lock": RUNTIME, "requirements-dev.lock": [*RUNTIME, *DEVELOPMENT]}
"""Each lock, and what it must at least hold."""

ENVIRONMENTS = [
    {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine}
    | {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux"}
    | {"implementation_name": "cpython", "implementation_version": f"{python}.0"}
    | {"platform_python_implementation": "CPython", "platform_release": "", "platform_version": ""}
    for python in ("3.11", "3.12", "3.13", "3.14")
    for machine in ("x86_64", "aarch64")
]
"""Where one and the same lock is installed."""


class Pin(NamedTuple):
    """An entry of a lock."""

    requirement: Requirement
    hashes: list[str]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        (only,) = self.requirement.specifier
        assert only.operator == "==" and "*" not in only.version, f"{self.requirement} is no pin"
        return only.version

    def meets(self, need: Requirement) -> bool:
        """By version, and by extras: to pip before 24, `a==1` does not pin `a[b]`."""
        return need.extras <= self.requirement.extras and need.specifier.contains(self.version, prereleases=True)


def pins(lock: str) -> list[Pin]:
    """Every entry of the text of a lock."""
    entries = re.sub(r"^ *#.*\n", "", lock, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [
        Pin(Requirement((words := entry.split(" --hash="))[0].strip()), words[1:]) for entry in entries if entry.strip()
    ]


def applies(requirement: Requirement, environment: dict[str, str], extras: Iterable[str] = ()) -> bool:
    """Whether a requirement counts in an environment, of a distribution that is wanted with these extras."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))


def unmet(lock: str, wanted: list[str], requires: Callable[[str], list[str]]) -> set[str]:
    """The requirements that no pin meets, in words.

    Args:
        lock: its text.
        wanted: requirements of the project itself.
        requires: the requirements of the distribution of a name, as its metadata states them.
    """
    needs = [("tickplant", frozenset[str](), Requirement(text)) for text in wanted]
    needs += [
        (pin.name, frozenset(pin.requirement.extras), Requirement(text))
        for pin in pins(lock)
        for text in requires(pin.name)
    ]
    missing = set()
    for environment in ENVIRONMENTS:
        valid = [pin for pin in pins(lock) if applies(pin.requirement, environment)]
        found = {pin.name: pin for pin in valid}
        assert len(found) == len(valid), "two pins of one distribution"
        for owner, extras, need in needs:
            if (owner == "tickplant" or owner in found) and applies(need, environment, extras):
                pin = found.get(canonicalize_name(need.name))
                if not (pin and pin.meets(need)):
                    asked = str(need).partition(";")[0].strip()
                    missing.add(f"{owner} needs {asked} on Python {environment['python_version']}")
    return missing


def installed(name: str) -> list[str]:
    return metadata.requires(name) or []


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_of_every_pin_is_met_by_a_pin(name: str) -> None:
    lock = (ROOT / name).read_text(encoding="utf-8")
    # The metadata that is looked at is that of the pinned versions.
    assert {pin.name: metadata.version(pin.name) for pin in pins(lock)} == {pin.name: pin.version for pin in pins(lock)}
    assert unmet(lock, LOCKS[name], installed) == set()


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_hashes_and_neither_places_nor_options_of_pip(name: str) -> None:
    lock = (ROOT / name).read_text(encoding="utf-8")
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", word.strip()) for pin in pins(lock) for word in pin.hashes)
    assert all(pin.hashes for pin in pins(lock))
    assert "://" not in lock
    assert not re.findall(r"^-.*", lock, re.MULTILINE)


def test_the_development_lock_holds_the_runtime_lock_as_it_is() -> None:
    runtime, development = ({pin.name: (pin.version, pin.hashes) for pin in held} for held in map(_pins_of, LOCKS))
    assert runtime.items() <= development.items()


def _pins_of(name: str) -> list[Pin]:
    return pins((ROOT / name).read_text(encoding="utf-8"))


METADATA = {
    "tests": ["cover[toml]>=7", "old>=1; python_version < '3.12'", "new>=1; python_version >= '3.14'"],
    "cover": ["tomlib>=2; extra == 'toml'", "never; extra == 'other'", "winonly; sys_platform == 'win32'"],
    "tomlib": [],
    "old": [],
    "new": [],
}
CLOSED = "tests==1.0\ncover[toml]==7.1\ntomlib==2.0\nold==1.0\nnew==1.0\n"


def test_a_lock_that_pins_all_is_closed() -> None:
    assert unmet(CLOSED, ["tests"], METADATA.__getitem__) == set()
    only_where_needed = CLOSED.replace("old==1.0", 'old==1.0 ; python_version < "3.12"')
    assert unmet(only_where_needed, ["tests"], METADATA.__getitem__) == set()


EVERYWHERE = ("3.11", "3.12", "3.13", "3.14")


@pytest.mark.parametrize(
    ("pin", "instead", "need", "pythons"),
    [
        ("cover[toml]==7.1", "cover==7.1", "tests needs cover[toml]>=7", EVERYWHERE),  # as --strip-extras leaves it
        ("cover[toml]==7.1", "cover[toml]==6.9", "tests needs cover[toml]>=7", EVERYWHERE),
        ("tomlib==2.0", "", "cover needs tomlib>=2", EVERYWHERE),  # needed by the extra alone
        ("old==1.0", "", "tests needs old>=1", ("3.11",)),
        ("new==1.0", "", "tests needs new>=1", ("3.14",)),
        ("new==1.0", 'new==1.0 ; python_version < "3.14"', "tests needs new>=1", ("3.14",)),
        ("tomlib==2.0", 'tomlib==2.0 ; platform_machine == "x86_64"', "cover needs tomlib>=2", EVERYWHERE),
        ("tests==1.0", "", "tickplant needs tests", EVERYWHERE),
    ],
)
def test_a_lock_with_a_hole_is_found_out(pin: str, instead: str, need: str, pythons: tuple[str, ...]) -> None:
    found = unmet(CLOSED.replace(pin, instead), ["tests"], METADATA.__getitem__)
    assert found == {f"{need} on Python {python}" for python in pythons}
