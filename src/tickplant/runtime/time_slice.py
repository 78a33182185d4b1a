"""Which of two processes has a core: one that computes for long lets go of it for one that has just been woken.

Linux gives a core in slices: 1.4 ms on two cores, and up to 4 ms, since it looks at its ticks only. A thread that is
woken waits for the end of the running slice, unless its own slices are shorter (Linux 6.12 and later). So a process
that can wait asks for long ones. Its share of a busy core stays as it was; a lower priority would take that away.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from typing import Final

LONG_SLICE_NS: Final = 20_000_000  # the kernel takes 0.1 to 100 ms

_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQ")
"""`struct sched_attr`: size, policy, flags, nice, priority, and the slice, which is called runtime; two more are 0."""


def lengthen_slices() -> None:
    """Have this thread, and those that it starts from now on, let go of a core for whoever is woken there.

    Where somebody has given the process a real-time class, or the kernel knows no slices, nothing changes.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, LONG_SLICE_NS, 0, 0)
    # A kernel or a container that refuses leaves the slices as they are.
    ctypes.CDLL(None).syscall(ctypes.c_long(number), 0, attributes, 0)
