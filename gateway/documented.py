"""The OpenAPI texts for parameters, errors and answers, and the document itself."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import QueryParameter

from tickplant.gateway.answers import ProblemBody
from tickplant.gateway.history_text import FORMS, JSON
from tickplant.gateway.problems import MEDIA_TYPE, TITLES

VENUE = Annotated[str, QueryParameter(description="as configured, such as binance", min_length=1, max_length=128)]
SYMBOL = Annotated[
    str, QueryParameter(description="as the venue has it, such as BTCUSDT", min_length=1, max_length=128)
]

_EXPLAINED: Final = {
    400: "a parameter is missing, unknown or cannot be understood; `parameter` names it",
    401: "a token is needed, or this one is not known",
    403: "the token does not have the scope, or a page of another site has asked",
    404: "there is nothing of that name",
    405: "the route has other methods",
    406: "the answer cannot be given in the form asked for",
    409: "the supervisor refuses",
    413: "the request is too large",
    421: "the name of the host is not one of this gateway's",
    429: "too many requests of this address; Retry-After says when to come again",
    503: "the engine, the supervisor or the readers of the store do not answer now",
}

PROBLEM: Final = {
    "type": "/docs#bad-parameter",
    "title": "Bad parameter",
    "status": 400,
    "detail": "depth: expected an integer of at least 1",
    "parameter": "depth",
}


def errors(*codes: int) -> dict[int, ResponseSpec]:
    """Responses with these codes."""
    return {code: ResponseSpec(ProblemBody, media_type=MEDIA_TYPE, description=_EXPLAINED[code]) for code in codes}


def answers(shape: Any, description: str, example: str) -> dict[int, ResponseSpec]:
    """The answer of a reading route, with an example, and the errors that all such routes share."""
    return {200: ResponseSpec(shape, description=description, examples=examples(example)), **ERRORS}


ERRORS: Final = errors(400, 401, 403, 404, 406, 421, 429, 503)

_TRADE: Final = {
    "ts_event": "2026-03-01T00:00:00.123000000Z",
    "ts_recv": "2026-03-01T00:00:00.125000001Z",
    "venue": "binance",
    "symbol": "BTCUSDT",
    "kind": "trade",
    "side": "sell",
    "price": "64000.10",
    "size": "0.005",
    "venue_seq": "5000000001",
    "order_id": "0",
    "flags": 1,
    "seq": 4711,
}
_EXAMPLES: Final[dict[str, Any]] = {
    "history": {"data": [_TRADE], "next": "binance:4712"},
    "coverage": {
        "coverage": [
            {
                "venue": "binance",
                "symbol": "BTCUSDT",
                "day": "2026-03-01",
                "state": "gaps",
                "records": 1200345,
                "first": "2026-03-01T00:00:00.125000001Z",
                "last": "2026-03-01T23:59:59.998000000Z",
                "gaps": [
                    {
                        "cause": "disconnect",
                        "stream": "trade+book",
                        "gaps": 2,
                        "missing": 17,
                        "unknown": 1,
                        "length_s": "3.250000000",
                    }
                ],
            }
        ]
    },
    "gaps": {
        "gaps": [
            {
                "venue": "binance",
                "symbol": "BTCUSDT",
                "ts_recv": "2026-03-01T10:00:00.000000000Z",
                "ts_event": None,
                "cause": "sequence",
                "streams": ["trade"],
                "missing": 3,
                "last_id": "5000000001",
                "next_id": "5000000005",
                "seq": 99120,
            }
        ],
        "next": None,
    },
    "instruments": {
        "instruments": [
            {
                "venue": "binance",
                "symbol": "BTCUSDT",
                "ids": [1],
                "price_scale": 8,
                "size_scale": 8,
                "channels": ["bar_1m", "bar_1s", "bbo", "book", "quote", "trade"],
                "live": True,
            }
        ]
    },
    "topics": {
        "topics": [
            {
                "topic": "binance.BTCUSDT.trade",
                "venue": "binance",
                "symbol": "BTCUSDT",
                "channel": "trade",
                "epoch": 1767225600000000,
                "next_seq": 4711,
            }
        ]
    },
    "book": {
        "venue": "binance",
        "symbol": "BTCUSDT",
        "ts_event": "2026-03-01T11:59:59.987000000Z",
        "ts_recv": "2026-03-01T11:59:59.990123456Z",
        "stale": False,
        "topic_seq": 8123,
        "epoch": 1767225600000000,
        "bids": [["64000.10", "0.500"]],
        "asks": [["64000.20", "1.250"]],
    },
}


def examples(name: str) -> list[Example]:
    """The example of an answer."""
    return [Example(summary=name, value=_EXAMPLES[name])]


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """Litestar's document, with what Litestar cannot express: other forms of an answer, one without a body."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            answers = operation["responses"]
            if path == "/api/v1/history/{table}":
                shown = answers["200"]["content"].pop(JSON)
                text = {"schema": {"type": "string"}}
                answers["200"]["content"] = {form: shown if form == JSON else text for form in FORMS}
                answers["304"] = {"description": "the rows are those that If-None-Match names"}
            if path == "/api/v1/stream":
                answers["200"]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
            answers.setdefault("405", {"description": TITLES[405]})
            if "204" in answers:
                answers["204"].pop("content", None)
            operation["operationId"] = _name(method, path)
    document["x-problems"] = {TITLES[code]: about for code, about in _EXPLAINED.items()}
    return document


def _name(method: str, path: str) -> str:
    words = [word.strip("{}") for word in path.split("/") if word and word not in ("api", "v1")]
    return "_".join([method, *words]).replace(".", "_")
