"""Stories of one book: held, synchronised, broken, repaired, by the rules of spot and of futures."""

from __future__ import annotations

from tickplant.feeds.kit.book_sync import EMPTY_SNAPSHOT, BookSync
from tickplant.feeds.kit.book_tracker import UNKNOWN, Diff, Gap, Output, Snapshot


def spot(first: int, last: int) -> Diff:
    return Diff(first, last, UNKNOWN, f"{first}..{last}")


def futures(first: int, last: int, previous: int) -> Diff:
    return Diff(first, last, previous, f"{first}..{last}")


def live_spot(book_id: int = 100) -> BookSync:
    sync = BookSync(chained=False, held_limit=100)
    sync.on_diff(spot(book_id - 5, book_id))
    sync.on_snapshot(Snapshot(book_id, "book"))
    sync.wants_snapshot = False
    assert sync.live
    return sync


def live_futures(book_id: int = 100) -> BookSync:
    sync = BookSync(chained=True, held_limit=100)
    sync.on_diff(futures(book_id - 5, book_id, book_id - 6))
    sync.on_snapshot(Snapshot(book_id, "book"))
    sync.wants_snapshot = False
    assert sync.live
    return sync


def test_the_first_diff_is_held_and_a_snapshot_is_wanted_once() -> None:
    sync = BookSync(chained=False, held_limit=100)
    assert sync.on_diff(spot(10, 12)) == []
    assert sync.wants_snapshot
    sync.wants_snapshot = False
    assert sync.on_diff(spot(13, 14)) == []
    assert not sync.wants_snapshot
    assert sync.waiting


def test_a_snapshot_comes_out_between_the_diffs_it_contains_and_those_that_follow() -> None:
    sync = BookSync(chained=False, held_limit=100)
    diffs = [spot(10, 12), spot(13, 15), spot(16, 20)]
    for diff in diffs:
        sync.on_diff(diff)
    snapshot = Snapshot(14, "book")
    assert sync.on_snapshot(snapshot) == [diffs[0], snapshot, diffs[1], diffs[2]]
    assert sync.live
    assert sync.book_id == 20


def test_a_snapshot_that_contains_everything_held_makes_the_book_live_at_its_own_id() -> None:
    sync = BookSync(chained=False, held_limit=100)
    held = spot(167, 170)
    sync.on_diff(held)
    snapshot = Snapshot(171, "book")
    assert sync.on_snapshot(snapshot) == [held, snapshot]
    assert sync.book_id == 171
    assert sync.on_diff(spot(172, 173)) == [spot(172, 173)]


def test_a_snapshot_right_before_the_first_held_diff_is_not_too_old() -> None:
    sync = BookSync(chained=False, held_limit=100)
    sync.on_diff(spot(10, 12))
    assert sync.on_snapshot(Snapshot(9, "book")) == [Snapshot(9, "book"), spot(10, 12)]


def test_a_snapshot_older_than_what_is_held_is_dropped_and_another_one_wanted() -> None:
    sync = BookSync(chained=False, held_limit=100)
    sync.on_diff(spot(10, 12))
    sync.wants_snapshot = False
    assert sync.on_snapshot(Snapshot(8, "book")) == []
    assert sync.wants_snapshot
    assert sync.on_snapshot(Snapshot(11, "book")) == [Snapshot(11, "book"), spot(10, 12)]


def test_a_snapshot_before_any_diff_waits_for_the_first_one_and_is_tested_against_it() -> None:
    sync = BookSync(chained=False, held_limit=100)
    assert sync.on_snapshot(Snapshot(9, "book")) == []
    assert sync.on_diff(spot(10, 12)) == [Snapshot(9, "book"), spot(10, 12)]
    assert not sync.wants_snapshot

    late = BookSync(chained=False, held_limit=100)
    late.on_snapshot(Snapshot(9, "book"))
    assert late.on_diff(spot(20, 22)) == []
    assert late.wants_snapshot


