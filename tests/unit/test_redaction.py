"""Credentials are masked wherever a text of this process may hold them, and nothing else is changed."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tickplant.feeds.capture import Capture
from tickplant.feeds.contract import Answer, Reject, Request
from tickplant.feeds.rejects import RejectLog
from tickplant.runtime.child_process import TRACEBACKS
from tickplant.runtime.recorded_lines import Recording
from tickplant.runtime.redaction import MASK, is_secret_name, redact, redact_bytes, redact_url, redacting

NAMES = (
    "apiKey", "api_key", "APIKEY", "api-key", "X-MBX-APIKEY", "X-API-Key", "KC-API-SIGN", "OK-ACCESS-PASSPHRASE",
    "signature", "Signature", "token", "accessToken", "refresh_token", "secret", "client_secret", "secretKey",
    "password", "PASSWD", "passphrase", "listenKey", "Authorization", "credentials", "privateKey", "session_id",
    "key", "sig", "jwt",
)  # fmt: skip
HARMLESS = ("symbol", "s", "lastUpdateId", "timestamp", "monkey", "design", "signal", "keys", "TOKENUSDT", "passed")
LISTEN_KEY = "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"

names = st.sampled_from(NAMES)
values = st.text("abcdefXYZ0189", min_size=8, max_size=40).map(lambda text: f"v{text}9Z")


def mixed_case(name: str, upper: int) -> str:
    return "".join(letter.upper() if upper >> i & 1 else letter.lower() for i, letter in enumerate(name))


@given(names, values, st.integers(0, 1 << 20))
def test_a_parameter_of_a_url_is_masked_and_its_neighbours_stay(name: str, value: str, upper: int) -> None:
    if name not in ("accessToken", "secretKey", "privateKey"):  # words told apart by their capitals alone
        name = mixed_case(name, upper)
    url = f"https://api.example.com/api/v3/order?symbol=TOKENUSDT&{name}={value}&timestamp=1#top"
    assert redact_url(url) == url.replace(value, MASK)
    assert redact(f"failed: {url}, again in 2 s") == f"failed: {url.replace(value, MASK)}, again in 2 s"
    encoded = "".join(f"%{ord(letter):02x}" for letter in name)
    assert value not in redact(url.replace(f"{name}=", f"{encoded}="))
    assert value not in redact(f"https://example.com/login?next={quote(url, safe='')}&symbol=A")


@given(names, st.text(max_size=20).map(lambda text: f"qZ7{text}7Zq"), st.integers(0, 3))
def test_a_value_in_json_is_masked_however_deeply_it_is_nested(name: str, value: str, levels: int) -> None:
    def document(secret: object) -> str:
        text = json.dumps({"symbol": "TOKENUSDT", "inner": [{name: secret, "price": "1.50"}], "last": 3})
        for _ in range(levels):
            text = json.dumps({"data": text, "id": 1})
        return text

    expected = document(MASK)
    assert redact(document(value)) == expected
    assert redact(document({"value": value, "list": [1, "}"]})) == expected
    assert redact(document(123456789)) == expected or levels
    assert redact_bytes(document(value).encode()) == expected.encode()
    assert redact(document(None)) == document(None)


@given(names, values)
def test_headers_are_masked_as_text_and_as_python_writes_them(name: str, value: str) -> None:
    if "-" in name or name == "Authorization":
        assert value not in redact(f"{name}: {value}")
        assert value not in redact(f"GET / HTTP/1.1\r\n{name}: Bearer {value}\r\nAccept: */*\r\n")
        assert redact(f"{name}: {value}\r\nAccept: */*\r\n").endswith("\r\nAccept: */*\r\n")
    assert redact(repr({name: value, "Accept": "x"})) == repr({name: MASK, "Accept": "x"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"wss://stream.example.com:9443/ws/{LISTEN_KEY}", "wss://stream.example.com:9443/ws/***"),
        (f"wss://x.example.com/ws/btcusdt@trade/{LISTEN_KEY}", "wss://x.example.com/ws/btcusdt@trade/***"),
        (f"wss://x.example.com/stream?streams={LISTEN_KEY}/a@trade", "wss://x.example.com/stream?streams=***/a@trade"),
        ("connect to wss://user:pa@ss@example.com:1/ws failed", "connect to wss://***@example.com:1/ws failed"),
        ("https://token@example.com", "https://***@example.com"),
        ('Authorization: Digest username="a", response="b"', "Authorization: ***"),
        ("sent Bearer eyJhbGciOi.x.y to it", "sent Bearer *** to it"),
    ],
)
def test_keys_in_addresses_and_headers_are_masked(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "wss://stream.example.com/stream?streams=btcusdt@trade/ethusdt@depth@100ms",
        "wss://stream.example.com/ws/!miniTicker@arr",
        "https://example.com/ws/v5/business?symbol=TOKENUSDT",
        '{"e":"trade","s":"TOKENUSDT","p":"1.00","keys":["symbol"],"b":[["1","2"]]}',
        "binance COOKIEUSDT: scales 3, 4 are not within 0..18",
        "supervisor.toml: feeds.a.password: is not a known key; known here: venue, symbols",
        "ipc:///run/user/0/tickplant-0/12ab/control: cannot be opened",
        *(f'{{"{name}":"value"}}' for name in HARMLESS),
    ],
)
def test_what_is_no_credential_stays_as_it_is(text: str) -> None:
    assert redact(text) == text
    assert redact_bytes(text.encode()) == text.encode()


def test_names_are_told_from_words_that_hold_them() -> None:
    assert all(map(is_secret_name, NAMES))
    assert not any(map(is_secret_name, HARMLESS))


REGISTERED = 'tiny "secret"/ö&1'


def test_a_registered_value_is_masked_in_every_form() -> None:
    # In a process of its own: what is registered stays so.
    forms = [
        REGISTERED, quote(REGISTERED), quote_plus(REGISTERED), quote(REGISTERED, safe="").lower(), repr(REGISTERED),
        json.dumps(REGISTERED), json.dumps(REGISTERED, ensure_ascii=False), json.dumps(json.dumps(REGISTERED)),
        base64.b64encode(REGISTERED.encode()).decode(),
    ]  # fmt: skip
    program = """
