"""Indicators over the levels of a book: the levels themselves, depth, imbalance, microprice, order prices, queues.

A row is a sample of a book. Inputs have a number for each level: shape (columns, rows, levels), NaN after the last
level of a side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from tickplant.books.book_samples import FOLLOWED
from tickplant.derive.indicator import Floats, Indicator, Parameter
from tickplant.derive.plain_windows import divided
from tickplant.derive.smoothing import ratio
from tickplant.kernels import kernel, part

SIDES = ("bid_price", "bid_size", "ask_price", "ask_size")
LEVELS = Parameter("levels", 10, 1)
SIZE = Parameter("size", 1.0, 1e-12, whole=False)


@part
def total_size(prices: Floats, sizes: Floats, levels: int) -> float:
    """Total size of the best levels of a side, at most `levels` of them."""
    total = 0.0
    for j in range(min(levels, len(prices))):
        if math.isnan(prices[j]):
            break
        total += float(sizes[j])
    return total


@part
def mean_price(prices: Floats, sizes: Floats, levels: int) -> float:
    """The mean price of the best `levels` levels, weighted by size; NaN for an empty side."""
    if math.isnan(prices[0]):
        return np.nan
    # Distances from the best price: nothing cancels, however large prices are.
    total, away = 0.0, 0.0
    for j in range(min(levels, len(prices))):
        if math.isnan(prices[j]):
            break
        total += sizes[j]
        away += (prices[j] - prices[0]) * sizes[j]
    return float(prices[0] + ratio(away, total))


@part
def level_at(prices: Floats, sizes: Floats, level: int, out: Floats) -> None:
    """Price and size of a level, counted from 1, and the total size up to and including that level."""
    out[:] = np.nan
    if level <= len(prices) and not math.isnan(prices[level - 1]):
        out[0], out[1], out[2] = prices[level - 1], sizes[level - 1], total_size(prices, sizes, level)


@part
def fill(prices: Floats, sizes: Floats, size: float, out: Floats) -> None:
    """Mean and worst price of an order that takes `size` from a side, best levels first; NaN if the side has less."""
    out[:] = np.nan
    left, away = size, 0.0
    for j in range(len(prices)):
        if math.isnan(prices[j]):
            return
        taken = min(left, sizes[j])
        away += (prices[j] - prices[0]) * taken
        left -= taken
        if left <= 0.0:
            out[0], out[1] = prices[0] + away / size, prices[j]
            return


@kernel
def run_bid_level(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `BID_LEVEL` and `ASK_LEVEL`."""
    for i in range(out.shape[1]):
        level_at(inputs[0, i], inputs[1, i], int(parameters[0]), out[:, i])


