"""Reads a stream of DBN, in pieces cut anywhere, into records of the plant.

docs/venues.md says what is recorded of each kind of record. Streams may follow each other: each begins with its
metadata. If a stream begins after the previous one of its dataset and schema ended, a GAP says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tickplant.feeds.contract import FeedContext, FeedCounters, Reject
from tickplant.feeds.kit.emitter import Emitter, count_name
from tickplant.feeds.venues.databento import dbn, ticks
from tickplant.feeds.venues.databento import venue as facts
from tickplant.feeds.venues.databento.dbn import Metadata, Run
from tickplant.feeds.venues.databento.symbology import Symbology
from tickplant.feeds.venues.databento.ten_levels import TenLevels
from tickplant.feeds.venues.databento.ticks import Column, Rows, Stamp, Ticks
from tickplant.instruments import Instrument
from tickplant.records import dbn_layouts
from tickplant.records.batch import rows_of
from tickplant.records.dbn_layouts import RecordType
from tickplant.records.layouts import TICK, UNKNOWN, Flag, GapCause, Kind, OrderFlag

OnNotice = Callable[[int, int, str], None]
"""Takes type (ERROR or SYSTEM), code and text of a gateway's message."""

CAUSE: Final = "unknown action"
_SECOND_NS: Final = 10**9
_NO_CODE: Final = 255
_ON_ORDERS: Final = int(Flag.ON_ORDERS | Flag.ON_TRADE)  # of mbo; computed once, since every read needs it


class Recorder:
    """What all streams of a feed share."""

    def __init__(self, context: FeedContext, counts: FeedCounters) -> None:
        self.emit = Emitter(context.resolve)
        self.counts = counts
        self.rejects: list[Reject] = []
        self.instruments: dict[int, Instrument] = {}
        self.ten_levels = TenLevels()
        self.followed = np.zeros(64, np.bool_)  # by instrument: its book of orders has a beginning
        self._resolve = context.resolve
        self._rejects_kept = context.rejects_kept
        self._rejected: dict[str, int] = {}

    def resolve(self, symbol: str) -> int:
        """The instrument id of a symbol."""
        instrument = self._resolve(symbol, facts.PRICE_SCALE, facts.SIZE_SCALE)
        self.instruments[instrument.id] = instrument
        while instrument.id >= len(self.followed):
            self.followed = np.concatenate([self.followed, np.zeros_like(self.followed)])
        return instrument.id

    def add(self, records: Ticks) -> None:
        """Record these ticks, except those of kind 0."""
        if not (kinds := records["kind"]).all():
            records = records[kinds != 0]
        self.emit.batch.extend(rows_of(records))

    def reject(self, cause: str, raw: bytes, ts_recv: int, detail: str = "", *, count: int = 1) -> None:
        """Reject `count` records or lines."""
        self.counts.rejected += count
        number = self._rejected.get(cause, 0)
        self._rejected[cause] = number + count
        if number < self._rejects_kept:
            self.rejects.append(Reject(cause, raw, ts_recv, detail))

    def ignore(self, name: str, count: int) -> None:
        """Count records that are not recorded."""
        self.counts.ignored += count
        if count:
            count_name(self.counts.ignored_kinds, name)
            key = name[:64] if name[:64] in self.counts.ignored_kinds else "other"
            self.counts.ignored_kinds[key] += count - 1


