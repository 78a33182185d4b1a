"""The language in which a venue declares its messages: the documented example, with holes, and what to record from it.

    TRADE = (
        '{"e":"trade","E":<_:int>,"s":"<symbol>","t":<id:int>,"p":"<price>","q":"<size>","T":<time:epoch>,'
        '"m":<side:true=2|false=1><*>}',
        Ids(LAST_TRADE, "id", "time"),
        Row(Kind.TRADE, side="side", price="price", size="size", seq="id", time="time", flags=Flag.LAST),
    )
    SHAPES = Shapes({"trade": TRADE})

A shape is text, lists and effects. Text is compact JSON with its keys in the order in which the venue sends them.
A hole is `<name:type>`, or `<type>` if its name equals its type; the name `_` is for values that nobody needs:

    symbol          a symbol of the table; what follows in its object and list belongs to that instrument
    price, size     a non-negative decimal, as a number or within quotation marks; `price+` is above 0
    int             an integer of 0 to 2**63 - 1
    epoch           an integer time in ms, us or ns; `seconds` one in seconds with a fraction
    rfc3339         2026-09-01T12:00:01.000001Z
    uuid            3f6c0c1e-0000-4000-8000-000000000001: its first 64 bits, as in an order_id
    later           like epoch; the later one of this time and the earlier value of the hole
    nanos           ns within the ms of the hole's earlier value, added to it
    a=1|b=2         one of these words, of at most 16 bytes, and the number that it stands for
    bytes           a list of at most 8 integers as one: a byte each, the first one lowest, 255 for those above 254;
                    `bytes!2!7` leaves lists that contain a 2 or a 7 to the reference
    text            plain ASCII up to the next character of the example
    number, any     a number, or any value, that nobody reads

`each(…)` stands for a list of elements of one shape, `one_of(…, …)` for a list of elements of several.

`<*>` says that further members, which nobody reads, may stand anywhere in its object; `<* but X, pu>` excludes these
keys, since they change the meaning of the message.

`Shapes` compiles all this to a program for `shape_kernels.walk`. Frames are tried against the shapes in the order
given, so the most frequent come first. A frame must fit at most one shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.feeds.kit import shape_program as prog
from tickplant.feeds.kit.raw_numbers import EPOCH, LATER, NANOS, RAW, RFC3339, SECONDS, UUID
from tickplant.feeds.kit.shape_literals import KNOWN_SHIFT, PLACE_SHIFT
from tickplant.feeds.kit.shape_parts import (
    Count,
    Each,
    Effect,
    Fresh,
    Give,
    Ids,
    Last,
    Levels,
    Part,
    Row,
    Seen,
    Shape,
    Stamp,
    each,
    levels,
    one_of,
)
from tickplant.feeds.kit.shape_text import DECIMALS, Hole, Literal, TextReader
from tickplant.records.batch import FLAGS_SHIFT, KIND_SHIFT, SIDE_SHIFT
from tickplant.records.layouts import Kind

__all__ = [
    "Count",
    "Each",
    "Effect",
    "Fresh",
    "Give",
    "Ids",
    "Last",
    "Levels",
    "Part",
    "Row",
    "Seen",
    "Shape",
    "Shapes",
    "Stamp",
    "each",
    "levels",
    "one_of",
]


class Shapes:
    """Shapes, compiled.

    Attributes:
        names: of the shapes, in the order in which frames are tried against them.
        code: the program, shape (n,), dtype int64.
        fields: the initial fields of a context: value and decimals of each, shape (MAX_FIELDS, 2), dtype int64.

    Raises:
        ValueError: the text of a shape is not an example in this language, or an effect names a missing hole.
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        if len(shapes) > prog.MAX_SHAPES:
            raise ValueError(f"{len(shapes)} shapes; a program has up to {prog.MAX_SHAPES}")
        self.names = tuple(shapes)
        self.fields: NDArray[np.int64] = np.zeros((prog.MAX_FIELDS, 2), np.int64)
        self.fields[:, 1] = RAW
        self._numbers: dict[tuple[str, bool] | int, int] = {0: 0}
        self._words = [len(shapes)] + [0] * 2 * len(shapes)
        self._cells: dict[tuple[int, ...], int] = {}
        self._beginnings: dict[int, list[int]] = {}  # operations up to SHARED, by shape
        self._known: dict[frozenset[str], int] = {}
        for number, (name, shape) in enumerate(shapes.items()):
            try:
                reader = TextReader()
                group = _Group(shape, reader)
                reader.end()
                group.check()
                further = {id(literal): self._emit_cells(literal) for literal in group.literals()}
                self._words[1 + 2 * number] = len(self._words)
                self._emit_group(group, _Scope(), further, number)
                self._words += [prog.DONE, number]
            except ValueError as error:
                raise ValueError(f"shape {name!r}: {error}") from None
        self.code: NDArray[np.int64] = np.array(self._words, np.int64)

    # The tables of literals that admit further members precede the operations.

    def _emit_cells(self, literal: Literal) -> int:
        """Emit a literal byte by byte; returns its place in the program, 0 if it admits no further members."""
        places = {at: (place, self._emit_known(keys)) for at, (place, keys) in literal.open_places().items()}
        if not places:
            return 0
        cells = [len(literal.text)]
        for at, byte in enumerate(literal.text):
            place, known = places.get(at, (0, 0))
            cells.append(byte | place << PLACE_SHIFT | known << KNOWN_SHIFT)
        if tuple(cells) not in self._cells:
            self._cells[tuple(cells)] = len(self._words)
            self._words += cells
        return self._cells[tuple(cells)]

    def _emit_known(self, keys: frozenset[str]) -> int:
        if keys not in self._known:
            self._known[keys] = len(self._words)
            self._words.append(len(keys))
            for key in sorted(keys):
                self._words += [len(key), *_as_words(key.encode()[:16], 2)]
        return self._known[keys]

    # Operations: those of the text, then those of the effects.

    def _emit_group(
        self, group: _Group, scope: _Scope, further: dict[int, int], shape: int, *, is_frame: bool = True
    ) -> None:
        start = len(self._words)
        if group.is_event and not is_frame:
            self._words.append(prog.MARK)
        for number, (piece, following) in enumerate(zip(group.pieces, [*group.pieces[1:], None], strict=True)):
            if isinstance(piece, Literal):
                self._emit_literal(piece.text, further[id(piece)])
            elif isinstance(piece, Hole):
                self._emit_hole(piece, following, scope)
                if is_frame and number == 1 and piece.type == "text":
                    self._share_beginning(start, shape)
            elif (fused := piece.as_levels()) is not None:
                scope.check_symbol("levels")
                self._words.append(prog.LEVELS)
                self._words += fused
            else:
                self._words += [prog.EACH, 0]
                begin = len(self._words)
                ends = [begin - 1]
                for choice in (piece, *piece.others):
                    retry = len(self._words) + 1
                    self._words += [prog.CHOICE, 0] if piece.others else []
                    self._emit_group(choice, scope.inner(), further, shape, is_frame=False)
                    self._words += [prog.NEXT, begin]
                    if choice is not (piece, *piece.others)[-1]:
                        self._words += [prog.JUMP, 0]
                        ends.append(len(self._words) - 1)
                        self._words[retry] = len(self._words)
                for place in ends:
                    self._words[place] = len(self._words)
        if is_frame:
            self._words.append(prog.ACCEPT)
        skips = []
        for effect in group.effects:
            self._emit_effect(effect, scope)
            if isinstance(effect, Ids | Fresh):
                skips.append(len(self._words) - 1)
        for place in skips:
            self._words[place] = len(self._words)

    def _share_beginning(self, start: int, shape: int) -> None:
        # A literal and a text, such as the name of a stream. A shape that begins like the one before resumes after it.
        self._words.append(prog.SHARED)
        if shape and self._beginnings.get(shape - 1) == self._words[start:]:
            self._words[2 + 2 * shape] = len(self._words)
        self._beginnings[shape] = self._words[start:]

    def _emit_literal(self, text: bytes, cells: int) -> None:
        whole, rest = divmod(len(text) - 1, 8)
        mask = _mask(rest + 1)
        if whole == 0:
            self._words += [prog.LITERAL, len(text), cells, *_as_words(text, 1), mask]
        else:
            self._words += [prog.LONG_LITERAL, len(text), cells, whole, mask, *_as_words(text, whole + 1)]

    def _emit_hole(self, hole: Hole, following: Literal | Hole | _Group | None, scope: _Scope) -> None:
        words = self._words
        if hole.type in ("symbol", "text"):
            if not isinstance(following, Literal):
                raise ValueError(f"<{hole.name}:{hole.type}> is followed by nothing that ends it")
            words += [prog.SYMBOL if hole.type == "symbol" else prog.TEXT, following.text[0]]
            if hole.type == "symbol":
                scope.add_symbol()
        elif hole.type in ("number", "any"):
            words.append(prog.NUMBER if hole.type == "number" else prog.ANY)
        else:
            if hole.type in ("later", "nanos") and hole.name not in scope.names:
                raise ValueError(f"<{hole.name}:{hole.type}>: {hole.name!r} has no time before")
            field = 16 * self._number((hole.name, hole.type in DECIMALS))
            scope.names[hole.name] = field
            if hole.type in DECIMALS:
                words += [prog.DECIMAL, field, int(hole.type.endswith("+"))]
            elif hole.type == "bytes":
                words += [prog.BYTES, field, sum(1 << number for number in hole.words.values())]
            elif hole.type == "word":
                words += [prog.WORD, field, len(hole.words)]
                for word in sorted(hole.words, key=len, reverse=True):
                    first, rest = _as_words(word, _WORD_WORDS)
                    masks = _mask(min(len(word), 8)), _mask(max(len(word) - 8, 0))
                    words += [len(word), first, masks[0], hole.words[word], rest, masks[1]]
            else:
                words += [prog.INT, field] if hole.type == "int" else [prog.TIME, field, _TIMES[hole.type]]

    def _emit_effect(self, effect: Effect, scope: _Scope) -> None:
        words, of = self._words, scope.field
        if not isinstance(effect, Last | Give | Count):
            scope.check_symbol(type(effect).__name__)
        match effect:
            case Ids():
                words += [prog.IDS, effect.column, of(effect.id), of(effect.time)]
                words += [int(effect.by_one), int(effect.drop_repeats), 0]
            case Fresh():
                words += [prog.FRESH, of(effect.id), of(effect.time), 0]
            case Row():
                named = isinstance(effect.side, str)
                packed = effect.kind << KIND_SHIFT | effect.flags << FLAGS_SHIFT
                packed |= 0 if named else int(effect.side) << SIDE_SHIFT
                names = (str(effect.side) if named else "", effect.price, effect.size)
                words += [prog.ROW, packed, *map(of, (*names, effect.seq, effect.order, effect.time))]
            case Stamp():
                packed = Kind.CHECKSUM << KIND_SHIFT if effect.checksum else 0
                words += [prog.STAMP, of(effect.time), of(effect.seq), packed, of(effect.checksum)]
            case Seen():
                words += [prog.SEEN, effect.column]
            case Count():
                words += [prog.COUNT, of(effect.number)]
            case Last():
                words.append(prog.LAST)
            case Give():
                values = [16 * self._number(value) if isinstance(value, int) else of(value) for value in effect.values]
                words += [prog.GIVE, effect.number, len(values), *values]

    def _number(self, key: tuple[str, bool] | int) -> int:
        # The number of a field: of a name, with decimals or without, or of a constant. Field 0 is the constant 0.
        if key not in self._numbers:
            number = len(self._numbers)
            if number == prog.MAX_FIELDS:
                raise ValueError(f"the shapes have more than {prog.MAX_FIELDS} names of holes and constants")
            self._numbers[key] = number
            if isinstance(key, int):
                self.fields[number, 0] = key
        return self._numbers[key]


