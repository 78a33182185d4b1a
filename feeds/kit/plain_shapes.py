"""Reading by shape in plain Python: does what `shape_kernels.walk` does, without its program.

A frame is decoded as JSON, compared with the example member by member, and recorded with exact decimals. This is slow;
the tests hold the kernel equal to it. The kernel may leave to the reference decoder some frames that this reader takes,
such as one with text beyond ASCII in a member that nobody reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tickplant.feeds.kit.plain_values import NoFitError, Number, bytes_value, joined_value, mantissa_of, read_value
from tickplant.feeds.kit.shapes import Count, Each, Effect, Fresh, Give, Ids, Last, Row, Seen, Shape, Stamp
from tickplant.feeds.kit.state_table import (
    ID_RESET_NS,
    INSTRUMENT,
    NONE,
    PRICE_SCALE,
    RECENT,
    RECENT_PAIRS,
    SIZE_SCALE,
)
from tickplant.records.batch import FLAGS_SHIFT, KIND_SHIFT, SIDE_SHIFT
from tickplant.records.layouts import Flag, Kind

_HOLE: Final = re.compile(r"<(?!\*)(?:([A-Za-z]\w*|_):)?([^<>*]+)>")
_BARE: Final = re.compile("-?" + _HOLE.pattern)  # a number, whose sign may be spelled out
_FURTHER: Final = re.compile(r"<\*(?: but ([\w, ]+))?>")
_TEXT: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_LIST: Final = "\ue001"  # in the text of an example: a list described separately


class _RefusedError(Exception):
    """The frame fits, but the reference decoder must judge its content."""


@dataclass
class Reading:
    """The content of a frame."""

    shape: str
    rows: list[list[int]] = field(default_factory=list)  # seven words each
    given: list[tuple[int, int, list[list[int]], list[int]]] = field(default_factory=list)  # number, slot, rows, values
    duplicates: int = 0


@dataclass
class _Found:
    """The values in the holes of a frame or of a list's element, and those of the lists within."""

    names: dict[str, Any]
    slot: int
    parts: Sequence[Any]
    lists: list[list[_Found]] = field(default_factory=list)


class PlainReader:
    """Reads frames one by one; changes the state table as the kernel does."""

    def __init__(self, shapes: Mapping[str, Shape], slots: Mapping[str, int], state: NDArray[np.int64]) -> None:
        self._shapes = {name: (shape, *_example(shape)) for name, shape in shapes.items()}
        self._slots = slots
        self._state = state
        self.counted = NONE  # number of the connection's last frame

    def read(self, frame: bytes, ts_recv: int) -> Reading | None:
        """The content of a frame; None if the frame is for the reference decoder."""
        try:
            text = frame.decode()
            if re.search(r"\s", _TEXT.sub("", text)):
                return None
            message = json.loads(
                text, object_pairs_hook=tuple, parse_int=Number, parse_float=Number, parse_constant=_no_constant
            )
        except (ValueError, RecursionError):
            return None
        for name, (shape, (example,), lists) in self._shapes.items():
            found = _Found({}, NONE, shape)
            try:
                _Match(self._slots).value(example, message, found, iter(lists))
            except NoFitError:
                continue
            state = self._state.copy()
            reading = Reading(name)
            recorder = _Recorder(reading, state, ts_recv, self.counted)
            try:
                recorder.group(found)
            except _RefusedError:
                return None
            self._state[:] = state
            self.counted = recorder.counted
            return reading
        return None


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _example(parts: Sequence[Any]) -> tuple[list[Any], list[Each]]:
    """The text of parts as JSON, with holes as texts, and its lists. The text is one value, or several of a list."""
    text, lists = "", []
    for part in parts:
        if isinstance(part, str):
            text += part
        elif isinstance(part, Each):
            text += f'"{_LIST}"'
            lists.append(part)
    text = _FURTHER.sub(lambda match: f',"*":"{match[1] or ""}"', text)
    quoted = _TEXT.sub(lambda match: match[0].replace("<", "\ue002").replace(">", "\ue003"), text)
    quoted = _BARE.sub(lambda match: '"\ue004' + match[0].replace("<", "\ue002").replace(">", "\ue003") + '"', quoted)
    quoted = f"[{quoted}]"
    return json.loads(quoted, object_pairs_hook=tuple, parse_int=Number, parse_float=Number, strict=False), lists


