"""Indicators of users, loaded from a file, `PATH.py:OBJECT`, or an installed module, `package.module:OBJECT`.

The object is an `indicator.Indicator`, as in `derive/indicators/`. Its kernel is recompiled with bounds checks,
whatever its decorator says. A file must belong to this user, and nobody else may be able to change it. Later changes
to a file have no effect.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from tickplant.derive.indicator import Indicator
from tickplant.derive.indicators.catalogue import INDICATORS
from tickplant.derive.own_places import installed, is_file, why_not
from tickplant.errors import ConfigError, DeriveError
from tickplant.kernels import guarded, source_digest, text_digest
from tickplant.owned_file import check_owned

FILE_BYTES: Final = 1 << 20
_OTHERS_WRITE: Final = 0o022
_NUMBA_LINE: Final = re.compile(r'File "[^"]*", line (\d+):')


class Loaded(NamedTuple):
    """A user's indicator."""

    indicator: Indicator
    source: str  # digest of its source text
    code: str  # digest of all that determines its values: this text and the modules of tickplant that it imports


def load(name: str, place: str) -> Loaded:
    """The indicator in a place, under this name. Raises DeriveError, which says what is wrong."""
    if why := why_not(name, place):
        raise DeriveError(why, key=name)
    where, _, attribute = place.rpartition(":")
    text = _read(name, Path(where) if is_file(place) else _module_file(name, where))
    code = text_digest(text)
    module = _module(name, where, text, code) if is_file(place) else importlib.import_module(where)
    found = getattr(module, attribute, None)
    if not isinstance(found, Indicator):
        raise DeriveError(f"{where} has no Indicator that is called {attribute}", key=name)
    kernel = guarded(found.kernel, f"own_{name}-{code}")
    own = replace(found, name=name, kernel=kernel)
    return Loaded(own, hashlib.blake2b(text, digest_size=8).hexdigest(), code)


def _read(name: str, path: Path) -> bytes:
    """The text of a file that nobody else can change. Raises DeriveError."""
    try:
        with path.open("rb") as file:
            check_owned(
                os.fstat(file.fileno()),
                str(path),
                what="the source of an indicator",
                forbidden=_OTHERS_WRITE,
                fault=f"may be changed by others: run chmod go-w {path}",
            )
            text = file.read(FILE_BYTES + 1)
            text.decode()
    except OSError as error:
        raise DeriveError(f"{path}: cannot be read: {error.strerror}", key=name) from None
    except UnicodeDecodeError:
        raise DeriveError(f"{path}: is not UTF-8 text", key=name) from None
    except ConfigError as error:
        raise DeriveError(str(error), key=name) from None
    if len(text) > FILE_BYTES:
        raise DeriveError(f"{path}: is longer than {FILE_BYTES >> 20} MiB", key=name)
    return text


def _module_file(name: str, where: str) -> Path:
    """The path of an installed module's source. Raises DeriveError."""
    module = _tried(name, where, partial(importlib.import_module, where))
    if module.__file__ is None:
        raise DeriveError(f"{where} is a package without a module of its own", key=name)
    return Path(module.__file__)


def _module(name: str, where: str, text: bytes, code: str) -> ModuleType:
    """The module made from a text. numba looks modules up by name, so each text gets a module name of its own."""
    title = f"own_{name}_{code}"
    if title in sys.modules:
        return sys.modules[title]
    module = ModuleType(title)
    module.__file__ = where

    def run() -> ModuleType:
        exec(compile(text, where, "exec"), vars(module))  # noqa: S102  # the user's own code, which is why it is checked
        return module

    sys.modules[title] = module
    try:
        return _tried(name, where, run)
    except DeriveError:
        del sys.modules[title]
        raise


def _tried(name: str, where: str, make: Callable[[], ModuleType]) -> ModuleType:
    try:
        return make()
    except (Exception, SystemExit) as error:
        raise DeriveError(f"{where}: cannot be loaded: {said(error)}", key=name) from error


def said(error: BaseException) -> str:
    """An error of a user's code in one line, with the line number in that code if known."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    at = ""
    if lines and lines[0].startswith("Failed in nopython mode"):  # from numba, which gives the reason below
        at = next((f" at line {found[1]}" for line in lines if (found := _NUMBA_LINE.search(line))), "")
        del lines[0]
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").startswith("own_"):
            at = f" at line {trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}{at}{': ' if lines else ''}{lines[0] if lines else ''}"


def find(asked: str) -> Loaded:
    """A built-in or installed indicator by its name, or any indicator by its place.

    `spreads.py:SPREAD_MEAN` gets the name spread_mean; `wide=spreads.py:SPREAD_MEAN` gives another.
    Raises DeriveError.
    """
    if asked in INDICATORS:
        found = INDICATORS[asked]
        return Loaded(found, "", source_digest(found.reference.__module__))
    if ":" in asked:
        name, _, place = asked.rpartition("=")
        return load(name or place.rpartition(":")[2].lower(), place)
    offered = installed()
    if asked not in offered:
        there = ", ".join([*INDICATORS, *offered])
        raise DeriveError(f"no such indicator; choose from {there}, or name a place such as spreads.py:MEAN", key=asked)
    return load(asked, offered[asked])
