"""The synthetic market on the air: runs it by the clock, sends its events, answers for its past and present."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.sim.dialect import Events, Printer
from tickplant.sim.frames import batch_of, frames
from tickplant.sim.market import Market
from tickplant.sim.order_flow import AGGREGATE, ASK, BID, MESSAGE, NEVER, TRADE
from tickplant.sim.outlet import Outlet
from tickplant.sim.sim_source import Book, Listed, Trade
from tickplant.sim.spec import SimSpec
from tickplant.sim.templates import print_price, print_size

MOST_DIGITS = 12  # of a price

FALLEN_BEHIND_NS = 500_000_000  # a market this late skips the lost time

TURN_MESSAGES = 1 << 13  # limit for one turn: some 0.2 s of work

# Ids begin at the microseconds since 2024 (if ids jump, at ten times that): a restarted venue continues with higher
# ids, as a real one would.
IDS_SINCE_NS = 1_704_067_200_000_000_000


class LiveMarket:
    """Source: a synthetic market."""

    def __init__(self, spec: SimSpec, make_printer: Callable[[], Printer], *, trading: str) -> None:
        """`trading` is the venue's word for the status of a traded instrument."""
        self._spec = spec
        self._make_printer = make_printer
        self._trading = trading
        self._printer = printer = make_printer()
        self.index = {one.symbol: index for index, one in enumerate(printer.instruments)}
        self.market = Market(
            printer.instruments,
            seed=spec.seed,
            messages_per_s=spec.messages_per_s,
            intervals_ns=printer.intervals_ns,
            id_step=printer.id_step,
            burstiness=spec.burstiness,
            depth_levels=spec.depth_levels,
            limit_messages=spec.limit_messages,
            id_base=(time.time_ns() - IDS_SINCE_NS) // 1000 * (1 if printer.id_step == 1 else 10),
        )
        printer.begin(self.market)
        self.streams = printer.streams
        self._find = {name: index for index, name in enumerate(self.streams)}
        self.listed = {
            one.symbol: Listed(
                one.symbol, one.base, one.quote, one.price_digits, one.size_digits, one.tick_size, one.lot_size, trading
            )
            for one in printer.instruments
        }
        self._all = dict(self.listed)
        self._frozen: set[int] = set()
        self._history = {kind: _History(spec.history_trades) for kind in (TRADE, AGGREGATE)}
        self._outlet: Outlet | None = None
        self._origin_ns = time.time_ns()
        self._log = structlog.get_logger("sim")
        self.ended = False

    @property
    def printer(self) -> Printer:
        """The market's printer."""
        return self._printer

    def prepare(self) -> None:
        """Compile the kernels by running a twin for a while, so that nobody waits for them later."""
        spec = msgspec.structs.replace(self._spec, messages_per_s=1000.0, limit_messages=None, log=None)
        twin = LiveMarket(spec, self._make_printer, trading=self._trading)
        twin.printer.prepare()
        frames(batch_of([b"{}"], [0], [0]), np.zeros(1, np.int64))  # as for a frame for one connection
        wanted = np.ones(len(self.streams), np.bool_)
        for rows, levels in twin.market.advance(10**9, twin.printer.needs(wanted)):
            for _, batch in twin.printer.render(Events(rows, levels, 1, 1), wanted, {0}):
                for form in range(len(batch.forms)):
                    frames(batch, np.arange(batch.messages), form)

    def find(self, stream: str) -> int | None:
        """Index of the stream of exactly this name."""
        return self._find.get(stream)

    def on_subscriptions(self) -> None:
        """Ignored: the market runs regardless."""

    def refine(self, symbol: str, digits: int) -> bool:
        """See Source. All prices move by a tiny part, so that the new decimals are used."""
        index, one = self.index.get(symbol), self._all.get(symbol)
        if index is None or one is None or one.price_digits + digits > MOST_DIGITS:
            return False
        decimals = self._printer.decimals[index]
        decimals[:2] = decimals[0] * 10**digits + 1, one.price_digits + digits
        finer = one.price_digits + digits
        self._keep(msgspec.structs.replace(one, price_digits=finer, tick_size=f"0.{'0' * (finer - 1)}1"))
        return True

    def set_life(self, symbol: str, *, status: str, trades: bool, listed: bool = True) -> bool:
        """See Source."""
        index, one = self.index.get(symbol), self._all.get(symbol)
        if index is None or one is None:
            return False
        self.listed[symbol] = one
        self._keep(msgspec.structs.replace(one, status=status))
        if not listed:
            del self.listed[symbol]
        (self._frozen.discard if trades else self._frozen.add)(index)
        self.market.freeze(self._frozen)
        return True

    def _keep(self, one: Listed) -> None:
        self._all[one.symbol] = one
        if one.symbol in self.listed:
            self.listed[one.symbol] = one
        batch = self._printer.changed(one)
        if batch is not None and self._outlet is not None:
            self._outlet.deliver(batch)

    def bind(self, outlet: Outlet) -> None:
        """Send through this outlet."""
        self._outlet = outlet

    async def run(self) -> None:
        """Run the market up to its limits, then stay silent."""
        assert self._outlet is not None
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
            # In steps short enough for signals and clients, whatever the rate.
            self.step(min(now_ns, end_ns, self.market.next_ns + turn_ns))
            if spec.limit_messages is not None and self.market.messages >= spec.limit_messages and self._is_flushed():
                break
            # As soon as something is due, but not within one tick.
            wait_ns = max(tick_ns, self.market.next_ns - (time.monotonic_ns() - start_ns))
            await asyncio.sleep(wait_ns / 1e9)
        self.ended = True
        self._log.info("market ended", messages=self.market.messages, frames_sent=self._outlet.frames_sent)

    def step(self, until_ns: int) -> None:
        """Run the market up to a time and send its events."""
        assert self._outlet is not None
        outlet = self._outlet
        for rows, levels in self.market.advance(until_ns, self._printer.needs(outlet.wanted)):
            for kind, history in self._history.items():
                kept = rows[rows["kind"] == kind]
                kept["time"] += self._origin_ns
                history.append(kept)
            variants = {receiver.session.variant for receiver in outlet.receivers.values()}
            events = Events(rows, levels, time.time_ns(), self._origin_ns)
            for variant, batch in self._printer.render(events, outlet.wanted, variants):
                outlet.deliver(batch, variant=variant)

    def _is_flushed(self) -> bool:
        """Whether every change of every book has been in a diff."""
        state = self.market.state
        return bool((state.flushed >= state.ids[:, :1]).all())

    def book(self, symbol: str, limit: int) -> Book:
        """The present book: it contains every change up to its update id, whether sent in a diff or not."""
        index, decimals = self.index[symbol], self._printer.decimals
        bids, asks = (
            [
                (print_price(decimals, index, tick), print_size(decimals, index, lots))
                for tick, lots in self.market.book(index, side, limit)
            ]
            for side in (BID, ASK)
        )
        return Book(self.market.update_id(index), bids, asks)

    def past(self, symbol: str, kind: int) -> NDArray[np.void]:
        """Kept rows of order_flow.MESSAGE, trades or aggregates, oldest first; their times are since the epoch."""
        return self._history[kind].of(self.index[symbol])

    def trades(self, symbol: str, from_id: int | None, limit: int) -> list[Trade]:
        """Kept trades from an id on, or the newest; oldest first."""
        rows = self.past(symbol, TRADE)
        return self.show(rows[-limit:] if from_id is None else rows[rows["id"] >= from_id][:limit])

    def aggregates(
        self, symbol: str, from_id: int | None, start_ns: int | None, end_ns: int | None, limit: int
    ) -> list[Trade]:
        """Kept aggregates from an id on, of a time range (its end is exclusive), or the newest; oldest first."""
        rows = self.past(symbol, AGGREGATE)
        if from_id is not None:
            return self.show(rows[rows["id"] >= from_id][:limit])
        if start_ns is None and end_ns is None:
            return self.show(rows[-limit:])
        after = rows["time"] >= (0 if start_ns is None else start_ns)
        before = rows["time"] < (NEVER if end_ns is None else end_ns)
        return self.show(rows[after & before][:limit])

    def show(self, rows: NDArray[np.void]) -> list[Trade]:
        """Rows of `past`, printed."""
        return [
            Trade(
                int(row["id"]),
                print_price(self._printer.decimals, int(row["symbol"]), int(row["price"])),
                print_size(self._printer.decimals, int(row["symbol"]), int(row["size"])),
                int(row["time"]),
                bool(row["maker"]),
                int(row["first"]),
                int(row["last"]),
            )
            for row in rows
        ]

    def report(self) -> dict[str, object]:
        """The market's progress."""
        state = self.market.state
        return {
            "mode": "market",
            "ended": self.ended,
            "messages": self.market.messages,
            "symbols": {
                symbol: dict(zip(("update_id", "trade_id", "aggregate_id"), state.ids[index].tolist(), strict=True))
                for symbol, index in self.index.items()
            },
        }


class _History:
    """The newest rows, in a ring, with times since the epoch."""

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
