"""The gateway's conversation, what is lost with a session, and input that is none."""

from __future__ import annotations

import hashlib
from typing import Any

import databento_dbn as db
import numpy as np
import pytest
from folded_book import FoldedBook
from hypothesis import given, settings
from hypothesis import strategies as st
from made_dbn import ALWAYS, T0_NS, mbo, metadata, orders
from venue_desk import SECOND

from tickplant.feeds.contract import (
    Closed,
    Effect,
    Event,
    Fail,
    FeedContext,
    Frames,
    Hold,
    Open,
    Opened,
    Resubscribe,
    Resumed,
    Resync,
    Send,
)
from tickplant.feeds.importers import FILE_LINK
from tickplant.feeds.last_ids import LastIds
from tickplant.feeds.venues.databento.adapter import DatabentoAdapter
from tickplant.feeds.venues.databento.ten_levels import TenLevels
from tickplant.feeds.venues.databento.ticks import Stamp
from tickplant.instruments import Instrument
from tickplant.records import dbn_layouts
from tickplant.records.layouts import Flag, GapCause, Kind, OrderFlag, Side, StatusCode

KEY = "db-0123456789abcdefghijABCDE"
LINK = "GLBX.MDP3"
HELLO = b"lsg_version=0.4.2\ncram=abc123\n"
META = metadata(db.Schema.MBO, {"TEST": [(*ALWAYS, 7)]}, T0_NS, T0_NS + 1)
ON = Flag.ON_ORDERS | Flag.ON_TRADE


class Desk:
    """An adapter on the bench."""

    def __init__(self, *, live: bool = True, channels: tuple[str, ...] = ("orders", "trade"), **options: Any) -> None:
        self.rows: dict[str, Instrument] = {}
        symbols = ("GLBX.MDP3/TEST", "GLBX.MDP3/ES.FUT") if live else None
        self.adapter = DatabentoAdapter(
            FeedContext(symbols=symbols, channels=channels, resolve=self._resolve, live=live, **options)
        )
        self.effects: list[Effect] = []

    def _resolve(self, symbol: str, price: int | None, size: int | None, /, *, exact: bool = False) -> Instrument:
        return self.rows.setdefault(symbol, Instrument(len(self.rows) + 1, "databento", symbol, price or 0, size or 0))

    def on(self, event: Event, now_ns: int = SECOND) -> np.ndarray:
        self.adapter.on_event(event, now_ns)
        output = self.adapter.take()
        self.effects += output.effects
        counters = self.adapter.counters
        assert counters.frames == counters.parsed + counters.ignored + counters.rejected
        assert counters.ticks == sum(counters.kinds.values())
        return output.ticks.copy()

    def session(self) -> None:
        self.on(Opened(LINK))
        self.on(Frames(LINK, [HELLO]))
        self.on(Frames(LINK, [b"success=1|session_id=5\n"]))


def secret_desk(**options: Any) -> Desk:
    return Desk(secrets={"key": KEY}, **options)


def said(ticks: np.ndarray) -> list[tuple[int, int, int]]:
    return [(int(tick["kind"]), int(tick["price"]), int(tick["flags"]) & ~Flag.LAST) for tick in ticks]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_session_is_begun_as_the_gateway_wants_it(step: int) -> None:
    desk = secret_desk(channels=("orders", "trade", "quote"))
    desk.adapter.start(0)
    desk.on(Opened(LINK))
    (opened,) = [effect for effect in desk.effects if isinstance(effect, Open)]
    assert opened.link.url == "tcp://glbx-mdp3.lsg.databento.com:13000"
    assert not opened.link.overlap
    for start in range(0, len(HELLO), step):
        desk.on(Frames(LINK, [HELLO[start : start + step]]))
    (reply,) = [effect for effect in desk.effects if isinstance(effect, Send)]
    proof = hashlib.sha256(f"abc123|{KEY}".encode()).hexdigest()
    assert reply.secret
    assert reply.payload.startswith(f"auth={proof}-ABCDE|dataset=GLBX.MDP3|encoding=dbn|ts_out=0|".encode())
    assert reply.payload.endswith(b"\n")
    assert KEY.encode() not in reply.payload
    desk.effects.clear()
    desk.on(Frames(LINK, [b"success=1|session_id=5\n"]))
    assert [effect.payload for effect in desk.effects if isinstance(effect, Send)] == [
        b"schema=mbo|stype_in=raw_symbol|symbols=TEST|snapshot=1|id=1|is_last=1\n",
        b"schema=mbo|stype_in=parent|symbols=ES.FUT|snapshot=1|id=2|is_last=1\n",
        b"schema=mbp-1|stype_in=raw_symbol|symbols=TEST|snapshot=0|id=3|is_last=1\n",
        b"schema=mbp-1|stype_in=parent|symbols=ES.FUT|snapshot=0|id=4|is_last=1\n",
        b"start_session=0\n",
    ]


