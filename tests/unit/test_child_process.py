"""What frames the work of a child, where it is started by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tickplant.runtime.job_specs import Plant, SurveySpec

PROGRAM = """
import os, sys, structlog
from tickplant.runtime.child_process import child_process
from tickplant.runtime.job_specs import SurveySpec
with child_process(SurveySpec) as spec:
    structlog.get_logger().warning("nobody hears this")
    print("nor this", file=sys.stderr)
    with open(sys.argv[1], "wb") as file:
        said = file.fileno(), os.readlink("/proc/self/fd/2"), spec.name
    os.write(1, repr(said).encode())
"""


@pytest.mark.parametrize("closed", ["", "1>&-", "2>&-", "1>&- 2>&-"])
def test_a_child_works_whatever_standard_streams_it_was_started_with(closed: str, tmp_path: Path) -> None:
    plant = Plant(str(tmp_path), str(tmp_path), "ipc://nowhere")
    spec = SurveySpec(name="by hand", plant=plant, rings=[])
    file = tmp_path / "file"
    done = subprocess.run(
        ["bash", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-c", PROGRAM, file],
        input=msgspec.json.encode(spec),
        capture_output=True,
        check=False,
    )
    if "1" in closed:
        assert done.returncode == 1  # what it writes there is refused, not lost in a file
    else:
        assert done.returncode == 0, done.stderr
        fd, stderr, name = eval(done.stdout)  # what the program above has printed
        assert fd > 2
        assert name == "by hand"
        assert (stderr == "/dev/null") == ("2" in closed)
    assert file.read_bytes() == b""
    assert (b"nobody hears this" in done.stderr) == ("2" not in closed)
