"""An adapter on the bench: its own instrument table, readable records, and its requests to its runner."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tickplant.errors import FeedError
from tickplant.feeds.capture_lines import parse_line
from tickplant.feeds.contract import (
    Answer,
    Closed,
    Ended,
    Event,
    Fail,
    FeedContext,
    Frames,
    LinkSpec,
    Notice,
    Open,
    Opened,
    Reject,
    Request,
    Resubscribe,
    Resumed,
    Resync,
    Second,
    Send,
)
from tickplant.feeds.last_ids import LastIds
from tickplant.instruments import Instrument
from tickplant.records.layouts import Flag, Kind, Side

SECOND = 1_000_000_000


class Record(NamedTuple):
    """A tick in readable form."""

    kind: Kind
    symbol: str
    price: int
    size: int
    side: Side
    venue_seq: int
    order_id: int
    flags: Flag
    ts_event: int
    ts_recv: int


class VenueDesk:
    """An adapter, its instruments, and its output."""

    def __init__(
        self,
        venue: str,
        make: Callable[[FeedContext], Any],
        symbols: Sequence[str] | None = None,
        *,
        scale: int = 8,
        link: str = "stream",
        **options: Any,
    ) -> None:
        self.venue = venue
        self.instruments: list[Instrument] = []
        self.scale = scale
        self.symbols = symbols
        self.link = link  # whose events are handed in where no other is named
        if ws_url := options.pop("ws_url", ""):
            options["endpoints"] = {"ws": ws_url}
        self.adapter = make(
            FeedContext(
                symbols=None if symbols is None else tuple(symbols),
                channels=tuple(options.pop("channels", ("trade", "quote", "book"))),
                resolve=self.resolve,
                live=options.pop("live", symbols is not None),
                **options,
            )
        )
        self.requests: list[Request] = []
        self.actions: list[Send | Resubscribe] = []
        self.links: list[LinkSpec] = []
        self.notices: list[Notice] = []
        self.rejects: list[Reject] = []
        self._ticks: list[np.ndarray] = []

    def resolve(
        self, symbol: str, price_scale: int | None, size_scale: int | None, /, *, exact: bool = False
    ) -> Instrument:
        scales = [self.scale if scale is None else scale for scale in (price_scale, size_scale)]
        self.instruments.append(Instrument(len(self.instruments) + 1, self.venue, symbol, *scales))
        return self.instruments[-1]

    def start(self) -> list[Request]:
        self.adapter.start(0)
        return self.take_requests()

    def event(self, event: Event, ts: int = 0) -> None:
        """Pass an event to the adapter; `take` returns the output. Raises FeedError if the adapter fails."""
        self.adapter.on_event(event, ts)
        self._pull()

    def answer(self, request: Request, status: int, body: bytes, ts: int, **options) -> None:
        self.event(Answer(request, status, body, **options), ts)

    def frames(self, name: str, frames: Sequence[bytes], ts: int) -> None:
        self.event(Frames(name, frames), ts)

    def record(self, body: bytes, ts: int) -> None:
        """Pass one line of a recording to the adapter."""
        _, event = parse_line(b"%d %s" % (1_700_000_000 * SECOND, body))
        self.event(event, ts)

    def end(self) -> None:
        self.event(Ended())

    def resync(self, symbol: str, ts: int) -> None:
        self.event(Resync(symbol), ts)

    def resume(self, last: Mapping[str, LastIds], ts: int) -> None:
        self.event(Resumed(last), ts)

    def open(self, name: str = "", ts: int = 0) -> list[Record]:
        self.event(Opened(name or self.link), ts)
        return self.take()

    def close(self, name: str = "", ts: int = 0) -> list[Record]:
        self.event(Closed(name or self.link, "test"), ts)
        return self.take()

    def feed(self, *frames: str | bytes | dict, ts: int = 0, name: str = "") -> list[Record]:
        self.frames(name or self.link, [as_bytes(frame) for frame in frames], ts)
        return self.take()

    def recorded(self, frame: str | bytes | dict, ts: int = 0) -> list[Record]:
        self.record(as_bytes(frame), ts)
        return self.take()

    def timer(self, ts: int) -> list[Record]:
        self.event(Second(), ts)
        return self.take()

    def _pull(self) -> None:
        output = self.adapter.take()
        self._ticks.append(output.ticks.copy())
        self.rejects += output.rejects
        for effect in output.effects:
            match effect:
                case Fail(reason):
                    raise FeedError(reason)
                case Request():
                    self.requests.append(effect)
                case Open(link):
                    self.links.append(link)
                case Notice():
                    self.notices.append(effect)
                case _:
                    self.actions.append(effect)

    def take_ticks(self) -> np.ndarray:
        """The ticks since the last call, dtype TICK."""
        self._pull()
        ticks, self._ticks = np.concatenate(self._ticks), []
        return ticks

    def take_requests(self) -> list[Request]:
        self._pull()
        requests, self.requests = self.requests, []
        return requests

    def take_notices(self) -> list[Notice]:
        self._pull()
        notices, self.notices = self.notices, []
        return notices

    def take(self) -> list[Record]:
        symbols = {instrument.id: instrument.symbol for instrument in self.instruments}
        return [
            Record(
                Kind(int(tick["kind"])),
                symbols[int(tick["instrument"])],
                int(tick["price"]),
                int(tick["size"]),
                Side(int(tick["side"])),
                int(tick["venue_seq"]),
                int(tick["order_id"]),
                Flag(int(tick["flags"])),
                int(tick["ts_event"]),
                int(tick["ts_recv"]),
            )
            for tick in self.take_ticks()
        ]


def as_bytes(frame: str | bytes | dict) -> bytes:
    """A frame in the compact form in which venues write it."""
    if isinstance(frame, dict):
        frame = json.dumps(frame, separators=(",", ":"), ensure_ascii=False)
    return frame.encode() if isinstance(frame, str) else frame


def words(ticks: np.ndarray) -> list[list[int]]:
    """Ticks as integers, for comparison bit by bit."""
    return np.ascontiguousarray(ticks).view(np.int64).reshape(-1, 8).tolist()
