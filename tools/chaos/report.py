"""Reports as text."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.ending import Ending
from chaos.kill import KillReport
from chaos.run import Report, shown
from chaos.subscribers import SubscribersReport

MIB = 1 << 20


def run_text(report: Report) -> str:
    """The report of a chaos run."""
    proof, ending = report.proof, report.ending
    lines = [
        "",
        f"chaos, seed {report.options.seed}: {report.seconds:.0f} s, {report.options.messages_per_s:g} messages/s",
        "",
        "faults      " + _counts(report.faults),
        "by venue    " + _counts(report.venue_faults),
        "",
        *_table(
            ("process", "fault", "times", "recovered", "median s", "max s"),
            [(t.process, t.fault, t.count, t.recovered, t.median_s, t.max_s) for t in report.recoveries],
        ),
        "",
        f"longest outage (no record reached the ring): {report.longest_outage_s} s",
        "",
        "sent        " + _counts(proof.sent),
        "stored      " + _counts(proof.stored),
        "explained   " + _counts(proof.explained),
        "withheld    " + _counts(proof.withheld),
        "gaps        " + _counts(proof.gap_causes),
        f"unexplained {sum(proof.wrong.values())} {_counts(proof.wrong) if proof.wrong else ''}".rstrip(),
        f"doubled     {proof.wrong.get('doubled', 0)}",
        f"records     {proof.records}, snapshots {proof.snapshots}",
        *_ending_lines(ending),
        "",
        *_table(
            ("subscriber", "end", "records", "recovered", "losses told"),
            [(one.name, one.end, one.records, one.recovered, one.losses) for one in report.subscribers],
        ),
        "",
        *_table(
            ("process", "lives", "longest s", "own MiB first", "half way", "last", "max", "fds first", "last", "max"),
            [
                (
                    use.name,
                    use.lives,
                    use.longest_s,
                    *(f"{value / MIB:.1f}" for value in (use.own_first, use.own_half, use.own_last, use.own_max)),
                    use.fds_first,
                    use.fds_last,
                    use.fds_max,
                )
                for use in report.use
            ],
        ),
        "",
    ]
    lines += [shown(case) for case in proof.cases]
    lines += [f"FAILED: {failure}" for failure in report.failures] or ["everything is proved"]
    return "\n".join(lines)


def kill_text(report: KillReport) -> str:
    """The report of a kill table."""
    measured = report.measured_messages_per_s
    lines = [
        "",
        f"kill -9, seed {report.seed}: {report.messages_per_s:g} messages/s wanted, {measured:.0f} measured",
        "",
        *_table(
            ("process", "kills", "recovered", "median s", "max s", "lost", "doubled"),
            [
                (row.process, row.kills, row.recovered, row.median_s, row.max_s, row.lost, row.doubled)
                for row in report.rows
            ],
        ),
        "",
        *_ending_lines(report.ending),
    ]
    lines += [f"FAILED: {failure}" for failure in report.failures] or ["nothing was lost or doubled"]
    return "\n".join(lines)


def subscribers_text(report: SubscribersReport) -> str:
    """The report of subscribers, well-behaved and misbehaving."""
    options, measured = report.options, report.measured_ticks_per_s
    lines = [
        "",
        f"{options.others} subscribers, one more that reads nothing for {options.stall_s:g} s, seed {options.seed}",
        f"ticks/s     {options.ticks_per_s:g} wanted, {measured:.0f} measured",
        "",
        *_table(
            ("subscriber", "topics", "records", "recovered", "losses told", "not told"),
            [
                (one.name, ",".join(one.topics) or one.end, one.records, one.recovered, one.losses, len(one.wrong))
                for one in report.subscribers
            ],
        ),
        "",
        "engine      " + _counts(report.engine),
        "venue gaps  " + _counts(report.gap_causes),
    ]
    lines += [f"FAILED: {failure}" for failure in report.failures] or ["no subscriber lost anything without being told"]
    return "\n".join(lines)


def _ending_lines(ending: Ending) -> list[str]:
    return [
        "in rings    " + ", ".join(f"{name} {head}, stored {stored}" for name, (head, stored) in ending.heads.items()),
        f"verify      {'ok' if ending.verify_ok else 'NOT ok'} {_counts(ending.verify_problems)}".rstrip(),
        "accounts    " + ", ".join(f"{name} {count}" for name, count in ending.accounts.items()),
        "books       " + ", ".join(f"{symbol} {state}" for symbol, state in ending.books.items()),
        "engine's    " + ", ".join(f"{symbol} {state}" for symbol, state in ending.engine_books.items()),
    ]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    texts = [tuple(head), *(tuple(map(str, row)) for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    return [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in texts
    ]
