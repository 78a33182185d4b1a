"""Messages of the synthetic market as a venue's JSON: templates with holes, filled by a kernel. No I/O.

A template is the exact text of a stream's combined message, with `<field>` where a value goes. The kernel copies the
text between the holes and prints the values; `render_one` is the same in plain Python, and the tests hold them equal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.instruments import format_decimal
from tickplant.kernels import kernel
from tickplant.sim.dialects.binance.instruments import Traded
from tickplant.sim.dialects.binance.orders import AGGREGATE, DEPTH, TICKER, TRADE
from tickplant.sim.frames import Batch

_SPOT: Final = {
    TRADE: '{"e":"trade","E":<sent>,"s":"<symbol>","t":<id>,"p":"<price>","q":"<size>","T":<time>,"m":<maker>,'
    '"M":true}',
    AGGREGATE: '{"e":"aggTrade","E":<sent>,"s":"<symbol>","a":<id>,"p":"<price>","q":"<size>","f":<first>,"l":<last>,'
    '"T":<time>,"m":<maker>,"M":true}',
    TICKER: '{"u":<id>,"s":"<symbol>","b":"<price>","B":"<size>","a":"<ask>","A":"<ask_size>"}',
    DEPTH: '{"e":"depthUpdate","E":<sent>,"s":"<symbol>","U":<first>,"u":<id>,"b":[<bids>],"a":[<asks>]}',
}
_FUTURES: Final = {
    TRADE: '{"e":"trade","E":<sent>,"T":<time>,"s":"<symbol>","t":<id>,"p":"<price>","q":"<size>","X":"MARKET",'
    '"m":<maker>}',
    AGGREGATE: '{"e":"aggTrade","E":<sent>,"a":<id>,"s":"<symbol>","p":"<price>","q":"<size>","f":<first>,"l":<last>,'
    '"T":<time>,"m":<maker>}',
    TICKER: '{"e":"bookTicker","u":<id>,"s":"<symbol>","b":"<price>","B":"<size>","a":"<ask>","A":"<ask_size>",'
    '"T":<time>,"E":<sent>}',
    DEPTH: '{"e":"depthUpdate","E":<sent>,"T":<time>,"s":"<symbol>","U":<first>,"u":<id>,"pu":<last>,'
    '"b":[<bids>],"a":[<asks>]}',
}
SPEEDS: Final = {
    # Suffix of each depth stream and its interval in milliseconds; the first one is what a feed subscribes to.
    "binance": (("@100ms", 100), ("", 1000)),
    "binance-usdm": (("@100ms", 100), ("", 250), ("@500ms", 500)),
}

_FIELDS: Final = (
    "sent",
    "time",
    "id",
    "first",
    "last",
    "maker",
    "price",
    "ask",
    "size",
    "ask_size",
    "bids",
    "asks",
)
_SENT, _TIME, _ID, _FIRST, _LAST, _MAKER, _PRICE, _ASK, _SIZE, _ASK_SIZE, _BIDS, _ASKS = range(12)
_END: Final = -1

_FIXED_BYTES: Final = 640  # more than any message without its levels
_LEVEL_BYTES: Final = 56  # more than any level: two numbers of at most 20 digits, quotes, brackets, commas


@dataclass(frozen=True, slots=True)
class Templates:
    """All streams of a market: stream = symbol * kinds + kind. Text lies in one pool; `parts` cuts it at the holes."""

    streams: list[str]
    texts: list[str]  # combined messages with their holes
    pool: NDArray[np.uint8]
    parts: NDArray[np.int64]  # [streams, holes + 1, 3]: start, end, what comes after (_END: nothing)
    inner: NDArray[np.int64]  # [streams] where the raw form begins
    decimals: NDArray[np.int64]  # [symbols, 4] price step and digits, size step and digits
    kinds: int


def templates(venue: str, instruments: list[Traded]) -> Templates:
    """Templates of every stream of every instrument, as this venue writes them."""
    shapes = _FUTURES if venue == "binance-usdm" else _SPOT
    speeds = SPEEDS[venue]
    streams: list[str] = []
    texts: list[str] = []
    inner: list[int] = []
    for one in instruments:
        symbol = one.symbol.lower()
        names = [f"{symbol}@trade", f"{symbol}@aggTrade", f"{symbol}@bookTicker"]
        names += [f"{symbol}@depth{suffix}" for suffix, _ in speeds]
        for kind, name in enumerate(names):
            head = f'{{"stream":"{name}","data":'
            streams.append(name)
            texts.append(head + shapes[min(kind, DEPTH)].replace("<symbol>", one.symbol) + "}")
            inner.append(len(head))
    pool = bytearray()
    cut: list[list[tuple[int, int, int]]] = []
    for text in texts:
        pieces = re.split(r"<(\w+)>", text)  # text, field, text, field, …, text
        rows = []
        for i in range(0, len(pieces), 2):
            field = _FIELDS.index(pieces[i + 1]) if i + 1 < len(pieces) else _END
            rows.append((len(pool), len(pool) + len(pieces[i]), field))
            pool += pieces[i].encode()
        cut.append(rows)
    parts = np.full((len(cut), max(map(len, cut)), 3), _END, np.int64)
    for stream, rows in enumerate(cut):
        parts[stream, : len(rows)] = rows
    return Templates(
        streams,
        texts,
        np.frombuffer(bytes(pool), np.uint8),
        parts,
        np.array(inner, np.int64),
        np.array([[one.price_step, one.price_digits, one.size_step, one.size_digits] for one in instruments], np.int64),
        DEPTH + len(speeds),
    )


@kernel
def _print_integer(value: int, out: NDArray[np.uint8], at: int) -> int:
    """Print a number that is not negative; returns where it ends."""
    digits = 1
    power = 10
    while value >= power and digits < 18:
        power *= 10
        digits += 1
    for i in range(digits):
        out[at + digits - 1 - i] = 48 + value % 10
        value //= 10
    return at + digits


@kernel
def _print_decimal(mantissa: int, digits: int, out: NDArray[np.uint8], at: int) -> int:
    """Print `mantissa * 10**-digits` in fixed point; returns where it ends."""
    power = 10**digits
    at = _print_integer(mantissa // power, out, at)
    if digits == 0:
        return at
    out[at] = 46
    mantissa %= power
    for i in range(digits):
        out[at + digits - i] = 48 + mantissa % 10
        mantissa //= 10
    return at + 1 + digits


@kernel
def _print_levels(
    levels: NDArray[np.int64], first: int, last: int, decimals: NDArray[np.int64], out: NDArray[np.uint8], at: int
) -> int:
    """Print `["price","size"],…`; returns where it ends."""
    for i in range(first, last):
        if i > first:
            out[at] = 44
            at += 1
        out[at] = 91
        out[at + 1] = 34
        at = _print_decimal(levels[i, 0] * decimals[0], decimals[1], out, at + 2)
        out[at] = 34
        out[at + 1] = 44
        out[at + 2] = 34
        at = _print_decimal(levels[i, 1] * decimals[2], decimals[3], out, at + 3)
        out[at] = 34
        out[at + 1] = 93
        at += 2
    return at


@kernel
def render_rows(
    rows: NDArray[np.void],
    levels: NDArray[np.int64],
    pool: NDArray[np.uint8],
    parts: NDArray[np.int64],
    inner: NDArray[np.int64],
    all_decimals: NDArray[np.int64],
    kinds: int,
    sent_ns: int,
    origin_ns: int,
    unit_ns: int,
    out: NDArray[np.uint8],
    spans: NDArray[np.int64],
) -> None:
    """Print each row; `spans[i]` becomes start, inner and end in `out`, then stream and id. `out` must have room."""
    at = 0
    for i in range(rows.shape[0]):
        row = rows[i]
        symbol = row["symbol"]
        stream = symbol * kinds + row["kind"]
        decimals = all_decimals[symbol]
        spans[i, 0] = at
        spans[i, 1] = at + inner[stream]
        for part in range(parts.shape[1]):
            first = parts[stream, part, 0]
            last = parts[stream, part, 1]
            for j in range(first, last):
                out[at + j - first] = pool[j]
            at += last - first
            field = parts[stream, part, 2]
            if field == _END:
                break
            if field == _SENT:
                at = _print_integer(sent_ns // unit_ns, out, at)
            elif field == _TIME:
                at = _print_integer((origin_ns + row["time"]) // unit_ns, out, at)
            elif field == _ID:
                at = _print_integer(row["id"], out, at)
            elif field == _FIRST:
                at = _print_integer(row["first"], out, at)
            elif field == _LAST:
                at = _print_integer(row["last"], out, at)
            elif field == _MAKER:
                word = (116, 114, 117, 101, 0) if row["maker"] else (102, 97, 108, 115, 101)  # true, false
                for j in range(5):
                    out[at + j] = word[j]
                at += 4 if row["maker"] else 5
            elif field == _PRICE:
                at = _print_decimal(row["price"] * decimals[0], decimals[1], out, at)
            elif field == _ASK:
                at = _print_decimal(row["ask"] * decimals[0], decimals[1], out, at)
            elif field == _SIZE:
                at = _print_decimal(row["size"] * decimals[2], decimals[3], out, at)
            elif field == _ASK_SIZE:
                at = _print_decimal(row["ask_size"] * decimals[2], decimals[3], out, at)
            elif field == _BIDS:
                at = _print_levels(levels, row["levels"], row["levels"] + row["bids"], decimals, out, at)
            else:
                asks = row["levels"] + row["bids"]
                at = _print_levels(levels, asks, asks + row["asks"], decimals, out, at)
        spans[i, 2] = at
        spans[i, 3] = stream
        spans[i, 4] = row["id"]


class Renderer:
    """Turns rows into batches, reusing its buffers."""

    def __init__(self, made: Templates) -> None:
        self.templates = made
        self._out = np.empty(1 << 20, np.uint8)
        self._spans = np.empty((1 << 12, 5), np.int64)

    def batch(
        self, rows: NDArray[np.void], levels: NDArray[np.int64], *, sent_ns: int, origin_ns: int, unit_ns: int
    ) -> Batch:
        """The texts of some messages; the batch is valid until the next call."""
        room = rows.shape[0] * _FIXED_BYTES + int((rows["bids"] + rows["asks"]).sum()) * _LEVEL_BYTES
        if room > self._out.shape[0]:
            self._out = np.empty(2 * room, np.uint8)
        if rows.shape[0] > self._spans.shape[0]:
            self._spans = np.empty((2 * rows.shape[0], 5), np.int64)
        spans = self._spans[: rows.shape[0]]
        made = self.templates
        render_rows(
            rows,
            levels,
            made.pool,
            made.parts,
            made.inner,
            made.decimals,
            made.kinds,
            sent_ns,
            origin_ns,
            unit_ns,
            self._out,
            spans,
        )
        return Batch(self._out, spans[:, 0], spans[:, 1], spans[:, 2], spans[:, 3], spans[:, 4])


def print_price(made: Templates, symbol: int, tick: int) -> str:
    """A price as the venue prints it."""
    step, digits = made.decimals[symbol, :2].tolist()
    return format_decimal(tick * step, digits)


def print_size(made: Templates, symbol: int, lots: int) -> str:
    """A size as the venue prints it."""
    step, digits = made.decimals[symbol, 2:].tolist()
    return format_decimal(lots * step, digits)


def render_one(
    made: Templates, row: NDArray[np.void], levels: NDArray[np.int64], *, sent_ns: int, origin_ns: int, unit_ns: int
) -> str:
    """The combined text of one row: what `render_rows` must print."""
    symbol, first, bids, asks = (int(row[name]) for name in ("symbol", "levels", "bids", "asks"))

    def book(start: int, count: int) -> str:
        return ",".join(
            f'["{print_price(made, symbol, tick)}","{print_size(made, symbol, lots)}"]'
            for tick, lots in levels[start : start + count].tolist()
        )

    values = {
        "sent": str(sent_ns // unit_ns),
        "time": str((origin_ns + int(row["time"])) // unit_ns),
        "id": str(row["id"]),
        "first": str(row["first"]),
        "last": str(row["last"]),
        "maker": "true" if row["maker"] else "false",
        "price": print_price(made, symbol, int(row["price"])),
        "ask": print_price(made, symbol, int(row["ask"])),
        "size": print_size(made, symbol, int(row["size"])),
        "ask_size": print_size(made, symbol, int(row["ask_size"])),
        "bids": book(first, bids),
        "asks": book(first + bids, asks),
    }
    return re.sub(r"<(\w+)>", lambda hole: values[hole[1]], made.texts[symbol * made.kinds + int(row["kind"])])