def test_an_empty_snapshot_takes_the_first_diff_whatever_its_ids() -> None:
    sync = BookSync(chained=False, held_limit=100)
    sync.on_diff(spot(500, 510))
    empty = Snapshot(EMPTY_SNAPSHOT, "nothing")
    assert sync.on_snapshot(empty) == [empty, spot(500, 510)]
    assert sync.book_id == 510


def test_old_and_repeated_diffs_are_dropped_and_counted() -> None:
    sync = live_spot(100)
    assert sync.on_diff(spot(98, 100)) == []
    assert sync.on_diff(spot(90, 95)) == []
    assert sync.duplicates == 2
    assert sync.on_diff(spot(99, 103)) == [spot(99, 103)]
    assert sync.book_id == 103


def test_a_repeated_diff_is_dropped_while_it_is_held_too() -> None:
    sync = BookSync(chained=False, held_limit=100)
    sync.on_diff(spot(10, 12))
    sync.on_diff(spot(10, 12))
    assert len(sync.held) == 1
    assert sync.duplicates == 1


def test_a_jump_of_the_ids_is_a_gap_at_once_and_the_diff_is_the_first_one_held() -> None:
    sync = live_spot(164)
    assert sync.on_diff(spot(167, 170)) == [Gap(164, 167, 2)]
    assert not sync.live
    assert sync.wants_snapshot
    assert sync.on_diff(spot(171, 172)) == []
    assert sync.on_snapshot(Snapshot(171, "book")) == [spot(167, 170), Snapshot(171, "book"), spot(171, 172)]


def test_one_missing_id_is_a_gap_and_a_direct_successor_is_none() -> None:
    for begun in (False, True):
        sync = live_spot(164)
        if begun:
            sync.on_diff(spot(165, 170))
        end = sync.book_id
        assert sync.on_diff(spot(end + 1, end + 3)) == [spot(end + 1, end + 3)]
        assert sync.on_diff(spot(end + 5, end + 6)) == [Gap(end + 3, end + 5, 1)]


def test_a_hole_among_the_held_diffs_behind_the_snapshot_is_a_gap_of_its_own() -> None:
    sync = BookSync(chained=False, held_limit=100)
    for diff in (spot(10, 12), spot(13, 15), spot(20, 22)):
        sync.on_diff(diff)
    assert sync.on_snapshot(Snapshot(14, "book")) == [spot(10, 12), Snapshot(14, "book"), spot(13, 15), Gap(15, 20, 4)]
    assert list(sync.held) == [spot(20, 22)]
    assert sync.wants_snapshot


def test_more_diffs_than_the_limit_push_the_oldest_ones_out_and_none_is_lost() -> None:
    sync = BookSync(chained=False, held_limit=2)
    diffs = [spot(n, n) for n in range(10, 15)]
    released = [output for diff in diffs for output in sync.on_diff(diff)]
    assert released == diffs[:3]
    assert sync.on_snapshot(Snapshot(13, "book")) == [diffs[3], Snapshot(13, "book"), diffs[4]]


def test_the_limit_counts_weight_and_the_newest_diff_always_stays() -> None:
    sync = BookSync(chained=False, held_limit=10)
    small, large = Diff(1, 1, UNKNOWN, "small", 4), Diff(2, 2, UNKNOWN, "large", 40)
    assert sync.on_diff(small) == []
    assert sync.on_diff(large) == [small]
    assert sync.on_diff(spot(3, 3)) == [large]
    assert [sync.on_diff(spot(n, n)) for n in range(4, 13)] == [[]] * 9
    assert sync.on_diff(spot(13, 13)) == [spot(3, 3)]


def test_futures_diffs_chain_by_the_id_before_them_and_not_by_their_first_id() -> None:
    sync = live_futures(9004)
    assert sync.on_diff(futures(9010, 9020, 9004)) == [futures(9010, 9020, 9004)]
    assert sync.on_diff(futures(9031, 9040, 9030)) == [Gap(9020, 9031, UNKNOWN)]


