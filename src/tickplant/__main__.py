"""The `tickplant` command, also as `python -m tickplant`.

Imports nothing at first: loading the command line takes 0.1 s, and Ctrl-C in that time ends it in silence as well.
"""

import sys


def main() -> None:
    """Entry point of the command."""
    try:
        from tickplant.cli import main as run  # noqa: PLC0415  # see above
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