class _Match:
    """Compares a message with an example."""

    def __init__(self, slots: Mapping[str, int]) -> None:
        self._slots = slots

    def value(self, example: Any, message: Any, found: _Found, lists: Any) -> None:
        """Match a value. Raises NoFitError."""
        if example == _LIST:
            self._list(next(lists), message, found)
        elif isinstance(example, Number | bool | None):
            if type(message) is not type(example) or message != example:
                raise NoFitError
        elif isinstance(example, str):
            self._scalar(example, message, found)
        elif isinstance(example, tuple) and isinstance(message, tuple):
            self._object(example, message, found, lists)
        elif isinstance(example, list) and isinstance(message, list) and len(example) == len(message):
            for inner, member in zip(example, message, strict=True):
                self.value(inner, member, found, lists)
        else:
            raise NoFitError

    def _list(self, each: Each, message: Any, found: _Found) -> None:
        if not isinstance(message, list):
            raise NoFitError
        choices = [(parts, *_example(parts)) for parts in each.choices]
        elements = []
        while message:
            inner, width = self._element(choices, message, found)
            elements.append(inner)
            message = message[width:]
            found.slot = inner.slot
        found.lists.append(elements)

    def _element(
        self, choices: Sequence[tuple[Sequence[Any], list[Any], list[Each]]], members: list[Any], found: _Found
    ) -> tuple[_Found, int]:
        """The element that these members begin with, and its number of members."""
        for parts, examples, lists in choices:
            inner, inner_lists = _Found(dict(found.names), found.slot, parts), iter(lists)
            try:
                for example, member in zip(examples, members[: len(examples)], strict=True):
                    self.value(example, member, inner, inner_lists)
            except (NoFitError, ValueError):
                continue
            return inner, len(examples)
        raise NoFitError

    def _object(self, example: Any, message: Any, found: _Found, lists: Any) -> None:
        closed = dict(example).get("*")
        example = [member for member in example if member[0] != "*"]
        known = {key for key, _ in example} | set(closed.split(", ") if closed else ())
        if closed is not None:
            message = [member for member in message if member[0] in known]
        if [key for key, _ in example] != [key for key, _ in message]:
            raise NoFitError
        for (_, inner), (_, value) in zip(example, message, strict=True):
            self.value(inner, value, found, lists)

    def _scalar(self, example: str, message: Any, found: _Found) -> None:
        if example.startswith("\ue004"):  # a hole outside quotation marks
            example = example[1:]
            if example.endswith("any\ue003"):
                return
            if isinstance(message, list) and "bytes" in example:
                hole = _HOLE.fullmatch("<" + example[1:-1] + ">")
                assert hole is not None
                found.names[hole[1] or "bytes"] = bytes_value(hole[2], message)
                return
            if isinstance(message, bool):
                message = "true" if message else "false"
            elif not isinstance(message, Number):
                raise NoFitError
        elif not isinstance(message, str) or isinstance(message, Number):
            raise NoFitError
        pieces = re.split("\ue002([^\ue003]*)\ue003", example)
        at = 0
        for number, piece in enumerate(pieces):
            if number % 2 == 0:
                if not message.startswith(piece, at):
                    raise NoFitError
                at += len(piece)
            else:
                at = self._hole(piece, message, at, pieces[number + 1], found)
        if at != len(message):
            raise NoFitError

    def _hole(self, hole: str, message: str, at: int, following: str, found: _Found) -> int:
        # Returns the end of the text in the hole.
        name, _, kind = hole.rpartition(":")
        end = message.find(following[0], at) if following else len(message)
        text = message[at:end] if end >= 0 else message[at:]
        end = at + len(text)
        name = name or kind.rstrip("+")
        if kind in ("symbol", "text"):
            if not all(" " <= c <= "~" and c not in '"\\' for c in text):
                raise NoFitError
            if kind == "symbol":
                if text not in self._slots:
                    raise NoFitError
                found.slot = self._slots[text]
            return end
        found.names[name] = joined_value(kind, found.names.get(name), read_value(kind, text))
        return end


