"""Options that several commands take, and their types."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from tickplant.times import format_time, parse_time

if TYPE_CHECKING:
    from tickplant.runtime.config import Config

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_FILE = Path("supervisor.toml")


class Time(click.ParamType[int]):
    """A time in RFC 3339 or integer nanoseconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Nanoseconds since the epoch."""
        if isinstance(value, int):
            return value
        try:
            return parse_time(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Group(click.Group):
    """A group whose help gives the first sentence of each command in full."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, (one.help or "").partition(".")[0] + ".") for name, one in self.commands.items()]
            )


class Number(click.ParamType[float]):
    """A finite number within bounds."""

    name = "NUMBER"

    def __init__(self, least: float, most: float, *, above: bool = False) -> None:
        self._least = least
        self._most = most
        self._above = above

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; nan and inf are refused."""
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = float("nan")
        if not (self._least < number if self._above else self._least <= number) or not number <= self._most:
            words = f"greater than {self._least:g}" if self._above else f"of at least {self._least:g}"
            self.fail(f"{value!r} is not a number {words} and at most {self._most:g}", param, ctx)
        return number


class Setting(click.ParamType[tuple[str, "int | float"]]):
    """The name of a setting and a number."""

    name = "NAME=NUMBER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int | float]:
        """Name and number; whether such a setting exists is checked elsewhere."""
        name, _, text = value.partition("=")
        try:
            number = float(text)
        except ValueError:
            self.fail(f"{value!r} is not a name and a number, such as max_connections=500", param, ctx)
        return name.strip(), int(number) if number.is_integer() else number


LONGEST_WAIT_S: Final = 1_000_000.0
"""Longest timeout, eleven days: poll counts milliseconds in 32 bits."""


def check_range(start: int | None, end: int | None) -> None:
    """Refuse a range that ends before it begins. Raises click.UsageError."""
    if start is not None and end is not None and start > end:
        raise click.UsageError(f"--start {format_time(start)} is after --end {format_time(end)}: the range is empty")


def range_options(function: F) -> F:
    """`--start`, `--end` and `--clock`: which records are wanted."""
    clock = click.option(
        "--clock",
        type=click.Choice(["recv", "event"]),
        default="recv",
        show_default=True,
        help="Which time --start and --end refer to: recv, when the record was received; event, the venue's own time.",
    )(function)
    end = click.option("--end", type=Time(), help="End of the range, exclusive.")(clock)
    return click.option("--start", type=Time(), help="Start of the range, inclusive: RFC 3339 or integer nanoseconds.")(
        end
    )


def config_option(function: F) -> F:
    """`-c FILE`: the configuration; by default supervisor.toml in this folder, else the demo plant."""
    return click.option(
        "-c",
        "--config",
        "file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Configuration file.  [default: ./supervisor.toml, else the offline demo]",
    )(function)


def data_option(function: F) -> F:
    """`--data DIR`: the store; by default that of the configuration."""
    return click.option(
        "--data",
        "data_dir",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Data directory.  [default: from the configuration]",
    )(function)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")


class _TableFile(click.ParamType[Path]):
    """A file whose suffix names a format."""

    name = "FILE"

    def __init__(self, suffixes: Iterable[str]) -> None:
        self._suffixes = tuple(suffixes)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path. A wrong suffix is refused before anything is read."""
        path = Path(value)
        if path.suffix.lower() not in self._suffixes:
            self.fail(f"{value!r} has no known suffix; choose from {', '.join(self._suffixes)}", param, ctx)
        return path


def output_option(suffixes: Iterable[str]) -> Callable[[F], F]:
    """`-o FILE`: write there instead of printing; the suffix names the format."""
    return click.option(
        "-o",
        "--output",
        "out",
        type=_TableFile(suffixes),
        metavar="FILE",
        help=f"Write to FILE instead of printing. Its suffix chooses the format: {', '.join(suffixes)}.",
    )


def examples(*lines: str) -> str:
    """The epilog of a command's help: command lines that run unchanged on a demo plant or its store."""
    return "\b\nExamples:\n" + "\n".join(f"  tickplant {line}" for line in lines)


crossed_option = click.option(
    "--crossed",
    type=click.Choice(["flag", "match"]),
    default="flag",
    show_default=True,
    help="Order books whose sides cross: flag the book, or resolve the cross by matching.",
)


def load_config(file: Path | None) -> Config:
    """The configuration of a command; by default that of this folder, else the demo plant's."""
    from tickplant.runtime import config  # noqa: PLC0415  # slow to import: `up` starts the fork server first

    if file is None and DEFAULT_FILE.is_file():
        file = DEFAULT_FILE
    return config.load(file)


def live_address(address: str | None, file: Path | None) -> str:
    """The address of the engine that a command attaches to. A configuration named with -c is always read."""
    if address and file is None:
        return address
    from tickplant.runtime.config import DEFAULT_PUBLISH  # noqa: PLC0415

    configured = next((engine.publish for engine in load_config(file).engines.values()), DEFAULT_PUBLISH)
    return address or configured


def check_publish(option: str, address: str, *, insecure: bool | None = None) -> None:
    """Check that a command can publish there, and may: only on this machine, unless `insecure`. Raises UsageError.

    `insecure` is None for a command that has no such option.
    """
    from tickplant.runtime.config import is_loopback  # noqa: PLC0415  # as `load_config`
    from tickplant.runtime.endpoints import find_endpoint  # noqa: PLC0415

    local = "tcp://127.0.0.1:PORT or ipc://PATH"
    if address.startswith("ipc://") and len(address) > len("ipc://"):
        return
    endpoint = find_endpoint(option, address)
    if endpoint is None:
        raise click.UsageError(f"{option} {address!r} is not an address: use {local}")
    if not (insecure or is_loopback(endpoint.host)):
        trusted = "" if insecure is None else ", or --insecure where the network is trusted"
        raise click.UsageError(f"{option} {address}: other machines can reach that address: use {local}{trusted}")


def data_dir_of(data_dir: Path | None, file: Path | None) -> Path:
    """The data directory of a command. A configuration named with `-c` is always read."""
    if data_dir is None:
        return load_config(file).data_dir
    if file is not None:
        load_config(file)
    return data_dir.resolve()


def max_levels_of(file: Path | None, data_dir: Path | None) -> int:
    """The smallest `max_levels` of the configured engines; with only --data, the default."""
    from tickplant.runtime.config import EngineConfig  # noqa: PLC0415  # as `load_config`

    engines = {} if file is None and data_dir is not None else load_config(file).engines
    return min((one.max_levels for one in engines.values()), default=EngineConfig().max_levels)


def own_places(file: Path | None, data_dir: Path | None) -> dict[str, str]:
    """Places of the user's own indicators in a command's configuration; empty with only --data."""
    from tickplant.derive.own_places import placed  # noqa: PLC0415

    if file is None and data_dir is not None:
        return {}
    config = load_config(file)
    return placed(config.indicators, config.base)
