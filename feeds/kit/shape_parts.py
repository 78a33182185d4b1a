"""The parts of a shape besides text: lists, and effects, which say what to record. `shapes.py` is the language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tickplant.feeds.kit.shape_program import GIFT_VALUES
from tickplant.records.layouts import Kind, Side


@dataclass(frozen=True)
class Ids:
    """The id in hole `id` continues a stream: `column` and the next two columns of the state table.

    An id out of line is left to the reference. A repeat, an id not above the last one, is counted and the effects after
    this one are skipped, or it is left to the reference as well. With `by_one`, ids count without holes; one that goes
    back while the venue's time, in hole `time`, advances by a second begins a new count, which is out of line.
    """

    column: int
    id: str
    time: str = ""
    by_one: bool = True
    drop_repeats: bool = True


@dataclass(frozen=True)
class Fresh:
    """Holes `id` and `time` identify a trade whose ids have holes: a repeat of one of the last few is dropped, counted.

    The effects after this one are skipped for a repeat. Id 0 identifies nothing.
    """

    id: str
    time: str


@dataclass(frozen=True)
class Row:
    """Write one record of `kind`. Fields are names of holes; an empty name stands for 0. `side` may be a Side."""

    kind: Kind
    side: str | Side = Side.NONE
    price: str = ""
    size: str = ""
    seq: str = ""
    order: str = ""
    time: str = ""
    flags: int = 0


@dataclass(frozen=True)
class Stamp:
    """Complete the rows written so far in this list's element, or in the frame, as one event.

    All rows get the time and `seq` of these holes, and the last row LAST; with `checksum` that is a CHECKSUM record.
    """

    time: str = ""
    seq: str = ""
    checksum: str = ""


@dataclass(frozen=True)
class Seen:
    """Set a column of the state table to 1."""

    column: int


@dataclass(frozen=True)
class Count:
    """Hole `number` counts the frames of a connection: a number that is not the next is left to the reference.

    `ShapeReader.counted` is the last number. Count is a part of the frame, not of a list in it.
    """

    number: str


@dataclass(frozen=True)
class Last:
    """Flag the last row of the frame with LAST."""


@dataclass(frozen=True, init=False)
class Give:
    """Do not record the rows of this element or frame: hand them to the adapter, with values.

    `number` identifies the kind of event. Values are names of holes, or constants; 7 at most.
    """

    number: int
    values: tuple[str | int, ...]

    def __init__(self, number: int, *values: str | int) -> None:
        if len(values) > GIFT_VALUES:
            raise ValueError(f"no more than {GIFT_VALUES} values can be given")
        object.__setattr__(self, "number", number)
        object.__setattr__(self, "values", values)


Effect = Ids | Fresh | Row | Stamp | Seen | Count | Last | Give


class Each:
    """A list of any length, each element of this shape."""

    def __init__(self, *parts: Part) -> None:
        self.parts = parts
        self.choices: Sequence[Sequence[Part]] = (parts,)


class OneOf(Each):
    """A list of any length, each element of one of these shapes; see `one_of`."""

    def __init__(self, choices: Sequence[Sequence[Part]]) -> None:
        super().__init__(*choices[0])
        self.choices = choices


class Levels(Each):
    """A list of price levels, written as LEVEL rows without times; see `levels`."""

    def __init__(self, text: str, side: str | Side, flags: int) -> None:
        self.side = side
        self.flags = flags
        super().__init__(text, Row(Kind.LEVEL, side=side, price="price", size="size", flags=flags))


Part = str | Each | Effect
Shape = Sequence[Part]


def each(*parts: Part) -> Each:
    """`[…,…]`: any number of elements of this shape; its effects are carried out for each of them.

    An element may be several consecutive values of the list: `each('"<symbol>",<price>,<size>', …)`.
    """
    return Each(*parts)


def one_of(*choices: Sequence[Part]) -> Each:
    """`[…,…]`: any number of elements, each of one of these shapes, none of which contains a list.

    An element is tried against them in this order, and must fit at most one.
    """
    return OneOf(choices)


def levels(text: str, side: str | Side, flags: int = 0) -> Levels:
    """`[…,…]` of levels: an example level with the holes `<price>` and `<size>`, and one for its side if that varies.

    A `Stamp` completes them.
    """
    return Levels(text, side, flags)
