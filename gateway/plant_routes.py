"""Routes about the plant itself: status, metrics, an admin's commands, log-in, and the page."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from tickplant.errors import ControlError
from tickplant.gateway.admission import COOKIE
from tickplant.gateway.answers import Done, Health, Login, LoginAnswer, RestartOrder, ResyncOrder
from tickplant.gateway.documented import errors
from tickplant.gateway.problems import Problem
from tickplant.gateway.prometheus_text import metrics_text
from tickplant.gateway.services import Services
from tickplant.runtime.control import Command, Restart, Resync, Status

METRICS_S: Final = 2.0
"""How long a scrape waits for the supervisor and the engines: less than any scraper does."""

_READ: Final = errors(400, 401, 403, 421, 429, 503)
_ORDER: Final = errors(400, 401, 403, 409, 413, 421, 429, 503)


@get(
    "/api/v1/status",
    summary="How the plant is",
    tags=["plant"],
    responses={200: ResponseSpec(dict[str, Any], description="as `tickplant status --json` prints"), **_READ},
)
async def status(services: NamedDependency[Services]) -> Response[bytes]:
    """Processes, rings, accounts."""
    found = await services.plant.status()
    return Response(msgspec.json.encode(found), media_type="application/json")


@get(
    "/healthz",
    summary="Whether the plant is well",
    tags=["plant"],
    responses={200: ResponseSpec(Health, description="it is"), **errors(400, 421, 429, 503)},
)
async def health(services: NamedDependency[Services]) -> Health:
    """For load balancers and watchdogs: 200, or 503."""
    found = await services.plant.status()
    if not found.healthy:
        raise Problem(503, "the plant is not healthy: /api/v1/status says why")
    return Health(healthy=True)


@get(
    "/metrics",
    summary="Metrics for Prometheus",
    tags=["plant"],
    media_type="text/plain",
    responses={200: ResponseSpec(str, description="text format", media_type="text/plain"), **_READ},
)
async def metrics(services: NamedDependency[Services]) -> Response[bytes]:
    """Counters, gauges and histograms of the plant and of this gateway."""
    answer, listing = await asyncio.gather(
        asyncio.wait_for(services.plant.status(), METRICS_S),
        asyncio.wait_for(services.hub.look(), METRICS_S),
        return_exceptions=True,
    )
    for one in (answer, listing):  # one that hangs is left out, and the ages of topics continue
        if isinstance(one, BaseException) and not isinstance(one, ControlError | TimeoutError):
            raise one
    found = answer if isinstance(answer, Status) else None
    services.counts["status_failures"] += found is None
    body = metrics_text(services, found, services.hub.listed, asyncio.get_running_loop().time())
    return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")


@post(
    "/api/v1/admin/restart",
    summary="End a process and start it again",
    tags=["admin"],
    status_code=202,
    responses={202: ResponseSpec(Done, description="it is being done"), **_ORDER},
)
async def restart(services: NamedDependency[Services], data: JSONBody[RestartOrder]) -> Done:
    """Does what `tickplant restart` does."""
    return await _order(services, Restart(data.name))


@post(
    "/api/v1/admin/resync",
    summary="Fetch books again",
    tags=["admin"],
    status_code=202,
    responses={202: ResponseSpec(Done, description="it is being done"), **_ORDER},
)
async def resync(services: NamedDependency[Services], data: JSONBody[ResyncOrder]) -> Done:
    """Does what `tickplant resync` does: for one symbol, or for all symbols of the feed."""
    return await _order(services, Resync(data.feed, data.symbol))


async def _order(services: Services, command: Command) -> Done:
    try:
        await services.plant.order(command)
    except ControlError as error:
        raise Problem(409, str(error)) from None
    services.counts["orders"] += 1
    return Done()


@post(
    "/api/v1/session",
    summary="Log in",
    tags=["session"],
    status_code=200,
    responses={
        200: ResponseSpec(LoginAnswer, description="the token is kept as a cookie"),
        **errors(400, 401, 403, 413, 421, 429),
    },
)
async def login(services: NamedDependency[Services], data: JSONBody[Login]) -> Response[LoginAnswer]:
    """Keep a token as a cookie, which pages cannot read and other sites cannot send."""
    scopes = services.admission[0].scopes_of(data.token)
    if not scopes:
        raise Problem(401, "nobody has this token")
    response = Response(LoginAnswer(sorted(scopes)))
    secure = bool(services.config.tls_certificate)
    response.set_cookie(COOKIE, data.token, path="/", httponly=True, samesite="strict", secure=secure)
    return response


@delete(
    "/api/v1/session",
    summary="Log out",
    tags=["session"],
    status_code=204,
    responses=errors(400, 403, 421, 429),
)
async def logout() -> Response[None]:
    """Forget the cookie."""
    response: Response[None] = Response(None, status_code=204)
    response.delete_cookie(COOKIE, path="/")
    return response


@get(["/", "/{path:path}"], include_in_schema=False)
async def page(
    services: NamedDependency[Services], request: Request[Any, Any, Any], path: FromPath[str] = ""
) -> Response[bytes | None]:
    """Files of the page."""
    found = services.pages.find(path)
    if found is None:
        raise Problem(404, f"there is no {request.url.path[:200]}")
    headers = {"ETag": found.etag, "Cache-Control": found.cache}
    if found.etag in (part.strip() for part in request.headers.get("if-none-match", "").split(",")):
        return Response(None, status_code=304, headers=headers)
    return Response(found.data, media_type=found.media_type, headers=headers)


ROUTES: Final = (status, health, metrics, restart, resync, login, logout, page)
