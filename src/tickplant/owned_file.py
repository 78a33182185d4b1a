"""Files that nobody but this user may have had a hand in: credentials, and sources of users' indicators."""

from __future__ import annotations

import os
import stat

from tickplant.errors import ConfigError


def check_owned(state: os.stat_result, path: str, *, what: str, forbidden: int, fault: str) -> None:
    """Whether a file is a regular one, this user's or root's, without rights that others must not have.

    Args:
        state: of the file; of its open descriptor where what is read must be what was checked.
        path: names it in errors.
        what: it is, with its article.
        forbidden: bits of the mode that must not be set.
        fault: a clause for a file that has one of them: what others may do, and the command that ends that.

    Raises ConfigError.
    """
    if not stat.S_ISREG(state.st_mode):
        raise ConfigError(f"{what} must be a file", file=path)
    if state.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"belongs to another user: {what} must be your own", file=path)
    if state.st_mode & forbidden:
        raise ConfigError(fault, file=path)