def test_a_futures_diff_that_reaches_back_is_a_gap_unless_two_connections_overlap() -> None:
    sync = live_futures(100)
    sync.on_diff(futures(101, 110, 100))
    assert not sync.advance(104, 115, 103)
    assert sync.advance(104, 115, 103, overlapping=True)
    assert sync.book_id == 115
    assert sync.on_diff(futures(104, 120, 103)) == [Gap(115, 104, UNKNOWN)]


def test_diffs_of_two_connections_that_are_cut_at_different_ids_leave_no_hole_while_they_wait() -> None:
    sync = BookSync(chained=True, held_limit=100)
    diffs = [futures(101, 110, 100), futures(104, 115, 103), futures(111, 120, 110), futures(116, 125, 115)]
    for diff in diffs:
        assert sync.on_diff(diff, overlapping=True) == []
    assert sync.on_diff(futures(104, 115, 103), overlapping=True) == []
    assert sync.duplicates == 1
    assert sync.on_snapshot(Snapshot(105, "book")) == [Snapshot(105, "book"), *diffs]
    assert sync.on_diff(futures(131, 140, 130), overlapping=True) == [Gap(125, 131, UNKNOWN)]


def test_the_first_futures_diff_after_a_snapshot_must_reach_it() -> None:
    for diff in (futures(95, 105, 80), futures(101, 105, 100), futures(90, 100, 80)):
        sync = BookSync(chained=True, held_limit=100)
        sync.on_diff(futures(70, 79, 60))
        sync.on_snapshot(Snapshot(100, "book"))
        assert sync.on_diff(diff) == [diff]
    sync = BookSync(chained=True, held_limit=100)
    sync.on_diff(futures(70, 79, 60))
    sync.on_snapshot(Snapshot(100, "book"))
    assert sync.on_diff(futures(110, 120, 105)) == [Gap(100, 110, UNKNOWN)]


def test_a_futures_diff_that_ends_at_the_snapshot_is_applied_on_top_of_it() -> None:
    sync = BookSync(chained=True, held_limit=100)
    for diff in (futures(80, 90, 79), futures(91, 100, 90), futures(101, 110, 100)):
        sync.on_diff(diff)
    snapshot = Snapshot(100, "book")
    assert sync.on_snapshot(snapshot) == [
        futures(80, 90, 79),
        snapshot,
        futures(91, 100, 90),
        futures(101, 110, 100),
    ]


def test_after_an_interruption_the_next_snapshot_comes_after_a_gap_that_says_why() -> None:
    sync = live_spot(100)
    assert sync.give_up("cut") == []
    assert not sync.live
    assert sync.on_diff(spot(200, 201)) == []
    assert sync.wants_snapshot
    snapshot = Snapshot(200, "book")
    assert sync.on_snapshot(snapshot) == [Gap(100, 200, UNKNOWN, "cut"), snapshot, spot(200, 201)]


def test_an_interruption_before_the_first_snapshot_releases_what_is_held_and_leaves_a_gap() -> None:
    sync = BookSync(chained=False, held_limit=100)
    sync.on_diff(spot(10, 12))
    assert sync.give_up("cut") == [spot(10, 12)]
    sync.on_diff(spot(50, 52))
    gap = Gap(12, 51, UNKNOWN, "cut")
    assert sync.on_snapshot(Snapshot(51, "book")) == [gap, Snapshot(51, "book"), spot(50, 52)]


def test_every_hole_among_held_diffs_has_a_gap_of_its_own() -> None:
    sync = live_spot(100)
    assert sync.on_diff(spot(105, 106)) == [Gap(100, 105, 4, None)]
    assert sync.on_diff(spot(107, 108)) == []
    assert sync.on_diff(spot(110, 110)) == [Gap(108, 110, 1, None)]
    assert sync.on_diff(spot(109, 109)) == []
    assert sync.duplicates == 1
    held = [spot(105, 106), spot(107, 108), spot(110, 110)]
    assert sync.on_snapshot(Snapshot(110, "book")) == [*held, Snapshot(110, "book")]


