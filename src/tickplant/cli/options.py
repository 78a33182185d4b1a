"""Options that several commands take, and the types behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tickplant import config as cfg
from tickplant.config import Config
from tickplant.times import parse_time

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_FILE = Path("supervisor.toml")


class Time(click.ParamType[int]):
    """RFC 3339 or integer nanoseconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Nanoseconds since the epoch."""
        if isinstance(value, int):
            return value
        try:
            return parse_time(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def config_option(function: F) -> F:
    """`-c FILE`: the configuration; without it supervisor.toml of this folder, else the demo plant."""
    return click.option(
        "-c",
        "--config",
        "file",
        type=click.Path(path_type=Path),
        help="Configuration file.  [default: ./supervisor.toml, else the offline demo]",
    )(function)


def data_option(function: F) -> F:
    """`--data DIR`: the store; without it the one of the configuration."""
    return click.option(
        "--data",
        "data_dir",
        type=click.Path(path_type=Path),
        help="Data directory.  [default: that of the configuration]",
    )(function)


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


def load_config(file: Path | None) -> Config:
    """The configuration that a command without `-c` means."""
    if file is None and DEFAULT_FILE.is_file():
        file = DEFAULT_FILE
    return cfg.load(file)


def data_dir_of(data_dir: Path | None, file: Path | None) -> Path:
    """The data directory that a command means."""
    return data_dir.resolve() if data_dir is not None else load_config(file).data_dir
