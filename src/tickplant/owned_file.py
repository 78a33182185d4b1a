"""Files that only this user may write, or even read: credentials, and the sources of users' indicators."""

from __future__ import annotations

import os
import stat

from tickplant.errors import ConfigError


def check_owned(state: os.stat_result, path: str, *, what: str, forbidden: int, fault: str) -> None:
    """Check that a file is regular, belongs to this user or root, and gives others no forbidden rights.

    Args:
        state: the file's stat; that of the open descriptor where the file that is read must be the one checked.
        path: names the file in errors.
        what: what the file is, with its article.
        forbidden: bits of the mode that must not be set.
        fault: the error for a file with a forbidden bit: what others may do, and the command that ends that.

    Raises ConfigError.
    """
    if not stat.S_ISREG(state.st_mode):
        raise ConfigError(f"{what} must be a file", file=path)
    if state.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"belongs to another user: {what} must be your own", file=path)
    if state.st_mode & forbidden:
        raise ConfigError(fault, file=path)
