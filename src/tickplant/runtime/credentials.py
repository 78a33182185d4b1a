"""Credentials by name: a configuration and a spec say which, the process that needs them reads them itself.

A credential is a TOML file of texts, `key = "…"`, that nobody but its owner may read. It is looked for where systemd
passes credentials (LoadCredential), then in the user's own configuration folder. Environment variables would be shown
by /proc of every process of the plant. Each value is registered with `redaction`, which masks it in all that is
written.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Final

from tickplant.errors import ConfigError
from tickplant.runtime import redaction

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


def folders() -> list[Path]:
    """Where credentials are looked for, in this order."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tickplant" / "credentials"
    return [*([Path(given)] if given else []), own]


def find(name: str) -> Path:
    """The file of a credential. Raises ConfigError where there is none, or others may read it; does not read it."""
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
        if not stat.S_ISREG(state.st_mode):
            raise ConfigError("a credential must be a file", file=str(path))
        if state.st_uid not in (os.geteuid(), 0):
            raise ConfigError("belongs to another user: a credential must be your own", file=str(path))
        # systemd grants its file to the service by an access list, which shows as rights of the group.
        if state.st_mode & (0o077 if folder == folders()[-1] else 0o027):
            raise ConfigError(f"may be read or changed by others: run chmod 600 {path}", file=str(path))
        return path
    looked = " or ".join(str(folder / name) for folder in folders())
    raise ConfigError(f'there is no credential "{name}": write it to {looked}, mode 600', key="credentials")


def load(name: str) -> dict[str, str]:
    """The values of a credential, masked from now on in all that this process writes. Raises ConfigError.

    No error holds any of the file's text.
    """
    path = find(name)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None
    except ValueError:
        raise ConfigError('is not TOML: write each value as a line, key = "value"', file=str(path)) from None
    values = {}
    for key, value in table.items():
        if not isinstance(value, str) or not value:
            raise ConfigError("must be a text, in quotes", file=str(path), key=key)
        redaction.register(value)
        values[key] = value
    if not values:
        raise ConfigError('is empty: write each value as a line, key = "value"', file=str(path))
    return values
