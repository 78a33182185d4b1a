"""Where users' indicators are: `PATH.py:OBJECT` in a file, or `package.module:OBJECT` in an installed module.

`[indicators]` in a configuration names them, and installed packages name theirs as entry points.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

GROUP: Final = "tickplant.indicators"
"""The group of entry points: each gives the name of an indicator and its place."""

_NAME: Final = re.compile(r"(?!bars\Z|feature_)[a-z][a-z0-9_]{0,31}", re.ASCII)
_PLACE: Final = re.compile(r"[^:\0]+:[A-Za-z_]\w*", re.ASCII)


def why_not(name: str, place: str) -> str:
    """What is wrong with an indicator's name or with the form of its place; empty if nothing is."""
    if not _NAME.fullmatch(name):
        return f"{name!r} is not a name for an indicator: a-z, 0-9 and _, a letter first; not bars, nor feature_…"
    if not _PLACE.fullmatch(place):
        return f"{place!r} is not the place of an indicator, such as spreads.py:SPREAD_MEAN or package.module:OBJECT"
    return ""


def is_file(place: str) -> bool:
    """Whether a place is in a file rather than in an installed module."""
    return place.rpartition(":")[0].endswith(".py")


def installed() -> dict[str, str]:
    """The places of the indicators that installed packages offer, by name."""
    entries = metadata.entry_points(group=GROUP)
    return {entry.name: entry.value for entry in entries if not why_not(entry.name, entry.value)}


def placed(configured: Mapping[str, str], base: Path) -> dict[str, str]:
    """The places that a configuration in the folder `base` names, by name, with full paths."""
    found = {}
    for name, place in configured.items():
        path, _, attribute = place.rpartition(":")
        found[name] = f"{base / path}:{attribute}" if is_file(place) else place
    return found
