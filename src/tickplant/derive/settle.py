"""Which series a configuration asks for: `python -m tickplant.derive.settle`, a list of `Asked` as JSON as its stdin.

Says of each its label and size, or what is wrong with it. A process of its own, since indicators bring numba with them,
which a supervisor does without.
"""

from __future__ import annotations

import sys

import msgspec

from tickplant.errors import DeriveError


class Asked(msgspec.Struct, frozen=True):
    """An indicator as a user has written it."""

    indicator: str
    parameters: dict[str, float] = {}


class Settled(msgspec.Struct, frozen=True):
    """What it amounts to."""

    label: str = ""  # with all parameters: rsi-14
    over: str = ""  # bar, trade or bbo
    state_size: int = 0  # how many numbers it remembers of an instrument
    wrong_key: str = ""  # of `Asked`, where something is wrong
    why: str = ""


def settle(asked: Asked) -> Settled:
    """What one amounts to."""
    from tickplant.derive.indicators.catalogue import INDICATORS, indicator  # noqa: PLC0415  # numba

    if asked.indicator not in INDICATORS:
        return Settled(wrong_key="indicator", why=f"{asked.indicator!r} is not one of {', '.join(INDICATORS)}")
    found = indicator(asked.indicator)
    try:
        parameters = found.settle(asked.parameters).tolist()
    except DeriveError as error:
        return Settled(wrong_key=f"parameters.{error.key}", why=error.why)
    return Settled(found.label(parameters), found.over, found.state_size(parameters))


def main() -> None:
    """Answer, in the order of the questions."""
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Asked])
    sys.stdout.buffer.write(msgspec.json.encode([settle(one) for one in asked]))


if __name__ == "__main__":
    main()