def test_a_key_that_is_missing_or_refused_ends_the_feed() -> None:
    desk = Desk()
    desk.adapter.start(0)
    desk.on(Opened(LINK))
    assert [type(effect) for effect in desk.effects] == [Fail]
    desk = secret_desk()
    desk.on(Opened(LINK))
    desk.on(Frames(LINK, [HELLO, b"success=0|error=Authentication failed.\n"]))
    (failed,) = [effect for effect in desk.effects if isinstance(effect, Fail)]
    assert "Authentication failed." in failed.reason
    assert KEY not in failed.reason


def test_what_a_lost_session_had_follows_a_gap_in_the_next() -> None:
    desk = secret_desk()
    desk.session()
    assert len(desk.on(Frames(LINK, [META, *orders(1, 50)]))) == 50
    assert said(desk.on(Closed(LINK, "lost"))) == [(Kind.STATUS, StatusCode.DISCONNECTED, ON)]
    desk.session()
    found = desk.on(Frames(LINK, [META, mbo(T0_NS, "A", 1, 10, 1)]))
    assert said(found)[0] == (Kind.GAP, GapCause.DISCONNECT, ON)
    assert found["kind"].tolist() == [Kind.GAP, Kind.CLEAR, Kind.ORDER_ADD]
    assert found["ts_recv"].tolist() == [SECOND] * 3


def test_a_restarted_feed_says_that_something_is_missing() -> None:
    desk = secret_desk()
    desk.on(Resumed({"GLBX.MDP3/TEST": LastIds()}))
    desk.session()
    assert said(desk.on(Frames(LINK, [META]))) == [(Kind.GAP, GapCause.RESTART, ON)]


def notice(kind: str, code: int) -> bytes:
    head = bytes((80, 0x15 if kind == "error" else 0x17)) + bytes(6) + T0_NS.to_bytes(8, "little")
    return head + (
        b"x".ljust(302, b"\0") + bytes((code, 1)) if kind == "error" else b"x".ljust(303, b"\0") + bytes((code,))
    )


def test_errors_of_the_gateway() -> None:
    desk = secret_desk()
    desk.session()
    desk.on(Frames(LINK, [META, *orders(1, 5)]))
    desk.effects.clear()
    for code, expected in ((1, Fail), (3, Hold)):
        desk.on(Frames(LINK, [notice("error", code)]))
        assert any(isinstance(effect, expected) for effect in desk.effects)
        desk.effects.clear()
    assert said(desk.on(Frames(LINK, [notice("error", 5)]))) == [(Kind.STATUS, StatusCode.SUBSCRIPTION_REFUSED, 0)]
    assert said(desk.on(Frames(LINK, [notice("error", 7)]))) == [(Kind.GAP, GapCause.SEQUENCE, ON)]
    assert any(isinstance(effect, Resubscribe) for effect in desk.effects)  # a book of orders begins with a session
    desk.effects.clear()
    assert not len(desk.on(Frames(LINK, [notice("system", 0)])))
    assert not desk.effects


def test_another_book_takes_another_session() -> None:
    desk = secret_desk()
    desk.on(Resync("GLBX.MDP3/TEST"))
    assert [type(effect) for effect in desk.effects] == [Resubscribe]


def test_undefined_values_flags_and_unknown_actions() -> None:
    desk = Desk(live=False)
    desk.on(Frames(FILE_LINK, [META]))
    odd = mbo(T0_NS, "A", 5, db.UNDEF_PRICE, db.UNDEF_ORDER_SIZE, flags=db.F_TOB | db.F_MBP | db.F_BAD_TS_RECV | 4)
    unknown = bytearray(mbo(T0_NS, "A", 5, 1, 1))
    unknown[38] = ord("Z")
    found = desk.on(Frames(FILE_LINK, [odd + bytes(unknown)]))
    assert found["kind"].tolist() == [Kind.CLEAR, Kind.ORDER_ADD, Kind.GAP]  # each at its place
    add = found[found["kind"] == Kind.ORDER_ADD][0]
    assert (add["price"], add["size"], add["ts_recv"]) == (-(2**63), 0, T0_NS)
    assert add["flags"] == OrderFlag.TOP | OrderFlag.AGGREGATED | OrderFlag.BAD_TIME | OrderFlag.DOUBTFUL
    (gap,) = found[found["kind"] == Kind.GAP]
    assert (gap["price"], gap["size"]) == (GapCause.REJECTED, 1)
    assert desk.adapter.counters.rejected == 1


