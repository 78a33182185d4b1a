"""What is a continuation of an ingest (docs/design.md): joined recordings, repeated ones, killed ones, older ones."""

from __future__ import annotations

import gzip
import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zstandard
from recorded_store import T0_NS, ingest, market, said, stored, write

from tickplant.instruments import InstrumentTable
from tickplant.records.layouts import Flag, GapCause, Kind, Schema
from tickplant.store.reader import Store
from tickplant.store.reconcile import Reconciliation
from tickplant.writer.journal import Journal

LINES = market(1, 1200)


def lines_with(*words: bytes) -> list[bytes]:
    return [line for line in LINES if all(word in line for word in words)]


def undisturbed(folder: Path, lines: list[bytes]) -> Path:
    ingest(folder / "undisturbed", write(folder / "all.rec", lines))
    return folder / "undisturbed"


def fill(data_dir: Path, records: Any) -> None:
    journal = Journal(data_dir, Schema.TICK, "feed")
    journal.append(records)
    journal.flush()
    journal.close()


def check_sums(data_dir: Path) -> None:
    reconciliation = Reconciliation("feed")
    assert list(reconciliation.add(stored(data_dir))) == []


def waiting(lines: list[bytes]) -> bool:
    """Whether a book waits for its snapshot behind these lines: the last hole or the first diff is behind it."""
    last: dict[bytes, tuple[bytes, bool]] = {}
    for line in lines:
        if b'"depthUpdate"' in line:
            symbol, previous = line.split(b'"s":"')[1][:7], line.split(b'"pu":')[1].split(b",")[0]
            newest, live = last.get(symbol, (b"", False))
            last[symbol] = line.split(b'"u":')[1].split(b",")[0], live and previous == newest
        elif b'"depth ' in line:
            symbol = line.split(b'"depth ')[1][:7]
            last[symbol] = last[symbol][0], True
    return not all(live for _, live in last.values())


# Files that follow each other.


@pytest.mark.parametrize("seed", range(5))
def test_recordings_one_after_another_are_stored_like_one(tmp_path: Path, seed: int) -> None:
    lines = market(seed, 600)
    rng = random.Random(seed)
    cuts = sorted(cut for cut in rng.sample(range(100, len(lines)), 12) if not waiting(lines[:cut]))[:3]
    assert cuts
    for start, stop in zip([0, *cuts], [*cuts, len(lines)], strict=True):
        counters = ingest(tmp_path / "parts", write(tmp_path / f"{start}.rec", lines[start:stop]))
        assert (counters["duplicates"], counters["late"], counters["repeated"]) == (0, 0, 0)
    assert said(tmp_path / "parts") == said(undisturbed(tmp_path, lines))
    check_sums(tmp_path / "parts")


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_cut_while_a_book_waits_loses_no_change_and_makes_no_wrong_book_live(tmp_path: Path, cut: int) -> None:
    lines = LINES[:300]
    for number, part in enumerate((lines[:cut], lines[cut:])):
        ingest(tmp_path / "parts", write(tmp_path / f"{number}.rec", part))
    whole, joined = undisturbed(tmp_path, lines), tmp_path / "parts"
    for kinds in ((Kind.TRADE,), (Kind.QUOTE,)):
        assert of_kinds(joined, *kinds) == of_kinds(whole, *kinds)
    assert changes(joined) == changes(whole)
    same_or_stale(joined, whole)
    check_sums(joined)


def changes(data_dir: Path) -> Counter[tuple[Any, ...]]:
    """The levels of all diffs, whatever event of the store they stand in."""
    return Counter(row[:8] for row in of_kinds(data_dir, Kind.LEVEL) if not row[9] & Flag.SNAPSHOT)


def of_kinds(data_dir: Path, *kinds: Kind) -> list[tuple[Any, ...]]:
    return [row for row in said(data_dir) if row[7] in kinds]


def same_or_stale(data_dir: Path, expected_dir: Path) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        found, expected = (Store(path).book("binance-usdm", symbol, 2**62) for path in (data_dir, expected_dir))
        assert found.stale or (
            (found.bids.tolist(), found.asks.tolist()) == (expected.bids.tolist(), expected.asks.tolist())
        )


