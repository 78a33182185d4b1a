"""Text of others on a terminal: nothing hides, moves the cursor or reorders, and JSON means what it meant."""

from __future__ import annotations

import json
import unicodedata

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from tickplant.printable import printable, printable_json

UNFIT = (
    "\x00\x07\x08\t\n\r\x1b\x7f\x80\x85\x9b\x9f\xad\u034f\u061c\u115f\u180e\u200b\u200d\u200e\u202a\u202e\u2028\u2060"
    "\u2066\u2069\u3164\ufe0f\ufeff\uffa0\U000e0041"
)


@pytest.mark.parametrize("letter", UNFIT, ids=lambda letter: f"U+{ord(letter):04X}")
def test_what_is_not_seen_or_moves_others_is_escaped(letter: str) -> None:
    shown = printable(f"BTC{letter}USDT")
    assert shown.isascii() and shown.isprintable()
    assert shown.encode().decode("unicode_escape") == f"BTC{letter}USDT"


@pytest.mark.parametrize("text", ["BTCUSDT", "日本USDT", "1000PEPE", "say “é” ½", "x\\y", "币安人生", "🚀"])
def test_what_people_can_read_stays_as_it_is(text: str) -> None:
    assert printable(text) == text
    assert printable_json(json.dumps(text, ensure_ascii=False).encode()).decode() == json.dumps(
        text, ensure_ascii=False
    )


@given(st.text())
@settings(max_examples=300)
@example("\ud800")
@example("a\u202eb\nc")
def test_any_text_becomes_printable(text: str) -> None:
    for letter in printable(text):
        assert letter.isprintable() and unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    assert printable(text, lines=True).count("\n") == text.count("\n")
    assert printable(printable(text)) == printable(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=6,
)


@given(json_values, st.booleans())
@settings(max_examples=300)
@example({"a\x7f\u202e": "\U000e0041"}, False)
def test_json_stays_the_same_json(value: object, indented: bool) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1 if indented else None).encode()
    shown = printable_json(text)
    assert json.loads(shown) == value
    assert printable(shown.decode(), lines=True) == shown.decode()
