"""A signal ends a wait whichever thread takes it, and whenever."""

from __future__ import annotations

import select
import signal
import threading

import pytest

from tickplant.runtime.signals import signals_as_fd

DEADLINE_S = 30.0
NUMBER = signal.SIGUSR1


@pytest.mark.parametrize("by_another", [False, True])
def test_the_descriptor_is_readable_whichever_thread_takes_the_signal(by_another: bool) -> None:
    ended = threading.Event()
    other = threading.Thread(target=ended.wait, args=(DEADLINE_S,))
    other.start()
    try:
        with signals_as_fd(NUMBER) as stopped:
            assert not select.select([stopped], [], [], 0)[0]
            taker = other.ident if by_another else threading.main_thread().ident
            assert taker is not None
            signal.pthread_kill(taker, NUMBER)
            assert select.select([stopped], [], [], DEADLINE_S)[0]
    finally:
        ended.set()
        other.join()


def test_without_a_handler_the_signal_does_afterwards_what_it_did() -> None:
    before = signal.getsignal(NUMBER)
    with signals_as_fd(NUMBER):
        assert signal.getsignal(NUMBER) is not before
    assert signal.getsignal(NUMBER) is before


def test_a_handler_is_called_and_stays() -> None:
    came: list[int] = []
    before = signal.getsignal(NUMBER)

    def handler(number: int, _: object) -> None:
        came.append(number)

    try:
        with signals_as_fd(NUMBER, handler=handler):
            signal.raise_signal(NUMBER)
        signal.raise_signal(NUMBER)
        assert came == [NUMBER, NUMBER]
    finally:
        signal.signal(NUMBER, before)
