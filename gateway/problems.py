"""Errors as RFC 9457 problem details: what is wrong, with which parameter, and what to do."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.routes import HTTPRoute

from tickplant.errors import ControlError, DamageError, StoreError, SubscribeError, TickplantError

MEDIA_TYPE: Final = "application/problem+json"

TITLES: Final = {
    400: "Bad parameter",
    401: "No token",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    406: "No such form",
    409: "Refused",
    413: "Too large",
    421: "Wrong host",
    429: "Too many requests",
    431: "Head too large",
    500: "Fault",
    503: "Not available",
}

_MISSING: Final = re.compile(r"Missing required \w+ parameter '([^']+)'")


class Problem(Exception):  # noqa: N818  # an answer that refuses, not a fault
    """The answer when a request is refused."""

    def __init__(
        self, status: int, detail: str, *, parameter: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.parameter = parameter
        self.headers = headers or {}

    @property
    def body(self) -> bytes:
        """The problem as JSON."""
        title = TITLES.get(self.status, "Refused")
        members: dict[str, Any] = {
            "type": f"/docs#{title.lower().replace(' ', '-')}",
            "title": title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.parameter:
            members["parameter"] = self.parameter
        return msgspec.json.encode(members)


def bad(parameter: str, detail: str) -> Problem:
    """The problem of an invalid parameter."""
    return Problem(400, f"{parameter}: {detail}", parameter=parameter)


def problem_of(error: Exception) -> Problem:
    """The answer to a request that raised this error."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ValidationException):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return Problem(error.status_code, error.detail or TITLES.get(error.status_code, "refused"))
    if isinstance(error, DamageError):
        return Problem(503, f"stored data is damaged, see `tickplant verify`: {error}")
    if isinstance(error, ControlError | SubscribeError):
        return Problem(503, str(error), headers={"Retry-After": "1"})
    if isinstance(error, StoreError):
        return Problem(404, _without_path(error))
    if isinstance(error, TickplantError):
        return Problem(400, str(error))
    structlog.get_logger().error("a request failed", exc_info=error)
    return Problem(500, f"a fault of tickplant, see its log: {type(error).__name__}")


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The handler of all exceptions."""
    problem = problem_of(error)
    if problem.status == 405:
        found = {route.path: route.methods for route in request.app.routes if isinstance(route, HTTPRoute)}
        problem.headers["Allow"] = ", ".join(sorted(found.get(request.url.path, {"GET", "OPTIONS"})))
    return Response(problem.body, status_code=problem.status, media_type=MEDIA_TYPE, headers=problem.headers)


def _without_path(error: StoreError) -> str:
    """The message without the store's folder, which clients need not know."""
    return str(error).removeprefix(f"{error.path}: ")


def _invalid(error: ValidationException) -> Problem:
    extra = error.extra
    if isinstance(extra, list) and extra and isinstance(extra[0], dict):
        parameter = str(extra[0].get("key") or "body")
        return bad(parameter, str(extra[0].get("message", error.detail)))
    missing = _MISSING.search(error.detail)
    return bad(missing[1], "is missing") if missing else Problem(400, error.detail)
