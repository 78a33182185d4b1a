"""From TOML to typed structs: an error names the first wrong key, its file, its dotted path and what was expected.

The types are those that a configuration needs: text, numbers with bounds, choices, and lists of these.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
import types
from typing import Annotated, Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from tickplant.errors import ConfigError

T = TypeVar("T")

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}\Z")
_NAMES: Final[dict[type, str]] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


class Reader:
    """Reads one file's text; `file` names it in errors."""

    def __init__(self, file: str) -> None:
        self.file = file

    def wrong(self, key: str, message: str) -> ConfigError:
        """An error that names the file and this key."""
        return ConfigError(message, file=self.file, key=key)

    def parse(self, text: str) -> dict[str, Any]:
        """The tables of a text. Raises ConfigError."""
        try:
            return tomllib.loads(text)
        except RecursionError:
            raise self.wrong("", "is not valid TOML: it is nested too deeply") from None
        except ValueError as error:  # a number of thousands of digits is not a TOMLDecodeError
            raise self.wrong("", f"is not valid TOML: {error}") from None

    def known(self, table: dict[str, Any], names: tuple[str, ...], prefix: str) -> None:
        """Raise ConfigError for a key that is not one of these."""
        for key in table:
            if key not in names:
                close = difflib.get_close_matches(key, names, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(names)}"
                raise self.wrong(prefix + key, f"is not a known key; {hint}")

    def table(self, value: object, kind: type[T], key: str) -> T:
        """One table as a struct. Raises ConfigError."""
        if not isinstance(value, dict):
            raise self.wrong(key, f"must be a table, [{key}], not {type(value).__name__}")
        fields = msgspec.structs.fields(kind)  # type: ignore[arg-type]  # T is always a Struct; a bound would hide it from callers
        self.known(value, tuple(field.name for field in fields), f"{key}.")
        for field in fields:
            if field.required and field.name not in value:
                raise self.wrong(f"{key}.{field.name}", "is missing")
        hints = get_type_hints(kind, include_extras=True)
        return kind(**{name: self._value(hints[name], one, f"{key}.{name}") for name, one in value.items()})

    def tables(self, raw: dict[str, Any], section: str, kind: type[T]) -> dict[str, T]:
        """Tables `[section.NAME]` by name. Raises ConfigError."""
        tables = raw.get(section, {})
        if not isinstance(tables, dict) or not all(isinstance(value, dict) for value in tables.values()):
            raise self.wrong(section, f"must hold tables: write [{section}.NAME]")
        for name in tables:
            if not _NAME.match(name):
                message = "a name is 1 to 31 of a-z, 0-9, _ and -, and begins with a letter or digit"
                raise self.wrong(f"{section}.{name}", message)
        return {name: self.table(value, kind, f"{section}.{name}") for name, value in tables.items()}

    def texts(self, raw: dict[str, Any], section: str) -> dict[str, str]:
        """A table `[section]` of texts by name. Raises ConfigError."""
        found = self._value(dict[str, str], raw.get(section, {}), section)
        return cast("dict[str, str]", found)

    def _value(self, hint: Any, value: object, key: str) -> object:
        """A value of this type, as the struct holds it."""
        origin, bounds = get_origin(hint), None
        if origin is Annotated:
            hint, bounds = get_args(hint)[:2]
            origin = get_origin(hint)
        if origin in (Union, types.UnionType, Literal):
            return self._chosen(hint, value, key)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            return self.table(value, hint, key)
        if origin is dict:
            if not isinstance(value, dict):
                raise self._expected(_NAMES[dict], value, key)
            return {name: self._value(get_args(hint)[1], one, f"{key}.{name}") for name, one in value.items()}
        if origin is tuple:
            if not isinstance(value, list):
                raise self._expected(_NAMES[list], value, key)
            return tuple(self._value(get_args(hint)[0], one, f"{key}[{i}]") for i, one in enumerate(value))
        if hint is float and type(value) is int:
            value = float(value) if abs(value) < 1 << 1023 else math.inf
        if type(value) is not hint:
            raise self._expected(_NAMES[hint], value, key)
        if isinstance(value, float) and not math.isfinite(value):
            raise self.wrong(key, "a finite number is expected")
        for word, fits in (("greater than", "gt"), ("of at least", "ge"), ("of at most", "le")):
            limit = getattr(bounds, fits, None)
            if limit is not None and not _FITS[fits](value, limit):
                # For whole numbers, name the first one that fits.
                first = hint is int and fits == "gt"
                words = f"of at least {limit + 1}" if first else f"{word} {limit}"
                raise self.wrong(key, f"{_NAMES[hint]} {words} is expected")
        return value

    def _chosen(self, hint: Any, value: object, key: str) -> object:
        """A value whose type is one of several types or texts."""
        choices = _choices(hint)
        if value in choices and isinstance(value, str):
            return value
        others = [one for one in get_args(hint) if get_origin(one) is not Literal and one is not type(None)]
        if get_origin(hint) is Literal or not others:
            if not isinstance(value, str):
                raise self._expected(_NAMES[str], value, key)
            raise self.wrong(key, f"{value!r} is not one of {', '.join(choices)}")
        if isinstance(value, str) and choices:
            raise self.wrong(key, f"{value!r} is neither a number nor one of {', '.join(choices)}")
        return self._value(others[0], value, key)

    def _expected(self, expected: str, value: object, key: str) -> ConfigError:
        return self.wrong(key, f"{expected} is expected, not {_NAMES.get(type(value), type(value).__name__)}")


_FITS: Final[dict[str, Any]] = {
    "gt": lambda value, limit: value > limit,
    "ge": lambda value, limit: value >= limit,
    "le": lambda value, limit: value <= limit,
}


def _choices(hint: object) -> list[str]:
    """The texts that a type built from Literals allows."""
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    return [choice for inner in get_args(hint) for choice in _choices(inner)]
