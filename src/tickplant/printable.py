"""Foreign text made safe for a terminal: characters that move the cursor, hide or reorder letters are escaped.

Symbols, messages of venues and file names may hold any character.
"""

from __future__ import annotations

import re
from typing import Final

# Letters by category that are invisible or change how others are shown (Unicode's Default_Ignorable_Code_Point).
_UNSEEN: Final = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff"
_DOUBTFUL: Final = re.compile(rf"[^ -~\u00a1-\u02ff]|[{_UNSEEN}\u00ad]")  # needs a closer look
_HIDDEN: Final = re.compile(f"[{_UNSEEN}]")


def _escape(match: re.Match[str]) -> str:
    letter = match[0]
    if letter.isprintable() and not _HIDDEN.match(letter):
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with every control, format and invisible character written as a Python escape: `\x1b`, `\u202e`.

    With `lines`, line breaks stay as they are.
    """
    if lines:
        return "\n".join(printable(line) for line in text.split("\n"))
    return _DOUBTFUL.sub(_escape, text)


def printable_json(text: bytes) -> bytes:
    r"""UTF-8 JSON, one line or many, with the same characters escaped as `\uXXXX`. The JSON value is unchanged.

    Outside strings, the only such characters in JSON are line breaks and tabs.
    """
    if text.isascii() and b"\x7f" not in text:
        return text

    def escape(match: re.Match[str]) -> str:
        if match[0] in "\n\r\t" or _escape(match) == match[0]:
            return match[0]
        units = match[0].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))

    return _DOUBTFUL.sub(escape, text.decode("utf-8", "replace")).encode()
