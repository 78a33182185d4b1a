"""A child of a plant that does nothing: reports ready, like a simulated venue, and waits for its end."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    sys.stdout.write('{"port": 1}\n')
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
