"""Resolves the series of a configuration: `python -m tickplant.derive.settle`, with a list of `Asked` as JSON on stdin.

It answers with the label and size of each, or with what is wrong. It is a process of its own, since indicators import
numba, which a supervisor does without. Each user's indicator gets its own process, since it is also tried out and may
do anything.
"""

from __future__ import annotations

import os
import sys

import msgspec

from tickplant.errors import DeriveError


class Asked(msgspec.Struct, frozen=True):
    """An indicator as a user has written it in the configuration."""

    indicator: str
    parameters: dict[str, float] = {}
    place: str = ""  # where a user's own indicator is; empty: a built-in one


class Settled(msgspec.Struct, frozen=True):
    """The answer to an `Asked`."""

    label: str = ""  # with all parameters: rsi-14
    over: str = ""  # bar, trade, bbo or book
    state_size: int = 0  # how many numbers it remembers per instrument
    wrong_key: str = ""  # the key of `Asked` at fault, if any
    why: str = ""
    source: str = ""  # digest of the text of a user's indicator
    broken: str = ""  # why the indicator cannot be used although the configuration is right


def settle(asked: Asked) -> Settled:
    """Resolve one indicator. A user's indicator is tried out."""
    from tickplant.derive.indicators.catalogue import INDICATORS  # noqa: PLC0415  # numba

    ours = asked.indicator in INDICATORS
    if asked.place and ours:
        return Settled(wrong_key="indicator", why=f"{asked.indicator} is an indicator already: choose another name")
    if not ours and not asked.place:
        return Settled(wrong_key="indicator", why=f"{asked.indicator!r} is not one of {', '.join(INDICATORS)}")
    source = ""
    try:
        found = INDICATORS.get(asked.indicator)
        if found is None:
            from tickplant.derive.own_indicators import load  # noqa: PLC0415  # numba

            found, source, _ = load(asked.indicator, asked.place)
    except DeriveError as error:
        return Settled(broken=error.why)
    try:
        parameters = found.settle(asked.parameters)
    except DeriveError as error:
        return Settled(wrong_key=f"parameters.{error.key}", why=error.why)
    if source:
        from tickplant.derive.own_trial import try_out  # noqa: PLC0415  # numba

        try:
            try_out(found, parameters)
        except DeriveError as error:
            return Settled(source=source, broken=error.why)
    numbers = parameters.tolist()
    return Settled(found.label(numbers), found.over, found.state_size(numbers), source=source)


def main() -> None:
    """Answer the questions in order."""
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Asked])
    # An indicator's own output must not be mistaken for the answer.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with answer:
        answer.write(msgspec.json.encode([settle(one) for one in asked]))


if __name__ == "__main__":
    main()
