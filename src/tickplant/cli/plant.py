"""Commands that control a running plant and check its configuration."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec

from tickplant.cli.options import Group, config_option, data_dir_of, data_option, examples, json_option, load_config
from tickplant.cli.output import say, say_json
from tickplant.errors import ConfigError, ControlError
from tickplant.plant import run_folder
from tickplant.plant.console import print_status
from tickplant.plant.lock_file import last_holder
from tickplant.plant.planned_series import ending_calendars, wanted_series
from tickplant.runtime import config as cfg
from tickplant.runtime.control import Accepted, GetStatus, Message, Restart, Resync, Status, Stop
from tickplant.runtime.control_client import ControlClient
from tickplant.runtime.machine_checks import check_machine

STOP_LOOK_S = 0.05
STOP_S = 600.0  # for a plant that does not report how long it may take


def run_dir_of(data_dir: Path) -> Path:
    """The run folder of the plant that holds a data directory. Raises ControlError if no plant does."""
    holder, holds = last_holder(data_dir)
    folder = Path(holder.run_dir or cfg.run_dir(cfg.plant_id(data_dir)))
    if not (holds and run_folder.exists(folder)):
        raise ControlError(f"no plant is up for {data_dir}; start it with: tickplant up")
    return folder


def ask(data_dir: Path, message: Message, *, timeout_s: float = 5.0) -> Message:
    """The answer of a data directory's plant. Raises ControlError."""
    client = ControlClient(cfg.control_address(run_dir_of(data_dir)), "command")
    try:
        return client.request(message, timeout_s=timeout_s)
    finally:
        client.close()


@click.command(epilog=examples("status", "status -c deploy/binance.toml --json"))
@config_option
@data_option
@json_option
def status(file: Path | None, data_dir: Path | None, as_json: bool) -> int:
    """Show the state of the running plant.

    The exit code is 1 if the plant is not healthy.
    """
    reply = ask(data_dir_of(data_dir, file), GetStatus())
    if not isinstance(reply, Status):
        raise ControlError(f"the plant answered {type(reply).__name__} instead of its status")
    if as_json:
        say_json(reply)
    else:
        print_status(reply)
    return 0 if reply.healthy else 1


@click.command(epilog=examples("stop", "stop --data data --timeout 60"))
@config_option
@data_option
@click.option("--wait/--no-wait", default=True, help="Wait until all data is stored and the plant has ended.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Longest wait.  [default: the plant's own limit]"
)
def stop(file: Path | None, data_dir: Path | None, wait: bool, timeout: float | None) -> None:
    """Drain the running plant into the store, then end the plant.

    The exit code is 1 if some data could not be stored.
    """
    data_dir = data_dir_of(data_dir, file)
    began, _ = last_holder(data_dir)
    ask(data_dir, Stop())
    limit_s = (began.stop_s or STOP_S) if timeout is None else timeout
    deadline_s = time.monotonic() + limit_s
    while wait:
        now, holds = last_holder(data_dir)
        if not holds or now.pid not in (0, began.pid):
            break
        if time.monotonic() > deadline_s:
            raise ControlError(
                f"{data_dir}: the plant, pid {began.pid}, has not ended within {limit_s:g} s; it still stores what its "
                "rings hold: see tickplant status"
            )
        time.sleep(STOP_LOOK_S)
    if wait and now.pid == began.pid:
        raise ControlError(
            f"{data_dir}: the supervisor, pid {began.pid}, was killed before everything was stored; what is left waits "
            "in shared memory, and the next `tickplant up` on this data stores it"
        )
    if wait and now.trouble:
        raise ControlError(f"{data_dir}: the plant has ended, but not in order: {now.trouble}")


@click.command(epilog=examples("restart engine"))
@click.argument("name")
@config_option
@data_option
def restart(name: str, file: Path | None, data_dir: Path | None) -> None:
    """Restart the process NAME; it resumes where it stopped.

    `tickplant status` lists the names.
    """
    _expect_accepted(ask(data_dir_of(data_dir, file), Restart(name)))


@click.command(epilog=examples("resync binance BTCUSDT", "resync binance"))
@click.argument("feed")
@click.argument("symbol", default="")
@config_option
@data_option
def resync(feed: str, symbol: str, file: Path | None, data_dir: Path | None) -> None:
    """Fetch the book of SYMBOL again, or all books of FEED.

    FEED is the name after `feeds.` in the configuration.
    """
    _expect_accepted(ask(data_dir_of(data_dir, file), Resync(feed, symbol)))


def _expect_accepted(reply: Message) -> None:
    if not isinstance(reply, Accepted):
        raise ControlError(f"the plant answered {type(reply).__name__}")


@click.group(cls=Group)
def config() -> None:
    """Check a configuration."""


@config.command(epilog=examples("config check", "config check deploy/binance.toml"))
@click.argument("path", required=False, type=click.Path(path_type=Path))
@config_option
@json_option
def check(path: Path | None, file: Path | None, as_json: bool) -> None:
    """Check a configuration file and show every setting, defaults included."""
    checked = load_config(path or file)
    check_machine(checked)
    planned = wanted_series(checked)
    for name, ref in planned.indicators.items():
        if ref.broken:
            raise ConfigError(ref.broken, file=checked.file, key=f"indicators.{name}")
    for sentence in ending_calendars(checked, planned):
        say(f"warning: {sentence}", err=True)
    tables: dict[str, dict[str, Any]] = {}
    for section in msgspec.structs.fields(checked):
        part = getattr(checked, section.name)
        if isinstance(part, msgspec.Struct):
            tables[section.name] = msgspec.to_builtins(part)
        elif isinstance(part, dict) and any(isinstance(one, str) for one in part.values()):
            tables[section.name] = part
        elif isinstance(part, dict):
            tables |= {f"{section.name}.{name}": msgspec.to_builtins(one) for name, one in part.items()}
    tables["plant"]["data"] = str(checked.data_dir)
    if as_json:
        say_json({"file": checked.file, "ok": True, **tables})
        return
    say(f"{checked.file}: ok")
    for title, table in tables.items():
        say(f"\n[{title}]")
        for key, value in table.items():
            if value is not None:
                say(f"{key} = {_toml(value)}")


def _toml(value: object) -> str:
    """A value as written after a key."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return msgspec.json.encode(value).decode()
