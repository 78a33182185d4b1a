"""Why a message is not recorded."""

from __future__ import annotations


class RejectError(Exception):
    """A frame that cannot be recorded: a short, stable cause, and what exactly is wrong.

    `accounted` says that the records will show the loss where it happened.
    """

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause
        self.detail = detail
        self.accounted = False
