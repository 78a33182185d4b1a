"""Routes that read the store: history, coverage, gaps, and a past book."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from tickplant.client.book_request import Book
from tickplant.gateway.answers import (
    CoverageAnswer,
    CoverageDay,
    GapCount,
    GapRow,
    GapsPage,
    HistoryPage,
    Raw,
    Streamed,
)
from tickplant.gateway.documented import SYMBOL, VENUE, answers
from tickplant.gateway.history_text import ARROW, encoded, form_of
from tickplant.gateway.problems import Problem, bad
from tickplant.gateway.services import Services
from tickplant.instruments import FEED_SYMBOL
from tickplant.records.channels import ALL_STREAMS, streams_of
from tickplant.store.coverage import CAUSES, CoverageRow
from tickplant.store.pages import Page, Places, Question, cursor_text, parse_cursor
from tickplant.store.reader import Store
from tickplant.store.stored_books import plain_book
from tickplant.times import format_time, parse_time

MAX_ROWS: Final = 100_000
BLOCK_ROWS: Final = 1 << 14
"""Minimum of rows in a part, except the last: larger chunks are not joined, which would copy them."""
PAGE_ROWS: Final = 1_000

TIME: Final = "RFC 3339, a date, or nanoseconds since the epoch"
Table = Literal["ticks", "trades", "quotes", "levels", "orders", "gaps", "bbo", "bars", "values", "trade_bars"]
Start = Annotated[str | None, QueryParameter(description=f"first time, included: {TIME}")]
End = Annotated[str | None, QueryParameter(description=f"last time, excluded: {TIME}")]
Limit = Annotated[int, QueryParameter(ge=0, le=MAX_ROWS, description="rows of a page; 0: all, as one stream")]
After = Annotated[str | None, QueryParameter(description="where the page before ended: its `next`")]

Work = Callable[[Store], Any]


@get(
    "/api/v1/history/{table:str}",
    summary="Stored rows of a table",
    tags=["history"],
    responses=answers(HistoryPage, "a page of rows", "history"),
)
async def history(
    services: NamedDependency[Services],
    request: Request[Any, Any, Any],
    table: Annotated[Table, PathParameter(description="which rows")],
    venue: VENUE,
    symbol: SYMBOL,
    start: Start = None,
    end: End = None,
    clock: Annotated[Literal["recv", "event"], QueryParameter(description="of the range")] = "recv",
    limit: Limit = PAGE_ROWS,
    after: After = None,
    newest: Annotated[bool, QueryParameter(description="the last rows of the range instead of its first ones")] = False,
    interval_s: Annotated[int | None, QueryParameter(ge=1, le=86_400, description="length of bars, seconds")] = None,
    series: Annotated[
        str | None, QueryParameter(description="of values and bars of trades: its name, as rsi-14.1m", max_length=128)
    ] = None,
    where: Annotated[
        str | None, QueryParameter(description="a predicate over the columns, such as price > 60000", max_length=4096)
    ] = None,
    columns: Annotated[str | None, QueryParameter(description="names, separated by commas", max_length=1024)] = None,
    prices: Annotated[
        Literal["decimal", "float", "integer"], QueryParameter(description="how Arrow carries prices and sizes")
    ] = "decimal",
) -> Response[Any]:
    """Rows of one instrument, oldest first. The header Accept chooses JSON, JSON lines, CSV or an Arrow stream."""
    form = form_of(request.headers.get("accept", ""))
    places = _places(after)
    if newest and (after is not None or not limit):
        raise bad("newest", "goes neither with after nor with limit=0")
    wanted = [f"({where})"] if where else []
    for name, value, about in (("interval_s", interval_s, ("bars",)), ("series", series, ("values", "trade_bars"))):
        if value is not None and table not in about:
            raise bad(name, f"is about {' and '.join(about)}")
        if value is not None:
            wanted.append(f"{name} = {value}")
    how: dict[str, Any] = {
        "start_ns": _time("start", start),
        "end_ns": _time("end", end),
        "clock": clock,
        "where": " and ".join(wanted) or None,
        "columns": None if columns is None else [name.strip() for name in columns.split(",")],
        "prices": prices if form == ARROW else "decimal",
    }

    def ask(store: Store) -> Question:
        if series is not None:
            _check_series(store, series)
        return Question(store, table, venue, symbol, **how)

    fingerprint = await services.readers.read(lambda store: ask(store).fingerprint(places))
    etag = _etag(form, request.url.query, fingerprint)
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Accept"}
    if etag in (part.strip() for part in request.headers.get("if-none-match", "").split(",")):
        return Response(None, status_code=304, headers=headers)
    if not limit:
        parts = services.readers.stream(lambda store: _whole(ask(store), form, places))
        return Raw(Streamed(parts, form, stalled_s=services.config.stalled_s, headers=headers))

    def work(store: Store) -> tuple[bytes, Page]:
        question = ask(store)
        page = question.newest(limit) if newest else question.page(limit, places)
        return b"".join(encoded(form, question.rows(), page.blocks, page.after)), page

    body, page = await services.readers.read(work)
    if page.after is not None and not newest:
        headers["Link"] = f'<{_next_url(request, cursor_text(page.after))}>; rel="next"'
    return Response(body, media_type=form, headers=headers)


def _check_series(store: Store, name: str) -> None:
    store.series.reload()
    if name not in store.series.names:
        raise bad("series", store.series.unknown(name))


def _whole(question: Question, form: str, after: Places) -> Iterator[bytes]:
    rows = question.rows(after)
    return encoded(form, rows, rows.blocks(rows.columns, rows=BLOCK_ROWS), None)


@get(
    "/api/v1/coverage",
    summary="What is stored of each symbol and day",
    tags=["history"],
    responses=answers(CoverageAnswer, "days", "coverage"),
)
async def coverage(
    services: NamedDependency[Services],
    venue: Annotated[str, QueryParameter(description="only this venue", max_length=128)] = "",
    symbol: Annotated[str, QueryParameter(description="only this symbol", max_length=128)] = "",
    start: Start = None,
    end: End = None,
) -> CoverageAnswer:
    """Each symbol and day: complete, which gaps by cause, or missing."""
    start_ns, end_ns = _time("start", start), _time("end", end)
    rows = await services.readers.read(lambda store: store.coverage(venue, symbol, start_ns=start_ns, end_ns=end_ns))
    return CoverageAnswer([_day(row) for row in rows])


def _day(row: CoverageRow) -> CoverageDay:
    gaps = [
        GapCount(gap.cause, gap.stream, gap.gaps, gap.missing, gap.unknown, _seconds(gap.length_ns)) for gap in row.gaps
    ]
    first, last = (format_time(at) if at else None for at in (row.first_ns, row.last_ns))
    return CoverageDay(row.venue, row.symbol, row.day, row.state, row.records, first, last, gaps)


def _seconds(length_ns: int) -> str:
    """Seconds with nine decimals, as text: a float loses nanoseconds beyond a hundred days."""
    return f"{length_ns // 10**9}.{length_ns % 10**9:09d}"


@get(
    "/api/v1/gaps",
    summary="Each gap, in words",
    tags=["history"],
    responses=answers(GapsPage, "a page of gaps", "gaps"),
)
async def gaps(
    services: NamedDependency[Services],
    venue: VENUE,
    symbol: SYMBOL,
    start: Start = None,
    end: End = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_ROWS, description="gaps of a page")] = PAGE_ROWS,
    after: After = None,
) -> GapsPage:
    """What is missing of an instrument: when, of which streams, how much, and why."""
    places = _places(after)
    start_ns, end_ns = _time("start", start), _time("end", end)

    def work(store: Store) -> GapsPage:
        page = Question(store, "gaps", venue, symbol, start_ns=start_ns, end_ns=end_ns).page(limit, places)
        found = [_gap(venue, symbol, row) for block in page.blocks for row in _rows_of(block)]
        return GapsPage(found, None if page.after is None else cursor_text(page.after))

    return await services.readers.read(work)


_GAP_FIELDS: Final = ("ts_recv", "ts_event", "price", "flags", "size", "order_id", "venue_seq", "seq")


def _rows_of(block: Any) -> Iterator[tuple[int, ...]]:
    return zip(*(block[name].tolist() for name in _GAP_FIELDS), strict=True)


def _gap(venue: str, symbol: str, row: tuple[int, ...]) -> GapRow:
    recv, event, cause, flags, size, last_id, next_id, seq = row
    return GapRow(
        venue=venue,
        symbol=symbol,
        ts_recv=format_time(recv),
        ts_event=format_time(event) if event else None,
        cause=CAUSES.get(cause, str(cause)),
        streams=streams_of(flags & int(ALL_STREAMS)),
        missing=size if size >= 0 else None,
        last_id=str(last_id),
        next_id=str(next_id),
        seq=seq,
    )


async def book_at(services: Services, venue: str, symbol: str, at: str, *, orders: bool) -> Book:
    """A book from the store. Raises Problem, StoreError."""
    at_ns = _time("at", at)
    if symbol == FEED_SYMBOL:
        raise Problem(404, f"nothing is stored of {venue} {symbol}")

    def work(store: Store) -> Book:
        return plain_book(store.book(venue, symbol, at_ns or 0, orders=orders))

    found = await services.readers.read(work)
    if orders and (found.bid_orders is None or found.ask_orders is None):
        raise Problem(404, f"no book of orders of {venue} {symbol} had begun by then")
    return found


def _time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError as error:
        raise bad(name, str(error)) from None


def _places(after: str | None) -> Places:
    try:
        return parse_cursor(after or "")
    except ValueError as error:
        raise bad("after", str(error)) from None


def _etag(form: str, query: str, fingerprint: bytes) -> str:
    digest = blake2b(fingerprint, digest_size=12, key=form.encode()[:64])
    digest.update(query.encode())
    return f'"{base64.urlsafe_b64encode(digest.digest()).decode()}"'


def _next_url(request: Request[Any, Any, Any], cursor: str) -> str:
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "after"]
    return f"{request.url.path}?{urlencode([*kept, ('after', cursor)])}"


ROUTES: Final = (history, coverage, gaps)
