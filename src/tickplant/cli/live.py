"""Commands that attach to a running plant."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import numpy as np

from tickplant.cli.options import (
    LONGEST_WAIT_S,
    Number,
    Time,
    config_option,
    crossed_option,
    data_dir_of,
    data_option,
    examples,
    json_option,
    live_address,
)
from tickplant.cli.output import say, say_json, waiting
from tickplant.cli.stored import open_store, skip_damage_option
from tickplant.client.book_request import Book, fetch_book
from tickplant.client.request_line import RequestLine
from tickplant.client.subscription import Subscription, subscribe
from tickplant.client.topic_message import Message, decimals
from tickplant.client.topic_patterns import nearest
from tickplant.derive.registry import may_be_channel
from tickplant.errors import StoreError, SubscribeError
from tickplant.records.flag_names import flag_names
from tickplant.records.layouts import GapCause, Kind, Schema, Side, StatusCode
from tickplant.records.schemas import PRICES, REALS, SIZES, VALUES
from tickplant.records.statistics import StatisticCode
from tickplant.runtime.config import DEFAULT_PUBLISH, Crossed, beside
from tickplant.store.stored_books import plain_book
from tickplant.times import format_time
from tickplant.wire import TICK_CHANNELS

ADDRESS = click.option(
    "--address",
    default=None,
    metavar="ADDRESS",
    help=f"The engine's PUB address.  [default: from the configuration, else {DEFAULT_PUBLISH}]",
)


@click.command(
    epilog=examples(
        "tail binance.BTCUSDT.trade",
        "tail 'binance.*.bbo' --json -n 10",
        "tail --address tcp://127.0.0.1:5555 --snapshot",
    )
)
@click.argument("topics", nargs=-1)
@config_option
@ADDRESS
@json_option
@click.option("-n", "--count", type=click.IntRange(min=1), help="Stop after this many records.")
@click.option("--snapshot", is_flag=True, help="Begin with the current books, quotes and bbo.")
@click.option(
    "--timeout",
    type=Number(0, LONGEST_WAIT_S, above=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for the engine's first answer.",
)
def tail(
    topics: tuple[str, ...],
    file: Path | None,
    address: str | None,
    as_json: bool,
    count: int | None,
    snapshot: bool,
    timeout: float,
) -> None:
    """Subscribe to TOPICS and print their records live.

    A topic is venue.SYMBOL.channel, such as binance.BTCUSDT.trade; a prefix of one, such as binance; or a pattern with
    *. Common channels: trade, agg_trade, quote, book, status, bbo, bar_1s, bar_1m. Without TOPICS: everything.
    """
    left = count
    address = live_address(address, file)
    with waiting(f"{address}: waiting for the engine's answer"):
        attached = subscribe(*topics, address=address, snapshot=snapshot, timeout=timeout)
    with attached as messages:
        messages.warns_of_absent = False  # `_check_topics` warns at once
        _check_topics(messages, topics, live_address(address, file), timeout)
        for message in messages:
            if message.kind == "lost":
                say(f"{message.topic}: {max(message.lost, 0) or 'some'} records were lost in transit", err=True)
            for row in rows(message):
                if as_json:
                    say_json(row)
                else:
                    say("  ".join(_texts(row)))
                if left is not None:
                    left -= 1
                    if left == 0:
                        return
            sys.stdout.flush()


def _check_topics(messages: Subscription, topics: Iterable[str], address: str, timeout_s: float) -> None:
    """Refuse impossible topics, and warn of those that do not exist yet. Raises SubscribeError."""
    for wanted in topics:
        if messages.existing(wanted):
            continue
        parts = wanted.split(".")
        last = parts[-1]
        known = last in TICK_CHANNELS or may_be_channel(last) or "*" in last
        symbol = ".".join(parts[1:-1])  # may itself contain dots: .SPY261218C700
        if not (parts[0] and last) or (len(parts) > 2 and not (symbol and known)):
            channels = ", ".join((*TICK_CHANNELS, "bbo", "bar_1s", "bar_1m", "rsi-14_1m", "…"))
            raise SubscribeError(
                f"{wanted!r} is not a topic: a topic is venue.SYMBOL.channel, such as binance.BTCUSDT.trade, or a "
                f"prefix of one; channels are {channels}"
            )
        prefix = f"{parts[0]}.{symbol}." if symbol and "*" not in wanted else ""
        there = _what_there_is(wanted, prefix, address, timeout_s)
        say(f"{wanted}: no such topic yet; waiting for its first record{there}", err=True)


def _what_there_is(wanted: str, prefix: str, address: str, timeout_s: float) -> str:
    """The existing channels of the symbol with this prefix, or else the nearest topics. Raises SubscribeError."""
    line = RequestLine(address, beside(address))
    try:
        topics = line.topics("", timeout_s)
    finally:
        line.close()
    channels = [topic.removeprefix(prefix) for topic in topics if topic.startswith(prefix)] if prefix else []
    if channels:
        return f"; channels of {prefix[:-1]}: {', '.join(channels)}"
    near = nearest(wanted, topics)
    return f"; similar topics: {', '.join(near)}" if near else ""


def rows(message: Message) -> Iterator[dict[str, object]]:
    """The records of a message as people read them: decimal text, names instead of numbers."""
    columns: dict[str, list[object]] = {}
    names = [name for name in message.records.dtype.names or () if name != "reserved"]
    for name in names:
        values = message.records[name]
        if name in PRICES:
            columns[name] = list(decimals(values, message.price_scale))
        elif name in SIZES:
            columns[name] = list(decimals(values, message.size_scale))
        elif name in REALS:
            columns[name] = [None if math.isnan(value) else value for value in values.tolist()]
        else:
            columns[name] = values.tolist()
    head = {"venue": message.venue, "symbol": message.symbol, "channel": message.channel}
    for index in range(len(message.records)):
        row = head | {name: column[index] for name, column in columns.items()}
        for name in ("ts_event", "ts_recv", "ts_open"):
            if name in row:
                row[name] = _time(int(str(row[name])))
        if message.schema is Schema.TICK:
            _name_tick(row, int(message.records["price"][index]), int(message.records["size"][index]))
        kind = int(message.records["kind"][index]) if message.schema is Schema.TICK else 0
        row["flags"] = "|".join(flag_names(int(message.records["flags"][index]), kind, message.schema))
        yield row


def _name_tick(row: dict[str, object], price: int, size: int) -> None:
    number, side = int(str(row["kind"])), int(str(row["side"]))
    kind = Kind(number) if number in set(Kind) else None  # a later plant may know more kinds
    row["kind"] = kind.name.lower() if kind else number
    names = ("buy", "sell") if kind is Kind.TRADE else ("bid", "ask")
    row["side"] = {int(Side.BID): names[0], int(Side.ASK): names[1]}.get(side)
    if kind is Kind.CLEAR:
        row["price"] = row["size"] = None
    elif kind is Kind.STATISTIC:
        code = int(str(row["order_id"]))
        row["statistic"] = StatisticCode(code).name.lower() if code in set(StatisticCode) else code
        row["price"], row["size"] = next(iter(decimals(np.array([size]), min(max(price, 0), 18)))), None
    elif kind in (Kind.GAP, Kind.STATUS):
        codes = GapCause if kind is Kind.GAP else StatusCode
        row["price"] = None
        row["cause"] = codes(price).name.lower() if price in set(codes) else price
        row["size"] = size if size >= 0 else None


def _texts(row: dict[str, object]) -> Iterator[str]:
    """The words of a line of `tail`: the time of day, the topic, and the record in short."""
    yield str(row["ts_recv"])[11:26]
    yield f"{row['venue']} {row['symbol']} {row['channel']}"
    if "kind" in row:
        words = (
            row["kind"] if row["kind"] != row["channel"] else "",
            row["side"],
            row.get("cause") or row.get("statistic"),
            row["price"],
            row["size"],
        )
        yield " ".join(str(word) for word in words if word not in (None, ""))
        if "snapshot" in str(row["flags"]):
            yield "snapshot"
    elif "bid_price" in row:
        sides = ((row["bid_price"], row["bid_size"]), (row["ask_price"], row["ask_size"]))
        yield " / ".join(f"{price} x {size}" if price is not None else "none" for price, size in sides)
        yield str(row["flags"])
    elif VALUES[0] in row:
        yield " ".join(str(row[name]) for name in VALUES if row[name] is not None) or "none yet"
    elif "vwap" in row:
        yield f"{str(row['ts_open'])[11:19]} #{row['number']}"
        yield " ".join(f"{name} {row[name]}" for name in ("open", "high", "low", "close", "vwap", "volume", "trades"))
        yield str(row["flags"])
    else:
        yield f"{str(row['ts_open'])[11:19]}"
        yield " ".join(f"{name} {row[name]}" for name in ("open", "high", "low", "close", "volume", "trades"))


@click.command(
    epilog=examples(
        "book binance BTCUSDT --depth 5",
        "book binance BTCUSDT --at 2026-01-31T12:00:00Z --data data",
        "book binance BTCUSDT --data data --json",
    )
)
@click.argument("venue")
@click.argument("symbol")
@config_option
@data_option
@ADDRESS
@json_option
@click.option("--at", type=Time(), help="The stored book at this time, after every record received until then.")
@click.option("--depth", type=click.IntRange(min=1), help="Levels per side.  [default: 10; all with --json]")
@click.option("--orders", is_flag=True, help="Show each order: its id and its place in the queue at its price.")
@crossed_option
@skip_damage_option
def book(
    venue: str,
    symbol: str,
    file: Path | None,
    data_dir: Path | None,
    address: str | None,
    as_json: bool,
    at: int | None,
    depth: int | None,
    orders: bool,
    crossed: Crossed,
    skip_damage: bool,
) -> None:
    """Show the book of SYMBOL: live, or from the store with --at or --data."""
    if at is not None or data_dir is not None:
        folder = data_dir_of(data_dir, file)
        found = _stored_book(folder, venue, symbol, at, skip_damage=skip_damage, orders=orders, crossed=crossed)
    elif crossed == "match":
        raise click.UsageError("--crossed needs --at or --data; the live book follows the plant's configuration")
    else:
        address = live_address(address, file)
        with waiting(f"{address}: waiting for the engine's answer"):
            found = fetch_book(venue, symbol, address=address, orders=orders)
    if as_json:
        say_json(found.shown(depth))
        return
    if at is not None and found.stale and not (len(found.bids) or len(found.asks)):
        say(f"{venue} {symbol}: the store has no complete book at {format_time(at)}", err=True)
        return
    say(f"{venue} {symbol}  {format_time(found.ts_recv)}{'  STALE' if found.stale else ''}")
    shown = found.shown(depth or 10)
    if orders:
        _say_orders(shown)
        return
    widths = [max((len(row[i]) for side in ("bids", "asks") for row in shown[side]), default=1) for i in (0, 1)]
    for price, size in reversed(shown["asks"]):
        say(f"{price:>{widths[0]}}  {size:>{widths[1]}}  ask")
    say("-" * (sum(widths) + 7))
    for price, size in shown["bids"]:
        say(f"{price:>{widths[0]}}  {size:>{widths[1]}}  bid")


def _stored_book(
    data_dir: Path,
    venue: str,
    symbol: str,
    at: int | None,
    *,
    skip_damage: bool,
    orders: bool,
    crossed: Crossed,
) -> Book:
    at_ns = time.time_ns() if at is None else at
    with open_store(data_dir, skip_damage=skip_damage) as store:
        stored = store.book(venue, symbol, at_ns, orders=orders, crossed=crossed)
    if orders and (stored.bid_orders is None or stored.ask_orders is None):
        raise StoreError(f"{venue} {symbol} has no order book at that time", path=data_dir)
    return plain_book(stored)


def _say_orders(shown: dict[str, Any]) -> None:
    """Print the orders at the best prices of each side, asks above bids, each queue with its first order first."""
    rows = {side: shown[f"{side}_orders"] for side in ("ask", "bid")}
    widths = {
        name: max((len(str(row[name])) for side in rows.values() for row in side), default=1)
        for name in ("price", "size", "order_id", "orders_ahead")
    }
    asks = groupby(rows["ask"], key=lambda row: row["price"])
    rows["ask"] = [row for queue in reversed([list(queue) for _, queue in asks]) for row in queue]
    for side in ("ask", "bid"):
        for row in rows[side]:
            cells = "  ".join(f"{row[name]:>{width}}" for name, width in widths.items())
            say(f"{cells} ahead: {row['size_ahead']}  {side}")
        if side == "ask":
            say("-" * (sum(widths.values()) + 20))


def _time(time_ns: int) -> str | None:
    return format_time(time_ns) if time_ns else None