DIFF = b'%d {"e":"depthUpdate","E":1,"T":1760000000000,"s":"BTCUSDT","U":%d,"u":%d,"pu":%d,"b":[["9","1"]],"a":[]}'
BOOK = b'%d {"lastUpdateId":%d,"E":1,"T":1760000000000,"bids":[["9","1"]],"asks":[["11","1"]]}'
TRADE = b'%d {"e":"trade","E":1,"T":1760000000002,"s":"BTCUSDT","t":%d,"p":"10","q":"1","X":"MARKET","m":true}'
HOUR_NS = 3600 * 10**9
FIRST_HOUR = [DIFF % (T0_NS, 20, 21, 19), BOOK % (T0_NS + 1, 21), TRADE % (T0_NS + 2, 7)]


@pytest.mark.parametrize(("first_id", "trade_id", "missing"), [(22, 8, None), (90, 20, 12)], ids=["joins", "hole"])
def test_an_hour_behind_an_hour_joins_it_or_shows_what_is_missing(
    tmp_path: Path, first_id: int, trade_id: int, missing: int | None
) -> None:
    ingest(tmp_path / "data", write(tmp_path / "a", FIRST_HOUR))
    next_ns = T0_NS + HOUR_NS
    second = [DIFF % (next_ns, first_id, first_id + 1, first_id - 1), TRADE % (next_ns + 1, trade_id)]
    ingest(tmp_path / "data", write(tmp_path / "b", second))
    gaps = [record for record in stored(tmp_path / "data") if record["kind"] == Kind.GAP]
    assert Store(tmp_path / "data").book("binance-usdm", "BTCUSDT", 2**62).stale == (missing is not None)
    if missing is None:
        assert gaps == []
    else:
        book, trades = gaps
        assert (book["price"], book["order_id"], book["venue_seq"]) == (GapCause.SEQUENCE, 21, 90)
        assert (trades["size"], trades["order_id"], trades["venue_seq"]) == (missing, 7, 20)


def test_recordings_of_other_symbols_and_streams_are_added_whatever_their_times(tmp_path: Path) -> None:
    trades = [lines_with(b'"trade"', symbol) for symbol in (b"ETHUSDT", b"BTCUSDT")]
    parts = [*trades, lines_with(b'"bookTicker"'), lines_with(b'"aggTrade"')]
    for number, part in enumerate(parts):
        counters = ingest(tmp_path / "data", write(tmp_path / f"{number}.rec", part))
        assert (counters["late"], counters["duplicates"], counters["rejected"]) == (0, 0, 0)
    whole = undisturbed(tmp_path, LINES)
    kinds = (Kind.TRADE, Kind.QUOTE)
    assert Counter(of_kinds(tmp_path / "data", *kinds)) == Counter(of_kinds(whole, *kinds))
    check_sums(tmp_path / "data")


def test_a_recording_without_instrument_data_keeps_the_scales_that_are_known(tmp_path: Path) -> None:
    data = tmp_path / "data"
    ingest(data, write(tmp_path / "a", FIRST_HOUR[:1]))
    (row,) = InstrumentTable.load(data / "instruments.jsonl").find("binance-usdm", "BTCUSDT")
    ingest(data, write(tmp_path / "b", FIRST_HOUR[1:]))
    assert InstrumentTable.load(data / "instruments.jsonl").find("binance-usdm", "BTCUSDT") == [row]


# The same recording again.


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_ingest_is_continued_to_the_very_records_of_an_undisturbed_one(tmp_path: Path, seed: int) -> None:
    lines = market(seed, 400)
    recording = write(tmp_path / "again.rec", lines)
    whole = stored(undisturbed(tmp_path, lines))
    rng = random.Random(seed)
    for kill_at in sorted(rng.sample(range(len(whole)), 3)):
        ingest(tmp_path / "data", recording, kill_at=kill_at, capacity=rng.choice((64, 128, 512)))
        assert (stored(tmp_path / "data") == whole[: len(stored(tmp_path / "data"))]).all()
    counters = ingest(tmp_path / "data", recording)
    assert counters["repeated"] + counters["added"] == len(whole)
    assert (stored(tmp_path / "data") == whole).all()


