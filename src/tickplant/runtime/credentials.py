"""Credentials by name: configurations and specs hold names; the process that needs a credential reads it itself.

A credential is a TOML file of texts, `key = "…"`, that only its owner may read. It is looked up where systemd passes
credentials (LoadCredential), then in the user's own configuration folder. Environment variables
`TICKPLANT_SECRET_NAME__KEY` take precedence over files: `tickplant up` removes them from its environment before it
starts a process, and hands each feed its own. Each value is registered with `redaction`, which masks it in everything
that is written, and a process that holds one leaves no core dump.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tickplant.errors import ConfigError
from tickplant.owned_file import check_owned
from tickplant.runtime import redaction

PREFIX: Final = "TICKPLANT_SECRET_"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_VARIABLE: Final = re.compile(re.escape(PREFIX) + r"([A-Z0-9][A-Z0-9_]*?)__([A-Z0-9][A-Z0-9_]*)\Z")

_taken: dict[str, dict[str, str]] = {}
"""Credentials from the environment, by the name in the variables; values by key."""


def take_environment() -> None:
    """Move all credentials out of the environment, for `from_environment`; call before any process is started.

    From then on, neither this process nor one that it starts shows them in /proc.
    """
    found = {name: match for name in os.environ if (match := _VARIABLE.match(name))}
    if not found:
        return
    protect()
    for name, match in found.items():
        value = os.environ.pop(name)
        redaction.register(value)
        _taken.setdefault(match[1], {})[match[2].lower()] = value
    _wipe_environment()


def from_environment(name: str) -> dict[str, str]:
    """The values of a credential from the environment, by key; empty if there were none."""
    return dict(_taken.get(_as_variable(name), {}))


def _as_variable(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def _wipe_environment() -> None:
    # Overwrite the memory that /proc/PID/environ shows: the environment that this process was started with.
    fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])
    at = start
    for entry in ctypes.string_at(start, end - start).split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and name.startswith(PREFIX.encode()):
            ctypes.memset(at + len(name) + 1, ord("*"), len(value))
        at += len(entry) + 1


def protect() -> None:
    """Keep secrets out of core dumps: no file is written, and a dump piped to a program has no memory in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/coredump_filter").write_text("0", encoding="ascii")


def hold(values: Mapping[str, str]) -> dict[str, str]:
    """Mask these values from now on, in everything that this process writes, and keep them out of core dumps."""
    protect()
    for value in values.values():
        redaction.register(value)
    return dict(values)


def check(name: str) -> None:
    """Check that a credential of this name exists. Raises ConfigError; reads no value."""
    if not _NAME.match(name):
        raise ConfigError(f"{name!r} is not the name of a credential: letters, digits, _, - and .", key="credentials")
    variables = (match[1] for each in os.environ if (match := _VARIABLE.match(each)))
    if _as_variable(name) not in {*_taken, *variables}:
        find(name)


def folders() -> list[Path]:
    """Folders that are searched for credentials, in this order."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tickplant" / "credentials"
    return [*([Path(given)] if given else []), own]


def find(name: str) -> Path:
    """The file of a credential, unread. Raises ConfigError if there is none, or others may read it."""
    if not _NAME.match(name):
        raise ConfigError(f"{name!r} is not the name of a credential: letters, digits, _, - and .", key="credentials")
    for folder in folders():
        path = folder / name
        try:
            state = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None
        check_owned(
            state,
            str(path),
            what="a credential",
            # systemd grants the service its file by an access list, which shows as group permissions.
            forbidden=0o077 if folder == folders()[-1] else 0o027,
            fault=f"may be read or changed by others: run chmod 600 {path}",
        )
        return path
    looked = " or ".join(str(folder / name) for folder in folders())
    raise ConfigError(
        f'there is no credential "{name}": write it to {looked}, mode 600, or set {PREFIX}{_as_variable(name)}__KEY',
        key="credentials",
    )


def load(name: str) -> dict[str, str]:
    """The values of a credential's file, masked from now on in everything that this process writes. Raises ConfigError.

    No error contains any of the file's text.
    """
    path = find(name)
    protect()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None
    except ValueError:
        raise ConfigError('is not TOML: write each value as a line, key = "value"', file=str(path)) from None
    values = {}
    for key, value in table.items():
        if not isinstance(value, str) or not value:
            raise ConfigError("must be a text, in quotes", file=str(path), key=key)
        values[key] = value
    if not values:
        raise ConfigError('is empty: write each value as a line, key = "value"', file=str(path))
    return hold(values)
