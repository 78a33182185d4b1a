"""The command that launches a plant."""

from __future__ import annotations

from pathlib import Path

import click

from tickplant import plans
from tickplant.cli.options import config_option, load_config
from tickplant.config_checks import check_machine
from tickplant.console import watch
from tickplant.supervisor import Supervisor


@click.command()
@config_option
@click.option("--plain", is_flag=True, help="Log lines instead of the console view, also on a terminal.")
def up(file: Path | None, plain: bool) -> int:
    """Launch the plant and stay with it until Ctrl-C.

    Without a configuration file it is an offline demo: a simulated venue, a feed, an engine and a writer.
    """
    config = load_config(file)
    check_machine(config)
    addresses = plans.Addresses()
    with watch(config.file, plain=plain) as view:
        supervisor = Supervisor(plans.live(config, addresses), addresses, report=view.report)
        return supervisor.run(lambda: view.show(supervisor))
