"""The adapter of Databento: one TCP link per dataset; and DBN files, which come as frames of one link.

A frame is whatever one read has brought, cut anywhere. The counters count the records, and the lines before them.
"""

from __future__ import annotations

import functools
from typing import Final

from tickplant.errors import FeedError
from tickplant.feeds.contract import (
    WS,
    Closed,
    Effect,
    Event,
    Fail,
    FeedContext,
    FeedCounters,
    Frames,
    Hold,
    LinkSpec,
    Notice,
    Open,
    Opened,
    Output,
    Resubscribe,
    Resumed,
    Resync,
    Send,
)
from tickplant.feeds.importers import FILE_LINK
from tickplant.feeds.venues.databento import gateway
from tickplant.feeds.venues.databento import venue as facts
from tickplant.feeds.venues.databento.dbn import MAGIC, DamageError
from tickplant.feeds.venues.databento.stream_reader import Recorder, StreamReader
from tickplant.records.channels import ON_CHANNEL
from tickplant.records.dbn_layouts import RecordType
from tickplant.records.layouts import Flag, GapCause, Kind, StatusCode
from tickplant.venues import VENUES

KEY_NAME: Final = "key"
"""Name of the key in the credential."""

HOLD_NS: Final = 60 * 10**9

# Codes of the gateway's ERROR and SYSTEM records.
AUTH_FAILED: Final = 1
KEY_DEACTIVATED: Final = 2
TOO_MANY_CONNECTIONS: Final = 3
NO_SUCH_SYMBOL: Final = 4
INVALID_SUBSCRIPTION: Final = 5
SKIPPED: Final = 7
SLOW_READER: Final = 2


class _Link:
    """One connection to a gateway, or its recording."""

    def __init__(self, name: str, reader: StreamReader, symbols: list[str]) -> None:
        self.name = name
        self.reader = reader
        self.symbols = symbols  # without their dataset
        self.open = False
        self.greeted = False  # whether records follow
        self.line = b""  # the beginning of an incomplete line


