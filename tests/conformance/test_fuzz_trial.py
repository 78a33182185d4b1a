"""A short, repeatable piece of the search that `make fuzz` makes: what must hold of every input holds of its seeds.

Every venue's seeds and the inputs joined from pieces of them go through both decoders and through an adapter that lives
on (tools/fuzz/target.py says what must hold).
"""

from __future__ import annotations

import functools
from typing import Final

import pytest
from fuzz import seeds
from fuzz.trial import ROUND, Trial, size_of
from hypothesis import given, settings
from hypothesis import strategies as st
from venue_samples import SAMPLES

VENUE: Final = pytest.mark.parametrize("venue", SAMPLES)
EXAMPLES: Final = pytest.mark.parametrize("examples", [6, pytest.param(400, marks=pytest.mark.long)])


@functools.cache
def inputs(venue: str) -> list[bytes]:
    return seeds.seeds(venue)


@VENUE
@EXAMPLES
def test_both_decoders_record_the_same_of_frames_that_are_joined_anew(venue: str, examples: int) -> None:
    trial, found = Trial(SAMPLES[venue], seeds.session(venue)), inputs(venue)
    piece = st.builds(
        lambda content, first, last: content[min(first, last) : max(first, last)],
        st.sampled_from(found),
        st.integers(0, 4096),
        st.integers(0, 4096),
    )
    content = st.lists(st.sampled_from(found) | piece | st.binary(max_size=8), min_size=1, max_size=4)

    @settings(max_examples=examples)
    @given(content, st.sampled_from([b"", b"\n", b","]))
    def check(pieces: list[bytes], joint: bytes) -> None:
        trial(joint.join(pieces))

    check()


def test_an_adapter_that_grows_is_found() -> None:
    trial = Trial(SAMPLES["kraken"], seeds.session("kraken"))
    kept: list[bytes] = []
    trial.lasting.kept = kept  # type: ignore[attr-defined]
    size = size_of(trial.lasting)
    kept += [bytes(1000) + bytes([number]) for number in range(10)]
    assert size_of(trial.lasting) > size + 10_000
    trial.inputs = ROUND - 1
    trial(b"")
    kept += [bytes(1_000_000), bytes(1_000_001)]
    trial.inputs = 2 * ROUND - 1
    with pytest.raises(AssertionError, match="at first"):
        trial(b"")
