"""Polygon: the login and its failures, subscriptions, what events become, and whose a reject is."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import msgspec
import pytest
from venue_desk import SECOND, Record, VenueDesk

from tickplant.errors import FeedError
from tickplant.feeds.contract import Effect, Fail, Frames, Hold, Resubscribe, Send, Symbols
from tickplant.feeds.last_ids import LastIds
from tickplant.feeds.venues.polygon import adapter, messages
from tickplant.feeds.venues.polygon import venue as facts
from tickplant.records.layouts import NO_PRICE, UNKNOWN, Flag, GapCause, Kind, Side, StatusCode, TradeFlag
from tickplant.records.statistics import StatisticCode
from tickplant.records.venue_bars import BarField
from tickplant.venues import VENUES

KEY = "A-PLANTED-KEY"
TIME = 1_788_267_600_784
CHANNELS = ("trade", "quote", "venue_bar", "statistic")


class Desk(VenueDesk):
    """Keeps links on hold apart."""

    def __init__(self, *symbols: str, use_shapes: bool = True, **options: Any) -> None:
        self.holds: list[Hold] = []
        options = {"channels": CHANNELS, "secrets": {"key": KEY}} | options
        super().__init__(
            "polygon", partial(adapter.stocks, use_shapes=use_shapes), symbols or ("MSFT",), scale=6, **options
        )
        self.adapter.start(0)
        self._pull()

    def _pull(self) -> None:
        take = self.adapter.take

        def without_holds() -> Any:
            output = take()
            self.holds += [effect for effect in output.effects if isinstance(effect, Hold)]
            return output._replace(effects=[effect for effect in output.effects if not isinstance(effect, Hold)])

        self.adapter.take = without_holds
        try:
            super()._pull()
        finally:
            del self.adapter.take

    def status(self, word: str, message: str = "", ts: int = 0) -> list[Record]:
        return self.feed([{"ev": "status", "status": word, "message": message}], ts=ts)

    def logged_in(self, ts: int = 0) -> Desk:
        self.open(ts=ts)
        self.status("connected", ts=ts)
        self.status("auth_success", ts=ts)
        return self

    def sent(self) -> list[dict[str, str]]:
        actions, self.actions = self.actions, []
        return [json.loads(each.payload) for each in actions if isinstance(each, Send)]

    def feed(self, *frames: Any, ts: int = 0, name: str = "") -> list[Record]:
        return super().feed(*[json.dumps(each) if isinstance(each, list) else each for each in frames], ts=ts)


def trade(**fields: Any) -> dict[str, Any]:
    return {"ev": "T", "sym": "MSFT", "x": 4, "i": "7", "z": 3, "p": 1.5, "s": 10, "c": [0], "t": TIME, "q": 9} | fields


def quote(**fields: Any) -> dict[str, Any]:
    base = {"ev": "Q", "sym": "MSFT", "bx": 4, "bp": 1.5, "bs": 2, "ax": 7, "ap": 1.75, "as": 1, "c": 0, "i": [604]}
    return base | {"t": TIME, "q": 5, "z": 3} | fields


def compact(*events: dict[str, Any]) -> str:
    return json.dumps(events, separators=(",", ":"))


# The login.


def test_it_logs_in_when_greeted_and_subscribes_when_let_in() -> None:
    desk = Desk("MSFT", "AAPL")
    desk.open()
    assert desk.actions == []
    desk.status("connected", "Connected Successfully")
    (login,) = desk.actions
    assert login == Send("stream", msgspec.json.encode({"action": "auth", "params": KEY}), secret=True)
    desk.actions.clear()
    desk.status("auth_success", "authenticated")
    assert desk.sent() == [
        {"action": "subscribe", "params": "T.MSFT,T.AAPL"},
        {"action": "subscribe", "params": "Q.MSFT,Q.AAPL"},
        {"action": "subscribe", "params": "AM.MSFT,A.MSFT,AM.AAPL,A.AAPL"},
        {"action": "subscribe", "params": "LULD.MSFT,LULD.AAPL"},
    ]
    link = desk.adapter.subscriptions.links["stream"]
    assert (desk.links[0].url, desk.links[0].overlap) == ("wss://socket.massive.com/stocks", False)
    desk.feed(
        [{"ev": "status", "status": "success", "message": f"subscribed to: T.{symbol}"} for symbol in ("MSFT", "AAPL")]
    )
    assert len(link.pending) == 3


def test_other_addresses_of_the_venue_can_be_chosen() -> None:
    assert Desk(ws_url="wss://socket.polygon.io/").links[0].url == "wss://socket.polygon.io/stocks"
    assert Desk(ws_url="wss://delayed.massive.com").links[0].url == "wss://delayed.massive.com/stocks"


def test_each_connection_logs_in_anew() -> None:
    desk = Desk().logged_in()
    desk.sent()
    desk.close()
    desk.open()
    assert desk.sent() == []
    desk.status("connected")
    assert [each["action"] for each in desk.sent()] == ["auth"]
    desk.status("auth_success")
    assert {each["action"] for each in desk.sent()} == {"subscribe"}


@pytest.mark.parametrize("greeted", [False, True])
def test_a_login_without_answer_needs_another_connection(greeted: bool) -> None:
    desk = Desk()
    desk.open()
    if greeted:
        desk.status("connected")
    desk.actions.clear()
    desk.timer(9 * SECOND)
    assert desk.actions == []
    desk.timer(10 * SECOND)
    desk.timer(11 * SECOND)
    (again,) = desk.actions
    assert isinstance(again, Resubscribe)
    assert "no answer" in again.reason


def test_a_key_that_is_refused_ends_the_feed_and_is_named_nowhere() -> None:
    desk = Desk()
    desk.open()
    desk.status("connected")
    with pytest.raises(FeedError, match="refuses the key") as failed:
        desk.status("auth_failed", "authentication failed")
    assert KEY not in str(failed.value)


def test_without_a_key_there_is_nothing_to_open() -> None:
    with pytest.raises(FeedError, match="has no key"):
        Desk(secrets={})


def test_more_quotes_of_options_than_a_connection_carries_are_refused() -> None:
    symbols = [f"O:SPY261218C{strike:08d}" for strike in range(1001)]
    desk = VenueDesk("polygon-options", adapter.options, symbols, channels=("quote",), secrets={"key": KEY})
    with pytest.raises(FeedError, match="1001 symbols"):
        desk.start()
    for channels, count in ((("trade",), 1001), (("quote",), 1000)):
        VenueDesk("polygon-options", adapter.options, symbols[:count], channels=channels, secrets={"key": KEY}).start()


def effects_of(desk: Desk, word: str, ts: int) -> list[Effect]:
    desk.adapter.on_event(_frame([{"ev": "status", "status": word, "message": "m"}]), ts)
    return list(desk.adapter.take().effects)


def _frame(events: list[dict[str, Any]]) -> Frames:
    return Frames("stream", [json.dumps(events).encode()])


@pytest.mark.parametrize("word", ["max_connections", "force_disconnect"])
def test_a_link_that_another_login_throws_out_rests_ever_longer_then_the_feed_ends(word: str) -> None:
    desk, now = Desk(), 0
    for pause_s in facts.PAUSES_S:
        desk.logged_in(now)
        (hold,) = effects_of(desk, word, now)
        assert isinstance(hold, Hold)
        assert (hold.name, hold.until_ns) == ("stream", now + pause_s * SECOND)
        desk.close(ts=now)
        now = hold.until_ns
        assert desk.timer(now) == []
    desk.logged_in(now)
    (fail,) = effects_of(desk, word, now)
    assert isinstance(fail, Fail)


def test_a_login_that_lasted_begins_the_pauses_anew() -> None:
    desk, now = Desk(), 0
    for _ in range(2 * len(facts.PAUSES_S)):
        desk.logged_in(now)
        now += facts.CALM_S * SECOND + 1
        (hold,) = effects_of(desk, "force_disconnect", now)
        assert isinstance(hold, Hold)
        assert hold.until_ns == now + facts.PAUSES_S[0] * SECOND
        desk.close(ts=now)


def test_a_slow_reader_is_connected_again_and_told_of_its_gap() -> None:
    desk = Desk().logged_in()
    desk.feed([trade()])
    (again,) = effects_of(desk, "slow_consumer", 1)
    assert isinstance(again, Resubscribe)
    desk.close()
    gaps = [record for record in desk.open() if record.kind == Kind.GAP]
    assert {(each.price, each.size) for each in gaps} == {(GapCause.DISCONNECT, UNKNOWN)}
    assert {int(each.flags & ~Flag.LAST) for each in gaps} == {Flag.ON_TRADE, Flag.ON_QUOTE}


def test_a_restarted_feed_says_so_on_each_stream_when_its_link_opens() -> None:
    desk = VenueDesk("polygon", adapter.stocks, ["MSFT"], channels=CHANNELS, secrets={"key": KEY})
    desk.resume({"MSFT": LastIds(trade=(5, 6), quote=(7, 8))}, 1)
    desk.start()
    gaps = [record for record in desk.open() if record.kind == Kind.GAP]
    assert [each.price for each in gaps] == [GapCause.RESTART] * 2


def test_a_symbol_can_be_added_and_removed_while_the_feed_runs() -> None:
    desk = Desk().logged_in()
    desk.sent()
    desk.event(Symbols(added=("AAPL",)), SECOND)
    for second in range(2, 13):  # the venue has no instrument data, and none is awaited any longer
        desk.timer(second * SECOND)
    assert desk.sent() == [
        {"action": "subscribe", "params": topics} for topics in ("T.AAPL", "Q.AAPL", "AM.AAPL,A.AAPL", "LULD.AAPL")
    ]
    assert [each.symbol for each in desk.feed([trade(sym="AAPL")])] == ["AAPL"]
    desk.event(Symbols(removed=("AAPL",)), 20 * SECOND)
    assert {each["action"] for each in desk.sent()} == {"unsubscribe"}
    desk.take()
    assert desk.feed([trade(sym="AAPL", q=10)]) == []


def test_a_refused_topic_is_asked_for_again_later() -> None:
    desk = Desk("MSFT", "AAPL").logged_in()
    desk.sent()
    (status,) = desk.status("error", "not authorized to subscribe to Q.AAPL")
    assert status.price == StatusCode.SUBSCRIPTION_REFUSED
    desk.timer(2 * SECOND)
    assert desk.sent() == [{"action": "subscribe", "params": "Q.AAPL"}]


# Events.


@pytest.mark.parametrize("use_shapes", [True, False])
def test_a_trade_keeps_its_sequence_and_conditions(use_shapes: bool) -> None:
    desk = Desk(use_shapes=use_shapes)
    for number, (conditions, packed) in enumerate(
        [
            ([0, 12], 0x0C00),
            ([37], 37),
            ([], 0),
            ([14, 41, 300], 0xFF290E),
            (list(range(100, 110)), 0x6B6A696867666564),
            ([0, 0, 0, 0, 0, 0, 0, 200], (200 << 56) - (1 << 64)),
        ]
    ):
        (record,) = desk.feed(compact(trade(c=conditions, q=number + 1)))
        assert record.order_id == packed % (1 << 64)
        assert (record.kind, record.venue_seq, record.side) == (Kind.TRADE, number + 1, Side.NONE)
        assert (record.price, record.size, record.ts_event) == (1_500_000, 10_000_000, TIME * 1_000_000)
        assert record.flags == Flag.LAST
    assert desk.adapter.counters.fallbacks == (2 if use_shapes else 0)  # the first one, and ten conditions


@pytest.mark.parametrize("use_shapes", [True, False])
def test_conditions_that_make_no_price_are_irregular_for_stocks_alone(use_shapes: bool) -> None:
    desk = Desk(use_shapes=use_shapes)
    for number, condition in enumerate(sorted(facts.IRREGULAR), 1):
        (record,) = desk.feed(compact(trade(c=[14, condition], q=number)))
        assert record.flags == Flag.LAST | TradeFlag.IRREGULAR
    crypto = VenueDesk("polygon-crypto", partial(adapter.crypto, use_shapes=use_shapes), None)
    event = {"ev": "XT", "pair": "BTC-USD", "p": 1.5, "t": TIME, "s": 1, "c": [2], "i": 3, "x": 1, "r": TIME}
    (record,) = crypto.feed(compact(event))
    assert (record.flags, record.order_id) == (Flag.LAST, 2)


@pytest.mark.parametrize("use_shapes", [True, False])
def test_a_late_trade_is_recorded_and_a_repeat_is_not(use_shapes: bool) -> None:
    desk = Desk(use_shapes=use_shapes)
    sequences = [7, 9, 8, 9, 7, 12]
    records = desk.feed(*[compact(trade(q=sequence)) for sequence in sequences])
    assert [each.venue_seq for each in records] == [7, 9, 8, 12]
    assert desk.adapter.counters.duplicates == 2
    assert desk.adapter.counters.gaps == 0


@pytest.mark.parametrize("use_shapes", [True, False])
def test_ids_that_are_text_become_numbers_that_differ(use_shapes: bool) -> None:
    desk = VenueDesk("polygon-crypto", partial(adapter.crypto, use_shapes=use_shapes), None)
    base = {"ev": "XT", "pair": "BTC-USD", "p": 1.5, "t": TIME, "s": 1, "c": [0]}
    names = ["a9", "b9", "14272084", 14272085, "0012", "12", "9" * 30, ""]
    records = desk.feed(*[compact(base | {"i": name, "x": 1, "r": TIME}) for name in names])
    idents = [each.venue_seq for each in records]
    assert idents[2:4] == [14272084, 14272085]
    assert len(set(idents)) == len(names)
    assert idents[-1] == 0
    assert all(ident < 2**63 for ident in idents)


@pytest.mark.parametrize("use_shapes", [True, False])
def test_an_absent_side_of_a_quote_has_no_price(use_shapes: bool) -> None:
    desk = Desk(use_shapes=use_shapes)
    desk.feed(compact(quote()))
    for event in (quote(bp=0, bs=0), quote(bp=0.0, bs=3)):
        bid, ask = desk.feed(compact(event))
        assert (bid.price, bid.size, ask.price, ask.venue_seq) == (NO_PRICE, 0, 1_750_000, 5)
    event = quote()
    del event["bp"], event["bs"]
    bid, _ = desk.feed(compact(event))
    assert bid.price == NO_PRICE


def test_events_of_one_frame_are_recorded_in_order_and_one_that_is_rejected_costs_no_other() -> None:
    desk = Desk("MSFT", "AAPL")
    records = desk.feed(
        [
            trade(q=1),
            trade(q=2, p=None),
            {"ev": "T", "sym": 5},
            quote(bs="x"),
            quote(sym="AAPL"),
            {"ev": "NEW"},
            trade(sym="AAPL", q=3),
            7,
        ]
    )
    told = [(each.kind, each.symbol, each.venue_seq) for each in records if each.kind in (Kind.TRADE, Kind.QUOTE)]
    assert told == [
        (Kind.TRADE, "MSFT", 1),
        (Kind.QUOTE, "AAPL", 5),
        (Kind.QUOTE, "AAPL", 5),
        (Kind.TRADE, "AAPL", 3),
    ]
    gaps = [(each.symbol, each.flags & ~Flag.LAST) for each in records if each.kind == Kind.GAP]
    assert gaps == [("MSFT", Flag.ON_TRADE), ("*", 0), ("MSFT", Flag.ON_QUOTE), ("*", 0)]
    counters = desk.adapter.counters
    assert (counters.frames, counters.rejected) == (1, 1)
    assert counters.ignored_kinds == {"NEW": 1}


def test_numbers_with_exponents_are_exact() -> None:
    desk = VenueDesk("polygon-crypto", adapter.crypto, None, scale=8)
    event = '[{"ev":"XT","pair":"SHIB-USD","p":1.234e-05,"t":1788267601300,"s":1e6,"c":[0],"i":7,"x":23,"r":1}]'
    (record,) = desk.feed(event)
    assert (record.price, record.size) == (1234, 10**14)
    (gap,) = desk.feed(event.replace("1.234e-05", "1.2345e-05").replace('"i":7', '"i":8'))
    assert (gap.kind, gap.price) == (Kind.GAP, GapCause.REJECTED)
    assert desk.rejects[0].cause == "scale"


def test_bars_of_a_second_and_of_a_minute_are_bars_of_the_venue() -> None:
    desk = Desk()
    bar = {"sym": "MSFT", "v": 12345, "av": 1, "op": 1, "vw": 1.4, "o": 1.5, "c": 1.25, "h": 2, "l": 1, "a": 1, "z": 3}
    records = desk.feed(
        [
            bar | {"ev": "A", "s": TIME, "e": TIME + 1000},
            bar | {"ev": "AM", "s": TIME, "e": TIME + 60_000},
        ]
    )
    assert [each.kind for each in records] == [Kind.VENUE_BAR] * 10
    closes = [each for each in records if each.order_id & 0xFF == BarField.CLOSE]
    assert [each.ts_event - each.venue_seq for each in closes] == [SECOND, 60 * SECOND]
    assert (closes[0].price, closes[0].size) == (1_250_000, 12_345_000_000)


def test_a_band_is_two_statistics_at_microseconds() -> None:
    desk = Desk()
    event = {"ev": "LULD", "T": "MSFT", "h": 430.96, "l": 398.11, "i": [21], "z": 3, "t": TIME * 1000 + 7, "q": 1}
    up, down = desk.feed([event])
    assert (up.kind, up.order_id, up.size, up.price) == (Kind.STATISTIC, StatisticCode.LIMIT_UP, 43096, 2)
    assert (down.order_id, down.size, down.flags) == (StatisticCode.LIMIT_DOWN, 39811, Flag.LAST)
    assert up.ts_event == (TIME * 1000 + 7) * 1000


def test_an_empty_frame_says_nothing_by_shape_as_by_reference() -> None:
    for use_shapes in (True, False):
        desk = Desk(use_shapes=use_shapes)
        assert desk.feed("[]") == []
        assert (desk.adapter.counters.parsed, desk.adapter.counters.rejected) == (1, 0)


def test_every_shape_takes_its_documented_example() -> None:
    options = {"ev": "T", "sym": "O:A261218C00700000", "x": 65, "p": 1.54, "s": 1, "c": [233], "t": TIME, "q": 65}
    of_options = {"ev": "Q", "sym": "O:A261218C00700000", "bx": 302, "ax": 302, "bp": 9.71, "ap": 9.81, "bs": 17}
    pairs = {
        "ev": "XQ",
        "pair": "BTC-USD",
        "bp": 1.5,
        "bs": 0.48,
        "ap": 1.75,
        "as": 0.601,
        "t": TIME,
        "x": 1,
        "r": TIME,
    }
    bare = trade()
    del bare["c"]
    plain = quote()
    del plain["i"]
    for venue, events in (
        (
            "polygon",
            {"trade": trade(), "trade without conditions": bare, "quote": quote(), "quote without indicators": plain},
        ),
        ("polygon-options", {"trade": options, "quote": of_options | {"as": 24, "t": TIME, "q": 84}}),
        (
            "polygon-crypto",
            {
                "trade": {"ev": "XT", "pair": "BTC-USD", "p": 1.5, "t": TIME, "s": 1, "c": [2], "i": 1, "x": 3, "r": 1},
                "quote": pairs,
            },
        ),
    ):
        for name, event in events.items():
            desk = VenueDesk(venue, VENUES[venue].make_adapter, None)
            desk.feed(compact(event))  # registers the symbol
            desk.feed(compact(event, event))
            taken = {shape: count for shape, count in desk.adapter.market.listings.reader.taken.items() if count}
            assert taken == {"events": 1}, (venue, name)
        desk = VenueDesk(venue, VENUES[venue].make_adapter, None)
        desk.feed(*map(compact, events.values()))  # the first one registers the symbol
        desk.feed(compact(*events.values()))
        assert desk.adapter.market.listings.reader.taken == {"events": len(events)}, venue


def test_ids_and_conditions_that_are_no_numbers_are_rejected() -> None:
    with pytest.raises(Exception, match="trade id"):
        messages.id_of(-1)
    desk = Desk()
    for number, bad in enumerate(
        (trade(c=[-1]), trade(q=-1), trade(q=2**70), trade(t=-5), trade(p=True), trade(s=[1]))
    ):
        gap = desk.feed([bad])[0]
        assert (gap.kind, gap.price) == (Kind.GAP, GapCause.REJECTED), bad
        desk.feed([trade(q=20 + number)])
