"""`python -m fuzz [--minutes N] [VENUE …]`: the search for each venue of the conformance suite; tests on the path.

The corpus stays in FOLDER/VENUE/corpus, from which the next run continues. A failing input is written to
FOLDER/VENUE/crash-…, and `python -m fuzz.target VENUE FOLDER/VENUE FOLDER/VENUE/crash-…` tries it again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from venue_samples import SAMPLES


def main() -> int:
    """Exit status: 0 if nothing was found, else 1."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("venues", nargs="*", metavar="VENUE", help=f"of {', '.join(SAMPLES)}; all by default")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each venue")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"))
    options = parser.parse_args()
    if unknown := set(options.venues) - set(SAMPLES):
        parser.error(f"there is no venue {unknown.pop()}; choose from {', '.join(SAMPLES)}")
    failed = []
    for venue in options.venues or SAMPLES:
        folder = options.folder / venue
        folder.mkdir(parents=True, exist_ok=True)
        limits = [
            f"-max_total_time={round(60 * options.minutes)}",
            "-timeout=900",  # of wall time, which an input may spend waiting for a core
            "-rss_limit_mb=2048",
            "-max_len=8192",
        ]
        command = [sys.executable, "-m", "fuzz.target", venue, str(folder), *limits, f"-seed={options.seed}"]
        failed += [venue] if subprocess.run(command, check=False).returncode else []
    sys.stderr.write(f"failed: {', '.join(failed)}\n" if failed else "nothing found\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
