"""A process that can wait asks for long slices, and keeps what else was decided about it."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
import sys

import pytest

from tickplant.runtime.time_slice import LONG_SLICE_NS

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
RELEASE = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])

pytestmark = pytest.mark.skipif(
    RELEASE < (6, 12) or platform.machine() not in SCHED_GETATTR, reason="this kernel has no slices of one's own"
)


def attributes(pid: int) -> tuple[int, ...]:
    """`struct sched_attr` of a thread: size, policy, flags, nice, priority, slice …"""
    buffer = ctypes.create_string_buffer(48)
    number = ctypes.c_long(SCHED_GETATTR[platform.machine()])
    assert not ctypes.CDLL(None).syscall(number, pid, buffer, 48, 0)
    return struct.unpack("=IIQiIQQQ", buffer.raw)


def after(before: str) -> tuple[int, ...]:
    """Attributes of a process that did this, and then asked for long slices."""
    call = "from tickplant.runtime.time_slice import lengthen_slices; lengthen_slices()"
    code = f"import os; {before}; {call}; print(flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        found = attributes(process.pid)
        process.communicate(b"\n")
    assert process.returncode == 0
    return found


def test_slices_are_long_and_the_priority_stays() -> None:
    _, policy, _, nice, _, slice_ns, *_ = after("os.nice(7)")
    assert (policy, nice, slice_ns) == (os.SCHED_OTHER, min(19, os.getpriority(os.PRIO_PROCESS, 0) + 7), LONG_SLICE_NS)


def test_a_process_of_another_class_keeps_it() -> None:
    _, policy, *_ = after("os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))")
    assert policy == os.SCHED_BATCH
