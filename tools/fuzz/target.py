"""`python -m fuzz.target VENUE FOLDER [libFuzzer's options]`: one venue's decoders, until time is over or one fails.

Each input goes through two new adapters, one that decodes by shapes and one that uses the reference decoder, and
through a long-lived one. For every input:

* no exception;
* frames = parsed + ignored + rejected, and what was counted was handed out (tests/support/checked_adapter.py);
* both decoders record and count the same, except for how often a run of rejects is reported;
* the long-lived adapter, each time it has released what it holds back, is no larger than at first.

Kernels run as plain Python, so that the search sees their branches.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from pathlib import Path

os.environ["NUMBA_DISABLE_JIT"] = "1"

import atheris
import numpy as np

with atheris.instrument_imports(include=["tickplant.feeds", "tickplant.books", "tickplant.records"]):
    from venue_samples import SAMPLES

    from fuzz.trial import Trial
    from tickplant.venues import VENUES

    pkgutil.resolve_name(VENUES[sys.argv[1]].factory)  # which nothing else imports

from fuzz import seeds


def main(arguments: list[str]) -> None:
    """Run the search; does not return."""
    venue, folder, *options = arguments
    np.seterr(all="ignore")  # compiled kernels wrap around silently
    inputs = seeds.seeds(venue)
    corpus = Path(folder, "corpus")
    seeds.write(corpus, inputs)
    seeds.write_words(Path(folder, "words"), inputs)
    words = [f"-dict={folder}/words", f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    if not any(Path(option).is_file() for option in options):  # else these inputs are tried, and nothing is searched
        words.append(str(corpus))
    atheris.Setup([sys.argv[0], *options, *words], Trial(SAMPLES[venue], seeds.session(venue)))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