@kernel
def run_depth(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `DEPTH`."""
    levels = int(parameters[0])
    for i in range(out.shape[1]):
        out[0, i] = total_size(inputs[0, i], inputs[1, i], levels)
        out[1, i] = total_size(inputs[2, i], inputs[3, i], levels)


@kernel
def run_depth_within(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `DEPTH_WITHIN`."""
    for i in range(out.shape[1]):
        mid = inputs[0, i, 0] + (inputs[2, i, 0] - inputs[0, i, 0]) / 2.0
        band = abs(mid) * parameters[0] / 10_000.0
        for side in range(2):
            total = 0.0
            for j in range(inputs.shape[2]):
                away = inputs[2 * side, i, j] - mid
                if math.isnan(away) or (away if side else -away) > band:
                    break
                total += inputs[2 * side + 1, i, j]
            out[side, i] = np.nan if math.isnan(mid) else total


@kernel
def run_book_imbalance(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `BOOK_IMBALANCE`."""
    levels = int(parameters[0])
    for i in range(out.shape[1]):
        bought = total_size(inputs[0, i], inputs[1, i], levels)
        sold = total_size(inputs[2, i], inputs[3, i], levels)
        there = not (math.isnan(inputs[0, i, 0]) or math.isnan(inputs[2, i, 0]))
        out[0, i] = ratio(bought - sold, bought + sold) if there else np.nan


@kernel
def run_book_microprice(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `BOOK_MICROPRICE`."""
    levels = int(parameters[0])
    for i in range(out.shape[1]):
        bid = mean_price(inputs[0, i], inputs[1, i], levels)
        ask = mean_price(inputs[2, i], inputs[3, i], levels)
        bought = total_size(inputs[0, i], inputs[1, i], levels)
        sold = total_size(inputs[2, i], inputs[3, i], levels)
        out[0, i] = bid + (ask - bid) * ratio(bought, bought + sold)


@kernel
def run_fill(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `PRICE_TO_BUY` and `PRICE_TO_SELL`."""
    for i in range(out.shape[1]):
        fill(inputs[0, i], inputs[1, i], parameters[0], out[:, i])


@kernel
def run_queue(inputs: Floats, parameters: Floats, state: Floats, out: Floats) -> None:
    """See `QUEUE` and `QUEUE_AHEAD`."""
    for i in range(out.shape[1]):
        missing = False
        for column in range(4):
            missing |= math.isnan(inputs[column, i, 0])
        for column in range(4):
            out[column, i] = np.nan if missing else inputs[column, i, 0]


Levels = list[tuple[float, float]]


def sides_of(columns: Floats) -> list[Levels]:
    """Price and size of the levels of each side, best first, from one row of shape (columns, levels)."""
    sides = [zip(*columns[place : place + 2].tolist(), strict=True) for place in range(0, len(columns), 2)]
    return [[level for level in side if not math.isnan(level[0])] for side in sides]


def each_book(value: Callable[..., tuple[float, ...]], outputs: int) -> Callable[[Floats, Sequence[float]], Floats]:
    """A reference that returns `value(parameter, *sides)` for each row; NaN where `value` returns nothing."""

    def reference(inputs: Floats, parameters: Sequence[float]) -> Floats:
        rows = [value(parameters[0], *sides_of(inputs[:, row])) for row in range(inputs.shape[1])]
        return np.array([row or (math.nan,) * outputs for row in rows]).reshape(-1, outputs).T

    return reference


def plain_level(level: float, side: Levels) -> tuple[float, ...]:
    """Reference of `BID_LEVEL` and `ASK_LEVEL`."""
    best = side[: int(level)]
    return (*best[-1], math.fsum(size for _, size in best)) if len(best) == level else ()


def plain_depth(levels: float, *sides: Levels) -> tuple[float, ...]:
    """Reference of `DEPTH`."""
    return tuple(math.fsum(size for _, size in side[: int(levels)]) for side in sides)


def plain_depth_within(points: float, bids: Levels, asks: Levels) -> tuple[float, ...]:
    """Reference of `DEPTH_WITHIN`."""
    if not bids or not asks:
        return ()
    mid = bids[0][0] + (asks[0][0] - bids[0][0]) / 2
    band = abs(mid) * points / 10_000
    bid = math.fsum(size for price, size in bids if mid - price <= band)
    return bid, math.fsum(size for price, size in asks if price - mid <= band)


def plain_book_imbalance(levels: float, *sides: Levels) -> tuple[float, ...]:
    """Reference of `BOOK_IMBALANCE`."""
    bought, sold = plain_depth(levels, *sides)
    return (divided(bought - sold, bought + sold),) if all(sides) else ()


def plain_book_microprice(levels: float, *sides: Levels) -> tuple[float, ...]:
    """Reference of `BOOK_MICROPRICE`."""
    bought, sold = plain_depth(levels, *sides)
    if not bought or not sold:
        return ()
    bid, ask = (
        math.fsum(price * size for price, size in side[: int(levels)]) / total
        for side, total in zip(sides, (bought, sold), strict=True)
    )
    return ((bid * sold + ask * bought) / (bought + sold),)


def plain_fill(size: float, side: Levels) -> tuple[float, ...]:
    """Reference of `PRICE_TO_BUY` and `PRICE_TO_SELL`."""
    left, paid = size, []
    for price, there in side:
        taken = min(left, there)
        paid.append(price * taken)
        left -= taken
        if left <= 0:
            return math.fsum(paid) / size, price
    return ()


def plain_queue(inputs: Floats, parameters: Sequence[float]) -> Floats:
    """Reference of `QUEUE` and `QUEUE_AHEAD`."""
    rows = [row if not math.isnan(sum(row)) else [math.nan] * 4 for row in inputs[:, :, 0].T.tolist()]
    return np.array(rows).reshape(-1, 4).T


def up_to(given: Sequence[float]) -> int:
    """The depth of an indicator that reads the levels up to its first parameter."""
    return int(given[0])


_define = partial(Indicator, over="book", state_size=lambda given: 0, warm_up=lambda given: 0, source="textbook")

BID_LEVEL, ASK_LEVEL = (
    _define(
        name=f"{side}_level",
        inputs=(f"{side}_price", f"{side}_size"),
        parameters=(Parameter("level", 1, 1),),
        outputs=("price", "size", "total"),
        kernel=run_bid_level,
        reference=each_book(plain_level, 3),
        formula=f"price and size of the n-th best {side}, and the size of all {side}s up to it",
        depth=up_to,
    )
    for side in ("bid", "ask")
)

DEPTH = _define(
    name="depth",
    inputs=SIDES,
    parameters=(LEVELS,),
    outputs=("bid", "ask"),
    kernel=run_depth,
    reference=each_book(plain_depth, 2),
    formula="size of the n best levels of each side",
    depth=up_to,
)

DEPTH_WITHIN = _define(
    name="depth_within",
    inputs=SIDES,
    parameters=(Parameter("basis_points", 10.0, 0.0, whole=False),),
    outputs=("bid", "ask"),
    kernel=run_depth_within,
    reference=each_book(plain_depth_within, 2),
    formula="size of the levels of each side that are at most so many 1/10,000 of the mid away from it",
)

BOOK_IMBALANCE = _define(
    name="book_imbalance",
    inputs=SIDES,
    parameters=(LEVELS,),
    outputs=("imbalance",),
    kernel=run_book_imbalance,
    reference=each_book(plain_book_imbalance, 1),
    formula="(bid size - ask size) / (bid size + ask size) of the n best levels of each side",
    depth=up_to,
    source="Cartea, Jaimungal and Penalva 2015",
)

BOOK_MICROPRICE = _define(
    name="book_microprice",
    inputs=SIDES,
    parameters=(LEVELS,),
    outputs=("microprice",),
    kernel=run_book_microprice,
    reference=each_book(plain_book_microprice, 1),
    formula="(bid * ask size + ask * bid size) / (bid size + ask size), of n levels: mean prices by size, all sizes",
    depth=up_to,
    source="after Gatheral and Oomen 2010",
)

PRICE_TO_BUY, PRICE_TO_SELL = (
    _define(
        name=f"price_to_{order}",
        inputs=(f"{side}_price", f"{side}_size"),
        parameters=(SIZE,),
        outputs=("average", "worst"),
        kernel=run_fill,
        reference=each_book(plain_fill, 2),
        formula=f"mean and worst price of a market order that {order}s this size; NaN where the book has less",
    )
    for order, side in (("buy", "ask"), ("sell", "bid"))
)

QUEUE = _define(
    name="queue",
    inputs=("bid_size", "bid_orders", "ask_size", "ask_orders"),
    parameters=(),
    outputs=("bid_size", "bid_orders", "ask_size", "ask_orders"),
    kernel=run_queue,
    reference=plain_queue,
    formula="of a book of orders: size and number of those ahead of an order that joins the best bid, the best ask",
    depth=lambda given: 1,
)

QUEUE_AHEAD = _define(
    name="queue_ahead",
    inputs=("bid_size", "bid_orders", "ask_size", "ask_orders"),
    parameters=(Parameter("samples", 10, 1),),
    outputs=("bid_size", "bid_orders", "ask_size", "ask_orders"),
    kernel=run_queue,
    reference=plain_queue,
    formula="of a book of orders: size and number of those that are still ahead of an order that has joined the best "
    "bid, the best ask; others join after n samples",
    depth=lambda given: 1,
    follows=up_to,
    state_size=lambda given: FOLLOWED,
)

BOOK_LEVELS = (
    *(BID_LEVEL, ASK_LEVEL, DEPTH, DEPTH_WITHIN, BOOK_IMBALANCE, BOOK_MICROPRICE),
    *(PRICE_TO_BUY, PRICE_TO_SELL, QUEUE, QUEUE_AHEAD),
)
