"""Why a message is not recorded."""

from __future__ import annotations

from typing import TypeVar

import msgspec

_Read = TypeVar("_Read")


class RejectError(Exception):
    """A frame that cannot be recorded: a short, stable cause, and the exact detail.

    `accounted` means that the records will show the loss where it happened.
    """

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause
        self.detail = detail
        self.accounted = False


def read_json(decoder: msgspec.json.Decoder[_Read], raw: bytes | msgspec.Raw) -> _Read:
    """The decoder's result for this JSON. Raises RejectError "schema" or "not json"."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise RejectError("schema", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectError("not json", str(error)) from None
