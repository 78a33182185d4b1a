"""The survey: reads the ends of the journals that rings are to continue.

Runs as `python -m tickplant.plant.survey` with a job_specs.SurveySpec on stdin, before a plant begins. It works for the
supervisor, which does not read the store, and prints one line of JSON: ring name to seq. Exits 1 with a sentence if the
store cannot be read.
"""

from __future__ import annotations

import sys

import msgspec

from tickplant.records.layouts import Schema
from tickplant.runtime.child_process import child_process
from tickplant.runtime.job_specs import SurveySpec
from tickplant.store.reader import Store


def main() -> None:
    """Print, and end."""
    with child_process(SurveySpec) as spec:
        store = Store(spec.plant.data_dir)
        ends = {ring.name: store.next_seq(ring.producer, Schema(ring.schema)) for ring in spec.rings}
        sys.stdout.write(msgspec.json.encode(ends).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
