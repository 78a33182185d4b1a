"""The synthetic market as Coinbase Exchange prints it. No I/O."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickplant.sim import order_flow
from tickplant.sim.dialect import Events
from tickplant.sim.dialects.coinbase.frames_of_orders import Orders
from tickplant.sim.dialects.coinbase.instruments import product
from tickplant.sim.dialects.coinbase.printer import BOOK, FRAME, CoinbasePrinter, style
from tickplant.sim.frames import Batch, batch_of
from tickplant.sim.market import Market
from tickplant.sim.sim_source import Listed

NAMES: Final = ("matches", "ticker", "level2", "full", "heartbeat")
FULL: Final = 3
HEARTBEAT: Final = 4
STATUS: Final = "status"
SECOND_NS: Final = 1_000_000_000

_MATCH: Final = (
    '{"type":"match","trade_id":<id>,"maker_order_id":"00000000-0000-4000-8000-000000000001",'
    '"taker_order_id":"00000000-0000-4000-8000-000000000002","side":"<maker?sell|buy>","size":"<size>",'
    '"price":"<price>","product_id":"<symbol>","sequence":<id>,"time":"<time>"}'
)
_TICKER: Final = (
    '{"type":"ticker","sequence":<id>,"product_id":"<symbol>","price":"<price>","open_24h":"<price>",'
    '"volume_24h":"<size>","low_24h":"<price>","high_24h":"<ask>","volume_30d":"<size>","best_bid":"<price>",'
    '"best_bid_size":"<size>","best_ask":"<ask>","best_ask_size":"<ask_size>","side":"buy","time":"<time>",'
    '"trade_id":1,"last_size":"<size>"}'
)
_UPDATE: Final = '{"type":"l2update","product_id":"<symbol>","changes":[<changes>],"time":"<time>"}'
_SNAPSHOT: Final = '{"type":"snapshot","product_id":"<symbol>","asks":[<asks>],"bids":[<bids>],"time":"<time>"}'
_HEARTBEAT: Final = (
    '{"type":"heartbeat","sequence":<id>,"last_trade_id":<first>,"product_id":"<symbol>","time":"<time>"}'
)
_UPDATES: Final = style(('["buy","', '","', '"]'), ('["sell","', '","', '"]'))
_SNAPSHOTS: Final = style(('["', '","', '"]'))


def status_frame(listed: Iterable[Listed]) -> bytes:
    """A frame of the channel with the instrument data."""
    return msgspec.json.encode({"type": STATUS, "currencies": [], "products": [product(one) for one in listed]})


class ExchangePrinter(CoinbasePrinter):
    """Adds heartbeats of each product and, once somebody has asked for them, its orders one by one."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        super().__init__(
            symbols,
            NAMES,
            (_UPDATES, (_MATCH, _TICKER, _UPDATE, "{}", _HEARTBEAT)),
            (_SNAPSHOTS, (_MATCH.replace('"match"', '"last_match"'), _TICKER, _SNAPSHOT, "{}", "{}")),
            lambda one: status_frame([one]),
            STATUS,
        )
        self._orders: dict[int, Orders] = {}  # by symbol
        self._last = np.zeros((len(symbols), 2), np.int64)  # update id and trade id
        self._beats = 0  # seconds since the market opened

    def begin(self, market: Market) -> None:
        """See CoinbasePrinter."""
        super().begin(market)
        self._last[:] = market.state.ids[:, [order_flow.UPDATE_ID, order_flow.TRADE_ID]]

    def orders(self, symbol: int) -> Orders:
        """The orders of a product, as they were at the last update of its book."""
        if symbol not in self._orders:
            name = self.instruments[symbol].symbol
            # A restarted venue continues with higher numbers, as a real one would.
            sequence = time.time_ns() // 1_000_000
            self._orders[symbol] = Orders(name, symbol, self._books[symbol], self.decimals, sequence)
        return self._orders[symbol]

    def render(
        self, events: Events, wanted: NDArray[np.bool_], variants: set[int]
    ) -> Iterator[tuple[int | None, Batch]]:
        """Render the orders last."""
        for symbol in range(len(self.instruments)):
            if wanted[symbol * self.kinds + FULL]:
                self.orders(symbol)  # before the books change
        yield from super().render(events, wanted, variants)
        if self._orders:
            texts, streams, numbers = self._of_orders(events)
            if texts:
                batch = batch_of(texts, streams, numbers)
                yield None, batch

    def _of_orders(self, events: Events) -> tuple[list[bytes], list[int], list[int]]:
        texts: list[bytes] = []
        streams: list[int] = []
        numbers: list[int] = []
        for row in events.rows:
            symbol, kind = int(row["symbol"]), int(row["kind"])
            orders = self._orders.get(symbol)
            if orders is None or kind not in (order_flow.TRADE, order_flow.DEPTH):
                continue
            before, time_ns = orders.sequence, events.origin_ns + int(row["time"])
            if kind == order_flow.TRADE:
                texts += orders.on_trade(row, time_ns)
            else:
                first, bids, asks = int(row["levels"]), int(row["bids"]), int(row["asks"])
                for number, (tick, lots) in enumerate(events.levels[first : first + bids + asks].tolist()):
                    texts += orders.on_level(int(number >= bids), tick, lots, time_ns)
            made = range(before + 1, orders.sequence + 1)
            streams += [symbol * self.kinds + FULL] * len(made)
            numbers += made
        return texts, streams, numbers

    def arrange(self, rows: NDArray[np.void], events: Events) -> NDArray[np.void]:
        """Add a heartbeat of each product once a second."""
        for at, kind in ((0, BOOK), (1, 0)):
            those = rows[rows["kind"] == kind]
            self._last[those["symbol"], at] = those["id"]
        now = int(events.rows["time"][-1]) // SECOND_NS
        if now == self._beats:
            return rows
        self._beats = now
        beats = np.zeros(len(self.instruments), FRAME)
        beats["kind"], beats["symbol"] = HEARTBEAT, np.arange(len(beats))
        beats["time"] = events.rows["time"][-1]
        beats["id"], beats["first"] = self._last.T
        return np.concatenate([rows, beats])
