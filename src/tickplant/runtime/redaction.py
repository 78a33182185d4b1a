"""What must not be readable in a log, a capture or an error: one rule, and the credentials this process knows by value.

A text is changed only where it names a credential or contains a registered one: the value becomes `***`, everything
else stays as it is, byte for byte. Names are compared ignoring case, `-`, `_` and `.`, also in their percent-encoded
form in a URL.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote_plus

MASK: Final = "***"
MINIMUM_CHARACTERS: Final = 4
"""A shorter value is not a secret, and masking each of its occurrences would make a log unreadable."""

_NAME: Final = re.compile(
    r"api[-_.]?key|secret[-_.]?key|private[-_.]?key|access[-_.]?key|listen[-_.]?key|client[-_.]?secret|secret"
    r"|pass[-_.]?phrase|pass[-_.]?word|passwd|pwd|signature|token|authori[sz]ation|credential|session[-_.]?id|cookie"
    r"|jwt|access[-_.]?sign|api[-_.]?sign|(?:(?<![a-z0-9])|(?<=%[0-9a-f][0-9a-f]))(?:key|sig|sign|auth|pass)(?![a-z0-9])",
    re.IGNORECASE,
)
_HINTS: Final = (
    "key",
    "secret",
    "pass",
    "pwd",
    "sig",
    "token",
    "auth",
    "credential",
    "session",
    "cookie",
    "jwt",
    "bearer",
)
_REACH: Final = 16  # search range before and after a hint for the name that contains it
_REST_OF_NAME: Final = re.compile(r"[\w.\-\[\]$]{0,64}")
_AFTER_NAME: Final = re.compile(r"(?P<close>\\*[\"'])?\s{0,8}(?:=>|[:=]|%3[aA]|%3[dD])(?:%20|\+|\s){0,8}")
_QUOTE: Final = re.compile(r"b?(\\*)([\"'])")
_LITERAL: Final = re.compile(r"(?:null|true|false|None|True|False)(?![\w])")
_SCHEME_WORD: Final = r"(?:(?:bearer|basic|token|digest|apikey|hmac)(?:\s+|%20|\+))?"
_BARE: Final = re.compile(_SCHEME_WORD + r"(?:(?!%26|%22)[^\s&\"'#;,<>(){}\[\]|\\])+", re.IGNORECASE)
_LINE: Final = re.compile(r"(?:[^\r\n\"'\\]|(?<==)\"[^\"\r\n]*\")+")  # Digest has quoted parameters
_WHOLE_LINE: Final = re.compile(r"authori[sz]ation|cookie", re.IGNORECASE)
_SENTENCE: Final = re.compile(r"[a-z]+,? [a-z]+")
_BEARER: Final = re.compile(r"\b(bearer|basic)(\s+|%20)(?=[\w\-.~+/=]*[\d=._A-Z])[\w\-.~+/=]{8,}", re.IGNORECASE)

_URL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]{1,20}://[^\s\"'<>\\{}|^`]+")
_USERINFO: Final = re.compile(r"(://)[^/?#@\s]*(?:@[^/?#@\s]*)*@(?=[^@/?#\s]*(?:[/?#]|$))")
_STREAM_PATH: Final = re.compile(r"/(?:ws|stream)/", re.IGNORECASE)
_LONG_KEY: Final = re.compile(r"(?=[^/]*\d)(?=[^/]*[A-Za-z])[\w\-]{32,}")
_SHORT_KEY: Final = re.compile(r"(?=.*[\dA-Z])[\w\-]{8,}|[\w\-]{16,}")

_values: dict[str, None] = {}
_known: re.Pattern[str] | None = None


def register(value: str) -> None:
    """Mask this credential from now on, in every form in which a text of this process may contain it."""
    global _known  # noqa: PLW0603  # one set of credentials per process
    if len(value) < MINIMUM_CHARACTERS or value in _values:
        return
    _values[value] = None
    forms = sorted({form for known in _values for form in _forms(known)}, key=len, reverse=True)
    _known = re.compile("|".join(map(re.escape, forms)))


def _forms(value: str) -> list[str]:
    """A value as written in URLs, JSON, headers and bytes."""
    encoded = [quote(value), quote(value, safe=""), quote_plus(value)]
    lower = [re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in encoded]
    quoted = [json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]]
    nested = [json.dumps(form)[1:-1] for form in quoted]
    forms = [value, *encoded, *lower, *quoted, *nested, base64.b64encode(_utf8(value)).decode()]
    return [*forms, *(_utf8(form).decode("latin-1") for form in forms)]  # the latter as read by `redact_bytes`


def _utf8(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def is_secret_name(name: str) -> bool:
    """Whether a parameter, header or key of this name holds a credential."""
    name = unquote_plus(name)
    return any(_ends_a_word(name, match.end()) for match in _NAME.finditer(name))


def _ends_a_word(text: str, end: int) -> bool:
    """Whether the word that ends here is complete: true for the first in `tokenId`, but not in TOKENUSDT."""
    following = text[end : end + 1]
    if following in ("s", "S") and not text[end + 1 : end + 2].isalpha():
        return True
    return not following.isalpha() or (following.isupper() and text[end - 1].islower())


def redact_url(url: str) -> str:
    """A URL without userinfo, without values of parameters that name a credential, and without keys in its path."""
    url = _masked(_USERINFO.sub(rf"\1{MASK}@", url))
    head, question, query = url.partition("?")
    if not question:
        head, question, query = url.partition("#")
    scheme, separator, rest = head.partition("://")
    host, slash, path = rest.partition("/")
    if slash:
        head = f"{scheme}{separator}{host}{_redact_path(slash + path)}"
    return head + question + "".join(map(_redact_parameter, re.split(r"([&;#?])", query)))


def _redact_path(path: str) -> str:
    stream_at = match.end() if (match := _STREAM_PATH.search(path)) else len(path)
    masked, position = [], 0
    for part in path.split("/"):
        # After /ws/ comes the name of a stream, which contains an @, or the key of a private stream.
        private = position >= stream_at and _SHORT_KEY.fullmatch(part)
        masked.append(MASK if private or _LONG_KEY.fullmatch(part) else part)
        position += len(part) + 1
    return "/".join(masked)


def _redact_parameter(text: str) -> str:
    name, equals, value = text.partition("=")
    if equals and value and is_secret_name(name):
        return f"{name}={MASK}"
    if equals and unquote_plus(name).lower() in ("stream", "streams", "listenkey"):
        return f"{name}={'/'.join(MASK if _SHORT_KEY.fullmatch(part) else part for part in value.split('/'))}"
    return text


def redact(text: str) -> str:
    """A text with every credential in it masked: registered values, URLs, parameters, headers and JSON keys."""
    text = _masked(text)
    if "://" in text:
        text = _URL.sub(lambda match: redact_url(match[0]), text)
    if "earer" in text or "asic" in text:
        text = _BEARER.sub(rf"\1\2{MASK}", text)
    parts: list[str] = []
    done = 0
    for match in _names(text):
        if match.start() >= done and (span := _value_after(text, match)):
            parts += (text[done : span[0]], span[2])
            done = span[1]
    return "".join([*parts, text[done:]]) if parts else text


def _names(text: str) -> Iterator[re.Match[str]]:
    """Occurrences of credential names, in order. Most texts have none: plain searches show that 50 times faster."""
    lower = text.lower()
    hints = set()
    for hint in _HINTS:
        position = lower.find(hint)
        while position >= 0:
            hints.add(position)
            position = lower.find(hint, position + 1)
    if len(lower) != len(text):  # some letters are longer in lower case
        yield from _NAME.finditer(text)
        return
    after = 0
    for position in sorted(hints):
        if position >= after and (match := _NAME.search(text, max(after, position - _REACH), position + 2 * _REACH)):
            after = match.end()
            yield match


def redact_bytes(data: bytes) -> bytes:
    """`redact` for a frame or an answer as received, in whatever encoding."""
    text = data.decode("latin-1")
    redacted = redact(text)
    return data if redacted is text else redacted.encode("latin-1")


def _masked(text: str) -> str:
    return _known.sub(MASK, text) if _known else text


def _value_after(text: str, name: re.Match[str]) -> tuple[int, int, str] | None:
    """Start and end of this name's value, and its replacement; None if the name has no value."""
    if not _ends_a_word(text, name.end()):
        return None
    rest = _REST_OF_NAME.match(text, name.end())
    separator = _AFTER_NAME.match(text, rest.end() if rest else name.end())
    if separator is None:
        return None
    start = separator.end()
    if _LITERAL.match(text, start):
        return None
    if quote_ := _QUOTE.match(text, start):
        return quote_.end(), _closing_quote(text, quote_), MASK
    if text[start : start + 1] in ("{", "["):
        quote_mark = separator["close"] or '"'
        return start, _closing_bracket(text, start, quote_mark), quote_mark + MASK + quote_mark
    if _WHOLE_LINE.fullmatch(name[0]) and not separator["close"] and "=" not in separator[0]:
        value = _LINE.match(text, start)
    else:
        value = _BARE.match(text, start)
    # "password: is missing" is a sentence about a key, not a password.
    if value is None or value[0] == MASK or (": " in separator[0] and _SENTENCE.match(text, start)):
        return None
    return start, value.end(), f"{separator['close'] or ''}{MASK}{separator['close'] or ''}"


