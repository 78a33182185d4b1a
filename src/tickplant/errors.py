"""Every error that tickplant raises on purpose.

    TickplantError
    ├── ConfigError         a key of a configuration file is wrong or unknown
    ├── RingError           a shared-memory ring cannot be created or attached, or is not the expected one
    ├── StoreError          stored data cannot be read or written
    │   └── DamageError     bytes on disk differ from what was written
    ├── FeedError           a venue, endpoint or recording cannot be used
    ├── ControlError        the plant does not answer, or refuses a command
    ├── SubscribeError      a subscriber cannot attach, or asked for something that does not exist
    └── DeriveError         a derivation is unknown, or its configuration is invalid

Each message names the file, key, segment or address at fault and says what to do. The command line prints it without
a traceback and exits with `exit_code`.
"""

from __future__ import annotations

from pathlib import Path


class TickplantError(Exception):
    """Base of the tree: catch this to catch everything that tickplant raises on purpose."""

    exit_code = 1


class ConfigError(TickplantError):
    """A key of a configuration file is wrong or unknown."""

    exit_code = 2

    def __init__(self, message: str, *, file: str = "", key: str = "") -> None:
        where = ": ".join(part for part in (file, key) if part)
        super().__init__(f"{where}: {message}" if where else message)
        self.file = file
        self.key = key


class RingError(TickplantError):
    """A shared-memory ring cannot be created or attached, or is not the expected one."""

    def __init__(self, message: str, *, segment: str) -> None:
        super().__init__(f"ring {segment}: {message}")
        self.segment = segment


class StoreError(TickplantError):
    """Stored data cannot be read or written."""

    def __init__(self, message: str, *, path: Path | str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = Path(path)


class DamageError(StoreError):
    """Bytes on disk differ from what was written; `offset` is their position in the file."""

    def __init__(self, message: str, *, path: Path | str, offset: int) -> None:
        super().__init__(f"at byte {offset}: {message}", path=path)
        self.offset = offset


class FeedError(TickplantError):
    """A venue, endpoint or recording cannot be used."""


class ControlError(TickplantError):
    """The plant does not answer, or refuses a command."""


class SubscribeError(TickplantError):
    """A subscriber cannot attach, or asked for something that does not exist."""


class DeriveError(TickplantError):
    """A derivation is unknown, or its configuration is invalid; `key` is the name or parameter at fault."""

    exit_code = 2

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.why = message
