"""Recordings of Binance: combined frames and depth snapshots; books and trades of what has been played. No I/O."""

from __future__ import annotations

import functools
from collections import defaultdict, deque
from typing import Final

import msgspec
import numpy as np

from tickplant.sim.conversation import Answer
from tickplant.sim.dialect import Line, RecordedVenue, Snapshot
from tickplant.sim.dialects.binance.desk import SNAPSHOT_LEVELS, Desk
from tickplant.sim.dialects.binance.session import MILLISECOND_NS, RAW, channel, stream_key
from tickplant.sim.frames import Batch
from tickplant.sim.kept_book import KeptBook
from tickplant.sim.player import Player
from tickplant.sim.sim_source import Asker, Listed, Trade

_HEAD: Final = b'{"stream":"'
_DATA: Final = b'","data":'
_SNAPSHOT: Final = b'{"lastUpdateId":'
_IDS: Final = {"trade": b'"t":', "aggTrade": b'"a":', "bookTicker": b'"u":', "depth": b'"u":'}
_ANSWERS: Final = (b'{"result":', b'{"code":', b'{"id":')
"""Acknowledgements and errors of the recorded connection are not played: each connection gets its own."""


class _PastTrade(msgspec.Struct):
    p: str
    q: str
    T: int
    m: bool
    t: int = 0
    a: int = 0
    f: int = 0
    l: int = 0  # noqa: E741  # the venue's name


_TRADE: Final = msgspec.json.Decoder(_PastTrade)


class BinanceRecording(RecordedVenue):
    """First what is recorded, then what has been played."""

    def __init__(self, venue: str, *, kept_trades: int) -> None:
        self.venue = venue
        self._names: list[str] = []  # of streams, in the order of their first line
        self._snapshots: list[tuple[int, int]] = []  # line, id
        self._ranges: dict[str, tuple[int, int]] = {}  # symbol: first and last update id of its diffs
        self._past: defaultdict[str, deque[bytes]] = defaultdict(lambda: deque(maxlen=kept_trades))

    def survey(self, number: int, frame: bytes) -> Line | None:
        """See RecordedVenue; notes the positions of snapshots."""
        line = self.read(frame)
        if frame.startswith(_SNAPSHOT):
            self._snapshots.append((number, _number_after(frame, _SNAPSHOT)))
        elif line is not None and line.stream:
            if (key := stream_key(line.stream)) not in self._names:
                self._names.append(key)
            if channel(line.stream) == "depth":
                symbol = _symbol(line.stream)
                first, _ = self._ranges.get(symbol, (line.id, line.id))
                self._ranges[symbol] = (first, line.id)
        return line

    def listed(self) -> dict[str, Listed]:
        """The recording says nothing about instruments: eight decimals hold every price and size."""
        return {
            symbol: Listed(symbol, symbol, "", 8, 8, "0.00000001", "0.00000001", "TRADING")
            for symbol in map(_symbol, self._names)
        }

    @functools.cache  # noqa: B019  # one object per process
    def fetched(self) -> dict[int, str]:
        """Each symbol's first snapshot."""
        lines: dict[str, int] = {}
        alone = len(self._ranges) == 1
        for number, update in self._snapshots:
            # A snapshot does not name its symbol: it belongs to one whose diffs span its id and which has none yet.
            fits = [
                one
                for one, (low, high) in self._ranges.items()
                if one not in lines and (alone or low <= update <= high)
            ]
            if fits:
                lines[fits[0]] = number
        return {number: symbol for symbol, number in lines.items()}

    def read(self, frame: bytes) -> Line | None:
        """A combined frame, a snapshot or an answer."""
        if frame.startswith((_SNAPSHOT, *_ANSWERS)):
            return Line()
        end = frame.find(b'"', len(_HEAD))
        if not frame.startswith(_HEAD) or frame[end : end + len(_DATA)] != _DATA or not frame.endswith(b"}"):
            return None
        name = frame[len(_HEAD) : end].decode(errors="replace")
        return Line(name, frame_id(frame, channel(name)), end + len(_DATA), 1)

    def key(self, stream: str) -> str:
        """The name without the speed: a subscription at any speed gets the recorded stream."""
        return stream_key(stream)

    def book_stream(self, symbol: str) -> str:
        """The diffs."""
        return f"{symbol.lower()}@depth"

    # What has been played.

    @functools.cached_property
    def books(self) -> dict[str, KeptBook]:
        """The books by symbol."""
        fetched = set(self.fetched().values())
        return {symbol: KeptBook(expects_snapshot=symbol in fetched) for symbol in self.listed()}

    @functools.cached_property
    def _channels(self) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
        return np.array([channel(name) for name in self._names])

    def played(self, batch: Batch) -> None:
        """Keep books and trades."""
        channels = self._channels[batch.stream]
        for message in np.flatnonzero(channels == "depth").tolist():
            self.books[_symbol(self._names[batch.stream[message]])].apply(batch.payload(message, RAW))
        for message in np.flatnonzero((channels == "trade") | (channels == "aggTrade")).tolist():
            self._past[self._names[batch.stream[message]]].append(batch.payload(message, RAW))

    def start(self, symbol: str, body: bytes) -> None:
        """Begin a book with a snapshot."""
        self.books[symbol].start(body)

    def past(self, symbol: str, channel_name: str) -> list[Trade]:
        """Trades or aggregates that have been played, oldest first."""
        past = [_TRADE.decode(payload) for payload in self._past[f"{symbol.lower()}@{channel_name}"]]
        return [
            Trade(
                one.t or one.a, one.p, one.q, one.T * (1000 if one.T > 10**15 else MILLISECOND_NS), one.m, one.f, one.l
            )
            for one in past
        ]


