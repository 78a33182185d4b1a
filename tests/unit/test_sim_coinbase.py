"""The simulated Coinbase venues: what they print, answer and refuse. Whole sessions are in tests/conformance."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coinbase_tools import SECRETS, match
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from venue_session import at_once

from tickplant.errors import FeedError
from tickplant.feeds.venues.coinbase.signing import Signer
from tickplant.sim.conversation import Answer, Get, Refusal, Session, Text
from tickplant.sim.dialect import Dialect
from tickplant.sim.dialect_table import dialect_of
from tickplant.sim.dialects.coinbase.exchange_printer import ExchangePrinter
from tickplant.sim.dialects.coinbase.printer import BOOK, FRAME, TRADE
from tickplant.sim.dialects.coinbase_advanced.advanced_printer import AdvancedPrinter
from tickplant.sim.frames import batch_of
from tickplant.sim.live_market import LiveMarket
from tickplant.sim.spec import SimSpec
from tickplant.sim.templates import render_one

SYMBOLS = ("BTC-USD", "ETH-USD")


def dialect(venue: str = "coinbase", **options: Any) -> Dialect:
    """With a market that has lived for two seconds."""
    one = dialect_of(SimSpec(venue=venue, symbols=SYMBOLS, messages_per_s=400.0, depth_levels=20, **options))
    if isinstance(one.source, LiveMarket):
        one.source.bind(Nobody())  # type: ignore[arg-type]
        one.source.step(2 * 10**9)
    return one


class Nobody:
    """An outlet that nobody listens at."""

    receivers: dict[int, Any] = {}  # noqa: RUF012
    wanted = np.ones(2 * 5 + 1, np.bool_)

    def deliver(self, batch: Any, **_: Any) -> None:
        """To nobody."""


def session(one: Dialect) -> Session:
    made = one.accept("/", {}, lambda: None)
    assert not isinstance(made, Refusal)
    return made


def ask(one: Session, **request: Any) -> list[dict[str, Any]]:
    """The answers and what is pushed."""
    replies = one.on_text(json.dumps({"type": "subscribe"} | request).encode())
    assert all(isinstance(reply, Text) for reply in replies)
    return [json.loads(reply.text) for reply in replies if isinstance(reply, Text)]


def get(one: Dialect, target: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    answer: Answer = at_once(one.rest(Get(target, headers or {}, ""), None))  # type: ignore[arg-type]
    return answer.status, json.loads(answer.body)


# Printing.


@st.composite
def frame_rows(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    numbers = st.integers(0, 10**9)
    count = draw(st.integers(1, 4))
    rows = draw(arrays(np.int64, (count, len(FRAME)), elements=numbers)).view(FRAME).reshape(count)
    rows["kind"], rows["symbol"], rows["time"] = draw(st.integers(TRADE, BOOK)), draw(st.integers(0, 1)), 1
    rows["maker"] = draw(st.integers(0, 1))
    rows["run"], rows["levels"] = count, 1
    rows["bids"], rows["asks"] = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    return rows, draw(arrays(np.int64, (6, 2), elements=numbers))


@pytest.mark.kernels
@pytest.mark.parametrize("printer", [ExchangePrinter(SYMBOLS), AdvancedPrinter(SYMBOLS)], ids=["exchange", "advanced"])
def test_the_kernel_prints_what_plain_python_prints(printer: Any) -> None:
    @settings(max_examples=40)
    @given(data=frame_rows())
    def check(data: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
        rows, levels = data
        runs = rows[0]["kind"] == TRADE and isinstance(printer, AdvancedPrinter)
        rows = rows if runs else rows[:1]
        for renderer in (printer._updates, printer._snapshots):
            times = {"sent_ns": 0, "origin_ns": 1_788_264_000 * 10**9, "unit_ns": 1}
            batch = renderer.batch(rows, levels, **times)
            assert batch.messages == 1
            text = render_one(renderer.templates, printer.decimals, rows, levels, **times)
            assert batch.payload(0).decode() == text
            json.loads(text)

    check()


# Coinbase Exchange.


def test_the_answer_lists_all_subscriptions_and_first_messages_follow() -> None:
    one = session(dialect())
    state, last, ticker = ask(one, product_ids=["BTC-USD"], channels=["matches", "ticker", "heartbeat"])
    assert state["channels"] == [
        {"name": name, "product_ids": ["BTC-USD"]} for name in ("matches", "ticker", "heartbeat")
    ]
    assert (last["type"], ticker["type"]) == ("last_match", "ticker")
    state, snapshot = ask(one, channels=[{"name": "level2_batch", "product_ids": ["ETH-USD"]}])
    assert len(state["channels"]) == 4
    assert (snapshot["type"], snapshot["product_id"], len(snapshot["bids"]) > 5) == ("snapshot", "ETH-USD", True)
    assert [*one.names()] == ["BTC-USD@matches", "BTC-USD@ticker", "BTC-USD@heartbeat", "ETH-USD@level2"]
    (state,) = ask(one, type="unsubscribe", product_ids=["BTC-USD"], channels=["matches", "ticker", "heartbeat"])
    assert state["channels"] == [{"name": "level2_batch", "product_ids": ["ETH-USD"]}]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"channels": [{"name": "matches", "product_ids": ["BTC-USD", "XYZ-USD"]}]}, "XYZ-USD is not a valid product"),
        ({"channels": ["nothing"]}, "nothing is not a valid channel"),
        ({"channels": ["level2"], "product_ids": ["BTC-USD"]}, "require authentication"),
        ({"channels": 5}, "malformed"),
    ],
)
def test_what_is_wrong_with_a_request_costs_all_of_it(request_: dict[str, Any], reason: str) -> None:
    one = session(dialect())
    (error,) = ask(one, **request_)
    assert error["type"] == "error"
    assert reason in error["reason"]
    assert not [*one.names()]


def test_signatures_are_checked() -> None:
    one, request = dialect(), {"channels": ["full"], "product_ids": ["BTC-USD"]}
    signed = Signer(SECRETS).subscription(time.time_ns())
    (state,) = ask(session(one), **request, **signed)
    assert state["type"] == "subscriptions"
    old = Signer(SECRETS).subscription(time.time_ns() - 60 * 10**9)
    for wrong in (old, signed | {"key": "other"}, signed | {"signature": "AAAA"}, signed | {"timestamp": "x"}):
        (error,) = ask(session(one), **request, **wrong)
        assert error["message"] == "Authentication Failed"


def test_rest_answers_past_trades_below_a_cursor_and_orders_to_those_who_sign() -> None:
    one = dialect()
    assert get(one, "/nowhere")[0] == 404
    assert get(one, "/products/XYZ-USD/trades")[0] == 404
    assert [product["id"] for product in get(one, "/products")[1]] == [*SYMBOLS]
    _, newest = get(one, "/products/BTC-USD/trades?limit=3")
    ids = [trade["trade_id"] for trade in newest]
    assert ids == [ids[0], ids[0] - 1, ids[0] - 2]
    assert get(one, f"/products/BTC-USD/trades?limit=2&after={ids[0]}")[1] == newest[1:]
    path = "/products/BTC-USD/book?level=3"
    assert get(one, path)[0] == 401
    status, book = get(one, path, Signer(SECRETS).headers(time.time_ns(), path))
    assert (status, len(book["bids"][0])) == (200, 3)
    assert get(one, "/products/BTC-USD/trades?limit=x")[0] == 400


def frames() -> list[dict[str, Any]]:
    snapshot = {
        "type": "snapshot",
        "product_id": "BTC-USD",
        "asks": [["2.50", "1"]],
        "bids": [["1.5", "0.25"], ["1", "1"]],
    }
    update = {"type": "l2update", "product_id": "BTC-USD", "changes": [["buy", "1.50", "0"], ["sell", "2.5000", "3"]]}
    return [{"type": "subscriptions", "channels": []}, snapshot, match(7), update]


def test_a_recording_is_surveyed_and_kept_for_those_who_come_later(tmp_path: Path) -> None:
    file = tmp_path / "recording"
    lines = [b"%d %s\n" % (10**18 + at, json.dumps(one).encode()) for at, one in enumerate(frames())]
    file.write_bytes(gzip.compress(b"".join(lines)))
    one = dialect(recording=str(file))
    assert one.source.streams == ["BTC-USD@level2", "BTC-USD@matches"]
    assert get(one, "/products")[1][0]["quote_increment"] == "0.0001"
    late = session(one)
    assert len(ask(late, product_ids=["BTC-USD"], channels=["level2_batch"])) == 1  # its snapshot is recorded
    texts = [json.dumps(one).encode() for one in frames()[1:]]
    texts[1] = texts[1].replace(b'"type": "match"', b'"type":"match"')
    one._desk.played(batch_of(texts, [0, 1, 0], [0, 7, 0]))  # type: ignore[attr-defined]
    _, snapshot, last = ask(session(one), product_ids=["BTC-USD"], channels=["level2_batch", "matches"])
    assert (snapshot["bids"], snapshot["asks"]) == ([["1", "1"]], [["2.5000", "3"]])
    assert (last["type"], last["trade_id"]) == ("last_match", 7)
    assert [trade["trade_id"] for trade in get(one, "/products/BTC-USD/trades")[1]] == [7]
    (book,) = one.snapshots().values()
    assert json.loads(book(0))["bids"] == []


# Advanced Trade.


def test_every_message_of_a_connection_has_the_next_number() -> None:
    one = session(dialect("coinbase-advanced"))
    assert one.own is not None
    assert one.heartbeat() is None
    replies = one.on_text(b'{"type":"subscribe","channel":"level2","product_ids":["BTC-USD","ETH-USD"]}')
    replies += one.on_text(b'{"type":"subscribe","channel":"heartbeats"}')
    told = [json.loads(one.own(reply.text)) for reply in replies if isinstance(reply, Text)]
    beat = one.heartbeat()
    assert beat is not None
    told.append(json.loads(one.own(beat)))
    assert [message["sequence_num"] for message in told] == [0, 1, 2, 3, 4]
    assert [message["channel"] for message in told] == [
        "subscriptions",
        "l2_data",
        "l2_data",
        "subscriptions",
        "heartbeats",
    ]
    error = one.on_text(b"{}")[0]
    assert isinstance(error, Text)
    assert one.own(error.text) == error.text


def test_more_than_thirty_books_of_a_connection_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    one = session(dialect("coinbase-advanced"))
    monkeypatch.setattr(one._desk, "lists", lambda symbol: True)  # type: ignore[attr-defined]
    (error,) = ask(one, channel="level2", product_ids=[f"A{number}-USD" for number in range(31)])
    assert error == {"type": "error", "message": "too many L2 streams requested in a single session"}
    (error,) = ask(one, channel="nothing")
    assert error["message"] == "failure to subscribe"


def test_advanced_trade_plays_no_recording(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="cannot be played"):
        dialect("coinbase-advanced", recording=str(tmp_path))
