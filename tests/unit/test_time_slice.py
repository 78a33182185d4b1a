"""A process that can wait asks for long slices, and keeps what else was decided about it."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
import sys

import msgspec
import pytest

from tickplant.runtime.config import EngineConfig, StoreConfig, WriterConfig
from tickplant.runtime.job_specs import CompactSpec, EngineSpec, Plant, WriterSpec
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


def attributes_after(code: str, text: bytes = b"") -> tuple[int, ...]:
    """Attributes of a process that has read this text as its stdin, where it wants to, and done this."""
    begin, end = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", f"import os; {code}\n    print(flush=True); os.read({begin}, 1)"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[begin],
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(text)
        process.stdin.close()
        assert process.stdout.readline()
        found = attributes(process.pid)
        os.close(end)
    os.close(begin)
    assert process.returncode == 0
    return found


def after(before: str) -> tuple[int, ...]:
    """Attributes of a process that has done this, and then asked for long slices."""
    call = "from tickplant.runtime.time_slice import lengthen_slices; lengthen_slices()"
    return attributes_after(f"{before}; {call}\nif True:")


def test_slices_are_long_and_the_priority_stays() -> None:
    _, policy, _, nice, _, slice_ns, *_ = after("os.nice(7)")
    assert (policy, nice, slice_ns) == (os.SCHED_OTHER, min(19, os.getpriority(os.PRIO_PROCESS, 0) + 7), LONG_SLICE_NS)


def test_a_process_of_another_class_keeps_it() -> None:
    _, policy, *_ = after("os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))")
    assert policy == os.SCHED_BATCH


PLANT = Plant("/nowhere", "/nowhere", "ipc://nowhere")


@pytest.mark.parametrize(
    ("spec", "patient"),
    [
        (WriterSpec(name="w", plant=PLANT, config=WriterConfig(), inputs=[]), True),
        (CompactSpec(name="c", plant=PLANT, config=StoreConfig()), True),
        (EngineSpec(name="e", plant=PLANT, config=EngineConfig(publish="ipc://nowhere"), inputs=[]), False),
    ],
)
def test_writer_and_compactor_have_long_slices(spec: WriterSpec | CompactSpec | EngineSpec, patient: bool) -> None:
    kind = type(spec).__name__
    code = f"from tickplant.runtime.child_process import {kind}, child_process\nwith child_process({kind}):"
    assert (attributes_after(code, msgspec.json.encode(spec))[5] == LONG_SLICE_NS) == patient
