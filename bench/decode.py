"""From frames to records: microseconds of CPU per message, compared with what a user would write.

    frames in memory ──> shapes ──────────────────────> TICK records
                    ├──> adapter of Binance, by shapes or by its reference decoder ──> TICK records
                    └──> json or msgspec, Decimal ──> tuples

Shapes and adapters also check the sequence of ids, look up symbols and scale prices exactly; the rivals only parse. All
must yield the same prices, sizes, ids and times before anything is timed. In the environment of `make bench-peers`,
cryptofeed's handler is another rival, with frames of an older protocol if it speaks only that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from bench.decode_frames import CASES, RIVALS, Case, Row, empty_book, kraken_1
from bench.harness import Result, host, main, median_of
from bench.peer_frames import Stream
from bench.peer_readers import Reader, readers
from tickplant.feeds.contract import FeedContext, Frames
from tickplant.feeds.kit.level_rows import event_rows
from tickplant.feeds.kit.numbers import epoch_ns
from tickplant.feeds.kit.shape_reader import ShapeReader
from tickplant.feeds.kit.shapes import Shapes
from tickplant.feeds.kit.state_table import LAST_AGG, LAST_QUOTE, LAST_TRADE, NONE, STATE_COLUMNS
from tickplant.feeds.kit.symbols import SymbolTable
from tickplant.feeds.venues.binance import shapes as binance
from tickplant.feeds.venues.binance.adapter import spot, warm_up
from tickplant.feeds.venues.binance.messages import Diff, decode
from tickplant.feeds.venues.kraken import shapes as kraken
from tickplant.instruments import Instrument
from tickplant.records.batch import PACKED, PRICE, SIDE_SHIFT, SIZE, TS_EVENT, VENUE_SEQ, Rows, TickBatch
from tickplant.records.layouts import Kind

SCALE: Final = 8
FRAMES_PER_READ: Final = (1, 50)
"""One frame per read is a quiet market; fifty are a burst, which is when speed matters."""

JSON: Final = "json.loads + Decimal"

Output = list[Any]
"""The records of each read: rows of integers."""

_SHAPES: Final = {"BTCUSDT": Shapes(binance.SPOT), "BTC/USD": Shapes(kraken.SHAPES)}


def by_shapes(case: Case, frames: Sequence[bytes], per_read: int) -> Output:
    """Pass all frames through a new reader, and record what it gives."""
    symbols = SymbolTable()
    symbols.add(case.symbol, 0)
    state = np.array([[1, SCALE, SCALE] + [0] * (STATE_COLUMNS - 3)])
    state[:, [LAST_TRADE, LAST_AGG, LAST_QUOTE]] = NONE
    reader = ShapeReader(_SHAPES[case.symbol], symbols, state)
    batch = TickBatch()

    def give(number: int, slot: int, rows: Rows, values: list[int], ts_recv: int) -> None:
        batch.extend(rows, Kind.LEVEL)

    def refer(frame: bytes, ts_recv: int) -> None:
        raise AssertionError(f"{case.name}: {frame!r} fits no shape")

    output = []
    for start in range(0, len(frames), per_read):
        reader.read(frames[start : start + per_read], 1, batch, refer, give)
        output.append(batch.rows[: batch.length].tobytes())
        batch.length = 0
    return output


def by_adapter(case: Case, frames: Sequence[bytes], per_read: int, *, use_shapes: bool) -> Output:
    """Pass all frames through a new Binance adapter."""
    instrument = Instrument(1, "binance", case.symbol, SCALE, SCALE)
    context = FeedContext(symbols=None, channels=(), resolve=lambda *_, **__: instrument, live=False)
    adapter = spot(context, use_shapes=use_shapes)
    output = []
    for start in range(0, len(frames), per_read):
        adapter.on_event(Frames("", frames[start : start + per_read]), 1)
        output.append(adapter.take().ticks.tobytes())
    return output


def by_reference(case: Case, frames: Sequence[bytes], per_read: int) -> Output:
    """Pass depth diffs through the reference decoder, without the rules of a book."""
    instrument = Instrument(1, "binance", case.symbol, SCALE, SCALE)
    output = []
    for frame in frames:
        diff = decode(frame)
        assert isinstance(diff, Diff)
        rows = event_rows(instrument, diff.bids, diff.asks, epoch_ns(diff.time), 1, diff.last)
        output.append(rows.tobytes())
    return output


def decoders(case: Case) -> dict[str, Callable[[Case, Sequence[bytes], int], Output]]:
    """The project's ways to read this kind of message."""
    found: dict[str, Callable[[Case, Sequence[bytes], int], Output]] = {"shapes": by_shapes}
    if case.symbol == "BTCUSDT" and "depth" not in case.name:
        found["adapter, shapes"] = partial(by_adapter, use_shapes=True)
        found["adapter, reference decoder"] = partial(by_adapter, use_shapes=False)
    elif "depth" in case.name:
        found["reference decoder"] = by_reference
    return found