def _is_end(slashes: int, depth: int) -> bool:
    """Whether a quote after `slashes` backslashes ends a text whose own quotes follow `depth` of them.

    In JSON within JSON, quotes carry backslashes; an even number of additional ones are backslashes of the text itself.
    """
    return slashes >= depth and (slashes - depth) % (2 * (depth + 1)) == 0


def _closing_quote(text: str, opening: re.Match[str]) -> int:
    """End of a quoted value: at the end of its line at the latest."""
    for found in re.compile(rf"(\\*){opening[2]}|\n").finditer(text, opening.end()):
        if found[0] == "\n":
            return found.start()
        if _is_end(len(found[1]), len(opening[1])):
            return found.end() - 1 - len(opening[1])
    return len(text)


def _closing_bracket(text: str, start: int, quote_mark: str) -> int:
    """End of a JSON list or table."""
    depth, inside = 0, False
    for found in re.compile(rf"(\\*){quote_mark[-1]}|[\[\]{{}}]").finditer(text, start):
        if found[1] is not None:
            inside ^= _is_end(len(found[1]), len(quote_mark) - 1)
        elif not inside:
            depth += 1 if found[0] in "{[" else -1
            if depth == 0:
                return found.end()
    return len(text)


MAX_DEPTH: Final = 12


def redact_value(value: object, depth: int = 0) -> Any:
    """`redact` for a structure: texts at any depth, and all values under names of credentials."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact(value)
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        return {
            redact(str(key)): MASK if item and is_secret_name(str(key)) else redact_value(item, depth + 1)
            for key, item in value.items()
        }
    if depth < MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [redact_value(item, depth + 1) for item in value]
    return redact(value.decode(errors="replace") if isinstance(value, bytes) else repr(value))


def redacting(_: object, __: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor, the last one before the renderer."""
    return {key: redact_value(value) if not is_secret_name(key) else MASK for key, value in event_dict.items()}
