"""Times on the command line are RFC 3339 or integer nanoseconds, exact to the nanosecond."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickplant.times import format_time, parse_time


@given(st.integers(0, 2**63 - 1))
def test_a_formatted_time_parses_to_the_same_nanosecond(time_ns: int) -> None:
    assert parse_time(format_time(time_ns)) == time_ns
    assert parse_time(str(time_ns)) == time_ns


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("1970-01-01", 0, 0),
        ("1970-01-01T00:01", 60, 0),
        ("1970-01-01 00:00:01Z", 1, 0),
        ("1970-01-01T01:00:00.5+01:00", 0, 500_000_000),
        ("2024-08-08T23:54:13.937085768Z", 1723161253, 937085768),
        ("1723161253937085768", 1723161253, 937085768),
    ],
)
def test_the_usual_forms_are_understood(text: str, seconds: int, nanos: int) -> None:
    assert parse_time(text) == seconds * 10**9 + nanos


@pytest.mark.parametrize(
    "text", ["", "now", "2024-13-01", "2024-01-01T25:00", "2024-01-01T00:00:00.1234567890", "-5", "1e9"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="neither a time such as"):
        parse_time(text)
