"""The run folder: the place of a plant's control socket and doorbells, and the rules for its ownership.

`BASE/tickplant-UID/PLANT`, where BASE is XDG_RUNTIME_DIR or the folder for temporary files. Anyone who can write there
could take the place of the supervisor or of an engine. So the plant and every command that talks to it demand, as tmux
does, that both folders are real folders (not links), belong to this user and have mode 0700. BASE must belong to this
user or to root, and nobody else may be able to rename its entries.

A folder is held by a lock on its file `owner`, which the kernel drops with the supervisor: a folder that nobody holds
was left by a killed plant.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tickplant.errors import ControlError

OWNER: Final = "owner"
_PLANT: Final = re.compile(r"[0-9a-f]{8}(r\d+)?\Z")
_TRIES: Final = 100  # another plant that ends last may remove the parent meanwhile


def exists(folder: Path) -> bool:
    """Whether there is a run folder, and a safe one. Raises ControlError if it is unsafe."""
    # Checked before looking inside: in a stranger's folder, even the absence of a plant would be the stranger's claim.
    try:
        folder.parent.lstat()
        _check_base(folder.parent.parent)
        _check_own(folder.parent)
        _check_own(folder)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise ControlError(f"{folder.parent.parent}: is not a folder; set XDG_RUNTIME_DIR to one of your own") from None
    return True


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make a run folder and hold it; remove it afterwards. The folder of a dead plant is removed first.

    Raises ControlError if that is not safe, or if a living plant holds the folder.
    """
    new = _make_beside(folder)
    lock = os.open(new / OWNER, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # It appears under its name only once it is held, so a folder that nobody holds is a dead plant's.
        if os.path.lexists(folder) and not _remove_dead(folder, unheld=True):
            raise ControlError(f"{folder}: a plant that is alive uses this run folder; stop that one first")
        new.rename(folder)
        yield
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if _is_same(folder / OWNER, lock):
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()


def clear_dead(parent: Path, on_dead: Callable[[str], None]) -> None:
    """Remove the run folders of dead plants in our folder; `on_dead` first receives the plant's id."""
    with contextlib.suppress(OSError, ControlError):
        _check_own(parent)
        for folder in sorted(parent.iterdir()):
            if _PLANT.match(folder.name):
                with contextlib.suppress(OSError, ControlError):
                    _remove_dead(folder, on_dead)


def _make_beside(folder: Path) -> Path:
    """Make a folder of ours under another name, next to the place of `folder`."""
    parent = folder.parent
    for _ in range(_TRIES):
        try:
            _check_base(parent.parent)
            with contextlib.suppress(FileExistsError):
                parent.mkdir(mode=0o700)
            _check_own(parent)
            new = parent / f".new-{secrets.token_hex(8)}"
            new.mkdir(mode=0o700)
        except FileNotFoundError:
            if not parent.parent.is_dir():
                raise ControlError(f"{parent.parent}: no such folder; set XDG_RUNTIME_DIR to one") from None
        except OSError as error:
            raise ControlError(f"{parent}: the run folder cannot be made there: {error.strerror}") from None
        else:
            return new
    raise ControlError(f"{parent}: another process keeps removing the folder")


def _remove_dead(folder: Path, on_dead: Callable[[str], None] = lambda _: None, *, unheld: bool = False) -> bool:
    """Remove a run folder unless a living plant holds it; with `unheld`, also one that was never held by a lock.

    Raises ControlError if the folder is not ours.
    """
    _check_own(folder)
    try:
        lock = os.open(folder / OWNER, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        if not unheld:
            return False  # may belong to a version that did not lock
        lock = -1  # its data directory is locked by us: so it is dead
    except OSError as error:
        raise ControlError(f"{folder / OWNER}: cannot be opened: {error.strerror}; remove it") from None
    try:
        if lock >= 0:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        on_dead(folder.name)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return False
    finally:
        if lock >= 0:
            os.close(lock)
    return True


def _is_same(path: Path, fd: int) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(path.lstat(), os.fstat(fd))
    return False


def _check_base(base: Path) -> None:
    try:
        found = base.stat()
    except OSError as error:
        raise ControlError(f"{base}: {error.strerror}; set XDG_RUNTIME_DIR to a folder of your own") from None
    if not stat.S_ISDIR(found.st_mode):
        raise ControlError(f"{base}: is not a folder; set XDG_RUNTIME_DIR to one of your own")
    if found.st_uid not in (0, os.geteuid()):
        raise ControlError(
            f"{base}: belongs to {_user(found.st_uid)}, who could take over the plant; "
            "set XDG_RUNTIME_DIR to a folder of your own"
        )
    others = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != os.getegid())
    if others and not found.st_mode & stat.S_ISVTX:
        raise ControlError(
            f"{base}: others may rename what is in it: chmod +t, or set XDG_RUNTIME_DIR to a folder of your own"
        )


def _check_own(folder: Path) -> None:
    """Require a real folder that is ours and closed to all others."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ControlError(f"{folder}: the run folder cannot be looked at: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "not a folder"
        raise ControlError(f"{folder}: the run folder is {kind}, which tickplant never makes; remove it")
    if found.st_uid != os.geteuid():
        raise ControlError(
            f"{folder}: the run folder belongs to {_user(found.st_uid)}, not to {_user(os.geteuid())}; "
            "remove it, or set XDG_RUNTIME_DIR to a folder of your own"
        )
    if found.st_mode & 0o077:
        raise ControlError(
            f"{folder}: the run folder is open to others (mode {stat.S_IMODE(found.st_mode):04o}); "
            f"see what is in it, then: chmod 700 {folder}"
        )


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return f"user {uid}"
