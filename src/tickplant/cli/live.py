"""Commands that attach to a running plant."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from tickplant.cli.options import Time, config_option, data_dir_of, data_option, json_option, load_config
from tickplant.client import Book, fetch_book, subscribe
from tickplant.config import DEFAULT_PUBLISH
from tickplant.follower import Message, decimals
from tickplant.instruments import format_decimal
from tickplant.shm.records import Flag, GapCause, Kind, Schema, Side, StatusCode
from tickplant.times import format_time
from tickplant.writer.store import Store

ADDRESS = click.option(
    "--address", default=None, help=f"PUB address.  [default: that of the configuration, else {DEFAULT_PUBLISH}]"
)


def _address(address: str | None, file: Path | None) -> str:
    if address:
        return address
    engines = load_config(file).engines
    return next((engine.publish for engine in engines.values()), DEFAULT_PUBLISH)


@click.command()
@click.argument("topics", nargs=-1)
@config_option
@ADDRESS
@json_option
@click.option("-n", "--count", type=click.IntRange(min=1), help="Stop after this many records.")
@click.option("--snapshot", is_flag=True, help="Begin with the books, quotes and bbo as they are now.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds to wait for the plant's first answer.",
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
    """Attach and print live records of TOPICS.

    A topic is venue.SYMBOL.channel, such as binance.BTCUSDT.trade, or the beginning of one, or has a * in it. Channels:
    trade, agg_trade, quote, book, status, bbo, bar_1s, bar_1m. Without a topic: everything.
    """
    left = count
    with subscribe(*topics, address=_address(address, file), snapshot=snapshot, timeout=timeout) as messages:
        for message in messages:
            if message.kind == "lost":
                click.echo(f"{message.topic}: {max(message.lost, 0) or 'some'} records were lost on the way", err=True)
            for row in rows(message):
                if as_json:
                    click.echo(msgspec.json.encode(row))
                else:
                    click.echo("  ".join(_texts(row)))
                if left is not None:
                    left -= 1
                    if left == 0:
                        return
            sys.stdout.flush()


def rows(message: Message) -> Iterator[dict[str, object]]:
    """The records of a message as people read them: decimal text, names instead of numbers."""
    columns: dict[str, list[object]] = {}
    names = [name for name in message.records.dtype.names or () if name != "reserved"]
    for name in names:
        values = message.records[name]
        if name in ("price", "bid_price", "ask_price", "open", "high", "low", "close"):
            columns[name] = list(decimals(values, message.price_scale))
        elif name in ("size", "bid_size", "ask_size", "volume", "buy_volume"):
            columns[name] = list(decimals(values, message.size_scale))
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
        row["flags"] = _flag_names(int(message.records["flags"][index]))
        yield row


def _name_tick(row: dict[str, object], price: int, size: int) -> None:
    kind = Kind(int(str(row["kind"])))
    row["kind"] = kind.name.lower()
    names = ("buy", "sell") if kind is Kind.TRADE else ("bid", "ask")
    row["side"] = {Side.BID: names[0], Side.ASK: names[1]}.get(Side(int(str(row["side"]))))
    if kind is Kind.CLEAR:
        row["price"] = row["size"] = None
    elif kind in (Kind.GAP, Kind.STATUS):
        codes = GapCause if kind is Kind.GAP else StatusCode
        row["price"] = None
        row["cause"] = codes(price).name.lower() if price in set(codes) else price
        row["size"] = size if size >= 0 else None


def _flag_names(flags: int) -> str:
    return "|".join(flag.name.lower() for flag in Flag if flags & flag and flag.name)


def _texts(row: dict[str, object]) -> Iterator[str]:
    """A line of `tail`: the time of day, where, what, and no more than that."""
    yield str(row["ts_recv"])[11:26]
    yield f"{row['venue']} {row['symbol']} {row['channel']}"
    if "kind" in row:
        words = (
            row["kind"] if row["kind"] != row["channel"] else "",
            row["side"],
            row.get("cause"),
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
    else:
        yield f"{str(row['ts_open'])[11:19]}"
        yield " ".join(f"{name} {row[name]}" for name in ("open", "high", "low", "close", "volume", "trades"))


@click.command()
@click.argument("venue")
@click.argument("symbol")
@config_option
@data_option
@ADDRESS
@json_option
@click.option("--at", type=Time(), help="As it was after every record received up to this time; from the store.")
@click.option("--depth", type=click.IntRange(min=1), help="Levels of each side.  [default: all]")
def book(
    venue: str,
    symbol: str,
    file: Path | None,
    data_dir: Path | None,
    address: str | None,
    as_json: bool,
    at: int | None,
    depth: int | None,
) -> None:
    """Show the book of SYMBOL: of the running plant, or with --at or --data of the store."""
    if at is not None or data_dir is not None:
        found = _stored_book(data_dir_of(data_dir, file), venue, symbol, at)
    else:
        found = fetch_book(venue, symbol, address=_address(address, file))
    shown = {side: _levels(found, levels[:depth]) for side, levels in (("bids", found.bids), ("asks", found.asks))}
    if as_json:
        times = {"ts_event": _time(found.ts_event), "ts_recv": _time(found.ts_recv)}
        click.echo(msgspec.json.encode({"venue": venue, "symbol": symbol, **times, "stale": found.stale, **shown}))
        return
    click.echo(f"{venue} {symbol}  {format_time(found.ts_recv)}{'  STALE' if found.stale else ''}")
    widths = [max((len(row[i]) for rows in shown.values() for row in rows), default=1) for i in (0, 1)]
    for price, size in reversed(shown["asks"][: depth or 10]):
        click.echo(f"{price:>{widths[0]}}  {size:>{widths[1]}}  ask")
    click.echo("-" * (sum(widths) + 7))
    for price, size in shown["bids"][: depth or 10]:
        click.echo(f"{price:>{widths[0]}}  {size:>{widths[1]}}  bid")


def _stored_book(data_dir: Path, venue: str, symbol: str, at: int | None) -> Book:
    stored = Store(data_dir).book(venue, symbol, time.time_ns() if at is None else at)
    return Book(
        venue=venue,
        symbol=symbol,
        ts_event=stored.ts_event,
        ts_recv=stored.ts_recv,
        stale=stored.stale,
        price_scale=stored.instrument.price_scale,
        size_scale=stored.instrument.size_scale,
        bids=[(price, size) for price, size in stored.bids.tolist()],
        asks=[(price, size) for price, size in stored.asks.tolist()],
    )


def _time(time_ns: int) -> str | None:
    return format_time(time_ns) if time_ns else None


def _levels(found: Book, levels: list[tuple[int, int]]) -> list[tuple[str, str]]:
    return [(format_decimal(p, found.price_scale), format_decimal(s, found.size_scale)) for p, s in levels]