class _Recorder:
    """Carries out effects."""

    def __init__(self, reading: Reading, state: NDArray[np.int64], ts_recv: int, counted: int) -> None:
        self.counted = counted
        self._reading = reading
        self._state = state
        self._ts_recv = ts_recv

    def group(self, found: _Found) -> None:
        """Record the lists of an element, or of the frame, then its effects. Raises _RefusedError."""
        rows = self._reading.rows
        mark = len(rows)
        for elements in found.lists:
            for element in elements:
                self.group(element)
        for effect in found.parts:
            if not isinstance(effect, str | Each) and not self._carry_out(effect, found, mark):
                break

    def _carry_out(self, effect: Effect, found: _Found, mark: int) -> bool:
        # Whether the effects after this one apply.
        rows, names = self._reading.rows, {"": 0} | found.names
        state = self._state[found.slot]
        match effect:
            case Ids():
                return self._continue(effect, state, names)
            case Fresh():
                return self._is_fresh(names[effect.id], names[effect.time], state)
            case Seen():
                state[effect.column] = 1
            case Count():
                self.counted += 1
                if names[effect.number] != self.counted:
                    raise _RefusedError
            case Row():
                side = names[effect.side] if isinstance(effect.side, str) and effect.side else effect.side or 0
                price, size = (
                    mantissa_of(value, int(state[column]), _RefusedError) if isinstance(value, Decimal) else value
                    for value, column in ((names[effect.price], PRICE_SCALE), (names[effect.size], SIZE_SCALE))
                )
                packed = _packed(state, effect.kind, side, effect.flags)
                time, seq, order = names[effect.time], names[effect.seq], names[effect.order]
                rows.append([time, self._ts_recv, price, size, seq, order, packed])
            case Stamp():
                if effect.checksum:
                    rows.append([0, 0, 0, names[effect.checksum], 0, 0, _packed(state, Kind.CHECKSUM, 0, 0)])
                for row in rows[mark:]:
                    row[0], row[1], row[4], row[5] = names[effect.time], self._ts_recv, names[effect.seq], 0
                if rows[mark:]:
                    rows[-1][6] |= Flag.LAST << FLAGS_SHIFT
            case Last():
                if rows:
                    rows[-1][6] |= Flag.LAST << FLAGS_SHIFT
            case Give():
                values = [value if isinstance(value, int) else names[value] for value in effect.values]
                self._reading.given.append((effect.number, found.slot, rows[mark:], values))
        return True

    def _is_fresh(self, ident: int, time: int, state: NDArray[np.int64]) -> bool:
        at = RECENT + 2 * (ident % RECENT_PAIRS)
        if ident and state[at : at + 2].tolist() == [ident, time]:
            self._reading.duplicates += 1
            return False
        if ident:
            state[at : at + 2] = ident, time
        return True

    def _continue(self, effect: Ids, state: NDArray[np.int64], names: dict[str, Any]) -> bool:
        last, last_ns, cause = state[effect.column : effect.column + 3].tolist()
        ident, time = names[effect.id], names[effect.time]
        if cause:
            raise _RefusedError
        if last != NONE:
            if ident <= last and (not effect.by_one or time - last_ns <= ID_RESET_NS):
                if not effect.drop_repeats:
                    raise _RefusedError
                self._reading.duplicates += 1
                return False
            if effect.by_one and ident != last + 1:
                raise _RefusedError
        state[effect.column : effect.column + 2] = ident, time
        return True


def _packed(state: NDArray[np.int64], kind: Kind, side: int, flags: int) -> int:
    return int(state[INSTRUMENT]) | kind << KIND_SHIFT | side << SIDE_SHIFT | flags << FLAGS_SHIFT
