"""A gateway's routes, asked in this process: what they answer, and what they refuse."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from asked_gateway import run
from gateway_app import App
from small_store import make_store

from tickplant.gateway.history_text import LONG
from tickplant.gateway.metric_catalogue import METRICS
from tickplant.gateway.problems import MEDIA_TYPE
from tickplant.store.reader import Store

AAA = "venue=venue&symbol=AAA"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("gateway") / "data")


def rows_of(data_dir: Path, table: str, symbol: str = "AAA", **how: Any) -> list[dict[str, Any]]:
    """What the store itself writes as JSON lines, with the long numbers as text."""
    file = io.BytesIO()
    getattr(Store(data_dir), table)("venue", symbol, **how).write_text(file, "jsonl")
    rows = [json.loads(line) for line in file.getvalue().splitlines()]
    return [{name: str(v) if name in LONG and v is not None else v for name, v in row.items()} for row in rows]


@pytest.mark.parametrize("table", ["ticks", "trades", "quotes", "levels", "bbo", "bars", "values", "trade_bars"])
def test_pages_of_history_join_to_all_rows(tmp_path: Path, data: Path, table: str) -> None:
    async def test(_: App, client: httpx.AsyncClient) -> None:
        expected = rows_of(data, table)
        found: list[dict[str, Any]] = []
        url: str | None = f"/api/v1/history/{table}?{AAA}&limit=37"
        while url:
            answer = await client.get(url)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            assert len(page["data"]) == 37 or page["next"] is None
            found += page["data"]
            link = answer.links.get("next")
            assert (link is None) == (page["next"] is None)
            url = link["url"] if link else None
        assert found == expected
        assert len(found) > 20

    run(test, tmp_path, data)


def test_the_forms_of_an_answer_hold_the_same_rows(tmp_path: Path, data: Path) -> None:
    async def test(_: App, client: httpx.AsyncClient) -> None:
        expected = rows_of(data, "trades")
        for limit in (1000, 0):
            url = f"/api/v1/history/trades?{AAA}&limit={limit}"
            found = {}
            for form in ("application/json", "application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream"):
                answer = await client.get(url, headers={"accept": form})
                assert answer.headers["content-type"].startswith(form)
                found[form] = answer.content
            assert json.loads(found["application/json"]) == {"data": expected, "next": None}
            assert [json.loads(line) for line in found["application/x-ndjson"].splitlines()] == expected
            lines = list(csv.DictReader(io.StringIO(found["text/csv"].decode())))
            assert [line["price"] for line in lines] == [row["price"] for row in expected]
            table = pa.ipc.open_stream(found["application/vnd.apache.arrow.stream"]).read_all()
            assert table.equals(Store(data).trades("venue", "AAA").arrow())

    run(test, tmp_path, data)


def test_the_newest_rows_are_the_last_ones_of_the_range(tmp_path: Path, data: Path) -> None:
    async def test(_: App, client: httpx.AsyncClient) -> None:
        for table, only in (("trades", ""), ("bars", "interval_s = 1"), ("values", "series = rsi-14.1m")):
            expected = rows_of(data, table, where=only or None)
            more = f"&{only.replace(' ', '')}"
            assert len(expected) > 5
            answer = await client.get(f"/api/v1/history/{table}?{AAA}&newest=true&limit=9{more}")
            assert answer.json()["data"] == expected[-9:]
            first = answer.json()["data"][0]["ts_recv"]
            before = await client.get(f"/api/v1/history/{table}?{AAA}&newest=true&limit=9{more}&end={first}")
            assert before.json()["data"] == [row for row in expected if row["ts_recv"] < first][-9:]

    run(test, tmp_path, data)


def test_rows_that_have_not_changed_are_not_sent_again(tmp_path: Path, data: Path) -> None:
    async def test(_: App, client: httpx.AsyncClient) -> None:
        url = f"/api/v1/history/trades?{AAA}"
        first = await client.get(url)
        again = await client.get(url, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        other = await client.get(f"{url}&limit=5", headers={"if-none-match": first.headers["etag"]})
        assert other.status_code == 200
        as_csv = {"accept": "text/csv", "if-none-match": first.headers["etag"]}
        assert (await client.get(url, headers=as_csv)).status_code == 200

    run(test, tmp_path, data)


@pytest.mark.parametrize(
    ("url", "status", "parameter"),
    [
        (f"/api/v1/history/trades?{AAA}&start=yesterday", 400, "start"),
        (f"/api/v1/history/trades?{AAA}&limit=-1", 400, "limit"),
        (f"/api/v1/history/trades?{AAA}&limit=many", 400, "limit"),
        (f"/api/v1/history/trades?{AAA}&after=x", 400, "after"),
        (f"/api/v1/history/trades?{AAA}&interval_s=1", 400, "interval_s"),
        (f"/api/v1/history/bars?{AAA}&series=rsi-14.1m", 400, "series"),
        (f"/api/v1/history/values?{AAA}&series=rsi", 400, "series"),
        (f"/api/v1/history/trades?{AAA}&newest=true&after=feed:1", 400, "newest"),
        (f"/api/v1/history/trades?{AAA}&colums=seq", 400, "colums"),
        (f"/api/v1/history/trades?{AAA}&columns=nothing", 400, None),
        (f"/api/v1/history/trades?{AAA}&where=price+>>+1", 400, None),
        (f"/api/v1/history/nothing?{AAA}", 400, "table"),
        ("/api/v1/history/trades?venue=venue", 400, "symbol"),
        ("/api/v1/history/trades?venue=venue&symbol=ZZZ", 404, None),
        (f"/api/v1/book?{AAA}&depth=0", 400, "depth"),
        (f"/api/v1/book?{AAA}", 404, None),
        (f"/api/v1/book?{AAA}&at=2023-11-14T22:13:20Z&orders=true", 404, None),
        ("/api/v1/book?venue=ve.nue&symbol=A", 400, "symbol"),
        ("/api/v1/stream", 400, "topics"),
        ("/api/v1/stream?topics=venue&conflate_ms=1", 400, "conflate_ms"),
        ("/api/v1/stream?topics=venue&after=!", 400, "after"),
        ("/api/v1/stream?topics=" + "*a" * 9, 400, "topics"),
        ("/api/v1/nothing", 404, None),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong(
    tmp_path: Path, data: Path, url: str, status: int, parameter: str | None
) -> None:
    async def test(_: App, client: httpx.AsyncClient) -> None:
        answer = await client.get(url)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == MEDIA_TYPE
        problem = answer.json()
        assert problem["status"] == status
        assert problem.get("parameter") == parameter
        assert str(data) not in answer.text

    run(test, tmp_path, data)


def test_what_no_form_fits_is_refused(tmp_path: Path, data: Path) -> None:
    async def test(_: App, client: httpx.AsyncClient) -> None:
        answer = await client.get(f"/api/v1/history/trades?{AAA}", headers={"accept": "image/png"})
        assert answer.status_code == 406

    run(test, tmp_path, data)


def test_instruments_topics_and_books(tmp_path: Path, data: Path) -> None:
    async def test(app: App, client: httpx.AsyncClient) -> None:
        app.engine.clear(1, {100: 5, 99: 7})
        topics = (await client.get("/api/v1/topics?topics=venue.S1")).json()["topics"]
        assert [(one["topic"], one["next_seq"]) for one in topics] == [("venue.S1.book", 3)]
        instruments = (await client.get("/api/v1/instruments?search=bb")).json()["instruments"]
        assert [(one["symbol"], one["live"]) for one in instruments] == [("BBB", False)]
        live = (await client.get("/api/v1/instruments?search=s1")).json()["instruments"]
        assert [(one["symbol"], one["channels"]) for one in live] == [("S1", ["book"])]
        book = (await client.get("/api/v1/book?venue=venue&symbol=S1&depth=1")).json()
        assert book["bids"] == [["1.00", "0.005"]]
        assert (book["topic_seq"], book["stale"]) == (3, False)

    run(test, tmp_path, data)


def test_a_book_as_it_was_is_that_of_the_store(tmp_path: Path, data: Path) -> None:
    async def test(_: App, client: httpx.AsyncClient) -> None:
        rows = rows_of(data, "levels")
        at = rows[len(rows) // 2]["ts_recv"]
        answer = (await client.get(f"/api/v1/book?{AAA}&at={at}&depth=5")).json()
        from tickplant.store.stored_books import plain_book
        from tickplant.times import parse_time

        expected = plain_book(Store(data).book("venue", "AAA", parse_time(at))).shown(5)
        assert json.loads(json.dumps(expected)) == {k: v for k, v in answer.items() if k not in ("topic_seq", "epoch")}

    run(test, tmp_path, data)


def test_coverage_and_gaps(tmp_path: Path, data: Path) -> None:
    async def test(_: App, client: httpx.AsyncClient) -> None:
        days = (await client.get("/api/v1/coverage?venue=venue")).json()["coverage"]
        assert {(day["symbol"], day["day"]) for day in days} >= {("AAA", "2023-11-14")}
        assert all(day["state"] in ("complete", "gaps") for day in days)
        assert (await client.get(f"/api/v1/gaps?{AAA}")).json() == {"gaps": [], "next": None}

    run(test, tmp_path, data)


def test_metrics_have_help_type_and_unique_samples(tmp_path: Path, data: Path) -> None:
    async def test(app: App, client: httpx.AsyncClient) -> None:
        app.engine.trade(1, 5)
        text = (await client.get("/metrics")).text
        samples = [line for line in text.splitlines() if not line.startswith("#")]
        assert len({line.rpartition(" ")[0] for line in samples}) == len(samples)
        for line in samples:
            name, _, number = line.rpartition(" ")
            float(number)
            family = name.partition("{")[0]
            base = next(
                (family.removesuffix(end) for end in ("_bucket", "_sum", "_count") if family.endswith(end)), family
            )
            assert f"# TYPE {family} " in text or f"# TYPE {base} histogram" in text
        assert 'tickplant_feed_gaps_by_cause_total{process="feed",cause="sequence"} 3' in samples
        assert 'tickplant_ring_lost_records_total{producer="feed",schema="tick",reader="engine"} 2' in samples
        assert 'tickplant_topic_records_total{venue="venue",symbol="S1",channel="trade"} 1' in samples
        assert 'tickplant_symbol_age_seconds{venue="venue",symbol="S1"} 0.0' in samples
        assert 'tickplant_feed_clock_offset_seconds{process="feed",venue="binance"} 0.25' in samples
        assert 'tickplant_ring_lag_high_water_records{producer="feed",schema="tick",reader="writer"} 9' in samples
        stage = 'tickplant_stage_venue_seconds{}{{process="feed"{}}} {}'
        assert [line for line in samples if line.startswith("tickplant_stage_venue")] == [
            stage.format("_bucket", ',le="0.0001"', 2),
            stage.format("_bucket", ',le="10.0"', 3),
            stage.format("_bucket", ',le="+Inf"', 4),
            stage.format("_sum", "", 31.5),
            stage.format("_count", "", 4),
        ]
        assert re.findall(r"^# TYPE tickplant_(\w+)", text, re.MULTILINE) == list(METRICS)

    run(test, tmp_path, data)


def test_a_supervisor_that_hangs_costs_the_metrics_only_its_own(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    async def test(app: App, client: httpx.AsyncClient) -> None:
        app.engine.trade(1, 5)
        monkeypatch.setattr(app.supervisor, "status", hang)
        text = (await client.get("/metrics")).text
        assert "\ntickplant_supervisor_up 0\n" in text
        assert 'tickplant_topic_records_total{venue="venue",symbol="S1",channel="trade"} 1' in text
        assert not re.search(r"^tickplant_(process|ring|feed)_\w+\{", text, re.MULTILINE)

    run(test, tmp_path, data)


def test_the_document_and_its_page_name_every_route(tmp_path: Path, data: Path) -> None:
    async def test(_: App, client: httpx.AsyncClient) -> None:
        document = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")
        assert "http" not in page.text.replace("http://127.0.0.1", "").split("<h2>Problems")[0].split("<main>")[0]
        for path, item in document["paths"].items():
            assert path in page.text
            for operation in item.values():
                assert operation["summary"]
        assert {"/api/v1/stream", "/api/v1/history/{table}", "/metrics"} <= document["paths"].keys()
        assert (await client.get("/docs/style.css")).headers["content-type"].startswith("text/css")
        assert (await client.get("/schema/openapi.json")).status_code == 404

    run(test, tmp_path, data)


def test_the_page_is_served_with_an_etag(tmp_path: Path, data: Path) -> None:
    async def test(_: App, client: httpx.AsyncClient) -> None:
        page = await client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        again = await client.get("/", headers={"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.get("/../pyproject.toml")).status_code == 404
        assert (await client.get("/%2e%2e/pyproject.toml")).status_code == 404

    run(test, tmp_path, data)


def test_a_stream_of_too_many_topics_ends_with_the_reason(tmp_path: Path, data: Path) -> None:
    async def test(app: App, client: httpx.AsyncClient) -> None:
        app.engine.trade(1, 5)
        app.engine.trade(2, 5)
        answer = await client.get("/api/v1/stream?topics=venue")
        assert "event: error" in answer.text
        assert "topics_per_stream" in answer.text
        assert not app.services.hub.streams

    run(test, tmp_path, data, topics_per_stream=1)


def test_more_downloads_than_allowed_are_refused(tmp_path: Path, data: Path) -> None:
    async def test(app: App, client: httpx.AsyncClient) -> None:
        app.services.readers.busy = 1
        answer = await client.get(f"/api/v1/history/trades?{AAA}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        app.services.readers.busy = 0
        assert (await client.get(f"/api/v1/history/trades?{AAA}")).status_code == 200

    run(test, tmp_path, data, downloads=1)
