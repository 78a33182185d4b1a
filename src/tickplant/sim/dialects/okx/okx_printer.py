"""The synthetic market as OKX prints it. No I/O.

As on the venue since 23 June 2026: each change of a book names the previous one, and its checksum is 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.books.depth_book import DepthBook
from tickplant.sim import order_flow
from tickplant.sim.dialect import Events
from tickplant.sim.dialects.coinbase.printer import BOOK, FRAME, TRADE, CoinbasePrinter, sided
from tickplant.sim.dialects.kraken.window_kernels import window_changes
from tickplant.sim.market import Market
from tickplant.sim.sim_source import Listed
from tickplant.sim.templates import ASKS, BIDS, NUMBER, PRICE, SIZE, TIME, Style

NAMES: Final = ("trades", "tickers", "books")
DEPTH: Final = 400

_MODES: Final = (
    dict.fromkeys(("price", "ask"), PRICE)
    | dict.fromkeys(("size", "ask_size"), SIZE)
    | dict.fromkeys(("id", "first", "last"), NUMBER)
    | {"time": TIME, "bids": BIDS, "asks": ASKS}
)
_STYLE: Final = Style(FRAME, _MODES, ('["', '","', '","0","1"]'))
_HEAD: Final = '{"arg":{"channel":"%s","instId":"<symbol>"},'
_TRADES: Final = (
    _HEAD % "trades" + '"data":[{"instId":"<symbol>","tradeId":"<id>","px":"<price>","sz":"<size>",'
    '"side":"<maker?buy|sell>","ts":"<time>","count":"<first>","source":"0"}]}'
)
_TICKER: Final = (
    _HEAD % "tickers" + '"data":[{"instType":"SPOT","instId":"<symbol>","last":"<price>","lastSz":"<size>",'
    '"askPx":"<ask>","askSz":"<ask_size>","bidPx":"<price>","bidSz":"<size>","open24h":"<price>","high24h":"<ask>",'
    '"low24h":"<price>","sodUtc0":"<price>","sodUtc8":"<price>","volCcy24h":"0","vol24h":"0","ts":"<time>"}]}'
)
_BOOK: Final = (
    _HEAD % "books" + '"action":"update","data":[{"asks":[<asks>],"bids":[<bids>],"ts":"<time>","checksum":0,'
    '"prevSeqId":<last>,"seqId":<id>}]}'
)
_TEXTS: Final = (_TRADES, _TICKER, _BOOK)


def instruments_body(listed: Iterable[Listed]) -> bytes:
    """The instrument data, as a REST answer."""
    data = [
        {
            "instType": "SPOT",
            "instId": one.symbol,
            "baseCcy": one.base,
            "quoteCcy": one.quote,
            "tickSz": one.tick_size,
            "lotSz": one.lot_size,
            "minSz": one.lot_size,
            "state": one.status,
        }
        for one in listed
    ]
    return msgspec.json.encode({"code": "0", "msg": "", "data": data})


def _counted(trades: NDArray[np.void]) -> NDArray[np.void]:
    # An aggregate has the id of its last fill; `first` is printed as the number of fills.
    trades["id"], trades["first"] = trades["last"], trades["last"] - trades["first"] + 1
    return trades


class OkxPrinter(CoinbasePrinter):
    """A client's book is the window of the best 400 levels, whose changes are numbered."""

    unit_ns = 1_000_000
    trade_kind = order_flow.AGGREGATE

    def __init__(self, symbols: tuple[str, ...]) -> None:
        snapshots = [text.replace('"action":"update"', '"action":"snapshot"') for text in _TEXTS]
        snapshots[BOOK] = snapshots[BOOK].replace("<last>", "-1")
        super().__init__(symbols, NAMES, (_STYLE, _TEXTS), (_STYLE, snapshots), lambda _: b"", "")
        self.streams = self.streams[:-1]  # no instrument data
        self._shown = [DepthBook() for _ in symbols]
        self._windows = [book.top(DEPTH) for book in self._shown]
        self._numbers = [0] * len(symbols)  # seqId of each book
        self._levels = np.zeros((0, 2), np.int64)
        self._changes = np.zeros((4 * DEPTH, 2), np.int64)

    def begin(self, market: Market) -> None:
        """Note windows and numbers too."""
        super().begin(market)
        self._shown = [self.book_now(symbol) for symbol in range(len(self._shown))]
        self._windows = [book.top(DEPTH) for book in self._shown]
        self._numbers = [market.update_id(symbol) for symbol in range(len(self._numbers))]

    def trade_snapshot(self, trades: NDArray[np.void]) -> bytes:
        """Past aggregates of a pair: rows of order_flow.MESSAGE, times since the epoch."""
        return super().trade_snapshot(_counted(trades.copy()))

    def arrange(self, rows: NDArray[np.void], events: Events) -> NDArray[np.void]:
        """Give trades their numbers of fills, and books the changes of their windows, each naming the previous one."""
        trades = rows["kind"] == TRADE
        rows[trades] = _counted(rows[trades])
        kept, changed, used = np.ones(len(rows), np.bool_), [self._changes[:0]], 0
        for at in np.flatnonzero(rows["kind"] == BOOK).tolist():
            row = rows[at]
            symbol, first, bids, asks = (int(row[name]) for name in ("symbol", "levels", "bids", "asks"))
            levels = events.levels[first : first + bids + asks]
            book, old = self._shown[symbol], self._windows[symbol]
            book.update(sided(levels[:bids], levels[bids:]))
            window = self._windows[symbol] = book.top(DEPTH)
            middle = window_changes(old[0], window[0], DEPTH, True, self._changes, 0)
            end = window_changes(old[1], window[1], DEPTH, False, self._changes, middle)
            kept[at] = end > 0
            if end:
                row["levels"], row["bids"], row["asks"], row["last"] = used, middle, end - middle, self._numbers[symbol]
                self._numbers[symbol] = int(row["id"])
                changed.append(self._changes[:end].copy())
                used += end
        self._levels = np.concatenate(changed)
        return rows[kept]

    def levels(self, events: Events) -> NDArray[np.int64]:
        """The levels of the windows."""
        del events
        return self._levels if len(self._levels) else self._changes[:1]

    def numbered_snapshot(self, symbol: int, book: DepthBook, now_ns: int, number: int, depth: int = DEPTH) -> bytes:
        """The window of a book, with its seqId."""
        sides = book.top(min(depth, DEPTH))
        row = np.zeros(1, FRAME)
        row["kind"], row["symbol"], row["time"], row["id"] = BOOK, symbol, now_ns, number
        row["bids"], row["asks"] = map(len, sides)
        return self.printed(row, np.concatenate(sides))

    def number(self, symbol: int) -> int:
        """The seqId of a book."""
        return self._numbers[symbol]
