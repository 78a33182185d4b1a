"""A market whose frames are printed in advance, and sent repeatedly with new ids and times: for high rates.

It sends trades and best prices of a live market, as many as the spec says. Each turn through them advances the ids of
each stream so that they continue, and replaces each time in a text by that of sending. So a message costs the venue
less than it costs a plant. The books stand still.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from tickplant.kernels import kernel
from tickplant.sim.audience import Audience
from tickplant.sim.dialect import Events, Printer
from tickplant.sim.frames import Batch
from tickplant.sim.live_market import FALLEN_BEHIND_NS, TURN_MESSAGES, LiveMarket
from tickplant.sim.order_flow import TICKER, TRADE
from tickplant.sim.outlet import Outlet
from tickplant.sim.print_kernels import print_digits
from tickplant.sim.spec import SimSpec

PREPARING_PER_S: Final = 100_000.0
"""Rate of the market that the messages come from; it does not affect the sending rate."""


class Prepared(NamedTuple):
    """Messages of one variant, and the positions of the numbers that change in their text."""

    batch: Batch
    ids: NDArray[np.int64]  # [messages, 2] begin and end of an id
    times: NDArray[np.int64]  # [times, 2] likewise for times
    times_from: NDArray[np.int64]  # [messages + 1] the first time of each message


@kernel
def stamp(
    text: NDArray[np.uint8],
    first: int,
    last: int,
    ids_at: NDArray[np.int64],
    ids: NDArray[np.int64],
    times_at: NDArray[np.int64],
    times_from: NDArray[np.int64],
    now: int,
) -> None:
    """Print `ids` into messages first .. last-1, and `now` at each of their times."""
    for i in range(first, last):
        print_digits(ids[i - first], ids_at[i, 1] - ids_at[i, 0], text, ids_at[i, 0])
        for k in range(times_from[i], times_from[i + 1]):
            print_digits(now, times_at[k, 1] - times_at[k, 0], text, times_at[k, 0])


def find_numbers(text: bytes, numbers: set[int]) -> Iterator[tuple[int, int]]:
    """Occurrences of these numbers in a text as whole numbers: begin and end."""
    for number in sorted(numbers):
        digits = b"%d" % number
        at = text.find(digits)
        while at >= 0:
            end = at + len(digits)
            if not (text[at - 1 : at].isdigit() or text[end : end + 1].isdigit()):
                yield at, end
            at = text.find(digits, end)


class PreparedMarket(LiveMarket):
    """Source: the same messages, repeatedly."""

    def __init__(self, spec: SimSpec, make_printer: Callable[[], Printer], *, trading: str) -> None:
        """See LiveMarket. The messages are printed by `prepare`."""
        quick = msgspec.structs.replace(spec, messages_per_s=PREPARING_PER_S, limit_messages=None, burstiness=0.0)
        super().__init__(quick, make_printer, trading=trading)
        self._pace = spec
        self._audience = Audience()
        own = np.zeros((len(self.printer.instruments), self.market.kinds), np.bool_)
        own[:, [TRADE, TICKER]] = True
        self._carried = np.zeros(len(self.streams), np.bool_)
        self._carried[: own.size] = own.reshape(-1)
        self._prepared: dict[int, Prepared] = {}  # by variant
        self._advance = np.zeros(len(self.streams), np.int64)  # increase of a stream's ids per turn
        self._made = 0  # messages so far
        self._log = structlog.get_logger("sim")

    def prepare(self) -> None:
        """Compile the kernels, and print the messages."""
        super().prepare()
        wanted = self._pace.prepared_messages or 1
        blocks, count = [], 0
        needed = self.printer.needs(self._carried)
        while count < wanted:
            for rows, _ in self.market.advance(self.market.next_ns, needed):
                blocks.append(rows[self._carried[rows["symbol"] * self.market.kinds + rows["kind"]]])
                count += len(blocks[-1])
        self._rows = np.concatenate(blocks)[:wanted]
        stream = self._rows["symbol"] * self.market.kinds + self._rows["kind"]
        for one in np.unique(stream).tolist():
            ids = self._rows["id"][stream == one]
            self._advance[one] = ids[-1] - ids[0] + 1
        nothing = np.zeros((0, 2), np.int64)
        stamp(np.zeros(1, np.uint8), 0, 0, nothing, np.zeros(0, np.int64), nothing, np.zeros(1, np.int64), 0)

    def on_subscriptions(self) -> None:
        """Perhaps the play can begin."""
        self._audience.changed()

    async def run(self) -> None:
        """Wait for listeners, send at an even pace up to the limits, then stay silent."""
        spec, outlet = self._pace, self._sends_through
        await self._audience.assembled(outlet, self._carried, spec)
        limit = min(spec.limit_messages or 1 << 62, int((spec.duration_s or 1e9) * spec.messages_per_s))
        gap_ns, tick_ns = 1e9 / spec.messages_per_s, int(spec.tick_ms * 1e6)
        start_ns = time.monotonic_ns()
        while self._made < limit:
            late_ns = time.monotonic_ns() - start_ns - int(self._made * gap_ns)
            if late_ns > FALLEN_BEHIND_NS:
                self._log.warning("the market fell behind and skips time", late_ms=late_ns // 1_000_000)
                start_ns += late_ns
                late_ns = 0
            self.send(min(1 + int(late_ns / gap_ns), TURN_MESSAGES, limit - self._made))
            early_ns = start_ns + int(self._made * gap_ns) - time.monotonic_ns()
            # Late: at once, but signals and clients get their turn. Else after one tick, or once something is due.
            await asyncio.sleep(0 if early_ns < -tick_ns else max(tick_ns, early_ns) / 1e9)
        self.ended = True
        self._log.info("market ended", messages=self._made, frames_sent=outlet.frames_sent)

    def send(self, count: int) -> None:
        """Send the next messages to their subscribers."""
        outlet = self._sends_through
        variants = {receiver.session.variant for receiver in outlet.receivers.values()}
        while count:
            turn, first = divmod(self._made, len(self._rows))
            last = min(first + count, len(self._rows))
            for variant in variants:
                outlet.deliver(self._stamped(variant, turn, first, last), variant=variant)
            self._made += last - first
            count -= last - first

    def _stamped(self, variant: int, turn: int, first: int, last: int) -> Batch:
        if variant not in self._prepared:
            self._prepared[variant] = self._print(variant)
        batch, ids_at, times_at, times_from = self._prepared[variant]
        part = batch.part(first, last)
        ids = part.id + turn * self._advance[part.stream]
        stamp(batch.text, first, last, ids_at, ids, times_at, times_from, time.time_ns() // variant)
        return Batch(part.text, part.forms, part.stream, ids)

    def _print(self, variant: int) -> Prepared:
        """The messages of a variant, which is a unit of time in ns."""
        sent_ns = time.time_ns()
        events = Events(self._rows, np.zeros((0, 2), np.int64), sent_ns, sent_ns)
        (batch,) = (batch for _, batch in self.printer.render(events, self._carried, {variant}))
        starts, ends = batch.forms[0]
        text = batch.text[: int(ends[-1])].tobytes()
        ids, times, counts = [], [], [0]
        rows = zip(starts.tolist(), ends.tolist(), batch.id.tolist(), self._rows["time"].tolist(), strict=True)
        for start, end, ident, time_ns in rows:
            message = text[start:end]
            (found,) = find_numbers(message, {ident})
            ids.append((start + found[0], start + found[1]))
            moments = {sent_ns // variant, (sent_ns + time_ns) // variant}
            times += [(start + begin, start + stop) for begin, stop in find_numbers(message, moments)]
            counts.append(len(times))
        own = Batch(
            np.frombuffer(bytearray(text), np.uint8),
            tuple((begins.copy(), stops.copy()) for begins, stops in batch.forms),
            batch.stream.copy(),
            batch.id.copy(),
        )
        places = np.array(times, np.int64).reshape(-1, 2)
        return Prepared(own, np.array(ids, np.int64), places, np.array(counts, np.int64))

    @property
    def _sends_through(self) -> Outlet:
        assert self._outlet is not None
        return self._outlet

    def report(self) -> dict[str, object]:
        """The number of messages so far."""
        return super().report() | {"mode": "prepared", "messages": self._made}
