"""The feed process: one venue, one ring. Connects adapter, publisher and source to the ring and the supervisor.

Runs as `python -m tickplant.feeds` with a job_specs.FeedSpec on stdin. Exits 0 when stopped or when its source has
ended; exits 1 with a sentence if it cannot work.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import uvloop
import zmq

from tickplant.feeds import rest
from tickplant.feeds.capture import Capture
from tickplant.feeds.contract import REST, WS, Adapter, FeedContext, LinkSpec
from tickplant.feeds.file_feed import RecordedFeed
from tickplant.feeds.imported_feed import ImportedFeed
from tickplant.feeds.importers import open_import
from tickplant.feeds.last_ids import LastIds, by_symbol, file_of, last_ids, load
from tickplant.feeds.past import Past
from tickplant.feeds.pipeline import Source
from tickplant.feeds.rejects import RejectLog
from tickplant.feeds.ring_publisher import FeedPublisher
from tickplant.feeds.ring_publisher import prepare_kernels as prepare_publisher
from tickplant.feeds.runner import LiveFeed
from tickplant.feeds.transports import picows_transport, tcp_transport, websockets_transport
from tickplant.feeds.transports.transport import Connect, Listener, Transport
from tickplant.instruments import DEFAULT_SCALE, FEED_SYMBOL, Instrument, InstrumentTable
from tickplant.records import ages, notes
from tickplant.records.layouts import Schema
from tickplant.runtime import credentials
from tickplant.runtime.child_process import child_process, settle
from tickplant.runtime.control import ChangeSymbols, Register, Resync, Stop, SymbolChanged
from tickplant.runtime.control_client import ControlClient
from tickplant.runtime.job_specs import FeedSpec, Live
from tickplant.shm.ring import Ring
from tickplant.shm.ring import prepare_kernels as prepare_ring
from tickplant.venues import Venue, find_venue

TRANSPORTS: Final[dict[str, Connect]] = {
    "picows": picows_transport.connect,
    "websockets": websockets_transport.connect,
}


class Directory:
    """The instruments of this feed, registered with the supervisor when they first occur."""

    def __init__(self, client: ControlClient, spec: FeedSpec) -> None:
        self._client = client
        config = spec.config
        self._table = InstrumentTable.load(Path(spec.plant.data_dir) / "instruments.jsonl")
        self._venue = config.venue
        self._configured = frozenset(config.symbols)
        self._price_scale = DEFAULT_SCALE if config.price_scale is None else config.price_scale
        self._size_scale = DEFAULT_SCALE if config.size_scale is None else config.size_scale
        self._symbols: dict[int, str] = {}
        self._expected: dict[tuple[str, int, int], Instrument] = {}  # registered by `expect`
        self._discover = spec.discover

    def resolve(
        self, symbol: str, price_scale: int | None, size_scale: int | None, /, *, exact: bool = False
    ) -> Instrument:
        """See contract.Resolver. Waits for the supervisor. Raises ControlError."""
        scales = self._scales(symbol, price_scale, size_scale, exact=exact)
        instrument = self._expected.get((symbol, *scales)) or self._client.register(self._venue, symbol, *scales)
        self._symbols[instrument.id] = symbol
        return instrument

    def expect(self, wanted: Sequence[tuple[str, int | None, int | None]]) -> None:
        """Register together the symbols, with their scales, that are resolved next. Raises ControlError."""
        keys = [(symbol, *self._scales(symbol, *scales)) for symbol, *scales in wanted]
        rows = self._client.register_all([Register(self._venue, *key) for key in keys])
        self._expected |= dict(zip(keys, rows, strict=True))

    def _scales(
        self, symbol: str, price_scale: int | None, size_scale: int | None, *, exact: bool = False
    ) -> tuple[int, int]:
        newest = None if exact or symbol == FEED_SYMBOL else self.known(symbol)
        if newest is not None and self._discover:
            # A recording may lack the instrument data: the scales registered earlier then apply.
            price_scale = newest.price_scale if price_scale is None else price_scale
            size_scale = newest.size_scale if size_scale is None else size_scale
        scales = (
            self._price_scale if price_scale is None else price_scale,
            self._size_scale if size_scale is None else size_scale,
        )
        if newest is not None and newest.covers(*scales):
            return newest.price_scale, newest.size_scale
        return scales

    def known(self, symbol: str) -> Instrument | None:
        """The newest registered id of a symbol. Raises StoreError."""
        self._table.reload()
        rows = self._table.find(self._venue, symbol)
        if rows:
            self._symbols[rows[-1].id] = symbol
        return rows[-1] if rows else None

    def former(self) -> list[Instrument]:
        """All registered ids of the configured symbols. Raises StoreError."""
        self._table.reload()
        rows = [row for row in self._table if row.venue == self._venue and row.symbol in self._configured]
        self._symbols |= {row.id: row.symbol for row in rows}
        return rows

    def recorded(self) -> list[Instrument]:
        """All registered ids of this venue, oldest first. Raises StoreError."""
        self._table.reload()
        return [row for row in self._table if row.venue == self._venue]

    def symbol_of(self, instrument: int) -> str:
        """Symbol of an id that `resolve` or `former` returned."""
        return self._symbols[instrument]


MakePast = Callable[[FeedSpec], Past]
"""Makes the object that reads the store for a feed whose recording is added to it."""


def main() -> None:
    """Run one feed; ends the process."""
    with child_process(FeedSpec) as spec:
        run_feed(spec)


def warm_up() -> None:
    """Compile or load the kernels that every feed needs, without those of its venue."""
    prepare_ring()
    prepare_publisher()
    notes.prepare_kernels()
    ages.prepare_kernels()
    rest.prepare()


def run_feed(spec: FeedSpec, past: MakePast | None = None) -> None:
    """Work until stopped or until the source has ended; `past` is for a recording. Raises TickplantError."""
    # From here on, nothing that this process writes can reveal a key.
    secrets: Mapping[str, str] = {}
    if spec.secrets:
        secrets = credentials.hold(spec.secrets)
    elif spec.config.credentials:
        secrets = credentials.load(spec.config.credentials)
    for library in ("picows", "websockets"):  # their messages are in our own line about the connection
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(spec, secrets, past))


async def _run(spec: FeedSpec, secrets: Mapping[str, str], past: MakePast | None) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    venue = find_venue(spec.config.venue)
    venue.warm_up()
    prepare_ring()
    prepare_publisher()
    notes.prepare_kernels()
    ages.prepare_kernels()
    with contextlib.ExitStack() as resources:
        ring = resources.enter_context(Ring.attach(spec.ring.name, Schema(spec.ring.schema), Path(spec.plant.run_dir)))
        producer = resources.enter_context(ring.producer())
        client = ControlClient(spec.plant.control, spec.name)
        resources.callback(client.close)
        publisher = FeedPublisher(producer, ring.capacity_records, spec.config.full_wait_ms / 1000)
        last = last_ids(ring, load(file_of(Path(spec.plant.run_dir), spec.name)))
        source = _make_source(
            spec, secrets, venue, publisher, Directory(client, spec), client, last, past(spec) if past else None
        )
        client.hello()
        settle()
        finished = await _attend(spec, source, client, stop)
        (client.done if finished else client.heartbeat)(source.counters(), source.accounts(spec.name))


def _make_source(
    spec: FeedSpec,
    secrets: Mapping[str, str],
    venue: Venue,
    publisher: FeedPublisher,
    directory: Directory,
    client: ControlClient,
    last: Mapping[int, LastIds],
    past: Past | None,
) -> Source:
    config, data_dir = spec.config, Path(spec.plant.data_dir)
    endpoints: dict[str, str] = {}
    if isinstance(spec.source, Live):
        given = {WS: spec.source.ws_url, REST: spec.source.rest_url}
        endpoints = {name: url for name, url in given.items() if url}
    context = FeedContext(
        symbols=None if spec.discover else config.symbols,
        channels=config.channels,
        resolve=directory.resolve,
        expect=directory.expect,
        known=directory.known,
        live=isinstance(spec.source, Live),
        secrets=secrets,
        endpoints=endpoints,
        depth=config.book_depth,
        connections=config.connections,
        compression=config.compression,
        silent_s=config.silent_s,
        rejects_kept=config.rejects_kept,
        instrument_poll_s=config.instrument_poll_s,
    )

    def make_adapter() -> Adapter:
        return cast("Adapter", venue.make_adapter(context))

    rejects = RejectLog(data_dir / "rejects" / f"{spec.name}.jsonl", config.rejects_kept)
    if not isinstance(spec.source, Live):
        path, shared = Path(spec.source.path), (make_adapter, publisher, rejects)
        if spec.source.imported:
            file = open_import(config.venue, path)
            return ImportedFeed(*shared, file, resolve=directory.resolve, symbol_of=directory.symbol_of, past=past)
        return RecordedFeed(*shared, path, resolve=directory.resolve, symbol_of=directory.symbol_of, past=past)
    former = directory.former()
    return LiveFeed(
        make_adapter(),
        publisher,
        rejects,
        resolve=directory.resolve,
        symbol_of=directory.symbol_of,
        connect=functools.partial(_connect, TRANSPORTS[config.transport]),
        endpoints={**venue.endpoints, **endpoints},
        config=config,
        capture=Capture(data_dir / "capture" / spec.name) if config.capture else None,
        last_ids=by_symbol(last, directory.recorded()),  # a symbol recorded earlier may be added again
        on_followed=lambda one: client.send(SymbolChanged(spec.name, one.symbol, one.added, one.problem)),
        former=[instrument.id for instrument in former],
    )


async def _connect(configured: Connect, link: LinkSpec, listener: Listener, **options: float) -> Transport:
    """Open a link with the configured transport, or with the one that meets the link's needs."""
    connect = websockets_transport.connect if link.compression else configured
    if link.url.startswith(tcp_transport.SCHEME):
        connect = tcp_transport.connect
    return await connect(link, listener, **options)


async def _attend(spec: FeedSpec, source: Source, client: ControlClient, stop: asyncio.Event) -> bool:
    """Run the source until it ends or `stop`, and report meanwhile. Returns whether it ended by itself."""

    def listen() -> None:
        for message in client.receive():
            match message:
                case Stop():
                    stop.set()
                case Resync(symbol=symbol):
                    source.resync(symbol)
                case ChangeSymbols(added=added, removed=removed):
                    source.change_symbols(added, removed)
                case _:
                    continue

    async def beat() -> None:
        while True:
            client.heartbeat(source.counters(), source.accounts(spec.name))
            listen()  # the socket's FD is edge-triggered, and sending may have consumed an edge
            await asyncio.sleep(spec.plant.heartbeat_s)

    loop = asyncio.get_running_loop()
    running = loop.create_task(source.run())
    helpers = [loop.create_task(beat()), loop.create_task(stop.wait())]
    readable = int(client.socket.get(zmq.FD))
    loop.add_reader(readable, listen)
    try:
        await asyncio.wait([running, *helpers], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
            return True
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return False
    finally:
        loop.remove_reader(readable)
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
