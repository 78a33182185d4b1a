"""Which series a configuration asks for: `python -m tickplant.derive.settle`, a list of `Asked` as JSON as its stdin.

Says of each its label and size, or what is wrong with it. A process of its own, since indicators bring numba with them,
which a supervisor does without; and one for each indicator of a user, which is tried out as well and may do anything.
"""

from __future__ import annotations

import os
import sys

import msgspec

from tickplant.errors import DeriveError


class Asked(msgspec.Struct, frozen=True):
    """An indicator as a user has written it."""

    indicator: str
    parameters: dict[str, float] = {}
    place: str = ""  # where an indicator of a user's own is; empty: one of ours


class Settled(msgspec.Struct, frozen=True):
    """What it amounts to."""

    label: str = ""  # with all parameters: rsi-14
    over: str = ""  # bar, trade, bbo or book
    state_size: int = 0  # how many numbers it remembers of an instrument
    wrong_key: str = ""  # of `Asked`, where something is wrong
    why: str = ""
    source: str = ""  # digest of the text of a user's indicator
    broken: str = ""  # why that cannot be used, where the configuration is not at fault


def settle(asked: Asked) -> Settled:
    """What one amounts to. A user's indicator is tried."""
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
    """Answer, in the order of the questions."""
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Asked])
    # What an indicator prints must not be taken for the answer.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with answer:
        answer.write(msgspec.json.encode([settle(one) for one in asked]))


if __name__ == "__main__":
    main()
