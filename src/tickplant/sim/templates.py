"""Messages of a synthetic market as text: templates with holes, filled by a kernel. No I/O.

A template is the exact text of a stream's message. `<field>` is replaced by the field of a row, printed in the
dialect's `Style`; `<field?no|yes>` is a word chosen by the field; the text between `<field*>` and `<*>` is repeated,
with commas, for as many rows as the field says. The kernel copies the text between the holes and prints the values;
`render_one` does the same in plain Python, and the tests hold them equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickplant.instruments import format_decimal
from tickplant.kernels import kernel
from tickplant.sim.frames import Batch
from tickplant.sim.order_flow import ID, KIND, LEVELS, LEVELS_ASKS, LEVELS_BIDS, SYMBOL
from tickplant.sim.print_kernels import copy_text, print_decimal, print_integer, print_levels, print_stamp
from tickplant.sim.sim_source import Traded

NUMBER: Final = 0  # as it is
PRICE: Final = 1  # ticks, as a price
SIZE: Final = 2  # lots, as a size
TIME: Final = 3  # ns since the market opened, as a time since the epoch in the unit of the rendering
SENT: Final = 4  # not the field but the time of printing, in the same unit
STAMP: Final = 5  # ns since the market opened, as RFC 3339 in UTC with microseconds
HUNDREDTHS: Final = 6  # with two decimals
BIDS: Final = 7  # the levels of the row
ASKS: Final = 8
CHANGES: Final = 9  # all levels, bids first
_WORD: Final = 10
_EACH: Final = 11
_NEXT: Final = 12
_END: Final = 13

_HOLE: Final = re.compile(r"<([^<>]*)>")

_FIXED_BYTES: Final = 800  # more than any message without its levels
_LEVEL_BYTES: Final = 160  # more than any level: two numbers of at most 20 digits and the text around them


class Style(NamedTuple):
    """How a venue prints: the layout of its rows, whose fields are all int64, and the form of each field."""

    dtype: np.dtype[Any]  # begins with the fields of order_flow.MESSAGE
    modes: Mapping[str, int]
    level: tuple[str, str, str]  # text before the price of a level, between price and size, after the size
    ask: tuple[str, str, str] | None = None  # the same for an ask, if it differs


@dataclass(frozen=True, slots=True)
class Templates:
    """All streams of a market: stream = symbol * kinds + kind. Text lies in one pool; `parts` cuts it at the holes."""

    style: Style
    texts: list[str]  # messages with their holes
    pool: NDArray[np.uint8]
    parts: NDArray[np.int64]  # [streams, holes + 1, 5]: start, end, then mode, column and word of the hole after it
    words: NDArray[np.int64]  # [words + 6, 2] start and end; the last six are around a bid and around an ask
    heads: NDArray[np.int64]  # [streams] bytes before the second form
    tail: int  # bytes after it; 0 if there is only one form
    kinds: int


class Shape(NamedTuple):
    """The message of one kind of stream."""

    text: str  # `<symbol>` is the instrument's name
    head: str = ""  # of a second form; see frames.Batch


def templates(style: Style, shapes: Callable[[Traded], Sequence[Shape]], instruments: list[Traded]) -> Templates:
    """Templates of all streams of all instruments; `shapes` gives those of one instrument, in the order of kinds."""
    pool = bytearray()
    words: list[tuple[int, int]] = []
    cut: list[list[tuple[int, ...]]] = []
    texts: list[str] = []
    heads: list[int] = []

    def put(text: str) -> tuple[int, int]:
        nonlocal pool
        pool += text.encode()
        return len(pool) - len(text.encode()), len(pool)

    def column(field: str) -> int:
        return (style.dtype.names or ()).index(field)

    def hole(name: str) -> tuple[int, int, int]:
        field, mark, options = re.fullmatch(r"(\w*)([?*]?)(.*)", name).groups()  # type: ignore[union-attr]  # matches all
        if mark == "*":
            return (_EACH, column(field), 0) if field else (_NEXT, 0, 0)
        if mark == "?":
            first = len(words)
            words.extend(put(word) for word in options.split("|"))
            return _WORD, column(field), first
        mode = style.modes[field]
        return mode, (0 if mode in (SENT, BIDS, ASKS, CHANGES) else column(field)), 0

    kinds = 0
    for one in instruments:
        made = shapes(one)
        kinds = len(made)
        for text, head in made:
            whole = (head + text + ("}" if head else "")).replace("<symbol>", one.symbol)
            pieces = _HOLE.split(whole)  # text, field, text, field, …, text
            after = [*map(hole, pieces[1::2]), (_END, 0, 0)]
            cut.append([(*put(piece), *one_hole) for piece, one_hole in zip(pieces[::2], after, strict=True)])
            texts.append(whole)
            heads.append(len(head.replace("<symbol>", one.symbol).encode()))
    words.extend(map(put, (*style.level, *(style.ask or style.level))))
    parts = np.zeros((len(cut), max(map(len, cut)), 5), np.int64)
    for stream, rows in enumerate(cut):
        parts[stream, : len(rows)] = rows
    return Templates(
        style,
        texts,
        np.frombuffer(bytes(pool), np.uint8),
        parts,
        np.array(words, np.int64),
        np.array(heads, np.int64),
        1 if any(heads) else 0,
        kinds,
    )


def decimals_of(instruments: Sequence[Traded]) -> NDArray[np.int64]:
    """[symbols, 4]: price step and digits, size step and digits."""
    rows = [(one.price_step, one.price_digits, one.size_step, one.size_digits) for one in instruments]
    return np.array(rows, np.int64)


@kernel
def render_rows(
    rows: NDArray[np.int64],
    levels: NDArray[np.int64],
    pool: NDArray[np.uint8],
    parts: NDArray[np.int64],
    words: NDArray[np.int64],
    heads: NDArray[np.int64],
    all_decimals: NDArray[np.int64],
    kinds: int,
    sent_ns: int,
    origin_ns: int,
    unit_ns: int,
    out: NDArray[np.uint8],
    spans: NDArray[np.int64],
) -> int:
    """Print the messages of the rows; returns their number. Rows repeated within one message are consecutive.

    `spans[i]` becomes start, start of the second form and end in `out`, then stream and id of the last row. `out` must
    have enough room.
    """
    at = 0
    messages = 0
    i = 0
    around_ask = words[words.shape[0] - 3 :]
    around = words[words.shape[0] - 6 : words.shape[0] - 3]
    while i < rows.shape[0]:
        symbol = rows[i, SYMBOL]
        stream = symbol * kinds + rows[i, KIND]
        decimals = all_decimals[symbol]
        spans[messages, 0] = at
        spans[messages, 1] = at + heads[stream]
        part = 0
        begin = 0
        last = i
        while True:
            at = copy_text(pool, parts[stream, part, 0], parts[stream, part, 1], out, at)
            mode = parts[stream, part, 2]
            value = rows[i, parts[stream, part, 3]]
            if mode == _END:
                break
            if mode == NUMBER:
                at = print_integer(value, out, at)
            elif mode == PRICE:
                at = print_decimal(value * decimals[0], decimals[1], out, at)
            elif mode == SIZE:
                at = print_decimal(value * decimals[2], decimals[3], out, at)
            elif mode == TIME:
                at = print_integer((origin_ns + value) // unit_ns, out, at)
            elif mode == SENT:
                at = print_integer(sent_ns // unit_ns, out, at)
            elif mode == STAMP:
                at = print_stamp(origin_ns + value, out, at)
            elif mode == HUNDREDTHS:
                at = print_decimal(value, 2, out, at)
            elif mode == BIDS:
                first = rows[i, LEVELS]
                at = print_levels(levels, first, first + rows[i, LEVELS_BIDS], decimals, pool, around, out, at)
            elif mode == ASKS:
                first = rows[i, LEVELS] + rows[i, LEVELS_BIDS]
                at = print_levels(levels, first, first + rows[i, LEVELS_ASKS], decimals, pool, around_ask, out, at)
            elif mode == CHANGES:
                first = rows[i, LEVELS]
                split = first + rows[i, LEVELS_BIDS]
                at = print_levels(levels, first, split, decimals, pool, around, out, at)
                if split > first and rows[i, LEVELS_ASKS] > 0:
                    out[at] = 44
                    at += 1
                at = print_levels(levels, split, split + rows[i, LEVELS_ASKS], decimals, pool, around_ask, out, at)
            elif mode == _WORD:
                word = parts[stream, part, 4] + value
                at = copy_text(pool, words[word, 0], words[word, 1], out, at)
            elif mode == _EACH:
                begin = part
                last = i + value - 1
            elif i < last:
                i += 1
                out[at] = 44
                at += 1
                part = begin
            part += 1
        spans[messages, 2] = at
        spans[messages, 3] = stream
        spans[messages, 4] = rows[i, ID]
        messages += 1
        i += 1
    return messages


class Renderer:
    """Turns rows into batches, reusing its buffers."""

    def __init__(self, made: Templates, decimals: NDArray[np.int64]) -> None:
        """`decimals`: of the instruments, see `decimals_of`; changes take effect at once."""
        self.templates = made
        self._decimals = decimals
        self._out = np.empty(1 << 20, np.uint8)
        self._spans = np.empty((1 << 12, 5), np.int64)

    def batch(
        self, rows: NDArray[np.void], levels: NDArray[np.int64], *, sent_ns: int, origin_ns: int, unit_ns: int
    ) -> Batch:
        """The texts of some rows of the style's dtype; the batch is valid until the next call."""
        room = rows.shape[0] * _FIXED_BYTES + int((rows["bids"] + rows["asks"]).sum()) * _LEVEL_BYTES
        if room > self._out.shape[0]:
            self._out = np.empty(2 * room, np.uint8)
        if rows.shape[0] > self._spans.shape[0]:
            self._spans = np.empty((2 * rows.shape[0], 5), np.int64)
        made = self.templates
        messages = render_rows(
            np.ascontiguousarray(rows).view(np.int64).reshape(rows.shape[0], -1),
            levels,
            made.pool,
            made.parts,
            made.words,
            made.heads,
            self._decimals,
            made.kinds,
            sent_ns,
            origin_ns,
            unit_ns,
            self._out,
            self._spans,
        )
        start, inner, end, stream, ident = self._spans[:messages].T
        forms = ((start, end), (inner, end - made.tail)) if made.tail else ((start, end),)
        return Batch(self._out, forms, stream, ident)