class StreamReader:
    """One stream, or several one after another. `begin` and `take` are for whole pieces, `read` for any piece."""

    def __init__(self, recorder: Recorder, on_notice: OnNotice, *, trades_of: str = "") -> None:
        """`trades_of`: the only schema whose trades are recorded; empty: all."""
        self.metadata: Metadata | None = None
        self.symbology = Symbology(recorder.resolve)
        self.symbols: dict[str, str] = {}  # resolved symbols by requested symbol, where these differ
        self.cause = GapCause.SEQUENCE  # cause of the GAP before the next stream
        self.cut_off = False  # something is missing before the next stream
        self._recorder = recorder
        self._on_notice = on_notice
        self._trades_of = trades_of
        self._rest = b""  # an incomplete record, or incomplete metadata
        self._seen: dict[tuple[str, str], NDArray[np.uint16]] = {}  # by dataset and schema: ON_ flags by instrument
        self._until: dict[tuple[str, str], int] = {}
        self._key = "", ""
        self._restarted: list[tuple[int, int]] = []  # instruments of an earlier process, and their ON_ flags

    @property
    def streams(self) -> dict[int, int]:
        """The ON_ flags of the streams received, by instrument."""
        found: dict[int, int] = {}
        for flags in self._seen.values():
            for instrument in np.flatnonzero(flags).tolist():
                found[instrument] = found.get(instrument, 0) | int(flags[instrument])
        return found

    def restarted(self, instrument: int, flags: int) -> None:
        """Note that an earlier process recorded these streams: a GAP comes before the next one."""
        self._restarted.append((instrument, flags))

    def end(self) -> None:
        """End the stream: another one begins with its metadata."""
        self.metadata, self._rest = None, b""

    def read(self, data: bytes, ts_recv: int, *, own_times: bool = False) -> None:
        """Record what these bytes complete. `own_times`: use the source's receive times. Raises FeedError."""
        data = self._rest + data
        self._rest = b""
        while data:
            if self.metadata is None and not dbn.MAGIC.startswith(data[: len(dbn.MAGIC)]):
                raise dbn.DamageError("a stream of DBN does not begin with its metadata")
            if self.metadata is None or data.startswith(dbn.MAGIC):
                if len(data) < 8 or len(data) < (length := dbn.metadata_bytes(data[:8])):
                    break
                self._begin(dbn.parse_metadata(data[:length]), ts_recv)
                data = data[length:]
                continue
            used = 0
            for run in dbn.runs(data):
                if data.startswith(dbn.MAGIC, run.start):
                    break
                self._take(data, run, ts_recv, own_times=own_times)
                used = run.start + run.size * run.records
            if not used:
                break
            data = data[used:]
        self._rest = data

    # -- inner

    def _begin(self, metadata: Metadata, ts_recv: int) -> None:
        self.metadata = metadata
        self.symbology.begin(metadata)
        key = self._key = metadata.dataset, metadata.schema
        if self.cut_off or (key in self._until and metadata.start_ns > self._until[key]):
            for each in list(self._seen) if self.cut_off else [key]:
                self._interrupted(self._seen.get(each, np.zeros(0, np.uint16)), self.cause, ts_recv)
        self.cut_off = False
        for instrument, flags in self._restarted:
            self._gap(instrument, GapCause.RESTART, ts_recv, flags)
        self._restarted.clear()
        self._until[key] = max(self._until.get(key, 0), metadata.end_ns)
        self._seen.setdefault(key, np.zeros(64, np.uint16))

    def _interrupted(self, flags: NDArray[np.uint16], cause: GapCause, ts_recv: int) -> None:
        for instrument in np.flatnonzero(flags).tolist():
            self._gap(instrument, cause, ts_recv, int(flags[instrument]))

    def _gap(self, instrument: int, cause: GapCause, ts_recv: int, flags: int, missing: int = UNKNOWN) -> None:
        recorder = self._recorder
        recorder.emit.gap(recorder.instruments[instrument], cause, 0, ts_recv, missing=missing, flags=flags)
        if flags & Flag.ON_ORDERS:
            recorder.followed[instrument] = False
        if flags & Flag.ON_BOOK:
            recorder.ten_levels.forget(instrument)

    def lost(self, ts_recv: int, cause: GapCause = GapCause.SEQUENCE) -> None:
        """Note that the source has dropped records, or that what comes cannot be read."""
        for instrument, flags in self.streams.items():
            self._gap(instrument, cause, ts_recv, flags)

    def _take(self, data: bytes, run: Run, ts_recv: int, *, own_times: bool) -> None:
        """Record a run."""
        counts, recorder = self._recorder.counts, self._recorder
        metadata = self.metadata
        rows = dbn.rows_of_run(data, run, ts_out=metadata is not None and metadata.ts_out)
        counts.frames += run.records
        kind = run.kind
        if rows is None:
            recorder.ignore(f"record type {kind:#04x}", run.records)
        elif kind in (RecordType.ERROR, RecordType.SYSTEM, RecordType.MAPPING):
            counts.ignored += run.records
            self._on_words(kind, rows)
        elif kind in (RecordType.IMBALANCE, RecordType.BAR_EOD):
            recorder.ignore("imbalance" if kind == RecordType.IMBALANCE else "ohlcv-eod", run.records)
        elif kind == RecordType.DEFINITION:
            for part in _named_once(rows):
                self._record(kind, part, ts_recv, own_times=own_times)
        else:
            self._record(kind, rows, ts_recv, own_times=own_times)

    def _record(self, kind: int, rows: Rows, ts_recv: int, *, own_times: bool) -> None:
        event = ticks.time_of(rows["ts_event"])
        times = event
        if "ts_recv" in (rows.dtype.names or ()):
            times = ticks.time_of(rows["ts_recv"])
            if not times.all():
                times = np.where(times == 0, event, times)
        if kind == RecordType.DEFINITION:
            self._name(rows)
        instruments = self.symbology.find(rows["head"], times)
        if seconds := dbn_layouts.BAR_S.get(kind, 0):
            times = times + seconds * _SECOND_NS
        stamp = Stamp(instruments, times if own_times else ts_recv)
        if kind == RecordType.MBO:
            self._orders(rows, stamp)
        elif kind == RecordType.TRADE:
            self._market(rows, stamp, "trades", recorded=rows["action"] == ticks.TRADE)
        elif kind in dbn_layouts.QUOTES:
            self._see(instruments, Flag.ON_QUOTE)
            self._quotes(kind, rows, stamp)
        elif kind == RecordType.MBP_10:
            self._see(instruments, Flag.ON_BOOK)
            levels, row = self._recorder.ten_levels.ticks(rows, stamp)
            self._market(rows, stamp, "mbp-10", before=(levels, row))
        else:
            self._others(kind, rows, stamp, seconds)

    def _orders(self, rows: Rows, stamp: Stamp) -> None:
        recorder = self._recorder
        found = ticks.order_ticks(rows, stamp)
        self._see(stamp.instruments, _ON_ORDERS)
        start = 0
        for place in np.flatnonzero(found["kind"] == 0).tolist():
            self._add_orders(found[start:place], stamp)
            row, tick = rows[place], found[place]
            ts_recv, detail = int(tick["ts_recv"]), f"action {row['action']}, side {row['side']}"
            recorder.reject(CAUSE, row.tobytes(), ts_recv, detail)
            self._gap(int(tick["instrument"]), GapCause.REJECTED, ts_recv, Flag.ON_ORDERS, 1)
            start = place + 1
        self._add_orders(found[start:], stamp)

    def _add_orders(self, found: Ticks, stamp: Stamp) -> None:
        recorder = self._recorder
        recorder.counts.parsed += len(found)
        if not np.all(recorder.followed[stamp.instruments]):
            found = self._with_beginnings(found)
        if self._trades_of not in ("", "mbo"):
            found = found[found["kind"] != Kind.TRADE]
        recorder.add(found)

    def _with_beginnings(self, found: Ticks) -> Ticks:
        """Add a CLEAR before the first record of each book of orders without one: the earlier orders are unknown."""
        places, clears = [], []
        is_order = (found["kind"] != Kind.TRADE) & (found["kind"] != 0)
        for instrument in np.unique(found["instrument"][is_order]).tolist():
            if self._recorder.followed[instrument]:
                continue
            self._recorder.followed[instrument] = True
            place = int(np.flatnonzero(is_order & (found["instrument"] == instrument))[0])
            first = found[place]
            if first["kind"] == Kind.CLEAR:
                continue
            clear = np.zeros(1, TICK)
            for name in ("ts_event", "ts_recv", "venue_seq", "instrument"):
                clear[name] = first[name]
            snapshot = bool(first["flags"] & Flag.SNAPSHOT)
            clear["kind"], clear["flags"] = (
                Kind.CLEAR,
                Flag.ON_ORDERS | (Flag.SNAPSHOT if snapshot else OrderFlag.DOUBTFUL),
            )
            places.append(place)
            clears.append(clear)
        return np.insert(found, places, np.concatenate(clears)) if clears else found

    def _quotes(self, kind: int, rows: Rows, stamp: Stamp) -> None:
        quotes = ticks.quote_ticks(rows, stamp, counted=kind not in dbn_layouts.UNCOUNTED)
        if kind in dbn_layouts.SAMPLED:
            self._recorder.counts.parsed += len(rows)
            self._recorder.add(quotes)
        else:
            self._market(rows, stamp, "mbp-1", before=(quotes, np.repeat(np.arange(len(rows)), 2)))

    def _market(
        self,
        rows: Rows,
        stamp: Stamp,
        schema: str,
        *,
        before: tuple[Ticks, NDArray[np.int64]] | None = None,
        recorded: NDArray[np.bool_] | None = None,
    ) -> None:
        """Record the trades of rows, each after its ticks of `before`, which come with their row numbers."""
        recorder = self._recorder
        if recorded is not None and not recorded.all():
            recorder.ignore("trades without a trade", int(np.count_nonzero(~recorded)))
        recorder.counts.parsed += len(rows) if recorded is None else int(np.count_nonzero(recorded))
        is_trade = rows["action"] == ticks.TRADE
        if self._trades_of not in ("", schema) or not is_trade.any():
            if before is not None:
                recorder.add(before[0])
            return
        place = np.flatnonzero(is_trade)
        own = Stamp(_of(stamp.instruments, place), _of(stamp.times, place))
        self._see(own.instruments, Flag.ON_TRADE)
        trades = ticks.trade_ticks(rows[place], own)
        if before is None:
            recorder.add(trades)
            return
        records, row = before
        recorder.add(np.insert(records, np.searchsorted(row, place, "right"), trades))

    def _others(self, kind: int, rows: Rows, stamp: Stamp, seconds: int) -> None:
        recorder = self._recorder
        if kind == RecordType.STATUS:
            found, name = ticks.status_ticks(rows, stamp), "status without a word on trading"
        elif kind == RecordType.STATISTICS:
            self._see(stamp.instruments, Flag.ON_OTHER)
            found, name = ticks.statistic_ticks(rows, stamp), "statistic without a code"
        elif kind == RecordType.DEFINITION:
            recorder.counts.parsed += len(rows)
            limits = ticks.definition_ticks(rows, stamp).reshape(len(rows), -1)
            delisted = ticks.delisted_ticks(rows, stamp)
            recorder.add(np.column_stack([limits, delisted]).reshape(-1))  # the two ticks of each row stay together
            return
        else:
            self._see(stamp.instruments, Flag.ON_OTHER)
            found, name = ticks.bar_ticks(rows, stamp, seconds), ""
        left_out = int(np.count_nonzero(found["kind"] == 0))
        recorder.counts.parsed += len(rows) - left_out
        recorder.ignore(name, left_out)
        recorder.add(found)

    def _see(self, instruments: Column, flags: int) -> None:
        seen = self._seen[self._key]
        if len(seen) < len(self._recorder.followed):
            more = np.zeros(len(self._recorder.followed) - len(seen), np.uint16)
            seen = self._seen[self._key] = np.concatenate([seen, more])
        seen[instruments] |= np.uint16(flags)

    def _name(self, rows: Rows) -> None:
        idents = (rows["head"] >> np.uint64(32)).tolist()
        for ident, symbol in zip(idents, rows["raw_symbol"].tolist(), strict=True):
            self.symbology.name(ident, symbol.decode(errors="replace"))

    def _on_words(self, kind: int, rows: Rows) -> None:
        if kind == RecordType.MAPPING:
            idents = (rows["head"] >> np.uint64(32)).tolist()
            for ident, asked, found in zip(idents, rows["asked"].tolist(), rows["symbol"].tolist(), strict=True):
                wanted = asked.decode(errors="replace")
                continuous = facts.symbol_type(wanted) == "continuous"
                self.symbology.map(ident, wanted if continuous else found.decode(errors="replace"))
            return
        for row in rows:
            text = bytes(row["text"]).decode(errors="replace")
            code = int(row["code"]) if "code" in (rows.dtype.names or ()) else _NO_CODE
            self._on_notice(kind, code, text)


def _of(column: Column, place: NDArray[np.int64]) -> Column:
    return column[place] if isinstance(column, np.ndarray) else column


def _named_once(rows: Rows) -> Iterator[Rows]:
    """Split definitions so that an instrument id has one symbol per part: each record follows its own definition."""
    named: dict[int, bytes] = {}
    start = 0
    idents = (rows["head"] >> np.uint64(32)).tolist()
    for place, (ident, symbol) in enumerate(zip(idents, rows["raw_symbol"].tolist(), strict=True)):
        if named.setdefault(ident, symbol) != symbol:
            yield rows[start:place]
            start, named = place, {ident: symbol}
    yield rows[start:]