class RecordingDesk(Desk):
    """The desk of a recording being played. Times stay as recorded."""

    def __init__(self, player: Player, recorded: BinanceRecording) -> None:
        self._player = player
        self._recorded = recorded

    @property
    def listed(self) -> dict[str, Listed]:
        """Instruments by symbol."""
        return self._player.listed

    async def depth(self, symbol: str, limit: int, unit_ns: int, asker: Asker) -> Answer:
        """The recorded snapshot at its place; after it, the book as played so far."""
        book = self._recorded.books[symbol]
        if not book.expects_snapshot:
            return Answer(200, book.answer(limit))
        answer = await self._player.fetch(symbol, asker)
        return answer or Answer(503, b'{"code":-1001,"msg":"Internal error; unable to process your request."}')

    def snapshots(self) -> dict[str, Snapshot]:
        """The books as played so far, after their snapshots."""
        return {
            symbol: functools.partial(_first_levels, book.answer(SNAPSHOT_LEVELS))
            for symbol, book in self._recorded.books.items()
            if not book.expects_snapshot
        }

    def trades(self, symbol: str, from_id: int | None, limit: int) -> list[Trade]:
        """Played trades from an id on, or the newest; oldest first."""
        rows = self._recorded.past(symbol, "trade")
        return rows[-limit:] if from_id is None else [row for row in rows if row.id >= from_id][:limit]

    def aggregates(
        self, symbol: str, from_id: int | None, start_ns: int | None, end_ns: int | None, limit: int
    ) -> list[Trade]:
        """Played aggregates from an id on, of a time range, or the newest; oldest first."""
        rows = self._recorded.past(symbol, "aggTrade")
        if from_id is not None:
            return [row for row in rows if row.id >= from_id][:limit]
        if start_ns is None and end_ns is None:
            return rows[-limit:]
        first = 0 if start_ns is None else start_ns
        last = 2**63 if end_ns is None else end_ns
        return [row for row in rows if first <= row.time_ns <= last][:limit]


def _first_levels(body: bytes, limit: int) -> bytes:
    book = msgspec.json.decode(body)
    return msgspec.json.encode(book | {side: book[side][:limit] for side in ("bids", "asks")})


def _symbol(stream: str) -> str:
    return stream.partition("@")[0].upper()


def _number_after(frame: bytes, mark: bytes) -> int:
    """The integer after a key; 0 if the key does not occur."""
    at = frame.find(mark)
    if at < 0:
        return 0
    digits = frame[at + len(mark) : at + len(mark) + 20]
    end = next((i for i, byte in enumerate(digits) if not 48 <= byte <= 57), len(digits))
    return int(digits[:end] or b"0")


def frame_id(frame: bytes, channel_name: str) -> int:
    """The venue's id in a stream frame; 0 for channels without ids."""
    mark = _IDS.get(channel_name)
    return 0 if mark is None else _number_after(frame, mark)