import json, sys
from tickplant.runtime import redaction
given = json.load(sys.stdin)
redaction.register(given["value"])
redaction.register("abc")
forms = [f"x{form}y abc" for form in given["forms"]]
json.dump([[redaction.redact(form), redaction.redact_bytes(form.encode()).decode()] for form in forms], sys.stdout)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps({"value": REGISTERED, "forms": forms}),
        capture_output=True,
        text=True,
        check=True,
    )
    for form, found in zip(forms, json.loads(done.stdout), strict=True):
        for text in found:
            assert MASK in text and text.startswith("x") and text.endswith("y abc"), form
            assert "tiny" not in text and "secret" not in text, form


def test_log_lines_are_masked_at_any_depth_and_stay_json() -> None:
    out = io.StringIO()
    log = structlog.wrap_logger(
        structlog.PrintLogger(out),
        processors=[TRACEBACKS, redacting, structlog.processors.JSONRenderer()],
    )
    hidden = "abcdefgh12345678"
    url = f"https://u:{hidden}@example.com/x?signature={hidden}"
    try:
        raise ValueError(f"no answer from {url}")
    except ValueError:
        log.exception("failed", url=url, apiKey=hidden, request={"headers": [{"X-MBX-APIKEY": hidden}], "n": 1})
    line = json.loads(out.getvalue())
    assert hidden not in out.getvalue()
    assert line["request"]["n"] == 1
    assert line["url"] == "https://***@example.com/x?signature=***"


def test_captures_and_reject_logs_hold_no_credential_and_all_else(tmp_path: Path) -> None:
    hidden = "abcdefgh12345678"
    capture = Capture(tmp_path / "capture")
    body = json.dumps({"listenKey": hidden, "nested": json.dumps({"token": hidden})}).encode()
    frames = [b'{"s":"TOKENUSDT"}', b'{"token":"%s' % hidden.encode(), b'{"e":"trade"}']
    capture.add("public", frames, 5)
    capture.add_event(Answer(Request("user", "/x"), 200, body), 1_700_000_000_000_000_006)
    capture.close()
    lines = [line for block in Recording(tmp_path / "capture").blocks() for line in block]
    assert lines[0] == b"5<public " + frames[0] and lines[2] == b"5<public " + frames[2]
    assert len(lines) == 4
    assert hidden.encode() not in b"\n".join(lines)
    assert json.loads(lines[3].partition(b"!")[2])["data"]["listenKey"] == MASK

    log = RejectLog(tmp_path / "rejects", 10)
    log.add([Reject("odd", b'{"apiKey":"%s"}' % hidden.encode(), 5, f"at wss://x.example.com/?token={hidden}")])
    assert hidden not in log.path.read_text()