@pytest.mark.parametrize("cut", [0, 1, 2, 500, 100_000], ids=lambda cut: f"-{cut}")
def test_what_a_power_cut_has_taken_is_stored_by_the_next_ingest(tmp_path: Path, cut: int) -> None:
    # The journal ends anywhere then, in the middle of an event as well.
    recording = write(tmp_path / "again.rec", LINES[:300])
    whole = stored(undisturbed(tmp_path, LINES[:300]))
    data = tmp_path / "data"
    ingest(data, recording)
    keep = max(0, len(whole) - cut)
    (file,) = (data / "journal").rglob("*.tpj")
    file.unlink()
    file.with_suffix(".tpx").unlink()
    fill(data, whole[:keep])
    assert ingest(data, recording)["added"] == len(whole) - keep
    assert (stored(data) == whole).all()


@pytest.mark.parametrize("again", ["itself", "gzip", "zstd", "crlf", "marked", "folder", "truncated"])
def test_a_recording_that_is_stored_adds_nothing_in_whatever_guise(tmp_path: Path, again: str) -> None:
    first = write(tmp_path / "first.rec", LINES)
    ingest(tmp_path / "data", first)
    before, text = stored(tmp_path / "data"), first.read_bytes()
    copy = tmp_path / "copy"
    match again:
        case "folder":
            copy.mkdir()
            write(copy / "part9", LINES[:700])
            write(copy / "part10", LINES[700:])
        case "truncated":
            write(copy, LINES[:700])
        case _:
            pack: dict[str, Any] = {
                "itself": bytes,
                "gzip": gzip.compress,
                "zstd": zstandard.compress,
                "crlf": lambda text: text.replace(b"\n", b"\r\n"),
                "marked": lambda text: b"\xef\xbb\xbf" + text,
            }
            copy.write_bytes(pack[again](text))
    counters = ingest(tmp_path / "data", copy)
    assert (counters["added"], counters["late"]) == (0, 0)
    assert (stored(tmp_path / "data") == before).all()


def test_a_recording_is_known_again_behind_another_one(tmp_path: Path) -> None:
    cut = next(cut for cut in range(600, 1200) if not waiting(LINES[:cut]))
    parts = [write(tmp_path / "a", LINES[:cut]), write(tmp_path / "b", LINES[cut:])]
    for part in parts:
        ingest(tmp_path / "data", part)
    before = stored(tmp_path / "data")
    for part in (*parts, *reversed(parts)):
        counters = ingest(tmp_path / "data", part)
        assert (counters["added"], counters["late"]) == (0, 0)
        assert counters["repeated"] or counters["duplicates"]
    assert (stored(tmp_path / "data") == before).all()


@pytest.mark.parametrize("cut", [20, 555, 900])
def test_a_recording_that_has_grown_is_stored_from_where_it_had_ended(tmp_path: Path, cut: int) -> None:
    for lines in (LINES[:cut], LINES[: cut + 100], LINES):
        ingest(tmp_path / "data", write(tmp_path / "grows.rec", lines))
    whole = undisturbed(tmp_path, LINES)
    for kind in (Kind.TRADE, Kind.QUOTE):
        assert of_kinds(tmp_path / "data", kind) == of_kinds(whole, kind)
    if not waiting(LINES[:cut]) and not waiting(LINES[: cut + 100]):
        assert said(tmp_path / "data") == said(whole)
    same_or_stale(tmp_path / "data", whole)
    check_sums(tmp_path / "data")


# Recordings that overlap, and older ones.


@pytest.mark.parametrize("with_rows", [True, False])
def test_recordings_that_overlap_store_each_event_once(tmp_path: Path, *, with_rows: bool) -> None:
    data, whole = tmp_path / "data", undisturbed(tmp_path, LINES)
    cut = next(cut for cut in range(700, 1200) if not waiting(LINES[:cut]))
    ingest(data, write(tmp_path / "a", LINES[:cut]))
    if not with_rows:
        (data / "ingests.jsonl").unlink()
    counters = ingest(data, write(tmp_path / "b", LINES[cut - 300 :]))
    assert counters["duplicates"] > 100
    assert counters["late"] == 0
    assert said(data) == said(whole)
    check_sums(data)


