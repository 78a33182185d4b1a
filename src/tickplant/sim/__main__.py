"""`python -m tickplant.sim`: a simulated venue as a process. Takes a SimSpec as JSON on stdin; empty: the default.

When it listens, it prints one line of JSON to stdout, `{"ready": true, "host": …, "port": …}`. It logs to stderr and
ends with its parent, or on SIGTERM and SIGINT with status 0.
"""

from __future__ import annotations

import json
import sys

from tickplant.errors import FeedError
from tickplant.runtime.child_process import configure_logging
from tickplant.runtime.lineage import die_with_parent, read_spec
from tickplant.sim.dialect_table import dialect_of
from tickplant.sim.server import run
from tickplant.sim.spec import parse_spec


def main() -> int:
    """Run the venue; returns the exit status."""
    text = read_spec()
    die_with_parent()
    try:
        spec = parse_spec(text or b"{}")
        configure_logging(spec.log_level, "sim")
        run(spec, _announce)
    except FeedError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def warm_up() -> None:
    """Compile or load the kernels of a synthetic market of the default venue."""
    dialect_of(parse_spec(b"{}")).source.prepare()


def _announce(host: str, port: int) -> None:
    sys.stdout.write(json.dumps({"ready": True, "host": host, "port": port}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
