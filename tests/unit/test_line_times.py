"""The time of a line, in every form that collectors write: recognised exactly, or refused with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickplant.runtime.line_times import EARLIEST_NS, LATEST_NS, split_time, time_of, why_not_split
from tickplant.times import format_time

AT_NS = 1_723_161_253 * 10**9
"""2024-08-08T23:54:13Z."""

RECOGNISED = [
    ("1723161253", 0),
    ("1723161253.9", 900_000_000),
    ("1723161253.937085", 937_085_000),
    ("1723161253.937085768", 937_085_768),
    ("1723161253937", 937_000_000),
    ("1723161253937.085", 937_085_000),
    ("1723161253937.085768", 937_085_768),
    ("1723161253937085", 937_085_000),
    ("1723161253937085.768", 937_085_768),
    ("1723161253937085768", 937_085_768),
    ("2024-08-08T23:54:13Z", 0),
    ("2024-08-08t23:54:13.9z", 900_000_000),
    ("2024-08-08T23:54:13.937085768Z", 937_085_768),
    ("2024-08-09T01:54:13.937085768+02:00", 937_085_768),
    ("2024-08-08T18:24:13.000001-05:30", 1_000),
]

REFUSED = [
    ("2024-08-08T23:54:13", "without a zone"),
    ("2024-08-08T23:54:13.937", "without a zone"),
    ("2024-08-08 23:54:13", "without a zone"),
    ("2024-08-08 23:54:13.5Z", "not of the form"),
    ("2024-08-08T23:54:13.0123456789Z", "not of the form"),
    ("2024-08-08T24:54:13Z", "not of the form"),
    ("2024-02-30T00:00:00Z", "not of the form"),
    ("2024-08-08T23:54Z", "not of the form"),
    ("2024-08-08", "not of the form"),
    ("1999-12-31T23:59:59Z", "2000 and 2100"),
    ("2100-01-01T00:00:00Z", "2000 and 2100"),
    ("1723161253937085768.5", "does not begin"),
    ("1723161253937085.7685", "finer than a nanosecond"),
    ("1723161253.9370857685", "does not begin"),
    ("20240808", "2000 and 2100"),
    ("20240808235413", "2000 and 2100"),
    ("20240808235413937", "2000 and 2100"),
    ("638587580539370857", "2000 and 2100"),  # .NET: 100 ns since the year 1
    ("133676348539370857", "2000 and 2100"),  # Windows: 100 ns since 1601
    ("17231612539370", "2000 and 2100"),  # 100 µs
    ("45512.99598", "does not begin"),  # a spreadsheet's days
    ("1.723161253e9", "does not begin"),
    ("-1723161253", "does not begin"),
    ("08/08/2024T23:54:13Z", "does not begin"),
    ("23:54:13", "does not begin"),
]


@pytest.mark.parametrize(("text", "past_ns"), RECOGNISED)
def test_a_time_that_is_recognised_is_exact(text: str, past_ns: int) -> None:
    line = f'{text} {{"a": "b c"}}'.encode()
    assert split_time(line) == (AT_NS + past_ns, b'{"a": "b c"}')
    assert time_of(line) == AT_NS + past_ns
    assert split_time(text.encode()) is None
    assert "frame" in why_not_split(text.encode()) or not text[:9].isdigit()


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_what_could_be_read_in_two_ways_or_in_none_is_refused(text: str, reason: str) -> None:
    line = f"{text} {{}}".encode()
    assert split_time(line) is None
    assert reason in why_not_split(line)


@given(st.integers(EARLIEST_NS, LATEST_NS - 1), st.integers(0, 3))
def test_one_moment_in_any_form_is_the_same_moment(time_ns: int, thousands: int) -> None:
    unit = 1000**thousands
    whole, rest = divmod(time_ns, unit)
    forms = [f"{whole}.{rest:0{3 * thousands}d}" if thousands else str(whole), format_time(time_ns)]
    assert [split_time(f"{form} x".encode()) for form in forms] == [(time_ns, b"x")] * 2


@given(st.from_regex(rb"[0-9.:TZ+ -]{1,40}", fullmatch=True))
def test_no_text_is_beyond_a_reason(text: bytes) -> None:
    found = split_time(text + b" x")
    assert (found is not None and EARLIEST_NS <= found[0] < LATEST_NS) or why_not_split(text + b" x")
