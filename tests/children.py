"""Starts one child of a plant as a process of its own, without a supervisor."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import Any

import msgspec


def start_child(module: str, spec: msgspec.Struct | dict[str, Any], **options: Any) -> subprocess.Popen[bytes]:
    """`python -m module` with this spec as its stdin; `options` as for Popen."""
    with tempfile.TemporaryFile() as file:
        file.write(msgspec.json.encode(spec))
        file.seek(0)
        return subprocess.Popen([sys.executable, "-m", module], stdin=file, **options)