def parse(frames: Sequence[bytes], loads: Callable[[bytes], Any], rows: Callable[[Any], list[Row]]) -> list[Row]:
    """Read all frames as a user would."""
    return [row for frame in frames for row in rows(loads(frame))]


def peers(case: Case, frames: Sequence[bytes]) -> dict[str, tuple[Callable[[], Reader], Sequence[Any]]]:
    """A factory of cryptofeed's handler, and the frames for it; empty if it is not installed."""
    kraken = case.symbol == "BTC/USD"
    answer, first = empty_book(case.name) if case.sides[0] == "bid" and case.name != "quotes" else (b"", b"")
    stream = Stream(
        "kraken" if kraken else "binance",
        case.name,
        case.symbol,
        content=lambda _: [],
        frames=lambda _: list(frames),
        snapshot=answer or first,
        asked="depth" if answer else "",
        theirs=(lambda _: [kraken_1(parse([frame], RIVALS[JSON], case.rows)) for frame in frames]) if kraken else None,
    )
    return {
        f"{label}'s handler": (partial(make, stream), make(stream).frames(stream, len(frames)))
        for label, make in (readers(stream).items() if case.peers else ())
        if label.startswith("cryptofeed")
    }


def by_peer(make: Callable[[], Reader], frames: Sequence[Any], last: Row) -> None:
    """Pass all frames through a new reader, which must have found the last row."""
    reader = make()
    reader.read(frames)
    prices = {(side, price) for side, price, _ in reader.found()}
    if reader.count < len(frames) or (last[2] and (last[0], last[1]) not in prices):
        raise AssertionError(f"{reader.count} of {len(frames)} read, or wrongly")
    reader.close()


def as_rows(output: Output, sides: tuple[str, str]) -> list[tuple[str, int, int, int, int]]:
    """Records as rows, without checksums, with prices and sizes in units of 10**-SCALE."""
    words = np.frombuffer(b"".join(output), np.int64).reshape(-1, 8)
    return [
        (sides[(row[PACKED] >> SIDE_SHIFT & 0xFF) - 1], row[PRICE], row[SIZE], row[VENUE_SEQ], row[TS_EVENT])
        for row in words.tolist()
        if row[PACKED] >> SIDE_SHIFT & 0xFF
    ]


def microseconds(repeats: int, count: int, work: Callable[[], object]) -> float:
    """CPU time of `work` per message, for its `count` messages; the median of `repeats`."""

    def once() -> float:
        start_s = time.process_time()
        work()
        return (time.process_time() - start_s) / count * 1e6

    return median_of(repeats, once)


def run(repeats: int, quick: bool) -> list[Result]:
    """Measure every kind of message with the project's decoders and with the rivals."""
    warm_up()
    results: list[Result] = []
    for case in CASES:
        count = 500 if quick else 5_000 if "depth" in case.name else 20_000
        frames = [case.make(number) for number in range(count)]
        rows = parse(frames, RIVALS[JSON], case.rows)
        expected = [
            (side, int(price.scaleb(SCALE)), int(size.scaleb(SCALE)), ident, ns)
            for side, price, size, ident, ns in rows
        ]
        timed = partial(microseconds, repeats, count)
        by_rival = {label: timed(partial(parse, frames, loads, case.rows)) for label, loads in RIVALS.items()}
        for label, (make, theirs) in peers(case, frames).items():
            by_rival[label] = timed(partial(by_peer, make, theirs, rows[-1]))
        best, rival = min((value, label) for label, value in by_rival.items())
        for label, value in by_rival.items():
            results.append(Result(name=f"decode: {case.name}, {label}", value=value, unit="µs/message", host=host()))
        for label, decoder in decoders(case).items():
            for per_read in FRAMES_PER_READ:
                if as_rows(decoder(case, frames, per_read), case.sides) != expected:
                    raise AssertionError(f"{case.name}, {label}: the records are not what json and Decimal read")
                value = timed(partial(decoder, case, frames, per_read))
                results.append(
                    Result(
                        name=f"decode: {case.name}, {label}, {per_read} a read",
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
