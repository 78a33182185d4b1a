"""From Binance frames to records: microseconds of CPU per message, against what a user would write.

    frames in memory ──> adapter (scanner, or reference decoder) ──> TICK records
                    └──> json or msgspec, Decimal ──> tuples

The adapters also keep ids in line, look symbols up and scale prices exactly; the rivals only parse. All four are
checked to give the same prices, sizes, ids and times before anything is timed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final

import msgspec
import numpy as np

from bench.harness import Result, host, main, median_of
from bench.trades import trade
from tickplant.feeds.contract import FeedContext, Frames
from tickplant.feeds.venues.binance import spot, warm_up
from tickplant.instruments import Instrument
from tickplant.records.layouts import TICK

SYMBOL: Final = "BTCUSDT"
SCALE: Final = 8
FRAMES_PER_READ: Final = (1, 50)
"""One frame a read is a quiet market; fifty is a burst, which is when it counts."""

Row = tuple[str, Decimal, Decimal, int, int]
"""Side, price, size, id, time in ns."""


def quote(number: int) -> bytes:
    """A best bid and offer as Binance spot sends it in a combined stream."""
    bid, size = 61_837_630_000 + number % 977, 2_000 + number % 7919
    return (
        b'{"stream":"btcusdt@bookTicker","data":{"u":%d,"s":"BTCUSDT","b":"%d.%06d00","B":"3.%05d000",'
        b'"a":"%d.%06d00","A":"0.%05d000"}}'
        % (
            50_093_239_212 + 7 * number,
            bid // 1_000_000,
            bid % 1_000_000,
            size,
            bid // 1_000_000 + 1,
            bid % 1_000_000,
            size,
        )
    )


def extended_trade(number: int) -> bytes:
    """The same trade with fields that the venue may add, and that nobody reads."""
    return trade(number)[:-2] + b',"st":1,"ps":"BTCUSDT"}}'


def trade_rows(message: Any) -> list[Row]:
    """What a user makes of a trade."""
    data = message["data"]
    side = "sell" if data["m"] else "buy"
    return [(side, Decimal(data["p"]), Decimal(data["q"]), data["t"], data["T"] * 1_000_000)]


def quote_rows(message: Any) -> list[Row]:
    """What a user makes of a quote."""
    data = message["data"]
    return [
        ("bid", Decimal(data["b"]), Decimal(data["B"]), data["u"], 0),
        ("ask", Decimal(data["a"]), Decimal(data["A"]), data["u"], 0),
    ]


def adapt(frames: Sequence[bytes], per_read: int, *, use_scanner: bool) -> list[bytes]:
    """All frames through a new adapter; returns the records of each read."""
    instrument = Instrument(1, "binance", SYMBOL, SCALE, SCALE)
    context = FeedContext(symbols=None, channels=(), resolve=lambda *_, **__: instrument, live=False)
    adapter = spot(context, use_scanner=use_scanner)
    output = []
    for start in range(0, len(frames), per_read):
        adapter.on_event(Frames("", frames[start : start + per_read]), 1)
        output.append(adapter.take().ticks.tobytes())
    return output


def parse(frames: Sequence[bytes], loads: Callable[[bytes], Any], rows: Callable[[Any], list[Row]]) -> list[Row]:
    """All frames the way a user would read them."""
    return [row for frame in frames for row in rows(loads(frame))]


def as_rows(output: list[bytes], sides: tuple[str, str]) -> list[Row]:
    """Records as the rows of the rivals."""
    ticks = np.frombuffer(b"".join(output), TICK)
    unit = Decimal(1).scaleb(-SCALE)
    return [
        (sides[side - 1], price * unit, size * unit, ident, event)
        for side, price, size, ident, event in ticks[["side", "price", "size", "venue_seq", "ts_event"]].tolist()
    ]


def microseconds(repeats: int, count: int, work: Callable[[], object]) -> float:
    """CPU time of `work` for each of its `count` messages, the median of `repeats`."""

    def once() -> float:
        start_s = time.process_time()
        work()
        return (time.process_time() - start_s) / count * 1e6

    return median_of(repeats, once)


def run(repeats: int, quick: bool) -> list[Result]:
    """Trades and quotes through both decoders and both rivals."""
    warm_up()
    count = 500 if quick else 20_000
    results: list[Result] = []
    for name, make, rows, sides in (
        ("trades", trade, trade_rows, ("buy", "sell")),
        ("trades with further fields", extended_trade, trade_rows, ("buy", "sell")),
        ("quotes", quote, quote_rows, ("bid", "ask")),
    ):
        frames = [make(number) for number in range(count)]
        expected = parse(frames, json.loads, rows)
        if parse(frames, msgspec.json.decode, rows) != expected:
            raise AssertionError(f"{name}: msgspec and json disagree")
        for use_scanner in (True, False):
            if as_rows(adapt(frames, 50, use_scanner=use_scanner), sides) != expected:
                raise AssertionError(f"{name}: the records are not what json and Decimal read")
        timed = partial(microseconds, repeats, count)
        by_json = timed(partial(parse, frames, json.loads, rows))
        by_msgspec = timed(partial(parse, frames, msgspec.json.decode, rows))
        rival, best = ("json.loads + Decimal", by_json) if by_json < by_msgspec else ("msgspec + Decimal", by_msgspec)
        for label, value in (("json.loads + Decimal", by_json), ("msgspec, untyped, + Decimal", by_msgspec)):
            results.append(Result(name=f"decode: {name}, {label}", value=value, unit="µs/message", host=host()))
        for use_scanner, decoder in ((True, "scanner"), (False, "reference decoder")):
            for per_read in FRAMES_PER_READ:
                value = timed(partial(adapt, frames, per_read, use_scanner=use_scanner))
                results.append(
                    Result(
                        name=f"decode: {name}, {decoder}, {per_read} a read",
                        value=value,
                        unit="µs/message",
                        compared_with=rival,
                        ratio=best / value,
                        host=host(),
                    )
                )
    return results


if __name__ == "__main__":
    main(run)