_TIMES: Final = {
    "epoch": EPOCH,
    "seconds": SECONDS,
    "rfc3339": RFC3339,
    "later": LATER,
    "nanos": NANOS,
    "uuid": UUID,
}
_WORD_WORDS: Final = 2  # words per WORD choice, and per literal in LEVELS


class _Scope:
    """The holes that effects may name: those before them in their own list or frame, and those around it."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self._has_symbol = False

    def inner(self) -> _Scope:
        scope = _Scope()
        scope.names = dict(self.names)
        scope._has_symbol = self._has_symbol
        return scope

    def add_symbol(self) -> None:
        if self._has_symbol:
            raise ValueError("a symbol within what is about another symbol")
        self._has_symbol = True

    def check_symbol(self, what: str) -> None:
        if not self._has_symbol:
            raise ValueError(f"no <symbol> stands before {what}")

    def field(self, name: str) -> int:
        if name and name not in self.names:
            raise ValueError(f"there is no hole named {name!r} here; there are {', '.join(self.names) or 'none'}")
        return self.names[name] if name else 0


class _Group:
    """The parts of a frame, or of an element of a list: its text in pieces, and its effects."""

    def __init__(self, parts: Shape, reader: TextReader) -> None:
        self.pieces: list[Literal | Hole | _Group] = []
        self.effects = [part for part in parts if not isinstance(part, str | Each)]
        self.levels: Levels | None = None
        self.others: list[_Group] = []  # the alternatives for an element
        text = ""
        for part in [*parts, None]:
            if isinstance(part, str):
                text += part
            elif part is None or isinstance(part, Each):
                if text:
                    self.pieces += reader.read(text)
                text = ""
            if isinstance(part, Each):
                choices = []
                for choice in part.choices:
                    reader.enter_list()
                    choices.append(_Group(choice, reader))
                    reader.leave_list()
                group, *group.others = choices
                group.levels = part if isinstance(part, Levels) else None
                self.pieces.append(group)

    def literals(self) -> Iterator[Literal]:
        """All literals, including those in lists."""
        return (piece for group in self.groups() for piece in group.pieces if isinstance(piece, Literal))

    def check(self, *, given: bool | None = None) -> None:
        """Raises ValueError if it is unclear which rows an event has, or whether rows are given."""
        lists = [each for piece in self.pieces if isinstance(piece, _Group) for each in (piece, *piece.others)]
        if any(len([*choice.groups()]) > 1 for piece in lists if piece.others for choice in (piece, *piece.others)):
            raise ValueError("a list within a choice")
        gives = any(isinstance(effect, Give) for effect in self.effects)
        if given is None:
            given = any(isinstance(effect, Give) for group in self.groups() for effect in group.effects)
        if any(isinstance(effect, Row) for effect in self.effects) and given and not gives:
            raise ValueError("a shape that gives rows gives all of them")
        if self.is_event and any(inner.is_event for below in lists for inner in below.groups()):
            raise ValueError("an event, which Stamp or Give makes, within another one")
        for below in lists:
            below.check(given=given and not gives)

    @property
    def is_event(self) -> bool:
        """Whether this group's rows are stamped or given."""
        return any(isinstance(effect, Stamp | Give) for effect in self.effects)

    def groups(self) -> Iterator[_Group]:
        """This group and those within."""
        yield self
        for piece in self.pieces:
            if isinstance(piece, _Group):
                for choice in (piece, *piece.others):
                    yield from choice.groups()

    def as_levels(self) -> list[int] | None:
        """The operands of LEVELS, which reads a list of plain levels faster than separate operations do."""
        if self.levels is None or isinstance(self.levels.side, str) or len(self.pieces) != 5:
            return None
        literals = [piece for piece in self.pieces[::2] if isinstance(piece, Literal) and not piece.open_places()]
        names = [piece.name for piece in self.pieces[1::2] if isinstance(piece, Hole)]
        if len(literals) != 3 or names != ["price", "size"] or max(len(each.text) for each in literals) > 16:
            return None
        words = [Kind.LEVEL << KIND_SHIFT | self.levels.side << SIDE_SHIFT | self.levels.flags << FLAGS_SHIFT]
        for literal in literals:
            first, second = _as_words(literal.text, _WORD_WORDS)
            length = len(literal.text)
            words += [length, first, _mask(min(length, 8)), second, _mask(max(length - 8, 0))]
        return words


def _as_words(text: bytes, count: int) -> list[int]:
    """Text as little-endian signed words."""
    return [int(word) for word in np.frombuffer(text.ljust(8 * count, b"\0"), "<i8")]


def _mask(length: int) -> int:
    """The bits of the first `length` bytes of a word."""
    return -1 if length == 8 else (1 << 8 * length) - 1