def test_an_older_recording_is_left_out_and_told(tmp_path: Path) -> None:
    cut = next(cut for cut in range(600, 1200) if not waiting(LINES[:cut]))
    ingest(tmp_path / "data", write(tmp_path / "b", LINES[cut:]))
    before = stored(tmp_path / "data")
    counters = ingest(tmp_path / "data", write(tmp_path / "a", LINES[:cut]))
    assert counters["added"] == 0
    assert counters["late"] > cut // 2
    assert (stored(tmp_path / "data") == before).all()


def test_what_fills_a_hole_of_the_store_is_left_out_and_told_and_the_rest_is_stored(tmp_path: Path) -> None:
    trades = lines_with(b'"trade"', b'"BTCUSDT"')
    ingest(tmp_path / "data", write(tmp_path / "a", trades[:20] + trades[23:40]))
    counters = ingest(tmp_path / "data", write(tmp_path / "b", trades[10:]))
    assert counters["late"] == 3
    ids = [row[5] for row in of_kinds(tmp_path / "data", Kind.TRADE)]
    assert len(ids) == len(set(ids)) == len(trades) - 3
    assert [int(row[3]) for row in of_kinds(tmp_path / "data", Kind.GAP)][:1] != []


# Lines whose time cannot be right.


DAY_NS = 86_400 * 10**9


@pytest.mark.parametrize("place", [0, 1, 5, 9])
@pytest.mark.parametrize("shift_ns", [-2 * DAY_NS, 2 * DAY_NS, 50 * 365 * DAY_NS], ids=["back", "ahead", "future"])
def test_a_line_at_an_impossible_time_is_refused_alone(tmp_path: Path, place: int, shift_ns: int) -> None:
    trades = lines_with(b'"trade"', b'"BTCUSDT"')[:10]
    time, _, frame = trades[place].partition(b" ")
    trades[place] = b"%d %b" % (int(time) + shift_ns, frame)
    counters = ingest(tmp_path / "data", write(tmp_path / "a", trades))
    rows = of_kinds(tmp_path / "data", Kind.TRADE)
    alone = not (place == 0 and shift_ns < 0) and not (place == 9 and shift_ns == 2 * DAY_NS)
    assert counters["rejected"] == alone
    assert len(rows) == 10 - alone
    gaps = [row for row in of_kinds(tmp_path / "data", Kind.GAP) if row[3] == GapCause.REJECTED]
    assert len(gaps) == alone
    assert all(T0_NS - 3 * DAY_NS < row[2] < T0_NS + 3 * DAY_NS for row in rows + gaps)


def test_a_line_that_is_none_leaves_a_gap_at_the_last_time_that_is_known(tmp_path: Path) -> None:
    lines = [b"0 {}", b"no line", *FIRST_HOUR[:1], b"1 {}", b"\xff\xfe", *FIRST_HOUR[1:]]
    counters = ingest(tmp_path / "data", write(tmp_path / "a", lines))
    assert counters["rejected"] == 4
    gaps = of_kinds(tmp_path / "data", Kind.GAP)
    assert [(row[0], row[2], row[3]) for row in gaps] == [("*", T0_NS, GapCause.REJECTED)] * 3
    check_sums(tmp_path / "data")


def test_a_folder_of_captures_is_one_recording_whatever_its_files_are_called(tmp_path: Path) -> None:
    cuts = [0, 300, 301, 700, len(LINES)]
    (tmp_path / "captures").mkdir()
    for number, (start, stop) in enumerate(itertools.pairwise(cuts)):
        text = b"".join(line + b"\n" for line in LINES[start:stop])
        pack = (zstandard.compress, gzip.compress, bytes)[number % 3]
        (tmp_path / "captures" / f"{9 - number}.rec").write_bytes(pack(text))
    ingest(tmp_path / "data", tmp_path / "captures")
    assert stored(tmp_path / "data").tobytes() == stored(undisturbed(tmp_path, LINES)).tobytes()
    # A folder that has grown is continued; one that has not adds nothing.
    again = ingest(tmp_path / "data", tmp_path / "captures")
    assert (again["added"], again["repeated"]) == (0, len(stored(tmp_path / "data")))
