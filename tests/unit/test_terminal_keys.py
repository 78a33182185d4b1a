"""Keys of a terminal."""

from __future__ import annotations

from tickplant.cli.terminal_keys import first_key


def test_arrows_are_one_key_each() -> None:
    typed, keys = b" \x1b[C.\x1b[Ax", []
    while typed:
        key, typed = first_key(typed, {b" ", b"\x1b[C", b"\x1b[A"})
        keys.append(key)
    assert keys == [b" ", b"\x1b[C", b".", b"\x1b[A", b"x"]
