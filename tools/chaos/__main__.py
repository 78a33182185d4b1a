"""`python -m chaos run --minutes N --seed S`, `… kill --times N` and `… subscribers --others N`; tests on the path."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

import msgspec

from chaos.kill import KillReport, kill_each
from chaos.report import kill_text, run_text, subscribers_text
from chaos.run import Options, Report, run
from chaos.subscribers import SubscribersOptions, SubscribersReport, disturb


def main() -> int:
    """Exit status: 0 if everything is proved, else 1."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    chaos = commands.add_parser("run", help="a random mixture of faults, then the proof")
    chaos.add_argument("--minutes", type=float, default=1.0)
    chaos.add_argument("--seed", type=int, default=1)
    chaos.add_argument("--rate", type=float, default=400.0, help="messages per second of the venue")
    chaos.add_argument("--every", type=float, default=2.0, help="seconds between two faults on average")
    chaos.add_argument("--only", action="append", default=[], help="only this kind of fault; may be repeated")
    chaos.add_argument("--ring", type=int, default=1 << 18, help="records in the ring of the feed")
    kill = commands.add_parser("kill", help="kill -9 of each process in turn, and what it cost")
    kill.add_argument("--times", type=int, default=50)
    kill.add_argument("--seed", type=int, default=1)
    kill.add_argument("--rate", type=float, default=20_000.0, help="messages per second of the venue")
    subscribers = commands.add_parser("subscribers", help="many subscribers, of which some misbehave")
    subscribers.add_argument("--others", type=int, default=50, help="subscribers that behave")
    subscribers.add_argument("--seed", type=int, default=1)
    subscribers.add_argument("--rate", type=float, default=20_000.0, help="ticks per second")
    subscribers.add_argument(
        "--seconds", type=float, default=15.0, help="of the run; one reads nothing for two thirds of it"
    )
    for command in (chaos, kill, subscribers):
        command.add_argument("--report", type=Path, help="file for the report as JSON")
        command.add_argument("--keep", type=Path, help="folder for everything; kept afterwards")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tickplant-chaos-") as temporary:
        folder = arguments.keep or Path(temporary)
        report: Report | KillReport | SubscribersReport
        if arguments.command == "run":
            options = Options(
                seconds=arguments.minutes * 60.0,
                seed=arguments.seed,
                messages_per_s=arguments.rate,
                every_s=arguments.every,
                actions=tuple(arguments.only),
                ring_records=arguments.ring,
            )
            report = run(options, folder, _say)
        elif arguments.command == "kill":
            report = kill_each(folder, arguments.times, arguments.seed, arguments.rate, _say)
        else:
            wanted = SubscribersOptions(
                others=arguments.others,
                seed=arguments.seed,
                ticks_per_s=arguments.rate,
                stall_s=arguments.seconds / 1.5,
            )
            report = disturb(wanted, folder, _say)
    if arguments.report:
        arguments.report.parent.mkdir(parents=True, exist_ok=True)
        arguments.report.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    match report:
        case Report():
            print(run_text(report))
        case KillReport():
            print(kill_text(report))
        case SubscribersReport():
            print(subscribers_text(report))
    return 0 if report.ok else 1


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    # Ending `make chaos` ends the plant too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
