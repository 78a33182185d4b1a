"""A watcher that was stopped, and goes on, blames nobody for the silence of that time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import paused_watcher
import pytest
from plant_process import DEADLINE_S, state_of, wait_for

from tickplant.store.flight_answers import LOOKS

pytestmark = pytest.mark.usefixtures("unmeasured")

PAUSE_S = paused_watcher.ALLOWED_S + 1


def blamed_after_a_pause(watcher: str, folder: Path) -> int:
    """What a watcher says when it was stopped for longer than a client may be silent."""
    command = [sys.executable, paused_watcher.__file__, watcher, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            wait_for("the watcher to stand still", lambda: state_of(process.pid) in "TZ")  # Z: it failed
            time.sleep(PAUSE_S)  # the pause itself: no outcome depends on more or less of it
            os.kill(process.pid, signal.SIGCONT)
            said, _ = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    return int(json.loads(said))


def test_a_gateway_that_stood_still_cuts_off_no_client_for_what_it_could_not_take_then(tmp_path: Path) -> None:
    assert blamed_after_a_pause("hub", tmp_path) == 0


def test_an_engine_that_stood_still_cuts_off_no_client_for_replies_that_waited_then(tmp_path: Path) -> None:
    assert blamed_after_a_pause("guard", tmp_path) == 0


def test_a_flight_server_that_stood_still_looks_as_often_as_ever_before_it_cuts_a_client_off(tmp_path: Path) -> None:
    assert blamed_after_a_pause("flight", tmp_path) >= LOOKS