LEVELS = st.lists(
    st.tuples(
        st.dictionaries(st.integers(90, 99), st.integers(1, 3), max_size=10),
        st.dictionaries(st.integers(100, 109), st.integers(1, 3), max_size=10),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60)
@given(LEVELS, st.integers(1, 8))
def test_the_fold_of_ten_levels_is_each_row(books: list[tuple[dict[int, int], dict[int, int]]], step: int) -> None:
    rows = np.zeros(len(books), dbn_layouts.LAYOUTS[dbn_layouts.RecordType.MBP_10, 368])
    rows["levels"]["bid_px"] = rows["levels"]["ask_px"] = dbn_layouts.NO_VALUE
    for row, sides in zip(rows, books, strict=True):
        for name, levels in zip(("bid", "ask"), sides, strict=True):
            best_first = sorted(levels.items(), reverse=name == "bid")
            for place, (price, size) in enumerate(best_first):
                row["levels"][f"{name}_px"][place], row["levels"][f"{name}_sz"][place] = price, size
    book, ten_levels = FoldedBook(), TenLevels()
    for start in range(0, len(rows), step):
        ticks, of_row = ten_levels.ticks(rows[start : start + step], Stamp(1, T0_NS))
        for place in range(min(step, len(rows) - start)):
            book.apply_ticks(ticks[of_row == place])
            assert book.live
            bids, asks = books[start + place]
            assert (book.levels[Side.BID], book.levels[Side.ASK]) == (bids, asks)


def definition(ident: int, symbol: bytes, action: bytes) -> bytes:
    (size,) = {size for kind, size in dbn_layouts.LAYOUTS if kind == dbn_layouts.RecordType.DEFINITION and size > 500}
    row = np.zeros(1, dbn_layouts.LAYOUTS[dbn_layouts.RecordType.DEFINITION, size])
    row["ts_event"], row["ts_recv"], row["raw_symbol"] = T0_NS, T0_NS, symbol
    row["action"], row["increment"] = ord(action), 10**9
    head = bytes((size // 4, dbn_layouts.RecordType.DEFINITION)) + b"\1\0" + ident.to_bytes(4, "little")
    return head + row.tobytes()[8:]


# Each of one run: where a read ends in the middle of it, nothing may be recorded otherwise.
RUNS = {
    "numbers by order of records": [mbo(T0_NS, "A", 1, 10**11, 5, instrument_id=ident) for ident in (9, 8, 7, 8)],
    "delisted behind its own limits": [definition(9, b"NINE", b"D"), definition(8, b"EIGHT", b"D")],
    "each definition by its own name": [definition(9, b"NINE", b"A"), definition(9, b"NEW", b"A")],
}


@pytest.mark.parametrize("records", RUNS.values(), ids=RUNS)
def test_a_run_that_reads_cut_is_recorded_as_the_whole(records: list[bytes]) -> None:
    whole, cut = Desk(live=False), Desk(live=False)
    expected = whole.on(Frames(FILE_LINK, [META + b"".join(records)]))
    assert len(expected) >= len(records)
    found = np.concatenate([cut.on(Frames(FILE_LINK, [piece])) for piece in (META, *records)])
    assert [row.symbol for row in whole.rows.values()] == [row.symbol for row in cut.rows.values()]
    assert expected.tolist() == found.tolist()


SOUND = META + b"".join(orders(3, 40)) + notice("system", 0) + notice("error", 6)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=4),
    st.integers(50, 900),
    st.booleans(),
    st.binary(max_size=60),
)
def test_whatever_comes_does_not_raise_and_is_counted(
    spoilt: list[tuple[int, int]], step: int, live: bool, before: bytes
) -> None:
    data = bytearray(SOUND)
    for place, value in spoilt:
        data[place] = value
    desk = secret_desk() if live else Desk(live=False)
    link = LINK if live else FILE_LINK
    desk.on(Frames(link, [before]))
    desk.session()
    for start in range(0, len(data), step):
        desk.on(Frames(link, [bytes(data[start : start + step])]))
    desk.on(Closed(link, "end"))
