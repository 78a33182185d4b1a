"""Parses predicates into Arrow expressions: `price > 60000 and kind = trade`.

    predicate = term { "or" term }            term  = factor { "and" factor }
    factor    = "not" factor | "(" predicate ")" | test
    test      = column ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
              | column [ "not" ] "in" "(" value { "," value } ")"
              | column [ "not" ] "between" value "and" value
              | column "is" [ "not" ] "null"

`==` and `<>` are accepted too. A value is a number, a time (RFC 3339 or nanoseconds), a word, or anything between
single or double quotes. Values are compared exactly: a price with more decimals than the column equals no row, and lies
between its neighbours. A row whose value is null matches only `is null`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import ROUND_FLOOR, Decimal, InvalidOperation, localcontext
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tickplant.derive.series import unknown_series
from tickplant.errors import TickplantError
from tickplant.records.arrow_columns import KIND_WORDS, SIDE_WORDS
from tickplant.store.pruning import Expression
from tickplant.times import parse_time

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*")|(?P<sign>==|!=|<>|<=|>=|[=<>(),])|(?P<word>[^\s=<>!(),'"]+))"""
)
_COMPARE: Final[dict[str, Callable[[Any, Any], Expression]]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
_SYNONYMS: Final = {"==": "=", "<>": "!="}
_WORDS: Final = {"kind": KIND_WORDS, "side": SIDE_WORDS}


class WhereError(TickplantError):
    """A predicate cannot be understood."""

    exit_code = 2


def parse_where(text: str, schema: pa.Schema, series: Sequence[str] = ()) -> Expression:
    """The Arrow expression of a predicate over the columns of `schema`. Raises WhereError, which names the position.

    `series`: the names that a column `series` may hold; a predicate with any other name is refused.
    """
    return _Parser(text, schema, series).parse()


class _Parser:
    """A recursive-descent parser, with one method per rule."""

    def __init__(self, text: str, schema: pa.Schema, series: Sequence[str]) -> None:
        self._text = text
        self._series = series
        self._schema = schema
        self._tokens: list[tuple[str, str, int]] = []  # kind, text, place
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if match is None:
                raise self._error("cannot be understood", place)
            kind = match.lastgroup or ""
            self._tokens.append((kind, match[kind], match.start(kind)))
            place = match.end()
        self._next = 0
        self._depth = 0

    def parse(self) -> Expression:
        found = self._any()
        if self._next < len(self._tokens):
            raise self._error("expected and, or, or the end", self._place)
        return found

    def _any(self) -> Expression:
        found = self._all()
        while self._takes("or"):
            found |= self._all()
        return found

    def _all(self) -> Expression:
        found = self._factor()
        while self._takes("and"):
            found &= self._factor()
        return found

    def _factor(self) -> Expression:
        self._depth += 1
        if self._depth > 100:
            raise self._error("is nested too deeply", self._place)
        try:
            if self._takes("not"):
                return ~self._factor()
            if self._takes("("):
                found = self._any()
                self._expect(")")
                return found
            return self._test()
        finally:
            self._depth -= 1

    def _test(self) -> Expression:
        place = self._place
        kind, name = self._take("a column")
        if kind == "sign" or name not in self._schema.names:
            raise self._error(f"{name!r} is not a column; choose from {', '.join(self._schema.names)}", place)
        if self._takes("is"):
            present = self._takes("not")
            self._expect("null")
            return pc.field(name).is_valid() if present else pc.field(name).is_null()
        turned = self._takes("not")
        if self._takes("in"):
            self._expect("(")
            found = self._compared(name, "=")
            while self._takes(","):
                found |= self._compared(name, "=")
            self._expect(")")
        elif self._takes("between"):
            found = self._compared(name, ">=")
            self._expect("and")
            found &= self._compared(name, "<=")
        else:
            place = self._place
            _, sign = self._take("a comparison")
            sign = _SYNONYMS.get(sign, sign)
            if turned or sign not in _COMPARE:
                raise self._error(f"expected one of {' '.join(_COMPARE)} in, between, is", place)
            found = self._compared(name, sign)
        return ~found if turned else found

    def _compared(self, name: str, sign: str) -> Expression:
        place = self._place
        kind, text = self._take("a value")
        if kind == "sign":
            raise self._error("expected a value", place)
        of = self._schema.field(name).type
        try:
            return self._with(name, of, sign, text)
        except (ValueError, InvalidOperation, OverflowError, pa.ArrowException) as error:
            reason = str(error) if isinstance(error, ValueError) and not isinstance(error, pa.ArrowException) else ""
            raise self._error(reason or f"{text!r} is not a value of {name}, which is {of}", place) from None

    def _with(self, name: str, of: pa.DataType, sign: str, text: str) -> Expression:
        field = pc.field(name)
        compare = _COMPARE[sign]
        if pa.types.is_dictionary(of):
            if sign not in ("=", "!="):
                raise ValueError(f"{name} is text: it can be = or != or in (…)")
            known: Sequence[str] | None = _WORDS.get(name)
            if known is not None and text.lower() not in known:
                raise ValueError(f"{text!r} is not a valid {name}; choose from {', '.join(known)}")
            if name == "series" and text not in self._series:
                raise ValueError(unknown_series(text, self._series))
            return compare(field, pa.scalar(text if known is None else text.lower()))
        if pa.types.is_timestamp(of):
            return compare(field, pa.scalar(parse_time(text), of))
        if pa.types.is_floating(of):
            return compare(field, pa.scalar(float(text), of))
        value = Decimal(text)
        if not value.is_finite():
            raise ValueError(f"{text!r} is not a number")
        return _exactly(field, of, sign, value)

    # -----------------------------------------------------------------------------------------------------------

    @property
    def _place(self) -> int:
        return self._tokens[self._next][2] if self._next < len(self._tokens) else len(self._text)

    def _take(self, what: str) -> tuple[str, str]:
        if self._next == len(self._tokens):
            raise self._error(f"expected {what}", len(self._text))
        kind, text, _ = self._tokens[self._next]
        self._next += 1
        if kind == "quoted":
            text = text[1:-1].replace(text[0] * 2, text[0])
        return kind, text

    def _takes(self, word: str) -> bool:
        if self._next == len(self._tokens):
            return False
        kind, text, _ = self._tokens[self._next]
        found = kind != "quoted" and text.lower() == word
        self._next += found
        return found

    def _expect(self, word: str) -> None:
        if not self._takes(word):
            raise self._error(f"expected {word}", self._place)

    def _error(self, reason: str, place: int) -> WhereError:
        where = f"at {self._text[place : place + 20]!r}" if self._text[place:].strip() else "at its end"
        return WhereError(f"predicate {self._text!r}: {where}: {reason}")


def _exactly(field: Expression, of: pa.DataType, sign: str, value: Decimal) -> Expression:
    """A comparison with a number. If the column's type cannot hold it, compares with its lower neighbour instead."""
    scale = of.scale if pa.types.is_decimal(of) else 0
    with localcontext(prec=80):
        low, high = _limits(of)
        beyond = not low <= value <= high
        floor = value if beyond else value.quantize(Decimal(1).scaleb(-scale), rounding=ROUND_FLOOR)
    if floor == value and not beyond:
        return _COMPARE[sign](field, _scalar(floor, of))
    if sign in ("=", "!="):
        answer = sign == "!="
    elif beyond:
        answer = (sign in ("<", "<=")) == (floor > high)
    else:
        return _COMPARE["<=" if sign in ("<", "<=") else ">"](field, _scalar(floor, of))
    return field.is_valid() & pc.scalar(answer)


def _scalar(value: Decimal, of: pa.DataType) -> pa.Scalar:
    return pa.scalar(value if pa.types.is_decimal(of) else int(value), of)


def _limits(of: pa.DataType) -> tuple[Decimal, Decimal]:
    if pa.types.is_decimal(of):
        most = (Decimal(10) ** of.precision - 1).scaleb(-of.scale)
        return -most, most
    bits = of.bit_width
    signed = pa.types.is_signed_integer(of)
    return Decimal(-(2 ** (bits - 1)) if signed else 0), Decimal(2 ** (bits - signed) - 1)