def print_price(decimals: NDArray[np.int64], symbol: int, tick: int) -> str:
    """A price as the venue prints it."""
    step, digits = decimals[symbol, :2].tolist()
    return format_decimal(tick * step, digits)


def print_size(decimals: NDArray[np.int64], symbol: int, lots: int) -> str:
    """A size as the venue prints it."""
    step, digits = decimals[symbol, 2:].tolist()
    return format_decimal(lots * step, digits)


def stamp(time_ns: int) -> str:
    """A time since the epoch as RFC 3339 in UTC with microseconds."""
    moment = np.datetime64(time_ns // 1000, "us")
    return f"{moment}Z"


def render_one(
    made: Templates,
    decimals: NDArray[np.int64],
    rows: NDArray[np.void],
    levels: NDArray[np.int64],
    *,
    sent_ns: int,
    origin_ns: int,
    unit_ns: int,
) -> str:
    """The message that begins with the first row: what `render_rows` must print."""
    symbol = int(rows[0]["symbol"])

    def book(start: int, count: int, text: tuple[str, str, str] = made.style.level) -> str:
        before, between, after = text
        return ",".join(
            f"{before}{print_price(decimals, symbol, tick)}{between}{print_size(decimals, symbol, lots)}{after}"
            for tick, lots in levels[start : start + count].tolist()
        )

    def show(row: NDArray[np.void], name: str) -> str:
        field, mark, options = name.partition("?")
        if mark:
            return options.split("|")[int(row[field])]
        bids, asks, first = (int(row[name]) for name in ("bids", "asks", "levels"))
        ask = made.style.ask or made.style.level
        value = int(row[field]) if field in (made.style.dtype.names or ()) else 0
        printed: dict[int, Callable[[], str]] = {
            NUMBER: lambda: str(value),
            PRICE: lambda: print_price(decimals, symbol, value),
            SIZE: lambda: print_size(decimals, symbol, value),
            TIME: lambda: str((origin_ns + value) // unit_ns),
            SENT: lambda: str(sent_ns // unit_ns),
            STAMP: lambda: stamp(origin_ns + value),
            HUNDREDTHS: lambda: format_decimal(value, 2),
            BIDS: lambda: book(first, bids),
            ASKS: lambda: book(first + bids, asks, ask),
            CHANGES: lambda: ",".join(filter(None, (book(first, bids), book(first + bids, asks, ask)))),
        }
        return printed[made.style.modes[field]]()

    def fill(text: str, row: NDArray[np.void]) -> str:
        return _HOLE.sub(lambda hole: show(row, hole[1]), text)

    text = made.texts[symbol * made.kinds + int(rows[0]["kind"])]
    repeated = re.search(r"<(\w+)\*>(.*)<\*>", text)
    if repeated is None:
        return fill(text, rows[0])
    entries = ",".join(fill(repeated[2], row) for row in rows[: int(rows[0][repeated[1]])])
    return fill(text[: repeated.start()], rows[0]) + entries + fill(text[repeated.end() :], rows[0])
