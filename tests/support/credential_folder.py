"""Credentials for processes that tests start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def credential_folder(folder: Path, name: str, values: Mapping[str, str]) -> dict[str, str]:
    """Write a credential's file below `folder`; returns the environment in which a process finds it."""
    (folder / "credentials").mkdir(mode=0o700)
    path = folder / "credentials" / name
    path.write_text("".join(f'{key} = "{value}"\n' for key, value in values.items()))
    path.chmod(0o600)
    return {"CREDENTIALS_DIRECTORY": str(path.parent)}
