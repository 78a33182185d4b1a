"""Recordings of several symbols whose snapshots do not say whose they are: a book that is live is the true one."""

from __future__ import annotations

from binance_tools import Desk, Record, diff, snapshot
from folded_book import FoldedBook
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tickplant.feeds.venues.binance.unnamed import WAIT_NS
from tickplant.records.layouts import Flag, Kind, Side

UNIT = 10**8
MS = 10**6
Book = dict[Side, dict[int, int]]


class Stream:
    """One symbol at the venue: its diffs in order, and its book after each id."""

    def __init__(self, symbol: str, first_id: int, events: list[tuple[int, list[tuple[bool, int, int]]]], own: int):
        self.symbol = symbol
        self.diffs: list[dict] = []
        book: Book = {Side.BID: {100: own}, Side.ASK: {200: own}}
        self.books: dict[int, Book] = {first_id: {side: dict(levels) for side, levels in book.items()}}
        ident = first_id
        for skipped, changes in events:
            previous, first = ident, ident + 1 + skipped
            sides: dict[bool, dict[int, int]] = {True: {}, False: {}}
            for number, (bid, price, size) in enumerate(changes):
                ident = first + number
                sides[bid][price] = size * own
                levels = book[Side.BID if bid else Side.ASK]
                levels[price] = size * own
                if not size:
                    del levels[price]
                self.books[ident] = {side: dict(levels) for side, levels in book.items()}
            bids, asks = ([(str(p), str(s)) for p, s in sides[bid].items()] for bid in (True, False))
            self.diffs.append(diff(first, ident, bids, asks, symbol=symbol, previous=previous))
        self.delivered = 0

    def snapshot(self, choice: int) -> tuple[int, dict] | None:
        """A whole book, of an id at most one event newer than what was delivered; none before the first diff."""
        if not self.delivered:
            return None
        newest = self.diffs[min(self.delivered, len(self.diffs) - 1)]["u"]
        ids = [ident for ident in self.books if ident <= newest]
        ident = ids[-1 - choice % len(ids)]
        bids, asks = ([(str(p), str(s)) for p, s in self.books[ident][side].items()] for side in (Side.BID, Side.ASK))
        return ident, snapshot(ident, bids, asks)


change = st.tuples(st.booleans(), st.integers(90, 99), st.integers(0, 3)).map(
    lambda c: (c[0], c[1] if c[0] else c[1] + 111, c[2])
)
# Many changes an event, so that what a snapshot shows can be compared with them.
events = st.lists(st.tuples(st.integers(0, 3), st.lists(change, min_size=1, max_size=25)), min_size=3, max_size=12)


@st.composite
def worlds(draw: st.DrawFn, *, futures: bool) -> list[Stream]:
    """One to four symbols, their ids apart, side by side or on top of each other."""
    streams = []
    for number in range(draw(st.integers(1, 4))):
        first_id = draw(st.sampled_from([100, 130, 10_000 * (number + 1)]))
        made = draw(events)
        if not futures:
            made = [(0, changes) for _, changes in made]
        # Sizes are a symbol's own, as real ones are: books of equal levels could not be told apart by anybody.
        streams.append(Stream(f"S{number}", first_id, made, 7 + 2 * number))
    return streams


@settings(max_examples=50)
@given(futures=st.booleans(), data=st.data())
def test_a_live_book_is_that_of_its_own_symbol(futures: bool, data: st.DataObject) -> None:
    streams = data.draw(worlds(futures=futures))
    desk = Desk(futures=futures)
    books = {stream.symbol: FoldedBook(stream.symbol) for stream in streams}
    truth = {stream.symbol: stream for stream in streams}
    stored: dict[str, list[tuple[int, Side, int]]] = {stream.symbol: [] for stream in streams}
    ts = 1_700_000_000 * 10**9

    def take(records: list[Record]) -> None:
        for record in records:
            if record.kind == Kind.LEVEL and not record.flags & Flag.SNAPSHOT:
                stored[record.symbol].append((record.venue_seq, record.side, record.price))
            for book in books.values():
                book.apply([record])
            if record.flags & Flag.LAST and record.symbol in books and books[record.symbol].live:
                book = books[record.symbol]
                expected = truth[book.symbol].books[book.book_id]
                assert book.levels == {
                    side: {price * UNIT: size * UNIT for price, size in levels.items()}
                    for side, levels in expected.items()
                }

    script = data.draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.sampled_from(["diff", "diff", "snapshot"]), st.integers(0, 40)),
            min_size=15,
            max_size=60,
        )
    )
    sent = 0
    for which, what, choice in script:
        stream = streams[which % len(streams)]
        ts += data.draw(st.sampled_from([MS, 100 * MS, 100 * MS, WAIT_NS // 4]))
        if what == "diff" and stream.delivered < len(stream.diffs):
            take(desk.recorded(stream.diffs[stream.delivered], ts))
            stream.delivered += 1
        elif what == "snapshot" and (made := stream.snapshot(choice)) is not None:
            take(desk.recorded(made[1], ts))
            sent += 1
    desk.end()
    take(desk.take())
    counters = desk.adapter.counters
    assert counters.frames == counters.parsed + counters.ignored + counters.rejected
    assert counters.rejected <= sent
    # Whatever became of the snapshots, the diffs are stored.
    for stream in streams:
        expected_rows = sorted(
            (each["u"], side, int(price) * UNIT)
            for each in stream.diffs[: stream.delivered]
            for side, key in ((Side.BID, "b"), (Side.ASK, "a"))
            for price, _ in each[key]
        )
        assert sorted(stored[stream.symbol]) == expected_rows
    event(f"live books: {sum(book.live for book in books.values())} of {len(books)}")


@settings(max_examples=40)
@given(futures=st.booleans(), made=st.lists(events, min_size=1, max_size=3), data=st.data())
def test_where_ids_are_apart_every_book_becomes_live(futures: bool, made: list, data: st.DataObject) -> None:
    apart = [
        Stream(f"S{n}", 10_000 * (n + 1), [(skipped if futures else 0, c) for skipped, c in each], 7 + 2 * n)
        for n, each in enumerate(made)
    ]
    desk = Desk(futures=futures)
    records: list[Record] = []
    ts = 1_700_000_000 * 10**9
    ahead = data.draw(st.booleans())
    for step in range(max(len(stream.diffs) for stream in apart)):
        for stream in data.draw(st.permutations(apart)):
            if step < len(stream.diffs):
                records += desk.recorded(stream.diffs[step], ts := ts + MS)
                stream.delivered = step + 1
        if step == 1:
            for stream in data.draw(st.permutations(apart)):
                ident = stream.diffs[step + ahead]["u"]
                choice = [each for each in stream.books if each <= stream.diffs[2]["u"]][::-1].index(ident)
                records += desk.recorded(stream.snapshot(choice)[1], ts := ts + MS)
    desk.end()
    records += desk.take()
    # On spot a small book with 5, 10 or 20 levels on a side may be a partial one, and is left out.
    doubtful = {reject.cause for reject in desk.rejects} - {"partial book of no known symbol"}
    assert not doubtful
    for stream in apart:
        book = FoldedBook(stream.symbol)
        book.apply(records)
        assert book.live or desk.rejects
        if book.live:
            assert book.book_id == stream.diffs[-1]["u"]
    if futures:
        assert desk.rejects == []
