"""The command that launches a plant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from tickplant.cli.options import config_option, examples, load_config
from tickplant.plant.launcher import LIVE_MODULES, ForkServer

PREFIX: Final = "TICKPLANT_SECRET_"  # prefix of the variables that `runtime.credentials` describes


@click.command(epilog=examples("up", "up -c deploy/binance.toml"))
@config_option
@click.option("--plain", is_flag=True, help="Print log lines instead of the live table.")
def up(file: Path | None, plain: bool) -> int:
    """Launch the plant and stay attached until Ctrl-C.

    Without a configuration file, the plant is an offline demo: a simulated venue, a feed, an engine and a writer.
    """
    if any(name.startswith(PREFIX) for name in os.environ):
        from tickplant.runtime.credentials import take_environment  # noqa: PLC0415  # rarely needed

        take_environment()
    # First, so that it imports what the children run while this process reads the configuration.
    server = ForkServer()
    server.warm(LIVE_MODULES)
    try:
        return _run(server, file, plain=plain)
    finally:
        server.close()


def _run(server: ForkServer, file: Path | None, *, plain: bool) -> int:
    from tickplant.plant import plans  # noqa: PLC0415  # while the fork server starts
    from tickplant.plant.console import watch  # noqa: PLC0415
    from tickplant.plant.supervisor import Supervisor  # noqa: PLC0415
    from tickplant.runtime.machine_checks import check_machine  # noqa: PLC0415

    config = load_config(file)
    check_machine(config)
    addresses = plans.Addresses()
    with watch(config.file, plain=plain) as view:
        supervisor = Supervisor(plans.live(config, addresses), addresses, report=view.report, server=server)
        code = supervisor.run(lambda: view.show(supervisor))
        if not code:
            view.report("info", f"the plant has ended; everything is stored in {config.data_dir}")
        return code
