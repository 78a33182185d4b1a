"""`python -m bench [NAME …]`: runs the benchmarks one after another, prints a table, writes bench/results/latest.json.

Every module listed here has `run(repeats, quick)`, which raises AssertionError if a measured result was wrong: every
printed number was checked. FileNotFoundError means that this machine lacks a recording, whose numbers are left out.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
import numba
import zmq

from bench.harness import Result, host, report

MODULES: Final[dict[str, int]] = {
    "ring": 2,
    "transport": 2,
    "decode": 1,
    "dbn": 1,
    "books": 1,
    "orders": 1,
    "indicators": 2,
    "engine": 1,
    "codec": 1,
    "queries": 1,
    "ranges": 1,
    "scan": 1,
    "pipeline": 5,
    "sizing": 5,
    "order_plant": 5,
    "idle": 2,
    "gateway": 2,
    "gateway_memory": 2,
}
"""Each benchmark, and how many cores it keeps busy at once."""

ELSEWHERE: Final[dict[str, int]] = {"peers": 1, "peer_books": 1, "ring_peers": 2, "store_peers": 1}
"""Likewise for benchmarks that need an environment of their own, and so run only by name: `make bench-peers`."""

RESULTS: Final = Path(__file__).parent / "results"
README: Final = Path(__file__).parent / "README.md"
DEFAULT_REPEATS: Final = 5


def main() -> int:
    """Exit status 0, or 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"which of {', '.join(MODULES)}; all by default. Or {', '.join(ELSEWHERE)}",
    )
    parser.add_argument("--repeats", type=int, default=DEFAULT_REPEATS, help="how often each number is measured")
    parser.add_argument("--readme", action="store_true", help="also put the table into bench/README.md")
    parser.add_argument("--quick", action="store_true", help="about a minute, to see that all runs: no good numbers")
    arguments = parser.parse_args()
    names = arguments.names or list(MODULES)
    section = "peers" if set(names) <= ELSEWHERE.keys() else "results"
    if unknown := [name for name in names if name not in MODULES | ELSEWHERE]:
        parser.error(f"there is no benchmark {unknown[0]}; choose from {', '.join(MODULES | ELSEWHERE)}")
    if arguments.readme and (arguments.quick or (arguments.names and ELSEWHERE.keys() != set(names))):
        parser.error(f"--readme wants all benchmarks, or {' and '.join(ELSEWHERE)}, in full")
    if arguments.repeats < 1:
        parser.error("--repeats must be at least 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as an exception, so that no process is left behind

    machine = f"{host()}, numba {numba.__version__}, libzmq {zmq.zmq_version()}"
    print(machine)
    load = os.getloadavg()[0]
    _warn(names, load)
    repeats = min(arguments.repeats, 2) if arguments.quick else arguments.repeats
    results: list[Result] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name} …", end=" ", flush=True)
        start_s = time.monotonic()
        try:
            found = importlib.import_module(f"bench.{name}").run(repeats, arguments.quick)
        except FileNotFoundError as error:
            skipped[name] = str(error)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
        else:
            results += [msgspec.structs.replace(result, host=machine) for result in found]
        outcome = "skipped" if name in skipped else "FAILED" if name in failed else f"{len(found)} results"
        print(f"{outcome}, {time.monotonic() - start_s:.0f} s", flush=True)

    print(f"\nmedians of {repeats}, every result checked; a ratio above 1 is better than what it is compared with\n")
    report(results)
    for word, reasons in (("skipped", skipped), ("FAILED", failed)):
        for name, reason in reasons.items():
            print(f"{word}: {name}: {reason}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / ("latest.json" if section == "results" else f"{section}.json")
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    print(f"\nwritten to {path.relative_to(README.parents[1])}")
    if arguments.readme and not failed and not skipped:
        _write_readme(results, section, f"{machine}; load {load:.1f} at the start", repeats)
    return 1 if failed else 0


def _write_readme(results: list[Result], section: str, machine: str, repeats: int) -> None:
    """Put the results between the markers of their section in bench/README.md."""
    lines = [
        f"Medians of {repeats}. {machine}.",
        "",
        "| measured | value | times better than | |",
        "|---|---:|---:|---|",
    ]
    for result in results:
        ratio = "" if result.ratio is None else f"{result.ratio:.3g}"
        value = f"{result.value:,.0f}" if result.value >= 1000 else f"{result.value:.3g}"
        lines.append(f"| {result.name} | {value} {result.unit} | {ratio} | {result.compared_with} |")
    head, begin, rest = README.read_text().partition(f"<!-- {section} -->\n")
    _, end, tail = rest.partition(f"<!-- end of {section} -->\n")
    README.write_text("".join([head, begin, *(f"{line}\n" for line in lines), end, tail]))
    print(f"and to {README.relative_to(README.parents[1])}")


def _warn(names: list[str], load: float) -> None:
    """Print which benchmarks this machine cannot measure well."""
    cores = len(os.sched_getaffinity(0))
    if short := [name for name in names if (MODULES | ELSEWHERE)[name] > cores]:
        print(f"warning: {cores} cores are too few for {', '.join(short)}: its processes wait for each other")
    if load > 0.5:
        print(f"warning: the machine is busy with something else, load {load:.1f}: everything will be slower")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
