"""Indicators that break their contract, each in its own way. Loaded by its path, as a user's file is."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numba
import numpy as np

from tickplant.derive.indicator import Floats, Indicator


def plain_mid(inputs: Floats, parameters: Sequence[float]) -> Floats:
    return (inputs[:1] + inputs[1:]) / 2


def declare(kernel: Callable[..., None], reference: Callable[..., Floats] = plain_mid, *, state: int = 1) -> Indicator:
    return Indicator(
        name="unruly",
        over="bbo",
        inputs=("bid", "ask"),
        parameters=(),
        outputs=("mid",),
        state_size=lambda given: state,
        warm_up=lambda given: 0,
        kernel=kernel,
        reference=reference,
        formula="(bid + ask) / 2",
        source="a test",
    )


@numba.njit
def run_mid(inputs, parameters, state, out):
    for i in range(out.shape[1]):
        out[0, i] = (inputs[0, i] + inputs[1, i]) / 2


@numba.njit
def run_raising(inputs, parameters, state, out):
    run_mid(inputs, parameters, state, out)
    for _ in range(out.shape[1]):
        state[0] += 1.0
        if state[0] == 500.0:
            raise ValueError("the five hundredth row")


@numba.njit
def write(where, place, value):
    where[place] = value


@numba.njit
def run_beyond_later(inputs, parameters, state, out):
    run_mid(inputs, parameters, state, out)
    for _ in range(out.shape[1]):
        state[0] += 1.0
        if state[0] > 500.0:
            write(state, int(state[0]), 1.0)


@numba.njit
def run_slow(inputs, parameters, state, out):
    run_mid(inputs, parameters, state, out)
    for i in range(out.shape[1]):
        for _ in range(100_000):
            state[0] = state[0] * 0.999 + out[0, i]


@numba.njit
def run_endless(inputs, parameters, state, out):
    run_mid(inputs, parameters, state, out)
    for _ in range(out.shape[1]):
        state[0] += 1.0
        while state[0] >= 500.0:
            state[0] += 1.0


@numba.njit
def run_beyond(inputs, parameters, state, out):
    run_mid(inputs, parameters, state, out)
    state[1] = 1.0


@numba.njit
def run_not_compiled(inputs, parameters, state, out):
    out[0, :] = inputs["bid"]


@numba.njit
def run_of_batches(inputs, parameters, state, out):
    run_mid(inputs, parameters, state, out)
    out[0] -= out[0].mean() if out.shape[1] else 0.0


@numba.njit
def run_unfilled(inputs, parameters, state, out):
    for i in range(0, out.shape[1] - 1, 2):
        out[0, i] = (inputs[0, i] + inputs[1, i]) / 2


@numba.njit
def run_infinite(inputs, parameters, state, out):
    out[0] = np.inf


@numba.njit
def run_nothing(inputs, parameters, state, out):
    out[0] = np.nan


@numba.njit
def run_into_inputs(inputs, parameters, state, out):
    run_mid(inputs, parameters, state, out)
    inputs[0] = 0.0


@numba.njit
def run_hanging(inputs, parameters, state, out):
    while state[0] >= 0.0:
        state[0] += 1.0


def run_ending(inputs, parameters):
    os._exit(7)


RAISING, BEYOND_LATER, SLOW, ENDLESS = map(declare, (run_raising, run_beyond_later, run_slow, run_endless))
"""These pass a trial: they misbehave later."""

BEYOND = declare(run_beyond)
NOT_COMPILED = declare(run_not_compiled)
OF_BATCHES = declare(run_of_batches)
UNFILLED = declare(run_unfilled)
INFINITE = declare(run_infinite)
NOTHING = declare(run_nothing)
INTO_INPUTS = declare(run_into_inputs)
HANGING = declare(run_hanging)
ENDING = declare(run_mid, run_ending)
OTHER = declare(run_mid, lambda inputs, parameters: inputs[:1])
SHAPELESS = declare(run_mid, lambda inputs, parameters: inputs[0])
NO_SIZE = declare(run_mid, state=-1)
