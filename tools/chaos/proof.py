"""The proof: every message that the venue sent is stored exactly once, or a rule below says why it is not.

The rules, tried in this order for a message that was sent and is not stored:

    gap         A GAP of its symbol and stream spans its id.
    snapshot    Book changes: the book was stale, or did not exist yet, and the snapshot that ended this contains it.
    empty       Book changes: a change without levels leaves no record.
    late        Quotes: the venue sent it after a newer one of its symbol, or while another connection of the feed had a
                newer one already; outdated quotes are dropped, and counted as duplicates.
    restart     It was in transit when its connection ended: nothing that the connection carried after it is stored, and
                a DISCONNECTED follows the last message of its stream. If the stream continues after that, rule `gap`
                must have explained it; so this rule is for streams of which nothing more was recorded.
    start       As `restart`, but nothing of its stream had been recorded before, so that a GAP has no id to begin with:
                then a DISCONNECTED precedes the first message of the stream.

A trade or book change that the venue withheld (dropped, truncated, stalled) was not sent, yet its id is missing from a
sequence; so it needs an explanation too, or a copy from REST. A spot quote that was withheld leaves no trace in the
ids.

Conversely, nothing may be stored that the venue did not send, nothing twice, and nothing with other values; and no GAP
of trades or quotes may claim what was recorded live. (A GAP of a book ends at its snapshot, and changes that the
snapshot contains may still be recorded.)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from chaos.stored_events import Clear, Event, Extent, Gap, Stored, Symbol
from chaos.venue_log import CHANNELS, Channel, Sent, Stream, VenueLog
from tickplant.instruments import to_mantissa
from tickplant.records.layouts import GapCause, Side

SHOWN: Final = 20
"""Number of cases of one kind that a report names."""


class Case(msgspec.Struct, frozen=True):
    """A violation."""

    kind: str
    symbol: str
    channel: str
    id: int
    text: str


class Proof(msgspec.Struct):
    """The result. `cases` holds the first SHOWN of each kind; `wrong` counts all of them by kind."""

    sent: dict[str, int]  # distinct messages that went out, by channel
    stored: dict[str, int]  # of these, those that are stored
    explained: dict[str, int]  # the others, by rule
    withheld: dict[str, int]  # messages that never went out, by outcome
    gap_causes: dict[str, int]
    snapshots: int
    records: int
    wrong: dict[str, int]
    cases: list[Case]

    @property
    def ok(self) -> bool:
        """Whether everything is proved."""
        return not self.wrong


def prove(log: VenueLog, stored: Stored) -> Proof:
    """Compare a log and a store."""
    return _Prover(log, stored).run()


def prove_files(log: Path, data_dir: Path, producer: str) -> Proof:
    """The same for a log file and a data directory."""
    return prove(VenueLog(log), Stored(data_dir, producer))


class _Open(NamedTuple):
    """A message that only the end of its connection can explain, which is known once everything is read."""

    name: str
    channel: Channel
    message: Sent
    text: str


class _Prover:
    def __init__(self, log: VenueLog, stored: Stored) -> None:
        self._log = log
        self._stored = stored
        self._wrong: Counter[str] = Counter()
        self._cases: list[Case] = []
        self._sent: Counter[str] = Counter()
        self._found: Counter[str] = Counter()
        self._explained: Counter[str] = Counter()
        self._withheld: Counter[str] = Counter()
        self._open: list[_Open] = []
        self._last_lines: dict[int, int] = {}
        """By connection, the last log line whose message is stored and went over that connection alone."""

    def run(self) -> Proof:
        for expected, found in self._stored.holes:
            self._case("hole", "", "", found, f"seq goes from {expected - 1} to {found}")
        for (name, channel), stream in self._log.streams.items():
            self._check_stream(name, channel, stream, self._stored.symbols.get(name, Symbol()))
        for one in self._open:
            self._settle(one)
        for name, symbol in self._stored.symbols.items():
            for seq in sorted(symbol.torn):
                self._case("torn", name, "", seq, f"the records from seq {seq} on are no whole message")
            for channel in CHANNELS:
                if symbol.extents[channel].spans and (name, channel) not in self._log.streams:
                    self._case("unsent", name, channel, 0, "the venue never sent anything of this stream")
        causes: Counter[str] = Counter()
        for symbol in self._stored.symbols.values():
            for gaps in symbol.gaps.values():
                causes.update(GapCause(gap.cause).name.lower() for gap in gaps)
        return Proof(
            sent=dict(self._sent),
            stored=dict(self._found),
            explained=dict(self._explained),
            withheld=dict(self._withheld),
            gap_causes=dict(causes),
            snapshots=sum(len(symbol.clears) for symbol in self._stored.symbols.values()),
            records=self._stored.records,
            wrong=dict(self._wrong),
            cases=self._cases,
        )

    def _case(self, kind: str, symbol: str, channel: str, ident: int, text: str) -> None:
        self._wrong[kind] += 1
        if self._wrong[kind] <= SHOWN:
            self._cases.append(Case(kind, symbol, channel, ident, text))

    # ------------------------------------------------------------------------------------------------ one stream

    def _check_stream(self, name: str, channel: Channel, stream: Stream, symbol: Symbol) -> None:
        rules = _Rules(channel, stream, symbol)
        claimed: Counter[Gap] = Counter()
        for bucket in sorted({*stream.buckets, *symbol.extents[channel].spans}):
            sent = stream.load(bucket)
            events, clears = self._stored.load(name, channel, bucket) if name in self._stored.symbols else ([], [])
            self._check_snapshots(name, clears, symbol.scales)
            self._check_bucket(name, channel, sent, events, rules)
            if channel != "book":
                live = sorted(event.id for event in events if not event.backfill)
                for gap in symbol.gaps[channel]:
                    recorded = bisect_left(live, gap.next_id) - bisect_right(live, gap.last_id)
                    claimed[gap] += max(0, recorded)
        for gap, recorded in claimed.items():
            if recorded:
                text = f"the GAP at seq {gap.seq} from {gap.last_id} to {gap.next_id} claims {recorded} recorded ones"
                self._case("false gap", name, channel, gap.last_id, text)

    def _check_bucket(
        self, name: str, channel: Channel, sent: dict[int, Sent], stored: list[Event], rules: _Rules
    ) -> None:
        events: dict[int, Event] = {}
        for event in stored:
            if event.id in events:
                text = f"stored at seq {events[event.id].seq} and again at {event.seq}"
                self._case("doubled", name, channel, event.id, text)
            events[event.id] = event
        for event in events.values():
            self._check_content(name, channel, sent.get(event.id), event, rules.scales)
        ids = sorted(events)
        for message in sent.values():
            found = message.id in events
            if message.was_sent:
                self._sent[channel] += 1
                self._found[channel] += found
                if found:
                    if channel != "book":  # its changes are stored once their snapshot has come, whatever the place
                        self._note_place(message)
                    continue
            elif found:
                self._withheld[f"{channel} fetched"] += 1
                continue
            elif channel == "quote":
                self._withheld["quote, which no id can show"] += 1
                continue
            elif rules.begins_after(message.id):
                self._withheld[f"{channel} before the first record"] += 1
                continue
            if rule := rules.explain(message):
                self._note_rule(channel, message, rule)
            else:
                self._open.append(_Open(name, channel, message, _around(message, ids, events)))

    def _note_place(self, message: Sent) -> None:
        connections = {place.connection for place in message.places}
        if len(connections) == 1:
            connection = next(iter(connections))
            self._last_lines[connection] = max(self._last_lines.get(connection, 0), message.places[0].line)

    def _note_rule(self, channel: Channel, message: Sent, rule: str) -> None:
        if message.was_sent:
            self._explained[rule] += 1
        else:
            self._withheld[f"{channel} {rule}"] += 1

    def _settle(self, one: _Open) -> None:
        name, channel, message, text = one
        symbol = self._stored.symbols.get(name, Symbol())
        rule = _on_its_way(message, symbol.extents[channel], symbol.interruptions, self._last_lines)
        if rule:
            self._note_rule(channel, message, rule)
        elif message.was_sent:
            self._case("unexplained", name, channel, message.id, text)
        else:
            self._case("silent", name, channel, message.id, f"withheld ({', '.join(message.withheld)}); {text}")

    def _check_content(
        self, name: str, channel: Channel, message: Sent | None, event: Event, scales: tuple[int, int]
    ) -> None:
        if event.backfill:
            given = {
                (to_mantissa(price, scales[0]), to_mantissa(size, scales[1]))
                for price, size in self._log.past_trades.get(event.id, ())
            }
            if event.content[:2] not in given:
                self._case("unsent", name, channel, event.id, f"BACKFILL at seq {event.seq} that REST never gave")
        elif message is None or not message.was_sent:
            self._case("unsent", name, channel, event.id, f"stored at seq {event.seq}, never sent")
        elif expected(channel, message, scales) != event.content:
            text = f"stored at seq {event.seq} as {event.content}, sent as {message.content}"
            self._case("altered", name, channel, event.id, text[:1000])

    def _check_snapshots(self, name: str, clears: list[Clear], scales: tuple[int, int]) -> None:
        for clear in clears:
            if not any(clear.levels == _levels(one.bids, one.asks, scales) for one in self._log.snapshots(clear.id)):
                self._case("unsent", name, "book", clear.id, f"the snapshot at seq {clear.seq} is no answer of REST")


class _Rules:
    """The rules of the module's heading, for one stream; for `restart` and `start`, see `_on_its_way`."""

    def __init__(self, channel: Channel, stream: Stream, symbol: Symbol) -> None:
        self.scales = symbol.scales
        self._channel = channel
        self._extent = symbol.extents[channel]
        self._late = stream.late if channel == "quote" else set()
        self._gaps = sorted(symbol.gaps[channel], key=lambda gap: gap.last_id)
        self._reach: list[int] = []  # cumulative reach of the gaps up to each one
        for gap in self._gaps:
            before = self._reach[-1] if self._reach else 0
            self._reach.append(max(before, gap.next_id or gap.last_id))
        self._stale = _stale_ranges(symbol) if channel == "book" else []

    def explain(self, message: Sent) -> str:
        """Name of the rule that applies; empty if none does."""
        ident = message.id
        if self._spanning(ident) is not None:
            return "gap"
        if self._channel == "book":
            if any(low < ident <= high for low, high in self._stale):
                return "snapshot"
            if message.content == ([], []):
                return "empty"
        return "late" if ident in self._late else ""

    def begins_after(self, ident: int) -> bool:
        """Whether nothing with an id this low is stored."""
        return ident < self._extent.ids[0]

    def _spanning(self, ident: int) -> Gap | None:
        at = bisect_left(self._gaps, ident, key=lambda gap: gap.last_id)
        if not at or self._reach[at - 1] <= ident:
            return None
        return next((gap for gap in reversed(self._gaps[:at]) if gap.next_id > ident), None)


