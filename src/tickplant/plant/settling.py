"""The outcome of the configured indicators, from processes that may import numba.

One process answers for all built-in indicators, and one for each user's indicator, which it loads and tries: whatever
that one does affects only its own process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Final

import msgspec

from tickplant.derive.settle import Asked, Settled
from tickplant.errors import ConfigError

SETTLE_S: Final = 60.0
TRIAL_S: Final = 60.0
"""How long compiling and trying a user's indicator may take."""

LOOK_S: Final = 0.5


def settle_all(asked: Sequence[Asked]) -> list[Settled]:
    """The outcome of each question, in order. Raises ConfigError if the built-in indicators cannot be loaded."""
    found: dict[str, Settled] = {}  # by repr of the question, which contains a dict
    by_place: dict[tuple[str, str], list[Asked]] = {}
    for one in asked:
        by_place.setdefault((one.indicator, one.place) if one.place else ("", ""), []).append(one)
    if ours := by_place.pop(("", ""), []):
        found |= {repr(one): said for one, said in zip(ours, _settle_ours(ours), strict=True)}
    for own, said in zip(by_place.values(), _settle_each(list(by_place.values())), strict=True):
        found |= {repr(one): settled for one, settled in zip(own, said, strict=True)}
    return [found[repr(one)] for one in asked]


def _settle_each(asked: Sequence[Sequence[Asked]]) -> list[list[Settled]]:
    """The outcomes of several users' indicators, tried in parallel; shows the progress."""
    if not asked:
        return []
    from tickplant.plant.console import Progress  # noqa: PLC0415  # most plants have no such indicator

    with Progress("trying users' indicators", "") as progress, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        trials = [pool.submit(_settle_own, one) for one in asked]
        while waiting := [trial for trial in trials if not trial.done()]:
            progress.show(f"{len(trials) - len(waiting)} of {len(trials)}")
            wait(waiting, LOOK_S, FIRST_COMPLETED)
    return [trial.result() for trial in trials]


def _run(asked: Sequence[Asked], timeout_s: float, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "tickplant.derive.settle"],
        input=msgspec.json.encode(asked),
        capture_output=True,
        timeout=timeout_s,
        check=False,
        env=os.environ | environment,
    )


def _settle_ours(asked: Sequence[Asked]) -> list[Settled]:
    done = _run(asked, SETTLE_S)
    if done.returncode:
        raise ConfigError(f"the indicators cannot be loaded: {_last_words(done)}")
    return msgspec.json.decode(done.stdout, type=list[Settled])


def _settle_own(asked: Sequence[Asked]) -> list[Settled]:
    """The outcomes of one user's indicator, with the parameters asked for."""
    try:
        done = _run(asked, TRIAL_S, NUMBA_BOUNDSCHECK="1")
        if not done.returncode:
            return msgspec.json.decode(done.stdout, type=list[Settled])
        why = f"ended the process that tried it: {_last_words(done)}"
    except subprocess.TimeoutExpired:
        why = f"takes longer than {TRIAL_S:g} s to be compiled and tried"
    except msgspec.DecodeError:
        why = "ended the process that tried it"
    return [Settled(broken=why)] * len(asked)


def _last_words(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        return signal.Signals(-done.returncode).name
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
