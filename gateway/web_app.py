"""The application: routes, errors, their document, and the outermost layer."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from tickplant.gateway import live_routes, plant_routes, stored_routes, stream_routes
from tickplant.gateway.admission import Admission, Tokens
from tickplant.gateway.docs_page import STYLE, docs_page
from tickplant.gateway.documented import completed
from tickplant.gateway.problems import answer, bad
from tickplant.gateway.services import Services

ABOUT: Final = "What a tickplant records: live, as it was, and whether anything is missing."

_OTHERS: Final = {"services", "request", "data", "path", "table", "last_event_id"}
"""Parameters of handlers that are not in the query."""


def make_app(services: Services, tokens: Tokens) -> Admission:
    """The ASGI application of a gateway."""
    documents: dict[str, bytes] = {}

    def document() -> None:
        if not documents:
            made = completed(app.openapi_schema.to_schema())
            documents["json"] = msgspec.json.encode(made)
            documents["page"] = docs_page(made)

    @get("/openapi.json", include_in_schema=False, sync_to_thread=False)
    def openapi() -> Response[bytes]:
        """The OpenAPI document."""
        document()
        return Response(documents["json"], media_type="application/json")

    @get("/docs", include_in_schema=False, sync_to_thread=False)
    def docs() -> Response[bytes]:
        """The document as a readable page."""
        document()
        return Response(documents["page"], media_type="text/html; charset=utf-8")

    @get("/docs/style.css", include_in_schema=False, sync_to_thread=False)
    def style() -> Response[str]:
        """The style of that page."""
        return Response(STYLE, media_type="text/css; charset=utf-8")

    app = Litestar(
        route_handlers=[
            *stored_routes.ROUTES,
            *live_routes.ROUTES,
            *stream_routes.ROUTES,
            *plant_routes.ROUTES,
            openapi,
            docs,
            style,
        ],
        dependencies={"services": Provide(lambda: services, sync_to_thread=False)},
        exception_handlers={Exception: answer},
        before_request=_only_known,
        openapi_config=OpenAPIConfig(
            title="tickplant gateway",
            version=version("tickplant"),
            description=ABOUT,
            path="/schema",
            render_plugins=[JsonRenderPlugin()],
            use_handler_docstrings=True,
        ),
        request_max_body_size=services.config.body_kib << 10,
        logging_config=None,
        debug=False,
    )
    admission = Admission(app, services.config, tokens)
    services.admission.append(admission)
    return admission


def _only_known(request: Request[Any, Any, Any]) -> None:
    """Refuse parameters that a route does not have: a misspelt name must not be ignored. Raises Problem."""
    if not request.url.path.startswith("/api/"):
        return  # a page may have parameters of its own
    known = request.route_handler.parsed_fn_signature.parameters.keys() - _OTHERS
    for name in request.query_params:
        if name not in known:
            raise bad(name, f"is no parameter here; there are {', '.join(sorted(known)) or 'none'}")
