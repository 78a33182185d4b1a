"""The synthetic market on the air: lets it live by the clock, sends what happens, answers for its past and present."""

from __future__ import annotations

import asyncio
import time

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.sim.dialects.binance.instruments import traded
from tickplant.sim.dialects.binance.market import Market
from tickplant.sim.dialects.binance.orders import AGGREGATE, ASK, BID, MESSAGE, NEVER, TRADE
from tickplant.sim.dialects.binance.render import SPEEDS, Renderer, print_price, print_size, templates
from tickplant.sim.dialects.binance.session import MICROSECOND_NS, MILLISECOND_NS
from tickplant.sim.frames import frames
from tickplant.sim.outlet import Answer, Outlet
from tickplant.sim.sim_source import Asker, Listed, Trade
from tickplant.sim.spec import SimSpec

MOST_DIGITS = 12  # of a price

FALLEN_BEHIND_NS = 500_000_000  # a market this late skips the lost time instead of making up for it

TURN_MESSAGES = 1 << 13  # at most in one turn: some 0.2 s of work

# Ids begin at the microseconds since 2024 (futures, whose ids jump: ten times that): a venue that is started again
# goes on with higher ids, as a real one would.
IDS_SINCE_NS = 1_704_067_200_000_000_000


class LiveMarket:
    """Source: a synthetic market."""

    def __init__(self, spec: SimSpec) -> None:
        self._spec = spec
        self._futures = spec.venue == "binance-usdm"
        instruments = [traded(symbol, futures=self._futures) for symbol in spec.symbols]
        self._index = {symbol: index for index, symbol in enumerate(spec.symbols)}
        self.market = Market(
            instruments,
            seed=spec.seed,
            messages_per_s=spec.messages_per_s,
            intervals_ns=[interval_ms * 1_000_000 for _, interval_ms in SPEEDS[spec.venue]],
            futures=self._futures,
            burstiness=spec.burstiness,
            depth_levels=spec.depth_levels,
            limit_messages=spec.limit_messages,
            id_base=(time.time_ns() - IDS_SINCE_NS) // 1000 * (10 if self._futures else 1),
        )
        self._templates = templates(spec.venue, instruments)
        self._renderers = {unit: Renderer(self._templates) for unit in (MILLISECOND_NS, MICROSECOND_NS)}
        self.streams = self._templates.streams
        self._find = {name: index for index, name in enumerate(self.streams)}
        self.listed = {
            one.symbol: Listed(
                one.symbol, one.base, one.quote, one.price_digits, one.size_digits, one.tick_size, one.lot_size
            )
            for one in instruments
        }
        self._all = dict(self.listed)
        self._frozen: set[int] = set()
        self._history = {kind: _History(spec.history_trades) for kind in (TRADE, AGGREGATE)}
        self._origin_ns = time.time_ns()
        self._log = structlog.get_logger("sim")
        self.ended = False

    def prepare(self) -> None:
        """Compile the kernels by running a twin for a while, so that nobody waits for them later."""
        spec = msgspec.structs.replace(self._spec, messages_per_s=1000.0, limit_messages=None, log=None)
        twin = LiveMarket(spec)
        for rows, levels in twin.market.advance(10**9, np.ones(len(self.streams), np.bool_)):
            batch = twin._renderers[MILLISECOND_NS].batch(rows, levels, sent_ns=1, origin_ns=1, unit_ns=1)
            frames(batch, np.arange(batch.messages), combined=True)

    def find(self, stream: str) -> int | None:
        """Index of the stream of exactly this name."""
        return self._find.get(stream)

    def on_subscriptions(self) -> None:
        """The market does not care."""

    def refine(self, symbol: str, digits: int) -> bool:
        """See Source. All prices move by a tiny part, so that the new decimals are used."""
        index, one = self._index.get(symbol), self._all.get(symbol)
        if index is None or one is None or one.price_digits + digits > MOST_DIGITS:
            return False
        decimals = self._templates.decimals[index]
        decimals[:2] = decimals[0] * 10**digits + 1, one.price_digits + digits
        finer = one.price_digits + digits
        self._keep(msgspec.structs.replace(one, price_digits=finer, tick_size=f"0.{'0' * (finer - 1)}1"))
        return True

    def set_life(self, symbol: str, *, status: str, listed: bool = True) -> bool:
        """See Source."""
        index, one = self._index.get(symbol), self._all.get(symbol)
        if index is None or one is None:
            return False
        self.listed[symbol] = one
        self._keep(msgspec.structs.replace(one, status=status))
        if not listed:
            del self.listed[symbol]
        (self._frozen.discard if listed and status == "TRADING" else self._frozen.add)(index)
        self.market.freeze(self._frozen)
        return True

    def _keep(self, one: Listed) -> None:
        self._all[one.symbol] = one
        if one.symbol in self.listed:
            self.listed[one.symbol] = one

    def bind(self, outlet: Outlet) -> None:
        """Send through this outlet."""
        self._outlet = outlet

    async def run(self) -> None:
        """Let the market live until its limits, then keep quiet."""
        spec = self._spec
        tick_ns = int(spec.tick_ms * 1e6)
        turn_ns = int(TURN_MESSAGES * 1e9 / spec.messages_per_s)
        end_ns = NEVER if spec.duration_s is None else int(spec.duration_s * 1e9)
        self._origin_ns = time.time_ns()
        start_ns = time.monotonic_ns()
        while self.market.next_ns <= end_ns:
            now_ns = time.monotonic_ns() - start_ns
            late_ns = now_ns - self.market.next_ns
            if late_ns > FALLEN_BEHIND_NS:
                self._log.warning("the market fell behind and skips time", late_ms=late_ns // 1_000_000)
                start_ns += late_ns
                self._origin_ns += late_ns
                now_ns -= late_ns
            # No further at a time than signals and clients can wait for, whatever the rate.
            self.step(min(now_ns, end_ns, self.market.next_ns + turn_ns))
            if spec.limit_messages is not None and self.market.messages >= spec.limit_messages and self._is_flushed():
                break
            # As soon as something is due, but no sooner than one tick from now.
            wait_ns = max(tick_ns, self.market.next_ns - (time.monotonic_ns() - start_ns))
            await asyncio.sleep(wait_ns / 1e9)
        self.ended = True
        self._log.info("market ended", messages=self.market.messages, frames_sent=self._outlet.frames_sent)

    def step(self, until_ns: int) -> None:
        """Let the market live until a time and send what happened."""
        for rows, levels in self.market.advance(until_ns, self._outlet.wanted):
            for kind, history in self._history.items():
                kept = rows[rows["kind"] == kind]
                kept["time"] += self._origin_ns
                history.append(kept)
            self._send(rows, levels)

    def _send(self, rows: NDArray[np.void], levels: NDArray[np.int64]) -> None:
        wanted = rows[self._outlet.wanted[rows["symbol"] * self.market.kinds + rows["kind"]]]
        if wanted.shape[0] == 0:
            return
        sent_ns = time.time_ns()
        for unit_ns in {receiver.unit_ns for receiver in self._outlet.receivers.values()}:
            batch = self._renderers[unit_ns].batch(
                wanted, levels, sent_ns=sent_ns, origin_ns=self._origin_ns, unit_ns=unit_ns
            )
            self._outlet.deliver(batch, unit_ns=unit_ns)

    def _is_flushed(self) -> bool:
        """Whether every change of every book has been in a diff."""
        state = self.market.state
        return bool((state.flushed >= state.ids[:, :1]).all())

    async def depth(self, symbol: str, limit: int, unit_ns: int, asker: Asker) -> Answer:
        """The book as it is now."""
        return Answer(200, self.book(symbol, limit, unit_ns))

    def book(self, symbol: str, limit: int, unit_ns: int) -> bytes:
        """The book as it is now: every change up to its lastUpdateId, sent in a diff or not yet, is in it."""
        index = self._index[symbol]
        now = time.time_ns() // unit_ns
        body: dict[str, object] = {"lastUpdateId": self.market.update_id(index)}
        if self._futures:
            body |= {"E": now, "T": now}
        for name, side in (("bids", BID), ("asks", ASK)):
            body[name] = [
                (print_price(self._templates, index, tick), print_size(self._templates, index, lots))
                for tick, lots in self.market.book(index, side, limit)
            ]
        return msgspec.json.encode(body)

    def trades(self, symbol: str, from_id: int | None, limit: int) -> list[Trade]:
        """Kept trades from an id on, or the newest; oldest first."""
        rows = self._history[TRADE].of(self._index[symbol])
        return self._show(rows[-limit:] if from_id is None else rows[rows["id"] >= from_id][:limit])

    def aggregates(
        self, symbol: str, from_id: int | None, start_ns: int | None, end_ns: int | None, limit: int
    ) -> list[Trade]:
        """Kept aggregates from an id on, of a time range, or the newest; oldest first."""
        rows = self._history[AGGREGATE].of(self._index[symbol])
        if from_id is not None:
            return self._show(rows[rows["id"] >= from_id][:limit])
        if start_ns is None and end_ns is None:
            return self._show(rows[-limit:])
        # Both ends name a whole millisecond (or microsecond), as the times in the answer do.
        after = rows["time"] >= (0 if start_ns is None else start_ns)
        before = rows["time"] < (NEVER if end_ns is None else end_ns + MILLISECOND_NS)
        return self._show(rows[after & before][:limit])

    def _show(self, rows: NDArray[np.void]) -> list[Trade]:
        return [
            Trade(
                int(row["id"]),
                print_price(self._templates, int(row["symbol"]), int(row["price"])),
                print_size(self._templates, int(row["symbol"]), int(row["size"])),
                int(row["time"]),
                bool(row["maker"]),
                int(row["first"]),
                int(row["last"]),
            )
            for row in rows
        ]

    def report(self) -> dict[str, object]:
        """How far the market has come."""
        state = self.market.state
        return {
            "mode": "market",
            "ended": self.ended,
            "messages": self.market.messages,
            "symbols": {
                symbol: dict(zip(("update_id", "trade_id", "aggregate_id"), state.ids[index].tolist(), strict=True))
                for symbol, index in self._index.items()
            },
        }


class _History:
    """The newest rows, in a ring, their times since the epoch."""

    def __init__(self, capacity: int) -> None:
        self._rows = np.zeros(capacity, MESSAGE)
        self._written = 0

    def append(self, rows: NDArray[np.void]) -> None:
        capacity = self._rows.shape[0]
        rows = rows[-capacity:]
        self._rows[(self._written + np.arange(rows.shape[0])) % capacity] = rows
        self._written += rows.shape[0]

    def of(self, symbol: int) -> NDArray[np.void]:
        """Rows of a symbol, oldest first."""
        capacity = self._rows.shape[0]
        if self._written <= capacity:
            rows = self._rows[: self._written]
        else:
            rows = np.roll(self._rows, -(self._written % capacity))
        chosen: NDArray[np.void] = rows[rows["symbol"] == symbol]
        return chosen