class DatabentoAdapter:
    """See `tickplant.feeds.contract.Adapter`."""

    venue = facts.VENUE

    def __init__(self, context: FeedContext, *, use_shapes: bool = True) -> None:
        """No events so far. `use_shapes` makes no difference: numpy reads everything."""
        self._context = context
        self._counts = FeedCounters()
        self._recorder = Recorder(context, self._counts)
        self._effects: list[Effect] = []
        self._schemas = gateway.schemas_of(context.channels)
        self._now_ns = 0
        self._trouble = ""
        self._links: dict[str, _Link] = {}
        for symbol in context.symbols or ():
            dataset, _, name = symbol.partition("/")
            self._link(dataset).symbols.append(name)

    # The contract.

    @property
    def counters(self) -> FeedCounters:
        """Counts so far; frames are records and lines."""
        counts, emit = self._counts, self._recorder.emit
        counts.gaps = emit.gaps
        counts.kinds = {Kind(kind).name.lower(): number for kind, number in enumerate(emit.batch.kinds) if number}
        return counts

    @property
    def trouble(self) -> str:
        """A sentence if a stream cannot be read, else empty."""
        return self._trouble

    def start(self, now_ns: int) -> None:
        """Open a link to the gateway of each dataset."""
        self._now_ns = now_ns
        own = self._context.endpoints.get(WS)
        if not own and KEY_NAME not in self._context.secrets:
            self._effects.append(Fail(f'databento wants a key: name a credential that has one, {KEY_NAME} = "db-…"'))
            return
        for name in self._links:
            url = (own or VENUES[facts.VENUE].endpoints[WS]).format(dataset=name.lower().replace(".", "-"))
            self._effects.append(Open(LinkSpec(name=name, url=url, overlap=False, pings=False)))

    def on_event(self, event: Event, now_ns: int) -> None:
        """See the contract."""
        self._now_ns = now_ns
        match event:
            case Frames(name, frames):
                link = self._link(name)
                for frame in frames:
                    self._read(link, frame, now_ns)
            case Opened(name):
                self._opened(self._link(name))
            case Closed(name):
                self._closed(self._link(name))
            case Resync(symbol) if self._context.live:
                dataset = symbol.partition("/")[0]
                names = [name for name in self._links if dataset in ("", name)]
                self._effects += [Resubscribe(name, f"resync of {symbol or 'all books'}") for name in names]
            case Resumed(last):
                self._resume(list(last))
            case _:
                pass

    def take(self) -> Output:
        """See the contract."""
        ticks = self._recorder.emit.batch.take()
        self._counts.ticks += len(ticks)
        effects, self._effects = self._effects, []
        rejects, self._recorder.rejects = self._recorder.rejects, []
        return Output(ticks, effects, rejects)

    # Links.

    def _link(self, name: str) -> _Link:
        link = self._links.get(name)
        if link is None:
            trades = "" if name == FILE_LINK else gateway.trades_of(self._schemas)
            reader = StreamReader(self._recorder, functools.partial(self._on_notice, name), trades_of=trades)
            link = self._links[name] = _Link(name, reader, [])
        return link

    def _opened(self, link: _Link) -> None:
        if link.open:
            self._closed(link)
        link.open, link.greeted, link.line = True, False, b""
        link.reader.end()
        self._recorder.emit.status(StatusCode.CONNECTED, self._now_ns, flags=self._flags())

    def _closed(self, link: _Link) -> None:
        link.open = link.greeted = False
        link.reader.end()
        link.reader.cut_off, link.reader.cause = True, GapCause.DISCONNECT
        emit = self._recorder.emit
        for instrument, flags in link.reader.streams.items():
            code = StatusCode.DISCONNECTED
            emit.status(code, self._now_ns, self._recorder.instruments[instrument], flags=flags)

    def _flags(self) -> int:
        flags = 0
        for channel in self._context.channels:
            flags |= ON_CHANNEL[channel]
        return flags

    def _resume(self, symbols: list[str]) -> None:
        for symbol in symbols:
            name = symbol.partition("/")[0]
            if name in self._links:
                self._links[name].reader.restarted(self._recorder.resolve(symbol), self._flags())

    # What is read.

    def _read(self, link: _Link, data: bytes, ts_recv: int) -> None:
        if not self._context.live and not link.greeted:
            # In a recording, lines have lost their ends, and data without lines begin with the metadata.
            data, link.line = link.line + data, b""
            if data and MAGIC.startswith(data):
                link.line = data
                return
            if not data.startswith(MAGIC):
                self._ignored_lines(data.split())
                return
            link.greeted = True
        if not link.greeted:
            data = self._greet(link, data)
        if not data:
            return
        try:
            link.reader.read(data, ts_recv, own_times=link.name == FILE_LINK)
            self._trouble = ""
        except FeedError as error:
            self._spoilt(link, data, ts_recv, error)

    def _spoilt(self, link: _Link, data: bytes, ts_recv: int, error: FeedError) -> None:
        """Give up the stream: nothing after this place can be read, and only another session brings more."""
        self._trouble = f"{link.name}: {error}"
        self._counts.frames += 1
        self._recorder.reject("damage" if isinstance(error, DamageError) else "schema", data[:256], ts_recv, str(error))
        if link.reader.streams:
            link.reader.lost(ts_recv, GapCause.REJECTED)
        else:
            self._recorder.emit.gap(None, GapCause.REJECTED, 0, ts_recv)
        link.reader.end()
        link.greeted = False
        if self._context.live:
            self._effects.append(Resubscribe(link.name, str(error)))

    def _ignored_lines(self, lines: list[bytes]) -> None:
        self._counts.frames += len(lines)
        self._counts.ignored += len(lines)

    def _greet(self, link: _Link, data: bytes) -> bytes:
        """Handle the lines before the records; returns the data after them."""
        text = link.line + data
        while not link.greeted:
            line, end, rest = text.partition(b"\n")
            if not end:
                if len(line) > gateway.LINE_BYTES:
                    self._spoilt(link, line, self._now_ns, DamageError("the gateway sends no lines"))
                    line = b""
                link.line = line
                return b""
            text = rest
            self._ignored_lines([line])
            self._on_line(link, gateway.fields_of(line))
        link.line = b""
        return text

    def _on_line(self, link: _Link, fields: dict[str, str]) -> None:
        if "cram" in fields:
            key = self._context.secrets.get(KEY_NAME, "")
            payload = gateway.authentication(fields["cram"], key, link.name)
            self._effects.append(Send(link.name, payload, secret=True))
        elif fields.get("success") == "1":
            link.greeted = True
            requests = [*gateway.subscriptions(self._schemas, link.symbols), gateway.START]
            self._effects += [Send(link.name, payload) for payload in requests]
        elif "success" in fields:
            reason = fields.get("error") or "no reason given"
            self._effects.append(Fail(f"databento {link.name}: the key was refused: {reason}"))

    def _on_notice(self, name: str, kind: int, code: int, text: str) -> None:
        if kind == RecordType.SYSTEM:
            if code == SLOW_READER:
                self._effects.append(Notice("the gateway finds this feed slow", {"link": name, "text": text}))
            return
        self._effects.append(Notice("the gateway reports an error", {"link": name, "code": code, "text": text}))
        if code in (AUTH_FAILED, KEY_DEACTIVATED):
            self._effects.append(Fail(f"databento {name}: the key was refused: {text}"))
        elif code == TOO_MANY_CONNECTIONS:
            self._effects.append(Hold(name, self._now_ns + HOLD_NS, text))
        elif code in (NO_SUCH_SYMBOL, INVALID_SUBSCRIPTION):
            self._counts.refused += 1
            self._recorder.emit.status(StatusCode.SUBSCRIPTION_REFUSED, self._now_ns)
        elif code == SKIPPED:
            reader = self._links[name].reader
            reader.lost(self._now_ns)
            if self._context.live and any(flags & Flag.ON_ORDERS for flags in reader.streams.values()):
                self._effects.append(Resubscribe(name, "records were skipped: books of orders begin with a session"))


def warm_up() -> None:
    """Does nothing: numpy does all the work, without kernels."""