def _around(message: Sent, ids: list[int], events: dict[int, Event]) -> str:
    """Where a message was sent, and what is stored around it."""
    at = bisect_left(ids, message.id)
    before = events[ids[at - 1]] if at else None
    after = events[ids[at]] if at < len(ids) else None
    places = ", ".join(f"connection {place.connection} line {place.line + 1}" for place in message.places)
    around = [f"{one.id} at seq {one.seq}" if one else "nothing near" for one in (before, after)]
    return f"sent on {places or 'no connection'}; stored before it {around[0]}, after it {around[1]}"


def _on_its_way(message: Sent, extent: Extent, interruptions: list[int], last_lines: dict[int, int]) -> str:
    if any(place.line < last_lines.get(place.connection, -1) for place in message.places):
        return ""
    if message.id > extent.ids[1]:
        return "restart" if any(seq > extent.last_seq for seq in interruptions) else ""
    if message.id < extent.ids[0]:
        return "start" if any(seq < extent.first_seq for seq in interruptions) else ""
    return ""  # the stream continues: a GAP was due


def _stale_ranges(symbol: Symbol) -> list[tuple[int, int]]:
    """Ids (after, up to) of the changes that a snapshot made superfluous, one pair per time a book was stale."""
    events = sorted([*symbol.changes, *symbol.clears])
    seqs = [seq for seq, _ in events]
    highest = [0]
    for _, ident in events:
        highest.append(max(highest[-1], ident))
    stops = sorted([*symbol.interruptions, *(gap.seq for gap in symbol.gaps["book"])])
    ranges = []
    ready = -1  # seq of the previous snapshot
    for seq, ident in symbol.clears:
        at = bisect_right(stops, ready)
        began = stops[at] if at < len(stops) and stops[at] < seq else None
        if ready < 0 or began is not None:
            low = 0 if ready < 0 else highest[bisect_left(seqs, began)]
            ranges.append((low, ident))
        ready = seq
    at = bisect_right(stops, ready)
    if ready < 0 or at < len(stops):  # stale to the end, which another test judges
        ranges.append((highest[bisect_left(seqs, stops[at])] if at < len(stops) else 0, 2**64))
    return ranges


def expected(channel: Channel, message: Sent, scales: tuple[int, int]) -> tuple[object, ...]:
    """How a message must be stored; see `stored_events.Event`."""
    price, size = scales
    match channel:
        case "trade":
            price_text, size_text, seller, time = message.content
            assert isinstance(time, int)
            # Milliseconds or microseconds, recognized by magnitude.
            unit_ns = 1_000 if time >= 10**15 else 1_000_000
            return to_mantissa(str(price_text), price), to_mantissa(str(size_text), size), seller, time * unit_ns
        case "quote":
            texts = [str(text) for text in message.content]
            return tuple(to_mantissa(text, scale) for text, scale in zip(texts, (price, size) * 2, strict=True))
        case "book":
            bids, asks = message.content
            return (_levels(bids, asks, scales),)


def _levels(bids: object, asks: object, scales: tuple[int, int]) -> tuple[tuple[int, int, int], ...]:
    sides = ((Side.BID, bids), (Side.ASK, asks))
    return tuple(
        (int(side), to_mantissa(price, scales[0]), to_mantissa(size, scales[1]))
        for side, levels in sides
        if isinstance(levels, list)
        for price, size in levels
    )