def test_an_interruption_during_a_resync_leaves_a_gap_from_the_last_id_held() -> None:
    sync = live_spot(100)
    sync.on_diff(spot(105, 106))
    assert sync.give_up("cut") == [spot(105, 106)]
    sync.on_diff(spot(120, 121))
    assert sync.on_snapshot(Snapshot(121, "book")) == [
        spot(120, 121),
        Gap(106, 121, UNKNOWN, "cut"),
        Snapshot(121, "book"),
    ]


def test_a_gap_that_waits_for_a_snapshot_comes_with_what_is_held_when_there_will_be_none() -> None:
    sync = live_spot(100)
    sync.give_up("cut")
    sync.on_diff(spot(150, 151))
    assert sync.release() == [spot(150, 151), Gap(100, 151, UNKNOWN, "cut")]
    assert sync.release() == []
    # The same where the connection is closed first, as it is when the feed stops.
    sync = live_spot(100)
    sync.give_up("cut")
    sync.on_diff(spot(150, 151))
    assert sync.give_up("stop") == [spot(150, 151)]
    assert sync.release() == [Gap(100, 151, UNKNOWN, "cut")]


def test_a_live_book_that_is_closed_owes_nothing() -> None:
    sync = live_spot(100)
    assert sync.give_up("stop") == []
    assert sync.release() == []


def test_two_interruptions_in_a_row_give_one_gap_from_the_last_good_id() -> None:
    sync = live_spot(100)
    sync.give_up("first")
    sync.on_diff(spot(150, 151))
    assert sync.give_up("second") == [spot(150, 151)]
    sync.on_diff(spot(200, 201))
    assert sync.on_snapshot(Snapshot(200, "book"))[0] == Gap(100, 200, UNKNOWN, "first")


def test_a_known_cause_is_told_with_the_gap_and_forgotten_when_none_comes() -> None:
    sync = live_spot(100)
    sync.pending_cause = "unreadable"
    assert sync.on_diff(spot(105, 106)) == [Gap(100, 105, 4, "unreadable")]

    sync = live_spot(100)
    sync.pending_cause = "unreadable"
    sync.on_diff(spot(101, 102))
    assert sync.on_diff(spot(105, 106)) == [Gap(102, 105, 2, None)]


def test_a_refreshed_book_loses_nothing_and_says_nothing() -> None:
    sync = live_spot(100)
    sync.refresh()
    outputs: list[Output] = sync.on_diff(spot(101, 102))
    assert outputs == []
    assert sync.wants_snapshot
    sync.on_diff(spot(103, 104))
    snapshot = Snapshot(103, "book")
    assert sync.on_snapshot(snapshot) == [spot(101, 102), snapshot, spot(103, 104)]


def test_a_hole_while_a_book_is_refreshed_is_a_gap_at_once() -> None:
    sync = live_spot(100)
    sync.refresh()
    assert sync.on_diff(spot(105, 106)) == [Gap(100, 105, 4)]
    assert sync.on_snapshot(Snapshot(105, "book")) == [Snapshot(105, "book"), spot(105, 106)]


def test_a_snapshot_nobody_waits_for_is_ignored() -> None:
    sync = live_spot(100)
    assert sync.on_snapshot(Snapshot(90, "book")) == []
    assert sync.live
    assert sync.book_id == 100


def test_what_is_held_can_be_released_when_no_snapshot_will_come() -> None:
    sync = BookSync(chained=False, held_limit=100)
    sync.on_diff(spot(10, 12))
    assert sync.release() == [spot(10, 12)]
    assert sync.release() == []
