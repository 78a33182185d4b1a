"""`python -m tickplant.feeds.sim --spec JSON`: a simulated venue as a process.

Prints one line of JSON to stdout when it listens, `{"ready": true, "host": …, "port": …}`; logs to stderr; ends on
SIGTERM and SIGINT with status 0, and with its parent.
"""

from __future__ import annotations

import argparse
import json
import sys

from tickplant.errors import FeedError
from tickplant.feeds.sim.server import run
from tickplant.feeds.sim.spec import parse_spec
from tickplant.process import configure_logging, die_with_parent


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tickplant.feeds.sim", description="A simulated venue.")
    parser.add_argument("--spec", default="{}", help="what to simulate: a SimSpec as JSON")
    arguments = parser.parse_args()
    die_with_parent()
    try:
        spec = parse_spec(arguments.spec)
        configure_logging(spec.log_level, "sim")
        run(spec, _announce)
    except FeedError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _announce(host: str, port: int) -> None:
    sys.stdout.write(json.dumps({"ready": True, "host": host, "port": port}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
