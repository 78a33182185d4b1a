"""Whom a gateway lets in, to what, and how often: scopes, tokens, log-in, origins, names."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from asked_gateway import run
from gateway_app import App
from small_store import make_store

from tickplant.errors import ConfigError
from tickplant.gateway.admission import Tokens, needed_scope
from tickplant.gateway.gateway_process import tokens_of
from tickplant.runtime import credentials, redaction
from tickplant.runtime.config import GatewayConfig
from tickplant.runtime.control import Resync
from tickplant.runtime.job_specs import GatewaySpec, Plant

AAA = "venue=venue&symbol=AAA"
TOKENS = Tokens([{"read": "reader", "history": "reader"}, {"admin": "boss", "read": "boss"}, {"other": "nothing"}])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("gateway") / "data")


def test_each_route_needs_its_scope(tmp_path: Path, data: Path) -> None:
    async def test(app: App, _: httpx.AsyncClient) -> None:
        asked = {
            "/api/v1/status": "read",
            "/metrics": "read",
            "/api/v1/topics": "read",
            f"/api/v1/history/trades?{AAA}": "history",
            "/api/v1/coverage": "history",
            f"/api/v1/gaps?{AAA}": "history",
        }
        allowed = {"": set(), "reader": {"read", "history"}, "boss": {"admin", "read"}, "nothing": set(), "x": set()}
        for token, scopes in allowed.items():
            async with app.client(token) as client:
                for url, scope in asked.items():
                    answer = await client.get(url)
                    expected = 200 if scope in scopes else 403 if scopes else 401
                    assert answer.status_code == expected, (token, url, answer.text)
                order = await client.post("/api/v1/admin/resync", json={"feed": "feed"})
                assert order.status_code == (202 if "admin" in scopes else 403 if scopes else 401)
                at = await client.get(f"/api/v1/book?{AAA}&at=2024-01-01")
                assert at.status_code == (200 if "history" in scopes else 403 if scopes else 401)
                assert (await client.get("/")).status_code == 200
                assert (await client.get("/healthz")).status_code == 200
        assert app.supervisor.orders == [Resync("feed", "")]

    run(test, tmp_path, data, tokens=TOKENS)


def test_tokens_are_those_of_the_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tickplant" / "credentials"
    folder.mkdir(parents=True)
    for name, text in (("desk", 'read = "a"\nhistory = "a"\n'), ("wrong", 'token = "b"\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(credentials, "protect", lambda: None)  # for the life of this process
    monkeypatch.setattr(redaction, "register", lambda _: None)

    def spec(*tokens: str, **secrets: dict[str, str]) -> GatewaySpec:
        place = Plant(data_dir="", run_dir="", control="")
        config = GatewayConfig(tokens=tokens)
        return GatewaySpec(name="web", plant=place, config=config, engines=[], base="", secrets=secrets)

    tokens = tokens_of(spec("desk", "ops", ops={"admin": "c"}))
    assert [tokens.scopes_of(word) for word in "abc"] == [{"read", "history"}, set(), {"admin"}]
    with pytest.raises(ConfigError, match='credential "wrong" has the key token: its keys are scopes'):
        tokens_of(spec("wrong"))


def test_a_path_that_nobody_listed_needs_a_scope() -> None:
    assert needed_scope("/api/v1/whatever") == "read"
    assert needed_scope("/api/v1/admin/whatever") == "admin"


def test_without_tokens_nobody_is_an_admin_and_no_order_goes_by_get(tmp_path: Path, data: Path) -> None:
    async def test(app: App, client: httpx.AsyncClient) -> None:
        assert (await client.post("/api/v1/admin/restart", json={"name": "feed"})).status_code == 403
        assert (await client.get("/api/v1/admin/restart?name=feed")).status_code in (403, 405)
        async with app.client("boss") as boss:
            assert (await boss.get("/api/v1/admin/restart?name=feed")).status_code in (401, 405)
        assert app.supervisor.orders == []

    run(test, tmp_path, data)


def test_orders_of_an_admin(tmp_path: Path, data: Path) -> None:
    async def test(app: App, _: httpx.AsyncClient) -> None:
        async with app.client("boss") as client:
            refused = await client.post("/api/v1/admin/restart", json={"name": "nobody"})
            assert (refused.status_code, "running: feed" in refused.text) == (409, True)
            for body in ({"nam": "feed"}, {"name": 5}, [], "x"):
                assert (await client.post("/api/v1/admin/restart", json=body)).status_code == 400
            big = await client.post("/api/v1/admin/restart", json={"name": "x" * 100_000})
            assert big.status_code == 413
            wrong = await client.get("/api/v1/admin/restart")
            assert (wrong.status_code, wrong.headers["allow"]) == (405, "OPTIONS, POST")

    run(test, tmp_path, data, tokens=TOKENS)


def test_a_page_logs_in_with_a_cookie_that_scripts_and_other_sites_do_not_have(tmp_path: Path, data: Path) -> None:
    async def test(app: App, client: httpx.AsyncClient) -> None:
        assert (await client.post("/api/v1/session", json={"token": "wrong"})).status_code == 401
        answer = await client.post("/api/v1/session", json={"token": "reader"})
        assert answer.json() == {"scopes": ["history", "read"]}
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await client.get("/api/v1/status")).status_code == 200
        assert (await client.delete("/api/v1/session")).status_code == 204
        assert (await client.get("/api/v1/status")).status_code == 401
        del app

    run(test, tmp_path, data, tokens=TOKENS)


def test_headers_that_protect_stand_on_every_answer(tmp_path: Path, data: Path) -> None:
    async def test(_: App, client: httpx.AsyncClient) -> None:
        for url in ("/", "/docs", "/api/v1/status", "/nothing", f"/api/v1/history/trades?{AAA}", "/api/v1/book"):
            headers = (await client.get(url)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in headers

    run(test, tmp_path, data)


def test_other_origins_read_only_what_they_are_named_for(tmp_path: Path, data: Path) -> None:
    async def test(_: App, client: httpx.AsyncClient) -> None:
        for origin, allowed in (("https://desk.example", True), ("https://evil.example", False)):
            answer = await client.get("/api/v1/status", headers={"origin": origin})
            assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
            preflight = await client.options("/api/v1/status", headers={"origin": origin})
            assert ("access-control-allow-methods" in preflight.headers) is allowed
            login = await client.post("/api/v1/session", json={"token": "x"}, headers={"origin": origin})
            assert login.status_code == (401 if allowed else 403)

    run(test, tmp_path, data, cors_origins=("https://desk.example",))


def test_a_name_that_is_not_ours_is_refused(tmp_path: Path, data: Path) -> None:
    async def test(_: App, client: httpx.AsyncClient) -> None:
        for host, status in (
            ("127.0.0.1:8088", 200),
            ("localhost", 200),
            ("[::1]:8088", 200),
            ("desk.example:8088", 200),
            ("evil.example", 421),
            ("192.0.2.7", 421),
            ("", 421),
        ):
            assert (await client.get("/api/v1/status", headers={"host": host})).status_code == status, host

    run(test, tmp_path, data, hosts=("desk.example",))


def test_an_address_that_asks_too_often_is_told_when_to_come_again(tmp_path: Path, data: Path) -> None:
    async def test(app: App, client: httpx.AsyncClient) -> None:
        answers = [await client.get("/healthz") for _ in range(30)]
        assert [answer.status_code for answer in answers[:4]] == [200] * 4
        # Which of them is refused is a matter of how long they take.
        refused = next(answer for answer in answers if answer.status_code != 200)
        assert (refused.status_code, int(refused.headers["retry-after"]) >= 1) == (429, True)
        assert app.asgi.refused > 0

    run(test, tmp_path, data, requests_per_s=1.0)
